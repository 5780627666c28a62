//! The options of a cache as JSON, as they come from `lib/options.js` or, past its checks, from anywhere.

#![no_main]

use evenkeel::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    if let Err(error) = Config::parse(json) {
        assert!(!error.to_string().is_empty());
    }
});

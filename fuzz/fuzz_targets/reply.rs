//! Bytes from a socket that should be replies. What the parser takes, every reader of ours survives.

#![no_main]

use evenkeel::l2::{
    commands::{bytes, fits, integer, scanned},
    link::{meaning_of, server_text},
};
use evenkeel::telemetry::counters::{CommandFamily, Label};
use libfuzzer_sys::fuzz_target;
use redis::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = redis::parse_redis_value(data) else {
        return;
    };
    if let Value::ServerError(error) = &value {
        let _ = meaning_of(error);
        assert!(server_text(error).starts_with(error.code().trim_end()));
    }
    for family in CommandFamily::ALL {
        let _ = fits(*family, &value);
    }
    let _ = integer(&value);
    let _ = bytes(value.clone());
    let _ = scanned(value);
});

//! `redis.url`, a password in it included: the message that refuses it does not hold the password.

#![no_main]

use evenkeel::config::Config;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const CANARY: &str = "canary-7Qx";

fuzz_target!(|text: &str| {
    let _ = Config::parse(&json!({ "redis": text }).to_string());
    if text.matches("PASSWORD").count() != 1 || !text.contains("://:PASSWORD@") {
        return;
    }
    let url = text.replace("PASSWORD", CANARY);
    if let Err(error) = Config::parse(&json!({ "redis": { "url": url } }).to_string()) {
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
});

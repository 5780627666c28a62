//! Messages on the channel that tells other processes of changes, and keys that are named after patterns.

#![no_main]

use evenkeel::{
    config::Config,
    l2::bus::{Bus, Message},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for bytes in [data.to_vec(), [b"ek\x01".as_slice(), data].concat()] {
        if let Some(message) = Message::decode(&bytes) {
            assert_eq!(message.encode(), bytes);
        }
    }
    let config = Config::parse(r#"{"namespace":"n"}"#).expect("sound options");
    let bus = Bus::new(&config, 0);
    for key in [data.to_vec(), [b"n:~gone:{".as_slice(), data].concat()] {
        if let Some(pattern) = bus.heard_mark(&key) {
            assert!(pattern.starts_with(b"n:"));
            assert_eq!(bus.heard_mark(&key), None);
        }
    }
});

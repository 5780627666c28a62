//! The answer to INFO, from whatever calls itself a Redis.

#![no_main]

use evenkeel::{config::Connections, l2::status::Server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let server = Server::parse(text, 0);
    let _ = server.connections(Connections::Server);
    assert!(!text.is_empty() || server.total_keys.is_none());
});

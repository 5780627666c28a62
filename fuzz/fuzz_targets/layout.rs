//! What nodes of a cluster say of who serves what: CLUSTER SLOTS, and where MOVED and ASK point.

#![no_main]

use evenkeel::l2::cluster::slots::{Layout, SLOTS, redirection, slot_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert!(slot_of(data) < SLOTS);
    if let Ok(text) = std::str::from_utf8(data)
        && let Some((slot, _)) = redirection(text, "asked")
    {
        assert!(slot < SLOTS);
    }
    let Ok(value) = redis::parse_redis_value(data) else {
        return;
    };
    for by_name in [false, true] {
        let Some(layout) = Layout::read(value.clone(), "asked", by_name) else {
            continue;
        };
        for range in &layout.ranges {
            assert!(range.first < SLOTS && range.last < SLOTS);
            assert!(layout.nodes.contains(&range.master.endpoint));
        }
    }
});

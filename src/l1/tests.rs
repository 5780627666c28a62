//! What L1 keeps, counts and lets go of, in the store and in the side table.

use super::*;
use crate::{
    clock::NEVER,
    entry::{Kind, Payload},
};

fn l1(max_bytes: u64, max_entries: Option<u64>) -> L1 {
    let config = config::L1 {
        ttl_ms: 60_000,
        max_bytes,
        max_entries,
        share_objects: false,
        plain_ttl_ms: 5_000,
    };
    L1::new(&config, &RandomState::with_seed(3))
}

fn key(name: impl AsRef<[u8]>) -> Arc<[u8]> {
    name.as_ref().into()
}

fn entry(l1: &L1, size: usize, l1_until: u64) -> Entry {
    Entry {
        payload: Payload::new(Kind::Bytes, vec![7; size]),
        made: 0,
        l1_until,
        life_until: Some(NEVER),
        link: 0,
        era: l1.era(),
        extra: None,
    }
}

#[test]
fn an_entry_is_served_until_its_time_and_swept_after() {
    let l1 = l1(1 << 20, None);
    l1.put(&key(b"k"), entry(&l1, 10, 100));
    assert!(l1.get(b"k", 99).is_some());
    assert!(l1.get(b"k", 100).is_none());
    assert_eq!(l1.useless_keys(100).len(), 1);
    l1.sweep(b"k", 99);
    assert_eq!(l1.figures().entries, 1);
    l1.sweep(b"k", 100);
    let figures = l1.figures();
    assert_eq!(
        (figures.entries, figures.expired, figures.evicted),
        (0, 1, 0)
    );
}

#[test]
fn what_redis_gives_again_after_its_time_is_counted_if_it_is_the_same() {
    let l1 = l1(1 << 20, None);
    l1.put(&key(b"k"), entry(&l1, 10, 0));
    assert_eq!(l1.figures().renewed, 0);
    l1.put(&key(b"k"), entry(&l1, 10, NEVER));
    assert_eq!(l1.figures().renewed, 1);
    l1.put(&key(b"k"), entry(&l1, 10, 0));
    l1.put_own(&key(b"k"), entry(&l1, 10, 0));
    l1.put(&key(b"k"), entry(&l1, 11, 0));
    assert_eq!(l1.figures().renewed, 1, "in its time, our own, changed");
}

#[test]
fn the_limits_hold_in_bytes_and_entries_and_evictions_are_counted() {
    for (l1, most) in [
        (l1(1 << 20, None), (1 << 20) / (4 + 500 + OVERHEAD as u64)),
        (l1(64 << 20, Some(1_000)), 1_000),
        (l1(64 << 20, Some(256)), 256),
        (l1(64 << 20, Some(1)), 1),
    ] {
        for n in 0..5_000_u32 {
            l1.put(&key(n.to_be_bytes()), entry(&l1, 500, NEVER));
            assert!(l1.figures().bytes <= l1.max_bytes());
        }
        let figures = l1.figures();
        assert!(figures.entries <= most, "{figures:?}");
        assert!(figures.entries >= most - most / 20, "{figures:?}");
        assert_eq!(figures.entries + figures.evicted, 5_000);
    }
}

#[test]
fn of_a_few_keys_none_goes_before_the_limit() {
    for most in [100, 256, 1_000] {
        let l1 = l1(64 << 20, Some(most));
        for n in 0..most {
            l1.put(&key(n.to_be_bytes()), entry(&l1, 500, NEVER));
        }
        assert_eq!((l1.figures().entries, l1.figures().evicted), (most, 0));
    }
}

#[test]
fn what_fits_no_part_of_a_tiny_tier_is_too_large() {
    let l1 = l1(300, None);
    assert_eq!(l1.put(&key(b"k"), entry(&l1, 10, NEVER)), Put::TooLarge);
    assert_eq!(l1.figures(), Figures::default());
}

#[test]
fn to_replace_an_entry_evicts_none() {
    let l1 = l1(1 << 20, None);
    for size in [10, 500, 20] {
        l1.put(&key(b"k"), entry(&l1, size, NEVER));
    }
    let figures = l1.figures();
    assert_eq!((figures.entries, figures.evicted), (1, 0));
    assert_eq!(figures.bytes, (1 + 20 + OVERHEAD) as u64);
}

#[test]
fn there_is_room_until_the_next_entry_evicts_one() {
    let l1 = l1(1 << 20, None);
    for n in 0..5_000_u32 {
        let (key, entry) = (key(n.to_be_bytes()), entry(&l1, 500, NEVER));
        let has_room = l1.has_room(&key, &entry);
        let before = l1.figures().evicted;
        l1.put(&key, entry);
        assert_eq!(l1.figures().evicted > before, !has_room, "{n}");
    }
}

#[test]
fn a_value_too_large_for_the_tier_drops_what_was_there() {
    let l1 = l1(1 << 20, None);
    l1.put(&key(b"k"), entry(&l1, 10, NEVER));
    assert_eq!(
        l1.put(&key(b"k"), entry(&l1, 1 << 15, NEVER)),
        Put::TooLarge
    );
    assert!(l1.get(b"k", 0).is_none());
}

#[test]
fn clearing_hides_everything_at_once() {
    let l1 = l1(1 << 20, None);
    l1.put(&key(b"k"), entry(&l1, 10, NEVER));
    let stale = entry(&l1, 10, NEVER);
    drop(l1.clear());
    assert!(l1.get(b"k", 0).is_none());
    l1.put(&key(b"k"), stale);
    assert!(l1.get(b"k", 0).is_none(), "an entry made before the clear");
}

/// A full L1 of entries that were read often.
fn warm() -> L1 {
    let l1 = l1(8 << 20, None);
    for n in (0..4).flat_map(|_| 0..30_000_u32) {
        if l1.get(&n.to_be_bytes(), 0).is_none() {
            l1.put(&key(n.to_be_bytes()), entry(&l1, 10, NEVER));
        }
    }
    l1
}

fn put_aside(l1: &L1, keys: &[String]) {
    for name in keys {
        l1.put_aside(&key(name), entry(l1, 10, 100));
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("new-{n}")).collect()
}

fn held(l1: &L1, keys: &[String], now: u64) -> usize {
    keys.iter()
        .filter(|key| l1.get(key.as_bytes(), now).is_some())
        .count()
}

/// Puts so many others in that the store lets go of what is new and was not asked for.
fn crowd(l1: &L1) {
    for n in 100_000..110_000_u32 {
        l1.put(&key(n.to_be_bytes()), entry(l1, 10, NEVER));
    }
}

#[test]
fn what_a_warm_full_cache_lets_go_of_is_kept_aside_and_in_bounds() {
    let (l1, keys) = (warm(), names(1_600));
    for name in &keys {
        l1.put(&key(name), entry(&l1, 10, NEVER));
    }
    crowd(&l1);
    assert_eq!(held(&l1, &keys, 0), 0, "the store lets go of them");
    put_aside(&l1, &keys);
    crowd(&l1);
    assert_eq!(held(&l1, &keys, 99), 1_600);
    assert_eq!(held(&l1, &keys, 100), 0, "past their time");
    let more = names(20_000);
    put_aside(&l1, &more);
    assert!(l1.side.bytes() <= l1.max_bytes() / SIDE_SHARE);
    assert!(l1.side.bytes() > l1.max_bytes() / SIDE_SHARE - 1_000);
    crowd(&l1);
    assert_eq!(held(&l1, &more[18_400..], 0), 1_600, "the newest stay");
}

#[test]
fn every_change_of_a_key_treats_both_of_its_places() {
    let (l1, keys) = (warm(), names(6));
    put_aside(&l1, &keys);
    let at = |n: usize| key(&keys[n]);
    assert!(l1.take(&at(0)).is_some() && l1.get(&at(0), 0).is_none());
    l1.put(&at(1), entry(&l1, 20, NEVER));
    assert!(
        l1.get(&at(1), 0)
            .is_none_or(|entry| entry.payload.data.len() == 20)
    );
    l1.put_aside(&at(2), entry(&l1, 1 << 18, NEVER));
    assert!(l1.get(&at(2), 0).is_none(), "too large");
    let mut found = l1.keys_where(|key, _| key.starts_with(b"new-"));
    found.retain(|key| *key != at(1));
    assert_eq!(found.len(), 3, "each once: {found:?}");
    assert_eq!(l1.useless_keys(100).len(), 3);
    l1.sweep(&at(3), 99);
    l1.sweep(&at(4), 100);
    assert_eq!(held(&l1, &keys[3..], 0), 2);
    drop(l1.clear());
    assert_eq!(held(&l1, &keys, 0), 0);
    assert_eq!(l1.side.bytes(), 0);
}

#[test]
fn what_was_put_aside_goes_when_another_link_is_in_use() {
    let (l1, keys) = (warm(), names(2));
    put_aside(&l1, &keys[..1]);
    let mut verified = entry(&l1, 10, NEVER);
    verified.link = 7;
    l1.put_aside(&key(&keys[1]), verified);
    crowd(&l1);
    l1.release_aside(|_| 0);
    assert_eq!(held(&l1, &keys, 0), 2);
    l1.release_aside(|_| 7);
    assert_eq!(held(&l1, &keys, 0), 1, "the one of that link");
    l1.release_aside(|_| 8);
    assert_eq!((held(&l1, &keys, 0), l1.side.bytes()), (0, 0));
}

//! The first tier: moka behind our vocabulary. Owns weights, expiry by our own clock and eras; when an entry may be
//! changed is the business of `generations`, when it may be served that of `cache`.
//!
//! moka's own expiry, listeners and `invalidate_all` are not used: they cost 48 bytes an entry and stalls of up to
//! 3 s at a million entries. What expired is dropped by [`L1::sweep`].
//!
//! What this process writes while Redis is away is kept in a second place too, [`side`], since moka may refuse it. A key's
//! two places never differ: `put_aside` puts the same entry into both, every other change takes the key out of the side
//! table before it touches moka. Reads ask moka first. The figures are moka's alone.

mod side;

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use ahash::RandomState;
use arc_swap::ArcSwap;
use moka::{policy::EvictionPolicy, sync::Cache};

use self::side::Side;
use crate::{clock, config, entry::Entry};

/// What an entry costs beside its key and value: moka's bookkeeping, allocation headers and [`Entry`] itself.
const OVERHEAD: usize = 480;
/// A value above this share of the limit is not kept: moka overshoots by what is in its buffers.
const LARGEST_SHARE: u64 = 64;
/// moka's pending work is done, off the calling thread, whenever this share of the limit was inserted.
const UPKEEP_SHARE: u64 = 16;
/// The side table may take this share of the limit, in addition to it.
const SIDE_SHARE: u64 = 16;

type Moka = Cache<Box<[u8]>, Arc<Entry>, RandomState>;

/// What became of a value handed to [`L1::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in.
    Kept,
    /// It is in, and enough was inserted since the last time that [`L1::upkeep`] should run on another thread.
    UpkeepDue,
    /// It is too large for this tier; what was there is gone.
    TooLarge,
}

/// L1 of one cache.
pub struct L1 {
    moka: ArcSwap<Moka>,
    side: Side,
    hasher: RandomState,
    lru: bool,
    max_bytes: u64,
    floor: u32,
    era: AtomicU32,
    inserted: AtomicU64,
    added: AtomicU64,
    renewed: AtomicU64,
    removed: AtomicU64,
    expired: AtomicU64,
}

/// Figures of L1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries held.
    pub entries: u64,
    /// Bytes they cost, overhead included.
    pub bytes: u64,
    /// Entries evicted for lack of room since the start.
    pub evicted: u64,
    /// Entries dropped because their time was over.
    pub expired: u64,
    /// Entries that Redis gave again, unchanged, since their time was over.
    pub renewed: u64,
}

impl L1 {
    /// An empty L1. `lru` chooses plain recency, for a cache that has no second tier to fall back to.
    #[must_use]
    pub fn new(config: &config::L1, lru: bool, hasher: &RandomState) -> Self {
        let floor = config
            .max_entries
            .map_or(0, |entries| config.max_bytes / entries.max(1));
        let floor = u32::try_from(floor).unwrap_or(u32::MAX);
        Self {
            moka: ArcSwap::from_pointee(build(config.max_bytes, floor, lru, hasher)),
            side: Side::new(config.max_bytes / SIDE_SHARE, floor, hasher),
            hasher: hasher.clone(),
            lru,
            max_bytes: config.max_bytes,
            floor,
            era: AtomicU32::new(0),
            inserted: AtomicU64::new(0),
            added: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// The current era; entries of an older one are gone.
    #[must_use]
    pub fn era(&self) -> u32 {
        self.era.load(Ordering::SeqCst)
    }

    /// The entry under `key`, of this era and in its time at `now`.
    #[must_use]
    pub fn get(&self, key: &[u8], now: u64) -> Option<Arc<Entry>> {
        self.remembered(key).filter(|entry| !entry.expired(now))
    }

    /// The entry under `key` of this era, also past its time.
    #[must_use]
    pub fn remembered(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.moka.load().get(key);
        let entry = entry.or_else(|| self.side.get(key))?;
        (entry.era == self.era()).then_some(entry)
    }

    /// Puts what Redis gave in place of what was under `key`. Only within `Locked::mutate` or `fill`.
    pub fn put(&self, key: &[u8], entry: Entry) -> Put {
        let same = |old: Arc<Entry>| old.expired(clock::now()) && old.payload == entry.payload;
        if self.remembered(key).is_some_and(same) {
            self.renewed.fetch_add(1, Ordering::Relaxed);
        }
        self.put_own(key, entry)
    }

    /// Puts what this process wrote in place of what was under `key`. Only within `Locked::mutate`.
    pub fn put_own(&self, key: &[u8], entry: Entry) -> Put {
        self.side.take(key);
        self.place(key, Arc::new(entry))
    }

    /// As [`L1::put_own`], for what may be found nowhere else: it stays in the side table should moka refuse it.
    pub fn put_aside(&self, key: &[u8], entry: Entry) -> Put {
        let entry = Arc::new(entry);
        if self.is_too_large(key, &entry) {
            self.side.take(key);
        } else {
            self.side.put(key, &entry);
        }
        self.place(key, entry)
    }

    fn is_too_large(&self, key: &[u8], entry: &Entry) -> bool {
        size(key, entry) as u64 > (self.max_bytes / LARGEST_SHARE).max(OVERHEAD as u64 * 2)
    }

    fn place(&self, key: &[u8], entry: Arc<Entry>) -> Put {
        let moka = self.moka.load();
        if self.is_too_large(key, &entry) {
            self.take(key);
            return Put::TooLarge;
        }
        if !moka.contains_key(key) {
            self.added.fetch_add(1, Ordering::Relaxed);
        }
        let size = size(key, &entry) as u64;
        moka.insert(key.into(), entry);
        let due = self.max_bytes / UPKEEP_SHARE;
        if self.inserted.fetch_add(size, Ordering::Relaxed) + size >= due {
            self.inserted.store(0, Ordering::Relaxed);
            return Put::UpkeepDue;
        }
        Put::Kept
    }

    /// Removes and returns what is under `key`, whatever its time. Only within `Locked::mutate`.
    pub fn take(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let aside = self.side.take(key);
        let entry = self.moka.load().remove(key);
        if entry.is_some() {
            self.removed.fetch_add(1, Ordering::Relaxed);
        }
        let entry = entry.or(aside)?;
        (entry.era == self.era()).then_some(entry)
    }

    /// Drops what was put aside while the link `in_use`, if there is one, was not: Redis is asked for it again. May take
    /// milliseconds.
    pub fn release_aside(&self, in_use: impl FnOnce() -> u64) {
        self.side.release(in_use);
    }

    /// Forgets everything at once, in constant time for the caller; returns what was held, to be dropped on a thread
    /// that may be slow.
    #[must_use]
    pub fn clear(&self) -> impl Send + 'static {
        // So that what was evicted before is told from what goes now.
        self.upkeep();
        self.era.fetch_add(1, Ordering::SeqCst);
        let fresh = build(self.max_bytes, self.floor, self.lru, &self.hasher);
        let old = self.moka.swap(Arc::new(fresh));
        self.removed.fetch_add(old.entry_count(), Ordering::Relaxed);
        (old, self.side.clear())
    }

    /// The keys held that satisfy `matches`. Iterates everything: not for the event loop.
    pub fn keys_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Box<[u8]>> {
        let (moka, era) = (self.moka.load_full(), self.era());
        let matches = |key: &[u8], entry: &Entry| entry.era == era && matches(key, entry);
        let mut keys: Vec<Box<[u8]>> = moka
            .iter()
            .filter(|(key, entry)| matches(key, entry))
            .map(|(key, _)| (*key).clone())
            .collect();
        let only_aside = |key: &[u8], entry: &Entry| !moka.contains_key(key) && matches(key, entry);
        keys.extend(self.side.keys_where(only_aside));
        keys
    }

    /// Keys of entries whose time is over at `now`. Iterates everything: not for the event loop.
    #[must_use]
    pub fn expired_keys(&self, now: u64) -> Vec<Box<[u8]>> {
        self.keys_where(|_, entry| entry.expired(now))
    }

    /// Drops the entry under `key` if its time is over at `now`. Only under the stripe lock of the key.
    pub fn sweep(&self, key: &[u8], now: u64) {
        let moka = self.moka.load();
        self.side.take_if(key, |entry| entry.expired(now));
        if moka.get(key).is_some_and(|entry| entry.expired(now)) && moka.remove(key).is_some() {
            self.removed.fetch_add(1, Ordering::Relaxed);
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets moka do its pending work: evictions, counts. May take milliseconds after many inserts.
    pub fn upkeep(&self) {
        self.moka.load().run_pending_tasks();
    }

    /// The figures, after the pending work.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.upkeep();
        let moka = self.moka.load();
        let entries = moka.entry_count();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            entries,
            bytes: moka.weighted_size(),
            evicted: load(&self.added).saturating_sub(load(&self.removed) + entries),
            expired: load(&self.expired),
            renewed: load(&self.renewed),
        }
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// About how many bytes an entry costs.
fn size(key: &[u8], entry: &Entry) -> usize {
    key.len() + entry.payload.data.len() + OVERHEAD
}

/// What an entry counts for against the limit: its size, but not less than `floor`.
fn weight(key: &[u8], entry: &Entry, floor: u32) -> u32 {
    u32::try_from(size(key, entry))
        .unwrap_or(u32::MAX)
        .max(floor)
}

fn build(max_bytes: u64, floor: u32, lru: bool, hasher: &RandomState) -> Moka {
    let policy = if lru {
        EvictionPolicy::lru()
    } else {
        EvictionPolicy::tiny_lfu()
    };
    Cache::builder()
        .max_capacity(max_bytes)
        .weigher(move |key, entry: &Arc<Entry>| weight(AsRef::as_ref(key), entry, floor))
        .eviction_policy(policy)
        .build_with_hasher(hasher.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::NEVER,
        entry::{Kind, Payload},
    };

    fn l1(max_bytes: u64, max_entries: Option<u64>) -> L1 {
        with_policy(max_bytes, max_entries, true)
    }

    fn with_policy(max_bytes: u64, max_entries: Option<u64>, lru: bool) -> L1 {
        let config = config::L1 {
            ttl_ms: 60_000,
            max_bytes,
            max_entries,
            share_objects: false,
            plain_ttl_ms: 5_000,
        };
        L1::new(&config, lru, &RandomState::with_seed(3))
    }

    fn entry(l1: &L1, size: usize, l1_until: u64) -> Entry {
        Entry {
            payload: Payload::new(Kind::Bytes, vec![7; size]),
            l1_until,
            life_until: Some(NEVER),
            link: 0,
            era: l1.era(),
        }
    }

    #[test]
    fn an_entry_is_served_until_its_time_and_swept_after() {
        let l1 = l1(1 << 20, None);
        l1.put(b"k", entry(&l1, 10, 100));
        assert!(l1.get(b"k", 99).is_some());
        assert!(l1.get(b"k", 100).is_none());
        assert_eq!(l1.expired_keys(100).len(), 1);
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
        l1.put(b"k", entry(&l1, 10, 0));
        assert_eq!(l1.figures().renewed, 0);
        l1.put(b"k", entry(&l1, 10, NEVER));
        assert_eq!(l1.figures().renewed, 1);
        l1.put(b"k", entry(&l1, 10, 0));
        l1.put_own(b"k", entry(&l1, 10, 0));
        l1.put(b"k", entry(&l1, 11, 0));
        assert_eq!(l1.figures().renewed, 1, "in its time, our own, changed");
    }

    #[test]
    fn the_limits_hold_in_bytes_and_entries_and_evictions_are_counted() {
        for l1 in [l1(1 << 20, None), l1(64 << 20, Some(1_000))] {
            for n in 0..5_000_u32 {
                l1.put(&n.to_be_bytes(), entry(&l1, 500, NEVER));
                l1.upkeep();
            }
            let figures = l1.figures();
            assert!(figures.bytes <= l1.max_bytes());
            assert!(figures.entries <= 1_070, "{figures:?}");
            assert_eq!(figures.entries + figures.evicted, 5_000);
        }
    }

    #[test]
    fn a_value_too_large_for_the_tier_drops_what_was_there() {
        let l1 = l1(1 << 20, None);
        l1.put(b"k", entry(&l1, 10, NEVER));
        assert_eq!(l1.put(b"k", entry(&l1, 1 << 15, NEVER)), Put::TooLarge);
        assert!(l1.get(b"k", 0).is_none());
    }

    #[test]
    fn clearing_hides_everything_at_once() {
        let l1 = l1(1 << 20, None);
        l1.put(b"k", entry(&l1, 10, NEVER));
        let stale = entry(&l1, 10, NEVER);
        drop(l1.clear());
        assert!(l1.get(b"k", 0).is_none());
        l1.put(b"k", stale);
        assert!(l1.get(b"k", 0).is_none(), "an entry made before the clear");
    }

    /// A full L1 of entries that were read often.
    fn warm() -> L1 {
        let l1 = with_policy(8 << 20, None, false);
        for n in (0..4).flat_map(|_| 0..18_000_u32) {
            if l1.get(&n.to_be_bytes(), 0).is_none() {
                l1.put(&n.to_be_bytes(), entry(&l1, 10, NEVER));
            }
            if n.is_multiple_of(100) {
                l1.upkeep();
            }
        }
        l1
    }

    fn put_aside(l1: &L1, keys: &[String]) {
        for key in keys {
            l1.put_aside(key.as_bytes(), entry(l1, 10, 100));
        }
        l1.upkeep();
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("new-{n}")).collect()
    }

    fn held(l1: &L1, keys: &[String], now: u64) -> usize {
        keys.iter()
            .filter(|key| l1.get(key.as_bytes(), now).is_some())
            .count()
    }

    #[test]
    fn what_a_warm_full_cache_refuses_is_kept_aside_and_in_bounds() {
        let (l1, keys) = (warm(), names(1_000));
        for key in &keys {
            l1.put(key.as_bytes(), entry(&l1, 10, NEVER));
        }
        l1.upkeep();
        assert!(held(&l1, &keys, 0) < 100, "moka refuses them");
        put_aside(&l1, &keys);
        assert_eq!(held(&l1, &keys, 99), 1_000);
        assert_eq!(held(&l1, &keys, 100), 0, "past their time");
        let more = names(20_000);
        put_aside(&l1, &more);
        assert!(l1.side.bytes() <= l1.max_bytes() / SIDE_SHARE);
        assert!(l1.side.bytes() > l1.max_bytes() / SIDE_SHARE - 1_000);
        assert_eq!(held(&l1, &more[19_100..], 0), 900, "the newest stay");
    }

    #[test]
    fn every_change_of_a_key_treats_both_of_its_places() {
        let (l1, keys) = (warm(), names(6));
        put_aside(&l1, &keys);
        let at = |n: usize| keys[n].as_bytes();
        assert!(l1.take(at(0)).is_some() && l1.get(at(0), 0).is_none());
        l1.put(at(1), entry(&l1, 20, NEVER));
        assert!(
            l1.get(at(1), 0)
                .is_none_or(|entry| entry.payload.data.len() == 20)
        );
        l1.put_aside(at(2), entry(&l1, 1 << 18, NEVER));
        assert!(l1.get(at(2), 0).is_none(), "too large");
        let mut found = l1.keys_where(|key, _| key.starts_with(b"new-"));
        found.retain(|key| &**key != at(1));
        assert_eq!(found.len(), 3, "each once: {found:?}");
        assert_eq!(l1.expired_keys(100).len(), 3);
        l1.sweep(at(3), 99);
        l1.sweep(at(4), 100);
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
        l1.put_aside(keys[1].as_bytes(), verified);
        l1.upkeep();
        l1.release_aside(|| 0);
        assert_eq!(held(&l1, &keys, 0), 2);
        l1.release_aside(|| 7);
        assert_eq!(held(&l1, &keys, 0), 1, "the one of that link");
        l1.release_aside(|| 8);
        assert_eq!((held(&l1, &keys, 0), l1.side.bytes()), (0, 0));
    }
}

//! The first tier: moka behind our vocabulary. Owns weights, expiry by our own clock and eras; when an entry may be
//! changed is the business of `generations`, when it may be served that of `cache`.
//!
//! moka's own expiry, listeners and `invalidate_all` are not used: they cost 48 bytes an entry and stalls of up to
//! 3 s at a million entries. What expired is dropped by [`L1::sweep`].

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use ahash::RandomState;
use arc_swap::ArcSwap;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{config, entry::Entry};

/// What an entry costs beside its key and value: moka's bookkeeping, allocation headers and [`Entry`] itself.
const OVERHEAD: usize = 480;
/// A value above this share of the limit is not kept: moka overshoots by what is in its buffers.
const LARGEST_SHARE: u64 = 64;
/// moka's pending work is done, off the calling thread, whenever this share of the limit was inserted.
const UPKEEP_SHARE: u64 = 16;

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
    hasher: RandomState,
    lru: bool,
    max_bytes: u64,
    floor: u32,
    era: AtomicU32,
    inserted: AtomicU64,
    added: AtomicU64,
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
            hasher: hasher.clone(),
            lru,
            max_bytes: config.max_bytes,
            floor,
            era: AtomicU32::new(0),
            inserted: AtomicU64::new(0),
            added: AtomicU64::new(0),
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
        let entry = self.moka.load().get(key)?;
        (entry.era == self.era()).then_some(entry)
    }

    /// Puts `entry` in place of what was under `key`. Only within `Locked::mutate` or `fill`.
    pub fn put(&self, key: &[u8], entry: Entry) -> Put {
        let moka = self.moka.load();
        let size =
            u64::try_from(key.len() + entry.payload.data.len() + OVERHEAD).unwrap_or(u64::MAX);
        if size > (self.max_bytes / LARGEST_SHARE).max(OVERHEAD as u64 * 2) {
            self.take(key);
            return Put::TooLarge;
        }
        if !moka.contains_key(key) {
            self.added.fetch_add(1, Ordering::Relaxed);
        }
        moka.insert(key.into(), Arc::new(entry));
        let due = self.max_bytes / UPKEEP_SHARE;
        if self.inserted.fetch_add(size, Ordering::Relaxed) + size >= due {
            self.inserted.store(0, Ordering::Relaxed);
            return Put::UpkeepDue;
        }
        Put::Kept
    }

    /// Removes and returns what is under `key`, whatever its time. Only within `Locked::mutate`.
    pub fn take(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.moka.load().remove(key)?;
        self.removed.fetch_add(1, Ordering::Relaxed);
        (entry.era == self.era()).then_some(entry)
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
        old
    }

    /// The keys held that satisfy `matches`. Iterates everything: not for the event loop.
    pub fn keys_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Box<[u8]>> {
        let (moka, era) = (self.moka.load_full(), self.era());
        moka.iter()
            .filter(|(key, entry)| entry.era == era && matches(key, entry))
            .map(|(key, _)| (*key).clone())
            .collect()
    }

    /// Keys of entries whose time is over at `now`. Iterates everything: not for the event loop.
    #[must_use]
    pub fn expired_keys(&self, now: u64) -> Vec<Box<[u8]>> {
        self.keys_where(|_, entry| entry.expired(now))
    }

    /// Drops the entry under `key` if its time is over at `now`. Only under the stripe lock of the key.
    pub fn sweep(&self, key: &[u8], now: u64) {
        let moka = self.moka.load();
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
        }
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

fn build(max_bytes: u64, floor: u32, lru: bool, hasher: &RandomState) -> Moka {
    let policy = if lru {
        EvictionPolicy::lru()
    } else {
        EvictionPolicy::tiny_lfu()
    };
    Cache::builder()
        .max_capacity(max_bytes)
        .weigher(move |key, entry: &Arc<Entry>| {
            let size = AsRef::<[u8]>::as_ref(key).len() + entry.payload.data.len() + OVERHEAD;
            u32::try_from(size).unwrap_or(u32::MAX).max(floor)
        })
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
        let config = config::L1 {
            ttl_ms: 60_000,
            max_bytes,
            max_entries,
            share_objects: false,
            plain_ttl_ms: 5_000,
        };
        L1::new(&config, true, &RandomState::with_seed(3))
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
}

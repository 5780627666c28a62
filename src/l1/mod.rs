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
use crate::{clock, config, entry::Entry, tags::Mark};

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

    /// The entry under `key` that was not cleared, also past its time.
    #[must_use]
    pub fn remembered(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.moka.load().get(key);
        let entry = entry.or_else(|| self.side.get(key))?;
        self.is_there(&entry).then_some(entry)
    }

    /// Whether an entry was neither cleared nor invalidated by one of its tags.
    fn is_there(&self, entry: &Entry) -> bool {
        entry.era == self.era() && entry.marks().iter().all(Mark::holds)
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

    /// Whether an entry can be put in without another one having to go.
    #[must_use]
    pub fn has_room(&self, key: &[u8], entry: &Entry) -> bool {
        let size = u64::from(weight(key, entry, self.floor));
        let moka = self.moka.load();
        let free = || self.max_bytes.saturating_sub(moka.weighted_size());
        // What was inserted since moka counted last is not in its sum yet.
        if free() >= size + self.inserted.load(Ordering::Relaxed) {
            return true;
        }
        self.upkeep();
        self.inserted.store(0, Ordering::Relaxed);
        free() >= size
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
        self.is_there(&entry).then_some(entry)
    }

    /// Drops what was put aside while the link `in_use`, if there is one, was not: Redis is asked for it again. May take
    /// milliseconds.
    pub fn release_aside(&self, in_use: impl Fn(&[u8]) -> u64) {
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
        let moka = self.moka.load_full();
        let matches = |key: &[u8], entry: &Entry| self.is_there(entry) && matches(key, entry);
        let mut keys: Vec<Box<[u8]>> = moka
            .iter()
            .filter(|(key, entry)| matches(key, entry))
            .map(|(key, _)| (*key).clone())
            .collect();
        let only_aside = |key: &[u8], entry: &Entry| !moka.contains_key(key) && matches(key, entry);
        keys.extend(self.side.keys_where(only_aside));
        keys
    }

    /// Keys of entries that nobody can use any more at `now`. Iterates everything: not for the event loop.
    #[must_use]
    pub fn useless_keys(&self, now: u64) -> Vec<Box<[u8]>> {
        let moka = self.moka.load_full();
        let is_useless = |entry: &Entry| entry.is_over(now) || !self.is_there(entry);
        let useless = moka.iter().filter(|(_, entry)| is_useless(entry));
        let mut keys: Vec<Box<[u8]>> = useless.map(|(key, _)| (*key).clone()).collect();
        let only_aside = |key: &[u8], entry: &Entry| !moka.contains_key(key) && is_useless(entry);
        keys.extend(self.side.keys_where(only_aside));
        keys
    }

    /// Drops the entry under `key` if it is of no use at `now`. Only under the stripe lock of the key.
    pub fn sweep(&self, key: &[u8], now: u64) {
        let moka = self.moka.load();
        let is_useless = |entry: &Entry| entry.is_over(now) || !self.is_there(entry);
        self.side.take_if(key, is_useless);
        if moka.get(key).is_some_and(|entry| is_useless(&entry)) && moka.remove(key).is_some() {
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
mod tests;

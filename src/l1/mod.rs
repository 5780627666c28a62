//! The first tier. Owns expiry by our own clock, eras and figures; [`store`] decides what stays, `generations` when an entry may be
//! changed, `cache` when it may be served. What expired is dropped by [`L1::sweep`].
//!
//! What this process writes while Redis is away is kept in a second place too, [`side`], since a full store soon lets go of
//! what is new. A key's two places never differ: `put_aside` puts the same entry into both, every other change takes the key out of
//! the side table before it touches the store. Reads ask the store first. The figures are the store's alone.

mod side;
mod store;

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use ahash::RandomState;
use arc_swap::ArcSwap;

use self::{side::Side, store::Store};
use crate::{clock, config, entry::Entry, tags::Mark};

/// What an entry costs beside its key and value: the store's bookkeeping, allocation headers and [`Entry`] itself.
const OVERHEAD: usize = 280;
/// A value above this share of the limit is not kept.
const LARGEST_SHARE: u64 = 64;
/// The side table may take this share of the limit, in addition to it.
const SIDE_SHARE: u64 = 16;

/// What became of a value handed to [`L1::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in.
    Kept,
    /// It is too large for this tier; what was there is gone.
    TooLarge,
}

/// L1 of one cache.
pub struct L1 {
    store: ArcSwap<Store>,
    side: Side,
    hasher: RandomState,
    max_bytes: u64,
    floor: u32,
    era: AtomicU32,
    evicted: AtomicU64,
    renewed: AtomicU64,
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
    /// An empty L1.
    #[must_use]
    pub fn new(config: &config::L1, hasher: &RandomState) -> Self {
        let floor = config
            .max_entries
            .map_or(0, |entries| config.max_bytes / entries.max(1));
        let floor = floor.min(most_of(config.max_bytes));
        let floor = u32::try_from(floor).unwrap_or(u32::MAX);
        Self {
            store: ArcSwap::from_pointee(Store::new(config.max_bytes, floor, hasher)),
            side: Side::new(config.max_bytes / SIDE_SHARE, floor, hasher),
            hasher: hasher.clone(),
            max_bytes: config.max_bytes,
            floor,
            era: AtomicU32::new(0),
            evicted: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// The current era; entries of an older one are gone.
    #[must_use]
    pub fn era(&self) -> u32 {
        self.era.load(Ordering::SeqCst)
    }

    /// The entry under `key`, of this era and in its time at `now`. It is in use.
    #[must_use]
    pub fn get(&self, key: &[u8], now: u64) -> Option<Arc<Entry>> {
        let entry = self.store.load().get(key);
        let entry = self.or_aside(key, entry)?;
        (!entry.expired(now)).then_some(entry)
    }

    /// The entry under `key` that was not cleared, also past its time.
    #[must_use]
    pub fn remembered(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.store.load().peek(key);
        self.or_aside(key, entry)
    }

    fn or_aside(&self, key: &[u8], entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        let entry = entry.or_else(|| self.side.get(key))?;
        self.is_there(&entry).then_some(entry)
    }

    /// Whether an entry was neither cleared nor invalidated by one of its tags.
    fn is_there(&self, entry: &Entry) -> bool {
        entry.era == self.era() && entry.marks().iter().all(Mark::holds)
    }

    /// Puts what Redis gave in place of what was under `key`. Only within `Locked::mutate` or `fill`.
    pub fn put(&self, key: &Arc<[u8]>, entry: Entry) -> Put {
        let same = |old: Arc<Entry>| old.expired(clock::now()) && old.payload == entry.payload;
        if self.remembered(key).is_some_and(same) {
            self.renewed.fetch_add(1, Ordering::Relaxed);
        }
        self.put_own(key, entry)
    }

    /// Puts what this process wrote in place of what was under `key`. Only within `Locked::mutate`.
    pub fn put_own(&self, key: &Arc<[u8]>, entry: Entry) -> Put {
        self.side.take(key);
        self.place(key, Arc::new(entry))
    }

    /// As [`L1::put_own`], for what may be found nowhere else: it stays in the side table should the store let go of it.
    pub fn put_aside(&self, key: &Arc<[u8]>, entry: Entry) -> Put {
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
        self.store.load().has_room(key, entry)
    }

    fn is_too_large(&self, key: &[u8], entry: &Entry) -> bool {
        let largest = (self.max_bytes / LARGEST_SHARE).max(OVERHEAD as u64 * 2);
        size(key, entry) as u64 > largest.min(most_of(self.max_bytes))
    }

    fn place(&self, key: &Arc<[u8]>, entry: Arc<Entry>) -> Put {
        if self.is_too_large(key, &entry) {
            self.take(key);
            return Put::TooLarge;
        }
        let evicted = self.store.load().insert(key, entry);
        if evicted > 0 {
            self.evicted.fetch_add(evicted, Ordering::Relaxed);
        }
        Put::Kept
    }

    /// Removes and returns what is under `key`, whatever its time. Only within `Locked::mutate`.
    pub fn take(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let aside = self.side.take(key);
        let entry = self.store.load().remove(key).or(aside)?;
        self.is_there(&entry).then_some(entry)
    }

    /// Drops what was put aside while the link `in_use`, if there is one, was not: Redis is asked for it again. May take
    /// milliseconds.
    pub fn release_aside(&self, in_use: impl Fn(&[u8]) -> u64) {
        self.side.release(in_use);
    }

    /// Forgets everything at once, whatever it holds; returns what was held, to be dropped on a thread that may be slow.
    #[must_use]
    pub fn clear(&self) -> impl Send + 'static {
        self.era.fetch_add(1, Ordering::SeqCst);
        let fresh = Store::new(self.max_bytes, self.floor, &self.hasher);
        (self.store.swap(Arc::new(fresh)), self.side.clear())
    }

    /// The keys held that satisfy `matches`. Iterates everything: not for the event loop.
    pub fn keys_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Arc<[u8]>> {
        self.all_where(|key, entry| self.is_there(entry) && matches(key, entry))
    }

    /// Keys of entries that nobody can use any more at `now`. Iterates everything: not for the event loop.
    #[must_use]
    pub fn useless_keys(&self, now: u64) -> Vec<Arc<[u8]>> {
        self.all_where(|_, entry| self.is_useless(entry, now))
    }

    fn all_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Arc<[u8]>> {
        let store = self.store.load_full();
        let mut keys = store.keys_where(&matches);
        let only_aside = |key: &[u8], entry: &Entry| !store.contains(key) && matches(key, entry);
        keys.extend(self.side.keys_where(only_aside));
        keys
    }

    fn is_useless(&self, entry: &Entry, now: u64) -> bool {
        entry.is_over(now) || !self.is_there(entry)
    }

    /// Drops the entry under `key` if it is of no use at `now`. Only under the stripe lock of the key.
    pub fn sweep(&self, key: &[u8], now: u64) {
        let is_useless = |entry: &Entry| self.is_useless(entry, now);
        self.side.take_if(key, is_useless);
        if self.store.load().remove_if(key, is_useless).is_some() {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let store = self.store.load();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            entries: store.entries(),
            bytes: store.bytes(),
            evicted: load(&self.evicted),
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

/// What a single entry may count for at most: the store has so much for those in use.
const fn most_of(max_bytes: u64) -> u64 {
    max_bytes / 10 * 9
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

#[cfg(test)]
mod tests;

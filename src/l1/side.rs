//! The side table: what this process wrote while Redis was away. A full store lets go of what is new before what others have asked
//! for, and while Redis is away nobody else has it. Owns recency and a bound of its own; which of an entry's
//! places is asked first is the business of [`L1`](super::L1).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;

use super::weight;
use crate::entry::Entry;

type Lru = LruCache<Arc<[u8]>, Arc<Entry>, RandomState>;

/// A small table by recency, bounded in bytes.
pub(super) struct Side {
    kept: Mutex<Kept>,
    /// Seen without the lock, so that a read costs nothing as long as nothing was put aside.
    used: AtomicBool,
    hasher: RandomState,
    floor: u32,
    max_bytes: u64,
}

struct Kept {
    lru: Lru,
    bytes: u64,
}

impl Side {
    /// An empty table of at most `max_bytes`, where no entry costs less than `floor`.
    pub(super) fn new(max_bytes: u64, floor: u32, hasher: &RandomState) -> Self {
        Self {
            kept: Mutex::new(Kept::new(hasher)),
            used: AtomicBool::new(false),
            hasher: hasher.clone(),
            floor,
            max_bytes,
        }
    }

    fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    fn weight(&self, key: &[u8], entry: &Entry) -> u64 {
        u64::from(weight(key, entry, self.floor))
    }

    /// What was put aside under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        if !self.is_used() {
            return None;
        }
        self.kept.lock().lru.get(key).map(Arc::clone)
    }

    /// Puts `entry` aside in place of what was there; what was not used for longest makes room.
    pub(super) fn put(&self, key: &Arc<[u8]>, entry: &Arc<Entry>) {
        let mut kept = self.kept.lock();
        let weight = self.weight(key, entry);
        if let Some(old) = kept.lru.put(Arc::clone(key), Arc::clone(entry)) {
            kept.bytes -= self.weight(key, &old);
        }
        kept.bytes += weight;
        while kept.bytes > self.max_bytes {
            let Some((key, old)) = kept.lru.pop_lru() else {
                break;
            };
            kept.bytes -= self.weight(&key, &old);
        }
        self.used.store(!kept.lru.is_empty(), Ordering::Release);
    }

    /// Takes out what is under `key`.
    pub(super) fn take(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.take_if(key, |_| true)
    }

    /// Takes out what is under `key` if it satisfies `goes`.
    pub(super) fn take_if(&self, key: &[u8], goes: impl Fn(&Entry) -> bool) -> Option<Arc<Entry>> {
        if !self.is_used() {
            return None;
        }
        let mut kept = self.kept.lock();
        kept.lru.peek(key).filter(|entry| goes(entry))?;
        self.take_from(&mut kept, key)
    }

    /// Drops what was put aside under another link than the one in use, `in_use`, which is asked with the table locked:
    /// nothing that is put aside later is taken for something from before. 0 is no link, and drops nothing.
    pub(super) fn release(&self, in_use: impl Fn(&[u8]) -> u64) {
        if !self.is_used() {
            return;
        }
        let mut kept = self.kept.lock();
        let from_before = kept.lru.iter().filter(|(key, entry)| {
            let link = in_use(key);
            link != 0 && link != entry.link
        });
        let keys: Vec<Arc<[u8]>> = from_before.map(|(key, _)| Arc::clone(key)).collect();
        let freed: Vec<_> = keys
            .iter()
            .map(|key| self.take_from(&mut kept, key))
            .collect();
        drop(kept);
        drop(freed);
    }

    fn take_from(&self, kept: &mut Kept, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = kept.lru.pop(key)?;
        kept.bytes -= self.weight(key, &entry);
        self.used.store(!kept.lru.is_empty(), Ordering::Release);
        Some(entry)
    }

    /// The keys of entries that satisfy `matches`.
    pub(super) fn keys_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Arc<[u8]>> {
        if !self.is_used() {
            return Vec::new();
        }
        let kept = self.kept.lock();
        let found = kept.lru.iter().filter(|(key, entry)| matches(key, entry));
        found.map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Empties the table; what it held is to be dropped on a thread that may be slow.
    pub(super) fn clear(&self) -> impl Send + 'static {
        if !self.is_used() {
            return None;
        }
        let mut kept = self.kept.lock();
        self.used.store(false, Ordering::Release);
        Some(std::mem::replace(&mut *kept, Kept::new(&self.hasher)).lru)
    }

    /// The bytes that its entries cost.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.kept.lock().bytes
    }
}

impl Kept {
    fn new(hasher: &RandomState) -> Self {
        Self {
            lru: LruCache::unbounded_with_hasher(hasher.clone()),
            bytes: 0,
        }
    }
}

//! Where L1's entries are, within a number of bytes: tables of `quick_cache` (S3-FIFO), each for a share of the keys. What is new
//! goes first unless it is asked for again; what was let go of shortly before is not new.
//!
//! A table does all of its work when it is called: to let go of one entry it may have to look at each once, 5 ns long. It begins
//! small, and once it is in earnest use it is made as large as it can become, so that no call pays for its growth.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ahash::RandomState;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};
use smallvec::SmallVec;

use super::{OVERHEAD, weight};
use crate::entry::Entry;

/// Tables at most, so that threads seldom wait for each other. An entry may have an eighth of one.
const TABLES: u64 = 8;
/// Bytes and entries that a table holds at least. It is full when it has its part of the keys, which is seldom just its part of the
/// bytes: the more there are of both, the nearer it is.
const LEAST_BYTES: u64 = 16 << 20;
const FEWEST: u64 = 512;
/// The share of a table that is for what was asked for again. The library's own 0.97 is up to 0.4 points better where popularity
/// lasts, and 3 worse where it moves (docs/performance.md).
const HOT: f64 = 0.9;
/// Bytes for which a table remembers one key that it let go of.
const PER_GHOST: u64 = 1 << 10;
/// From so many entries on a table is in earnest use.
const EARNEST: usize = 1_000;
/// Entries of all tables for which room is made at once, at most.
const MOST_RESERVED: u64 = 1 << 22;

type Key = Arc<[u8]>;
type Entries = Cache<Key, Arc<Entry>, Weights, RandomState, Leaving>;

/// What an entry counts for.
#[derive(Clone)]
struct Weights {
    floor: u32,
}

impl Weighter<Key, Arc<Entry>> for Weights {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        u64::from(weight(key, entry, self.floor))
    }
}

/// Collects what an insertion lets go of, to be dropped when nothing is locked.
#[derive(Clone)]
struct Leaving;

impl Lifecycle<Key, Arc<Entry>> for Leaving {
    type RequestState = SmallVec<[(Key, Arc<Entry>); 2]>;

    fn begin_request(&self) -> Self::RequestState {
        SmallVec::new()
    }

    fn on_evict(&self, left: &mut Self::RequestState, key: Key, entry: Arc<Entry>) {
        left.push((key, entry));
    }
}

struct Table {
    entries: Entries,
    /// How many it may come to hold.
    most: usize,
    has_room: AtomicBool,
}

/// The entries.
pub(super) struct Store {
    tables: Box<[Table]>,
    hasher: RandomState,
    floor: u32,
}

impl Store {
    /// An empty one for `max_bytes`, in which no entry counts for less than `floor`.
    pub(super) fn new(max_bytes: u64, floor: u32, hasher: &RandomState) -> Self {
        let most = max_bytes / u64::from(floor).max(OVERHEAD as u64);
        let fitting = (most / FEWEST).min(max_bytes / LEAST_BYTES);
        let fitting = fitting.clamp(1, TABLES);
        let count = 1 << fitting.ilog2();
        let table = |_| Table::new(max_bytes / count, most / count, floor, hasher);
        Self {
            tables: (0..count).map(table).collect(),
            hasher: hasher.clone(),
            floor,
        }
    }

    /// The key's table. Its hash is the one that the tables use: these of its bits are not theirs.
    fn table(&self, key: &[u8]) -> &Table {
        let bits = self.hasher.hash_one(key) >> 40;
        let at = bits as usize & (self.tables.len() - 1);
        &self.tables[at]
    }

    /// The entry under `key`, which is in use.
    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.table(key).entries.get(key)
    }

    /// The entry under `key`, without a word on whether it is in use.
    pub(super) fn peek(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.table(key).entries.peek(key)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.table(key).entries.contains_key(key)
    }

    /// Puts `entry` in place of what was there; how many others had to go.
    pub(super) fn insert(&self, key: &Key, entry: Arc<Entry>) -> u64 {
        let table = self.table(key);
        let left = table.entries.insert_with_lifecycle(Arc::clone(key), entry);
        table.make_room();
        // What was replaced comes first.
        let replaced = left.first().is_some_and(|(first, _)| first == key);
        (left.len() - usize::from(replaced)) as u64
    }

    pub(super) fn remove(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.remove_if(key, |_| true)
    }

    /// Takes out what is under `key` if it satisfies `goes`.
    pub(super) fn remove_if(
        &self,
        key: &[u8],
        goes: impl Fn(&Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        let entries = &self.table(key).entries;
        let removed = entries.remove_if(key, |entry| goes(entry));
        removed.map(|(_, entry)| entry)
    }

    /// Whether `entry` can be put in without another one having to go.
    pub(super) fn has_room(&self, key: &[u8], entry: &Entry) -> bool {
        let entries = &self.table(key).entries;
        entries.weight() + u64::from(weight(key, entry, self.floor)) <= entries.capacity()
    }

    /// The keys of entries that satisfy `matches`. Goes through everything.
    pub(super) fn keys_where(&self, matches: impl Fn(&[u8], &Entry) -> bool) -> Vec<Key> {
        let all = self.tables.iter().flat_map(|table| table.entries.iter());
        all.filter(|(key, entry)| matches(key, entry))
            .map(|(key, _)| key)
            .collect()
    }

    pub(super) fn entries(&self) -> u64 {
        let counts = self.tables.iter().map(|table| table.entries.len() as u64);
        counts.sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        let weights = self.tables.iter().map(|table| table.entries.weight());
        weights.sum()
    }
}

impl Table {
    fn new(max_bytes: u64, most: u64, floor: u32, hasher: &RandomState) -> Self {
        let items = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(items((max_bytes / PER_GHOST).min(most)))
            .ghost_allocation(1.0)
            .hot_allocation(HOT)
            .weight_capacity(max_bytes)
            .build();
        let options = options.expect("all that it wants was set");
        Self {
            entries: Cache::with_options(options, Weights { floor }, hasher.clone(), Leaving),
            most: items(most.min(MOST_RESERVED / TABLES)),
            has_room: AtomicBool::new(false),
        }
    }

    /// Makes room for all that it may come to hold, once.
    fn make_room(&self) {
        if self.has_room.load(Ordering::Relaxed) || self.entries.len() < EARNEST {
            return;
        }
        if !self.has_room.swap(true, Ordering::Relaxed) {
            self.entries.reserve(self.most.saturating_sub(EARNEST));
        }
    }
}

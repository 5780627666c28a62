//! The protocol that makes L1 linearizable within the process: a table of generation counters, one slot a key by
//! hash, the stripe locks that writers of a slot hold, and what is under way for a key.
//!
//! | who | does, under the stripe lock |
//! |---|---|
//! | a change (`mutate`) | count the slot up to odd, forget the key's read and flight, change L1, count up to even, enqueue the command |
//! | a read that missed | join the read under way, or become it |
//! | its reply (`fill`) | only if it is still the read under way: forget it, odd, insert into L1, even |
//!
//! So a reply that crosses a change of its key finds its token gone and is not inserted, and Redis sees one key's
//! changes in the order in which L1 did. An odd count means that a change is under way. Evictions and expiry count
//! nothing: the value was true. There are no tombstones.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};

/// Slots of the table; keys that share one only make each other's near hits fall through.
const SLOTS: usize = 1 << 14;
/// Locks; a stripe serves the slots with the same low bits.
const STRIPES: usize = 1 << 8;

/// The table of one cache. `R` is a read under way.
pub struct Generations<R> {
    slots: Box<[AtomicU32]>,
    stripes: Box<[Mutex<Stripe<R>>]>,
    hasher: RandomState,
}

struct Stripe<R> {
    reads: HashMap<Box<[u8]>, Arc<R>, RandomState>,
    flights: HashMap<Box<[u8]>, u64, RandomState>,
}

/// A key with its stripe locked.
pub struct Locked<'a, R> {
    stripe: MutexGuard<'a, Stripe<R>>,
    slot: &'a AtomicU32,
    key: &'a [u8],
}

impl<R> Generations<R> {
    /// An empty table that places keys by `hasher`.
    #[must_use]
    pub fn new(hasher: &RandomState) -> Self {
        let stripe = || {
            Mutex::new(Stripe {
                reads: HashMap::with_hasher(hasher.clone()),
                flights: HashMap::with_hasher(hasher.clone()),
            })
        };
        Self {
            slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            hasher: hasher.clone(),
        }
    }

    fn slot_of(&self, key: &[u8]) -> usize {
        // The mask keeps the low bits only, so the narrowing loses nothing that matters.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked to the table's size"
        )]
        let hash = self.hasher.hash_one(key) as usize;
        hash & (SLOTS - 1)
    }

    /// The key's generation: odd while a change is under way. Read it before L1, never after.
    #[must_use]
    pub fn current(&self, key: &[u8]) -> u32 {
        self.slots[self.slot_of(key)].load(Ordering::SeqCst)
    }

    /// Locks the key's stripe. Never lock two keys at once: that is what [`Generations::mutate_all`] is for.
    #[must_use]
    pub fn lock<'a>(&'a self, key: &'a [u8]) -> Locked<'a, R> {
        let slot = self.slot_of(key);
        Locked {
            stripe: self.stripes[slot & (STRIPES - 1)].lock(),
            slot: &self.slots[slot],
            key,
        }
    }

    /// Changes several keys as [`Locked::mutate`] changes one, with all their stripes locked until `then` is done.
    pub fn mutate_all<T>(
        &self,
        keys: &[Arc<[u8]>],
        mut change: impl FnMut(&Arc<[u8]>),
        then: impl FnOnce() -> T,
    ) -> T {
        let mut stripes: Vec<usize> = keys
            .iter()
            .map(|key| self.slot_of(key) & (STRIPES - 1))
            .collect();
        stripes.sort_unstable();
        stripes.dedup();
        // In one order for everyone, so that nobody waits for somebody who waits for them.
        let mut locked: Vec<_> = stripes.iter().map(|at| self.stripes[*at].lock()).collect();
        for key in keys {
            let slot = self.slot_of(key);
            if let Ok(at) = stripes.binary_search(&(slot & (STRIPES - 1))) {
                locked[at].reads.remove(&**key);
                locked[at].flights.remove(&**key);
            }
            self.slots[slot].fetch_add(1, Ordering::SeqCst);
            change(key);
            self.slots[slot].fetch_add(1, Ordering::SeqCst);
        }
        then()
    }

    /// Forgets reads and flights of every key that `matches`, so that none of them fills L1.
    pub fn forget(&self, matches: impl Fn(&[u8]) -> bool) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            stripe.reads.retain(|key, _| !matches(key));
            stripe.flights.retain(|key, _| !matches(key));
        }
    }
}

impl<R> Locked<'_, R> {
    /// Changes the key: what is under way for it may no longer fill L1, and near hits see that it changed.
    pub fn mutate<T>(&mut self, change: impl FnOnce() -> T) -> T {
        self.stripe.reads.remove(self.key);
        self.stripe.flights.remove(self.key);
        self.counted(change)
    }

    fn counted<T>(&mut self, change: impl FnOnce() -> T) -> T {
        self.slot.fetch_add(1, Ordering::SeqCst);
        let result = change();
        self.slot.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// The read under way for the key.
    #[must_use]
    pub fn read(&self) -> Option<&Arc<R>> {
        self.stripe.reads.get(self.key)
    }

    /// Makes `read` the read under way.
    pub fn begin_read(&mut self, read: Arc<R>) {
        self.stripe.reads.insert(self.key.into(), read);
    }

    /// Ends `read`; true if it was still the read under way, and its reply may fill L1.
    #[must_use]
    pub fn end_read(&mut self, read: &Arc<R>) -> bool {
        let current = self
            .read()
            .is_some_and(|current| Arc::ptr_eq(current, read));
        if current {
            self.stripe.reads.remove(self.key);
        }
        current
    }

    /// Puts what a read or flight brought into L1, after its token was found good.
    pub fn fill<T>(&mut self, insert: impl FnOnce() -> T) -> T {
        self.counted(insert)
    }

    /// Makes `flight` the one whose value may be stored for the key.
    pub fn begin_flight(&mut self, flight: u64) {
        self.stripe.flights.insert(self.key.into(), flight);
    }

    /// Whether `flight` is the key's, and the key was not changed since it began.
    #[must_use]
    pub fn is_flight(&self, flight: u64) -> bool {
        self.stripe.flights.get(self.key) == Some(&flight)
    }

    /// Ends `flight`; true if the key was not changed since it began.
    #[must_use]
    pub fn end_flight(&mut self, flight: u64) -> bool {
        let current = self.is_flight(flight);
        if current {
            self.stripe.flights.remove(self.key);
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Generations<u8> {
        Generations::new(&RandomState::with_seed(1))
    }

    #[test]
    fn a_reply_that_crossed_a_change_may_not_fill() {
        let table = table();
        let read = Arc::new(1);
        table.lock(b"k").begin_read(Arc::clone(&read));
        table.lock(b"k").mutate(|| ());
        assert!(!table.lock(b"k").end_read(&read));
    }

    #[test]
    fn a_read_that_followed_a_change_may_fill_and_the_older_one_may_not() {
        let table = table();
        let (old, new) = (Arc::new(1), Arc::new(2));
        table.lock(b"k").begin_read(Arc::clone(&old));
        table.lock(b"k").mutate(|| ());
        table.lock(b"k").begin_read(Arc::clone(&new));
        assert!(!table.lock(b"k").end_read(&old));
        assert!(table.lock(b"k").end_read(&new));
        assert!(!table.lock(b"k").end_read(&new));
    }

    #[test]
    fn a_change_is_odd_while_it_runs_and_seen_after() {
        let table = table();
        let before = table.current(b"k");
        table
            .lock(b"k")
            .mutate(|| assert_eq!(table.current(b"k") % 2, 1));
        assert_eq!(table.current(b"k"), before + 2);
    }

    #[test]
    fn changing_several_keys_forgets_what_is_under_way_for_each() {
        let table = table();
        let keys: Vec<Arc<[u8]>> = (0..600_u32)
            .map(|n| Arc::from(n.to_be_bytes().as_slice()))
            .collect();
        for key in &keys {
            table.lock(key).begin_flight(1);
        }
        let mut changed = 0;
        table.mutate_all(&keys, |_| changed += 1, || ());
        assert_eq!(changed, keys.len());
        assert!(keys.iter().all(|key| !table.lock(key).end_flight(1)));
    }

    #[test]
    fn a_flight_ends_once_and_not_after_a_change_or_a_pattern() {
        let table = table();
        table.lock(b"k").begin_flight(7);
        assert!(!table.lock(b"k").end_flight(6));
        assert!(table.lock(b"k").end_flight(7));
        table.lock(b"k").begin_flight(8);
        table.lock(b"k").mutate(|| ());
        assert!(!table.lock(b"k").end_flight(8));
        table.lock(b"k").begin_flight(9);
        table.forget(|key| key.starts_with(b"k"));
        assert!(!table.lock(b"k").end_flight(9));
    }
}

//! The protocol that makes L1 linearizable within the process: a table of generation counters, one slot a key by
//! hash, the stripe locks that writers of a slot hold, and what is under way for a key.
//!
//! | who | does, under the stripe lock |
//! |---|---|
//! | a change (`mutate`) | count the slot up to odd, forget the key's read, flight and hold, change L1, count up to even, enqueue the command |
//! | news of a change elsewhere (`hear`) | the same, but a flight takes it as its stage allows |
//! | a read that missed | join the read under way, or become it |
//! | its reply (`fill`) | only if it is still the read under way: forget it, odd, insert into L1, even |
//!
//! So a reply that crosses a change of its key finds its token gone and is not inserted, and Redis sees one key's
//! changes in the order in which L1 did. A hold is what is known of a key that has no
//! value of its own, such as that its factory failed: any change ends it. An odd count means that a change is under way.
//! Evictions and expiry count nothing: the value was true. There are no tombstones.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};

use crate::tide::{SLOTS, Tide};

/// Locks; a stripe serves the slots with the same low bits.
const STRIPES: usize = 1 << 8;

/// Holds in one stripe at most.
const MOST_HOLDS: usize = 64;

/// The table of one cache. `R` is a read under way, `H` a hold.
pub struct Generations<R, H> {
    tide: Arc<Tide>,
    stripes: Box<[Mutex<Stripe<R, H>>]>,
    hasher: RandomState,
}

type Key = Arc<[u8]>;
type ByKey<T> = HashMap<Key, T, RandomState>;

struct Stripe<R, H> {
    reads: ByKey<Arc<R>>,
    flights: ByKey<Flight>,
    holds: ByKey<H>,
}

/// The flight whose value may be stored for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flight {
    id: u64,
    /// Whether somebody who comes now may have its value.
    joinable: bool,
    /// How it takes the news that somebody else changed the key.
    patience: Patience,
}

/// What the news of a change elsewhere does to a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Nothing: its factory has not begun, and will see what the change left.
    Reading,
    /// Its value may still be stored, which is done only where nothing is there: the news is of the expiry that its own read
    /// brought about, or of a value, which stays.
    Once,
    /// Its value is not stored.
    Never,
}

impl<R, H> Stripe<R, H> {
    fn new(hasher: &RandomState) -> Self {
        Self {
            reads: HashMap::with_hasher(hasher.clone()),
            flights: HashMap::with_hasher(hasher.clone()),
            holds: HashMap::with_hasher(hasher.clone()),
        }
    }

    fn hear(&mut self, key: &[u8], in_order: bool) {
        self.reads.remove(key);
        self.holds.remove(key);
        let Some(flight) = self.flights.get_mut(key) else {
            return;
        };
        match flight.patience {
            Patience::Reading => flight.joinable &= in_order,
            Patience::Once => {
                flight.joinable = false;
                flight.patience = Patience::Never;
            }
            Patience::Never => drop(self.flights.remove(key)),
        }
    }

    fn forget(&mut self, key: &[u8]) {
        self.reads.remove(key);
        self.flights.remove(key);
        self.holds.remove(key);
    }
}

/// A key with its stripe locked.
pub struct Locked<'a, R, H> {
    stripe: MutexGuard<'a, Stripe<R, H>>,
    slot: &'a AtomicU32,
    key: &'a Key,
}

impl<R, H> Generations<R, H> {
    /// An empty table that places keys by `hasher` and counts in the words of `tide`.
    #[must_use]
    pub fn new(hasher: &RandomState, tide: Arc<Tide>) -> Self {
        let stripe = || Mutex::new(Stripe::new(hasher));
        Self {
            tide,
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            hasher: hasher.clone(),
        }
    }

    /// The key's slot.
    #[must_use]
    pub fn slot_of(&self, key: &[u8]) -> usize {
        // The mask keeps the low bits only, so the narrowing loses nothing that matters.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked to the table's size"
        )]
        let hash = self.hasher.hash_one(key) as usize;
        hash & (SLOTS - 1)
    }

    /// The generation of a slot: odd while a change is under way. Read it before L1, never after.
    #[must_use]
    pub fn current(&self, slot: usize) -> u32 {
        self.tide.slot(slot).load(Ordering::SeqCst)
    }

    /// Locks the key's stripe. Never lock two keys at once: that is what [`Generations::mutate_all`] is for.
    #[must_use]
    pub fn lock<'a>(&'a self, key: &'a Arc<[u8]>) -> Locked<'a, R, H> {
        let slot = self.slot_of(key);
        Locked {
            stripe: self.stripes[slot & (STRIPES - 1)].lock(),
            slot: self.tide.slot(slot),
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
                locked[at].forget(key);
            }
            let slot = self.tide.slot(slot);
            slot.fetch_add(1, Ordering::SeqCst);
            change(key);
            slot.fetch_add(1, Ordering::SeqCst);
        }
        then()
    }

    /// Forgets what is under way for every key that `matches`, so that none of it fills a tier.
    pub fn forget(&self, matches: impl Fn(&[u8]) -> bool) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            stripe.reads.retain(|key, _| !matches(key));
            stripe.flights.retain(|key, _| !matches(key));
            stripe.holds.retain(|key, _| !matches(key));
        }
    }
}

impl<R, H> Locked<'_, R, H> {
    /// Changes the key: what is under way for it may no longer fill L1, and near hits see that it changed.
    pub fn mutate<T>(&mut self, change: impl FnOnce() -> T) -> T {
        self.stripe.forget(self.key);
        self.counted(change)
    }

    /// Somebody else changed the key, as far as is known: as [`Locked::mutate`], but a flight takes it as its stage allows.
    /// `in_order`: the news came over the connection that answers reads, so that no answer behind it is from before it.
    pub fn hear<T>(&mut self, in_order: bool, change: impl FnOnce() -> T) -> T {
        self.stripe.hear(self.key, in_order);
        self.counted(change)
    }

    fn counted<T>(&self, change: impl FnOnce() -> T) -> T {
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
        self.stripe.reads.insert(Arc::clone(self.key), read);
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

    /// What L1 holds is not the answer from now on, though it stays as it is.
    pub fn cover(&self) {
        self.counted(|| ());
    }

    /// Puts what a read or flight brought into L1, after its token was found good.
    pub fn fill<T>(&mut self, insert: impl FnOnce() -> T) -> T {
        self.counted(insert)
    }

    /// Makes `flight` the one whose value may be stored for the key.
    pub fn begin_flight(&mut self, id: u64) {
        let flight = Flight {
            id,
            joinable: true,
            patience: Patience::Reading,
        };
        self.stripe.flights.insert(Arc::clone(self.key), flight);
    }

    /// The factory of `flight` begins; `lenient`: one change elsewhere does not keep its value out.
    pub fn lead_flight(&mut self, id: u64, lenient: bool) {
        if let Some(flight) = self.stripe.flights.get_mut(self.key)
            && flight.id == id
        {
            flight.patience = if lenient {
                Patience::Once
            } else {
                Patience::Never
            };
        }
    }

    fn flight(&self, id: u64) -> Option<&Flight> {
        let flight = self.stripe.flights.get(self.key);
        flight.filter(|flight| flight.id == id)
    }

    /// Whether `flight` is the key's, and the key was not changed since it began.
    #[must_use]
    pub fn is_flight(&self, id: u64) -> bool {
        self.flight(id).is_some()
    }

    /// Whether who comes now may have the value of `flight`.
    #[must_use]
    pub fn is_joinable(&self, id: u64) -> bool {
        self.flight(id).is_some_and(|flight| flight.joinable)
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

impl<R, H> Locked<'_, R, H> {
    /// What is known of the key beside its value.
    #[must_use]
    pub fn held(&self) -> Option<&H> {
        self.stripe.holds.get(self.key)
    }

    /// Keeps `hold` until the key changes. Where there is no room, those that are over go, and then any.
    pub fn hold(&mut self, hold: H, is_over: impl Fn(&H) -> bool) {
        let holds = &mut self.stripe.holds;
        if holds.len() >= MOST_HOLDS {
            holds.retain(|_, hold| !is_over(hold));
        }
        if holds.len() >= MOST_HOLDS
            && let Some(any) = holds.keys().next().cloned()
        {
            holds.remove(&any);
        }
        holds.insert(Arc::clone(self.key), hold);
    }

    /// The key has a value again: its hold goes if it `ends` by that.
    pub fn release_hold(&mut self, ends: impl Fn(&H) -> bool) {
        if self.held().is_some_and(ends) {
            self.stripe.holds.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Arc::from(&b"k"[..])
    }

    fn table() -> Generations<u8, u8> {
        Generations::new(&RandomState::with_seed(1), Tide::new())
    }

    #[test]
    fn a_reply_that_crossed_a_change_may_not_fill() {
        let table = table();
        let read = Arc::new(1);
        table.lock(&key()).begin_read(Arc::clone(&read));
        table.lock(&key()).mutate(|| ());
        assert!(!table.lock(&key()).end_read(&read));
    }

    #[test]
    fn a_read_that_followed_a_change_may_fill_and_the_older_one_may_not() {
        let table = table();
        let (old, new) = (Arc::new(1), Arc::new(2));
        table.lock(&key()).begin_read(Arc::clone(&old));
        table.lock(&key()).mutate(|| ());
        table.lock(&key()).begin_read(Arc::clone(&new));
        assert!(!table.lock(&key()).end_read(&old));
        assert!(table.lock(&key()).end_read(&new));
        assert!(!table.lock(&key()).end_read(&new));
    }

    #[test]
    fn a_change_is_odd_while_it_runs_and_seen_after() {
        let table = table();
        let before = table.current(table.slot_of(b"k"));
        table
            .lock(&key())
            .mutate(|| assert_eq!(table.current(table.slot_of(b"k")) % 2, 1));
        assert_eq!(table.current(table.slot_of(b"k")), before + 2);
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
        table.lock(&key()).begin_flight(7);
        assert!(!table.lock(&key()).end_flight(6));
        assert!(table.lock(&key()).end_flight(7));
        table.lock(&key()).begin_flight(8);
        table.lock(&key()).mutate(|| ());
        assert!(!table.lock(&key()).end_flight(8));
        table.lock(&key()).begin_flight(9);
        table.forget(|key| key.starts_with(b"k"));
        assert!(!table.lock(&key()).end_flight(9));
    }
    #[test]
    fn a_flight_that_reads_takes_no_notice_of_changes_elsewhere() {
        let table = table();
        table.lock(&key()).begin_flight(1);
        table.lock(&key()).hear(true, || ());
        table.lock(&key()).hear(true, || ());
        assert!(table.lock(&key()).is_joinable(1) && table.lock(&key()).end_flight(1));
    }

    #[test]
    fn a_value_for_an_empty_place_outlives_one_change_elsewhere_and_another_value_none() {
        let table = table();
        for (only_if_absent, outlives) in [(true, 1), (false, 0)] {
            table.lock(&key()).begin_flight(1);
            table.lock(&key()).lead_flight(1, only_if_absent);
            for _ in 0..outlives {
                table.lock(&key()).hear(true, || ());
                assert!(table.lock(&key()).is_flight(1) && !table.lock(&key()).is_joinable(1));
            }
            table.lock(&key()).hear(true, || ());
            assert!(!table.lock(&key()).end_flight(1));
        }
    }

    #[test]
    fn a_change_here_ends_a_flight_whatever_its_stage() {
        let table = table();
        table.lock(&key()).begin_flight(1);
        table.lock(&key()).mutate(|| ());
        assert!(!table.lock(&key()).end_flight(1));
    }

    #[test]
    fn a_hold_ends_with_any_change_of_its_key_and_not_with_a_fill() {
        let table = table();
        table.lock(&key()).hold(7, |_| false);
        table.lock(&key()).fill(|| ());
        assert_eq!(table.lock(&key()).held(), Some(&7));
        table.lock(&key()).mutate(|| ());
        assert_eq!(table.lock(&key()).held(), None);
        table.lock(&key()).hold(8, |_| false);
        table.forget(|_| true);
        assert_eq!(table.lock(&key()).held(), None);
    }

    #[test]
    fn holds_are_bounded_and_those_that_are_over_go_first() {
        let table = table();
        let same = |n: u32| (n, table.slot_of(&n.to_be_bytes()) % STRIPES);
        let keys = (0..).map(same).filter(|(_, stripe)| *stripe == 0);
        let keys: Vec<Key> = keys
            .take(MOST_HOLDS + 2)
            .map(|(n, _)| Key::from(n.to_be_bytes()))
            .collect();
        for (key, n) in keys[..MOST_HOLDS].iter().zip(0..) {
            table.lock(key).hold(n, |_| false);
        }
        table.lock(&keys[MOST_HOLDS]).hold(0, |hold| *hold == 5);
        assert_eq!(table.lock(&keys[5]).held(), None);
        let held = |key: &&Key| table.lock(key).held().is_some();
        assert_eq!(keys.iter().filter(held).count(), MOST_HOLDS);
        table.lock(&keys[MOST_HOLDS + 1]).hold(0, |_| false);
        assert_eq!(keys.iter().filter(held).count(), MOST_HOLDS);
    }
}

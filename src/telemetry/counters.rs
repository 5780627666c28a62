//! What a cache counts.
//!
//! Owns the counters; the values of their labels are in `labels`. All additions are
//! relaxed: each figure is exact on its own, but two of them read together may be
//! some operations apart. Nothing is ever reset.

use super::histogram::{Distribution, Histogram};
pub use super::labels::{
    CommandFamily, ErrorClass, EvictionCause, InvalidationSource, Label, LoadResult,
};

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

/// One counter for each value of a label.
#[derive(Debug)]
pub struct ByLabel<L, const N: usize> {
    /// The counters in the order of [`Label::ALL`].
    counts: [AtomicU64; N],
    label: PhantomData<L>,
}

impl<L: Label, const N: usize> Default for ByLabel<L, N> {
    fn default() -> Self {
        const { assert!(L::ALL.len() == N, "one counter for each value of the label") };
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            label: PhantomData,
        }
    }
}

impl<L: Label, const N: usize> ByLabel<L, N> {
    /// Counts one.
    pub fn count(&self, value: L) {
        self.add(value, 1);
    }

    /// Counts `times`.
    pub fn add(&self, value: L, times: u64) {
        self.counts[value.index()].fetch_add(times, Relaxed);
    }

    /// The count of one value.
    #[must_use]
    pub fn get(&self, value: L) -> u64 {
        self.counts[value.index()].load(Relaxed)
    }

    /// All counts in the order of [`Label::ALL`].
    #[must_use]
    pub fn read(&self) -> [u64; N] {
        std::array::from_fn(|index| self.counts[index].load(Relaxed))
    }
}

/// A counter that shares its cache line, and the one that is fetched beside it,
/// with nothing: the hit path of every thread writes to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded(AtomicU64);

impl Deref for Padded {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

/// Hits: those that native code answered, and those that JavaScript answered by itself, which each thread counts in a cell of
/// its own.
#[derive(Debug, Default)]
pub struct Hits {
    native: Padded,
    near: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Hits {
    /// Counts one that native code answered.
    pub fn count(&self) {
        self.native.fetch_add(1, Relaxed);
    }

    /// Counts what is in `cell` too, as the bits of a double, until it is given up.
    pub fn count_in(&self, cell: &Arc<AtomicU64>) {
        self.near.lock().push(Arc::clone(cell));
    }

    /// Nothing more will be counted in `cell`.
    pub fn give_up(&self, cell: &Arc<AtomicU64>) {
        let mut near = self.near.lock();
        self.native.fetch_add(counted(cell), Relaxed);
        near.retain(|other| !Arc::ptr_eq(other, cell));
    }

    fn read(&self) -> u64 {
        let near = self.near.lock();
        load(&self.native) + near.iter().map(|cell| counted(cell)).sum::<u64>()
    }
}

/// The number in a cell.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts up from 0 by 1"
)]
fn counted(cell: &AtomicU64) -> u64 {
    f64::from_bits(cell.load(Relaxed)) as u64
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $live:ty => $plain:ty = $read:expr,)+) => {
        /// Everything that one cache counts, from its start on.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: $live,)+ }

        /// The counters as they were when somebody looked.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Counts { $($(#[$doc])* pub $name: $plain,)+ }

        impl Counters {
            /// All figures now.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: $read(&self.$name),)+ }
            }
        }
    };
}

/// How many values each label has.
const CAUSES: usize = EvictionCause::ALL.len();
const CLASSES: usize = ErrorClass::ALL.len();
const RESULTS: usize = LoadResult::ALL.len();
const SOURCES: usize = InvalidationSource::ALL.len();
const FAMILIES: usize = CommandFamily::ALL.len();

counters! {
    /// Reads that L1 answered.
    l1_hits: Hits => u64 = Hits::read,
    /// Reads that L1 could not answer.
    l1_misses: Padded => u64 = load,
    /// Values put into L1.
    l1_sets: AtomicU64 => u64 = load,
    /// Entries deleted from L1 on request.
    l1_deletes: AtomicU64 => u64 = load,
    /// Entries that L1 let go by itself.
    l1_evictions: ByLabel<EvictionCause, CAUSES> => [u64; CAUSES] = ByLabel::read,
    /// Reads that Redis answered with a value.
    l2_hits: AtomicU64 => u64 = load,
    /// Reads to which Redis had no usable value.
    l2_misses: AtomicU64 => u64 = load,
    /// Commands written to Redis: what is billed.
    l2_commands: AtomicU64 => u64 = load,
    /// Commands that operations asked for, as they left: without the link's own upkeep.
    commands: ByLabel<CommandFamily, FAMILIES> => [u64; FAMILIES] = ByLabel::read,
    /// The size of the largest value that was to be sent to Redis, in bytes.
    largest_value: AtomicU64 => u64 = load,
    /// Keys that Redis looked at in whole steps of SCAN.
    scanned: AtomicU64 => u64 = load,
    /// Keys that these steps found.
    scan_matches: AtomicU64 => u64 = load,
    /// Operations that missed their deadline.
    l2_timeouts: AtomicU64 => u64 = load,
    /// Loads that called their factory because Redis took longer than `l2.softTimeout`.
    l2_soft_timeouts: AtomicU64 => u64 = load,
    /// Links made after one was lost.
    l2_reconnects: AtomicU64 => u64 = load,
    /// Errors by what went wrong.
    l2_errors: ByLabel<ErrorClass, CLASSES> => [u64; CLASSES] = ByLabel::read,
    /// How long Redis took to answer.
    command_duration: Histogram => Distribution = Histogram::read,
    /// Loads by how they ended.
    loads: ByLabel<LoadResult, RESULTS> => [u64; RESULTS] = ByLabel::read,
    /// How long factories took.
    load_duration: Histogram => Distribution = Histogram::read,
    /// Answers that were past their freshness.
    stale_served: AtomicU64 => u64 = load,
    /// Callers that waited for another one's load instead of starting their own.
    stampedes_prevented: AtomicU64 => u64 = load,
    /// Commands that joining and sharing made unnecessary.
    commands_saved: AtomicU64 => u64 = load,
    /// Entries dropped from L1 because somebody else changed them.
    invalidations: ByLabel<InvalidationSource, SOURCES> => [u64; SOURCES] = ByLabel::read,
}

impl Counters {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everything_starts_at_zero_and_is_counted_on_its_own() {
        let counters = Counters::new();
        assert_eq!(counters.read(), Counts::default());
        (0..3).for_each(|_| counters.l1_hits.count());
        counters.l2_errors.count(ErrorClass::Loading);
        counters.loads.add(LoadResult::Stale, 2);
        counters.command_duration.record(Duration::from_millis(1));
        let counts = counters.read();
        assert_eq!((counts.l1_hits, counts.l1_misses), (3, 0));
        assert_eq!(counts.l2_errors.iter().sum::<u64>(), 1);
        assert_eq!(counters.l2_errors.get(ErrorClass::Loading), 1);
        assert_eq!(counts.loads, [0, 0, 0, 2]);
        assert_eq!(counts.command_duration.count(), 1);
    }

    #[test]
    fn hits_that_javascript_counts_are_hits_also_once_its_thread_is_gone() {
        let counters = Counters::new();
        let cell = Arc::new(AtomicU64::new(0));
        counters.l1_hits.count();
        counters.l1_hits.count_in(&cell);
        cell.store(41_f64.to_bits(), Relaxed);
        assert_eq!(counters.read().l1_hits, 42);
        counters.l1_hits.give_up(&cell);
        assert_eq!(counters.read().l1_hits, 42);
        assert!(counters.l1_hits.near.lock().is_empty());
    }

    #[test]
    fn hits_and_misses_lie_on_lines_of_their_own() {
        let counters = Counters::new();
        let at = |counter: &AtomicU64| std::ptr::from_ref(counter).addr();
        let apart = at(&counters.l1_hits.native).abs_diff(at(&counters.l1_misses));
        assert!(apart >= 128);
        assert!(at(&counters.l1_misses).abs_diff(at(&counters.l1_sets)) >= 128);
    }
}

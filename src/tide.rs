//! What JavaScript looks at to see, without a call, that what it was given of L1 is still what L1 would answer: a process-wide
//! block of words of one cache. One word a slot of keys counts the changes of its keys (the protocol is `generations`'); one
//! for all keys, the tide, counts what may change the answer for any of them: L1 was cleared, a link came, went or missed
//! something, a slot of a cluster went to another link.
//!
//! Who makes such a change turns the tide behind it and before anybody is told that it is made. Who answers takes the tide
//! before it looks. So a tide that is still the same proves that the answer is.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

/// Words for keys; keys that share one only make each other's near hits fall through.
pub const SLOTS: usize = 1 << 14;

/// The words of one cache: those of the slots, and behind them the tide.
pub struct Tide(Box<[AtomicU32]>);

impl Tide {
    /// Words of a cache in which nothing has changed yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self((0..=SLOTS).map(|_| AtomicU32::new(0)).collect()))
    }

    /// The word of a slot.
    #[must_use]
    pub fn slot(&self, at: usize) -> &AtomicU32 {
        &self.0[at]
    }

    /// The tide.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.0[SLOTS].load(SeqCst)
    }

    /// Something changed that is not the business of one slot.
    pub fn turn(&self) {
        self.0[SLOTS].fetch_add(1, SeqCst);
    }

    /// All words, as they lie in memory.
    #[must_use]
    pub const fn words(&self) -> &[AtomicU32] {
        &self.0
    }
}

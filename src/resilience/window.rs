//! What a breaker has seen in the last while, and whether that is too bad.
//!
//! Owns counts of calls over a window that slides by a tenth of itself: constant
//! memory, and nothing to do while nothing happens. Does not own what follows.

/// Slots into which the window is cut.
const SLOTS: usize = 10;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The time over which calls are judged.
    pub window_ms: u64,
    /// How many calls it takes to judge.
    pub min_calls: u32,
    /// The share of failures that opens it, 0 to 1.
    pub failure_rate: f64,
    /// The share of slow calls that opens it, 0 to 1.
    pub slow_rate: f64,
    /// The first pause.
    pub open_for_ms: u64,
    /// The longest pause.
    pub max_open_for_ms: u64,
    /// How many good probes in a row close it.
    pub probes: u32,
}

impl Settings {
    /// Whether what was seen is reason to open.
    pub(super) fn is_bad(&self, seen: Tally) -> bool {
        let share = |part: u32| f64::from(part) / f64::from(seen.calls.max(1));
        seen.calls >= self.min_calls.max(1)
            && (share(seen.failed) >= self.failure_rate || share(seen.slow) >= self.slow_rate)
    }
}

/// Calls, and what was wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// All calls.
    pub(super) calls: u32,
    /// Those that failed.
    pub(super) failed: u32,
    /// Those that were slow, failed or not.
    pub(super) slow: u32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }
}

/// The tallies of the last window, by slot.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// How long a slot is.
    slot_ms: u64,
    /// Number of the slot in time, and what was seen in it.
    slots: [(u64, Tally); SLOTS],
}

impl Window {
    /// A window of `length_ms` that has seen nothing.
    pub(super) fn new(length_ms: u64) -> Self {
        Self {
            slot_ms: (length_ms / SLOTS as u64).max(1),
            slots: Default::default(),
        }
    }

    /// Counts a call that ended at `now`.
    pub(super) fn note(&mut self, now: u64, failed: bool, slow: bool) {
        let number = now / self.slot_ms;
        let place = usize::try_from(number % SLOTS as u64).unwrap_or_default();
        let (of, tally) = &mut self.slots[place];
        if *of != number {
            (*of, *tally) = (number, Tally::default());
        }
        tally.add(Tally {
            calls: 1,
            failed: u32::from(failed),
            slow: u32::from(slow),
        });
    }

    /// What was seen in the window that ends at `now`.
    pub(super) fn tally(&self, now: u64) -> Tally {
        let number = now / self.slot_ms;
        let mut sum = Tally::default();
        for (of, tally) in &self.slots {
            if number.saturating_sub(*of) < SLOTS as u64 {
                sum.add(*tally);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        /// A slot is a tenth, so what is older than the window is gone and what is
        /// younger than nine tenths of it is there.
        #[test]
        fn it_holds_the_last_window(calls in proptest::collection::vec((0..4_000_u64, any::<bool>(), any::<bool>()), 0..100)) {
            let (mut window, mut now, mut seen) = (Window::new(10_000), 0, Vec::new());
            for (after, failed, slow) in calls {
                now += after;
                window.note(now, failed, slow);
                seen.push((now, failed));
                let tally = window.tally(now);
                let within = |ms| u32::try_from(seen.iter().filter(|(at, _)| at + ms > now).count()).unwrap();
                prop_assert!(tally.calls >= within(9_000) && tally.calls <= within(10_000));
                prop_assert!(tally.failed <= tally.calls && tally.slow <= tally.calls);
            }
            prop_assert_eq!(window.tally(now + 10_000), Tally::default());
        }
    }
}

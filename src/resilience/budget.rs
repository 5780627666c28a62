//! Whether reads that failed may be tried again: a budget that failures spend faster than successes earn, so that
//! retries never become the load that keeps a server down.
//!
//! | event | tokens |
//! |---|---|
//! | success | +0.1 |
//! | failure | -1 |
//! | time-out | -2 |
//!
//! There are at most 100; a retry is allowed above 50. The idea is that of gRPC's retry throttling.

/// All in tenths, so that nothing is rounded.
const FULL: u32 = 1_000;
const ALLOWED_ABOVE: u32 = 500;
const SUCCESS: u32 = 1;
const FAILURE: u32 = 10;
const TIMEOUT: u32 = 20;

/// The budget of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    tenths: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tenths: FULL }
    }
}

impl RetryBudget {
    /// An operation succeeded.
    pub const fn on_success(&mut self) {
        if self.tenths < FULL {
            self.tenths += SUCCESS;
        }
    }

    /// An operation failed.
    pub const fn on_failure(&mut self) {
        self.tenths = self.tenths.saturating_sub(FAILURE);
    }

    /// An operation missed its deadline.
    pub const fn on_timeout(&mut self) {
        self.tenths = self.tenths.saturating_sub(TIMEOUT);
    }

    /// Whether a read may be tried again.
    #[must_use]
    pub const fn allows(&self) -> bool {
        self.tenths > ALLOWED_ABOVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fifty_failures_or_twenty_five_time_outs_end_retries_until_enough_succeed() {
        let mut budget = RetryBudget::default();
        for _ in 0..49 {
            budget.on_failure();
        }
        assert!(budget.allows());
        budget.on_failure();
        assert!(!budget.allows());
        budget.on_success();
        assert!(budget.allows());
        let mut timed_out = RetryBudget::default();
        for _ in 0..25 {
            timed_out.on_timeout();
        }
        assert!(!timed_out.allows());
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn retries_are_at_most_a_tenth_of_the_successes_beyond_the_first_51(
            steps in proptest::collection::vec(0..10_u8, 0..400)
        ) {
            let (mut budget, mut successes, mut retries) = (RetryBudget::default(), 0_u32, 0_u32);
            for step in steps {
                if step < 4 {
                    budget.on_success();
                    successes += 1;
                } else if budget.allows() {
                    // A retry that fails too.
                    retries += 1;
                    budget.on_failure();
                }
            }
            prop_assert!(retries <= 51 + successes / 10);
        }
    }
}

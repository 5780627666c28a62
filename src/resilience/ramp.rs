//! How much is asked of a server that has just recovered from an overload.
//!
//! Owns the share of reads that is admitted, and when the recovery has failed. Does not own the draw: the caller
//! compares the share with a random number. Writes are never held back, and a plain loss starts no ramp: there the
//! server was away, not overloaded.
//!
//! | since the recovery | share of reads |
//! |---|---|
//! | 0 s | 0.1 |
//! | 2 s | 0.25 |
//! | 4 s | 0.5 |
//! | 6 s | all, and the ramp is over |
//!
//! If half of the calls of a step fail, once there were enough of them, the recovery has failed.

/// The share of reads that is admitted first.
pub const FIRST_SHARE: f64 = 0.1;
/// The shares, in the order of the steps.
const SHARES: [f64; 3] = [FIRST_SHARE, 0.25, 0.5];
/// How long a step lasts.
pub const STEP_MS: u64 = 2_000;
/// Calls of a step before it is judged.
const ENOUGH: u32 = 10;

/// The ramp of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ramp {
    /// When it started, while it goes on.
    since: Option<u64>,
    step: usize,
    calls: u32,
    failures: u32,
}

impl Ramp {
    /// The server recovered from an overload just now.
    pub const fn start(&mut self, now: u64) {
        *self = Self {
            since: Some(now),
            step: 0,
            calls: 0,
            failures: 0,
        };
    }

    /// It is over, however it was.
    pub const fn stop(&mut self) {
        self.since = None;
    }

    /// The share of reads to admit now.
    pub fn share(&mut self, now: u64) -> f64 {
        let Some(since) = self.since else { return 1.0 };
        let step = usize::try_from(now.saturating_sub(since) / STEP_MS).unwrap_or(usize::MAX);
        if step != self.step {
            (self.step, self.calls, self.failures) = (step, 0, 0);
        }
        let share = SHARES.get(step).copied();
        if share.is_none() {
            self.stop();
        }
        share.unwrap_or(1.0)
    }

    /// When the share changes next, while the ramp goes on.
    #[must_use]
    pub fn next_step(&self) -> Option<u64> {
        let step = u64::try_from(self.step).unwrap_or(u64::MAX);
        let since = self.since?;
        Some(since.saturating_add(STEP_MS.saturating_mul(step + 1)))
    }

    /// A call ended. True if the recovery has failed, which ends the ramp.
    pub fn on_result(&mut self, ok: bool, now: u64) -> bool {
        let _ = self.share(now);
        if self.since.is_none() {
            return false;
        }
        self.calls += 1;
        self.failures += u32::from(!ok);
        let failed = self.calls >= ENOUGH && self.failures * 2 >= self.calls;
        if failed {
            self.stop();
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_come_back_in_four_steps() {
        let mut ramp = Ramp::default();
        assert!(
            (ramp.share(5) - 1.0).abs() < f64::EPSILON,
            "a plain loss starts none"
        );
        ramp.start(1_000);
        for (at, share) in [
            (1_000, 0.1),
            (2_999, 0.1),
            (3_000, 0.25),
            (5_000, 0.5),
            (7_000, 1.0),
        ] {
            assert!((ramp.share(at) - share).abs() < f64::EPSILON, "{at}");
        }
        assert_eq!(ramp.next_step(), None);
    }

    #[test]
    fn half_of_ten_calls_that_fail_end_the_recovery() {
        let mut ramp = Ramp::default();
        ramp.start(0);
        for call in 1..=10 {
            assert_eq!(ramp.on_result(call % 2 == 0, 1), call == 10, "{call}");
        }
        assert!(!ramp.on_result(false, 1), "it is over");
        ramp.start(0);
        for _ in 0..9 {
            assert!(!ramp.on_result(false, 1));
        }
        assert!(!ramp.on_result(false, 2_000), "another step, counted anew");
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn the_share_never_falls_and_the_ramp_ends_within_6_s(
            steps in proptest::collection::vec((0..500_u64, any::<bool>()), 0..40)
        ) {
            let (mut ramp, mut now, mut share) = (Ramp::default(), 0, 0.0);
            ramp.start(0);
            for (after, ok) in steps {
                now += after;
                let next = ramp.share(now);
                prop_assert!(next >= share);
                share = next;
                if ramp.on_result(ok || now % 3 > 0, now) {
                    break;
                }
            }
            prop_assert!((ramp.share(now.max(6_000)) - 1.0).abs() < f64::EPSILON);
        }
    }
}

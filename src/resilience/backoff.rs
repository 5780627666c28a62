//! When to connect again.
//!
//! Owns the wait before each attempt, the number of the attempt, and the budget
//! of attempts in a minute. Does not own the attempt: the supervisor asks
//! [`Backoff::next`], waits, tells [`Backoff::started`], and later [`Backoff::up`],
//! [`Backoff::good_read`] and [`Backoff::lost`].
//!
//! | class | base | cap | floor | wait |
//! |---|---|---|---|---|
//! | transient | the strategy | 5 s | 50 ms | random(d/2, d), d = min(n * 200 ms, 5 s); a user's strategy: its answer, within floor and cap |
//! | role | 250 ms | 3 s | 0 | max(floor, random(0, min(cap, base * 2^(n-1)))) |
//! | capacity | 1 s | 30 s | 5 s | the same |
//! | configuration | 2 s | 8 s | 2 s | the same |
//!
//! n is the number of the attempt, from 1. It begins anew only when a link that
//! was up for 10 s and gave a good read is lost: a server that accepts and hangs
//! up must not be asked ever faster. The first attempt after such a life waits
//! random(0, 250 ms), so that a fleet comes back spread but soon. Where a capacity
//! or configuration error ended that life, its floor holds.

use super::between;
use std::collections::VecDeque;

/// Attempts that may start within any [`BUDGET_WINDOW_MS`].
pub const BUDGET: usize = 40;
/// The window of the budget.
pub const BUDGET_WINDOW_MS: u64 = 60_000;
/// How long a link must be up before its loss starts the count anew.
pub const GOOD_LIFE_MS: u64 = 10_000;
/// The longest wait before the first attempt after a good life.
const FIRST_MS: u64 = 250;
/// The step and the bounds of the strategy.
const STRATEGY_STEP_MS: u64 = 200;
const STRATEGY_CAP_MS: u64 = 5_000;
const STRATEGY_FLOOR_MS: u64 = 50;
/// Handshakes cut short in a row that mean a server without room.
const CUTS_MEAN_CAPACITY: u32 = 3;
/// Failed look-ups in a row that mean a wrong host name.
const UNKNOWN_MEANS_CONFIGURATION: u32 = 5;

/// Why the link is down, as far as the wait depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Refused, reset, EOF, timeout, name service failure: goes away by itself.
    Transient,
    /// The server is no master any more; another one is about to be.
    Role,
    /// The server has no room for another client.
    Capacity,
    /// Somebody has to change something: password, certificate, database, host.
    Configuration,
}

impl Class {
    /// The name for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Role => "role",
            Self::Capacity => "capacity",
            Self::Configuration => "configuration",
        }
    }
}

/// How an attempt failed, before the ones before it are considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// What it is shows by itself.
    Of(Class),
    /// A reset or EOF inside the handshake: at first transient.
    CutShort,
    /// The name service says that there is no such host: at first transient.
    UnknownHost,
}

/// The waits of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    /// Attempts asked for since the last good life.
    attempt: u32,
    /// The wait that was answered last for a transient failure.
    last_delay_ms: Option<u64>,
    /// When the link came up, while it is.
    up_since: Option<u64>,
    /// Whether it has answered a read since.
    read_was_good: bool,
    /// A good life has just ended: the next wait is short.
    soon: bool,
    /// When the last attempts started, at most [`BUDGET`] of them.
    starts: VecDeque<u64>,
    /// Handshakes cut short in a row.
    cuts: u32,
    /// Failed look-ups in a row.
    unknown: u32,
}

impl Backoff {
    /// A link that has never been tried.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The class of a failed attempt, by what it was and by the ones before it:
    /// the third handshake cut short in a row is a matter of capacity, the fifth
    /// unknown host one of configuration. To be called once for each failure.
    pub fn classify(&mut self, failure: Failure) -> Class {
        self.cuts = if failure == Failure::CutShort {
            self.cuts.saturating_add(1)
        } else {
            0
        };
        self.unknown = if failure == Failure::UnknownHost {
            self.unknown.saturating_add(1)
        } else {
            0
        };
        match failure {
            Failure::Of(class) => class,
            Failure::CutShort if self.cuts >= CUTS_MEAN_CAPACITY => Class::Capacity,
            Failure::UnknownHost if self.unknown >= UNKNOWN_MEANS_CONFIGURATION => {
                Class::Configuration
            }
            Failure::CutShort | Failure::UnknownHost => Class::Transient,
        }
    }

    /// Counts one more attempt and gives the milliseconds to wait before it.
    ///
    /// `user_delay` is what a user's `retryStrategy` answered for
    /// `attempt() + 1`; it is asked, and used, for transient failures only. The
    /// wait is longer where the budget of the minute is spent.
    pub fn next(
        &mut self,
        now: u64,
        class: Class,
        user_delay: Option<u64>,
        rng: &mut impl FnMut() -> f64,
    ) -> u64 {
        let soon = std::mem::take(&mut self.soon);
        self.attempt = self.attempt.saturating_add(1);
        let wait = match (class, user_delay) {
            (Class::Transient, Some(delay)) => delay.max(STRATEGY_FLOOR_MS),
            (Class::Transient | Class::Role, _) if soon => between(0, FIRST_MS, rng),
            (Class::Transient, None) => self.strategy(rng),
            (Class::Role, _) => self.exponential(250, 3_000, 0, rng),
            (Class::Capacity, _) => self.exponential(1_000, 30_000, 5_000, rng),
            (Class::Configuration, _) => self.exponential(2_000, 8_000, 2_000, rng),
        };
        if class == Class::Transient {
            self.last_delay_ms = Some(wait);
        }
        wait.max(self.budget_wait(now))
    }

    /// The number of the attempt that [`Backoff::next`] spoke of last; 0 after a
    /// good life.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The last wait for a transient failure: what counts where the user's
    /// strategy throws, answers nonsense or does not answer.
    #[must_use]
    pub fn last_delay(&self) -> Option<u64> {
        self.last_delay_ms
    }

    /// A connection is being opened now. To be called for each, also for those
    /// that nobody waited for.
    pub fn started(&mut self, now: u64) {
        if self.starts.len() == BUDGET {
            self.starts.pop_front();
        }
        self.starts.push_back(now);
    }

    /// Milliseconds until the budget allows another attempt, 0 if it does now.
    #[must_use]
    pub fn budget_wait(&self, now: u64) -> u64 {
        let oldest = self.starts.front().filter(|_| self.starts.len() == BUDGET);
        oldest.map_or(0, |start| (start + BUDGET_WINDOW_MS).saturating_sub(now))
    }

    /// The link is up.
    pub fn up(&mut self, now: u64) {
        self.up_since = Some(now);
        self.read_was_good = false;
        self.cuts = 0;
        self.unknown = 0;
    }

    /// The link answered a read. Only the first one of a life matters.
    pub fn good_read(&mut self) {
        self.read_was_good = true;
    }

    /// The link is lost; nothing happens if it was not up.
    pub fn lost(&mut self, now: u64) {
        let Some(since) = self.up_since.take() else {
            return;
        };
        if self.read_was_good && now.saturating_sub(since) >= GOOD_LIFE_MS {
            self.attempt = 0;
            self.last_delay_ms = None;
        }
        self.soon = self.attempt == 0;
    }

    fn strategy(&self, rng: &mut impl FnMut() -> f64) -> u64 {
        let delay = (u64::from(self.attempt) * STRATEGY_STEP_MS).min(STRATEGY_CAP_MS);
        between(delay / 2, delay, rng)
    }

    fn exponential(
        &self,
        base_ms: u64,
        cap_ms: u64,
        floor_ms: u64,
        rng: &mut impl FnMut() -> f64,
    ) -> u64 {
        // 2^16 is beyond every cap.
        let doublings = self.attempt.saturating_sub(1).min(16);
        between(0, cap_ms.min(base_ms << doublings), rng).max(floor_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waits(class: Class, draw: f64, count: usize) -> Vec<u64> {
        let mut backoff = Backoff::new();
        (0..count)
            .map(|_| backoff.next(0, class, None, &mut || draw))
            .collect()
    }

    /// A link that lived as long and as well as told, and was then lost.
    fn after_a_life(of_ms: u64, read: bool, failures_before: u32) -> Backoff {
        let mut backoff = Backoff::new();
        for _ in 0..failures_before {
            backoff.next(0, Class::Transient, None, &mut || 1.0);
        }
        backoff.up(1_000);
        if read {
            backoff.good_read();
        }
        backoff.lost(1_000 + of_ms);
        backoff
    }

    #[test]
    fn the_strategy_grows_by_200_ms_to_5_s_and_spreads_over_its_upper_half() {
        assert_eq!(waits(Class::Transient, 1.0, 4), [200, 400, 600, 800]);
        assert_eq!(waits(Class::Transient, 0.0, 4), [100, 200, 300, 400]);
        assert_eq!(waits(Class::Transient, 1.0, 40)[39], 5_000);
        assert_eq!(waits(Class::Transient, 0.0, 40)[39], 2_500);
    }

    #[test]
    fn the_other_classes_double_between_their_floor_and_their_cap() {
        assert_eq!(
            waits(Class::Role, 1.0, 6),
            [250, 500, 1_000, 2_000, 3_000, 3_000]
        );
        assert_eq!(waits(Class::Role, 0.0, 2), [0, 0]);
        assert_eq!(
            waits(Class::Capacity, 1.0, 6),
            [5_000, 5_000, 5_000, 8_000, 16_000, 30_000]
        );
        assert_eq!(waits(Class::Capacity, 0.0, 9)[8], 5_000);
        assert_eq!(
            waits(Class::Configuration, 1.0, 4),
            [2_000, 4_000, 8_000, 8_000]
        );
        assert_eq!(waits(Class::Configuration, 0.0, 9)[8], 2_000);
    }

    #[test]
    fn a_users_delay_counts_for_transient_failures_and_never_falls_below_the_floor() {
        let mut backoff = Backoff::new();
        for (answer, wait) in [(700, 700), (0, 50), (60_000, 60_000)] {
            assert_eq!(
                backoff.next(0, Class::Transient, Some(answer), &mut || 0.5),
                wait
            );
            assert_eq!(backoff.last_delay(), Some(wait));
        }
        assert_eq!(
            backoff.next(0, Class::Configuration, Some(1), &mut || 0.0),
            2_000
        );
        assert_eq!(backoff.attempt(), 4);
        assert_eq!(backoff.last_delay(), Some(60_000));
    }

    #[test]
    fn a_link_that_never_came_up_gets_no_short_first_wait() {
        let mut backoff = Backoff::new();
        backoff.started(0);
        backoff.lost(5);
        assert_eq!(backoff.next(5, Class::Transient, None, &mut || 1.0), 200);
    }

    #[test]
    fn a_good_life_starts_the_count_anew_with_a_short_wait() {
        let mut backoff = after_a_life(GOOD_LIFE_MS, true, 9);
        assert_eq!((backoff.attempt(), backoff.last_delay()), (0, None));
        assert_eq!(backoff.next(0, Class::Transient, None, &mut || 1.0), 250);
        assert_eq!(backoff.next(0, Class::Transient, None, &mut || 1.0), 400);
    }

    #[test]
    fn a_short_life_or_one_without_a_read_goes_on_counting() {
        for mut backoff in [after_a_life(9_999, true, 9), after_a_life(60_000, false, 9)] {
            assert_eq!(backoff.next(0, Class::Transient, None, &mut || 1.0), 2_000);
        }
    }

    #[test]
    fn the_first_loss_of_all_waits_shortly_however_short_the_life() {
        let mut backoff = after_a_life(1, false, 0);
        assert_eq!(backoff.next(0, Class::Transient, None, &mut || 0.0), 0);
        backoff.up(10);
        backoff.lost(20);
        assert_eq!(backoff.next(20, Class::Transient, None, &mut || 0.0), 200);
    }

    #[test]
    fn a_floor_holds_after_a_good_life_too() {
        let mut backoff = after_a_life(GOOD_LIFE_MS, true, 0);
        assert_eq!(
            backoff.next(0, Class::Configuration, None, &mut || 0.0),
            2_000
        );
    }

    #[test]
    fn three_cut_handshakes_are_capacity_and_five_unknown_hosts_configuration() {
        let mut backoff = Backoff::new();
        let mut see = |failure| backoff.classify(failure);
        assert_eq!(
            [see(Failure::CutShort), see(Failure::CutShort)],
            [Class::Transient; 2]
        );
        assert_eq!(
            [see(Failure::CutShort), see(Failure::CutShort)],
            [Class::Capacity; 2]
        );
        assert_eq!(see(Failure::Of(Class::Role)), Class::Role);
        assert_eq!(
            see(Failure::CutShort),
            Class::Transient,
            "no longer in a row"
        );
        for _ in 0..4 {
            assert_eq!(see(Failure::UnknownHost), Class::Transient);
        }
        assert_eq!(see(Failure::UnknownHost), Class::Configuration);
    }

    fn class() -> impl Strategy<Value = Class> {
        prop_oneof![
            Just(Class::Transient),
            Just(Class::Role),
            Just(Class::Capacity),
            Just(Class::Configuration)
        ]
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        /// Whatever fails, however soon the attempts fail or how long they take.
        #[test]
        fn no_minute_sees_more_than_forty_attempts(
            failures in proptest::collection::vec((class(), 0..400_u64, 0.0..=1.0, any::<bool>()), 1..400),
            user in proptest::option::of(0..100_u64),
        ) {
            let (mut backoff, mut now, mut starts) = (Backoff::new(), 0, Vec::new());
            for (class, lasted, draw, came_up) in failures {
                backoff.started(now);
                starts.push(now);
                if came_up {
                    backoff.up(now);
                    backoff.good_read();
                }
                now += lasted;
                backoff.lost(now);
                now += backoff.next(now, class, user, &mut || draw);
            }
            for pair in starts.windows(BUDGET + 1) {
                prop_assert!(pair[BUDGET] - pair[0] >= BUDGET_WINDOW_MS);
            }
        }

        #[test]
        fn every_wait_is_finite_and_within_its_class(
            failures in proptest::collection::vec((class(), 0.0..=1.0), 1..100),
        ) {
            let mut backoff = Backoff::new();
            for (class, draw) in failures {
                let wait = backoff.next(0, class, None, &mut || draw);
                let (floor, cap) = match class {
                    Class::Transient => (50, 5_000),
                    Class::Role => (0, 3_000),
                    Class::Capacity => (5_000, 30_000),
                    Class::Configuration => (2_000, 8_000),
                };
                prop_assert!((floor..=cap).contains(&wait), "{:?} {}", class, wait);
            }
        }
    }
}

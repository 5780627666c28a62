//! When to stop asking a server that answers badly.
//!
//! Owns the window of results, the three states and the lengths of the pauses.
//! Does not own what counts as a failure: the caller says so in an [`Outcome`].
//! (Failures are deadlines missed, disconnections, LOADING, MASTERDOWN, BUSY,
//! CLUSTERDOWN and quota. A nil, a wrong type, NOPERM on one key, bad arguments
//! and our own refusals are not.)
//!
//! | from | when | to |
//! |---|---|---|
//! | Closed | `min_calls` in the window, and of them `failure_rate` failed or `slow_rate` were slow; or the quota is spent | Open |
//! | Open | the pause is over and somebody asks: that call is the probe | `HalfOpen` |
//! | `HalfOpen` | a probe failed or was slow, or the quota is spent | Open, twice as long |
//! | `HalfOpen` | a probe has not ended for as long as the first pause | `HalfOpen`, with another probe |
//! | `HalfOpen` | `probes` good ones in a row | Closed |
//! | any but Open for a quota | [`Breaker::renew`]: another link, and it has proved itself | Closed |
//!
//! Each row begins a new generation. A result carries the generation in which its
//! call was admitted, and those of earlier ones are ignored: what was sent before
//! the server was restarted says nothing about it now.
//!
//! A pause is random(d/2, d), d = `open_for` * 2^k, at most `max_open_for`; for a
//! quota 60 s * 2^k, at most 15 min. k counts openings and begins anew once the
//! breaker stayed closed for a whole window: three good probes alone do not make a
//! server healthy.

use super::{between, window::Window};

pub use super::window::Settings;

/// The first pause, and the longest.
#[derive(Clone, Copy)]
struct Pauses {
    first_ms: u64,
    most_ms: u64,
    is_quota: bool,
}

/// Those after a spent quota.
const QUOTA_PAUSES: Pauses = Pauses {
    first_ms: 60_000,
    most_ms: 15 * 60_000,
    is_quota: true,
};

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// It did not fail.
    pub ok: bool,
    /// It took longer than 0.8 of its deadline; a missed deadline is slow too.
    pub slow: bool,
}

impl Outcome {
    /// Whether it says that the server is well.
    #[must_use]
    pub const fn is_good(self) -> bool {
        self.ok && !self.slow
    }
}

/// Whether a call may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes, with the generation that its result must carry.
    Yes {
        /// The generation.
        generation: u64,
    },
    /// Yes, and much depends on it: until its result is there no other is sent.
    Probe {
        /// The generation.
        generation: u64,
    },
    /// No: answer without the server.
    No,
}

/// The state as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls are sent.
    Closed,
    /// No call is sent.
    Open,
    /// One probe at a time is sent.
    HalfOpen,
}

impl BreakerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in `health()` and in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

#[derive(Debug, Clone)]
enum State {
    /// Since a time, with what was seen.
    Closed { since: u64, seen: Box<Window> },
    /// Until a time; for a spent quota, which another link does not change.
    Open { until: u64, is_quota: bool },
    /// Good probes in a row, and until when the one that is out is waited for.
    HalfOpen { good: u32, probe_until: Option<u64> },
}

/// The breaker of one endpoint.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: Settings,
    state: State,
    generation: u64,
    /// Openings since it was last closed for a whole window.
    openings: u32,
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let seen = Box::new(Window::new(settings.window_ms));
        Self {
            settings,
            state: State::Closed { since: 0, seen },
            generation: 0,
            openings: 0,
        }
    }

    /// Whether a call may be sent now. One that is sent must report its result,
    /// with [`Breaker::on_result`], however it ends; a probe that does not is
    /// waited for as long as the first pause lasts.
    pub fn admit(&mut self, now: u64) -> Admission {
        let probe_until = Some(now.saturating_add(self.settings.open_for_ms));
        match self.state {
            State::Closed { .. } => {
                return Admission::Yes {
                    generation: self.generation,
                };
            }
            State::Open { until, .. } if now < until => return Admission::No,
            State::Open { .. } => self.enter(State::HalfOpen {
                good: 0,
                probe_until,
            }),
            State::HalfOpen {
                probe_until: Some(until),
                ..
            } if now < until => {
                return Admission::No;
            }
            // The probe is lost: another one, under a generation of its own, so that the late
            // result of the first does not let out a third.
            State::HalfOpen { good, .. } => self.enter(State::HalfOpen { good, probe_until }),
        }
        Admission::Probe {
            generation: self.generation,
        }
    }

    /// A call that was admitted in `generation` ended. True if that changed the
    /// state.
    pub fn on_result(
        &mut self,
        now: u64,
        generation: u64,
        outcome: Outcome,
        rng: &mut impl FnMut() -> f64,
    ) -> bool {
        if generation != self.generation {
            return false;
        }
        let settings = self.settings;
        match &mut self.state {
            State::Open { .. } => return false,
            State::Closed { seen, .. } => {
                seen.note(now, !outcome.ok, outcome.slow);
                if !settings.is_bad(seen.tally(now)) {
                    return false;
                }
                self.open(now, self.pauses(), rng);
            }
            State::HalfOpen { .. } if !outcome.is_good() => {
                self.open(now, self.pauses(), rng);
            }
            State::HalfOpen { good, probe_until } => {
                (*good, *probe_until) = (*good + 1, None);
                if *good < settings.probes {
                    return false;
                }
                self.close(now);
            }
        }
        true
    }

    /// The server says that a quota is spent, to a call that was admitted in
    /// `generation`: one such answer opens, since each further try may be billed.
    /// True if that changed the state.
    pub fn on_quota(&mut self, now: u64, generation: u64, rng: &mut impl FnMut() -> f64) -> bool {
        let counts = generation == self.generation && self.state() != BreakerState::Open;
        if counts {
            self.open(now, QUOTA_PAUSES, rng);
        }
        counts
    }

    /// The recovery has failed: open again, unless it is. True if that changed the state.
    pub fn trip(&mut self, now: u64, rng: &mut impl FnMut() -> f64) -> bool {
        let closed = self.state() == BreakerState::Closed;
        if closed {
            self.open(now, self.pauses(), rng);
        }
        closed
    }

    /// The link was made anew and has proved itself: closed, at once, but for a pause after a spent quota.
    pub fn renew(&mut self, now: u64) {
        let is_spent = matches!(self.state, State::Open { until, is_quota: true } if now < until);
        if !is_spent {
            self.close(now);
        }
    }

    /// The state. An open breaker stays open until somebody asks after its pause.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When the next probe may be sent, while it is not closed; 0 for at once.
    #[must_use]
    pub fn next_probe(&self) -> Option<u64> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::HalfOpen { probe_until, .. } => Some(probe_until.unwrap_or(0)),
            State::Closed { .. } => None,
        }
    }

    /// The generation that calls are admitted in now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    const fn pauses(&self) -> Pauses {
        Pauses {
            first_ms: self.settings.open_for_ms,
            most_ms: self.settings.max_open_for_ms,
            is_quota: false,
        }
    }

    fn open(&mut self, now: u64, pauses: Pauses, rng: &mut impl FnMut() -> f64) {
        if let State::Closed { since, .. } = self.state
            && now.saturating_sub(since) >= self.settings.window_ms
        {
            self.openings = 0;
        }
        // 2^20 times the shortest sensible pause is beyond every longest one.
        let pause = pauses
            .first_ms
            .saturating_mul(1 << self.openings.min(20))
            .min(pauses.most_ms);
        self.openings = self.openings.saturating_add(1);
        let until = now.saturating_add(between(pause / 2, pause, rng));
        let is_quota = pauses.is_quota;
        self.enter(State::Open { until, is_quota });
    }

    fn close(&mut self, now: u64) {
        let seen = Box::new(Window::new(self.settings.window_ms));
        self.enter(State::Closed { since: now, seen });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Settings = Settings {
        window_ms: 10_000,
        min_calls: 20,
        failure_rate: 0.5,
        slow_rate: 0.8,
        open_for_ms: 5_000,
        max_open_for_ms: 60_000,
        probes: 3,
    };
    const GOOD: Outcome = Outcome {
        ok: true,
        slow: false,
    };
    const SLOW: Outcome = Outcome {
        ok: true,
        slow: true,
    };
    const FAILED: Outcome = Outcome {
        ok: false,
        slow: false,
    };

    /// A breaker whose pauses are as long as can be.
    fn see(breaker: &mut Breaker, now: u64, outcome: Outcome) -> bool {
        let generation = breaker.generation();
        breaker.on_result(now, generation, outcome, &mut || 1.0)
    }

    fn opened_at(now: u64) -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        for call in 1..=20 {
            assert_eq!(see(&mut breaker, now, FAILED), call == 20);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    fn probe(breaker: &mut Breaker, now: u64, outcome: Outcome) -> bool {
        let admission = breaker.admit(now);
        let Admission::Probe { generation } = admission else {
            panic!("{admission:?} at {now}");
        };
        breaker.on_result(now, generation, outcome, &mut || 1.0)
    }

    #[test]
    fn half_of_twenty_failures_open_it_and_fewer_do_not() {
        for (good, opens) in [(10, true), (11, false)] {
            let mut breaker = Breaker::new(SETTINGS);
            for call in 1..=20 {
                let outcome = if call <= good { GOOD } else { FAILED };
                assert_eq!(see(&mut breaker, 0, outcome), opens && call == 20);
            }
        }
    }

    #[test]
    fn four_fifths_of_slow_calls_open_it() {
        let mut breaker = Breaker::new(SETTINGS);
        for call in 1..=20 {
            let outcome = if call <= 4 { GOOD } else { SLOW };
            assert_eq!(see(&mut breaker, 0, outcome), call == 20);
        }
    }

    #[test]
    fn failures_further_apart_than_the_window_do_not_open_it() {
        let mut breaker = Breaker::new(SETTINGS);
        for call in 0..200 {
            assert!(!see(&mut breaker, call * 600, FAILED));
        }
    }

    #[test]
    fn pauses_double_to_a_minute_and_are_spread_over_their_upper_half() {
        let mut breaker = opened_at(0);
        assert_eq!(breaker.next_probe(), Some(5_000));
        let mut now = 5_000;
        for pause in [10_000, 20_000, 40_000, 60_000, 60_000] {
            assert!(probe(&mut breaker, now, FAILED));
            assert_eq!(breaker.next_probe(), Some(now + pause));
            now += pause;
        }
        let mut shortest = Breaker::new(SETTINGS);
        for _ in 0..20 {
            shortest.on_result(0, 0, FAILED, &mut || 0.0);
        }
        assert_eq!(shortest.next_probe(), Some(2_500));
    }

    #[test]
    fn one_probe_at_a_time_and_three_good_ones_close_it() {
        let mut breaker = opened_at(0);
        assert_eq!(breaker.admit(4_999), Admission::No);
        let Admission::Probe { generation } = breaker.admit(5_000) else {
            panic!("no probe");
        };
        assert_eq!(breaker.admit(5_001), Admission::No, "a probe is out");
        assert!(!breaker.on_result(5_002, generation, GOOD, &mut || 1.0));
        assert!(!probe(&mut breaker, 5_003, GOOD));
        assert!(probe(&mut breaker, 5_004, GOOD));
        assert!(matches!(breaker.admit(5_005), Admission::Yes { .. }));
    }

    #[test]
    fn a_slow_probe_opens_it_again() {
        let mut breaker = opened_at(0);
        assert!(!probe(&mut breaker, 5_000, GOOD));
        assert!(probe(&mut breaker, 5_001, SLOW));
        assert_eq!(breaker.next_probe(), Some(15_001));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let mut breaker = opened_at(0);
        assert!(matches!(breaker.admit(5_000), Admission::Probe { .. }));
        assert_eq!(breaker.admit(9_999), Admission::No);
        assert!(matches!(breaker.admit(10_000), Admission::Probe { .. }));
    }

    #[test]
    fn results_of_an_earlier_generation_are_ignored() {
        let mut breaker = opened_at(0);
        assert!(matches!(breaker.admit(5_000), Admission::Probe { .. }));
        for _ in 0..50 {
            assert!(!breaker.on_result(5_001, 0, FAILED, &mut || 1.0));
            assert!(!breaker.on_quota(5_001, 0, &mut || 1.0));
        }
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn pauses_go_on_doubling_until_it_stayed_closed_for_a_window() {
        for (closed_for, pause) in [(9_999, 10_000), (10_000, 5_000)] {
            let mut breaker = opened_at(0);
            for _ in 0..3 {
                probe(&mut breaker, 5_000, GOOD);
            }
            let now = 5_000 + closed_for;
            for _ in 0..20 {
                see(&mut breaker, now, FAILED);
            }
            assert_eq!(breaker.next_probe(), Some(now + pause));
        }
    }

    #[test]
    fn a_spent_quota_opens_it_at_once_for_a_minute_up_to_a_quarter_of_an_hour() {
        let mut breaker = Breaker::new(SETTINGS);
        assert!(breaker.on_quota(0, 0, &mut || 1.0));
        let mut now = 60_000;
        assert_eq!(breaker.next_probe(), Some(now));
        for pause in [120_000, 240_000, 480_000, 900_000, 900_000] {
            let Admission::Probe { generation } = breaker.admit(now) else {
                panic!("no probe");
            };
            assert!(breaker.on_quota(now, generation, &mut || 1.0));
            now += pause;
            assert_eq!(breaker.next_probe(), Some(now));
        }
    }

    #[test]
    fn a_new_link_that_proved_itself_closes_it() {
        let mut breaker = opened_at(0);
        let old = breaker.generation();
        breaker.renew(100);
        assert!(matches!(breaker.admit(100), Admission::Yes { generation } if generation > old));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask,
        /// The result of one of the calls that are out, by its place.
        Result(usize, bool, bool),
        Renew,
        Quota(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            20 => Just(Step::Ask),
            18 => (0..40_usize, any::<bool>(), any::<bool>()).prop_map(|(at, ok, slow)| Step::Result(at, ok, slow)),
            1 => Just(Step::Renew),
            1 => (0..40_usize).prop_map(Step::Quota),
        ];
        let after = prop_oneof![9 => 0..50_u64, 1 => 0..70_000_u64];
        proptest::collection::vec((after, step), 0..400)
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn nothing_but_single_probes_is_sent_while_it_is_not_closed(steps in steps(), draw in 0.0..=1.0) {
            let mut breaker = Breaker::new(SETTINGS);
            let (mut now, mut out) = (0, Vec::new());
            for (after, step) in steps {
                now += after;
                let before = (breaker.generation(), breaker.state());
                match step {
                    Step::Ask => match breaker.admit(now) {
                        Admission::No => prop_assert_ne!(before.1, BreakerState::Closed),
                        Admission::Yes { generation } => {
                            prop_assert_eq!(before.1, BreakerState::Closed);
                            out.push((generation, now));
                        }
                        Admission::Probe { generation } => {
                            prop_assert_eq!(breaker.state(), BreakerState::HalfOpen);
                            let waited = |sent: u64| now - sent >= SETTINGS.open_for_ms;
                            prop_assert!(out.iter().all(|&(of, sent)| of != generation || waited(sent)));
                            out.push((generation, now));
                        }
                    },
                    Step::Result(at, ok, slow) if at < out.len() => {
                        let (generation, _) = out.swap_remove(at);
                        let changed = breaker.on_result(now, generation, Outcome { ok, slow }, &mut || draw);
                        prop_assert!(!changed || generation == before.0);
                        prop_assert_eq!(changed, before.1 != breaker.state());
                    }
                    Step::Quota(at) if at < out.len() => {
                        let (generation, _) = out.swap_remove(at);
                        prop_assert_eq!(breaker.on_quota(now, generation, &mut || draw), generation == before.0);
                    }
                    Step::Result(..) | Step::Quota(_) => (),
                    Step::Renew => breaker.renew(now),
                }
                prop_assert!(before.0 != breaker.generation() || before.1 == breaker.state());
                let longest = breaker.next_probe().map_or(0, |until| until.saturating_sub(now));
                prop_assert!(longest <= QUOTA_PAUSES.most_ms);
            }
            // Never a dead end: after the longest pause a probe goes out.
            let later = now + QUOTA_PAUSES.most_ms;
            prop_assert_ne!(breaker.admit(later), Admission::No);
        }
    }
}

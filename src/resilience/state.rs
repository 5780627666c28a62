//! The states of a link, and when to doubt it.
//!
//! Owns which state follows which ([`LinkState::step`]) and the rules for
//! suspicion ([`Suspicion`], [`slept`]). Does not own timers, sockets or what is
//! done on entering a state: that is the supervisor's.

/// Silence after a probe that gives a suspected link up.
pub const SILENCE_MS: u64 = 1_000;
/// Deadlines missed in a row, with no byte between, that raise suspicion.
const MISSED_RAISE: u32 = 3;
/// Silence that raises suspicion once a deadline was missed.
const QUIET_MS: u64 = 2_000;

/// Where a link is in its life. Nothing but `Closed` is final.
///
/// | from | event | to |
/// |---|---|---|
/// | Idle | `Wanted` | Connecting |
/// | Connecting | `Greeted` | Recovering |
/// | Connecting, Recovering | `Lost` (any failure, or the allowance spent) | Down |
/// | Recovering | `Recovered` | Up |
/// | Up | `Doubted` | Suspect |
/// | Up | `Lost` | Down |
/// | Suspect | `Heard` | Up |
/// | Suspect | `Lost` ([`SILENCE_MS`] without a byte, or the socket's end) | Down |
/// | Down | `Due` | Connecting |
/// | any but Closed | `Parked` | Idle |
/// | any | `Closed` | Closed |
///
/// Every other pair leaves the state as it is: events arrive late, and a byte
/// from a link that is up is no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// No link is wanted: lazy, or memory mode.
    Idle,
    /// Look-up, TCP, TLS and handshake are under way.
    Connecting,
    /// The recovery barrier is at work; only the supervisor sends.
    Recovering,
    /// Normal: operations go through the breaker.
    Up,
    /// Trouble was seen and a probe is out; new operations are refused.
    Suspect,
    /// No link; a timer leads to the next attempt.
    Down,
    /// The end.
    Closed,
}

/// What happens to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// An operation, `ready()` or the constructor wants a link.
    Wanted,
    /// The handshake is good.
    Greeted,
    /// The recovery barrier is done.
    Recovered,
    /// [`Suspicion`], or a timer that came late.
    Doubted,
    /// A byte arrived.
    Heard,
    /// The attempt failed, the barrier failed, or the link ended.
    Lost,
    /// The wait before the next attempt is over.
    Due,
    /// No link is wanted any more: memory mode.
    Parked,
    /// `close()`.
    Closed,
}

impl LinkState {
    /// All states, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Connecting,
        Self::Recovering,
        Self::Up,
        Self::Suspect,
        Self::Down,
        Self::Closed,
    ];

    /// The state after `event`.
    #[must_use]
    pub const fn step(self, event: Event) -> Self {
        match (self, event) {
            (Self::Closed, _) | (_, Event::Closed) => Self::Closed,
            (_, Event::Parked) => Self::Idle,
            (Self::Idle, Event::Wanted) | (Self::Down, Event::Due) => Self::Connecting,
            (Self::Connecting, Event::Greeted) => Self::Recovering,
            (Self::Recovering, Event::Recovered) | (Self::Suspect, Event::Heard) => Self::Up,
            (Self::Up, Event::Doubted) => Self::Suspect,
            (Self::Connecting | Self::Recovering | Self::Up | Self::Suspect, Event::Lost) => {
                Self::Down
            }
            (unmoved, _) => unmoved,
        }
    }

    /// The name in `health()` and in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Recovering => "recovering",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Closed => "closed",
        }
    }

    /// Whether operations may be sent, the breaker permitting.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up)
    }
}

/// Whether a link that is up has become doubtful: three deadlines were missed in a
/// row and no byte arrived between, or one was missed and no byte arrived for 2 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// Deadlines missed since the last byte.
    missed: u32,
    /// When the last byte arrived.
    last_byte: u64,
}

impl Suspicion {
    /// A link that has just come up.
    #[must_use]
    pub const fn new(now: u64) -> Self {
        Self {
            missed: 0,
            last_byte: now,
        }
    }

    /// The last byte arrived at `at`. May be told as often as one likes, so a
    /// socket's "last received" can be passed on before each question.
    pub const fn on_bytes(&mut self, at: u64) {
        if at > self.last_byte {
            self.last_byte = at;
            self.missed = 0;
        }
    }

    /// An operation missed its deadline. True if the link is to be suspected now.
    pub fn on_timeout(&mut self, now: u64) -> bool {
        self.missed = self.missed.saturating_add(1);
        self.is_due(now)
    }

    /// When the link is to be suspected if no byte arrives until then; `None`
    /// while no deadline was missed. Where the time has passed, it is now.
    #[must_use]
    pub const fn due(&self) -> Option<u64> {
        match self.missed {
            0 => None,
            1..MISSED_RAISE => Some(self.last_byte.saturating_add(QUIET_MS)),
            MISSED_RAISE.. => Some(self.last_byte),
        }
    }

    /// Whether the link is to be suspected now.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.due().is_some_and(|at| at <= now)
    }
}

/// Whether a timer that was due at `due` came so late, at `now`, that the process
/// must have been suspended: by more than two of its intervals.
#[must_use]
pub const fn slept(due: u64, now: u64, interval_ms: u64) -> bool {
    now.saturating_sub(due) > interval_ms.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [Event; 9] = [
        Event::Wanted,
        Event::Greeted,
        Event::Recovered,
        Event::Doubted,
        Event::Heard,
        Event::Lost,
        Event::Due,
        Event::Parked,
        Event::Closed,
    ];

    #[test]
    fn an_outage_goes_round_and_comes_back() {
        use LinkState as S;
        let story = [
            (Event::Wanted, S::Connecting),
            (Event::Lost, S::Down),
            (Event::Wanted, S::Down),
            (Event::Due, S::Connecting),
            (Event::Greeted, S::Recovering),
            (Event::Recovered, S::Up),
            (Event::Heard, S::Up),
            (Event::Doubted, S::Suspect),
            (Event::Heard, S::Up),
            (Event::Doubted, S::Suspect),
            (Event::Lost, S::Down),
            (Event::Heard, S::Down),
            (Event::Parked, S::Idle),
            (Event::Due, S::Idle),
        ];
        let mut state = S::Idle;
        for (event, expected) in story {
            let before = state;
            state = state.step(event);
            assert_eq!(state, expected, "{before:?} {event:?}");
        }
    }

    #[test]
    fn closed_absorbs_and_nothing_else_does() {
        for state in LinkState::ALL {
            assert_eq!(state.step(Event::Closed), LinkState::Closed);
            let stays = EVENTS.iter().all(|event| state.step(*event) == state);
            assert_eq!(stays, state == LinkState::Closed, "{state:?}");
        }
    }

    #[test]
    fn up_is_reached_through_the_barrier_only() {
        for state in LinkState::ALL {
            for event in EVENTS {
                let arrives = !state.is_up() && state.step(event).is_up();
                let allowed = (state == LinkState::Recovering && event == Event::Recovered)
                    || (state == LinkState::Suspect && event == Event::Heard);
                assert_eq!(arrives, allowed, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn the_third_deadline_in_a_row_raises_suspicion() {
        let mut suspicion = Suspicion::new(1_000);
        assert!(!suspicion.on_timeout(1_100));
        assert!(!suspicion.on_timeout(1_200));
        suspicion.on_bytes(1_250);
        assert!(!suspicion.on_timeout(1_300), "a byte came between");
        assert!(!suspicion.on_timeout(1_301));
        suspicion.on_bytes(1_250);
        assert!(suspicion.on_timeout(1_302), "the byte of before is no news");
    }

    #[test]
    fn one_deadline_and_two_seconds_of_silence_raise_suspicion() {
        let mut suspicion = Suspicion::new(1_000);
        assert_eq!(suspicion.due(), None);
        assert!(!suspicion.is_due(90_000), "silence alone is idleness");
        assert!(!suspicion.on_timeout(1_500));
        assert_eq!(suspicion.due(), Some(3_000));
        assert!(!suspicion.is_due(2_999) && suspicion.is_due(3_000));
        suspicion.on_bytes(2_999);
        assert!(!suspicion.is_due(90_000));
        assert!(suspicion.on_timeout(90_000), "and after idleness at once");
    }

    #[test]
    fn a_timer_late_by_more_than_two_intervals_means_sleep() {
        assert!(!slept(1_000, 3_000, 1_000));
        assert!(slept(1_000, 3_001, 1_000));
        assert!(!slept(1_000, 0, 0), "a clock that went back");
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn suspicion_follows_its_two_rules(steps in proptest::collection::vec((any::<bool>(), 1..1_500_u64), 1..60)) {
            let (mut suspicion, mut now, mut last_byte, mut missed) = (Suspicion::new(0), 0, 0, 0);
            for (byte, after) in steps {
                now += after;
                if byte {
                    (last_byte, missed) = (now, 0);
                    suspicion.on_bytes(now);
                } else {
                    missed += 1;
                    let expected = missed >= 3 || now - last_byte >= 2_000;
                    prop_assert_eq!(suspicion.on_timeout(now), expected);
                }
            }
        }

        #[test]
        fn a_link_that_is_not_closed_can_come_up_again(events in proptest::collection::vec(0..8_usize, 0..60)) {
            let state = events.iter().fold(LinkState::Idle, |state, &event| state.step(EVENTS[event]));
            let way = [Event::Lost, Event::Parked, Event::Wanted, Event::Greeted, Event::Recovered];
            prop_assert!(way.iter().fold(state, |state, &event| state.step(event)).is_up());
        }
    }
}

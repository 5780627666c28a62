//! How long a caller who could make the value waits for Redis.
//!
//! Owns what recent replies and factories took ([`Recent`]) and the rule that follows ([`Patience::for_read`]). Does not
//! own the timers.
//!
//! | rule | the caller waits |
//! |---|---|
//! | off, or factories usually take longer than the deadline | to the deadline |
//! | a number | that long, to the deadline at most |
//! | auto, fewer than [`ENOUGH`] replies on this link | to the deadline |
//! | auto | 8 times the 99th percentile of the replies, at least 20 ms; at most 50 ms while that percentile is below 50 ms |

/// Replies that must have been seen before they are judged by.
pub const ENOUGH: usize = 50;
/// Replies that are judged by.
const REPLIES: usize = 256;
/// Factories that are judged by.
const FACTORIES: usize = 31;
/// How many replies may come before they are judged anew.
const STALE_AFTER: u32 = 16;
/// The bounds of `auto`.
const LEAST_MS: u32 = 20;
const USUAL_MOST_MS: u32 = 50;
const TIMES: u32 = 8;

/// The rule as it was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// By what the link's own replies took.
    Auto,
    /// So many ms.
    After(u64),
    /// To the deadline.
    Off,
}

/// The last so many durations in ms, in a ring.
#[derive(Debug, Clone)]
struct Recent {
    ring: Vec<u32>,
    room: usize,
    next: usize,
}

impl Recent {
    const fn new(room: usize) -> Self {
        Self {
            ring: Vec::new(),
            room,
            next: 0,
        }
    }

    fn note(&mut self, ms: u64) {
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        if self.ring.len() < self.room {
            self.ring.push(ms);
        } else {
            self.ring[self.next] = ms;
            self.next = (self.next + 1) % self.room;
        }
    }

    /// The value that `percent` of the durations do not exceed; 0 of none.
    fn percentile(&self, percent: usize) -> u32 {
        let mut sorted = self.ring.clone();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        if sorted.is_empty() {
            return 0;
        }
        *sorted.select_nth_unstable(at).1
    }
}

/// What is known of a link and of the factories beside it.
#[derive(Debug, Clone)]
pub struct Patience {
    rule: Rule,
    timeout_ms: u64,
    replies: Recent,
    factories: Recent,
    /// Replies since they were last judged.
    unjudged: u32,
    /// The 99th percentile of the replies, once there are enough.
    usual_ms: Option<u32>,
    /// The median of the factories.
    factory_ms: u32,
}

impl Patience {
    /// By `rule`, with a deadline of `timeout_ms`.
    #[must_use]
    pub const fn new(rule: Rule, timeout_ms: u64) -> Self {
        Self {
            rule,
            timeout_ms,
            replies: Recent::new(REPLIES),
            factories: Recent::new(FACTORIES),
            unjudged: 0,
            usual_ms: None,
            factory_ms: 0,
        }
    }

    /// The link is another one: its replies are not known yet.
    pub fn forget_replies(&mut self) {
        self.replies = Recent::new(REPLIES);
        (self.unjudged, self.usual_ms) = (0, None);
    }

    /// Redis answered after so many ms, within the deadline.
    pub fn note_reply(&mut self, ms: u64) {
        self.replies.note(ms);
        self.unjudged += 1;
        let due = self.usual_ms.is_none() || self.unjudged >= STALE_AFTER;
        if due && self.replies.ring.len() >= ENOUGH {
            self.usual_ms = Some(self.replies.percentile(99));
            self.unjudged = 0;
        }
    }

    /// A factory took so many ms.
    pub fn note_factory(&mut self, ms: u64) {
        self.factories.note(ms);
        self.factory_ms = self.factories.percentile(50);
    }

    /// How many ms to wait for Redis before the factory is called, by `rule` or, if there is none, the configured one;
    /// `None` for as long as the deadline allows.
    #[must_use]
    pub fn for_read(&self, rule: Option<Rule>) -> Option<u64> {
        let ms = match rule.unwrap_or(self.rule) {
            Rule::Off => return None,
            Rule::After(ms) => ms,
            Rule::Auto => u64::from(auto(self.usual_ms?)),
        };
        let slow_factory = u64::from(self.factory_ms) > self.timeout_ms;
        (ms < self.timeout_ms && !slow_factory).then_some(ms)
    }
}

fn auto(usual_ms: u32) -> u32 {
    let ms = usual_ms.saturating_mul(TIMES).max(LEAST_MS);
    if usual_ms < USUAL_MOST_MS {
        ms.min(USUAL_MOST_MS)
    } else {
        ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(replies: &[u64]) -> Patience {
        let mut patience = Patience::new(Rule::Auto, 500);
        for ms in replies {
            patience.note_reply(*ms);
        }
        patience
    }

    #[test]
    fn auto_follows_the_replies_of_this_link_within_its_bounds() {
        for (ms, expected) in [
            (0, Some(20)),
            (4, Some(32)),
            (7, Some(50)),
            (49, Some(50)),
            (50, Some(400)),
            (63, None),
        ] {
            assert_eq!(after(&[ms; 50]).for_read(None), expected, "{ms}");
        }
        assert_eq!(after(&[1; 49]).for_read(None), None, "too few replies");
        let mut other = after(&[1; 50]);
        other.forget_replies();
        assert_eq!(other.for_read(None), None, "another link");
    }

    #[test]
    fn a_few_slow_replies_do_not_change_what_is_usual() {
        let mut patience = after(&[1; 256]);
        patience.note_reply(400);
        patience.note_reply(400);
        for _ in 0..STALE_AFTER {
            patience.note_reply(1);
        }
        assert_eq!(patience.for_read(None), Some(20));
    }

    #[test]
    fn a_rule_of_the_call_wins_and_never_exceeds_the_deadline() {
        let patience = after(&[1; 50]);
        assert_eq!(patience.for_read(Some(Rule::After(70))), Some(70));
        assert_eq!(patience.for_read(Some(Rule::After(500))), None);
        assert_eq!(patience.for_read(Some(Rule::Off)), None);
        assert_eq!(Patience::new(Rule::After(0), 500).for_read(None), Some(0));
    }

    #[test]
    fn nobody_is_sent_to_a_factory_that_takes_longer_than_the_deadline() {
        let mut patience = after(&[1; 50]);
        patience.note_factory(501);
        assert_eq!(patience.for_read(None), None);
        patience.note_factory(500);
        assert_eq!(patience.for_read(None), Some(20));
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn auto_is_at_least_20_ms_below_the_deadline_and_the_bound(replies in proptest::collection::vec(0..600_u64, 0..300)) {
            let patience = after(&replies);
            match patience.for_read(None) {
                None => (),
                Some(ms) => {
                    prop_assert!(replies.len() >= ENOUGH && (20..500).contains(&ms));
                    let slow = replies.iter().rev().take(REPLIES + 16).filter(|ms| **ms >= 50).count();
                    prop_assert!(ms <= 50 || slow > 0);
                }
            }
        }
    }
}

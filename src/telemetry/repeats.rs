//! Saying a thing once.
//!
//! Owns the rule that a state change is logged once and its repeats are summed up
//! once a minute. Pure: the caller has the clock and does the logging.

use std::fmt;

/// How long repeats are kept back.
const MINUTE_MS: u64 = 60_000;
/// Things remembered: a server may fail in several ways by turns.
const REMEMBERED: usize = 8;

/// Something that was said.
#[derive(Debug)]
struct Said {
    what: Box<str>,
    at: u64,
    /// Repeats since then.
    repeats: u32,
}

/// What was said about one thing in one state. A new state begins with a new one.
#[derive(Debug, Default)]
pub struct Repeats {
    said: Vec<Said>,
}

/// What to write behind a message: nothing the first time, else how often it has
/// happened since it was last logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    count: u32,
    minutes: u64,
}

impl Repeats {
    /// Nothing was said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { said: Vec::new() }
    }

    /// `what` happened; a short code will do. `None`: keep quiet. Else log it, with
    /// [`Times`] behind the message.
    pub fn note(&mut self, now: u64, what: &str) -> Option<Times> {
        let Some(said) = self.said.iter_mut().find(|said| *said.what == *what) else {
            self.remember(now, what);
            return Some(Times {
                count: 1,
                minutes: 0,
            });
        };
        said.repeats = said.repeats.saturating_add(1);
        let since = now.saturating_sub(said.at);
        if since < MINUTE_MS {
            return None;
        }
        let times = Times {
            count: said.repeats,
            minutes: since / MINUTE_MS,
        };
        (said.at, said.repeats) = (now, 0);
        Some(times)
    }

    fn remember(&mut self, now: u64, what: &str) {
        if self.said.len() == REMEMBERED {
            let oldest = (0..REMEMBERED).min_by_key(|&index| self.said[index].at);
            self.said.swap_remove(oldest.unwrap_or_default());
        }
        self.said.push(Said {
            what: what.into(),
            at: now,
            repeats: 0,
        });
    }
}

impl fmt::Display for Times {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.minutes) {
            (_, 0) | (1, _) => Ok(()),
            (count, 1) => write!(to, " ({count} times in the last minute)"),
            (count, minutes) => write!(to, " ({count} times in the last {minutes} minutes)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_and_its_repeats_once_a_minute() {
        let mut repeats = Repeats::new();
        let first = repeats.note(0, "ECONNREFUSED");
        assert_eq!(first.unwrap().to_string(), "");
        for attempt in 1..12 {
            assert_eq!(repeats.note(attempt * 5_000, "ECONNREFUSED"), None);
        }
        let summary = repeats.note(60_000, "ECONNREFUSED").unwrap();
        assert_eq!(summary.to_string(), " (12 times in the last minute)");
        assert_eq!(repeats.note(65_000, "ECONNREFUSED"), None);
    }

    #[test]
    fn other_things_are_news_and_do_not_make_the_first_one_news_again() {
        let mut repeats = Repeats::new();
        assert!(repeats.note(0, "ECONNREFUSED").is_some());
        assert!(repeats.note(1, "ETIMEDOUT").is_some());
        assert_eq!(repeats.note(2, "ECONNREFUSED"), None);
        assert_eq!(repeats.note(3, "ETIMEDOUT"), None);
    }

    #[test]
    fn what_comes_seldom_is_said_with_its_span_or_plainly() {
        let mut repeats = Repeats::new();
        repeats.note(0, "a");
        assert_eq!(repeats.note(200_000, "a").unwrap().to_string(), "");
        assert_eq!(repeats.note(200_001, "a"), None);
        let text = repeats.note(400_000, "a").unwrap().to_string();
        assert_eq!(text, " (2 times in the last 3 minutes)");
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut repeats = Repeats::new();
        for number in 0..9 {
            assert!(repeats.note(number, &number.to_string()).is_some());
        }
        assert_eq!(repeats.said.len(), REMEMBERED);
        assert!(repeats.note(10, "0").is_some(), "forgotten");
        assert_eq!(repeats.note(11, "8"), None);
    }
}

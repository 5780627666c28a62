//! How fast a quota is used, and when it will be used up at that pace.
//!
//! Goes by the faster of two rates: that of the window so far, and that of its last 24th once so much of it was watched
//! (an hour of a day). A warning that comes too early is better than one that comes too late.

use super::calendar::Span;
use std::collections::VecDeque;

/// The share of a window that the recent rate is taken over, and into how many samples it is cut.
const RECENT: u64 = 24;
const SAMPLES: usize = 12;

/// The pace of one window.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// When counting began.
    since: u64,
    recent_ms: u64,
    /// When and at which count, oldest first.
    samples: VecDeque<(u64, u64)>,
}

impl Pace {
    /// Of a window in which counting began at `since`.
    pub(super) const fn new(span: Span, since: u64) -> Self {
        Self {
            since,
            recent_ms: (span.ends_at - span.starts_at) / RECENT,
            samples: VecDeque::new(),
        }
    }

    /// So many are used now.
    pub(super) fn note(&mut self, now: u64, used: u64) {
        let step = self.recent_ms / SAMPLES as u64;
        let newest = self.samples.back().map_or(0, |(at, _)| at + step);
        if now >= newest {
            self.samples.push_back((now, used));
        }
        if self.samples.len() > SAMPLES + 1 {
            self.samples.pop_front();
        }
    }

    /// How long `left` will last, of which there are none to waste: `used` are gone.
    pub(super) fn lasts(&self, now: u64, used: u64, left: u64) -> u64 {
        let mean = time_to_spend(left, used, now.saturating_sub(self.since));
        let old = |(at, _): &&(u64, u64)| at + self.recent_ms <= now;
        let recent = self
            .samples
            .iter()
            .rev()
            .find(old)
            .map(|(at, before)| time_to_spend(left, used.saturating_sub(*before), now - at));
        recent.map_or(mean, |recent| recent.min(mean))
    }
}

/// How long `left` lasts when `used` took `ms`; for ever where nothing was used.
fn time_to_spend(left: u64, used: u64, ms: u64) -> u64 {
    let time = (u128::from(left) * u128::from(ms)).checked_div(u128::from(used));
    time.and_then(|time| u64::try_from(time).ok())
        .unwrap_or(u64::MAX)
}

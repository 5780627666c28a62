//! How much of a plan's commands and connections is used, and when they will be used up.
//!
//! Owns the count of a window ([`calendar`]), the warnings, the forecast ([`pace`]), how far the idle tick is stretched, and
//! when the count is written to Redis. Does not own the counting of commands (the caller tells of them), the writing, nor what a server that
//! refuses for its quota leads to (`breaker`). `now` is the wall clock here, in milliseconds since 1970: windows are UTC.
//!
//! **The anchor.** All processes add what they sent to one field of one hash, named after the window, by HINCRBY; its
//! answer is the total of all of them, so the figure survives a deploy and knows of the others. That costs a command too:
//!
//! | what was counted since the last time | it is written |
//! |---|---|
//! | whatever, in a window whose total is not known yet | at once, then every [`EVERY_MS`] until it works |
//! | [`ENOUGH`] commands | [`EVERY_MS`] after the last time at the earliest |
//! | any | [`AT_LAST_MS`] after the last time |
//!
//! So it adds at most one command to a hundred, or 96 a day to those of an idle process. It proves the link as well as a
//! PING does: where a tick is due too, it takes its place. A write whose fate is unknown is made again: to warn too early
//! is better than too late.
//!
//! | used | the idle tick comes |
//! |---|---|
//! | less than 0.8 | after the interval |
//! | 0.8 to 1 | after 1 to 10 intervals, in proportion |
//! | more | after 10 intervals |
//!
//! The forecast is there from the first hundredth of the quota on.

pub mod calendar;
mod pace;

use calendar::{Span, Window};
use pace::Pace;

/// Commands that are worth one more to write them down.
pub const ENOUGH: u64 = 100;
/// The least time between two writes.
pub const EVERY_MS: u64 = 10_000;
/// After this time whatever was counted is written.
pub const AT_LAST_MS: u64 = 15 * 60_000;
/// Where stretching of the tick begins, and how far it goes.
const STRETCH_FROM: f64 = 0.8;
const STRETCH_MOST: f64 = 10.0;
/// A clock that goes back by less than this was corrected; by more, it was wrong.
const CORRECTED_MS: u64 = 3_600_000;

/// What the plan allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many commands in a window.
    pub commands: u64,
    /// The window.
    pub window: Window,
    /// At which shares of the quota to warn, rising.
    pub warn_at: Vec<f64>,
}

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// All processes, by what Redis holds or says.
    Server,
    /// This process alone, since it started.
    Process,
}

impl Source {
    /// The name in `health()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Process => "process",
        }
    }
}

/// The figures of `health()`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Commands of this window.
    pub used: u64,
    /// How many there may be.
    pub limit: u64,
    /// The one by the other; above 1 where the server lets more pass.
    pub ratio: f64,
    /// The window.
    pub window: Window,
    /// When it ends, in ms since 1970.
    pub resets_at: u64,
    /// Who counted.
    pub source: Source,
    /// When the quota will be used up, in ms since 1970; `None` if it lasts until the reset or nothing can be said yet.
    pub forecast_at: Option<u64>,
}

/// What is to be added to the shared count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    /// The field: the window's name.
    pub field: String,
    /// How many commands; 0 to read only.
    pub add: u64,
}

/// The thresholds that were passed in this window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Passed(usize);

impl Passed {
    /// The highest threshold that `ratio` has reached, if it had not been reached before: after a restart at 0.97 one
    /// warning says it all.
    fn reach(&mut self, warn_at: &[f64], ratio: f64) -> Option<f64> {
        let reached = warn_at.iter().filter(|at| ratio >= **at).count();
        let news = reached > self.0;
        self.0 = self.0.max(reached);
        if news {
            warn_at.get(reached - 1).copied()
        } else {
            None
        }
    }
}

/// The quota of one endpoint.
#[derive(Debug, Clone)]
pub struct Quota {
    settings: Settings,
    span: Span,
    /// The shared total as it was answered last.
    total: Option<u64>,
    /// Counted here and not in the total yet.
    pending: u64,
    /// Whether some of that is on its way.
    flushing: bool,
    /// What the server knows of and no process counted: other programs' commands.
    others: u64,
    last_flush: Option<u64>,
    pace: Pace,
    commands_passed: Passed,
    connections_passed: Passed,
}

impl Quota {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings, now: u64) -> Self {
        let span = settings.window.around(now);
        Self {
            settings,
            span,
            total: None,
            pending: 0,
            flushing: false,
            others: 0,
            last_flush: None,
            pace: Pace::new(span, now),
            commands_passed: Passed::default(),
            connections_passed: Passed::default(),
        }
    }

    /// So many commands were sent. Gives the threshold that was passed with them, once in a window each.
    pub fn count(&mut self, now: u64, commands: u64) -> Option<f64> {
        self.roll(now);
        self.pending = self.pending.saturating_add(commands);
        self.judge(now)
    }

    /// Whether the count is to be written now, and what. Until [`Quota::flushed`] or [`Quota::flush_failed`] there is no
    /// other.
    pub fn flush_due(&mut self, now: u64) -> Option<Flush> {
        self.roll(now);
        let since_last = self
            .last_flush
            .map_or(u64::MAX, |at| now.saturating_sub(at));
        let is_worth_it = self.total.is_none()
            || self.pending >= ENOUGH
            || (self.pending > 0 && since_last >= AT_LAST_MS);
        if self.flushing || since_last < EVERY_MS || !is_worth_it {
            return None;
        }
        self.last_flush = Some(now);
        self.flushing = true;
        Some(Flush {
            field: self.field(),
            add: self.pending,
        })
    }

    /// `flush` was written, and the total is this now. Gives the threshold that shows to be passed.
    pub fn flushed(&mut self, now: u64, flush: &Flush, total: u64) -> Option<f64> {
        self.roll(now);
        if !self.is_current(flush) {
            return None;
        }
        self.flushing = false;
        self.pending = self.pending.saturating_sub(flush.add);
        // Less than was there before: somebody deleted the count, and what it stood for was sent all the same.
        let before = total.saturating_sub(flush.add);
        let lost = self.total.unwrap_or(0).saturating_sub(before);
        self.others = self.others.saturating_add(lost);
        if self.total.replace(total).is_none() {
            // What had been counted before is no sign of how fast it grows now.
            self.pace = Pace::new(self.span, self.span.starts_at);
        }
        self.judge(now)
    }

    /// `flush` could not be written, or nobody knows: it is written again later.
    pub fn flush_failed(&mut self, flush: &Flush) {
        if self.is_current(flush) {
            self.flushing = false;
        }
    }

    /// The server refused a command because the quota is spent, in these words. If they are about this window, all of it
    /// is used. Gives the threshold that shows to be passed.
    pub fn refused(&mut self, now: u64, text: &str) -> Option<f64> {
        self.roll(now);
        let text = text.to_ascii_lowercase();
        let ours = text.contains("daily") == (self.settings.window == Window::Day);
        if !ours {
            return None;
        }
        let stated = stated_usage(&text).unwrap_or_default();
        let missing = stated
            .max(self.settings.commands)
            .saturating_sub(self.used());
        self.others = self.others.saturating_add(missing);
        self.judge(now)
    }

    /// So many connections of so many are open. Gives the threshold that was passed, once in a window each.
    pub fn connections(&mut self, now: u64, open: u64, limit: u64) -> Option<f64> {
        self.roll(now);
        let ratio = share(open, limit);
        self.connections_passed.reach(&self.settings.warn_at, ratio)
    }

    /// Whether the total of this window is known.
    #[must_use]
    pub const fn is_anchored(&self) -> bool {
        self.total.is_some()
    }

    /// The figures.
    pub fn usage(&mut self, now: u64) -> Usage {
        self.roll(now);
        let known = self.total.is_some() || self.others > 0;
        Usage {
            used: self.used(),
            limit: self.settings.commands,
            ratio: self.ratio(),
            window: self.settings.window,
            resets_at: self.span.ends_at,
            source: if known {
                Source::Server
            } else {
                Source::Process
            },
            forecast_at: self.forecast(now),
        }
    }

    /// How many intervals the idle tick waits, 1 to 10.
    pub fn tick_factor(&mut self, now: u64) -> f64 {
        self.roll(now);
        let part = (self.ratio() - STRETCH_FROM) / (1.0 - STRETCH_FROM);
        1.0 + part.clamp(0.0, 1.0) * (STRETCH_MOST - 1.0)
    }

    /// Begins the next window, if it is time. A clock that is put back a little, over the border, begins none: its
    /// warnings were given.
    fn roll(&mut self, now: u64) {
        if now >= self.span.ends_at || now.saturating_add(CORRECTED_MS) < self.span.starts_at {
            *self = Self::new(self.settings.clone(), now);
        }
    }

    /// Whether an answer to `flush` says something of this window: around midnight it may be about the last one.
    fn is_current(&self, flush: &Flush) -> bool {
        self.flushing && flush.field == self.field()
    }

    fn field(&self) -> String {
        self.settings.window.name(self.span.starts_at)
    }

    fn used(&self) -> u64 {
        let counted = self.total.unwrap_or_default().saturating_add(self.pending);
        counted.saturating_add(self.others)
    }

    fn ratio(&self) -> f64 {
        share(self.used(), self.settings.commands)
    }

    fn judge(&mut self, now: u64) -> Option<f64> {
        self.pace.note(now, self.used());
        let ratio = self.ratio();
        self.commands_passed.reach(&self.settings.warn_at, ratio)
    }

    fn forecast(&self, now: u64) -> Option<u64> {
        let (used, limit) = (self.used(), self.settings.commands);
        if used < limit.div_ceil(100) {
            return None;
        }
        let at = now.saturating_add(self.pace.lasts(now, used, limit.saturating_sub(used)));
        (at < self.span.ends_at).then_some(at)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(used: u64, limit: u64) -> f64 {
    used as f64 / limit.max(1) as f64
}

/// The number after `usage:`, as in `Limit: 10000, Usage: 10000.`
fn stated_usage(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("usage:")?;
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit());
    after[..end.unwrap_or(after.len())].parse().ok()
}

#[cfg(test)]
mod tests;

//! What the application hears of several links together: the mode that they make up, and only what concerns them all.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Application, Event, Question, status::LastError, tier::Tier};
use crate::resilience::mode::Mode;

/// The way to the application, past which all links speak.
pub(super) struct Voice {
    tier: Weak<Tier>,
    application: Arc<dyn Application>,
    /// The mode that was told last.
    mode: Mutex<&'static str>,
}

impl Voice {
    /// For the links of `tier`.
    pub(super) fn new(tier: Weak<Tier>, application: Arc<dyn Application>) -> Arc<Self> {
        Arc::new(Self {
            tier,
            application,
            mode: Mutex::new(Mode::Memory.as_str()),
        })
    }

    /// Tells that other tiers are in use now, if they are.
    pub(super) fn tell_mode(&self, tier: &Tier, reason: String, error: Option<LastError>) {
        let mut mode = self.mode.lock();
        let to = told(tier);
        let from = std::mem::replace(&mut *mode, to);
        if from != to {
            self.application.tell(Event::Mode {
                from,
                to,
                reason,
                error,
            });
        }
    }
}

impl Application for Voice {
    fn tell(&self, event: Event) {
        let tier = self.tier.upgrade().filter(|tier| tier.cluster().is_some());
        match (event, tier) {
            (Event::Mode { reason, error, .. }, Some(tier)) => {
                self.tell_mode(&tier, reason, error);
            }
            // In use are all of them, and closed, which the tier tells.
            (Event::Ready, Some(tier)) if !is_whole(told(&tier)) => (),
            (Event::Closed, Some(_)) => (),
            (event, _) => {
                if let Event::Mode { to, .. } = &event {
                    *self.mode.lock() = to;
                }
                self.application.tell(event);
            }
        }
    }

    fn ask(&self, question: Question) -> oneshot::Receiver<String> {
        self.application.ask(question)
    }
}

/// The mode as it was told by each of the links.
fn told(tier: &Tier) -> &'static str {
    let mut modes = Vec::new();
    tier.each_status(|status| modes.push(status.mode));
    common(modes.into_iter())
}

/// Whether every link is in use in this mode.
fn is_whole(mode: &str) -> bool {
    mode != Mode::Memory.as_str() && mode != Mode::Partial.as_str()
}

/// What the modes of all links make up: that of all, if they agree; `partial` where only some are in use.
pub(super) fn common(modes: impl Iterator<Item = &'static str>) -> &'static str {
    let modes: Vec<&'static str> = modes.collect();
    let all = |mode: Mode| modes.iter().all(|each| *each == mode.as_str());
    if let Some(mode) = [Mode::Tiered, Mode::Memory]
        .into_iter()
        .find(|mode| all(*mode))
    {
        return mode.as_str();
    }
    if modes.iter().all(|mode| is_whole(mode)) {
        Mode::ReadsOnly.as_str()
    } else {
        Mode::Partial.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_links_make_up_one_mode() {
        let table: [(&[&str], &str); 6] = [
            (&["tiered", "tiered"], "tiered"),
            (&["memory", "memory"], "memory"),
            (&["tiered", "memory"], "partial"),
            (&["tiered", "reads-only"], "reads-only"),
            (&["reads-only", "memory"], "partial"),
            (&["partial", "tiered"], "partial"),
        ];
        for (modes, expected) in table {
            let modes = modes.iter().map(|mode| match *mode {
                "tiered" => Mode::Tiered.as_str(),
                "memory" => Mode::Memory.as_str(),
                "partial" => Mode::Partial.as_str(),
                _ => Mode::ReadsOnly.as_str(),
            });
            assert_eq!(common(modes), expected);
        }
    }
}

//! How this process hears of what others change: which way is wanted, which one works, and what is said of it.

use super::{
    Link, Setting,
    bus::Speech,
    handshake::{self, Memory, Refusal, Tracking},
    link::{Connection, End, Serving, meaning_of, server_text},
    port::{Failure, Reply},
    tracking,
};
use crate::{
    clock,
    config::{Config, Invalidation},
};

const NO_L1: &str = "there is no L1 to keep current";

/// The way, and why it is not another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hearing {
    /// How changes are heard of.
    pub way: Way,
    /// Why not better.
    pub reason: Option<String>,
    /// Why others do not hear of changes made here, if they do not.
    pub mute: Option<String>,
    /// How often changes were missed: the way was interrupted, or the database flushed.
    pub losses: u64,
    /// How long the last change took to be heard of whose time is known, in ms.
    pub lag_ms: Option<u64>,
}

/// How changes are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The server pushes them over the data connection.
    Tracking,
    /// Whoever changes something publishes it.
    Pubsub,
    /// Not at all.
    Off,
}

impl Way {
    /// Its name in `health()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tracking => "tracking",
            Self::Pubsub => "pubsub",
            Self::Off => "off",
        }
    }
}

impl Hearing {
    /// Of a link that was never up.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let reason = match Wish::of(config) {
            Wish::Off(reason) => reason,
            Wish::Tracking | Wish::TrackingOrPubsub | Wish::Pubsub => "Redis was not in use yet",
        };
        Self {
            way: Way::Off,
            reason: Some(reason.to_owned()),
            mute: None,
            losses: 0,
            lag_ms: None,
        }
    }
}

/// What is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Tracking, and nothing else.
    Tracking,
    /// Tracking, and where the server cannot, publishing.
    TrackingOrPubsub,
    /// Publishing.
    Pubsub,
    /// Nothing, for this reason.
    Off(&'static str),
}

impl Wish {
    /// What the configuration asks for.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        match (config.invalidation, config.quota.is_some()) {
            (Invalidation::Off, _) => Self::Off("it is switched off"),
            (Invalidation::Pubsub, _) => Self::Pubsub,
            (Invalidation::Tracking, _) if config.l1.is_none() => Self::Off(NO_L1),
            (Invalidation::Auto, true) if config.prefix.is_empty() => Self::Off(
                "without a namespace every change in Redis would be told, and a message for each write would cost the plan's commands: set a namespace",
            ),
            (Invalidation::Tracking, _) | (Invalidation::Auto, true) => Self::Tracking,
            (Invalidation::Auto, false) if config.prefix.is_empty() => Self::Pubsub,
            (Invalidation::Auto, false) => Self::TrackingOrPubsub,
        }
    }

    /// Whether the server is asked to push.
    #[must_use]
    pub const fn tracks(self) -> bool {
        matches!(self, Self::Tracking | Self::TrackingOrPubsub)
    }
}

/// Begins to hear over a connection that is not in use yet.
///
/// # Errors
/// If the connection does not answer.
pub async fn begin(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    memory: &mut Memory,
) -> Result<(), Refusal> {
    let wish = Wish::of(&setting.config);
    let hears = setting.config.l1.is_some();
    let refused = match wish {
        Wish::Off(reason) => Some(reason.to_owned()),
        Wish::Pubsub => None,
        Wish::Tracking | Wish::TrackingOrPubsub if !hears => {
            if link_pushes(link, setting, connection, memory).await? {
                link.shared.bus.speak(Speech::Marks);
                decide(link, Way::Off, Some(NO_L1.to_owned()));
                return Ok(());
            }
            None
        }
        Wish::Tracking | Wish::TrackingOrPubsub => {
            match tracking::arm(link, setting, connection, &mut memory.tracking).await? {
                None => {
                    link.shared.bus.speak(Speech::Marks);
                    decide(link, Way::Tracking, None);
                    return Ok(());
                }
                refused => refused,
            }
        }
    };
    let publishes = matches!(wish, Wish::Pubsub | Wish::TrackingOrPubsub);
    let speech = if publishes {
        Speech::Publishes
    } else {
        Speech::Mute
    };
    link.shared.bus.speak(speech);
    link.status.lock().hearing.mute = None;
    connection.subscribes = publishes && hears;
    connection.untracked.clone_from(&refused);
    let reason = match refused {
        Some(reason) => reason,
        None if hears => "subscribing".to_owned(),
        None => NO_L1.to_owned(),
    };
    decide(link, Way::Off, Some(reason));
    Ok(())
}

/// Whether the server pushes to those who want it; this connection does not, having no L1.
async fn link_pushes(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    memory: &mut Memory,
) -> Result<bool, Refusal> {
    if memory.tracking == Tracking::Pushes {
        return Ok(true);
    }
    let refused = tracking::arm(link, setting, connection, &mut memory.tracking).await?;
    if refused.is_none() {
        let mut off = redis::pipe();
        off.add_command(tracking::off());
        handshake::exchange(link, setting, connection, &off).await?;
    }
    Ok(refused.is_none())
}

fn decide(link: &Link, way: Way, reason: Option<String>) {
    let hearing = &mut link.status.lock().hearing;
    hearing.way = way;
    hearing.reason = reason;
}

impl Link {
    /// What the server said to what tells other processes: what it refuses, they do not hear of. Where this user may not
    /// tell them anything, nothing more is tried over this link.
    pub fn heard_of_telling(&self, reply: &Reply) {
        let mute = if let Err(Failure::Refused(error)) = reply {
            if meaning_of(error).is_for_good() {
                self.shared.bus.speak(Speech::Mute);
            }
            let text = server_text(error);
            Some(format!("others do not hear of changes made here: {text}"))
        } else {
            None
        };
        self.status.lock().hearing.mute = mute;
    }

    /// Changes were missed.
    pub(super) fn note_loss(&self) {
        self.status.lock().hearing.losses += 1;
    }
}

impl Serving<'_> {
    /// The link is at its end: what it kept current is so no longer.
    pub(super) fn stop_hearing(&self, end: &End) {
        let subscription = self.link.shared.subscriber.state();
        let is_subscribed = subscription.is_some_and(|(way, _)| way == Way::Pubsub);
        let mut status = self.link.status.lock();
        let hearing = &mut status.hearing;
        // A subscription that was lost before is counted already.
        let was_heard = hearing.way != Way::Off || (self.connection.subscribes && is_subscribed);
        if !was_heard && !self.connection.subscribes {
            return;
        }
        hearing.way = Way::Off;
        hearing.reason = Some("Redis is not in use".to_owned());
        if was_heard && !matches!(end, End::Closed(_) | End::Memory) {
            hearing.losses += 1;
        }
        drop(status);
        self.link.port.deafen(clock::now());
        self.setting.listener.missed(Some(self.link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_that_is_wanted_depends_on_namespace_plan_and_option() {
        let quota = r#""quota":{"commands":1000,"window":"day"}"#;
        let table = [
            (
                r#"{"namespace":"n"}"#.to_owned(),
                Some(Wish::TrackingOrPubsub),
            ),
            ("{}".to_owned(), Some(Wish::Pubsub)),
            (
                format!(r#"{{"namespace":"n",{quota}}}"#),
                Some(Wish::Tracking),
            ),
            (format!("{{{quota}}}"), None),
            (r#"{"invalidation":"off","namespace":"n"}"#.to_owned(), None),
            (
                r#"{"invalidation":"tracking"}"#.to_owned(),
                Some(Wish::Tracking),
            ),
            (r#"{"invalidation":"tracking","l1":false}"#.to_owned(), None),
            (
                r#"{"invalidation":"pubsub","l1":false}"#.to_owned(),
                Some(Wish::Pubsub),
            ),
        ];
        for (options, expected) in table {
            let wish = Wish::of(&Config::parse(&options).expect("sound options"));
            let wish = Some(wish).filter(|wish| !matches!(wish, Wish::Off(_)));
            assert_eq!(wish, expected, "{options}");
        }
    }
}

//! The Redis link: everything between a submitted operation and the socket. Owns connecting, deadlines, batching, the
//! journal's replay and the link's own figures. Knows nothing of L1 or of JavaScript.
//!
//! `tier` is what the cache holds: one link, or with a `cluster` one for each master, for which `voice` speaks. Of one link
//! `port` takes operations in, `supervisor` owns its life, `handshake` makes a connection (over `dialer` and `tls`, to where
//! `sentinel` says that the master is) that speaks `resp`, `link` serves one, `watch` tells when it is in trouble, `condition` what it can be used
//! for then, `batch` cuts what is queued into pipelines, `barrier` replays the journal. `hearing` decides how others' changes
//! are heard of: by `tracking`, or by what `bus` publishes and `subscriber` hears.

pub mod barrier;
pub mod batch;
pub mod bus;
pub mod changes;
pub mod cluster;
pub mod commands;
mod condition;
pub mod dialer;
pub mod handshake;
pub mod hearing;
pub mod inquiry;
pub mod link;
pub mod port;
pub mod resp;
pub mod sentinel;
pub mod status;
pub mod subscriber;
mod subscription;
pub mod supervisor;
pub mod tier;
pub mod tls;
pub mod tracking;
mod voice;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch as latest};

use self::{
    bus::Bus,
    dialer::Dial,
    hearing::Hearing,
    link::meaning_of,
    port::{Failure, HeardUntil, Port, Reply},
    sentinel::Sentinels,
    status::Status,
    subscriber::Subscriber,
    tier::Tier,
};
use crate::{
    clock::{self, millis, now},
    config::{self, Config, Redis, SoftTimeout, Window},
    resilience::{
        gate::{Gate, Kind},
        journal::Journal,
        mode::Mode,
        patience::{Patience, Rule},
        quota::{self, Quota},
        state::{self, LinkState},
    },
    telemetry::counters::Counters,
    tide::Tide,
};

fn quota_of(given: &config::Quota) -> Mutex<Quota> {
    let settings = quota::Settings {
        commands: given.commands,
        window: match given.window {
            Window::Day => quota::calendar::Window::Day,
            Window::Month => quota::calendar::Window::Month,
        },
        warn_at: given.warn_at.clone(),
    };
    Mutex::new(Quota::new(settings, clock::unix()))
}

impl From<SoftTimeout> for Rule {
    fn from(given: SoftTimeout) -> Self {
        match given {
            SoftTimeout::Auto => Self::Auto,
            SoftTimeout::After(time) => Self::After(millis(time)),
            SoftTimeout::Off => Self::Off,
        }
    }
}

/// Something the application may want to know of the link.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Redis is in use (again).
    Ready,
    /// The tiers in use changed.
    Mode {
        /// The mode before.
        from: &'static str,
        /// The mode now.
        to: &'static str,
        /// Why, in words.
        reason: String,
        /// What went wrong, if something did.
        error: Option<status::LastError>,
    },
    /// A try to connect will be made.
    Reconnecting {
        /// Which try since the link was last good.
        attempt: u32,
        /// How long until then, in ms.
        delay_ms: u64,
    },
    /// Something that deserves a look.
    Warning {
        /// A short stable name.
        code: &'static str,
        /// What it is and what to do.
        message: String,
    },
    /// A share of the plan's commands is used that was to be told of.
    Quota {
        /// Commands of this window.
        used: u64,
        /// How many there may be.
        limit: u64,
        /// The one by the other.
        ratio: f64,
    },
    /// The link is closed for good.
    Closed,
}

/// A question that only the application can answer, on its event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// How many ms to wait before this attempt: the user's `retryStrategy`.
    Retry(u32),
    /// The credentials to use now.
    Credentials,
}

/// How the link reaches the application: events go out, questions come back as JSON.
pub trait Application: Send + Sync {
    /// Tells of an event; must not block.
    fn tell(&self, event: Event);
    /// Asks a question; a dropped sender means no answer.
    fn ask(&self, question: Question) -> oneshot::Receiver<String>;
}

/// What hears of changes in Redis that were not made over this link.
pub trait Listener: Send + Sync {
    /// These keys were changed.
    fn changed(&self, keys: &[&[u8]]);
    /// What matches the glob was removed.
    fn removed(&self, pattern: &[u8]);
    /// Changes were missed, or too many to be named: nothing that was read before over this link, or over any, is known to
    /// be current.
    fn missed(&self, link: Option<&Link>);
}

/// What the cache tells its supervisor.
#[derive(Debug)]
pub enum Control {
    /// A lazy link is wanted now.
    Connect,
    /// The link of this generation answers one question with the answer to another: it is to be made anew.
    Renew(u64),
    /// The server is elsewhere now.
    Moved,
    /// Memory mode is forced (`true`) or left.
    MemoryMode(bool),
    /// Finish what is in flight, at most a second, and stop for good.
    Close(oneshot::Sender<()>),
}

/// What all links of a cache have in common.
pub struct Shared {
    /// What tells other processes of changes.
    pub bus: Bus,
    /// What hears of their changes, for the links that want it.
    pub subscriber: Subscriber,
    /// How much of the plan is used, if one was given.
    pub quota: Option<Mutex<Quota>>,
    /// Whether somebody deleted the count of the plan's commands in Redis.
    count_is_new: AtomicBool,
    /// How many of the commands that were sent it knows of.
    spent: AtomicU64,
    /// The numbers of all journals.
    journaled: Arc<AtomicU64>,
    /// Until when changes were heard of over each link.
    heard_until: Arc<HeardUntil>,
    /// How many links there were, one after another.
    generations: Arc<AtomicU64>,
    /// Turned whenever what was read over a link counts for something else.
    tide: Arc<Tide>,
    /// Counts the steps of all links, for those who wait for one.
    pub steps: latest::Sender<u64>,
}

impl Shared {
    /// Of links that were never up.
    #[must_use]
    pub fn new(config: &Config, redis: &Redis, tide: Arc<Tide>) -> Arc<Self> {
        Arc::new(Self {
            bus: Bus::new(config, redis.db),
            subscriber: Subscriber::default(),
            quota: config.quota.as_ref().map(quota_of),
            count_is_new: AtomicBool::new(false),
            spent: AtomicU64::new(0),
            journaled: Arc::default(),
            heard_until: Arc::default(),
            generations: Arc::default(),
            tide,
            steps: latest::Sender::new(0),
        })
    }
}

/// The cache's handle of its link. The supervisor holds the same one.
pub struct Link {
    /// The id of the cache, for its log lines.
    pub cache: u64,
    /// Where operations go in.
    pub port: Port,
    /// What Redis may hold that is no longer true.
    pub journal: Mutex<Journal>,
    /// Figures for `health()`.
    pub status: Mutex<Status>,
    /// The link's state, for those who wait for a change.
    pub state: latest::Sender<LinkState>,
    /// The epoch that entries in Redis must carry, 0 for none.
    pub epoch: AtomicU64,
    /// Values without an envelope may be from before a collapse, which an epoch does not tell of them.
    pub distrust_bare: AtomicBool,
    /// What it has in common with the other links of the cache.
    pub shared: Arc<Shared>,
    /// What puts keys of our own into a slot of this link, where there are slots.
    home: Mutex<Option<String>>,
    /// The counters of the cache.
    pub counters: Arc<Counters>,
    /// How long callers who can make a value wait for Redis.
    pub patience: Mutex<Patience>,
    /// Whether the application was told that the server refuses to delete what is journaled.
    told_of_refusals: AtomicBool,
    /// Whether the server takes writes.
    gate: Mutex<Gate>,
    /// When the read was sent that somebody waited out without a byte coming; 0 if nobody did.
    unanswered: AtomicU64,
    control: mpsc::UnboundedSender<Control>,
}

impl Link {
    /// A link to the server that is called `endpoint`, and the receiving end of its controls, for [`supervisor::start`].
    #[must_use]
    pub fn new(
        cache: u64,
        config: &Config,
        endpoint: String,
        shared: &Arc<Shared>,
        counters: Arc<Counters>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Control>) {
        let (control, controls) = mpsc::unbounded_channel();
        let tier = &config.l2;
        let link = Self {
            cache,
            port: Port::new(
                Arc::clone(&shared.generations),
                Arc::clone(&shared.heard_until),
                Arc::clone(&shared.tide),
            ),
            journal: Mutex::new(Journal::sharing(Arc::clone(&shared.journaled))),
            status: Mutex::new(Status::new(endpoint, Hearing::new(config))),
            state: latest::Sender::new(LinkState::Idle),
            epoch: AtomicU64::new(0),
            distrust_bare: AtomicBool::new(false),
            shared: Arc::clone(shared),
            home: Mutex::default(),
            counters,
            patience: Mutex::new(Patience::new(tier.soft_timeout.into(), tier.timeout_ms())),
            told_of_refusals: AtomicBool::new(false),
            gate: Mutex::default(),
            unanswered: AtomicU64::new(0),
            control,
        };
        (Arc::new(link), controls)
    }

    /// Tells the supervisor; says nothing once it has stopped.
    pub fn control(&self, control: Control) {
        let _ = self.control.send(control);
    }

    /// How many ms a read may keep a caller who can make the value, by `rule` or the configured one; `None` for as long
    /// as its deadline allows. Not at all while the link has said nothing since somebody waited in vain.
    #[must_use]
    pub fn patience(&self, rule: Option<Rule>) -> Option<u64> {
        let ms = self.patience.lock().for_read(rule)?;
        let silent = self.port.heard() < self.unanswered.load(SeqCst);
        Some(if silent { 0 } else { ms })
    }

    /// Somebody waited in vain for the answer to a read that was sent at `since`.
    pub fn waited_out(&self, since: u64) {
        if self.port.heard() < since {
            self.unanswered.store(since, SeqCst);
        }
    }

    /// Moves the state on; whoever waits for a change hears of it.
    pub fn step(&self, event: state::Event) {
        self.state.send_modify(|state| *state = state.step(event));
        self.shared.steps.send_modify(|steps| *steps += 1);
    }

    /// Whether there are other links for other slots.
    #[must_use]
    pub fn is_shard(&self) -> bool {
        self.home.lock().is_some()
    }

    /// Keys of our own have this in braces from now on.
    fn settle_in(&self, home: String) {
        *self.home.lock() = Some(home);
    }

    /// Whether keys of our own are in one of these slots.
    fn is_at_home(&self, slots: &[u16]) -> bool {
        let home = self.home.lock();
        let slot = home
            .as_ref()
            .filter(|home| !home.is_empty())
            .map(|home| cluster::slots::slot_of(home.as_bytes()));
        slot.is_some_and(|slot| slots.contains(&slot))
    }

    /// What tells other processes that everything that matches was removed, if it is to be told.
    #[must_use]
    pub fn telling_of_pattern(&self, pattern: &[u8]) -> Option<redis::Cmd> {
        let home = self.home.lock().clone().unwrap_or_default();
        self.shared.bus.telling_of_pattern(pattern, &home)
    }

    /// The name of a key of our own that is in a slot of this link.
    #[must_use]
    pub fn own_key(&self, prefix: &str, name: &str) -> String {
        match &*self.home.lock() {
            Some(home) => format!("{prefix}{name}:{{{home}}}"),
            None => format!("{prefix}{name}"),
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Whether a write of this kind is to be sent now: the link lets operations in, and the server takes it, or it is time
    /// to see whether it does.
    #[must_use]
    pub fn takes(&self, kind: Kind) -> bool {
        self.port.is_open() && (!self.port.is_gated() || self.gate.lock().admit(kind, now()))
    }

    /// How many of `wanted` deletions are to be sent now: all, or one to see whether the server takes any.
    #[must_use]
    pub fn takes_deletions(&self, wanted: usize) -> usize {
        if wanted == 0 || !self.takes(Kind::Deletion) {
            return 0;
        }
        if self.gate.lock().is_shut() {
            1
        } else {
            wanted
        }
    }

    /// What the server said to a write of this kind.
    pub fn heard_of_write(&self, kind: Kind, reply: &Reply) {
        match reply {
            Ok(_) if self.port.is_gated() => {
                let mut gate = self.gate.lock();
                gate.on_success(kind);
                self.port.note_gate(!gate.is_open());
            }
            Err(Failure::Refused(error)) => {
                let mut gate = self.gate.lock();
                gate.on_refusal(meaning_of(error), now());
                self.port.note_gate(!gate.is_open());
            }
            Ok(_) | Err(_) => (),
        }
    }

    /// Notes that the cache may no longer believe what Redis holds under `key`.
    pub fn distrust(&self, key: &Arc<[u8]>) {
        let mut journal = self.journal.lock();
        journal.record(Arc::clone(key));
        self.port.note_journal(&journal);
    }

    /// Looks at the journal that `key` belongs to, which is another link's once its slot was given over.
    fn with_journal<T>(
        &self,
        tier: &Weak<Tier>,
        key: &[u8],
        look: impl FnOnce(&mut Journal) -> T,
    ) -> T {
        if let Some(tier) = tier.upgrade() {
            return tier.journal(key, look);
        }
        let mut journal = self.journal.lock();
        let value = look(&mut journal);
        self.port.note_journal(&journal);
        value
    }

    /// Notes that the cache may no longer believe what Redis holds under keys that match.
    pub fn distrust_pattern(&self, pattern: &[u8]) {
        let mut journal = self.journal.lock();
        journal.record_pattern(pattern.into());
        self.port.note_journal(&journal);
    }

    /// Notes that what was journaled for `key` up to `seq` is true again.
    pub fn trust(&self, key: &[u8], seq: u64) {
        let mut journal = self.journal.lock();
        journal.acknowledge(key, seq);
        self.port.note_journal(&journal);
    }
}

/// What the supervisor needs beside the link: the cache's settings and the way to the application.
#[derive(Clone)]
pub struct Setting {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// The part about Redis.
    pub redis: Arc<Redis>,
    /// The way to the application.
    pub application: Arc<dyn Application>,
    /// The way to the server.
    pub dial: Arc<dyn Dial>,
    /// The way to any server that has the channels too.
    pub dial_any: Arc<dyn Dial>,
    /// Who knows where it is, if somebody does.
    pub sentinels: Option<Arc<Sentinels>>,
    /// Who hears of what others change.
    pub listener: Arc<dyn Listener>,
    /// All links of the cache.
    pub tier: Weak<Tier>,
}

impl Setting {
    /// Tells the application that other tiers are in use now, if they are.
    fn enter_mode(&self, link: &Link, to: Mode, reason: String, error: Option<status::LastError>) {
        let to = to.as_str();
        let from = {
            let mut status = link.status.lock();
            let from = std::mem::replace(&mut status.mode, to);
            if from != to {
                status.event(format!("{from} -> {to}: {reason}"));
            }
            from
        };
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

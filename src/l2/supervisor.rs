//! The life of the link: one task per cache that connects, recovers, serves, backs off and comes back, for ever.
//!
//! | phase | ends when | next |
//! |---|---|---|
//! | idle (lazy, or memory mode) | the first operation, `ready()`, memory mode left | connecting |
//! | connecting, recovering | handshake and barrier done | serving |
//! | | they failed or took too long | backoff |
//! | serving | the link broke, fell silent, was refused | backoff |
//! | backoff | its time is over | connecting |
//! | any | memory mode forced | idle |
//! | any | `close()` | closed, the only end |

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::ProtocolVersion;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

use super::{
    Control, Event, Link, Question, Setting, barrier,
    cluster::layout,
    dialer::ResetOnDrop,
    handshake::{self, Memory, Refusal},
    hearing,
    link::{Connection, End, Lasting, Serving, note_refusal, refuse_queued},
    port::Failure,
    status::LastError,
};
use crate::{
    clock::{self, millis},
    config::{self, Topology},
    resilience::{
        backoff::{Backoff, Class},
        breaker::{self, Breaker, BreakerState},
        budget::RetryBudget,
        mode::Mode,
        ramp::FIRST_SHARE,
        state::Event as Step,
    },
    telemetry::{counters::ErrorClass, log::Repeats},
};

/// After a link was lost an attempt may take this long at most.
const RECONNECT_ALLOWANCE: Duration = Duration::from_secs(5);
/// How long the user's `retryStrategy` may take to answer.
const RETRY_ANSWER: Duration = Duration::from_millis(50);
/// A fleet that lost the same server does not replay its journals at the same instant.
const RECOVERY_SPREAD_MS: f64 = 200.0;
/// A server that knew no RESP3 is not asked again for an hour.
const OLD_PROTOCOL_MS: u64 = 3_600_000;

enum Phase {
    Idle,
    Connecting,
    Serving(Box<Connection>),
    Backoff(Class),
    Closed(Option<oneshot::Sender<()>>),
}

/// The task that owns the link.
pub struct Supervisor {
    link: Arc<Link>,
    setting: Setting,
    controls: mpsc::UnboundedReceiver<Control>,
    memory: Memory,
    backoff: Backoff,
    lasting: Lasting,
    old_protocol_until: u64,
    /// Until when operations may wait for the very first link.
    grace_until: u64,
    lost_at: Option<u64>,
    repeats: Repeats,
    /// What tells where the server is, while there is a link or one is wanted.
    followers: JoinSet<()>,
    /// How often another server was tried at once, since operations wait for the first link.
    hops: usize,
}

/// Starts the task that owns `link`. A link that is neither lazy nor in memory mode lets operations wait for its
/// first connection, at most for one `l2.timeout` after now.
pub fn start(
    runtime: &tokio::runtime::Handle,
    link: Arc<Link>,
    controls: mpsc::UnboundedReceiver<Control>,
    setting: Setting,
    memory_mode: bool,
) {
    let phase = if memory_mode || setting.redis.lazy_connect {
        Phase::Idle
    } else {
        link.step(Step::Wanted);
        Phase::Connecting
    };
    if !memory_mode {
        link.port.open();
    }
    let grace_until = clock::now() + millis(setting.config.l2.timeout);
    let lasting = Lasting {
        budget: RetryBudget::default(),
        breaker: Breaker::new(settings_of(&setting.config.breaker)),
        role_until: 0,
    };
    let supervisor = Supervisor {
        link,
        setting,
        controls,
        memory: Memory::default(),
        backoff: Backoff::new(),
        lasting,
        old_protocol_until: 0,
        grace_until,
        lost_at: None,
        repeats: Repeats::new(),
        followers: JoinSet::new(),
        hops: 0,
    };
    runtime.spawn(supervisor.run(phase));
}

impl Supervisor {
    async fn run(mut self, mut phase: Phase) {
        loop {
            phase = match phase {
                Phase::Idle => self.idle().await,
                Phase::Connecting => self.connecting().await,
                Phase::Serving(connection) => self.serving(*connection).await,
                Phase::Backoff(class) => self.backing_off(class).await,
                Phase::Closed(done) => return self.closed(done),
            };
        }
    }

    async fn idle(&mut self) -> Phase {
        self.link.step(Step::Parked);
        self.followers.shutdown().await;
        if !self.link.port.is_open() {
            refuse_queued(&self.link, &Failure::Unavailable);
        }
        loop {
            tokio::select! {
                control = self.controls.recv() => match control {
                    Some(Control::Connect) if self.link.port.is_open() => break,
                    Some(Control::MemoryMode(false)) => break,
                    Some(Control::Connect | Control::Renew(_) | Control::Moved) => (),
                    Some(Control::MemoryMode(true)) => self.link.port.shut(),
                    Some(Control::Close(done)) => return Phase::Closed(Some(done)),
                    None => return Phase::Closed(None),
                },
                () = self.link.port.woken(), if self.link.port.is_open() => break,
            }
        }
        self.grace_until = clock::now() + millis(self.setting.config.l2.timeout);
        self.link.port.open();
        self.link.port.wake();
        Phase::Connecting
    }

    /// Waits out one attempt; operations that came first wait with it, but no longer than the grace.
    async fn connecting(&mut self) -> Phase {
        if let Some(sentinels) = self
            .setting
            .sentinels
            .as_ref()
            .filter(|_| self.followers.is_empty())
        {
            self.followers = sentinels.follow(&self.link);
        }
        self.link.step(Step::Wanted);
        self.link.step(Step::Due);
        self.backoff.started(clock::now());
        let old = clock::now() < self.old_protocol_until;
        let protocol = if old {
            ProtocolVersion::RESP2
        } else {
            ProtocolVersion::RESP3
        };
        let allowance = match self.lost_at {
            Some(_) => RECONNECT_ALLOWANCE.min(self.setting.redis.connect_timeout),
            None => self.setting.redis.connect_timeout,
        };
        let spread = self.lost_at.map(|_| fastrand::f64() * RECOVERY_SPREAD_MS);
        let attempt = Box::pin(establish(
            &self.link,
            &self.setting,
            &mut self.memory,
            protocol,
            allowance,
            spread,
        ));
        match waited(attempt, &mut self.controls, &self.link, self.grace_until).await {
            Ok(connection) => self.came_up(connection),
            Err(Interrupted::By(Phase::Connecting)) if self.hops_on() => Phase::Connecting,
            Err(Interrupted::By(phase)) => {
                self.abandon_queue();
                phase
            }
            Err(Interrupted::Refused(refusal)) if refusal.old_protocol => {
                self.old_protocol_until = clock::now() + OLD_PROTOCOL_MS;
                Phase::Connecting
            }
            Err(Interrupted::Refused(refusal)) if self.is_elsewhere(&refusal) && self.hops_on() => {
                Phase::Connecting
            }
            Err(Interrupted::Refused(refusal)) => {
                self.abandon_queue();
                self.failed(refusal)
            }
        }
    }

    /// Whether another server of several may well do.
    fn is_elsewhere(&self, refusal: &Refusal) -> bool {
        refusal.error.code == "EMOVED"
            || matches!(&self.setting.redis.topology, Topology::Cluster(nodes) if nodes.len() > 1)
    }

    /// Whether another server is tried at once: a few, while operations wait for the first link.
    fn hops_on(&mut self) -> bool {
        const MOST: usize = 4;
        self.hops += 1;
        self.hops <= MOST && self.lost_at.is_none() && clock::now() < self.grace_until
    }

    fn abandon_queue(&self) {
        self.link.port.shut();
        refuse_queued(&self.link, &Failure::Unavailable);
        self.link.status.lock().connections = 0;
    }

    fn came_up(&mut self, connection: Connection) -> Phase {
        let overloaded = connection.overloaded;
        let share = if overloaded { FIRST_SHARE } else { 1.0 };
        self.link.port.admit_reads(share);
        self.link.patience.lock().forget_replies();
        self.link.port.listen_to(Arc::clone(&connection.activity));
        self.link.port.begin_generation();
        let breaker = self.renew_breaker(connection.quota_spent.as_deref());
        self.link.step(Step::Recovered);
        self.backoff.up(clock::now());
        self.repeats = Repeats::new();
        let port = &self.link.port;
        let mode = Mode::of(
            breaker,
            !port.is_whole(),
            !port.is_gated(),
            port.admission(),
        );
        let reason = self.say_up(match mode {
            Mode::Memory if breaker != BreakerState::Closed => {
                ", and not used yet: the plan's commands are used up"
            }
            Mode::Memory => ", and not used yet: what is no longer true is being removed",
            Mode::Tiered | Mode::ReadsOnly | Mode::Partial => "",
        });
        self.setting.enter_mode(&self.link, mode, reason, None);
        if mode != Mode::Memory {
            self.tell(Event::Ready);
        }
        Phase::Serving(Box::new(connection))
    }

    /// Logs that the link is up, `but` perhaps not in use; gives the reason for the mode.
    fn say_up(&mut self, but: &str) -> String {
        let (cache, endpoint) = (self.link.cache, self.link.status.lock().endpoint.clone());
        let Some(lost_at) = self.lost_at.take() else {
            let what = if but.is_empty() { "in use" } else { "there" };
            tracing::info!(cache, event = "ready", endpoint, "Redis is {what}{but}");
            return "connected".to_owned();
        };
        self.link.counters.l2_reconnects.fetch_add(1, Relaxed);
        let away = clock::now().saturating_sub(lost_at);
        let attempt = self.backoff.attempt();
        tracing::info!(
            cache,
            event = "back",
            endpoint,
            attempt,
            "Redis is back after {away} ms{but}"
        );
        format!("back after {away} ms")
    }

    /// What the breaker says to a link that has just come up, and to those who wait for it.
    fn renew_breaker(&mut self, quota_spent: Option<&str>) -> BreakerState {
        let now = clock::now();
        self.lasting.breaker.renew(now);
        if let Some(text) = quota_spent {
            note_refusal(&self.link, &self.setting, text);
            let generation = self.lasting.breaker.generation();
            self.lasting
                .breaker
                .on_quota(now, generation, &mut fastrand::f64);
        }
        let state = self.lasting.breaker.state();
        self.link.status.lock().breaker = state;
        if state == BreakerState::Closed {
            self.link.port.open();
        } else {
            self.link.port.shut();
            refuse_queued(&self.link, &Failure::Unavailable);
        }
        state
    }

    async fn serving(&mut self, connection: Connection) -> Phase {
        let serving = Serving::new(&self.link, &self.setting, &mut self.lasting, connection);
        let (end, was_good) = serving.run(&mut self.controls).await;
        if was_good {
            self.backoff.good_read();
        }
        self.backoff.lost(clock::now());
        match end {
            End::Memory => {
                self.setting.enter_mode(
                    &self.link,
                    Mode::Memory,
                    "memory mode is forced".into(),
                    None,
                );
                Phase::Idle
            }
            End::Closed(done) => Phase::Closed(Some(done)),
            End::Lost(error) => self.lost(error, Class::Transient),
            End::Rejected(error) => self.lost(error, Class::Configuration),
            End::Role(error) => self.lost(error, Class::Role),
        }
    }

    fn lost(&mut self, error: LastError, class: Class) -> Phase {
        self.lost_at = Some(clock::now());
        self.link.counters.l2_errors.count(ErrorClass::Connection);
        let endpoint = self.note_error(&error);
        let cache = self.link.cache;
        let LastError { code, message, .. } = error.clone();
        if message.starts_with("Redis ping failed") {
            tracing::error!(cache, event = "ping-failed", endpoint, code, "{message}");
        } else {
            tracing::error!(
                cache,
                event = "lost",
                endpoint,
                code,
                "Redis link lost, switched to memory: {message}"
            );
        }
        self.link.step(Step::Lost);
        self.repeats.note(clock::now(), &code);
        self.setting
            .enter_mode(&self.link, Mode::Memory, message, Some(error));
        Phase::Backoff(class)
    }

    fn failed(&mut self, refusal: Refusal) -> Phase {
        self.lost_at.get_or_insert_with(clock::now);
        let endpoint = self.note_error(&refusal.error);
        let cache = self.link.cache;
        let LastError { code, message, .. } = refusal.error;
        let attempt = self.backoff.attempt();
        if let Some(times) = self.repeats.note(clock::now(), &code) {
            tracing::error!(
                cache,
                event = "unreachable",
                endpoint,
                code,
                attempt,
                "Redis cannot be used, serving from memory{times}: {message}"
            );
        }
        self.link.step(Step::Lost);
        Phase::Backoff(self.backoff.classify(refusal.failure))
    }

    fn note_error(&self, error: &LastError) -> String {
        let mut status = self.link.status.lock();
        status.last_error = Some(error.clone());
        status.event(format!("{}: {}", error.code, error.message));
        status.endpoint.clone()
    }

    async fn backing_off(&mut self, class: Class) -> Phase {
        let user = if class == Class::Transient {
            self.ask_user().await
        } else {
            None
        };
        let delay = self
            .backoff
            .next(clock::now(), class, user, &mut fastrand::f64);
        let attempt = self.backoff.attempt();
        let (cache, endpoint) = (self.link.cache, self.link.status.lock().endpoint.clone());
        if attempt == 1 {
            tracing::info!(
                cache,
                event = "reconnecting",
                endpoint,
                attempt,
                delay_ms = delay,
                "Redis reconnecting in {delay} ms"
            );
        }
        self.tell(Event::Reconnecting {
            attempt,
            delay_ms: delay,
        });
        let until = clock::now() + delay;
        loop {
            let left = until.saturating_sub(clock::now());
            tokio::select! {
                () = sleep(Duration::from_millis(left)) => return Phase::Connecting,
                () = first_deadline(&self.link) => self.link.port.expire(clock::now()),
                control = self.controls.recv() => if let Some(phase) = interrupt(control) {
                    return phase;
                },
            }
        }
    }

    /// The user's own delay, if there is a `retryStrategy`: what it says, or the last delay if it says nothing.
    async fn ask_user(&self) -> Option<u64> {
        if !self.setting.redis.retry_strategy {
            return None;
        }
        let answer = self
            .setting
            .application
            .ask(Question::Retry(self.backoff.attempt() + 1));
        let answer = tokio::time::timeout(RETRY_ANSWER, answer).await;
        let delay = answer
            .ok()
            .and_then(Result::ok)
            .and_then(|json| serde_json::from_str::<f64>(&json).ok());
        // Not a number, negative or absurd: the last delay; a day is enough for anyone.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded just before"
        )]
        let delay = delay
            .filter(|ms| (0.0..86_400_000.0).contains(ms))
            .map(|ms| ms as u64);
        delay.or(self.backoff.last_delay())
    }

    fn closed(&self, done: Option<oneshot::Sender<()>>) {
        self.link.step(Step::Closed);
        self.abandon_queue();
        let (cache, endpoint) = (self.link.cache, self.link.status.lock().endpoint.clone());
        tracing::warn!(cache, event = "closed", endpoint, "Redis link closed");
        self.tell(Event::Closed);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn tell(&self, event: Event) {
        self.setting.application.tell(event);
    }
}

/// Waits for an attempt. When the grace is over, operations that wait with it are refused.
async fn waited(
    mut attempt: impl Future<Output = Result<Connection, Interrupted>> + Unpin,
    controls: &mut mpsc::UnboundedReceiver<Control>,
    link: &Link,
    grace_until: u64,
) -> Result<Connection, Interrupted> {
    loop {
        let grace = grace_until.saturating_sub(clock::now());
        tokio::select! {
            made = &mut attempt => return made,
            control = controls.recv() => if let Some(phase) = interrupt(control) {
                return Err(Interrupted::By(phase));
            },
            () = first_deadline(link) => link.port.expire(clock::now()),
            () = sleep(Duration::from_millis(grace)), if link.port.is_open() => {
                link.port.shut();
                refuse_queued(link, &Failure::Unavailable);
            }
        }
    }
}

/// Waits until somebody who is queued has waited long enough.
async fn first_deadline(link: &Link) {
    match link.port.first_deadline() {
        Some(at) => sleep(Duration::from_millis(at.saturating_sub(clock::now()))).await,
        None => std::future::pending().await,
    }
}

impl Drop for Supervisor {
    /// However the task ends, also by a panic, nobody waits for it in vain.
    fn drop(&mut self) {
        self.link.step(Step::Closed);
        self.link.close_lane();
        self.abandon_queue();
        self.link.port.end_generation();
    }
}

enum Interrupted {
    Refused(Refusal),
    By(Phase),
}

impl From<Refusal> for Interrupted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a control means while there is no link.
fn interrupt(control: Option<Control>) -> Option<Phase> {
    match control {
        Some(Control::Connect | Control::MemoryMode(false) | Control::Renew(_)) => None,
        Some(Control::Moved) => Some(Phase::Connecting),
        Some(Control::MemoryMode(true)) => Some(Phase::Idle),
        Some(Control::Close(done)) => Some(Phase::Closed(Some(done))),
        None => Some(Phase::Closed(None)),
    }
}

/// One attempt: connect within the allowance, then as long as the server needs to load, then the barrier.
async fn establish(
    link: &Arc<Link>,
    setting: &Setting,
    memory: &mut Memory,
    protocol: ProtocolVersion,
    allowance: Duration,
    spread: Option<f64>,
) -> Result<Connection, Interrupted> {
    let connect = handshake::connect(link, setting, memory, protocol, allowance);
    let Ok(connected) = tokio::time::timeout(allowance, connect).await else {
        return Err(timed_out(setting, allowance).into());
    };
    let mut connection = connected?;
    // What it was not seen to do, it must not do later either.
    let unfinished = ResetOnDrop::new(&connection.reset);
    link.step(Step::Greeted);
    match recover(link, setting, &mut connection, memory, spread).await {
        Ok(()) => {
            unfinished.keep();
            Ok(connection)
        }
        Err(refusal) => {
            connection.abandon().await;
            Err(refusal.into())
        }
    }
}

/// From the handshake to the first read.
async fn recover(
    link: &Arc<Link>,
    setting: &Setting,
    connection: &mut Connection,
    memory: &mut Memory,
    spread: Option<f64>,
) -> Result<(), Refusal> {
    handshake::ready(link, setting, connection).await?;
    let of_nodes = matches!(setting.redis.topology, Topology::Cluster(_));
    if let Some(tier) = setting.tier.upgrade()
        && (of_nodes || link.status.lock().server.cluster)
    {
        layout::learn(&tier, link, setting, connection).await?;
    }
    hearing::begin(link, setting, connection, memory).await?;
    if let Some(ms) = spread {
        sleep(Duration::from_secs_f64(ms / 1_000.0)).await;
    }
    barrier::replay(link, setting, connection).await
}

fn settings_of(config: &config::Breaker) -> breaker::Settings {
    breaker::Settings {
        window_ms: millis(config.window),
        min_calls: config.min_calls,
        failure_rate: config.failure_rate,
        slow_rate: config.slow_rate,
        open_for_ms: millis(config.open_for),
        max_open_for_ms: millis(config.max_open_for),
        probes: config.probes,
    }
}

fn timed_out(setting: &Setting, allowance: Duration) -> Refusal {
    let hint = if setting.redis.tls.is_some() {
        "is this really a TLS port? use redis:// if not"
    } else {
        "is the server frozen, or a firewall in between?"
    };
    let text = format!("no connection within {} ms ({hint})", allowance.as_millis());
    Refusal::new(Class::Transient, LastError::new("ETIMEDOUT", text))
}

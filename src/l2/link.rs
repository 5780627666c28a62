//! Serves one live connection: sends what is queued, settles what is answered or late, ticks, and notices when the
//! other side is gone. Owns no retry and no reconnect: it ends, with the reason, and the supervisor goes on.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use redis::{RedisResult, ServerError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};

use super::{
    Control, Link, Setting,
    batch::{self, Batch, Part},
    commands,
    dialer::{Activity, ResetHandle},
    port::{Failure, Operation, Reply, Request},
    status::{LastError, Server},
};
use crate::{
    clock,
    resilience::state::{Event, SILENCE_MS, Suspicion},
    telemetry::counters::ErrorClass,
};

/// Under traffic the tick comes at least this often.
const BUSY_TICK_MS: u64 = 300_000;
/// How often the journal is drained while the link is up.
const DRAIN_MS: u64 = 250;
/// Journaled keys deleted in one go.
const DRAIN_KEYS: usize = 64;
/// How long `close` waits for what is in flight.
const CLOSE_MS: u64 = 1_000;

/// A connection that passed its handshake.
pub struct Connection {
    /// The sending half.
    pub redis: MultiplexedConnection,
    /// The task that reads and writes the socket; its end is the link's end.
    pub driver: JoinHandle<()>,
    /// When bytes last came.
    pub activity: Arc<Activity>,
    /// Resets the socket instead of closing it.
    pub reset: ResetHandle,
}

impl Connection {
    /// Gives the socket up at once: what it had not sent is never applied (RST instead of FIN).
    pub async fn abandon(self) {
        self.reset.abort();
        self.driver.abort();
        if !self.driver.is_finished() {
            let _ = self.driver.await;
        }
    }

    /// Closes the socket in order.
    pub async fn close(self) {
        drop(self.redis);
        if self.driver.is_finished() {
            return;
        }
        if tokio::time::timeout(Duration::from_millis(CLOSE_MS), self.driver)
            .await
            .is_err()
        {
            self.reset.abort();
        }
    }
}

/// Why a link ended.
#[derive(Debug)]
pub enum End {
    /// It broke, fell silent or must be made anew.
    Lost(LastError),
    /// The server will not have us as we are: credentials or rights.
    Rejected(LastError),
    /// The server is a replica now.
    Role(LastError),
    /// Memory mode was forced.
    Memory,
    /// The cache closes.
    Closed(oneshot::Sender<()>),
}

struct Sent {
    parts: Vec<Part>,
    deadline: u64,
    at: Instant,
}

struct Ping {
    reply: oneshot::Receiver<Reply>,
    started: u64,
    deadline: u64,
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The health tick, by PING.
    Tick,
    /// The health tick, by INFO.
    Figures,
    /// The probe of a suspected link.
    Probe,
}

/// One connection at work.
pub struct Serving<'a> {
    link: &'a Arc<Link>,
    setting: &'a Setting,
    connection: Connection,
    sent: BTreeMap<u64, Sent>,
    replies: FuturesUnordered<BoxFuture<'static, (u64, RedisResult<Vec<Value>>)>>,
    next_id: u64,
    suspicion: Suspicion,
    ping: Option<Ping>,
    info_refused: bool,
    last_tick: u64,
    last_traffic: u64,
    next_drain: u64,
    end: Option<End>,
}

impl<'a> Serving<'a> {
    /// Takes over a connection whose barrier is done.
    #[must_use]
    pub fn new(link: &'a Arc<Link>, setting: &'a Setting, connection: Connection) -> Self {
        let now = clock::now();
        Self {
            link,
            setting,
            connection,
            sent: BTreeMap::new(),
            replies: FuturesUnordered::new(),
            next_id: 0,
            suspicion: Suspicion::new(now),
            ping: None,
            info_refused: false,
            last_tick: now,
            last_traffic: now,
            next_drain: now,
            end: None,
        }
    }

    /// Serves until the link ends. Not to be cancelled: the operations in flight would never settle.
    pub async fn run(mut self, controls: &mut mpsc::UnboundedReceiver<Control>) -> End {
        self.send_queued();
        let end = loop {
            let pause = self.next_timer().saturating_sub(clock::now());
            tokio::select! {
                Some(control) = controls.recv() => self.control(control),
                Some((id, reply)) = self.replies.next(), if !self.replies.is_empty() => self.settle(id, reply),
                () = self.link.port.woken() => self.send_queued(),
                reply = answered(&mut self.ping), if self.ping.is_some() => self.ponged(reply),
                _ = &mut self.connection.driver => self.end = Some(End::Lost(broken())),
                () = sleep(Duration::from_millis(pause)) => self.on_time(),
            }
            self.settle_ready();
            self.clear_suspicion();
            if let Some(end) = self.end.take() {
                break end;
            }
        };
        self.finish(end).await
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Connect | Control::MemoryMode(false) => (),
            Control::MemoryMode(true) => self.end = Some(End::Memory),
            Control::Close(done) => self.end = Some(End::Closed(done)),
        }
    }

    fn send_queued(&mut self) {
        for batch in batch::cut(self.link.port.take()) {
            self.send(batch);
        }
    }

    fn send(&mut self, batch: Batch) {
        let Batch {
            pipeline,
            mut parts,
            ..
        } = batch;
        let counters = &self.link.counters;
        counters.l2_commands.fetch_add(parts.len() as u64, Relaxed);
        let joined: usize = parts
            .iter()
            .map(|part| {
                if let Part::Joined(list) = part {
                    list.len() - 1
                } else {
                    0
                }
            })
            .sum();
        counters.commands_saved.fetch_add(joined as u64, Relaxed);
        let deadline = parts
            .iter_mut()
            .flat_map(Part::waiting)
            .map(|waiting| waiting.deadline);
        let sent = Sent {
            deadline: deadline.min().unwrap_or(clock::NEVER),
            parts,
            at: Instant::now(),
        };
        self.next_id += 1;
        let id = self.next_id;
        self.link.status.lock().in_flight += sent.parts.len() as u64;
        let count = sent.parts.len();
        self.sent.insert(id, sent);
        let mut redis = self.connection.redis.clone();
        let exchange = async move { (id, redis.send_packed_commands(&pipeline, 0, count).await) };
        self.replies.push(exchange.boxed());
        self.last_traffic = clock::now();
    }

    /// Takes the replies that are there already, so that they are settled in one go.
    fn settle_ready(&mut self) {
        while let Some(Some((id, reply))) = self.replies.next().now_or_never() {
            self.settle(id, reply);
        }
    }

    fn settle(&mut self, id: u64, reply: RedisResult<Vec<Value>>) {
        let Some(sent) = self.sent.remove(&id) else {
            return;
        };
        let elapsed = sent.at.elapsed();
        {
            let mut status = self.link.status.lock();
            status.in_flight -= sent.parts.len() as u64;
            if reply.is_ok() {
                status.round_trip(elapsed.as_secs_f64() * 1_000.0);
            }
        }
        match reply {
            Ok(values) => {
                self.link.counters.command_duration.record(elapsed);
                for (part, value) in sent.parts.into_iter().zip(values) {
                    self.settle_part(part, value);
                }
            }
            Err(error) => {
                for mut part in sent.parts {
                    part.waiting()
                        .for_each(|waiting| waiting.settle(Err(Failure::Disconnected)));
                }
                if self.end.is_none() && error.is_unrecoverable_error() {
                    self.end = Some(End::Lost(super::handshake::describe(&error)));
                }
            }
        }
    }

    fn settle_part(&mut self, part: Part, value: Value) {
        match (part, value) {
            (Part::One(mut waiting), value) => {
                let reply = self.reply(value);
                waiting.settle(reply);
            }
            (Part::Joined(list), Value::Array(values)) => {
                for ((_, mut waiting), value) in list.into_iter().zip(values) {
                    let reply = self.reply(value);
                    waiting.settle(reply);
                }
            }
            (Part::Joined(list), value) => {
                let reply = self.reply(value);
                match &reply {
                    // One forbidden key must not cost the others their answer.
                    Err(Failure::Refused(error)) if error.code() == "NOPERM" => {
                        self.send_singly(list);
                    }
                    Ok(_) | Err(_) => {
                        for (_, mut waiting) in list {
                            waiting.settle(reply.clone());
                        }
                    }
                }
            }
        }
    }

    fn send_singly(&mut self, list: Vec<(Arc<[u8]>, batch::Waiting)>) {
        for (key, waiting) in list {
            if waiting.waits() {
                self.send(Batch::single(batch::get(&key), waiting));
            }
        }
    }

    /// Turns a value into a reply, and looks at what an error says of the link.
    fn reply(&mut self, value: Value) -> Reply {
        let Value::ServerError(error) = value else {
            return Ok(value);
        };
        self.link
            .counters
            .l2_errors
            .count(ErrorClass::of_code(error.code()));
        let last = || LastError::new(error.code(), server_text(&error));
        match error.code() {
            "NOAUTH" => self.end = Some(End::Rejected(last())),
            "READONLY" => self.end = Some(End::Role(last())),
            _ => (),
        }
        Err(Failure::Refused(error))
    }

    fn next_timer(&self) -> u64 {
        let deadline = self.sent.values().map(|sent| sent.deadline).min();
        let ping = self.ping.as_ref().map(|ping| ping.deadline);
        let drain = (self.link.port.journaled() > 0).then_some(self.next_drain);
        [deadline, ping, drain, self.next_tick(), self.doubt()]
            .into_iter()
            .flatten()
            .min()
            // Far enough not to matter, near enough for any timer.
            .unwrap_or_else(|| clock::now() + BUSY_TICK_MS)
    }

    /// When silence becomes suspicious.
    fn doubt(&self) -> Option<u64> {
        self.suspicion.due().filter(|_| self.ping.is_none())
    }

    fn next_tick(&self) -> Option<u64> {
        let interval = u64::try_from(self.setting.config.health.interval?.as_millis()).ok()?;
        let idle = self.last_tick.max(self.last_traffic) + interval;
        let busy = self.last_tick + interval.max(BUSY_TICK_MS);
        self.ping.is_none().then_some(idle.min(busy))
    }

    fn on_time(&mut self) {
        let now = clock::now();
        self.expire(now);
        if self.ping.as_ref().is_some_and(|ping| now >= ping.deadline) {
            self.ping_missed();
        }
        if self.next_tick().is_some_and(|at| now >= at) {
            self.tick(now);
        }
        if self.link.port.journaled() > 0 && now >= self.next_drain {
            self.drain(now);
        }
    }

    /// Settles what is late. The exchange goes on; its replies stay assigned.
    fn expire(&mut self, now: u64) {
        let mut missed = 0;
        for sent in self.sent.values_mut().filter(|sent| sent.deadline <= now) {
            sent.deadline = clock::NEVER;
            for waiting in sent.parts.iter_mut().flat_map(Part::waiting) {
                if waiting.waits() && waiting.deadline <= now {
                    waiting.settle(Err(Failure::Timeout));
                    missed += 1;
                } else if waiting.waits() {
                    sent.deadline = sent.deadline.min(waiting.deadline);
                }
            }
        }
        self.link.counters.l2_timeouts.fetch_add(missed, Relaxed);
        self.suspicion.on_bytes(self.connection.activity.last_rx());
        let missed_enough = (0..missed).fold(false, |suspect, _| {
            self.suspicion.on_timeout(now) || suspect
        });
        let suspect = missed_enough || self.suspicion.is_due(now);
        if suspect
            && self
                .ping
                .as_ref()
                .is_none_or(|ping| ping.purpose != Purpose::Probe)
        {
            self.link.port.shut();
            self.link.step(Event::Doubted);
            self.start_ping(redis::cmd("PING"), Purpose::Probe, now, SILENCE_MS);
        }
    }

    /// A byte came: what looked like silence was slowness.
    fn clear_suspicion(&mut self) {
        let probe = |ping: &Ping| {
            ping.purpose == Purpose::Probe && self.connection.activity.last_rx() > ping.started
        };
        if self.ping.as_ref().is_some_and(probe) {
            self.ping = None;
            self.suspicion = Suspicion::new(clock::now());
            self.link.step(Event::Heard);
            self.link.port.open();
        }
    }

    fn tick(&mut self, now: u64) {
        self.last_tick = now;
        let watched = std::mem::take(&mut self.link.status.lock().watched);
        let timeout =
            u64::try_from(self.setting.config.health.timeout.as_millis()).unwrap_or(SILENCE_MS);
        if watched && !self.info_refused {
            self.start_ping(redis::cmd("INFO"), Purpose::Figures, now, timeout);
            return;
        }
        if watched {
            self.ask_size(now + timeout);
        }
        self.start_ping(redis::cmd("PING"), Purpose::Tick, now, timeout);
    }

    /// Where INFO is refused, DBSIZE still tells the number of keys.
    fn ask_size(&mut self, deadline: u64) {
        let link = Arc::clone(self.link);
        let settle = move |reply: Reply| {
            let keys = reply.ok().as_ref().and_then(commands::integer);
            link.status.lock().server.total_keys = keys.and_then(|keys| u64::try_from(keys).ok());
        };
        self.submit(redis::cmd("DBSIZE"), deadline, settle);
    }

    fn start_ping(&mut self, cmd: redis::Cmd, purpose: Purpose, now: u64, timeout: u64) {
        let (sender, reply) = oneshot::channel();
        self.ping = Some(Ping {
            reply,
            started: now,
            deadline: now + timeout,
            purpose,
        });
        self.submit(cmd, clock::NEVER, move |reply| {
            let _ = sender.send(reply);
        });
    }

    fn submit(
        &mut self,
        cmd: redis::Cmd,
        deadline: u64,
        settle: impl FnOnce(Reply) + Send + 'static,
    ) {
        let operation = Operation {
            request: Request::Raw(cmd),
            deadline,
            settle: Box::new(settle),
        };
        for batch in batch::cut([operation].into()) {
            self.send(batch);
        }
    }

    fn ponged(&mut self, reply: Reply) {
        let Some(ping) = self.ping.take() else { return };
        let mut status = self.link.status.lock();
        status.last_ping = Some(clock::unix());
        if ping.purpose != Purpose::Figures {
            return;
        }
        match reply.ok().and_then(commands::bytes) {
            Some(info) => {
                status.info = String::from_utf8_lossy(&info).into_owned();
                status.server = Server::parse(&status.info, self.setting.redis.db);
            }
            None => self.info_refused = true,
        }
    }

    fn ping_missed(&mut self) {
        let Some(ping) = self.ping.take() else { return };
        let timeout = ping.deadline - ping.started;
        if self.connection.activity.last_rx() > ping.started {
            return;
        }
        let text = format!("Redis ping failed, switched to memory: no answer within {timeout} ms");
        self.end = Some(End::Lost(LastError::new("ETIMEDOUT", text)));
    }

    /// Deletes journaled keys in Redis; an entry leaves on its own good reply.
    fn drain(&mut self, now: u64) {
        self.next_drain = now + DRAIN_MS;
        let due = self.link.journal.lock().batch(0, DRAIN_KEYS);
        let timeout =
            u64::try_from(self.setting.config.l2.timeout.as_millis()).unwrap_or(SILENCE_MS);
        for (key, seq) in due {
            let link = Arc::clone(self.link);
            self.submit(commands::unlink(&[&key]), now + timeout, move |reply| {
                if reply.is_ok() {
                    link.trust(&key, seq);
                }
            });
        }
    }

    /// Settles everything and lets go of the socket.
    async fn finish(mut self, end: End) -> End {
        self.link.port.shut();
        if matches!(end, End::Closed(_) | End::Memory) {
            self.wait_for_replies().await;
        }
        self.link.port.set_generation(0);
        self.settle_ready();
        for sent in self.sent.values_mut() {
            for waiting in sent.parts.iter_mut().flat_map(Part::waiting) {
                waiting.settle(Err(Failure::Disconnected));
            }
        }
        refuse_queued(self.link, &Failure::Disconnected);
        {
            let mut status = self.link.status.lock();
            status.in_flight = 0;
            status.connections = 0;
        }
        drop(self.replies);
        match end {
            End::Closed(_) | End::Memory => self.connection.close().await,
            End::Lost(_) | End::Rejected(_) | End::Role(_) => self.connection.abandon().await,
        }
        end
    }

    async fn wait_for_replies(&mut self) {
        self.send_queued();
        let all = async {
            while let Some((id, reply)) = self.replies.next().await {
                self.settle(id, reply);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(CLOSE_MS), all).await;
    }
}

/// Settles all that is queued with `failure`.
pub fn refuse_queued(link: &Link, failure: &Failure) {
    for operation in link.port.take() {
        (operation.settle)(Err(failure.clone()));
    }
}

/// The text of an error reply as Redis sent it.
#[must_use]
pub fn server_text(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
        .trim_end()
        .to_owned()
}

fn broken() -> LastError {
    LastError::new("ECONNRESET", "the connection was closed by the other side")
}

async fn answered(ping: &mut Option<Ping>) -> Reply {
    match ping {
        Some(ping) => (&mut ping.reply)
            .await
            .unwrap_or(Err(Failure::Disconnected)),
        None => std::future::pending().await,
    }
}

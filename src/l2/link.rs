//! Serves one live connection: sends what is queued, settles what is answered or late, drains the journal. `watch`
//! tells when it is in trouble. Owns no retry and no reconnect: it ends, with the reason, and the supervisor goes on.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use redis::{RedisResult, ServerError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, coop::unconstrained},
    time::{Instant, sleep},
};

use super::{
    Control, Link, Setting, barrier,
    batch::{self, Batch, Part},
    commands,
    dialer::{Activity, ResetHandle},
    port::{Failure, Operation, Reply, Request},
    status::LastError,
    watch::{Watch, fails, is_slow},
};
use crate::{
    clock::{self, millis},
    resilience::breaker::{BreakerState, Outcome},
    telemetry::counters::ErrorClass,
};

/// The longest sleep: far enough not to matter, near enough for any timer.
const LONGEST_MS: u64 = 60_000;
/// How long a submitter may go on before what it queued is sent: a busy event loop must not cost a deadline.
const PATIENCE: Duration = Duration::from_millis(1);
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
    /// The breaker's generation when it was sent.
    generation: u64,
}

/// One connection at work.
pub struct Serving<'a> {
    pub(super) link: &'a Arc<Link>,
    pub(super) setting: &'a Setting,
    pub(super) connection: Connection,
    pub(super) watch: Watch,
    /// Why it ends, once it does.
    pub(super) end: Option<End>,
    sent: BTreeMap<u64, Sent>,
    replies: FuturesUnordered<BoxFuture<'static, (u64, RedisResult<Vec<Value>>)>>,
    next_id: u64,
    next_drain: u64,
    /// When what is queued is sent, should its submitter not come to say that it is complete.
    flush_at: Option<Instant>,
    /// Removes what patterns or a collapse of the journal name.
    removal: Option<JoinHandle<()>>,
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
            watch: Watch::new(&setting.config, now),
            end: None,
            sent: BTreeMap::new(),
            replies: FuturesUnordered::new(),
            next_id: 0,
            next_drain: now,
            flush_at: None,
            removal: None,
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
                () = self.link.port.announced() => self.flush_at = Some(Instant::now() + PATIENCE),
                () = flush_time(self.flush_at) => self.send_queued(),
                reply = self.watch.answered(), if self.watch.is_pinging() => self.ponged(reply),
                _ = &mut self.connection.driver => self.end = Some(End::Lost(broken())),
                () = sleep(Duration::from_millis(pause)) => self.on_time(),
            }
            self.settle_ready();
            self.clear_doubt();
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
        self.flush_at = None;
        let now = clock::now();
        let (late, queued): (VecDeque<_>, VecDeque<_>) = self
            .link
            .port
            .take()
            .into_iter()
            .partition(|operation| operation.deadline <= now);
        // The process was busy or suspended: that says nothing of Redis, and nobody waits any more.
        for operation in late {
            (operation.settle)(Err(Failure::Timeout));
        }
        for batch in batch::cut(queued) {
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
            generation: self.watch.generation(),
        };
        self.next_id += 1;
        let id = self.next_id;
        self.link.status.lock().in_flight += sent.parts.len() as u64;
        let count = sent.parts.len();
        self.sent.insert(id, sent);
        let mut redis = self.connection.redis.clone();
        let exchange = async move { (id, redis.send_packed_commands(&pipeline, 0, count).await) };
        // Unconstrained: tokio's budget would put off some of many exchanges and wake the last one first, and
        // commands would leave out of order.
        self.replies.push(unconstrained(exchange).boxed());
        self.watch.last_traffic = clock::now();
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
            drop(status);
            // Late replies tell how long an outage was, not what is usual.
            if reply.is_ok() && elapsed < self.setting.config.l2.timeout {
                self.link.patience.lock().note_reply(millis(elapsed));
            }
        }
        match reply {
            Ok(values) => {
                self.link.counters.command_duration.record(elapsed);
                let slow = is_slow(millis(elapsed), &self.setting.config);
                for (part, value) in sent.parts.into_iter().zip(values) {
                    self.settle_part(part, value, sent.generation, slow);
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

    fn settle_part(&mut self, mut part: Part, value: Value, generation: u64, slow: bool) {
        let waited = part
            .waiting()
            .any(|waiting| waiting.waits() && waiting.deadline != clock::NEVER);
        let failed = matches!(&value, Value::ServerError(error) if fails(&Err(Failure::Refused(error.clone()))));
        if waited {
            self.judge(generation, Outcome { ok: !failed, slow });
        }
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
        let drain = (self.link.port.journaled() > 0).then_some(self.next_drain);
        let times = [deadline, drain, self.next_watch()].into_iter().flatten();
        times
            .min()
            .unwrap_or(clock::NEVER)
            .min(clock::now() + LONGEST_MS)
    }

    fn on_time(&mut self) {
        let now = clock::now();
        self.expire(now);
        self.watch(now);
        if self.link.port.journaled() > 0 && now >= self.next_drain {
            self.drain(now);
        }
    }

    /// Settles what is late. The exchange goes on; its replies stay assigned.
    fn expire(&mut self, now: u64) {
        let mut missed = 0;
        let mut generation = 0;
        for sent in self.sent.values_mut().filter(|sent| sent.deadline <= now) {
            sent.deadline = clock::NEVER;
            generation = sent.generation;
            for waiting in sent.parts.iter_mut().flat_map(Part::waiting) {
                if waiting.waits() && waiting.deadline <= now {
                    waiting.settle(Err(Failure::Timeout));
                    missed += 1;
                } else if waiting.waits() {
                    sent.deadline = sent.deadline.min(waiting.deadline);
                }
            }
        }
        if missed > 0 {
            self.link.counters.l2_timeouts.fetch_add(missed, Relaxed);
            self.link
                .counters
                .l2_errors
                .add(ErrorClass::Timeout, missed);
            self.note_missed(missed, generation, now);
        }
    }

    /// Sends one command of our own, past the queue.
    pub(super) fn submit(
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

    /// Deletes journaled keys in Redis; an entry leaves on its own good reply.
    fn drain(&mut self, now: u64) {
        self.next_drain = now + DRAIN_MS;
        let (due, wide) = {
            let journal = self.link.journal.lock();
            (
                journal.batch(0, DRAIN_KEYS),
                journal.collapsed() || journal.patterns().next().is_some(),
            )
        };
        let deadline = now + millis(self.setting.config.l2.timeout);
        for (key, seq) in due {
            let link = Arc::clone(self.link);
            self.submit(
                commands::unlink(&[&key]),
                deadline,
                move |reply| match reply {
                    Ok(_) => link.trust(&key, seq),
                    // Refused for good.
                    Err(Failure::Refused(error)) if error.code() == "NOPERM" => {
                        link.trust(&key, seq);
                    }
                    Err(_) => (),
                },
            );
        }
        if wide && self.removal.as_ref().is_none_or(JoinHandle::is_finished) {
            let (link, config) = (Arc::clone(self.link), Arc::clone(&self.setting.config));
            let mut redis = self.connection.redis.clone();
            self.removal = Some(tokio::spawn(async move {
                // What is not confirmed is tried again at the next drain.
                let _ = barrier::replay_patterns(&link, &config, &mut redis).await;
            }));
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
            status.breaker = BreakerState::Closed;
        }
        drop(self.replies);
        if let Some(removal) = self.removal {
            removal.abort();
        }
        match end {
            End::Closed(_) | End::Memory => self.connection.close().await,
            End::Lost(_) | End::Rejected(_) | End::Role(_) => self.connection.abandon().await,
        }
        end
    }

    async fn wait_for_replies(&mut self) {
        self.send_queued();
        let until = clock::now() + CLOSE_MS;
        while !self.sent.is_empty() && clock::now() < until {
            let next = self.sent.values().map(|sent| sent.deadline).min();
            let pause = next
                .unwrap_or(until)
                .min(until)
                .saturating_sub(clock::now());
            tokio::select! {
                Some((id, reply)) = self.replies.next() => self.settle(id, reply),
                () = sleep(Duration::from_millis(pause)) => self.expire(clock::now()),
            }
        }
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

async fn flush_time(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn broken() -> LastError {
    LastError::new("ECONNRESET", "the connection was closed by the other side")
}

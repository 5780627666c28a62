//! Serves one live connection: sends what is queued, settles what is answered or late (`exchange`), drains the journal
//! (`drain`). `watch` tells when it is in trouble. Owns no reconnect: it ends, with the reason, and the supervisor goes on.
//! Reads that were in flight when the link broke are queued again for the next one.

mod drain;
mod exchange;
mod lane;
mod redirect;
mod spending;

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{ProtocolVersion, RedisError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, Sleep, sleep},
};

pub(super) use self::exchange::out_of_step;
pub(super) use self::spending::note_refusal;
use self::{
    drain::{DRAIN_MS, Drained},
    exchange::Sent,
    lane::Answer,
};
pub use self::{
    exchange::{meaning_of, server_text},
    lane::Lane,
};
use super::{
    Control, Link, Setting,
    dialer::{Activity, ResetHandle},
    handshake::describe,
    port::Failure,
    resp::{Client, Task},
    status::LastError,
    tracking::Pushes,
    watch::Watch,
};
use crate::{
    clock,
    resilience::{
        breaker::{Breaker, BreakerState},
        budget::RetryBudget,
        state::slept,
    },
};

/// The longest sleep: far enough not to matter, near enough for any timer.
const LONGEST_MS: u64 = 60_000;
/// How long a submitter may go on before what it queued is sent: a busy event loop must not cost a deadline.
const PATIENCE_MS: u64 = 1;
/// For so long after an exchange the task looks by itself, each time after so long, whether something is queued, and submitters need
/// not wake it before they are done.
const ATTENTIVE_MS: u64 = 10;
const LOOK_MS: u64 = 2;
/// A timer that comes late by more than twice this was late because the process did not run.
const TICK_MS: u64 = 250;
/// A timer that is late by more than this is set anew.
const LATE_MS: u64 = 50;
/// How long after such a sleep replies that were there already may take to be read.
const GRACE_MS: u64 = 100;
/// How long `close` waits for what is in flight.
const CLOSE_MS: u64 = 1_000;

/// A connection that passed its handshake.
pub struct Connection {
    /// The sending half.
    pub redis: Client,
    /// What reads and writes the socket; its end is the link's end.
    pub driver: Task,
    /// When bytes last came.
    pub activity: Arc<Activity>,
    /// Resets the socket instead of closing it.
    pub reset: ResetHandle,
    /// Whether the server was overloaded before, rather than away.
    pub overloaded: bool,
    /// What the server said of the plan's commands, if they are used up.
    pub quota_spent: Option<String>,
    /// What takes its pushes; none where the server cannot push.
    pub pushes: Option<Arc<Pushes>>,
    /// What is spoken over it.
    pub protocol: ProtocolVersion,
    /// Whether others' changes are heard of over a socket beside it.
    pub subscribes: bool,
    /// Why the server does not tell of them itself, if that was tried.
    pub untracked: Option<String>,
}

impl Connection {
    /// Gives the socket up at once: what it had not sent is never applied (RST instead of FIN).
    pub async fn abandon(mut self) {
        self.reset.abort();
        self.driver.abort().await;
    }

    /// Closes the socket in order, or, where that takes too long, gives it up.
    pub async fn close(mut self) {
        drop(self.redis);
        let in_order = self.driver.ended();
        let in_order = tokio::time::timeout(Duration::from_millis(CLOSE_MS), in_order);
        if in_order.await.is_err() {
            self.reset.abort();
            self.driver.abort().await;
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

/// What is known of an endpoint from one connection to the next.
pub struct Lasting {
    /// Whether reads that were lost with a connection may be sent again.
    pub budget: RetryBudget,
    /// Whether the endpoint is asked.
    pub breaker: Breaker,
    /// Until when a connection is not left again for a server's `READONLY`: one that hides what it is would be left and
    /// found without end.
    pub role_until: u64,
}

/// One connection at work.
pub struct Serving<'a> {
    pub(super) link: &'a Arc<Link>,
    pub(super) setting: &'a Setting,
    pub(super) connection: Connection,
    pub(super) watch: Watch,
    /// Why it ends, once it does.
    pub(super) end: Option<End>,
    /// When something is due.
    due: u64,
    /// Runs until then or earlier: it is moved forward only, since that wakes a thread.
    timer: Pin<Box<Sleep>>,
    timer_at: u64,
    sent: BTreeMap<u64, Sent>,
    lane: Arc<Mutex<Lane>>,
    answered: mpsc::UnboundedReceiver<Answer>,
    /// When something was answered last.
    answered_at: u64,
    /// Whether something was answered well.
    was_good: bool,
    next_drain: u64,
    /// How long the drain waits, longer while all that it asks for is refused.
    drain_ms: u64,
    /// What became of the deletions of the last drain.
    drained: Arc<Drained>,
    /// When what is queued is sent, should its submitter not come to say that it is complete.
    flush_at: u64,
    /// Until when the task looks for what is queued by itself; 0 while it does not.
    attentive_until: u64,
    /// Removes what patterns or a collapse of the journal name.
    removal: Option<JoinHandle<()>>,
    pub(super) lasting: &'a mut Lasting,
}

impl<'a> Serving<'a> {
    /// Takes over a connection whose barrier is done.
    #[must_use]
    pub fn new(
        link: &'a Arc<Link>,
        setting: &'a Setting,
        lasting: &'a mut Lasting,
        connection: Connection,
    ) -> Self {
        let now = clock::now();
        if connection.subscribes {
            let subscriber = &link.shared.subscriber;
            let untracked = connection.untracked.clone();
            subscriber.begin(link, setting, connection.protocol, untracked);
        }
        let (lane, answered) = Lane::new(connection.redis.clone());
        let lane = Arc::new(Mutex::new(lane));
        link.port.set_lane(Some(Arc::clone(&lane)));
        Self {
            link,
            setting,
            watch: Watch::new(connection.overloaded, link.port.is_whole(), now),
            connection,
            end: None,
            due: now,
            timer: Box::pin(sleep(Duration::ZERO)),
            timer_at: now,
            sent: BTreeMap::new(),
            lane,
            answered,
            answered_at: now,
            was_good: false,
            next_drain: now,
            drain_ms: DRAIN_MS,
            drained: Arc::default(),
            flush_at: clock::NEVER,
            attentive_until: 0,
            removal: None,
            lasting,
        }
    }

    /// Serves until the link ends; why it did, and whether it gave good answers. Not to be cancelled: the operations in
    /// flight would never settle.
    pub async fn run(mut self, controls: &mut mpsc::UnboundedReceiver<Control>) -> (End, bool) {
        self.send_queued();
        let end = loop {
            self.listen();
            self.arm();
            tokio::select! {
                Some(control) = controls.recv() => self.control(control),
                Some((id, reply)) = self.answered.recv() => self.settle(id, reply),
                () = self.link.port.woken() => self.send_queued(),
                () = self.link.port.announced() => self.flush_at = clock::now() + PATIENCE_MS,
                reply = self.watch.answered(), if self.watch.is_pinging() => self.ponged(reply),
                error = self.connection.driver.ended() => self.end = Some(End::Lost(lost(error.as_ref()))),
                () = &mut self.timer => self.rang(),
            }
            self.settle_ready();
            self.adopt();
            self.on_time();
            self.clear_doubt();
            self.follow_condition();
            self.spend();
            if let Some(end) = self.end.take() {
                break end;
            }
        };
        let was_good = self.was_good;
        (self.finish(end).await, was_good)
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Connect | Control::MemoryMode(false) => (),
            Control::Renew(generation) => {
                if generation == self.link.port.generation() {
                    self.end = Some(End::Lost(out_of_step()));
                }
            }
            Control::Moved => self.end = Some(End::Role(elsewhere())),
            Control::MemoryMode(true) => self.end = Some(End::Memory),
            Control::Close(done) => self.end = Some(End::Closed(done)),
        }
    }

    /// Sees to it that the timer rings by the time that something is due.
    fn arm(&mut self) {
        let now = clock::now();
        if self.attentive_until != 0 && now >= self.attentive_until {
            self.attentive_until = 0;
            self.lane.lock().open(false);
            self.adopt();
            if self.attentive_until == 0 && self.link.port.attend(false) {
                self.flush_at = self.flush_at.min(now + PATIENCE_MS);
            }
        }
        self.due = self.next_timer(now).max(now);
        // The timer does not count the time that a machine sleeps.
        if self.due < self.timer_at || now > self.timer_at.saturating_add(LATE_MS) {
            let pause = Duration::from_millis(self.due - now);
            self.timer.as_mut().reset(Instant::now() + pause);
            self.timer_at = self.due;
        }
    }

    fn rang(&mut self) {
        self.timer_at = clock::NEVER;
        let now = clock::now();
        if now >= self.flush_at {
            self.send_queued();
        } else if self.attentive_until != 0 && self.link.port.is_queued() {
            // Its submitter may be at it this very moment.
            self.flush_at = self.flush_at.min(now + PATIENCE_MS);
        }
    }

    /// There was an exchange, and there may be more.
    fn attend(&mut self, now: u64) {
        if self.attentive_until == 0 {
            self.link.port.attend(true);
            self.lane.lock().open(true);
        }
        self.attentive_until = now + ATTENTIVE_MS;
    }

    fn send_queued(&mut self) {
        self.flush_at = clock::NEVER;
        let (sent, expired) = {
            // What a submitter sends meanwhile may not pass what was queued before.
            let mut lane = self.lane.lock();
            let (sent, expired) = lane.put_queued(self.link);
            if !sent.is_empty() {
                lane.leave();
            }
            (sent, expired)
        };
        self.keep_all(sent);
        for operation in expired {
            operation.refuse(Failure::Timeout);
        }
    }

    fn next_timer(&self, now: u64) -> u64 {
        let deadline = self.sent.values().map(Sent::deadline).min();
        let drain = (self.link.port.journaled() > 0).then_some(self.next_drain);
        let look = (self.attentive_until != 0).then_some(now + LOOK_MS);
        let times = [deadline, drain, look, self.next_watch()];
        let first = times.into_iter().flatten().min();
        first
            .unwrap_or(clock::NEVER)
            .min(self.flush_at)
            .min(now + LONGEST_MS)
    }

    /// Does what is due. Asked whatever woke the task: after the process was suspended it need not be the timer.
    fn on_time(&mut self) {
        let now = clock::now();
        if now < self.due {
            return;
        }
        if slept(self.due, now, TICK_MS) {
            self.postpone(now + GRACE_MS);
            self.woke(now);
        }
        self.expire(now);
        if self.is_stalled(now) {
            let text = "answers do not come to an end: the connection is of no use";
            self.end
                .get_or_insert_with(|| End::Lost(LastError::new("EPROTO", text)));
        }
        self.watch(now);
        if self.link.port.journaled() > 0 && now >= self.next_drain {
            self.drain(now);
        }
    }

    /// Settles everything and lets go of the socket.
    async fn finish(mut self, end: End) -> End {
        self.link.port.shut();
        self.link.port.set_lane(None);
        let news = self.lane.lock().close();
        self.keep_all(news);
        if matches!(end, End::Closed(_) | End::Memory) {
            self.wait_for_replies().await;
        }
        self.stop_hearing(&end);
        if self.connection.subscribes {
            self.link.shared.subscriber.end();
        }
        self.link.port.end_generation();
        self.settle_ready();
        self.link.port.attend(false);
        refuse_queued(self.link, &Failure::Disconnected);
        let most = self.setting.redis.max_retries;
        for sent in self.sent.values_mut() {
            if matches!(end, End::Lost(_)) && self.lasting.budget.allows() {
                self.link.port.requeue(sent.reads_again(most));
            }
            sent.abort(&Failure::Disconnected);
        }
        self.link.port.forget_sent();
        {
            let mut status = self.link.status.lock();
            status.in_flight = 0;
            status.connections = 0;
            status.breaker = BreakerState::Closed;
        }
        if let Some(removal) = self.removal {
            removal.abort();
        }
        // Nobody waits any more.
        drop((self.lane, self.answered));
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
            let next = self.sent.values().map(Sent::deadline).min();
            let pause = next
                .unwrap_or(until)
                .min(until)
                .saturating_sub(clock::now());
            tokio::select! {
                Some((id, reply)) = self.answered.recv() => self.settle(id, reply),
                () = sleep(Duration::from_millis(pause)) => self.expire(clock::now()),
            }
        }
    }
}

/// Settles all that is queued with `failure`.
pub fn refuse_queued(link: &Link, failure: &Failure) {
    for operation in link.port.take() {
        operation.refuse(failure.clone());
    }
}

fn elsewhere() -> LastError {
    LastError::new("EMOVED", "another server is the master now")
}

/// Why a connection is gone, if that is known.
fn lost(error: Option<&RedisError>) -> LastError {
    let closed = || LastError::new("ECONNRESET", "the connection was closed by the other side");
    error.map_or_else(closed, describe)
}

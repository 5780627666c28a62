//! How a served link is watched: the health tick, the probe of a silence that became suspicious, and the breaker with
//! its trials. Each is a ping of some kind, and only one is out at a time. What they lead to is `resilience`'s to say.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::oneshot;

use super::{
    commands,
    link::{End, Serving, meaning_of, out_of_step},
    port::{Failure, Reply, once},
    status::{LastError, Server},
};
use crate::{
    clock::{self, millis},
    config::Config,
    resilience::{
        breaker::{Admission, BreakerState, Outcome},
        ramp::Ramp,
        state::{Event, SILENCE_MS, Suspicion},
    },
};

/// Under traffic the tick comes at least this often.
const BUSY_TICK_MS: u64 = 300_000;

/// What is known of the link's condition.
pub(super) struct Watch {
    ping: Option<Ping>,
    suspicion: Suspicion,
    pub(super) ramp: Ramp,
    /// Whether the server refused some writes, when somebody looked last.
    pub(super) was_gated: bool,
    /// Whether everything in Redis waited to be removed, when somebody looked last.
    pub(super) was_whole: bool,
    info_refused: bool,
    last_tick: u64,
    /// When something was last sent.
    pub(super) last_traffic: u64,
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
    /// The breaker's, admitted in this generation.
    Trial(u64),
}

impl Watch {
    /// Of a link that has just come up.
    pub(super) fn new(overloaded: bool, was_whole: bool, now: u64) -> Self {
        let mut ramp = Ramp::default();
        if overloaded {
            ramp.start(now);
        }
        Self {
            ramp,
            was_gated: false,
            was_whole,
            ping: None,
            suspicion: Suspicion::new(now),
            info_refused: false,
            last_tick: now,
            last_traffic: now,
        }
    }

    /// Whether a ping is out.
    pub(super) fn is_pinging(&self) -> bool {
        self.ping.is_some()
    }

    /// The answer to the ping that is out; pending for ever while there is none. May be cancelled.
    pub(super) async fn answered(&mut self) -> Reply {
        match &mut self.ping {
            Some(ping) => (&mut ping.reply)
                .await
                .unwrap_or(Err(Failure::Disconnected)),
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.ping
            .as_ref()
            .is_some_and(|ping| ping.purpose == Purpose::Probe)
    }
}

impl Serving<'_> {
    /// When the watch wants to be called next.
    pub(super) fn next_watch(&self) -> Option<u64> {
        let watch = &self.watch;
        if let Some(ping) = &watch.ping {
            let step = watch.ramp.next_step();
            return Some(step.map_or(ping.deadline, |step| step.min(ping.deadline)));
        }
        // While the breaker is not closed its probes are all that is sent.
        let next = match self.lasting.breaker.state() {
            BreakerState::Closed => self.next_tick(),
            BreakerState::Open | BreakerState::HalfOpen => self.lasting.breaker.next_probe(),
        };
        let others = [watch.suspicion.due(), watch.ramp.next_step()];
        next.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// The interval of the tick, longer as the plan's commands near their end.
    fn stretched(&self, interval: u64) -> u64 {
        let quota = self.link.shared.quota.as_ref();
        let factor = quota.map_or(1.0, |quota| quota.lock().tick_factor(clock::unix()));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "an interval times 1 to 10"
        )]
        let stretched = (interval as f64 * factor) as u64;
        stretched
    }

    fn next_tick(&self) -> Option<u64> {
        let interval = self.stretched(millis(self.setting.config.health.interval?));
        let idle = self.watch.last_tick.max(self.watch.last_traffic) + interval;
        let busy = self.watch.last_tick + interval.max(BUSY_TICK_MS);
        Some(idle.min(busy))
    }

    /// Bytes may have come since anybody asked.
    pub(super) fn listen(&mut self) {
        let last_rx = self.connection.activity.last_rx();
        self.watch.suspicion.on_bytes(last_rx);
    }

    /// Does what is due.
    pub(super) fn watch(&mut self, now: u64) {
        if let Some(ping) = &self.watch.ping {
            if now >= ping.deadline {
                self.ping_missed(now);
            }
            return;
        }
        if self.watch.suspicion.is_due(now) {
            self.doubt(now);
        } else if self.lasting.breaker.state() != BreakerState::Closed {
            self.try_again(now);
        } else if self.next_tick().is_some_and(|at| now >= at) {
            self.tick(now);
        }
    }

    /// So many exchanges, and of them commands of these generations, missed their deadlines.
    pub(super) fn note_missed(&mut self, exchanges: u32, commands: &[u64], now: u64) {
        self.listen();
        let mut doubtful = false;
        for _ in 0..exchanges {
            doubtful |= self.watch.suspicion.on_timeout(now);
        }
        let missed = Outcome {
            ok: false,
            slow: true,
        };
        for generation in commands {
            self.lasting.budget.on_timeout();
            self.judge(*generation, missed);
        }
        if doubtful && !self.watch.is_probing() {
            self.doubt(now);
        }
    }

    /// New operations are refused while a ping tells whether the other side still lives.
    fn doubt(&mut self, now: u64) {
        self.link.port.shut();
        self.link.step(Event::Doubted);
        self.start_ping(redis::cmd("PING"), Purpose::Probe, now, SILENCE_MS);
    }

    /// The process did not run for a while, and what it missed says nothing of Redis: operations wait for the probe,
    /// within their deadlines, instead of being refused.
    pub(super) fn woke(&mut self, now: u64) {
        self.watch.suspicion = Suspicion::new(now);
        if let Some(ping) = &mut self.watch.ping {
            ping.deadline = ping.deadline.max(now + SILENCE_MS);
        } else {
            self.link.step(Event::Doubted);
            self.start_ping(redis::cmd("PING"), Purpose::Probe, now, SILENCE_MS);
        }
    }

    /// A byte came: what looked like silence was slowness.
    pub(super) fn clear_doubt(&mut self) {
        let last_rx = self.connection.activity.last_rx();
        let heard = self
            .watch
            .ping
            .as_ref()
            .is_some_and(|ping| last_rx > ping.started);
        if heard && self.watch.is_probing() {
            self.watch.ping = None;
            self.believe();
        }
    }

    /// The suspected link lives.
    fn believe(&mut self) {
        self.watch.suspicion = Suspicion::new(clock::now());
        self.link.step(Event::Heard);
        self.open_if_well();
    }

    /// A server that answers a tick with an error of its own is alive, and not well.
    fn judge_tick(&mut self, reply: &Reply) {
        if fails(reply) {
            let outcome = Outcome {
                ok: false,
                slow: false,
            };
            self.judge(self.lasting.breaker.generation(), outcome);
        }
    }

    /// Asks the breaker whether it is time for a trial, and makes it.
    fn try_again(&mut self, now: u64) {
        if let Admission::Probe { generation } = self.lasting.breaker.admit(now) {
            self.link.status.lock().breaker = self.lasting.breaker.state();
            let timeout = millis(self.setting.config.l2.timeout);
            self.start_ping(redis::cmd("PING"), Purpose::Trial(generation), now, timeout);
        }
    }

    fn tick(&mut self, now: u64) {
        self.watch.last_tick = now;
        let mut watched = std::mem::take(&mut self.link.status.lock().watched);
        watched |= self
            .setting
            .config
            .quota
            .as_ref()
            .is_some_and(|quota| quota.connections.is_some());
        let timeout = millis(self.setting.config.health.timeout);
        if watched && !self.watch.info_refused {
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
        let settle = once(move |reply| {
            let keys = reply.ok().as_ref().and_then(commands::integer);
            link.status.lock().server.total_keys = keys.and_then(|keys| u64::try_from(keys).ok());
        });
        self.submit(redis::cmd("DBSIZE"), deadline, settle);
    }

    fn start_ping(&mut self, cmd: Cmd, purpose: Purpose, now: u64, timeout: u64) {
        let (sender, reply) = oneshot::channel();
        self.watch.ping = Some(Ping {
            reply,
            started: now,
            deadline: now + timeout,
            purpose,
        });
        let settle = once(move |reply| {
            let _ = sender.send(reply);
        });
        self.submit(cmd, clock::NEVER, settle);
    }

    /// The ping was answered.
    pub(super) fn ponged(&mut self, reply: Reply) {
        let Some(ping) = self.watch.ping.take() else {
            return;
        };
        self.link.status.lock().last_ping = Some(clock::unix());
        if ping.purpose != Purpose::Figures && matches!(&reply, Ok(value) if !is_pong(value)) {
            self.end.get_or_insert_with(|| End::Lost(out_of_step()));
            return;
        }
        match ping.purpose {
            Purpose::Tick => self.judge_tick(&reply),
            Purpose::Figures => {
                self.judge_tick(&reply);
                self.read_figures(reply);
            }
            Purpose::Probe => self.believe(),
            Purpose::Trial(generation) => {
                let outcome = Outcome {
                    ok: !fails(&reply),
                    slow: is_slow(clock::now() - ping.started, &self.setting.config),
                };
                self.judge(generation, outcome);
            }
        }
    }

    fn read_figures(&mut self, reply: Reply) {
        let mut status = self.link.status.lock();
        match reply.ok().and_then(commands::bytes) {
            Some(info) => {
                status.info = String::from_utf8_lossy(&info).into_owned();
                status.server = Server::parse(&status.info, self.setting.redis.db);
                drop(status);
                self.note_connections();
            }
            None => self.watch.info_refused = true,
        }
    }

    fn ping_missed(&mut self, now: u64) {
        let Some(ping) = self.watch.ping.take() else {
            return;
        };
        if let Purpose::Trial(generation) = ping.purpose {
            self.note_missed(1, &[generation], now);
            return;
        }
        if self.connection.activity.last_rx() > ping.started {
            if ping.purpose == Purpose::Probe {
                self.believe();
            }
            return;
        }
        let timeout = ping.deadline - ping.started;
        let text = format!("Redis ping failed, switched to memory: no answer within {timeout} ms");
        self.end = Some(End::Lost(LastError::new("ETIMEDOUT", text)));
    }
}

/// Whether this is the answer to a PING without a word.
fn is_pong(value: &Value) -> bool {
    commands::bytes(value.clone()).is_some_and(|text| text == b"PONG")
}

/// Whether a reply counts against the server: it is overloaded, not ready or gone.
pub(super) fn fails(reply: &Reply) -> bool {
    match reply {
        Ok(_) | Err(Failure::Unavailable) => false,
        Err(Failure::Timeout | Failure::Disconnected) => true,
        Err(Failure::Refused(error)) => meaning_of(error).counts_against_server(),
    }
}

/// Whether an answer took more than 0.8 of the deadline.
pub(super) fn is_slow(elapsed_ms: u64, config: &Config) -> bool {
    elapsed_ms * 5 > millis(config.l2.timeout) * 4
}

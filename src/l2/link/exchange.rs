//! The exchanges of a link: what was sent and waits for its reply. Owns who is told what, and when a deadline passed;
//! a reply stays assigned to its command however late it comes.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use redis::{Pipeline, RedisResult, ServerError, Value};
use tokio::time::Instant;

use super::{End, Serving, note_refusal};
use crate::{
    clock::{self, millis},
    l2::{
        batch::{self, Batch, Part, Waiting},
        handshake,
        port::{Failure, Operation, Reply, Request, Settle},
        status::LastError,
        watch::{fails, is_slow},
    },
    resilience::{
        breaker::Outcome,
        classify::{Meaning, explained, meaning},
    },
    telemetry::counters::ErrorClass,
};

/// How long after its deadline an answer may be under way, and how long at most if it is a large one.
const STALLED_MS: u64 = 10_000;
const STALLED_MOST_MS: u64 = 60_000;
/// What even a thin line brings in a second.
const THIN_BYTES_PER_S: u64 = 64 << 10;
/// A link is left for a server's `READONLY` once in this time at most.
const ROLE_MS: u64 = 3_000;

/// One pipeline that was sent.
pub(super) struct Sent {
    pipeline: Pipeline,
    parts: Vec<Part>,
    deadline: u64,
    /// When it was sent, on `clock::now`, and more exactly.
    at: u64,
    began: Instant,
    /// The breaker's generation when it was sent.
    generation: u64,
    /// What it occupies until it is answered.
    bytes: usize,
    /// When the last of those who wait is to be told that it took too long.
    given_up: u64,
    /// How many bytes had come when it was sent.
    bytes_in: u64,
    /// For each command, whether the breaker heard of its missed deadline.
    judged: Vec<bool>,
}

impl Sent {
    /// What was sent just now.
    pub(super) fn new(batch: Batch, now: u64) -> Self {
        let bytes = batch.bytes();
        let Batch {
            pipeline,
            mut parts,
            ..
        } = batch;
        let (mut first, mut last) = (clock::NEVER, 0);
        for waiting in parts.iter_mut().flat_map(Part::waiting) {
            if waiting.deadline != clock::NEVER {
                first = first.min(waiting.deadline);
                last = last.max(waiting.deadline);
            }
        }
        Self {
            deadline: first,
            given_up: if last == 0 { clock::NEVER } else { last },
            bytes_in: 0,
            generation: 0,
            judged: vec![false; parts.len()],
            at: now,
            began: Instant::now(),
            pipeline,
            parts,
            bytes,
        }
    }

    /// What it occupies until it is answered.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of those who wait is to be told that it took too long.
    pub(super) const fn deadline(&self) -> u64 {
        self.deadline
    }

    fn waiting(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.parts.iter_mut().flat_map(Part::waiting)
    }

    /// The reads that may be sent once more over another link.
    pub(super) fn reads_again(&mut self, most: u32) -> Vec<Operation> {
        let reads = self.parts.iter_mut().flat_map(Part::reads);
        reads
            .filter_map(|(key, waiting)| waiting.again(key, most))
            .collect()
    }

    /// Whether each of `values` can be the answer to its command.
    fn fits(&self, values: &[Value]) -> bool {
        let pairs = self.parts.iter().zip(values);
        pairs.len() == self.parts.len() && pairs.into_iter().all(|(part, value)| part.fits(value))
    }

    /// Ends everything that still waits.
    pub(super) fn abort(&mut self, failure: &Failure) {
        for waiting in self.waiting() {
            waiting.settle(Err(failure.clone()));
        }
    }
}

impl Serving<'_> {
    pub(super) fn send(&mut self, batch: Batch) {
        let (id, sent) = {
            let mut lane = self.lane.lock();
            let sent = lane.put(self.link, batch);
            lane.leave();
            sent
        };
        self.keep(id, sent);
    }

    /// Keeps what submitters sent by themselves.
    pub(super) fn adopt(&mut self) {
        let news = self.lane.lock().news();
        self.keep_all(news);
    }

    pub(super) fn keep_all(&mut self, list: Vec<(u64, Sent)>) {
        for (id, sent) in list {
            self.keep(id, sent);
        }
    }

    /// Keeps what was sent until it is answered.
    fn keep(&mut self, id: u64, mut sent: Sent) {
        if sent.given_up == clock::NEVER {
            // Our own pings have no deadline here: the watch has it.
            let config = &self.setting.config;
            sent.given_up = sent.at + millis(config.health.timeout.max(config.l2.timeout));
        }
        sent.bytes_in = self.connection.activity.bytes_in();
        sent.generation = self.lasting.breaker.generation();
        self.link.status.lock().in_flight += sent.parts.len() as u64;
        self.watch.last_traffic = sent.at;
        self.attend(sent.at);
        self.sent.insert(id, sent);
    }

    /// Takes the replies that are there already, so that they are settled in one go.
    pub(super) fn settle_ready(&mut self) {
        while let Ok((id, reply)) = self.answered.try_recv() {
            self.settle(id, reply);
        }
    }

    pub(super) fn settle(&mut self, id: u64, reply: RedisResult<Vec<Value>>) {
        if !self.sent.contains_key(&id) {
            self.adopt();
        }
        let Some(sent) = self.sent.remove(&id) else {
            return;
        };
        self.link.port.note_answered(sent.bytes);
        let elapsed = sent.began.elapsed();
        self.link.status.lock().in_flight -= sent.parts.len() as u64;
        match reply {
            Ok(values) if !sent.fits(&values) => {
                self.sent.insert(id, sent);
                self.end.get_or_insert_with(|| End::Lost(out_of_step()));
            }
            Ok(values) => {
                let ms = elapsed.as_secs_f64() * 1_000.0;
                self.link.status.lock().round_trip(ms);
                // Late replies tell how long an outage was, not what is usual.
                if elapsed < self.setting.config.l2.timeout {
                    self.link.patience.lock().note_reply(millis(elapsed));
                }
                self.link.counters.command_duration.record(elapsed);
                let slow = is_slow(millis(elapsed), &self.setting.config);
                self.answered_at = clock::now();
                self.attend(self.answered_at);
                let cmds = sent.pipeline.cmd_iter();
                let parts = sent.parts.into_iter().zip(sent.judged);
                for (((part, judged), value), cmd) in parts.zip(values).zip(cmds) {
                    let generation = (!judged).then_some(sent.generation);
                    let Some(part) = self.redirect(part, &value, cmd) else {
                        continue;
                    };
                    self.settle_part(part, value, generation, slow);
                }
            }
            // The link is at its end, which decides what becomes of those who wait.
            Err(error) => {
                self.sent.insert(id, sent);
                let lost = || End::Lost(handshake::describe(&error));
                self.end.get_or_insert_with(lost);
            }
        }
    }

    /// `generation` is that of the breaker, if it is to hear of the answer.
    fn settle_part(&mut self, mut part: Part, value: Value, generation: Option<u64>, slow: bool) {
        let waited = part
            .waiting()
            .any(|waiting| waiting.waits() && waiting.deadline != clock::NEVER);
        self.was_good |= !matches!(value, Value::ServerError(_));
        let failed = matches!(&value, Value::ServerError(error) if fails(&Err(Failure::Refused(error.clone()))));
        if let Some(generation) = generation.filter(|_| waited) {
            if failed {
                self.lasting.budget.on_failure();
            } else {
                self.lasting.budget.on_success();
            }
            self.judge(generation, Outcome { ok: !failed, slow });
        }
        match (part, value) {
            (
                Part::Any(mut waiting) | Part::Write(_, mut waiting) | Part::Read(_, mut waiting),
                value,
            ) => {
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
                    Err(Failure::Refused(error)) if meaning_of(error).is_for_good() => {
                        self.send_singly(list);
                    }
                    Err(Failure::Refused(error)) if error.code() == "CROSSSLOT" => {
                        self.found_slots();
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

    fn send_singly(&mut self, list: Vec<(Arc<[u8]>, Waiting)>) {
        for (key, waiting) in list {
            if waiting.waits() {
                self.send(Batch::read(key, waiting));
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
        let last = || LastError::new(error.code(), explained(error.code(), &server_text(&error)));
        match meaning_of(&error) {
            Meaning::Credentials => self.end = Some(End::Rejected(last())),
            Meaning::Role if clock::now() < self.lasting.role_until => (),
            Meaning::Role => {
                self.lasting.role_until = clock::now() + ROLE_MS;
                self.end = Some(End::Role(last()));
            }
            Meaning::Quota => {
                note_refusal(self.link, self.setting, &server_text(&error));
                self.quota_is_spent();
            }
            Meaning::NotReady
            | Meaning::DeletesOnly
            | Meaning::NoWrites
            | Meaning::Forbidden
            | Meaning::Capacity
            | Meaning::Setup
            | Meaning::OldProtocol
            | Meaning::WrongType
            | Meaning::Elsewhere
            | Meaning::Caller => (),
        }
        Err(Failure::Refused(error))
    }

    /// Settles what is late. The exchange goes on; its replies stay assigned. The breaker counts commands, as it does when
    /// they are answered; what raises suspicion is an exchange, however many waited for it.
    pub(super) fn expire(&mut self, now: u64) {
        let (mut callers, mut exchanges) = (0, 0);
        let mut commands = Vec::new();
        for sent in self.sent.values_mut().filter(|sent| sent.deadline <= now) {
            let before = callers;
            let mut next = clock::NEVER;
            for (part, judged) in sent.parts.iter_mut().zip(&mut sent.judged) {
                for waiting in part.waiting().filter(|waiting| waiting.waits()) {
                    if waiting.deadline > now {
                        next = next.min(waiting.deadline);
                        continue;
                    }
                    waiting.settle(Err(Failure::Timeout));
                    callers += 1;
                    if !std::mem::replace(judged, true) {
                        commands.push(sent.generation);
                    }
                }
            }
            sent.deadline = next;
            exchanges += u32::from(callers > before);
        }
        if callers > 0 {
            self.link.counters.l2_timeouts.fetch_add(callers, Relaxed);
            let errors = &self.link.counters.l2_errors;
            errors.add(ErrorClass::Timeout, callers);
            self.note_missed(exchanges, &commands, now);
        }
    }

    /// Whether the oldest exchange, which all others wait behind, should have been answered long ago, and nothing was
    /// since: bytes may come, but no answers.
    pub(super) fn is_stalled(&self, now: u64) -> bool {
        let Some((_, oldest)) = self.sent.first_key_value() else {
            return false;
        };
        // A large value over a thin line takes its time.
        let came = self.connection.activity.bytes_in() - oldest.bytes_in;
        let more = (came / THIN_BYTES_PER_S).saturating_mul(1_000);
        let patience = (STALLED_MS + more).min(STALLED_MOST_MS);
        now >= oldest.given_up.max(self.answered_at) + patience
    }

    /// Gives what should have been answered by now until `until`: nobody was there to read the replies.
    pub(super) fn postpone(&mut self, until: u64) {
        for sent in self.sent.values_mut() {
            sent.given_up = sent.given_up.max(until);
            if sent.deadline >= until {
                continue;
            }
            sent.deadline = until;
            for waiting in sent.waiting() {
                waiting.deadline = waiting.deadline.max(until);
            }
        }
    }

    /// Sends one command of our own, past the queue.
    pub(in crate::l2) fn submit(&mut self, cmd: redis::Cmd, deadline: u64, settle: Settle) {
        let operation = Operation {
            request: Request::Raw(cmd),
            deadline,
            settle,
            tries: 0,
        };
        for batch in batch::cut([operation], false) {
            self.send(batch);
        }
    }
}

/// Why a link ends whose answers are not those to its questions.
pub(in crate::l2) fn out_of_step() -> LastError {
    let text = "an answer did not belong to its question: the connection is out of step";
    LastError::new("EPROTO", text)
}

/// What an error reply means.
#[must_use]
pub fn meaning_of(error: &ServerError) -> Meaning {
    meaning(error.code(), &server_text(error))
}

/// The text of an error reply as Redis sent it.
#[must_use]
pub fn server_text(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
        .trim_end()
        .to_owned()
}

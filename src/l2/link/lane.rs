//! The way on which pipelines go out, numbered in their order. The link's task puts them there, or, where little is queued and
//! nothing else is on its way, whoever queued it: that spares the waking of a thread, which is most of what a lone read waits
//! for. The task hears of those when it is woken, by an answer or by its look; only while it looks is the lane open to others.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use redis::{RedisResult, Value};
use tokio::sync::mpsc;

use super::exchange::Sent;
use crate::{
    clock,
    l2::{
        Link,
        batch::{self, Batch},
        port::{Failure, Operation, once},
        resp::Client,
    },
};

/// Operations that there stays room for.
const KEPT: usize = 4_096;

/// The replies to a pipeline, by its number.
pub(super) type Answer = (u64, RedisResult<Vec<Value>>);

/// See the module.
pub struct Lane {
    client: Client,
    answers: mpsc::UnboundedSender<Answer>,
    last: u64,
    is_open: bool,
    is_over: bool,
    /// What submitters sent and the link's task does not know of.
    news: Vec<(u64, Sent)>,
    /// Room for what is queued.
    room: VecDeque<Operation>,
}

impl Lane {
    pub(super) fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (answers, answered) = mpsc::unbounded_channel();
        let lane = Self {
            client,
            answers,
            last: 0,
            is_open: false,
            is_over: false,
            news: Vec::new(),
            room: VecDeque::new(),
        };
        (lane, answered)
    }

    /// Opens the lane to submitters, or closes it.
    pub(super) fn open(&mut self, is_open: bool) {
        self.is_open = is_open && !self.is_over;
    }

    /// Closes the lane to submitters for good.
    pub(super) fn end(&mut self) {
        self.is_open = false;
        self.is_over = true;
    }

    /// What submitters sent since this was asked.
    pub(super) fn news(&mut self) -> Vec<(u64, Sent)> {
        std::mem::take(&mut self.news)
    }

    /// Puts a pipeline behind all others, to be written soon; its number, and what there is to know of it until it is answered.
    pub(super) fn put(&mut self, link: &Arc<Link>, mut batch: Batch) -> (u64, Sent) {
        if let Some(publish) = link.shared.bus.telling_of(&batch.pipeline) {
            let link = Arc::clone(link);
            batch.follow(publish, once(move |reply| link.heard_of_telling(&reply)));
        }
        let counters = &link.counters;
        for family in batch.families() {
            counters.commands.count(family);
        }
        counters
            .l2_commands
            .fetch_add(batch.parts.len() as u64, Relaxed);
        counters
            .commands_saved
            .fetch_add(batch.saved() as u64, Relaxed);
        self.last += 1;
        self.client.ask(&batch.pipeline, self.last, &self.answers);
        let now = clock::now();
        let sent = Sent::new(batch, now);
        link.port.note_sent(sent.bytes(), now);
        (self.last, sent)
    }

    /// Puts what is queued behind all others. What nobody waits for any more is given back: the process was busy or suspended,
    /// which says nothing of Redis.
    pub(super) fn put_queued(&mut self, link: &Arc<Link>) -> (Vec<(u64, Sent)>, Vec<Operation>) {
        let mut queued = std::mem::take(&mut self.room);
        let expired = link.port.take_due(clock::now(), &mut queued);
        let batches = batch::cut(queued.drain(..), link.is_shard());
        let sent = batches.into_iter().map(|batch| self.put(link, batch));
        let sent = sent.collect();
        if queued.capacity() <= KEPT {
            self.room = queued;
        }
        (sent, expired)
    }

    /// Leaves it to the connection's driver to write what was put.
    pub(super) fn leave(&self) {
        self.client.wake();
    }
}

impl Link {
    /// Sees to it that what is queued is sent. Submitters call it once for all that they submitted in a tick.
    pub fn flush(self: &Arc<Self>) {
        if !self.flush_here() {
            self.port.wake();
        }
    }

    fn flush_here(self: &Arc<Self>) -> bool {
        if !self.port.is_light() {
            return false;
        }
        let lane = self.port.lane();
        let Some(mut lane) = lane.as_ref().and_then(|lane| lane.try_lock()) else {
            return false;
        };
        if !lane.is_open || !lane.client.writes_anywhere() {
            return false;
        }
        let (sent, expired) = lane.put_queued(self);
        lane.news.extend(sent);
        lane.client.write();
        drop(lane);
        for operation in expired {
            operation.refuse(Failure::Timeout);
        }
        true
    }
}

//! What the operations ask of the two tiers: whether an entry of L1 may be served, which link a key has and whether that
//! takes anything now, and the way of a request to it.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::oneshot;

use super::Cache;
use crate::{
    clock::{self, NEVER},
    entry::Entry,
    l1::L1,
    l2::{
        Link,
        port::{Failure, Operation, Reply, Request, Settle, once},
        tier::{Chosen, Tier},
    },
    resilience::gate::Kind,
    tide::Tide,
};

/// What the words of a key were before L1 was looked into: as long as they are, a hit is still one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The slot of the key.
    pub slot: usize,
    /// The slot's generation; odd: nothing is proved.
    pub generation: u32,
    /// The tide.
    pub tide: u32,
}

impl Cache {
    /// The words that JavaScript looks at.
    #[must_use]
    pub const fn tide(&self) -> &Arc<Tide> {
        &self.tide
    }

    /// The words of a key as they are now.
    #[must_use]
    pub fn proof(&self, key: &[u8]) -> Proof {
        let slot = self.table.slot_of(key);
        Proof {
            slot,
            generation: self.table.current(slot),
            tide: self.tide.now(),
        }
    }

    /// The entry that L1 may answer with: in its time, and not older than the link's last return.
    #[must_use]
    pub fn hit(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.hit_until(key, clock::now()).map(|(entry, _)| entry)
    }

    /// As [`Cache::hit`], and until when that holds if nothing changes, on `clock::now`.
    #[must_use]
    pub fn hit_until(&self, key: &[u8], now: u64) -> Option<(Arc<Entry>, u64)> {
        let entry = self.l1.as_ref()?.get(key, now)?;
        let until = self.verified_until(key, &entry).min(entry.l1_until);
        (now < until).then_some((entry, until))
    }

    /// Whether Redis, if it is in use, was seen to agree with the entry and its tags since it is.
    pub(super) fn verified(&self, key: &[u8], entry: &Entry) -> bool {
        clock::now() < self.verified_until(key, entry)
    }

    fn verified_until(&self, key: &[u8], entry: &Entry) -> u64 {
        let marks = entry.marks().iter();
        let until = marks.map(|mark| self.current_until(mark.key(), mark.link));
        until.fold(self.current_until(key, entry.link), u64::min)
    }

    /// Until when what was seen of a key over the link of this generation is known to be so, on `clock::now`.
    fn current_until(&self, key: &[u8], link: u64) -> u64 {
        match self.generation_in_use(key) {
            0 => self.servable_until(key, link),
            generation if generation == link => NEVER,
            _ => 0,
        }
    }

    /// Whether the entry may be served where Redis does not answer: what others' changes kept current is not for long.
    pub(super) fn servable(&self, key: &[u8], entry: &Entry) -> bool {
        clock::now() < self.servable_until(key, entry.link)
    }

    fn servable_until(&self, key: &[u8], link: u64) -> u64 {
        match &self.l2 {
            Some(l2) if link != 0 => l2.of(key).port.served_until(link),
            Some(_) | None => NEVER,
        }
    }

    /// Whether L1 hears of what others change under the key, or nobody else can change it where this process could see it.
    pub(super) fn hears(&self, key: &[u8]) -> bool {
        let hears = |l2: &Arc<Tier>| l2.of(key).port.generation() == 0 || l2.hears(key);
        self.l2.as_ref().is_none_or(hears)
    }

    /// The link of a key; none in a memory cache.
    pub(super) fn link_of(&self, key: &[u8]) -> Option<Chosen<'_>> {
        self.l2.as_ref().map(|l2| l2.of(key))
    }

    /// The generation of the key's link, if it is in use, else 0.
    pub(super) fn generation_in_use(&self, key: &[u8]) -> u64 {
        self.link_of(key).map_or(0, |link| link.port.generation())
    }

    pub(super) fn era(&self) -> u32 {
        self.l1.as_ref().map_or(0, L1::era)
    }

    pub(super) fn strict(&self, asked: Option<bool>) -> bool {
        asked.unwrap_or(self.config.strict)
    }

    pub(super) fn deadline(&self) -> u64 {
        clock::now() + self.timeout_ms()
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        self.config.l2.timeout_ms()
    }

    /// The link of a key, if operations may be queued for it now.
    pub(super) fn open_link(&self, key: &[u8]) -> Option<Chosen<'_>> {
        self.link_of(key).filter(|link| link.port.is_open())
    }

    /// Whether operations that are about no key may be queued now.
    pub(super) fn is_open(&self) -> bool {
        self.l2.as_ref().is_some_and(|l2| l2.any().port.is_open())
    }

    /// Whether a write of this kind is to be sent now.
    pub(super) fn takes(&self, key: &[u8], kind: Kind) -> bool {
        self.link_of(key).is_some_and(|link| link.takes(kind))
    }

    /// Whether a value is to be stored under `key` now.
    pub(super) fn stores(&self, key: &[u8]) -> bool {
        !self.covered(key) && self.takes(key, Kind::Value)
    }

    /// Whether `key` waits for a pattern or a collapse to be made up for: what is stored under it now may be deleted with the
    /// rest.
    pub(super) fn covered(&self, key: &[u8]) -> bool {
        self.link_of(key)
            .is_some_and(|link| link.port.journaled() > 0 && link.journal.lock().covers(key))
    }

    /// Whether the key must not be read from Redis.
    pub(super) fn journaled(&self, key: &[u8]) -> bool {
        self.link_of(key)
            .is_some_and(|link| link.port.journaled() > 0 && link.journal.lock().contains(key))
    }

    /// Whether a pattern that matches the key is being removed.
    pub(super) fn being_removed(&self, key: &[u8]) -> bool {
        self.removing_count.load(Ordering::SeqCst) > 0
            && self
                .removing
                .read()
                .iter()
                .any(|pattern| crate::resilience::glob::matches(pattern, key))
    }

    /// Queues an operation; if there is no link to wait for, settles it with [`Failure::Unavailable`].
    pub(super) fn submit(&self, request: Request, deadline: u64, settle: Settle) {
        let operation = Operation {
            request,
            deadline,
            settle,
            tries: 0,
        };
        let refused = match &self.l2 {
            Some(l2) => l2.submit(operation),
            None => Some(operation),
        };
        if let Some(operation) = refused {
            operation.refuse(Failure::Unavailable);
        }
    }

    /// Sends one command and waits for its reply, within `l2.timeout`. May be cancelled; the command is sent anyway.
    pub(super) async fn call(&self, request: Request) -> Result<redis::Value, Failure> {
        let (settle, reply) = awaited();
        self.submit(request, self.deadline(), settle);
        self.wake();
        reply.await.unwrap_or(Err(Failure::Disconnected))
    }

    /// As [`Cache::call`], of one server.
    pub(super) async fn call_on(
        &self,
        link: &Link,
        request: Request,
    ) -> Result<redis::Value, Failure> {
        let (settle, reply) = awaited();
        let operation = Operation {
            request,
            deadline: self.deadline(),
            settle,
            tries: 0,
        };
        if let Some(refused) = link.port.submit(operation) {
            refused.refuse(Failure::Unavailable);
        }
        link.port.wake();
        reply.await.unwrap_or(Err(Failure::Disconnected))
    }

    /// Flushes what was submitted: callers do it once for all they submitted in a tick.
    pub fn wake(&self) {
        if let Some(l2) = &self.l2 {
            l2.wake();
        }
    }
}

/// What settles an operation whose reply is awaited.
fn awaited() -> (Settle, oneshot::Receiver<Reply>) {
    let (sender, reply) = oneshot::channel();
    let settle = once(move |reply| {
        let _ = sender.send(reply);
    });
    (settle, reply)
}

//! Reading: L1, then whoever already asks Redis for the key, then Redis. What its answer does is `answer`'s.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Relaxed, SeqCst},
    },
};

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::{Cache, Key, Outcome, Waiter, many::Gather};
use crate::{
    clock,
    entry::{Entry, Payload},
    error::CacheError,
    l2::port::{Failure, Operation, Request},
    tags::Mark,
};

/// A value as Redis gave it.
#[derive(Debug, Clone)]
pub struct Held {
    /// The value.
    pub payload: Payload,
    /// How long ago it was made, in ms.
    pub age_ms: u64,
    /// How much of its life is over, in thousandths.
    pub spent: u32,
    /// Its life is over.
    pub is_stale: bool,
    /// Until when a loader may serve it, on `clock::now`.
    pub until: u64,
    /// Its tags.
    pub marks: Box<[Mark]>,
}

impl Held {
    /// Whether a loader may serve it at `now`.
    #[must_use]
    pub fn is_servable(&self, now: u64) -> bool {
        now < self.until && self.marks.iter().all(Mark::holds)
    }
}

/// What a read of Redis came to.
#[derive(Debug, Clone)]
pub enum Found {
    /// A value.
    Hit(Held),
    /// A value past its life, which only a loader may serve.
    Stale(Held),
    /// Nothing that may be used; `true` if something unusable is there that may be overwritten.
    Miss(bool),
    /// No answer.
    Failed(Failure),
}

/// Someone who waits for a read.
pub enum Told {
    /// A caller of `get`, and whether strictly.
    Caller(Waiter, bool),
    /// A caller of `getMany`, which of its keys it is, and whether strictly.
    Gathering(Arc<Gather>, usize, bool),
    /// Anybody else.
    Other(Listener),
}

type Listener = Box<dyn FnOnce(&Arc<Cache>, Found) + Send>;

impl Told {
    pub(super) fn tell(self, cache: &Arc<Cache>, key: &Key, found: Found) {
        match self {
            Self::Caller(waiter, strict) => {
                let outcome = waiter.found(cache.found(key, found, strict));
                waiter.settle(outcome);
            }
            Self::Gathering(gather, at, strict) => gather.put(at, cache.found(key, found, strict)),
            Self::Other(told) => told(cache, found),
        }
    }
}

/// A read under way: everyone who asks for the key joins it, until it is answered or the key changes. Once its deadline
/// has passed, whoever comes asks Redis again, and the first answer of all serves those who wait and fills L1.
pub struct Read {
    pub(super) key: Key,
    pub(super) era: u32,
    pub(super) told: Mutex<SmallVec<[Told; 1]>>,
    pub(super) deadline: u64,
    /// Its deadline has passed.
    pub(super) late: AtomicBool,
    /// What it brings into L1 makes no room for itself.
    pub(super) gentle: AtomicBool,
}

/// How a read is made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Whatever L1 holds.
    pub past_l1: bool,
    /// Nothing in L1 is to make room for what is read.
    pub gentle: bool,
}

/// How a read begins; what was not used of the claim comes back.
pub enum Begun<T> {
    /// L1 had it after all.
    Hit(Arc<Entry>, T),
    /// Redis may not be asked for this key now.
    Unasked(T),
    /// Somebody asks already, and the claim was added.
    Joined,
    /// It is ours to ask.
    Ask(Operation),
}

impl Cache {
    /// The value under `key`. L1 was asked, and missed, before.
    pub fn get(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        match self.begin(key, waiter, |waiter| Told::Caller(waiter, strict)) {
            Begun::Hit(entry, waiter) => {
                self.counters.l1_hits.count();
                let outcome = waiter.value(entry.payload.clone());
                waiter.now(outcome)
            }
            Begun::Unasked(waiter) => {
                self.count_l1_miss();
                let found = self.found(key, Found::Failed(Failure::Unavailable), strict);
                let outcome = waiter.found(found);
                waiter.now(outcome)
            }
            Begun::Joined => {
                self.count_l1_miss();
                None
            }
            Begun::Ask(operation) => {
                self.count_l1_miss();
                self.ask(operation);
                None
            }
        }
    }

    /// Whether either tier has `key`: a read like any other, so that it joins, and fills L1.
    pub fn has(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        let asked = Arc::clone(key);
        let told = move |waiter: Waiter| {
            Told::Other(Box::new(move |cache, found| {
                let found = cache.found(&asked, found, strict);
                waiter.settle(
                    found.map_or_else(Outcome::Error, |found| Outcome::Bool(found.is_some())),
                );
            }))
        };
        if let Some(_entry) = self.hit(key) {
            self.counters.l1_hits.count();
            return waiter.now(Outcome::Bool(true));
        }
        match self.begin(key, waiter, told) {
            Begun::Hit(_, waiter) => waiter.now(Outcome::Bool(true)),
            Begun::Unasked(waiter) => {
                self.count_l1_miss();
                let found = self.found(key, Found::Failed(Failure::Unavailable), strict);
                waiter
                    .now(found.map_or_else(Outcome::Error, |found| Outcome::Bool(found.is_some())))
            }
            Begun::Joined => {
                self.count_l1_miss();
                None
            }
            Begun::Ask(operation) => {
                self.count_l1_miss();
                self.ask(operation);
                None
            }
        }
    }

    /// Begins to read `key` from Redis for `claim`, which `told` turns into someone who waits.
    pub fn begin<T>(
        self: &Arc<Self>,
        key: &Key,
        claim: T,
        told: impl FnOnce(T) -> Told,
    ) -> Begun<T> {
        self.begin_as(Manner::default(), key, claim, told)
    }

    /// As [`Cache::begin`], in another manner.
    pub(super) fn begin_as<T>(
        self: &Arc<Self>,
        manner: Manner,
        key: &Key,
        claim: T,
        told: impl FnOnce(T) -> Told,
    ) -> Begun<T> {
        let mut locked = self.table.lock(key);
        let now = clock::now();
        let hit = self.hit_until(key, now).filter(|_| !manner.past_l1);
        if let Some((entry, _)) = hit {
            return Begun::Hit(entry, claim);
        }
        let link = self.open_link(key).filter(|link| link.port.admits_read());
        if link.is_none() || self.journaled(key) {
            return Begun::Unasked(claim);
        }
        let deadline = now + self.timeout_ms();
        let under_way = locked.read().filter(|read| read.era == self.era());
        let read = if let Some(read) = under_way {
            read.told.lock().push(told(claim));
            read.gentle.fetch_and(manner.gentle, SeqCst);
            if !read.late.swap(false, SeqCst) {
                return Begun::Joined;
            }
            Arc::clone(read)
        } else {
            let read = Arc::new(Read {
                key: Arc::clone(key),
                era: self.era(),
                told: Mutex::new(smallvec![told(claim)]),
                deadline,
                late: AtomicBool::new(false),
                gentle: AtomicBool::new(manner.gentle),
            });
            locked.begin_read(Arc::clone(&read));
            read
        };
        let cache = Arc::clone(self);
        Begun::Ask(Operation {
            request: Request::Get(Arc::clone(key)),
            deadline,
            settle: Box::new(move |reply| cache.answered(&read, reply)),
            tries: 0,
        })
    }

    /// What Redis has under `key` now; `None` if it may not be asked.
    pub(super) async fn look_again(self: &Arc<Self>, key: &Key) -> Option<Found> {
        let (sender, found) = oneshot::channel();
        let told = move |()| {
            Told::Other(Box::new(move |_, found| {
                let _ = sender.send(found);
            }))
        };
        let manner = Manner {
            past_l1: true,
            gentle: false,
        };
        match self.begin_as(manner, key, (), told) {
            Begun::Hit(..) | Begun::Unasked(()) => return None,
            Begun::Joined => (),
            Begun::Ask(operation) => self.ask(operation),
        }
        self.wake();
        found.await.ok()
    }

    /// Queues a read.
    pub(super) fn ask(&self, operation: Operation) {
        if let Some(refused) = self.l2.as_ref().and_then(|l2| l2.submit(operation)) {
            refused.refuse(Failure::Unavailable);
        }
    }

    /// Queues reads, all at once so that they can leave as one command.
    pub fn ask_all(&self, operations: Vec<Operation>) {
        if let Some(l2) = &self.l2 {
            for refused in l2.submit_all(operations) {
                refused.refuse(Failure::Unavailable);
            }
        }
    }

    /// Turns what Redis said into what the caller gets: after a failure L1 answers, verified or not.
    pub(super) fn found(
        &self,
        key: &Key,
        found: Found,
        strict: bool,
    ) -> Result<Option<Payload>, CacheError> {
        match found {
            Found::Hit(held) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                Ok(Some(held.payload))
            }
            Found::Stale(_) | Found::Miss(_) => {
                self.counters.l2_misses.fetch_add(1, Relaxed);
                Ok(None)
            }
            Found::Failed(failure) if strict && self.l2.is_some() => {
                Err(self.failed(&failure, key))
            }
            Found::Failed(_) => Ok(self.unverified(key)),
        }
    }

    /// What L1 holds, also from before the link came back: better than nothing while Redis does not answer.
    pub(super) fn unverified(&self, key: &Key) -> Option<Payload> {
        let entry = self.l1.as_ref()?.get(key, clock::now())?;
        self.servable(key, &entry).then(|| entry.payload.clone())
    }

    pub(super) fn count_l1_miss(&self) {
        if self.l1.is_some() {
            self.counters.l1_misses.fetch_add(1, Relaxed);
        }
    }
}

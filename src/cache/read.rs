//! Reading: L1, then whoever already asks Redis for the key, then Redis, and what its answer does to L1.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Relaxed, SeqCst},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;

use super::{Cache, Key, Outcome, Waiter};
use crate::{
    clock::{self, NEVER},
    entry::{
        Entry, Left, Payload,
        wire::{self, Context, Decoded},
    },
    error::CacheError,
    l2::{
        Control, Link,
        link::meaning_of,
        port::{Failure, Late, Operation, Reply, Request, once},
    },
    resilience::classify::Meaning,
    telemetry::counters::ErrorClass,
};

/// What a read of Redis came to.
#[derive(Debug, Clone)]
pub enum Found {
    /// A value.
    Hit(Payload),
    /// Nothing that may be used; `true` if something unusable is there that may be overwritten.
    Miss(bool),
    /// No answer.
    Failed(Failure),
}

/// Someone who waits for a read.
pub type Told = Box<dyn FnOnce(&Arc<Cache>, Found) + Send>;

/// A read under way: everyone who asks for the key joins it, until it is answered or the key changes. Once its deadline
/// has passed, whoever comes asks Redis again, and the first answer of all serves those who wait and fills L1.
pub struct Read {
    key: Key,
    era: u32,
    told: Mutex<Vec<Told>>,
    late: AtomicBool,
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
        let asked = Arc::clone(key);
        let told = move |waiter: Waiter| -> Told {
            Box::new(move |cache, found| {
                let outcome = cache
                    .found(&asked, found, strict)
                    .map_or_else(Outcome::Error, |found| {
                        found.map_or(Outcome::Undefined, |payload| waiter.value(payload))
                    });
                waiter.settle(outcome);
            })
        };
        match self.begin(key, waiter, told) {
            Begun::Hit(entry, waiter) => {
                self.counters.l1_hits.fetch_add(1, Relaxed);
                let outcome = waiter.value(entry.payload.clone());
                waiter.now(outcome)
            }
            Begun::Unasked(waiter) => {
                self.count_l1_miss();
                let outcome = match self.found(key, Found::Failed(Failure::Unavailable), strict) {
                    Ok(Some(payload)) => waiter.value(payload),
                    Ok(None) => Outcome::Undefined,
                    Err(error) => Outcome::Error(error),
                };
                waiter.now(outcome)
            }
            Begun::Joined => {
                self.count_l1_miss();
                None
            }
            Begun::Ask(operation) => {
                self.count_l1_miss();
                self.ask(vec![operation]);
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
        let told = move |waiter: Waiter| -> Told {
            Box::new(move |cache, found| {
                let found = cache.found(&asked, found, strict);
                waiter.settle(
                    found.map_or_else(Outcome::Error, |found| Outcome::Bool(found.is_some())),
                );
            })
        };
        if let Some(_entry) = self.hit(key) {
            self.counters.l1_hits.fetch_add(1, Relaxed);
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
                self.ask(vec![operation]);
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
        let mut locked = self.table.lock(key);
        if let Some(entry) = self.hit(key) {
            return Begun::Hit(entry, claim);
        }
        let link = self.open_link().filter(|link| link.port.admits_read());
        if link.is_none() || self.journaled(key) {
            return Begun::Unasked(claim);
        }
        let under_way = locked.read().filter(|read| read.era == self.era());
        let read = if let Some(read) = under_way {
            read.told.lock().push(told(claim));
            if !read.late.swap(false, SeqCst) {
                return Begun::Joined;
            }
            Arc::clone(read)
        } else {
            let read = Arc::new(Read {
                key: Arc::clone(key),
                era: self.era(),
                told: Mutex::new(vec![told(claim)]),
                late: AtomicBool::new(false),
            });
            locked.begin_read(Arc::clone(&read));
            read
        };
        let cache = Arc::clone(self);
        Begun::Ask(Operation {
            request: Request::Get(Arc::clone(key)),
            deadline: self.deadline(),
            settle: Box::new(move |reply| cache.answered(&read, reply)),
            tries: 0,
        })
    }

    /// Queues reads, all at once so that they can leave as one command.
    pub fn ask(&self, operations: Vec<Operation>) {
        if let Some(link) = &self.link {
            for refused in link.port.submit_all(operations) {
                refused.refuse(Failure::Unavailable);
            }
        }
    }

    /// Tells those who wait; after the deadline the read stays under way, and its late reply may still fill L1.
    fn answered(self: &Arc<Self>, read: &Arc<Read>, reply: Reply) -> Option<Late> {
        if reply != Err(Failure::Timeout) {
            let found = self.take_in(read, reply);
            self.tell(read, &found);
            return None;
        }
        {
            let _locked = self.table.lock(&read.key);
            read.late.store(true, SeqCst);
        }
        self.tell(read, &Found::Failed(Failure::Timeout));
        let (cache, read) = (Arc::clone(self), Arc::clone(read));
        Some(Box::new(move |reply| {
            let found = cache.take_in(&read, reply);
            cache.tell(&read, &found);
        }))
    }

    fn tell(self: &Arc<Self>, read: &Read, found: &Found) {
        for told in std::mem::take(&mut *read.told.lock()) {
            told(self, found.clone());
        }
    }

    /// Reads the reply and lets it into L1, if the key was not changed since it was asked for.
    fn take_in(self: &Arc<Self>, read: &Arc<Read>, reply: Reply) -> Found {
        let decoded = match reply {
            Ok(Value::BulkString(data)) => Some(self.decode(&read.key, data.into())),
            Ok(Value::Nil) => None,
            Ok(_) => Some(Decoded::Foreign),
            Err(Failure::Refused(error)) if meaning_of(&error) == Meaning::WrongType => {
                self.counters.l2_errors.count(ErrorClass::Type);
                Some(Decoded::Foreign)
            }
            Err(failure) => {
                let _ = self.table.lock(&read.key).end_read(read);
                return Found::Failed(failure);
            }
        };
        let mut locked = self.table.lock(&read.key);
        let current = locked.end_read(read) && read.era == self.era();
        let entry = match &decoded {
            Some(Decoded::Fresh(payload, left)) => {
                Some(self.entry_from_redis(payload, Some(*left)))
            }
            Some(Decoded::Bare(payload)) => {
                let left = self.remembered_life(&read.key, payload);
                Some(self.entry_from_redis(payload, left))
            }
            Some(Decoded::Gone | Decoded::Foreign | Decoded::Corrupt) | None => None,
        };
        if let Some(l1) = self
            .l1
            .as_ref()
            .filter(|_| current && !self.being_removed(&read.key))
        {
            locked.fill(|| match entry {
                Some(mut entry) => {
                    entry.era = read.era;
                    self.after_put(l1.put(&read.key, entry));
                }
                // Redis does not have it: what L1 kept from before the link came back is gone too.
                None => drop(l1.take(&read.key)),
            });
        }
        drop(locked);
        match decoded {
            Some(Decoded::Fresh(payload, _) | Decoded::Bare(payload)) => Found::Hit(payload),
            Some(Decoded::Gone) => Found::Miss(true),
            Some(Decoded::Corrupt) => {
                self.counters.l2_errors.count(ErrorClass::Corrupt);
                if current {
                    self.discard_or_renew(&read.key);
                }
                Found::Miss(true)
            }
            Some(Decoded::Foreign) | None => Found::Miss(false),
        }
    }

    /// What Redis gave for `key` is none of its values: either it is damaged, or the link is out of step and this was the
    /// answer to another question. A ping with a word of its own tells: the entry goes, or the link. Should the word be
    /// taken for a value, it is an envelope of no known version, and so a miss.
    fn discard_or_renew(self: &Arc<Self>, key: &Key) {
        let word = [&wire::MAGIC[..], &[0xff], &fastrand::u64(..).to_be_bytes()].concat();
        let generation = self.generation_in_use();
        let mut ping = redis::cmd("PING");
        ping.arg(&word);
        let (cache, key) = (Arc::clone(self), Arc::clone(key));
        let settle = once(move |reply| {
            if reply == Ok(Value::BulkString(word)) {
                cache.discard(&key);
            } else if let Some(link) = &cache.link {
                link.control(Control::Renew(generation));
            }
        });
        self.submit(Request::Raw(ping), self.deadline(), settle);
        self.wake();
    }

    fn decode(&self, key: &Key, data: Bytes) -> Decoded {
        let context = Context {
            key,
            unix_ms: clock::unix(),
            epoch: self.epoch(),
        };
        let decoded = wire::decode(context, data, self.config.codec);
        let distrusted = |link: &Arc<Link>| link.distrust_bare.load(SeqCst);
        if matches!(decoded, Decoded::Bare(_)) && self.link.as_ref().is_some_and(distrusted) {
            return Decoded::Gone;
        }
        decoded
    }

    /// The epoch entries in Redis must carry.
    pub(super) fn epoch(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.epoch.load(SeqCst))
    }

    /// What is left of the life of a value without an envelope, if L1 still knows: it is the value that was in L1, be it
    /// past its time. Else one that Redis is about to expire would live on here for `l1.plainTtl`.
    fn remembered_life(&self, key: &Key, payload: &Payload) -> Option<Left> {
        let old = self.l1.as_ref()?.remembered(key)?;
        (old.payload == *payload).then(|| old.life_left(clock::now()))?
    }

    /// An entry for L1 of what Redis holds; `left` is what is left of its life, if anybody but Redis knows.
    fn entry_from_redis(&self, payload: &Payload, left: Option<Left>) -> Entry {
        let now = clock::now();
        let l1 = self.config.l1.as_ref();
        let most = l1.map_or(0, |l1| match left {
            Some(_) => l1.ttl_ms,
            None => l1.ttl_ms.min(l1.plain_ttl_ms),
        });
        let life_until = left.map(|left| match left {
            Left::Forever => NEVER,
            Left::Ms(ms) => now.saturating_add(ms),
        });
        Entry {
            payload: payload.clone(),
            l1_until: now.saturating_add(most).min(life_until.unwrap_or(NEVER)),
            life_until,
            link: self.generation_in_use(),
            era: self.era(),
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
            Found::Hit(payload) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                Ok(Some(payload))
            }
            Found::Miss(_) => {
                self.counters.l2_misses.fetch_add(1, Relaxed);
                Ok(None)
            }
            Found::Failed(failure) if strict && self.link.is_some() => {
                Err(self.failed(&failure, key))
            }
            Found::Failed(_) => Ok(self.unverified(key)),
        }
    }

    /// What L1 holds, also from before the link came back: better than nothing while Redis does not answer.
    pub(super) fn unverified(&self, key: &Key) -> Option<Payload> {
        let entry = self.l1.as_ref()?.get(key, clock::now())?;
        Some(entry.payload.clone())
    }

    pub(super) fn count_l1_miss(&self) {
        if self.l1.is_some() {
            self.counters.l1_misses.fetch_add(1, Relaxed);
        }
    }
}

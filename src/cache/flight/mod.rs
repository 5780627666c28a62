//! Single flight: however many callers, in however many threads, ask `getOrSet` for a key, one of them runs the
//! factory and all get its outcome. JavaScript runs the factory; here is who waits, for how long, and whether the
//! result may still be stored.
//!
//! | stage | ends by | then |
//! |---|---|---|
//! | reading (with `lock`: until the lease is ours) | Redis (or L1) has it | everyone gets it; who wants it fresh: running |
//! | | Redis has it, past its life | everyone gets that, unless `factorySoftTimeout` says to wait; running |
//! | | a miss, or no answer | running: the first caller whose environment lives is told to lead |
//! | | `l2SoftTimeout` | L1's unverified value, else running; who answers first then, Redis or the factory, serves everyone |
//! | running | the factory's value, nothing, or its error | everyone gets that, for an error a stale value if there is one; a value is stored if neither the key nor a tag was changed meanwhile |
//! | | Redis has it after all | everyone gets that; what the factory makes is dropped |
//! | | `factorySoftTimeout`, and there is a stale value | everyone gets that; running |
//! | | `factoryTimeout` | everyone gets a stale value, or `ERR_CACHE_FACTORY_TIMEOUT`; late |
//! | | the last caller left | the factory's signal is aborted; late |
//! | | the leader's environment ended | running, with another leader, or over |
//! | late | the factory's outcome | stored, if nothing newer was |
//!
//! A caller who leads, or is to lead, and was given something older stays in the flight, *served*: his ticket ends with
//! it. So a flight without callers is one that nobody wants, and whoever leaves without having heard that he leads hands
//! the lead on. After a failure that a stale value made up for, the key rests for `retryAfter`: a [`Hold`] in the
//! generation table.

mod fallback;
mod landing;
mod lead;
mod leaving;
mod locking;
mod reading;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

pub(super) use self::lead::FlightClock;
use self::{fallback::Rest, locking::Lock};
use super::{
    As, Cache, Key, Outcome, Waiter,
    outcome::Sink,
    read::{Begun, Found, Held, Manner, Told},
};
use crate::{
    clock::{self, NEVER},
    entry::{Payload, wire::Stamp},
    l2::port::{Failure, Operation},
    resilience::patience::Rule,
    tags::Mark,
};

/// The options of `getOrSet` that matter here; what is absent is as the cache has it.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Whether an unusable Redis rejects.
    pub strict: Option<bool>,
    /// How long the factory may take; `Some(None)`: as long as it likes.
    pub factory_timeout: Option<Option<Duration>>,
    /// How long callers wait for the factory if there is a stale value, in ms.
    pub factory_soft_ms: Option<u64>,
    /// How long to wait for Redis.
    pub soft_timeout: Option<Rule>,
    /// For how long a failed factory is not tried again while there is a stale value, in ms.
    pub retry_ms: Option<u64>,
    /// For how long its error is kept if there is none, in ms.
    pub error_ms: Option<u64>,
    /// The keys of the versions of the tags that the entry is to carry.
    pub tags: Arc<[Key]>,
    /// Whether one process at a time makes the value.
    pub lock: Option<bool>,
    /// Whether to ignore what is cached.
    pub fresh: bool,
    /// From which share of its life on, in thousandths, an entry is to be renewed behind those who get it.
    pub eager: Option<u32>,
    /// The caller has a value, and only wants it renewed.
    pub behind: bool,
    /// Nothing in L1 is to make room for it.
    pub gentle: bool,
}

/// What is known of a key whose factory failed.
pub struct Hold {
    /// Until when it is not called again, on `clock::now`.
    until: u64,
    /// Its error, if that is the answer meanwhile: the number of the flight, and a clone.
    error: Option<(u64, Option<Bytes>)>,
    /// It had a value that was to be renewed before its end: that Redis has one is no news.
    is_early: bool,
}

impl Hold {
    /// Whether a value that Redis has ends it.
    pub(super) const fn ends_by_value(&self) -> bool {
        !self.is_early
    }
}

/// The flights of a cache.
#[derive(Default)]
pub struct Flights {
    by_key: HashMap<Key, u64>,
    by_id: HashMap<u64, Flight>,
}

/// Ids are unique in the process: JavaScript keeps the flights of all caches in one map.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

struct Flight {
    key: Key,
    callers: Vec<Caller>,
    stage: Stage,
    /// What is in Redis may be overwritten: nobody could have read it.
    overwrite: bool,
    era: u32,
    /// How many changes of tags there were when it began.
    tag_changes: u64,
    terms: Terms,
    /// The versions of its tags when its factory was called, once they are known.
    made_under: Arc<[Stamp]>,
    /// What the factory is to replace, and what stands in for it should it fail.
    stale: Option<Held>,
    lock: Lock,
}

/// What was agreed for a flight when it began.
#[derive(Clone)]
struct Terms {
    factory_timeout: Option<Duration>,
    factory_soft_ms: Option<u64>,
    retry_ms: u64,
    error_ms: Option<u64>,
    tags: Arc<[Key]>,
    eager: Option<u32>,
}

struct Caller {
    waiter: Waiter,
    strict: bool,
    /// Nothing that is cached will do.
    fresh: bool,
    /// It has been given a value, and is there to run its factory should nobody else.
    served: bool,
}

enum Stage {
    Reading {
        since: u64,
        /// When the soft timeout is over.
        until: u64,
    },
    Running {
        leader: Arc<dyn Sink>,
        ticket: u32,
        since: Instant,
        /// When `factorySoftTimeout` is over; 0: it is.
        soft_until: u64,
        /// When `factoryTimeout` is over.
        until: u64,
    },
    /// Nobody waits any more. Whose factory it is, as long as that may come to an end.
    Late { leader: Arc<dyn Sink> },
}

impl Stage {
    /// Somebody is to be appointed, and nothing else is waited for.
    const fn open() -> Self {
        Self::Reading {
            since: 0,
            until: NEVER,
        }
    }

    /// When it is to be looked at.
    fn until(&self) -> u64 {
        match self {
            Self::Reading { until, .. } => *until,
            Self::Running {
                until, soft_until, ..
            } => (*until).min(if *soft_until == 0 { NEVER } else { *soft_until }),
            Self::Late { .. } => NEVER,
        }
    }

    const fn is_reading(&self) -> bool {
        matches!(self, Self::Reading { .. })
    }

    fn is_led_by(&self, sink: &Arc<dyn Sink>, by: u32) -> bool {
        matches!(self, Self::Running { leader, ticket, .. } if *ticket == by && Arc::ptr_eq(leader, sink))
    }
}

impl Flight {
    /// Whether nobody has any use for its value.
    fn is_unwanted(&self) -> bool {
        self.callers.is_empty() && !matches!(self.stage, Stage::Late { .. })
    }

    /// Whether what it is to replace lost a tag, which its value may carry too.
    fn is_outdated(&self) -> bool {
        let stale = self.stale.as_ref();
        stale.is_some_and(|held| !held.marks.iter().all(Mark::holds))
    }

    /// Whether callers get what is stale rather than wait for the factory.
    fn serves_stale(&self) -> bool {
        let waited_out = matches!(self.stage, Stage::Running { soft_until: 0, .. });
        waited_out || self.terms.factory_soft_ms.is_none()
    }
}

impl Caller {
    /// Whether it waits, and takes what is cached.
    fn takes_cached(&self) -> bool {
        !self.fresh && !self.served
    }

    fn lives(&self) -> bool {
        self.waiter.sink().is_some_and(|sink| sink.alive())
    }
}

impl Flights {
    /// Takes the flight off the key, so that the next caller starts another.
    fn free(&mut self, id: u64) {
        if let Some(flight) = self.by_id.get(&id)
            && self.by_key.get(&flight.key) == Some(&id)
        {
            self.by_key.remove(&flight.key);
        }
    }

    fn end(&mut self, id: u64) -> Option<Flight> {
        self.free(id);
        self.by_id.remove(&id)
    }
}

/// What a caller meets at a key.
enum Joined {
    /// A flight of its own, to go on with.
    Own(u64),
    /// Somebody else's.
    Other,
    /// Somebody else's that is reading, which will not do.
    Reading(u64),
    /// Somebody else's; those who come meanwhile are given this.
    Behind(Held),
}

/// How a load begins.
pub enum Started {
    /// It is over, or its caller is to lead.
    Now(Outcome),
    /// Its ticket will be settled; `true`: by a flight of its own, `false`: by somebody else's.
    Later(bool),
    /// Its flight reads: the question, if nobody asks it yet, and then [`Cache::wait_for_read`]. The outcome is the caller's
    /// at once.
    Reads(u64, Option<Operation>, Option<Outcome>),
}

impl Cache {
    /// `getOrSet`, after L1 was asked and missed, or had what is to be renewed.
    pub fn load(
        self: &Arc<Self>,
        key: &Key,
        options: &LoadOptions,
        waiter: Waiter,
    ) -> Option<Outcome> {
        match self.start_load(key, options, waiter) {
            Started::Now(outcome) => Some(outcome),
            Started::Later(_) => None,
            Started::Reads(id, operation, now) => {
                self.ask(operation.into_iter().collect());
                self.wait_for_read(id, options.soft_timeout, now)
            }
        }
    }

    /// Several loads, whose questions leave together; for each its outcome, if it has one already, and whether it waits
    /// for somebody else's flight.
    pub fn load_many(
        self: &Arc<Self>,
        loads: Vec<(Key, Waiter)>,
        options: &LoadOptions,
    ) -> Vec<(Option<Outcome>, bool)> {
        let (mut operations, mut started) = (Vec::new(), Vec::new());
        for (key, waiter) in loads {
            if self.defers(std::slice::from_ref(&key)) {
                let (asked, options) = (Arc::clone(&key), options.clone());
                self.in_turn(&[key], true, waiter, move |cache, waiter| {
                    cache.load(&asked, &options, waiter)
                });
                // Whoever gathers does not wait for it: it may yet join somebody else's flight.
                started.push(Started::Later(false));
                continue;
            }
            started.push(match self.start_load(&key, options, waiter) {
                Started::Reads(id, operation, now) => {
                    operations.extend(operation);
                    Started::Reads(id, None, now)
                }
                other @ (Started::Now(_) | Started::Later(_)) => other,
            });
        }
        self.ask(operations);
        let outcome = |started| match started {
            Started::Now(outcome) => (Some(outcome), false),
            Started::Later(own) => (None, !own),
            Started::Reads(id, _, now) => {
                (self.wait_for_read(id, options.soft_timeout, now), false)
            }
        };
        started.into_iter().map(outcome).collect()
    }

    fn start_load(self: &Arc<Self>, key: &Key, options: &LoadOptions, waiter: Waiter) -> Started {
        if self.is_closed() {
            waiter.forget();
            return Started::Now(Outcome::Error(Self::closed_error()));
        }
        let is_renewal = options.behind;
        let mut stale = None;
        if !options.fresh {
            if let Some(entry) = self.hit(key).filter(|_| !is_renewal) {
                self.counters.l1_hits.fetch_add(1, Relaxed);
                let outcome = waiter.value(entry.payload.clone());
                waiter.forget();
                return Started::Now(outcome);
            }
            stale = self.stale_in_l1(key).filter(|_| !is_renewal);
            match self.rest_of(key) {
                Some(Rest::Failed(flight, clone)) => {
                    self.count_l1_miss();
                    waiter.forget();
                    return Started::Now(Outcome::FactoryFailed(flight, clone));
                }
                Some(Rest::Stale) if stale.is_some() || is_renewal => {
                    waiter.forget();
                    let outcome = stale.map(|held| Outcome::Value(self.hit_stale(held), As::Value));
                    return Started::Now(outcome.unwrap_or(Outcome::Undefined));
                }
                Some(Rest::Stale) | None => (),
            }
            stale = stale.filter(|_| self.terms(options).factory_soft_ms.is_none());
        }
        if !is_renewal && stale.is_none() {
            self.count_l1_miss();
        }
        self.start_flight(key, options, waiter, stale)
    }

    /// Joins the key's flight, or begins one. `stale` is the caller's at once, and then only renewed.
    fn start_flight(
        self: &Arc<Self>,
        key: &Key,
        options: &LoadOptions,
        waiter: Waiter,
        stale: Option<Held>,
    ) -> Started {
        let now = stale.clone().map(|held| self.hit_stale(held));
        let served = now.is_some() || options.behind;
        let caller = Caller {
            strict: !served && self.strict(options.strict.or(self.config.loader.strict)),
            fresh: options.fresh,
            served,
            waiter,
        };
        let id = match self.join(key, caller, options, stale) {
            Joined::Own(id) => id,
            Joined::Other if served => {
                let now = now.map(|payload| Outcome::Value(payload, As::Value));
                return Started::Now(now.unwrap_or(Outcome::Undefined));
            }
            Joined::Other => return Started::Later(false),
            Joined::Behind(held) => {
                self.count_stale(&held, 1);
                return Started::Now(Outcome::Value(held.payload, As::Value));
            }
            Joined::Reading(id) => {
                self.lead(id, true);
                return Started::Later(false);
            }
        };
        // Whoever is served already hears by the queue.
        let now = now.map(|payload| Outcome::Stale(payload, As::Value));
        let lead = |overwrite| {
            if served {
                self.lead(id, overwrite);
                return now.clone().map_or(Started::Later(true), Started::Now);
            }
            let lead = self.lead_now(id, overwrite);
            lead.map_or(Started::Later(true), Started::Now)
        };
        if options.fresh {
            return lead(true);
        }
        let told = move |()| -> Told { Box::new(move |cache, found| cache.flight_read(id, found)) };
        let manner = Manner {
            past_l1: options.behind,
            gentle: options.gentle,
        };
        match self.begin_as(manner, key, (), told) {
            Begun::Hit(entry, ()) => {
                self.settle_flight(id, |caller| caller.waiter.value(entry.payload.clone()));
                now.map_or(Started::Later(true), Started::Now)
            }
            Begun::Unasked(()) if self.l2.is_none() => lead(served),
            Begun::Unasked(()) => {
                self.flight_read(id, Found::Failed(Failure::Unavailable));
                now.map_or(Started::Later(true), Started::Now)
            }
            Begun::Joined => Started::Reads(id, None, now),
            Begun::Ask(operation) => Started::Reads(id, Some(operation), now),
        }
    }

    /// A stale answer of L1.
    fn hit_stale(&self, held: Held) -> Payload {
        self.counters.l1_hits.fetch_add(1, Relaxed);
        self.counters.stale_served.fetch_add(1, Relaxed);
        held.payload
    }

    /// The options of a load with the cache's own where it has none.
    fn terms(&self, options: &LoadOptions) -> Terms {
        let loader = &self.config.loader;
        Terms {
            factory_timeout: options.factory_timeout.unwrap_or(loader.factory_timeout),
            factory_soft_ms: options.factory_soft_ms.or(loader.factory_soft_timeout_ms),
            retry_ms: options.retry_ms.unwrap_or(loader.retry_after_ms),
            error_ms: options.error_ms.or(loader.error_ttl_ms),
            tags: Arc::clone(&options.tags),
            eager: options.eager,
        }
    }

    /// Joins the flight of the key, or begins one and gives its id: then it is this caller's to go on. Nobody joins a flight
    /// whose key or tags were changed since it began: its value may be from before the change.
    fn join(
        &self,
        key: &Key,
        caller: Caller,
        options: &LoadOptions,
        stale: Option<Held>,
    ) -> Joined {
        let mut flights = self.flights.lock();
        if let Some(id) = flights.by_key.get(key).copied()
            && self.table.lock(key).is_joinable(id)
            && let Some(flight) = flights.by_id.get_mut(&id)
            && !self.tags_changed(&flight.terms.tags, flight.tag_changes)
            && !flight.is_outdated()
        {
            return self.join_flight(id, flight, caller);
        }
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let flight = Flight {
            key: Arc::clone(key),
            callers: vec![caller],
            stage: Stage::open(),
            overwrite: false,
            era: self.era(),
            tag_changes: self.tags.count(),
            terms: self.terms(options),
            made_under: Arc::default(),
            stale,
            lock: if options.lock.unwrap_or(self.config.loader.lock) {
                Lock::Wanted
            } else {
                Lock::Unwanted
            },
        };
        flights.by_key.insert(Arc::clone(key), id);
        flights.by_id.insert(id, flight);
        self.table.lock(key).begin_flight(id);
        Joined::Own(id)
    }

    fn join_flight(&self, id: u64, flight: &mut Flight, caller: Caller) -> Joined {
        if caller.served {
            caller.waiter.forget();
            return Joined::Other;
        }
        let stale = flight.stale.as_ref();
        let stale = stale.filter(|_| flight.serves_stale() && !caller.fresh);
        if let Some(held) = stale.filter(|held| held.is_servable(clock::now())) {
            caller.waiter.forget();
            return Joined::Behind(held.clone());
        }
        let will_not_do = caller.fresh && flight.stage.is_reading();
        flight.callers.push(caller);
        self.counters.stampedes_prevented.fetch_add(1, Relaxed);
        if will_not_do {
            Joined::Reading(id)
        } else {
            Joined::Other
        }
    }

    /// Ends a flight and settles everyone by `outcome`.
    fn settle_flight(&self, id: u64, outcome: impl Fn(&Caller) -> Outcome) {
        if let Some(flight) = self.end_flight(id) {
            settle_all(flight.callers, outcome);
        }
    }

    /// Ends a flight whose value, if it has one, is not to be stored.
    fn end_flight(&self, id: u64) -> Option<Flight> {
        self.end(&mut self.flights.lock(), id)
    }

    /// The same with the flights locked: nobody joins it in between.
    fn end(&self, flights: &mut Flights, id: u64) -> Option<Flight> {
        let flight = flights.end(id)?;
        let _ = self.table.lock(&flight.key).end_flight(id);
        Some(flight)
    }

    /// One of the writes that nobody waits for is done.
    pub(super) fn finished_one(&self) {
        self.background.fetch_sub(1, SeqCst);
    }

    /// Whether nothing is pending that nobody waits for.
    pub(super) fn nothing_pending(&self) -> bool {
        let journaled = self.l2.as_ref().map_or(0, |l2| l2.journaled());
        self.background.load(SeqCst) == 0
            && journaled == 0
            && self.defers_nothing()
            && self.flights.lock().by_id.is_empty()
    }
}

fn settle_all(callers: Vec<Caller>, outcome: impl Fn(&Caller) -> Outcome) {
    for caller in callers {
        let outcome = if caller.served {
            Outcome::Undefined
        } else {
            outcome(&caller)
        };
        caller.waiter.settle(outcome);
    }
}

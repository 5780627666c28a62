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
mod joining;
mod landing;
mod lead;
mod leaving;
mod locking;
mod reading;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::joining::Loading;
pub(super) use self::lead::FlightClock;
use self::locking::Lock;
use super::{Cache, Key, Outcome, Waiter, outcome::Sink, read::Held};
use crate::{clock::NEVER, entry::wire::Stamp, resilience::patience::Rule, tags::Mark};

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
    wants: Wants,
    /// It began the flight.
    is_first: bool,
}

/// What a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// The value, cached or made; `strict`: the error of an unusable Redis rather than that.
    Value { strict: bool },
    /// What the factory makes now.
    Fresh,
    /// Nothing: it was served, and is there to run its factory should nobody else.
    Nothing,
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
        /// When `factorySoftTimeout` is over, as long as it is not.
        soft_until: Option<u64>,
        /// When `factoryTimeout` is over.
        until: u64,
    },
    /// Nobody waits any more. Whose factory it is, as long as that may come to an end.
    Late { leader: Arc<dyn Sink> },
}

/// What took too long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Redis.
    Read,
    /// The factory, for those who have something stale.
    SoftTimeout,
    /// The factory, for everybody.
    Factory,
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
            } => soft_until.map_or(*until, |soft| soft.min(*until)),
            Self::Late { .. } => NEVER,
        }
    }

    /// What is over at `now`, if anything is that its callers wait for.
    const fn due(&self, now: u64) -> Option<Due> {
        match self {
            Self::Reading { until, .. } if *until <= now => Some(Due::Read),
            Self::Running { until, .. } if *until <= now => Some(Due::Factory),
            Self::Running {
                soft_until: Some(until),
                ..
            } if *until <= now => Some(Due::SoftTimeout),
            Self::Reading { .. } | Self::Running { .. } | Self::Late { .. } => None,
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

    /// Whether somebody waits whom nothing that is cached will do.
    fn has_fresh_caller(&self) -> bool {
        let mut callers = self.callers.iter();
        callers.any(|caller| caller.wants == Wants::Fresh)
    }

    /// Whether callers get what is stale rather than wait for the factory.
    fn serves_stale(&self) -> bool {
        let waited_out = matches!(
            self.stage,
            Stage::Running {
                soft_until: None,
                ..
            }
        );
        waited_out || self.terms.factory_soft_ms.is_none()
    }
}

impl Caller {
    /// Whether it waits, and takes what is cached.
    const fn takes_cached(&self) -> bool {
        matches!(self.wants, Wants::Value { .. })
    }

    fn is_strict(&self) -> bool {
        self.wants == Wants::Value { strict: true }
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

impl Cache {
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
        let outcome = match caller.wants {
            Wants::Value { .. } | Wants::Fresh => outcome(&caller),
            Wants::Nothing => Outcome::Undefined,
        };
        caller.waiter.settle(outcome);
    }
}

//! Single flight: however many callers, in however many threads, ask `getOrSet` for a key, one of them runs the
//! factory and all get its outcome. JavaScript runs the factory; here is who waits, for how long, and whether the
//! result may still be stored.
//!
//! | stage | ends by | then |
//! |---|---|---|
//! | reading | Redis (or L1) has it | everyone gets it |
//! | | a miss, or no answer | running: the first caller whose environment lives is told to lead |
//! | | `l2SoftTimeout` | L1's unverified value, else running; who answers first then, Redis or the factory, serves everyone |
//! | running | the factory's value, nothing, or its error | everyone gets that; a value is stored if the key was not changed meanwhile |
//! | | Redis has it after all | everyone gets that; what the factory makes is dropped |
//! | | `factoryTimeout` | everyone gets `ERR_CACHE_FACTORY_TIMEOUT`; late |
//! | | the last caller left | the factory's signal is aborted; late |
//! | | the leader's environment ended | running, with another leader, or over |
//! | late | the factory's outcome | stored, if nothing newer was |

mod landing;
mod lead;
mod leaving;
mod reading;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

pub(super) use self::lead::FlightClock;
use super::{
    Cache, Key, Outcome, Waiter,
    outcome::Sink,
    read::{Begun, Found, Told},
};
use crate::{clock::NEVER, l2::port::Failure, resilience::patience::Rule};

/// The options of `getOrSet` that matter here.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Whether an unusable Redis rejects.
    pub strict: Option<bool>,
    /// How long the factory may take; `Some(None)`: as long as it likes.
    pub factory_timeout: Option<Option<Duration>>,
    /// How long to wait for Redis.
    pub soft_timeout: Option<Rule>,
    /// Whether to ignore what is cached.
    pub fresh: bool,
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
    factory_timeout: Option<Duration>,
}

struct Caller {
    waiter: Waiter,
    strict: bool,
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
        /// When `factoryTimeout` is over.
        until: u64,
    },
    Late,
}

impl Stage {
    /// Somebody is to be appointed, and nothing else is waited for.
    const fn open() -> Self {
        Self::Reading {
            since: 0,
            until: NEVER,
        }
    }

    fn until(&self) -> u64 {
        match self {
            Self::Reading { until, .. } | Self::Running { until, .. } => *until,
            Self::Late => NEVER,
        }
    }

    fn is_led_by(&self, sink: &Arc<dyn Sink>, by: u32) -> bool {
        matches!(self, Self::Running { leader, ticket, .. } if *ticket == by && Arc::ptr_eq(leader, sink))
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
    /// `getOrSet`, after L1 was asked and missed.
    pub fn load(
        self: &Arc<Self>,
        key: &Key,
        options: &LoadOptions,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(options.strict.or(self.config.loader.strict));
        if let Some(entry) = self.hit(key).filter(|_| !options.fresh) {
            self.counters.l1_hits.fetch_add(1, Relaxed);
            let outcome = waiter.value(entry.payload.clone());
            return waiter.now(outcome);
        }
        self.count_l1_miss();
        let caller = Caller { waiter, strict };
        let id = self.join(key, caller, options)?;
        if options.fresh {
            return self.lead_now(id, true);
        }
        let told = move |()| -> Told { Box::new(move |cache, found| cache.flight_read(id, found)) };
        match self.begin(key, (), told) {
            Begun::Hit(entry, ()) => {
                self.settle_flight(id, |caller| caller.waiter.value(entry.payload.clone()));
                None
            }
            Begun::Unasked(()) if self.l2.is_none() => self.lead_now(id, false),
            Begun::Unasked(()) => {
                self.flight_read(id, Found::Failed(Failure::Unavailable));
                None
            }
            Begun::Joined => self.wait_for_read(id, options.soft_timeout),
            Begun::Ask(operation) => {
                self.ask(vec![operation]);
                self.wait_for_read(id, options.soft_timeout)
            }
        }
    }

    /// Joins the flight of the key, or begins one and gives its id: then it is this caller's to go on. Nobody joins a flight whose key was changed since
    /// it began: its value may be from before the change.
    fn join(&self, key: &Key, caller: Caller, options: &LoadOptions) -> Option<u64> {
        let mut flights = self.flights.lock();
        if let Some(id) = flights.by_key.get(key).copied()
            && self.table.lock(key).is_flight(id)
            && let Some(flight) = flights.by_id.get_mut(&id)
        {
            flight.callers.push(caller);
            self.counters.stampedes_prevented.fetch_add(1, Relaxed);
            return None;
        }
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let flight = Flight {
            key: Arc::clone(key),
            callers: vec![caller],
            stage: Stage::open(),
            overwrite: false,
            era: self.era(),
            factory_timeout: options
                .factory_timeout
                .unwrap_or(self.config.loader.factory_timeout),
        };
        flights.by_key.insert(Arc::clone(key), id);
        flights.by_id.insert(id, flight);
        self.table.lock(key).begin_flight(id);
        Some(id)
    }

    /// Ends a flight and settles everyone by `outcome`.
    fn settle_flight(&self, id: u64, outcome: impl Fn(&Caller) -> Outcome) {
        if let Some(flight) = self.end_flight(id) {
            settle_all(flight.callers, outcome);
        }
    }

    /// Ends a flight whose value, if it has one, is not to be stored.
    fn end_flight(&self, id: u64) -> Option<Flight> {
        let flight = self.flights.lock().end(id)?;
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
        self.background.load(SeqCst) == 0 && journaled == 0 && self.flights.lock().by_id.is_empty()
    }
}

fn settle_all(callers: Vec<Caller>, outcome: impl Fn(&Caller) -> Outcome) {
    for caller in callers {
        let outcome = outcome(&caller);
        caller.waiter.settle(outcome);
    }
}

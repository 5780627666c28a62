//! How a load begins: with what L1 holds, in the flight of its key, or in one of its own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Caller, Flight, LoadOptions, Stage, Terms, Wants, fallback::Rest, locking::Lock};
use crate::{
    cache::{
        As, Cache, Key, Outcome, Waiter,
        order::Access,
        read::{Begun, Found, Held, Manner, Told},
    },
    clock,
    entry::Payload,
    l2::port::{Failure, Operation},
};

/// Ids are unique in the process: JavaScript keeps the flights of all caches in one map.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

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

/// How a load goes on.
pub enum Loading {
    /// It is over, or its caller is to lead, or has something already while its ticket goes on.
    Now(Outcome),
    /// Its ticket will be settled; it may yet be told to lead.
    Own,
    /// Its ticket will be settled, by somebody else's flight as far as is known.
    Other,
}

/// How a load begins.
enum Started {
    Known(Loading),
    /// Its flight reads: the question, if nobody asks it yet, and then [`Cache::wait_for_read`]. The outcome is the caller's
    /// at once.
    Reads(u64, Option<Operation>, Option<Outcome>),
}

impl Loading {
    /// In a flight of the caller's own.
    fn own(now: Option<Outcome>) -> Self {
        now.map_or(Self::Own, Self::Now)
    }
}

impl Started {
    const fn now(outcome: Outcome) -> Self {
        Self::Known(Loading::Now(outcome))
    }

    fn own(now: Option<Outcome>) -> Self {
        Self::Known(Loading::own(now))
    }
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
            Started::Known(Loading::Now(outcome)) => Some(outcome),
            Started::Known(Loading::Own | Loading::Other) => None,
            Started::Reads(id, operation, now) => {
                if let Some(operation) = operation {
                    self.ask(operation);
                }
                self.wait_for_read(id, options.soft_timeout, now)
            }
        }
    }

    /// Several loads, whose questions leave together.
    pub fn load_many(
        self: &Arc<Self>,
        loads: Vec<(Key, Waiter)>,
        options: &LoadOptions,
    ) -> Vec<Loading> {
        let (mut operations, mut started) = (Vec::new(), Vec::new());
        for (key, waiter) in loads {
            if self.defers(std::slice::from_ref(&key)) {
                let (asked, options) = (Arc::clone(&key), options.clone());
                self.in_turn(vec![key], Access::Changes, waiter, move |cache, waiter| {
                    cache.load(&asked, &options, waiter)
                });
                // Whoever gathers does not wait for it: it may yet join somebody else's flight.
                started.push(Started::Known(Loading::Other));
                continue;
            }
            started.push(match self.start_load(&key, options, waiter) {
                Started::Reads(id, operation, now) => {
                    operations.extend(operation);
                    Started::Reads(id, None, now)
                }
                known @ Started::Known(_) => known,
            });
        }
        self.ask_all(operations);
        let loading = |started| match started {
            Started::Known(loading) => loading,
            Started::Reads(id, _, now) => {
                Loading::own(self.wait_for_read(id, options.soft_timeout, now))
            }
        };
        started.into_iter().map(loading).collect()
    }

    fn start_load(self: &Arc<Self>, key: &Key, options: &LoadOptions, waiter: Waiter) -> Started {
        if self.is_closed() {
            waiter.forget();
            return Started::now(Outcome::Error(Self::closed_error()));
        }
        let is_renewal = options.behind;
        let mut stale = None;
        if !options.fresh {
            if let Some(entry) = self.hit(key).filter(|_| !is_renewal) {
                self.counters.l1_hits.count();
                let outcome = waiter.value(entry.payload.clone());
                waiter.forget();
                return Started::now(outcome);
            }
            stale = self.stale_in_l1(key).filter(|_| !is_renewal);
            match self.rest_of(key) {
                Some(Rest::Failed(flight, clone)) => {
                    self.count_l1_miss();
                    waiter.forget();
                    return Started::now(Outcome::FactoryFailed(flight, clone));
                }
                Some(Rest::Stale) if stale.is_some() || is_renewal => {
                    waiter.forget();
                    let outcome = stale.map(|held| Outcome::Value(self.hit_stale(held), As::Value));
                    return Started::now(outcome.unwrap_or(Outcome::Undefined));
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
        let wants = if now.is_some() || options.behind {
            Wants::Nothing
        } else if options.fresh {
            Wants::Fresh
        } else {
            let strict = options.strict.or(self.config.loader.strict);
            Wants::Value {
                strict: self.strict(strict),
            }
        };
        let caller = Caller {
            waiter,
            wants,
            is_first: false,
        };
        let id = match self.join(key, caller, options, stale) {
            Joined::Own(id) => id,
            Joined::Other if wants == Wants::Nothing => {
                let now = now.map(|payload| Outcome::Value(payload, As::Value));
                return Started::now(now.unwrap_or(Outcome::Undefined));
            }
            Joined::Other => return Started::Known(Loading::Other),
            Joined::Behind(held) => {
                self.count_stale(&held, 1);
                return Started::now(Outcome::Value(held.payload, As::Value));
            }
            Joined::Reading(id) => {
                self.lead(id, true);
                return Started::Known(Loading::Other);
            }
        };
        let now = now.map(|payload| Outcome::Stale(payload, As::Value));
        if options.fresh {
            return Started::own(self.lead_now(id, true).or(now));
        }
        let told = |()| Told::Other(Box::new(move |cache, found| cache.flight_read(id, found)));
        let manner = Manner {
            past_l1: options.behind,
            gentle: options.gentle,
        };
        match self.begin_as(manner, key, (), told) {
            Begun::Hit(entry, ()) => {
                self.settle_flight(id, |caller| caller.waiter.value(entry.payload.clone()));
                Started::own(now)
            }
            Begun::Unasked(()) if self.l2.is_none() => {
                Started::own(self.lead_now(id, false).or(now))
            }
            Begun::Unasked(()) => {
                self.flight_read(id, Found::Failed(Failure::Unavailable));
                Started::own(now)
            }
            Begun::Joined => Started::Reads(id, None, now),
            Begun::Ask(operation) => Started::Reads(id, Some(operation), now),
        }
    }

    /// A stale answer of L1.
    fn hit_stale(&self, held: Held) -> Payload {
        self.counters.l1_hits.count();
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
            callers: vec![Caller {
                is_first: true,
                ..caller
            }],
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
        if caller.wants == Wants::Nothing {
            caller.waiter.forget();
            return Joined::Other;
        }
        let stale = flight.stale.as_ref();
        let stale = stale.filter(|_| flight.serves_stale() && caller.takes_cached());
        if let Some(held) = stale.filter(|held| held.is_servable(clock::now())) {
            caller.waiter.forget();
            return Joined::Behind(held.clone());
        }
        let will_not_do = !caller.takes_cached() && flight.stage.is_reading();
        flight.callers.push(caller);
        self.counters.stampedes_prevented.fetch_add(1, Relaxed);
        if will_not_do {
            Joined::Reading(id)
        } else {
            Joined::Other
        }
    }
}

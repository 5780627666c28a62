//! Who runs the factory, and for how long the others wait for it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Caller, Due, Flight, Stage, Wants, locking::Lock, settle_all};
use crate::{
    cache::{Cache, Key, Outcome},
    clock::{self, NEVER, millis},
    error::{CacheError, Code},
    telemetry::counters::LoadResult,
};

/// When the flights are to be looked at next: one timer for all, since most factories are done long before.
pub(in crate::cache) struct FlightClock {
    /// `NEVER` while nobody looks.
    next: AtomicU64,
    sooner: Notify,
}

impl Default for FlightClock {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(NEVER),
            sooner: Notify::new(),
        }
    }
}

async fn watch(cache: Weak<Cache>, clock: Arc<FlightClock>) {
    while let Some(next) = cache.upgrade().and_then(|cache| cache.look_at_flights()) {
        let pause = Duration::from_millis(next.saturating_sub(clock::now()));
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = clock.sooner.notified() => (),
        }
    }
}

/// How whoever is to lead is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// By what is returned, if it is the caller who began the flight and is still on the stack.
    Return,
    Queue,
}

impl Cache {
    /// Has the factory run, by the caller who began the flight and is still on the stack if it waits: then it is told by what
    /// this returns.
    pub(super) fn lead_now(self: &Arc<Self>, id: u64, overwrite: bool) -> Option<Outcome> {
        if self.locks_first(id, overwrite) {
            return None;
        }
        self.appoint(id, overwrite, By::Return)
    }

    /// Has the factory run by the first caller whose environment lives.
    pub(super) fn lead(self: &Arc<Self>, id: u64, overwrite: bool) {
        if !self.locks_first(id, overwrite) {
            self.appoint(id, overwrite, By::Queue);
        }
    }

    /// Makes the first caller whose environment lives the leader, one who waits rather than one who is served.
    fn appoint(self: &Arc<Self>, id: u64, overwrite: bool, by: By) -> Option<Outcome> {
        let mut flights = self.flights.lock();
        let flight = flights.by_id.get_mut(&id)?;
        flight.overwrite |= overwrite;
        if !flight.stage.is_reading() {
            return None;
        }
        flight.callers.retain(Caller::lives);
        let is_waiting = |caller: &Caller| caller.wants != Wants::Nothing;
        let at = flight.callers.iter().position(is_waiting).unwrap_or(0);
        let leader = flight
            .callers
            .get(at)
            .and_then(|caller| caller.waiter.sink().map(Arc::clone));
        let Some(leader) = leader else {
            self.end(&mut flights, id);
            return None;
        };
        let Caller {
            wants, is_first, ..
        } = flight.callers[at];
        let after = |ms: Option<u64>| ms.map_or(NEVER, |ms| clock::now().saturating_add(ms));
        flight.stage = Stage::Running {
            leader,
            ticket: flight.callers[at].waiter.ticket(),
            since: Instant::now(),
            soft_until: Some(after(flight.terms.factory_soft_ms)),
            until: after(flight.terms.factory_timeout.map(millis)),
        };
        let stale = flight
            .stale
            .clone()
            .or_else(|| self.standing_in(&flight.key));
        let stale = stale.filter(|_| wants != Wants::Fresh);
        // Redis holds what is stale under the key, as far as is known.
        flight.overwrite |= stale.as_ref().is_some_and(|held| held.is_stale);
        let lead = Outcome::Lead(id, stale);
        // One who was served hears of it once he is off the stack.
        let now = if by == By::Return && is_first && wants != Wants::Nothing {
            Some(lead)
        } else {
            flight.callers[at].waiter.tell(lead);
            None
        };
        let (next, tags) = (flight.stage.until(), Arc::clone(&flight.terms.tags));
        let key = Arc::clone(&flight.key);
        // Where the server tells of changes, it tells of the expiry that a read brought about too.
        let is_pushed = self.l2.as_ref().is_some_and(|l2| l2.is_pushed(&key));
        let lenient = !flight.overwrite && is_pushed;
        self.table.lock(&key).lead_flight(id, lenient);
        if next != NEVER {
            self.watch_flights(next);
        }
        drop(flights);
        self.prepare_tags(id, &key, &tags);
        now
    }

    /// Asks for the versions under which the value will be stored while it is being made.
    fn prepare_tags(self: &Arc<Self>, id: u64, key: &Key, tags: &[Key]) {
        if !tags.is_empty() && self.stores(key) {
            let life_ms = self.config.loader.ttl_ms.unwrap_or(self.config.l2.ttl_ms);
            self.obtain(tags, life_ms, move |cache, obtained| {
                let mut flights = cache.flights.lock();
                if let (Ok(stamps), Some(flight)) = (obtained, flights.by_id.get_mut(&id)) {
                    flight.made_under = stamps.into();
                }
            });
        }
    }

    /// Sees to it that flights are looked at when the first of them is late. Call it under the lock of the flights.
    pub(super) fn watch_flights(self: &Arc<Self>, until: u64) {
        let before = self.flight_clock.next.fetch_min(until, SeqCst);
        if before == NEVER {
            self.runtime
                .spawn(watch(Arc::downgrade(self), Arc::clone(&self.flight_clock)));
        } else if until < before {
            self.flight_clock.sooner.notify_one();
        }
    }

    /// Ends the waits for factories that take too long; when to look again, if there is anything to look at.
    pub(super) fn look_at_flights(self: &Arc<Self>) -> Option<u64> {
        let now = clock::now();
        let due: Vec<(u64, Due)> = {
            let flights = self.flights.lock();
            let due = |(id, flight): (&u64, &Flight)| Some((*id, flight.stage.due(now)?));
            flights.by_id.iter().filter_map(due).collect()
        };
        for (id, due) in due {
            match due {
                Due::Read => self.read_is_slow(id),
                Due::SoftTimeout => self.factory_is_slow(id),
                Due::Factory => self.time_out(id, now),
            }
        }
        let flights = self.flights.lock();
        let next = flights
            .by_id
            .values()
            .map(|flight| flight.stage.until())
            .min();
        let next = next.unwrap_or(NEVER);
        self.flight_clock.next.store(next, SeqCst);
        (next != NEVER).then_some(next)
    }

    fn time_out(&self, id: u64, now: u64) {
        let is_due = |stage: &Stage| stage.due(now) == Some(Due::Factory);
        let Some(mut flight) = self.make_late(id, is_due) else {
            return;
        };
        let stale = self.fall_back(id, &flight);
        // Before anybody hears of it, so that who does finds it counted.
        self.counters.loads.count(match stale {
            Some(_) => LoadResult::Stale,
            None => LoadResult::Timeout,
        });
        let ms = flight.terms.factory_timeout.unwrap_or_default().as_millis();
        let text = format!("the factory took longer than factoryTimeout ({ms} ms)");
        if let Some(held) = &stale {
            self.serve_all(&mut flight.callers, held);
            self.warn_of_stale(&text);
        }
        let error = CacheError::new(Code::FactoryTimeout, text).key(self.shown(&flight.key));
        settle_all(flight.callers, |_| Outcome::Error(error.clone()));
    }

    /// Frees the key of a flight whose factory goes on, if it `is_due`; gives the flight as it was, with its callers.
    fn make_late(&self, id: u64, is_due: impl Fn(&Stage) -> bool) -> Option<Flight> {
        let mut flights = self.flights.lock();
        let flight = flights.by_id.get_mut(&id)?;
        let was = flight.make_late(is_due)?;
        flights.free(id);
        Some(was)
    }
}

impl Flight {
    /// Leaves only what the late value of a factory needs, if somebody leads and it `is_due`; gives what was.
    pub(super) fn make_late(&mut self, is_due: impl Fn(&Stage) -> bool) -> Option<Self> {
        let Stage::Running { leader, .. } = &self.stage else {
            return None;
        };
        if !is_due(&self.stage) {
            return None;
        }
        let late = Self {
            stage: Stage::Late {
                leader: Arc::clone(leader),
            },
            callers: Vec::new(),
            key: Arc::clone(&self.key),
            terms: self.terms.clone(),
            made_under: Arc::clone(&self.made_under),
            stale: None,
            lock: Lock::default(),
            ..*self
        };
        Some(std::mem::replace(self, late))
    }
}

//! Who runs the factory, and for how long the others wait for it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Caller, Flight, Stage, settle_all};
use crate::{
    cache::{Cache, Key, Outcome, Waiter},
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

impl Cache {
    /// Has the factory run by the caller who is still on the stack.
    pub(super) fn lead_now(self: &Arc<Self>, id: u64, overwrite: bool) -> Option<Outcome> {
        let told = self.appoint(id, overwrite, |_| ());
        told.then_some(Outcome::Lead(id))
    }

    /// Has the factory run by the first caller whose environment lives.
    pub(super) fn lead(self: &Arc<Self>, id: u64, overwrite: bool) {
        self.appoint(id, overwrite, |waiter| waiter.lead(id));
    }

    pub(super) fn appoint(
        self: &Arc<Self>,
        id: u64,
        overwrite: bool,
        tell: impl FnOnce(&Waiter),
    ) -> bool {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return false;
        };
        flight.overwrite |= overwrite;
        if !matches!(flight.stage, Stage::Reading { .. }) {
            return false;
        }
        flight
            .callers
            .retain(|caller| caller.waiter.sink().is_some_and(|sink| sink.alive()));
        let leader = flight
            .callers
            .first()
            .and_then(|caller| caller.waiter.sink().map(Arc::clone));
        let Some(leader) = leader else {
            drop(flights);
            self.end_flight(id);
            return false;
        };
        let since = Instant::now();
        let ticket = flight.callers[0].waiter.ticket();
        let until = flight
            .factory_timeout
            .map(|timeout| clock::now().saturating_add(millis(timeout)));
        flight.stage = Stage::Running {
            leader,
            ticket,
            since,
            until: until.unwrap_or(NEVER),
        };
        if let Some(until) = until {
            self.watch_flights(until);
        }
        tell(&flight.callers[0].waiter);
        true
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
        let late = {
            let flights = self.flights.lock();
            let late = flights
                .by_id
                .iter()
                .filter(|(_, flight)| flight.stage.until() <= now);
            let reads = |flight: &Flight| matches!(flight.stage, Stage::Reading { .. });
            late.map(|(id, flight)| (*id, reads(flight)))
                .collect::<Vec<_>>()
        };
        for (id, reads) in late {
            if reads {
                self.read_is_slow(id);
            } else {
                self.time_out(id, now);
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

    pub(super) fn time_out(&self, id: u64, now: u64) {
        let due = |stage: &Stage| matches!(stage, Stage::Running { until, .. } if *until <= now);
        let Some((callers, key, timeout)) = self.make_late(id, due) else {
            return;
        };
        self.counters.loads.count(LoadResult::Timeout);
        let ms = timeout.unwrap_or_default().as_millis();
        let text = format!("the factory took longer than factoryTimeout ({ms} ms)");
        let error = CacheError::new(Code::FactoryTimeout, text).key(self.shown(&key));
        settle_all(callers, |_| Outcome::Error(error.clone()));
    }

    /// Frees the key of a flight whose factory goes on; its callers, if `due`.
    pub(super) fn make_late(
        &self,
        id: u64,
        due: impl Fn(&Stage) -> bool,
    ) -> Option<(Vec<Caller>, Key, Option<Duration>)> {
        let mut flights = self.flights.lock();
        let flight = flights
            .by_id
            .get_mut(&id)
            .filter(|flight| due(&flight.stage))?;
        flight.stage = Stage::Late;
        let callers = std::mem::take(&mut flight.callers);
        let (key, timeout) = (Arc::clone(&flight.key), flight.factory_timeout);
        flights.free(id);
        Some((callers, key, timeout))
    }
}

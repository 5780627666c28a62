//! How long a flight waits for Redis, and what its answer, or the lack of one, does.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::Stage;
use crate::{
    cache::{Cache, Key, Outcome, read::Found},
    clock::{self, NEVER},
    l2::port::Failure,
    resilience::patience::Rule,
};

impl Cache {
    /// Redis is asked: waits for it as long as its own pace suggests, then has the value made.
    pub(super) fn wait_for_read(self: &Arc<Self>, id: u64, rule: Option<Rule>) -> Option<Outcome> {
        let rule = rule.or(self.config.loader.l2_soft_timeout.map(Rule::from));
        let key = Arc::clone(&self.flights.lock().by_id.get(&id)?.key);
        let patience = self.link_of(&key)?.patience(rule)?;
        let mut flights = self.flights.lock();
        let flight = flights.by_id.get_mut(&id)?;
        // Who is strict wants what Redis says; and it may have said it by now.
        let read = matches!(flight.stage, Stage::Reading { .. });
        if !read || flight.callers.iter().any(|caller| caller.strict) {
            return None;
        }
        let since = clock::now();
        let until = since.saturating_add(patience);
        flight.stage = Stage::Reading { since, until };
        if patience > 0 {
            self.watch_flights(until);
            return None;
        }
        drop(flights);
        self.counters.l2_soft_timeouts.fetch_add(1, Relaxed);
        if self.serve_unverified(id, &key) {
            return None;
        }
        self.lead_now(id, false)
    }

    /// The soft timeout of a flight is over.
    pub(super) fn read_is_slow(self: &Arc<Self>, id: u64) {
        let waited = {
            let mut flights = self.flights.lock();
            let Some(flight) = flights.by_id.get_mut(&id) else {
                return;
            };
            let Stage::Reading { since, until } = &mut flight.stage else {
                return;
            };
            *until = NEVER;
            let strict = flight.callers.iter().any(|caller| caller.strict);
            (!strict).then(|| (Arc::clone(&flight.key), *since))
        };
        let Some((key, since)) = waited else { return };
        if let Some(link) = self.link_of(&key) {
            link.waited_out(since);
        }
        self.counters.l2_soft_timeouts.fetch_add(1, Relaxed);
        if !self.serve_unverified(id, &key) {
            self.lead(id, false);
        }
    }

    /// Redis does not answer: ends a flight with what L1 holds, verified or not, if it holds anything.
    fn serve_unverified(&self, id: u64, key: &Key) -> bool {
        let held = self.unverified(key);
        if let Some(payload) = &held {
            self.settle_flight(id, |caller| caller.waiter.value(payload.clone()));
        }
        held.is_some()
    }

    /// What Redis said to a flight.
    pub(super) fn flight_read(self: &Arc<Self>, id: u64, found: Found) {
        match found {
            Found::Hit(payload) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                self.settle_flight(id, |caller| caller.waiter.value(payload.clone()));
            }
            Found::Miss(overwrite) => {
                self.counters.l2_misses.fetch_add(1, Relaxed);
                self.lead(id, overwrite);
            }
            Found::Failed(_) if self.is_running(id) => (),
            Found::Failed(failure) => {
                self.refuse_strict(id, &failure);
                let key = self
                    .flights
                    .lock()
                    .by_id
                    .get(&id)
                    .map(|flight| Arc::clone(&flight.key));
                if !key.is_some_and(|key| self.serve_unverified(id, &key)) {
                    // A key that is journaled holds what is no longer true: it may be overwritten.
                    self.lead(id, failure == Failure::Unavailable);
                }
            }
        }
    }

    /// Whether the factory of a flight was called before Redis answered.
    fn is_running(&self, id: u64) -> bool {
        let flights = self.flights.lock();
        let flight = flights.by_id.get(&id);
        flight.is_some_and(|flight| !matches!(flight.stage, Stage::Reading { .. }))
    }

    /// Callers who asked for strictness hear of a Redis that is not usable.
    fn refuse_strict(&self, id: u64, failure: &Failure) {
        let mut refused = Vec::new();
        let mut key = None;
        if let Some(flight) = self.flights.lock().by_id.get_mut(&id) {
            key = Some(Arc::clone(&flight.key));
            refused.extend(flight.callers.extract_if(.., |caller| caller.strict));
        }
        for caller in refused {
            let error = self.failed(failure, key.as_deref().unwrap_or_default());
            caller.waiter.settle(Outcome::Error(error));
        }
    }
}

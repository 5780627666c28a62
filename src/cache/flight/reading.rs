//! How long a flight waits for Redis, and what its answer, or the lack of one, does.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Caller, Flight, Stage, settle_all};
use crate::{
    cache::{
        Cache, Key, Outcome,
        read::{Found, Held},
    },
    clock::{self, NEVER},
    l2::port::Failure,
    resilience::patience::Rule,
};

impl Cache {
    /// Redis is asked: waits for it as long as its own pace suggests, then has the value made. `now` is the caller's
    /// already, if it is given: then it hears of all else by the queue.
    pub(super) fn wait_for_read(
        self: &Arc<Self>,
        id: u64,
        rule: Option<Rule>,
        now: Option<Outcome>,
    ) -> Option<Outcome> {
        let Some(key) = self.gives_up_on_read(id, rule) else {
            return now;
        };
        self.counters.l2_soft_timeouts.fetch_add(1, Relaxed);
        if self.serve_unverified(id, &key) {
            return now;
        }
        if now.is_some() {
            self.lead(id, false);
            return now;
        }
        self.lead_now(id, false)
    }

    /// The key of a flight that does not wait for Redis at all; one that does is looked at in time.
    fn gives_up_on_read(self: &Arc<Self>, id: u64, rule: Option<Rule>) -> Option<Key> {
        let rule = rule.or(self.config.loader.l2_soft_timeout.map(Rule::from));
        let key = Arc::clone(&self.flights.lock().by_id.get(&id)?.key);
        let patience = self.link_of(&key)?.patience(rule)?;
        let mut flights = self.flights.lock();
        let flight = flights.by_id.get_mut(&id)?;
        // Who is strict wants what Redis says; and it may have said it by now.
        if !flight.stage.is_reading() || flight.callers.iter().any(|caller| caller.strict) {
            return None;
        }
        let since = clock::now();
        let until = since.saturating_add(patience);
        flight.stage = Stage::Reading { since, until };
        if patience > 0 {
            self.watch_flights(until);
            return None;
        }
        Some(key)
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

    /// Redis does not answer: ends a flight with what L1 holds, verified or not, if it holds anything and that will do.
    fn serve_unverified(&self, id: u64, key: &Key) -> bool {
        let mut flights = self.flights.lock();
        let will_do = |flight: &Flight| flight.callers.iter().all(Caller::takes_cached);
        if !flights.by_id.get(&id).is_some_and(will_do) {
            return false;
        }
        let Some(payload) = self.unverified(key) else {
            return false;
        };
        let ended = self.end(&mut flights, id);
        drop(flights);
        let callers = ended.map(|flight| flight.callers).unwrap_or_default();
        settle_all(callers, |caller| caller.waiter.value(payload.clone()));
        true
    }

    /// What Redis said to a flight.
    pub(super) fn flight_read(self: &Arc<Self>, id: u64, found: Found) {
        match found {
            Found::Hit(held) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                self.found_fresh(id, &held);
            }
            Found::Stale(held) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                self.found_stale(id, &held);
            }
            Found::Miss(overwrite) => {
                self.counters.l2_misses.fetch_add(1, Relaxed);
                self.lead(id, overwrite);
            }
            Found::Failed(_) if self.is_running(id) => (),
            Found::Failed(failure) => {
                if failure.ambiguous() {
                    self.forgo_lease(id);
                }
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

    /// Redis has the value: everyone gets it who takes what is cached. If enough of its life is over, it is renewed behind
    /// them.
    fn found_fresh(self: &Arc<Self>, id: u64, held: &Held) {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return;
        };
        let is_due = flight.terms.eager.is_some_and(|share| held.spent >= share);
        let renews = is_due && self.rest_of(&flight.key).is_none();
        if renews || flight.callers.iter().any(|caller| caller.fresh) {
            flight.overwrite = true;
            flight.stale = renews.then(|| held.clone());
            self.serve(flight, held);
            drop(flights);
            self.lead(id, true);
            return;
        }
        let ended = self.end(&mut flights, id);
        drop(flights);
        let callers = ended.map(|flight| flight.callers).unwrap_or_default();
        settle_all(callers, |caller| caller.waiter.value(held.payload.clone()));
    }

    /// Whether the factory of a flight was called before Redis answered.
    fn is_running(&self, id: u64) -> bool {
        let flights = self.flights.lock();
        let flight = flights.by_id.get(&id);
        flight.is_some_and(|flight| !flight.stage.is_reading())
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

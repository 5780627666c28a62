//! How long a flight waits for Redis, and what its answer, or the lack of one, does.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Caller, Stage, settle_all};
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
        if !self.gives_up_on_read(id, rule) {
            return now;
        }
        self.counters.l2_soft_timeouts.fetch_add(1, Relaxed);
        if self.serve_unverified(id) {
            return now;
        }
        self.lead_now(id, false).or(now)
    }

    /// Whether a flight does not wait for Redis at all; one that does is looked at in time.
    fn gives_up_on_read(self: &Arc<Self>, id: u64, rule: Option<Rule>) -> bool {
        let rule = rule.or(self.config.loader.l2_soft_timeout.map(Rule::from));
        let Some(patience) = self.patience_of(id, rule) else {
            return false;
        };
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return false;
        };
        // Who is strict wants what Redis says; and it may have said it by now.
        if !flight.stage.is_reading() || flight.callers.iter().any(Caller::is_strict) {
            return false;
        }
        let since = clock::now();
        let until = since.saturating_add(patience);
        flight.stage = Stage::Reading { since, until };
        if patience > 0 {
            self.watch_flights(until);
        }
        patience == 0
    }

    /// How long a flight waits for Redis, in ms, if there is a limit.
    fn patience_of(&self, id: u64, rule: Option<Rule>) -> Option<u64> {
        let key = self.flight_key(id)?;
        self.link_of(&key)?.patience(rule)
    }

    fn flight_key(&self, id: u64) -> Option<Key> {
        let flights = self.flights.lock();
        flights.by_id.get(&id).map(|flight| Arc::clone(&flight.key))
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
            let strict = flight.callers.iter().any(Caller::is_strict);
            (!strict).then(|| (Arc::clone(&flight.key), *since))
        };
        let Some((key, since)) = waited else { return };
        if let Some(link) = self.link_of(&key) {
            link.waited_out(since);
        }
        self.counters.l2_soft_timeouts.fetch_add(1, Relaxed);
        if !self.serve_unverified(id) {
            self.lead(id, false);
        }
    }

    /// Redis does not answer: ends a flight with what L1 holds, verified or not, if it holds anything and that will do.
    fn serve_unverified(&self, id: u64) -> bool {
        let mut flights = self.flights.lock();
        let flight = flights.by_id.get(&id);
        let flight = flight.filter(|flight| flight.callers.iter().all(Caller::takes_cached));
        let Some(payload) = flight.and_then(|flight| self.unverified(&flight.key)) else {
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
                if !self.serve_unverified(id) {
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
        if renews || flight.has_fresh_caller() {
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
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return;
        };
        let key = Arc::clone(&flight.key);
        let strict = flight.callers.extract_if(.., |caller| caller.is_strict());
        let refused: Vec<Caller> = strict.collect();
        drop(flights);
        settle_all(refused, |_| Outcome::Error(self.failed(failure, &key)));
    }
}

//! What stands in for a value that cannot be made now: what is stale, and for how long its key is left alone after that.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::Bytes;

use super::{Caller, Flight, Hold, Stage, Wants, settle_all};
use crate::{
    cache::{Cache, Key, Outcome, read::Held},
    clock,
    entry::Entry,
};

/// What is the answer while a key rests.
pub(super) enum Rest {
    /// What is stale.
    Stale,
    /// The error of the flight, and its clone.
    Failed(u64, Option<Bytes>),
}

impl Held {
    /// What a loader may fall back on of an entry, if it may.
    fn fallback(entry: &Entry, now: u64) -> Option<Self> {
        let life = entry.life_until?;
        let until = life.max(entry.stale_until());
        (now < until).then(|| Self {
            payload: entry.payload.clone(),
            age_ms: now.saturating_sub(entry.made),
            spent: entry.spent(now),
            is_stale: life <= now,
            until,
            marks: entry.marks().into(),
        })
    }
}

impl Cache {
    /// What L1 holds under `key` past its life, if a loader may serve it without asking anybody: where nobody says what
    /// others change, Redis is asked first.
    pub(super) fn stale_in_l1(&self, key: &Key) -> Option<Held> {
        let now = clock::now();
        let entry = self.l1.as_ref()?.remembered(key)?;
        let held = Held::fallback(&entry, now).filter(|held| held.is_stale)?;
        (self.verified(key, &entry) && self.hears(key)).then_some(held)
    }

    /// What L1 holds under `key` that a loader may fall back on.
    pub(super) fn standing_in(&self, key: &Key) -> Option<Held> {
        let entry = self.l1.as_ref()?.remembered(key)?;
        Held::fallback(&entry, clock::now())
    }

    /// Whether the key rests after a failure of its factory.
    pub(super) fn rest_of(&self, key: &Key) -> Option<Rest> {
        let locked = self.table.lock(key);
        let hold = locked.held().filter(|hold| clock::now() < hold.until)?;
        Some(match &hold.error {
            Some((flight, clone)) => Rest::Failed(*flight, clone.clone()),
            None => Rest::Stale,
        })
    }

    /// What stands in for the value of a flight whose factory failed, unless its key or its tags were changed meanwhile. The
    /// key rests then.
    pub(super) fn fall_back(&self, id: u64, flight: &Flight) -> Option<Held> {
        let now = clock::now();
        let changed =
            flight.era != self.era() || self.tags_changed(&flight.terms.tags, flight.tag_changes);
        let mut locked = self.table.lock(&flight.key);
        if changed || !locked.is_flight(id) {
            return None;
        }
        let known = flight.stale.clone().filter(|held| held.is_servable(now));
        let held = known.or_else(|| self.standing_in(&flight.key))?;
        let until = now.saturating_add(flight.terms.retry_ms);
        let rest = Hold {
            until,
            error: None,
            is_early: !held.is_stale,
        };
        locked.hold(rest, |hold| hold.until <= now);
        Some(held)
    }

    /// Tells of a failure that its callers do not hear of.
    pub(super) fn warn_of_stale(&self, reason: &str) {
        let text = format!("a factory failed, and the value from before is served: {reason}");
        self.notices.warn("stale-served", &text);
    }

    /// Keeps the error of a flight's factory for those who ask for the key soon, if that was wished.
    pub(super) fn keep_error(&self, id: u64, flight: &Flight, clone: Option<&Bytes>) {
        let Some(ms) = flight.terms.error_ms.filter(|ms| *ms > 0) else {
            return;
        };
        let now = clock::now();
        let changed = self.tags_changed(&flight.terms.tags, flight.tag_changes);
        let mut locked = self.table.lock(&flight.key);
        if locked.is_flight(id) && flight.era == self.era() && !changed {
            let until = now.saturating_add(ms);
            let error = Some((id, clone.cloned()));
            let hold = Hold {
                until,
                error,
                is_early: false,
            };
            locked.hold(hold, |hold| hold.until <= now);
        }
    }

    /// Gives `held` to all of `callers` who take what is cached; the others stay.
    pub(super) fn serve_all(&self, callers: &mut Vec<Caller>, held: &Held) {
        let served: Vec<Caller> = callers
            .extract_if(.., |caller| caller.takes_cached())
            .collect();
        self.count_stale(held, served.len());
        settle_all(served, |caller| caller.waiter.value(held.payload.clone()));
    }

    /// The same in a flight that goes on: who leads, or is to lead since nobody else is there, stays, served.
    pub(super) fn serve(&self, flight: &mut Flight, held: &Held) {
        let callers = &mut flight.callers;
        let leads = |caller: &Caller| {
            let sink = caller.waiter.sink();
            sink.is_some_and(|sink| flight.stage.is_led_by(sink, caller.waiter.ticket()))
        };
        let stays = if flight.stage.is_reading() {
            let is_there = callers
                .iter()
                .any(|caller| !caller.takes_cached() && caller.lives());
            let first = || callers.iter().position(Caller::lives);
            (!is_there).then(first).flatten()
        } else {
            callers.iter().position(leads)
        };
        if let Some(at) = stays
            && callers[at].takes_cached()
        {
            let caller = &mut callers[at];
            caller
                .waiter
                .tell(caller.waiter.stale(held.payload.clone()));
            caller.wants = Wants::Nothing;
            self.count_stale(held, 1);
        }
        self.serve_all(callers, held);
    }

    pub(super) fn count_stale(&self, held: &Held, answers: usize) {
        if held.is_stale {
            self.counters
                .stale_served
                .fetch_add(answers as u64, Relaxed);
        }
    }

    /// Redis has the value of a flight, past its life.
    pub(super) fn found_stale(self: &Arc<Self>, id: u64, held: &Held) {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return;
        };
        flight.overwrite = true;
        flight.stale = Some(held.clone());
        let rests = self.rest_of(&flight.key).is_some();
        let at_once = rests || flight.serves_stale();
        if flight.stage.is_reading() {
            if rests && !flight.has_fresh_caller() {
                let ended = self.end(&mut flights, id);
                drop(flights);
                self.serve_ended(ended, held);
                return;
            }
            if at_once {
                self.serve(flight, held);
            }
            drop(flights);
            self.lead(id, true);
        } else if at_once {
            self.serve(flight, held);
        }
    }

    fn serve_ended(&self, ended: Option<Flight>, held: &Held) {
        if let Some(mut flight) = ended {
            self.serve_all(&mut flight.callers, held);
            settle_all(flight.callers, |_| Outcome::Undefined);
        }
    }

    /// `factorySoftTimeout` is over: what is stale is served, and the factory goes on behind.
    pub(super) fn factory_is_slow(&self, id: u64) {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return;
        };
        let Stage::Running { soft_until, .. } = &mut flight.stage else {
            return;
        };
        // Passed: what Redis still has to say is served when it comes.
        *soft_until = None;
        let known = flight.stale.clone();
        let known = known.filter(|held| held.is_servable(clock::now()));
        let stale = known.or_else(|| self.standing_in(&flight.key));
        let stale = stale.filter(|_| self.table.lock(&flight.key).is_flight(id));
        if let Some(held) = stale {
            self.serve(flight, &held);
            flight.stale = Some(held);
        }
    }
}

//! Callers who leave a flight: one whose signal aborted, or all of an environment that ended.

use std::sync::Arc;

use serde_json::json;

use super::{Caller, Flights, Stage};
use crate::cache::{
    Cache, Key,
    outcome::{Notice, Sink},
};

impl Flights {
    /// The flight and the place in it of a caller who asked for `key`: as a rule in the key's own flight, and only for a key that
    /// was changed since in another.
    fn find_caller(&self, key: &Key, is_it: impl Fn(&Caller) -> bool) -> Option<(u64, usize)> {
        let place = |id: &u64| Some((*id, self.by_id.get(id)?.callers.iter().position(&is_it)?));
        let own = self.by_key.get(key).and_then(place);
        own.or_else(|| self.by_id.keys().find_map(place))
    }
}

impl Cache {
    /// The caller of `ticket` no longer waits; `leads` if it runs the factory. When nobody waits any more, the factory is
    /// told; a lead that its caller did not live to hear of goes to the next. False if it is in no flight: then its end is
    /// on its way, or it waits behind a deferred write.
    pub fn leave(
        self: &Arc<Self>,
        sink: &Arc<dyn Sink>,
        key: &Key,
        ticket: u32,
        leads: bool,
    ) -> bool {
        let mut flights = self.flights.lock();
        let is_leaving = |caller: &Caller| caller.waiter.is(sink, ticket);
        let Some((id, at)) = flights.find_caller(key, is_leaving) else {
            return false;
        };
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return false;
        };
        flight.callers.remove(at).waiter.forget();
        let unheard = !leads && flight.stage.is_led_by(sink, ticket);
        if unheard {
            flight.stage = Stage::open();
        }
        let is_unwanted = flight.is_unwanted();
        drop(flights);
        if unheard {
            self.lead(id, false);
        } else if is_unwanted {
            self.abandon(id);
        }
        true
    }

    /// Ends a flight that nobody wants, or frees its key and tells its factory.
    pub(super) fn abandon(&self, id: u64) {
        let mut flights = self.flights.lock();
        let Some(flight) = flights
            .by_id
            .get_mut(&id)
            .filter(|flight| flight.is_unwanted())
        else {
            return;
        };
        let was = flight.make_late(|_| true);
        let ended = match &was {
            Some(_) => {
                flights.free(id);
                None
            }
            None => self.end(&mut flights, id),
        };
        drop(flights);
        if let Some(Stage::Running { leader, .. }) = was.as_ref().map(|flight| &flight.stage) {
            let body = json!({ "cache": self.id, "type": "abandoned", "flight": id });
            leader.notice(Notice::Event, body.to_string());
        }
        drop((was, ended));
    }

    /// An environment ended: its callers are gone, what it led goes to other callers, and nothing comes of its late
    /// factories.
    pub fn environment_ended(self: &Arc<Self>, sink: &Arc<dyn Sink>) {
        self.drop_locks_of(sink);
        let (mut led, mut unwanted, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for (id, flight) in &mut self.flights.lock().by_id {
            let is_own = |caller: &Caller| {
                caller
                    .waiter
                    .sink()
                    .is_some_and(|own| Arc::ptr_eq(own, sink))
            };
            let gone = flight.callers.extract_if(.., |caller| is_own(caller));
            gone.for_each(|caller| caller.waiter.forget());
            match &flight.stage {
                Stage::Running { leader, .. } if Arc::ptr_eq(leader, sink) => {
                    flight.stage = Stage::open();
                    led.push(*id);
                }
                Stage::Late { leader } if Arc::ptr_eq(leader, sink) => late.push(*id),
                Stage::Reading { .. } | Stage::Running { .. } | Stage::Late { .. } => {
                    unwanted.extend(flight.is_unwanted().then_some(*id));
                }
            }
        }
        for id in led {
            self.lead(id, false);
        }
        for id in unwanted {
            self.abandon(id);
        }
        for id in late {
            self.end_flight(id);
        }
    }
}

//! Callers who leave a flight: one whose signal aborted, or all of an environment that ended.

use std::sync::Arc;

use serde_json::json;

use super::{Caller, Flight, Stage};
use crate::cache::{
    Cache,
    outcome::{Notice, Sink},
};

impl Flight {
    /// Whether nobody has any use for its value.
    fn is_unwanted(&self) -> bool {
        self.callers.is_empty() && !self.behind
    }
}

impl Cache {
    /// The caller of `ticket` no longer waits; `leads` if it runs the factory. When nobody waits any more, the factory is
    /// told; a lead that its caller did not live to hear of goes to the next.
    pub fn leave(self: &Arc<Self>, sink: &Arc<dyn Sink>, ticket: u32, leads: bool) {
        let mut flights = self.flights.lock();
        let found = flights.by_id.iter_mut().find_map(|(id, flight)| {
            let left = |caller: &Caller| caller.waiter.is(sink, ticket);
            let at = flight.callers.iter().position(left)?;
            flight.callers.remove(at).waiter.forget();
            let unheard = !leads && flight.stage.is_led_by(sink, ticket);
            if unheard {
                flight.stage = Stage::open();
            }
            Some((*id, unheard, flight.is_unwanted()))
        });
        drop(flights);
        match found {
            Some((id, true, _)) => self.lead(id, false),
            Some((id, false, true)) => self.abandon(id),
            Some((_, false, false)) | None => (),
        }
    }

    fn abandon(&self, id: u64) {
        let leader = match self
            .flights
            .lock()
            .by_id
            .get(&id)
            .map(|flight| &flight.stage)
        {
            Some(Stage::Running { leader, .. }) => Some(Arc::clone(leader)),
            Some(Stage::Reading { .. } | Stage::Late) | None => None,
        };
        match leader {
            Some(leader) => {
                self.make_late(id, |_| true);
                let body = json!({ "cache": self.id, "type": "abandoned", "flight": id });
                leader.notice(Notice::Event, body.to_string());
            }
            None => drop(self.end_flight(id)),
        }
    }

    /// An environment ended: its callers are gone, and flights that it led go to other callers.
    pub fn environment_ended(self: &Arc<Self>, sink: &Arc<dyn Sink>) {
        self.drop_locks_of(sink);
        let mut orphans = Vec::new();
        {
            let mut flights = self.flights.lock();
            for (id, flight) in &mut flights.by_id {
                let gone = flight.callers.extract_if(.., |caller| {
                    caller
                        .waiter
                        .sink()
                        .is_some_and(|own| Arc::ptr_eq(own, sink))
                });
                gone.for_each(|caller| caller.waiter.forget());
                let led = matches!(&flight.stage, Stage::Running { leader, .. } if Arc::ptr_eq(leader, sink));
                if led {
                    flight.stage = Stage::open();
                }
                if led || flight.is_unwanted() {
                    orphans.push((*id, led));
                }
            }
        }
        for (id, led) in orphans {
            if led {
                self.lead(id, false);
            } else {
                self.abandon(id);
            }
        }
    }
}

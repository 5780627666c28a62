//! What a served link can be used for: follows the breaker, the ramp and the write gate, lets operations in or not, and
//! tells the application of the mode. The rules are `resilience`'s.

use super::link::Serving;
use crate::{
    clock,
    resilience::{
        breaker::{BreakerState, Outcome},
        mode::Mode,
    },
};

impl Serving<'_> {
    /// A command that somebody still waited for was answered.
    pub(super) fn judge(&mut self, generation: u64, outcome: Outcome) {
        let now = clock::now();
        let mut turned =
            self.lasting
                .breaker
                .on_result(now, generation, outcome, &mut fastrand::f64);
        if self.watch.ramp.on_result(outcome.is_good(), now) {
            turned |= self.lasting.breaker.trip(now, &mut fastrand::f64);
        }
        if turned {
            self.follow_breaker("most answers are late or errors");
        }
    }

    /// The server says that the plan's commands are used up: each further one may be billed.
    pub(super) fn quota_is_spent(&mut self) {
        let breaker = &mut self.lasting.breaker;
        let generation = breaker.generation();
        if breaker.on_quota(clock::now(), generation, &mut fastrand::f64) {
            self.follow_breaker("the plan's commands are used up");
        }
    }

    pub(super) fn open_if_well(&self) {
        if self.lasting.breaker.state() == BreakerState::Closed && !self.watch.is_probing() {
            self.link.port.open();
        }
    }

    /// Refuses or lets in operations as the breaker's new state says.
    fn follow_breaker(&mut self, trouble: &'static str) {
        let state = self.lasting.breaker.state();
        let (before, endpoint) = {
            let mut status = self.link.status.lock();
            let before = std::mem::replace(&mut status.breaker, state);
            (before, status.endpoint.clone())
        };
        let cache = self.link.cache;
        let was_closed = before == BreakerState::Closed;
        let is_closed = state == BreakerState::Closed;
        if was_closed && !is_closed {
            self.watch.ramp.stop();
            self.link.port.shut();
            tracing::error!(
                cache,
                event = "breaker-open",
                endpoint,
                "Redis answers badly, switched to memory: {trouble}"
            );
            self.enter_mode(trouble);
        } else if is_closed && !was_closed {
            self.watch.ramp.start(clock::now());
            tracing::info!(
                cache,
                event = "breaker-closed",
                endpoint,
                "Redis answers well again and is in use"
            );
            self.enter_mode("answers are good again");
            self.open_if_well();
        }
    }

    /// Tells the application of the tiers in use, if they changed.
    fn enter_mode(&mut self, reason: &str) {
        let share = self.watch.ramp.share(clock::now());
        self.link.port.admit_reads(share);
        let mode = Mode::of(
            self.lasting.breaker.state(),
            !self.link.port.is_whole(),
            !self.link.port.is_gated(),
            share,
        );
        self.setting
            .enter_mode(self.link, mode, reason.to_owned(), None);
    }

    /// Tells whether Redis is read from at all: not while everything in it waits to be removed.
    fn follow_journal(&mut self) {
        let whole = self.link.port.is_whole();
        if whole == std::mem::replace(&mut self.watch.was_whole, whole) {
            return;
        }
        let (cache, endpoint) = (self.link.cache, self.link.status.lock().endpoint.clone());
        if whole {
            tracing::error!(
                cache,
                event = "removing",
                endpoint,
                "Redis holds more that is no longer true than is remembered: it is not read from until all of it is removed"
            );
            self.enter_mode("what is no longer true is being removed");
        } else {
            tracing::info!(
                cache,
                event = "removed",
                endpoint,
                "Redis holds nothing any more that is not true and is in use"
            );
            self.enter_mode("what was no longer true is removed");
        }
    }

    /// Follows the write gate and the ramp, which change with replies and with time.
    pub(super) fn follow_condition(&mut self) {
        let step = self.watch.ramp.next_step();
        if step.is_some_and(|at| at <= clock::now()) {
            self.enter_mode("the server bears more again");
        }
        self.follow_journal();
        let gated = self.link.port.is_gated();
        if gated == std::mem::replace(&mut self.watch.was_gated, gated) {
            return;
        }
        let (cache, endpoint) = (self.link.cache, self.link.status.lock().endpoint.clone());
        if gated {
            let trouble = "the server refuses writes";
            tracing::error!(
                cache,
                event = "writes-refused",
                endpoint,
                "Redis refuses writes and is used for reads: what is written stays in memory"
            );
            self.enter_mode(trouble);
        } else {
            tracing::info!(
                cache,
                event = "writes-accepted",
                endpoint,
                "Redis takes writes again"
            );
            self.enter_mode("the server takes writes again");
        }
    }
}

//! How a factory's outcome reaches the callers, and a value the tiers.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;

use super::{Flight, Stage, settle_all};
use crate::{
    cache::{
        Cache, Key, Outcome,
        write::{Ttl, Write, WriteOptions},
    },
    clock,
    entry::Payload,
    l2::{commands::OnlyIf, port::Reply},
    telemetry::counters::LoadResult,
};

impl Cache {
    /// The factory's value: to L1, to the callers, to Redis. `skip`: to the callers only.
    pub fn loaded(
        self: &Arc<Self>,
        id: u64,
        payload: &Payload,
        options: &WriteOptions,
        skip: bool,
    ) {
        let Some(flight) = self.end_load(id, LoadResult::Ok) else {
            return;
        };
        if skip {
            let _ = self.table.lock(&flight.key).end_flight(id);
        } else {
            self.store_loaded(id, &flight, payload, options);
        }
        settle_all(flight.callers, |caller| {
            caller.waiter.value(payload.clone())
        });
    }

    /// Stores what a factory made, unless the key was changed while it ran. Redis takes it only where it has nothing,
    /// so that another process' newer value stays.
    fn store_loaded(
        self: &Arc<Self>,
        id: u64,
        flight: &Flight,
        payload: &Payload,
        options: &WriteOptions,
    ) {
        let (key, loader) = (&flight.key, &self.config.loader);
        let defaults = |ttl| loader.ttl_ms.map_or(ttl, Ttl::from);
        let options = WriteOptions {
            ttl: if options.ttl == Ttl::Default {
                defaults(options.ttl)
            } else {
                options.ttl
            },
            l1_ttl: options.l1_ttl.or(loader.l1_ttl_ms),
            stale_for: options.stale_for.or(loader.stale_for_ms),
            jitter: options.jitter.or(loader.jitter),
            ..options.clone()
        };
        let write = Write {
            key,
            payload: payload.clone(),
            options: &options,
        };
        let lives = self.lives(key, &options);
        let mut locked = self.table.lock(key);
        if !locked.end_flight(id) || flight.era != self.era() || self.being_removed(key) {
            return;
        }
        locked.mutate(|| self.put(&write, lives));
        if !self.stores(key) {
            return;
        }
        self.background.fetch_add(1, SeqCst);
        let (asked, own) = (Arc::clone(key), payload.data.clone());
        let done = move |cache: &Arc<Self>, reply: Reply| {
            cache.finished_one();
            if reply == Ok(redis::Value::Nil) {
                cache.forget_own(&asked, &own);
            }
        };
        if flight.overwrite || self.journaled(key) {
            let cmd = self.set_command(&write, lives, None);
            self.send_write(std::slice::from_ref(key), cmd, Box::new(done));
        } else {
            let cmd = self.set_command(&write, lives, Some(OnlyIf::Absent));
            self.send_conditional(key, cmd, Box::new(done));
        }
    }

    /// Redis had another process' value already: ours leaves L1, if it is still ours.
    fn forget_own(&self, key: &Key, own: &Bytes) {
        let Some(l1) = &self.l1 else { return };
        let mut locked = self.table.lock(key);
        if l1
            .remembered(key)
            .is_some_and(|entry| entry.payload.data.as_ptr() == own.as_ptr())
        {
            locked.mutate(|| l1.take(key));
        }
    }

    /// The factory gave nothing: nothing is stored.
    pub fn loaded_nothing(&self, id: u64) {
        if let Some(flight) = self.end_load(id, LoadResult::Ok) {
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| Outcome::Undefined);
        }
    }

    /// The factory failed; `clone` is its error for other environments.
    pub fn load_failed(&self, id: u64, clone: Option<&Bytes>) {
        if let Some(flight) = self.end_load(id, LoadResult::Error) {
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| {
                Outcome::FactoryFailed(id, clone.cloned())
            });
        }
    }

    fn end_load(&self, id: u64, result: LoadResult) -> Option<Flight> {
        let flight = self.flights.lock().end(id)?;
        if let Stage::Running { since, .. } = flight.stage {
            let elapsed = since.elapsed();
            self.counters.load_duration.record(elapsed);
            if let Some(link) = self.link_of(&flight.key) {
                link.patience.lock().note_factory(clock::millis(elapsed));
            }
            self.counters.loads.count(result);
        }
        Some(flight)
    }
}

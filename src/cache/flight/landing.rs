//! How a factory's outcome reaches the callers, and a value the tiers.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;

use super::{Flight, Stage, locking::Lock, settle_all};
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
        let Some(mut flight) = self.end_load(id) else {
            return;
        };
        self.count_load(&flight, LoadResult::Ok);
        if skip {
            let _ = self.table.lock(&flight.key).end_flight(id);
        } else {
            let lock = std::mem::take(&mut flight.lock);
            self.store_loaded(id, &flight, lock, payload, options);
        }
        settle_all(flight.callers, |caller| {
            caller.waiter.loaded(payload.clone())
        });
    }

    /// Stores what a factory made, unless the key or one of its tags was changed while it ran. Redis takes it only where it
    /// has nothing, so that another process' newer value stays. The lease is given back once it has.
    fn store_loaded(
        self: &Arc<Self>,
        id: u64,
        flight: &Flight,
        lock: Lock,
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
            made_under: Arc::clone(&flight.made_under),
            ..options.clone()
        };
        let write = Write {
            key,
            payload: payload.clone(),
            options: &options,
        };
        let lives = self.lives(key, &options);
        let mut locked = self.table.lock(key);
        let is_current = locked.end_flight(id) && flight.era == self.era();
        if !is_current || self.being_removed(key) || self.retagged(flight, &options) {
            return;
        }
        locked.mutate(|| self.put(&write, lives));
        if !self.stores(key) {
            return;
        }
        self.background.fetch_add(1, SeqCst);
        let (asked, own) = (Arc::clone(key), payload.data.clone());
        let done = move |cache: &Arc<Self>, reply: Reply| {
            drop(lock);
            cache.finished_one();
            if reply == Ok(redis::Value::Nil) {
                cache.forget_own(&asked, &own);
            }
        };
        let overwrites = flight.overwrite || self.journaled(key);
        let only_if = (!overwrites).then_some(OnlyIf::Absent);
        self.send_value(locked, &write, lives, only_if, Box::new(done));
    }

    /// Whether a tag of the value that a flight brought may have been invalidated since the flight began.
    fn retagged(&self, flight: &Flight, options: &WriteOptions) -> bool {
        let changed = |tags| self.tags_changed(tags, flight.tag_changes);
        changed(&flight.terms.tags) || changed(&options.tags)
    }

    /// Redis had another process' value already: ours leaves L1, if it is still ours.
    fn forget_own(&self, key: &Key, own: &Bytes) {
        let Some(l1) = &self.l1 else { return };
        let mut locked = self.table.lock(key);
        match l1.remembered(key) {
            Some(entry) if entry.payload.data.as_ptr() == own.as_ptr() => {
                locked.mutate(|| l1.take(key));
            }
            Some(_) => (),
            // It may be evicted already, and in JavaScript's hands.
            None => locked.cover(),
        }
    }

    /// The factory gave nothing: nothing is stored.
    pub fn loaded_nothing(&self, id: u64) {
        if let Some(flight) = self.end_load(id) {
            self.count_load(&flight, LoadResult::Ok);
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| Outcome::Undefined);
        }
    }

    /// The factory's value cannot be stored: it goes to the callers past the tiers, as `clone` to those in other environments.
    pub fn loaded_unstorable(&self, id: u64, clone: Option<&Bytes>) {
        if let Some(flight) = self.end_load(id) {
            self.count_load(&flight, LoadResult::Ok);
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| {
                Outcome::FactoryFailed(id, clone.cloned())
            });
        }
    }

    /// The factory failed; `clone` is its error for other environments, `reason` its text. If something stale stands in for
    /// its value, nobody else hears of the error. One that nobody waits for any more, since it took too long or was aborted,
    /// has failed before.
    pub fn load_failed(&self, id: u64, clone: Option<&Bytes>, reason: &str) {
        let Some(mut flight) = self.end_load(id) else {
            return;
        };
        let is_news = matches!(flight.stage, Stage::Running { .. });
        let stale = is_news.then(|| self.fall_back(id, &flight)).flatten();
        let result = stale
            .as_ref()
            .map_or(LoadResult::Error, |_| LoadResult::Stale);
        self.count_load(&flight, result);
        if let Some(held) = &stale {
            self.serve_all(&mut flight.callers, held);
            self.warn_of_stale(reason);
        } else if is_news {
            self.keep_error(id, &flight, clone);
        }
        let _ = self.table.lock(&flight.key).end_flight(id);
        settle_all(flight.callers, |_| {
            Outcome::FactoryFailed(id, clone.cloned())
        });
    }

    /// A flight whose factory has an outcome.
    fn end_load(&self, id: u64) -> Option<Flight> {
        self.flights.lock().end(id)
    }

    /// Counts how a factory ended, unless its flight was given up before.
    fn count_load(&self, flight: &Flight, result: LoadResult) {
        let Stage::Running { since, .. } = flight.stage else {
            return;
        };
        let elapsed = since.elapsed();
        self.counters.load_duration.record(elapsed);
        if let Some(link) = self.link_of(&flight.key) {
            link.patience.lock().note_factory(clock::millis(elapsed));
        }
        self.counters.loads.count(result);
    }
}

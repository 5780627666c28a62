//! Several keys in one call: each goes its own way, and the last one to arrive settles the caller.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use parking_lot::Mutex;

use super::{
    Cache, Key, Outcome, Waiter,
    read::{Begun, Found, Told},
    write::{Write, WriteOptions},
};
use crate::{
    clock,
    entry::Payload,
    error::CacheError,
    l2::port::{Failure, Reply},
};

impl Cache {
    /// The values under `keys`, in their order; duplicates are asked for once.
    pub fn get_many(
        self: &Arc<Self>,
        keys: &[Key],
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        let gather = Arc::new(Gather::new(keys.len(), waiter));
        let (mut operations, now) = (Vec::new(), clock::now());
        for (at, key) in keys.iter().enumerate() {
            if let Some((entry, _)) = self.hit_until(key, now) {
                self.counters.l1_hits.count();
                gather.put(at, Ok(Some(entry.payload.clone())));
                continue;
            }
            let told = |()| Told::Gathering(Arc::clone(&gather), at, strict);
            match self.begin(key, (), told) {
                Begun::Hit(entry, ()) => {
                    self.counters.l1_hits.count();
                    gather.put(at, Ok(Some(entry.payload.clone())));
                    continue;
                }
                Begun::Unasked(()) => gather.put(
                    at,
                    self.found(key, Found::Failed(Failure::Unavailable), strict),
                ),
                Begun::Joined => (),
                Begun::Ask(operation) => operations.push(operation),
            }
            self.count_l1_miss();
        }
        self.ask_all(operations);
        gather.now()
    }

    /// Stores several values; settles once all are.
    pub fn set_many(
        self: &Arc<Self>,
        writes: Vec<(Key, Payload, WriteOptions)>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let all = Arc::new(All::new(writes.len(), waiter));
        for (key, payload, options) in writes {
            let strict = self.strict(options.strict);
            let write = Write {
                key: &key,
                payload,
                options: &options,
            };
            if strict
                && write.payload.data.len() > self.config.l2.max_value_bytes
                && self.l2.is_some()
            {
                all.done(Some(self.too_large(&key, &write.payload)));
            } else if !self.stores(&key) {
                self.put_away(&write);
                all.done(
                    (strict && self.l2.is_some()).then(|| self.failed(&Failure::Unavailable, &key)),
                );
            } else if options.no_wait {
                all.done(None);
                self.background.fetch_add(1, SeqCst);
                self.store(&write, Box::new(|cache, _| cache.finished_one()));
            } else {
                let (all, asked) = (Arc::clone(&all), Arc::clone(&key));
                let told = move |cache: &Arc<Self>, reply: Reply| {
                    all.done(
                        reply
                            .err()
                            .filter(|_| strict)
                            .map(|failure| cache.failed(&failure, &asked)),
                    );
                };
                self.store(&write, Box::new(told));
            }
        }
        all.now()
    }
}

/// Collects the values of `get_many`; the last one settles the waiter.
pub struct Gather {
    slots: Mutex<Vec<Option<Payload>>>,
    error: Mutex<Option<CacheError>>,
    /// Values that are missing, and one for the caller who is still on the stack.
    missing: AtomicUsize,
    waiter: Mutex<Option<Waiter>>,
}

impl Gather {
    fn new(count: usize, waiter: Waiter) -> Self {
        Self {
            slots: Mutex::new(vec![None; count]),
            error: Mutex::new(None),
            missing: AtomicUsize::new(count + 1),
            waiter: Mutex::new(Some(waiter)),
        }
    }

    pub(super) fn put(&self, at: usize, found: Result<Option<Payload>, CacheError>) {
        match found {
            Ok(payload) => self.slots.lock()[at] = payload,
            Err(error) => *self.error.lock() = Some(error),
        }
        if let Some((waiter, outcome)) = self.arrived() {
            waiter.settle(outcome);
        }
    }

    /// The outcome, if everything is there already.
    fn now(&self) -> Option<Outcome> {
        let (waiter, outcome) = self.arrived()?;
        waiter.now(outcome)
    }

    fn arrived(&self) -> Option<(Waiter, Outcome)> {
        if self.missing.fetch_sub(1, SeqCst) > 1 {
            return None;
        }
        let waiter = self.waiter.lock().take()?;
        let outcome = match self.error.lock().take() {
            Some(error) => Outcome::Error(error),
            None => Outcome::Many(std::mem::take(&mut *self.slots.lock())),
        };
        Some((waiter, outcome))
    }
}

/// Counts down several writes and settles their one waiter with the first error, if there was one.
pub struct All {
    /// Writes that are not done, and one for the caller who is still on the stack.
    missing: AtomicUsize,
    error: Mutex<Option<CacheError>>,
    waiter: Mutex<Option<Waiter>>,
}

impl All {
    /// For `count` writes.
    #[must_use]
    pub fn new(count: usize, waiter: Waiter) -> Self {
        Self {
            missing: AtomicUsize::new(count + 1),
            error: Mutex::new(None),
            waiter: Mutex::new(Some(waiter)),
        }
    }

    /// One is done.
    pub fn done(&self, error: Option<CacheError>) {
        if let Some(error) = error {
            self.error.lock().get_or_insert(error);
        }
        if let Some((waiter, outcome)) = self.arrived() {
            waiter.settle(outcome);
        }
    }

    /// The outcome, if all are done already.
    pub fn now(&self) -> Option<Outcome> {
        let (waiter, outcome) = self.arrived()?;
        waiter.now(outcome)
    }

    fn arrived(&self) -> Option<(Waiter, Outcome)> {
        if self.missing.fetch_sub(1, SeqCst) > 1 {
            return None;
        }
        let waiter = self.waiter.lock().take()?;
        let error = self.error.lock().take();
        Some((waiter, error.map_or(Outcome::Undefined, Outcome::Error)))
    }
}

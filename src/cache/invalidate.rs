//! Removing one key or many, of both tiers: nothing that is under way may bring back what was removed.

use std::sync::{
    Arc,
    atomic::{
        AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use parking_lot::Mutex;
use redis::Value;

use super::{Cache, Key, Outcome, Waiter};
use crate::{
    l2::{
        commands,
        port::{Failure, Reply},
    },
    resilience::gate::Kind,
};

impl Cache {
    /// Removes `key`; true if either tier had it.
    pub fn delete(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        self.counters.l1_deletes.fetch_add(1, Relaxed);
        let mut locked = self.table.lock(key);
        let had = locked.mutate(|| self.drop_from_l1(key));
        if !self.takes(key, Kind::Deletion) {
            self.distrust(key);
            return waiter.now(self.away(key, strict, Outcome::Bool(had)));
        }
        let asked = Arc::clone(key);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                Ok(value) => Outcome::Bool(had || commands::integer(&value) > Some(0)),
                Err(failure) if strict => Outcome::Error(cache.failed(&failure, &asked)),
                Err(_) => Outcome::Bool(had),
            });
        };
        self.send_write(&[Arc::clone(key)], commands::unlink(&[key]), Box::new(told));
        drop(locked);
        None
    }

    /// Removes `keys` with one command; the number that either tier had.
    pub fn delete_many(
        self: &Arc<Self>,
        mut keys: Vec<Key>,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        keys.sort_unstable();
        keys.dedup();
        self.counters
            .l1_deletes
            .fetch_add(keys.len() as u64, Relaxed);
        if keys.is_empty() {
            return waiter.now(count(0));
        }
        let removal = Arc::new(Removal::new(strict, waiter));
        let counting = Arc::clone(&removal);
        let drop_one = move |key: &Key| {
            counting
                .local
                .fetch_add(usize::from(self.drop_from_l1(key)), Relaxed);
        };
        let groups = match &self.l2 {
            Some(l2) => l2.groups(keys.clone()),
            None => Vec::new(),
        };
        self.table.mutate_all(&keys, drop_one, || {
            for keys in groups {
                self.remove_group(&keys, &removal);
            }
        });
        removal.settle_last(self, true)
    }

    /// Deletes keys that one command may name, or journals them.
    fn remove_group(self: &Arc<Self>, keys: &[Key], removal: &Arc<Removal>) {
        if !self.takes(&keys[0], Kind::Deletion) {
            for key in keys {
                self.distrust(key);
            }
            removal.note(&Err(Failure::Unavailable));
            return;
        }
        removal.missing.fetch_add(1, SeqCst);
        let removal = Arc::clone(removal);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            removal.note(&reply);
            removal.settle_last(cache, false);
        };
        self.send_write(keys, commands::unlink(keys), Box::new(told));
    }

    /// Removes a key that turned out to be damaged.
    pub(super) fn discard(self: &Arc<Self>, key: &Key) {
        let mut locked = self.table.lock(key);
        locked.mutate(|| self.drop_from_l1(key));
        self.send_write(
            &[Arc::clone(key)],
            commands::unlink(&[key]),
            Box::new(|_, _| ()),
        );
        drop(locked);
        self.wake();
    }
}

/// The number in a reply, 0 if there is none.
pub(super) fn number(value: &Value) -> usize {
    commands::integer(value)
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(0)
}

pub(super) fn count(number: usize) -> Outcome {
    #[expect(clippy::cast_precision_loss, reason = "no cache has 2^53 keys")]
    Outcome::Number(number as f64)
}

/// Counts down the commands that delete several keys, and settles their one waiter.
struct Removal {
    /// Commands that are not answered, and one for the caller who is still on the stack.
    missing: AtomicUsize,
    /// What L1 had, and what Redis had.
    local: AtomicUsize,
    removed: AtomicUsize,
    failed: Mutex<Option<Failure>>,
    strict: bool,
    waiter: Mutex<Option<Waiter>>,
}

impl Removal {
    fn new(strict: bool, waiter: Waiter) -> Self {
        Self {
            missing: AtomicUsize::new(1),
            local: AtomicUsize::new(0),
            removed: AtomicUsize::new(0),
            failed: Mutex::new(None),
            strict,
            waiter: Mutex::new(Some(waiter)),
        }
    }

    fn note(&self, reply: &Reply) {
        match reply {
            Ok(value) => drop(self.removed.fetch_add(number(value), Relaxed)),
            Err(failure) => *self.failed.lock() = Some(failure.clone()),
        }
    }

    /// Settles if nothing is missing any more; gives the outcome to one who is still on the stack.
    fn settle_last(&self, cache: &Cache, on_stack: bool) -> Option<Outcome> {
        if self.missing.fetch_sub(1, SeqCst) > 1 {
            return None;
        }
        let waiter = self.waiter.lock().take()?;
        // Redis counts what it had; what only L1 had is not told apart from what both had.
        let outcome = match self.failed.lock().take() {
            Some(failure) if self.strict => Outcome::Error(cache.failed(&failure, b"")),
            Some(_) | None => count(self.local.load(Relaxed).max(self.removed.load(Relaxed))),
        };
        if on_stack {
            return waiter.now(outcome);
        }
        waiter.settle(outcome);
        None
    }
}

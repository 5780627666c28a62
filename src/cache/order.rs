//! Call order where a write has to wait: one whose tags' versions are not known yet is deferred, and what is asked of its key
//! meanwhile waits behind it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use parking_lot::Mutex;

use super::{Cache, Key, Outcome, Waiter};

/// An operation that waits.
type Step = Box<dyn FnOnce(&Arc<Cache>) + Send>;

/// The keys with deferred writes: how many each has, and what waits behind them.
#[derive(Default)]
pub(super) struct Deferred {
    keys: Mutex<HashMap<Key, (usize, VecDeque<Step>)>>,
    /// Seen without the lock, so that an operation costs nothing as long as nothing is deferred.
    count: AtomicUsize,
}

/// An operation that waits for several keys.
struct Turn {
    keys: Vec<Key>,
    /// Keys at which its turn has not come.
    missing: AtomicUsize,
    step: Mutex<Option<Step>>,
}

impl Deferred {
    /// A write of `key`, or something behind one, is deferred.
    pub(super) fn begin(&self, key: &Key) {
        let mut keys = self.keys.lock();
        keys.entry(Arc::clone(key)).or_default().0 += 1;
        self.count.store(keys.len(), SeqCst);
    }

    /// Whether a write of the key is deferred.
    fn has(&self, key: &[u8]) -> bool {
        self.count.load(SeqCst) > 0 && self.keys.lock().contains_key(key)
    }

    /// The keys that have deferred writes.
    fn keys(&self) -> Vec<Key> {
        if self.count.load(SeqCst) == 0 {
            return Vec::new();
        }
        self.keys.lock().keys().map(Arc::clone).collect()
    }

    /// Adds a step behind the key's deferred write, or gives it back if there is none.
    fn push(&self, key: &[u8], step: Step) -> Option<Step> {
        match self.keys.lock().get_mut(key) {
            Some((_, steps)) => {
                steps.push_back(step);
                None
            }
            None => Some(step),
        }
    }

    /// A deferred write of `key` is over; with the last one what waited behind it goes on.
    fn end(&self, key: &Key) -> VecDeque<Step> {
        let mut keys = self.keys.lock();
        let Some((count, _)) = keys.get_mut(key) else {
            return VecDeque::new();
        };
        *count -= 1;
        let is_last = *count == 0;
        let steps = is_last.then(|| keys.remove(key)).flatten();
        self.count.store(keys.len(), SeqCst);
        steps.map(|(_, steps)| steps).unwrap_or_default()
    }
}

impl Cache {
    /// Whether one of `keys` has a deferred write.
    #[must_use]
    pub fn defers(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.deferred.has(key))
    }

    /// The keys that have deferred writes, for what concerns many keys.
    #[must_use]
    pub fn deferred_keys(&self) -> Vec<Key> {
        self.deferred.keys()
    }

    /// Carries out `operation` behind the deferred writes of `keys`; what is asked of them later waits behind it.
    pub fn in_turn(
        self: &Arc<Self>,
        keys: &[Key],
        waiter: Waiter,
        operation: impl FnOnce(&Arc<Self>, Waiter) -> Option<Outcome> + Send + 'static,
    ) -> Option<Outcome> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let (claim, ticket) = (waiter.sink().map(Arc::clone), waiter.ticket());
        let step = move |cache: &Arc<Self>| {
            let outcome = operation(cache, waiter);
            if let (Some(outcome), Some(sink)) = (outcome, claim) {
                sink.settle(ticket, outcome);
            }
        };
        let turn = Arc::new(Turn {
            missing: AtomicUsize::new(keys.len()),
            keys,
            step: Mutex::new(Some(Box::new(step))),
        });
        for key in &turn.keys {
            let (turn, own) = (Arc::clone(&turn), Arc::clone(key));
            let arrive: Step = Box::new(move |cache| cache.arrive(&turn, &own));
            if let Some(arrive) = self.deferred.push(key, arrive) {
                arrive(self);
            }
        }
        None
    }

    /// The turn of an operation has come at one of its keys; at the last of them it is carried out.
    fn arrive(self: &Arc<Self>, turn: &Turn, key: &Key) {
        self.deferred.begin(key);
        if turn.missing.fetch_sub(1, SeqCst) > 1 {
            return;
        }
        let step = turn.step.lock().take();
        if let Some(step) = step {
            step(self);
        }
        for key in &turn.keys {
            self.go_on(key);
        }
        self.wake();
    }

    /// A deferred write of `key` is over: what waited behind it goes on, in order.
    pub(super) fn go_on(self: &Arc<Self>, key: &Key) {
        for step in self.deferred.end(key) {
            // One of them may have been deferred in its turn.
            if let Some(step) = self.deferred.push(key, step) {
                step(self);
            }
        }
    }
}

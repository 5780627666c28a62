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

/// What waits at a key.
#[derive(Default)]
struct Queue {
    /// Deferred writes of the key, and operations on several keys whose turn has come here.
    ahead: usize,
    steps: VecDeque<Step>,
    /// A step is being carried out.
    running: bool,
}

/// The keys at which something waits.
#[derive(Default)]
pub(super) struct Deferred {
    queues: Mutex<HashMap<Key, Queue>>,
    /// Seen without the lock, so that an operation costs nothing as long as nothing is deferred.
    count: AtomicUsize,
}

/// An operation that waits for the keys it is about.
struct Turn {
    keys: Vec<Key>,
    /// Keys at which its turn has not come.
    missing: AtomicUsize,
    step: Mutex<Option<Step>>,
}

impl Deferred {
    /// A write of `key` is deferred.
    pub(super) fn begin(&self, key: &Key) {
        let mut queues = self.queues.lock();
        queues.entry(Arc::clone(key)).or_default().ahead += 1;
        self.count.store(queues.len(), SeqCst);
    }

    fn is_idle(&self) -> bool {
        self.count.load(SeqCst) == 0
    }

    fn has(&self, key: &[u8]) -> bool {
        !self.is_idle() && self.queues.lock().contains_key(key)
    }

    /// Whether an operation waits at the key: what L1 holds may be from before it.
    fn is_awaited(&self, key: &[u8]) -> bool {
        let waits = |queue: &Queue| !queue.steps.is_empty() || queue.running;
        !self.is_idle() && self.queues.lock().get(key).is_some_and(waits)
    }

    fn keys(&self) -> Vec<Key> {
        if self.is_idle() {
            return Vec::new();
        }
        self.queues.lock().keys().map(Arc::clone).collect()
    }

    /// Lines up for all keys at once, so that no two operations wait for each other. At how many of them its turn has come.
    fn line_up(&self, turn: &Arc<Turn>) -> usize {
        let mut queues = self.queues.lock();
        let mut come = 0;
        for key in &turn.keys {
            if let Some(queue) = queues.get_mut(key) {
                let (turn, own) = (Arc::clone(turn), Arc::clone(key));
                let arrive = move |cache: &Arc<Cache>| {
                    cache.deferred.begin(&own);
                    cache.arrive(&turn, 1);
                };
                queue.steps.push_back(Box::new(arrive));
            } else {
                queues.entry(Arc::clone(key)).or_default().ahead += 1;
                come += 1;
            }
        }
        self.count.store(queues.len(), SeqCst);
        come
    }

    /// What was ahead at `key` is over.
    fn end(&self, key: &Key) {
        if let Some(queue) = self.queues.lock().get_mut(key) {
            queue.ahead -= 1;
        }
    }

    /// The next step at `key`, if its turn has come and nobody is at it.
    fn next(&self, key: &Key) -> Option<Step> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(key)?;
        if queue.running || queue.ahead > 0 {
            return None;
        }
        let step = queue.steps.pop_front();
        if step.is_some() {
            queue.running = true;
        } else {
            queues.remove(key);
        }
        self.count.store(queues.len(), SeqCst);
        step
    }

    fn done(&self, key: &Key) {
        if let Some(queue) = self.queues.lock().get_mut(key) {
            queue.running = false;
        }
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

    /// Whether an operation on the key waits: then those that come later wait behind it, hits in L1 too.
    #[must_use]
    pub fn is_awaited(&self, key: &[u8]) -> bool {
        self.deferred.is_awaited(key)
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
        let come = self.deferred.line_up(&turn);
        self.arrive(&turn, come);
        None
    }

    /// The turn of an operation has come at so many more of its keys; with the last of them it is carried out.
    fn arrive(self: &Arc<Self>, turn: &Turn, come: usize) {
        if come == 0 || turn.missing.fetch_sub(come, SeqCst) > come {
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

    /// What was ahead at `key` is over: what waited behind it goes on, in order.
    pub(super) fn go_on(self: &Arc<Self>, key: &Key) {
        self.deferred.end(key);
        while let Some(step) = self.deferred.next(key) {
            step(self);
            self.deferred.done(key);
        }
    }
}

//! Call order where a write has to wait: one whose tags' versions are not known yet is deferred, and what is asked of its key
//! meanwhile waits behind it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{Cache, Key, Outcome, Waiter};
use crate::clock;

/// How long `close` waits for deferred writes to be sent.
const CLOSING_MS: u64 = 250;

/// What an operation does with its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It leaves them as they are.
    Reads,
    /// What L1 holds under them is from before it.
    Changes,
}

/// An operation that waits.
type Step = Box<dyn FnOnce(&Arc<Cache>) + Send>;

/// What waits at a key.
#[derive(Default)]
struct Queue {
    /// Deferred writes of the key, and operations on several keys whose turn has come here.
    ahead: usize,
    /// Operations that change the key and were not carried out yet.
    changes: usize,
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
    access: Access,
    step: Mutex<Option<Step>>,
}

impl Access {
    fn changes(self) -> usize {
        usize::from(self == Self::Changes)
    }
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

    /// Whether an operation that changes the key waits: what L1 holds is from before it.
    fn is_awaited(&self, key: &[u8]) -> bool {
        let waits = |queue: &Queue| queue.changes > 0;
        !self.is_idle() && self.queues.lock().get(key).is_some_and(waits)
    }

    fn keys(&self) -> Vec<Key> {
        if self.is_idle() {
            return Vec::new();
        }
        self.queues.lock().keys().map(Arc::clone).collect()
    }

    /// Lines up for all keys at once, so that no two operations wait for each other. At how many of them its turn has come. Hits
    /// in L1 wait for those only that change something.
    fn line_up(&self, turn: &Arc<Turn>) -> usize {
        let mut queues = self.queues.lock();
        let mut come = 0;
        for key in &turn.keys {
            if let Some(queue) = queues.get_mut(key) {
                queue.changes += turn.access.changes();
                let (turn, own) = (Arc::clone(turn), Arc::clone(key));
                let arrive = move |cache: &Arc<Cache>| {
                    cache.deferred.begin(&own);
                    cache.arrive(&turn, 1);
                };
                queue.steps.push_back(Box::new(arrive));
            } else {
                let queue = queues.entry(Arc::clone(key)).or_default();
                queue.ahead += 1;
                queue.changes += turn.access.changes();
                come += 1;
            }
        }
        self.count.store(queues.len(), SeqCst);
        come
    }

    /// What was ahead at `key` is over.
    fn end(&self, key: &Key, access: Access) {
        if let Some(queue) = self.queues.lock().get_mut(key) {
            queue.ahead -= 1;
            queue.changes -= access.changes();
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
        mut keys: Vec<Key>,
        access: Access,
        waiter: Waiter,
        operation: impl FnOnce(&Arc<Self>, Waiter) -> Option<Outcome> + Send + 'static,
    ) -> Option<Outcome> {
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
            missing: AtomicUsize::new(keys.len() + 1),
            keys,
            access,
            step: Mutex::new(Some(Box::new(step))),
        });
        let come = self.deferred.line_up(&turn);
        if access == Access::Changes {
            for key in &turn.keys {
                self.table.lock(key).cover();
            }
        }
        self.arrive(&turn, come + 1);
        None
    }

    /// The turn of an operation has come at so many more of its keys; with the last of them it is carried out.
    fn arrive(self: &Arc<Self>, turn: &Arc<Turn>, come: usize) {
        if turn.missing.fetch_sub(come, SeqCst) > come {
            return;
        }
        let step = turn.step.lock().take();
        if let Some(step) = step {
            step(self);
        }
        for key in &turn.keys {
            self.deferred.end(key, turn.access);
        }
        // Not from here: a long line would be a deep stack.
        let (cache, turn) = (Arc::clone(self), Arc::clone(turn));
        self.runtime.spawn(async move {
            for key in &turn.keys {
                cache.carry_out(key);
            }
            cache.wake();
        });
        self.wake();
    }

    /// A deferred write of `key` is over: what waited behind it goes on, in order.
    pub(super) fn go_on(self: &Arc<Self>, key: &Key) {
        // L1 had it before it was deferred: no hit has waited for it.
        self.deferred.end(key, Access::Reads);
        self.carry_out(key);
    }

    fn carry_out(self: &Arc<Self>, key: &Key) {
        while let Some(step) = self.deferred.next(key) {
            step(self);
            self.deferred.done(key);
        }
    }

    /// Waits until what is deferred was sent, if that does not take long. May be cancelled.
    pub(super) async fn send_deferred(&self) {
        let until = clock::now() + CLOSING_MS;
        while !self.deferred.is_idle() && clock::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether no write waits for the versions of its tags.
    pub(super) fn defers_nothing(&self) -> bool {
        self.deferred.is_idle()
    }
}

//! What `lock()` gives out: leases by number, each of the environment that asked for it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;

use super::{Attempt, Lease, token, waiting::Pauses};
use crate::{
    cache::{
        Cache, Key, Outcome, Waiter,
        outcome::{Notice, Sink},
    },
    clock,
    error::{CacheError, Code},
    l2::port::Failure,
};

/// How long `close` waits for locks to be released.
const RELEASE: Duration = Duration::from_millis(250);
/// Numbers are unique in the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A lease, and the environment that has it.
type Owned = (Lease, Arc<dyn Sink>);

/// The locks that are held, and, without Redis, whose they are.
#[derive(Default)]
pub(in crate::cache) struct Locks {
    held: Mutex<HashMap<u64, Owned>>,
    here: Mutex<HashMap<Key, String>>,
    fence: AtomicU64,
}

impl Locks {
    /// Takes a lease without Redis: its fence, or 0 if somebody has it.
    pub(super) fn take_here(&self, key: &Key, token: &str) -> i64 {
        let mut here = self.here.lock();
        if here.contains_key(key) {
            return 0;
        }
        here.insert(Arc::clone(key), token.to_owned());
        let now = clock::unix() * 1_000;
        let before = self.fence.fetch_max(now, SeqCst);
        let fence = if before >= now {
            self.fence.fetch_add(1, SeqCst) + 1
        } else {
            now
        };
        i64::try_from(fence).unwrap_or(i64::MAX)
    }

    pub(super) fn end_here(&self, key: &Key, token: &str) -> bool {
        let mut here = self.here.lock();
        let ours = here.get(key).is_some_and(|owner| owner == token);
        if ours {
            here.remove(key);
        }
        ours
    }
}

impl Cache {
    /// Takes the lock on `key` for `ttl_ms`, and again and again until it is released; waits for it at most `wait_ms`.
    pub fn lock(
        self: &Arc<Self>,
        key: &Key,
        ttl_ms: u64,
        wait_ms: u64,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let lock = self.lock_key(key);
        if self.l2.is_some() && self.open_link(&lock).is_none() {
            return waiter.now(Outcome::Error(self.failed(&Failure::Unavailable, key)));
        }
        let (cache, key) = (Arc::clone(self), Arc::clone(key));
        self.runtime.spawn(async move {
            let until = clock::now().saturating_add(wait_ms);
            let outcome = match cache.wait_for_lease(&lock, ttl_ms, until, &waiter).await {
                Ok(Some((id, fence))) => Outcome::Locked(id, fence),
                Ok(None) | Err(_) if cache.is_closed() => Outcome::Error(Self::closed_error()),
                Ok(None) => {
                    let text = format!("somebody else holds the lock, and did for {wait_ms} ms");
                    Outcome::Error(CacheError::new(Code::Locked, text).key(cache.shown(&key)))
                }
                Err(failure) => Outcome::Error(cache.failed(&failure, &key)),
            };
            waiter.settle(outcome);
        });
        None
    }

    /// The number and the fence of a lease that is taken before `until`.
    async fn wait_for_lease(
        self: &Arc<Self>,
        lock: &Key,
        ttl_ms: u64,
        until: u64,
        waiter: &Waiter,
    ) -> Result<Option<(u64, u64)>, Failure> {
        let Some(sink) = waiter.sink().map(Arc::clone) else {
            return Ok(None);
        };
        let (token, place) = (token(), self.waits.enlist(lock));
        let mut pauses = Pauses::new(self, lock);
        loop {
            let change = place.change();
            let id = NEXT_ID.fetch_add(1, Relaxed);
            let (told, cache) = (Arc::clone(&sink), self.id);
            let lost = move || {
                let body = json!({ "cache": cache, "type": "lock-lost", "lock": id });
                told.notice(Notice::Event, body.to_string());
            };
            let left = match self.take_lease(lock, &token, ttl_ms, lost).await? {
                Attempt::Taken(lease) => {
                    let fence = lease.fence();
                    return Ok(self.hold(id, lease, sink).then_some((id, fence)));
                }
                Attempt::Held(left) => left,
            };
            let now = clock::now();
            if now >= until || !sink.alive() || self.is_closed() {
                return Ok(None);
            }
            pauses.wait(left.min(until - now), change).await;
        }
    }

    /// Keeps a lease for its owner. If that or the cache has ended, it is dropped, and so released: under the lock that whoever
    /// drops the leases then takes after that.
    fn hold(&self, id: u64, lease: Lease, owner: Arc<dyn Sink>) -> bool {
        let mut held = self.locks.held.lock();
        let is_there = owner.alive() && !self.is_closed();
        if is_there {
            held.insert(id, (lease, owner));
        }
        is_there
    }

    /// Gives a lock another life of `ttl_ms` from now on; false if it is lost.
    pub fn extend_lock(self: &Arc<Self>, id: u64, ttl_ms: u64, waiter: Waiter) -> Option<Outcome> {
        let held = self
            .locks
            .held
            .lock()
            .get(&id)
            .map(|(lease, _)| lease.held());
        let Some(held) = held else {
            return waiter.now(Outcome::Bool(false));
        };
        self.settle_lock(waiter, Lease::extend(held, ttl_ms))
    }

    /// Gives a lock back; false if it was lost.
    pub fn release_lock(self: &Arc<Self>, id: u64, waiter: Waiter) -> Option<Outcome> {
        let held = self.locks.held.lock().remove(&id);
        let Some((lease, _)) = held else {
            return waiter.now(Outcome::Bool(false));
        };
        self.settle_lock(waiter, lease.release())
    }

    fn settle_lock(
        self: &Arc<Self>,
        waiter: Waiter,
        done: impl Future<Output = Result<bool, Failure>> + Send + 'static,
    ) -> Option<Outcome> {
        let cache = Arc::clone(self);
        self.runtime.spawn(async move {
            waiter.settle(match done.await {
                Ok(ours) => Outcome::Bool(ours),
                Err(failure) => Outcome::Error(cache.failed(&failure, b"")),
            });
        });
        None
    }

    /// Releases a lock that nobody holds any more.
    pub fn drop_lock(&self, id: u64) {
        let dropped = self.locks.held.lock().remove(&id);
        drop(dropped);
    }

    /// Releases every lock.
    pub(in crate::cache) fn release_locks(&self) -> impl Future<Output = ()> + Send + use<> {
        let held = std::mem::take(&mut *self.locks.held.lock());
        let released = held.into_values().map(|(lease, _)| lease.release());
        let released = join_all(released.collect::<Vec<_>>());
        async move {
            let _ = tokio::time::timeout(RELEASE, released).await;
        }
    }

    /// Releases the locks of an environment that ended.
    pub(in crate::cache) fn drop_locks_of(&self, sink: &Arc<dyn Sink>) {
        let mut held = self.locks.held.lock();
        let dropped = held.extract_if(|_, (_, owner)| Arc::ptr_eq(owner, sink));
        let dropped: Vec<_> = dropped.collect();
        drop(held);
        drop(dropped);
    }
}

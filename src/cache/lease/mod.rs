//! Locks: a lease on a key of our own, with a token that only its owner knows, renewed at half its life, ended by comparing
//! the token. Its fence is the server's time in microseconds, which grows from one owner to the next even if Redis loses
//! what it holds. `waiting` is for those who do not have it, `locks` what `lock()` gives out.
//!
//! | a lease | ends by | then |
//! |---|---|---|
//! | held | `release`, or dropped | the key is deleted in Redis if the token is still ours |
//! | | a renewal that finds another token, or none | lost: its owner is told |
//! | | no renewal answered before its life was over | lost |
//! | lost | dropped | nothing |
//!
//! Without Redis configured the leases of a cache are its own: they hold within the process, and are never lost.

mod locks;
mod waiting;

use std::{
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

pub(super) use self::{
    locks::Locks,
    waiting::{Pauses, Waits},
};
use super::{Cache, Key};
use crate::{
    clock,
    l2::{
        commands,
        port::{Failure, Request, once},
    },
};

/// What the key of a lease begins with, after the namespace.
const LOCK: &[u8] = b"~lock:";
/// A renewal that was not answered is tried again after this part of the lease's life.
const TRY_SHARE: u64 = 10;
const TRY_MIN_MS: u64 = 20;

/// A lease that is held. Released when dropped.
pub(super) struct Lease(Arc<Held>);

struct Held {
    cache: Weak<Cache>,
    key: Key,
    token: String,
    fence: u64,
    ttl_ms: AtomicU64,
    /// Until when it is ours for certain, on `clock::now`.
    until: AtomicU64,
    /// It is not ours any more.
    over: AtomicBool,
    /// Its owner gave it back.
    released: AtomicBool,
    changed: Notify,
}

/// What an attempt to take a lease came to.
pub(super) enum Attempt {
    /// It is ours.
    Taken(Lease),
    /// Somebody else has it, for so many ms more if nothing renews it.
    Held(u64),
}

impl Lease {
    /// The number that grows from owner to owner.
    pub(super) fn fence(&self) -> u64 {
        self.0.fence
    }

    /// Gives it another life, from now on; false if it is lost.
    async fn extend(held: Arc<Held>, ttl_ms: u64) -> Result<bool, Failure> {
        let extended = held.renew(ttl_ms).await;
        held.changed.notify_one();
        extended
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.0)
    }

    /// Ends it; false if it was lost before.
    async fn release(self) -> Result<bool, Failure> {
        let held = self.held();
        held.end().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.held();
        if held.over.load(SeqCst) {
            return;
        }
        if let Some(cache) = held.cache.upgrade() {
            cache.runtime.spawn(async move {
                let _ = held.end().await;
            });
        }
    }
}

impl Held {
    /// Takes it out of Redis, once; whether it was ours.
    async fn end(&self) -> Result<bool, Failure> {
        self.released.store(true, SeqCst);
        if self.over.swap(true, SeqCst) {
            return Ok(false);
        }
        self.changed.notify_one();
        let Some(cache) = self.cache.upgrade() else {
            return Ok(false);
        };
        let ended = if cache.l2.is_none() {
            Ok(cache.locks.end_here(&self.key, &self.token))
        } else {
            let cmd = commands::end_lease(&self.key, &self.token);
            let reply = cache
                .call(Request::Write(cmd, vec![Arc::clone(&self.key)]))
                .await;
            reply.map(|value| commands::integer(&value) == Some(1))
        };
        cache.waits.tell(&self.key);
        ended
    }

    /// Whether it ends by itself: without Redis it does not.
    fn is_timed(&self) -> bool {
        self.cache.upgrade().is_none_or(|cache| cache.l2.is_some())
    }

    async fn renew(&self, ttl_ms: u64) -> Result<bool, Failure> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(false);
        };
        if cache.l2.is_none() || self.over.load(SeqCst) {
            return Ok(!self.over.load(SeqCst));
        }
        let asked = clock::now();
        let cmd = commands::extend_lease(&self.key, &self.token, ttl_ms);
        let reply = cache
            .call(Request::Write(cmd, vec![Arc::clone(&self.key)]))
            .await?;
        let ours = commands::integer(&reply) == Some(1);
        if ours {
            self.ttl_ms.store(ttl_ms, Relaxed);
            self.until.store(asked.saturating_add(ttl_ms), SeqCst);
        } else {
            self.over.store(true, SeqCst);
        }
        Ok(ours)
    }
}

/// Renews a lease until it is over; `lost` is told if that is not by its owner. Ends with its cache.
async fn keep(held: Arc<Held>, lost: impl FnOnce() + Send) {
    let mut tried = false;
    while !held.over.load(SeqCst) {
        let (ttl_ms, until) = (held.ttl_ms.load(Relaxed), held.until.load(SeqCst));
        let left = until.saturating_sub(clock::now());
        if left == 0 && held.is_timed() {
            break;
        }
        let share = if tried { TRY_SHARE } else { 2 };
        let pause = (ttl_ms / share).max(TRY_MIN_MS);
        let pause = if held.is_timed() {
            pause.min(left)
        } else {
            pause
        };
        tokio::select! {
            () = sleep(Duration::from_millis(pause)) => (),
            // Released, or given another life.
            () = held.changed.notified() => continue,
        }
        match held.renew(ttl_ms).await {
            Ok(ours) => tried = !ours,
            Err(_) => tried = true,
        }
    }
    if !held.released.load(SeqCst) {
        held.over.store(true, SeqCst);
        lost();
    }
}

impl Cache {
    /// The key of the lease on `key`.
    pub(super) fn lock_key(&self, key: &[u8]) -> Key {
        let prefix = self.config.prefix.as_bytes();
        let name = key.strip_prefix(prefix).unwrap_or(key);
        [prefix, LOCK, name].concat().into()
    }

    /// Tries to take a lease under a token of the caller's, which a second try finds again if the answer to the first was
    /// lost. `lost` is told if it ends otherwise than by its owner.
    pub(super) async fn take_lease(
        self: &Arc<Self>,
        key: &Key,
        token: &str,
        ttl_ms: u64,
        lost: impl FnOnce() + Send + 'static,
    ) -> Result<Attempt, Failure> {
        let asked = clock::now();
        let fence = if self.l2.is_none() {
            self.locks.take_here(key, token)
        } else {
            let cmd = commands::take_lease(key, token, ttl_ms);
            let reply = self
                .call(Request::Write(cmd, vec![Arc::clone(key)]))
                .await?;
            commands::integer(&reply).unwrap_or(0)
        };
        let Ok(fence @ 1..) = u64::try_from(fence) else {
            // The time it has left, less one: 0 is for one that has no end.
            let left = u64::try_from(-fence).unwrap_or(0);
            return Ok(Attempt::Held(left.checked_sub(1).unwrap_or(ttl_ms)));
        };
        let held = Arc::new(Held {
            cache: Arc::downgrade(self),
            key: Arc::clone(key),
            token: token.to_owned(),
            fence,
            ttl_ms: AtomicU64::new(ttl_ms),
            until: AtomicU64::new(asked.saturating_add(ttl_ms)),
            over: AtomicBool::new(false),
            released: AtomicBool::new(false),
            changed: Notify::new(),
        });
        self.runtime.spawn(keep(Arc::clone(&held), lost));
        Ok(Attempt::Taken(Lease(held)))
    }
}

impl Cache {
    /// Ends a lease that may have been given though no answer came.
    pub(super) fn drop_doubtful(self: &Arc<Self>, key: &Key, token: &str, failure: &Failure) {
        if failure.ambiguous() {
            let end = commands::end_lease(key, token);
            let request = Request::Write(end, vec![Arc::clone(key)]);
            self.submit(request, self.deadline(), once(|_| ()));
            self.wake();
        }
    }
}

/// A token that nobody else has.
pub(super) fn token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

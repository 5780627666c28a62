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
//! | taken or released, with no answer | Redis answers again | the key is deleted as with `release` |
//!
//! Without Redis configured the leases of a cache are its own: they hold within the process, and are never lost.

mod held;
mod locks;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use tokio::time::sleep;

use self::held::{Held, keep};
pub(super) use self::{
    locks::Locks,
    waiting::{Pauses, Waits},
};
use super::{Cache, Key};
use crate::{
    clock,
    l2::{
        commands,
        port::{Failure, Request},
    },
};

/// What the key of a lease begins with, after the namespace.
const LOCK: &[u8] = b"~lock:";
/// For how long at least, and how often, Redis is told to end a lease that is nobody's: what it has not read yet may be carried
/// out much later.
const BEHIND_MS: u64 = 60_000;
const BEHIND_PAUSE: Duration = Duration::from_millis(200);

/// A lease that is held. Released when dropped.
pub(super) struct Lease(Arc<Held>);

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
        let before = held.ttl_ms.swap(ttl_ms, Relaxed);
        let extended = held.renew().await;
        if extended.is_err() {
            held.ttl_ms.store(before, Relaxed);
        }
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
            cache.background.fetch_add(1, SeqCst);
            let ending = Arc::clone(&cache);
            cache.runtime.spawn(async move {
                let _ = held.end().await;
                ending.finished_one();
            });
        }
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
                .await
                .inspect_err(|failure| {
                    if failure.ambiguous() {
                        self.end_lease_behind(key, token, ttl_ms);
                    }
                })?;
            commands::integer(&reply).unwrap_or(0)
        };
        let Ok(fence @ 1..) = u64::try_from(fence) else {
            // The time it has left, less one: 0 is for one that has no end.
            let left = u64::try_from(-fence).unwrap_or(0);
            return Ok(Attempt::Held(left.checked_sub(1).unwrap_or(ttl_ms)));
        };
        let held = Held::new(self, key, token, fence, (asked, ttl_ms));
        let held = Arc::new(held);
        self.runtime.spawn(keep(Arc::clone(&held), lost));
        Ok(Attempt::Taken(Lease(held)))
    }

    /// Ends a lease in Redis; whether it was ours.
    async fn end_lease(&self, key: &Key, token: &str) -> Result<bool, Failure> {
        let cmd = commands::end_lease(key, token);
        let reply = self
            .call(Request::Write(cmd, vec![Arc::clone(key)]))
            .await?;
        Ok(commands::integer(&reply) == Some(1))
    }

    /// Ends a lease once Redis answers: one that may be there and is nobody's would stand in everybody's way for all of its
    /// life.
    fn end_lease_behind(self: &Arc<Self>, key: &Key, token: &str, ttl_ms: u64) {
        let (cache, key, token) = (Arc::downgrade(self), Arc::clone(key), token.to_owned());
        let until = clock::now().saturating_add(ttl_ms.max(BEHIND_MS));
        self.runtime.spawn(async move {
            let goes_on = |cache: &Arc<Self>| clock::now() < until && !cache.is_closed();
            while let Some(cache) = cache.upgrade().filter(goes_on) {
                match cache.end_lease(&key, &token).await {
                    Ok(_) | Err(Failure::Refused(_)) => return,
                    Err(Failure::Unavailable | Failure::Disconnected | Failure::Timeout) => (),
                }
                drop(cache);
                sleep(BEHIND_PAUSE).await;
            }
        });
    }
}

/// A token that nobody else has.
pub(super) fn token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

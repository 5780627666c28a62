//! A lease while it is held: its renewal, its loss and its end. May be cancelled anywhere: what Redis was asked, it does.

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

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    cache::{Cache, Key},
    clock,
    l2::{
        commands,
        port::{Failure, Request},
    },
};

/// A renewal that was not answered is tried again after this share of the lease's life.
const TRY_SHARE: u64 = 10;
const TRY_MIN_MS: u64 = 20;

/// What stands behind a lease while it is held.
pub(super) struct Held {
    pub(super) cache: Weak<Cache>,
    key: Key,
    token: String,
    pub(super) fence: u64,
    pub(super) ttl_ms: AtomicU64,
    /// Until when it is ours for certain, on `clock::now`.
    until: AtomicU64,
    /// It is not ours any more.
    pub(super) over: AtomicBool,
    /// Its owner gave it back.
    released: AtomicBool,
    pub(super) changed: Notify,
}

impl Held {
    /// A lease of `ttl_ms` from when Redis was `asked` for it.
    pub(super) fn new(
        cache: &Arc<Cache>,
        key: &Key,
        token: &str,
        fence: u64,
        (asked, ttl_ms): (u64, u64),
    ) -> Self {
        Self {
            cache: Arc::downgrade(cache),
            key: Arc::clone(key),
            token: token.to_owned(),
            fence,
            ttl_ms: AtomicU64::new(ttl_ms),
            until: AtomicU64::new(asked.saturating_add(ttl_ms)),
            over: AtomicBool::new(false),
            released: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Takes it out of Redis, once; whether it was ours.
    pub(super) async fn end(&self) -> Result<bool, Failure> {
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
            cache.end_lease(&self.key, &self.token).await
        };
        if ended.is_err() {
            cache.end_lease_behind(&self.key, &self.token, self.ttl_ms.load(Relaxed));
        }
        cache.waits.tell(&self.key);
        ended
    }

    /// Gives it another life from now on, once; false if it is lost.
    pub(super) async fn renew(&self) -> Result<bool, Failure> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(false);
        };
        if self.over.load(SeqCst) {
            return Ok(false);
        }
        let (asked, ttl_ms) = (clock::now(), self.ttl_ms.load(Relaxed));
        let ours = cache.l2.is_none() || self.renew_in_redis(&cache, ttl_ms).await?;
        if ours {
            self.until.store(asked.saturating_add(ttl_ms), SeqCst);
        } else {
            self.over.store(true, SeqCst);
        }
        Ok(ours)
    }

    async fn renew_in_redis(&self, cache: &Cache, ttl_ms: u64) -> Result<bool, Failure> {
        let cmd = commands::extend_lease(&self.key, &self.token, ttl_ms);
        let reply = cache
            .call(Request::Write(cmd, vec![Arc::clone(&self.key)]))
            .await?;
        Ok(commands::integer(&reply) == Some(1))
    }

    /// As `renew`, but not answered any more once the lease is over: nobody may think then that it is still his.
    async fn renew_in_time(&self) -> Result<bool, Failure> {
        let renewed = timeout(Duration::from_millis(self.left()), self.renew()).await;
        renewed.unwrap_or(Err(Failure::Timeout))
    }

    /// What is left of the life that is ours for certain, in ms.
    fn left(&self) -> u64 {
        self.until.load(SeqCst).saturating_sub(clock::now())
    }

    /// How long until half of its life is over: counted from when Redis was asked, not from its answer.
    fn until_half(&self) -> u64 {
        let half = self.ttl_ms.load(Relaxed) / 2;
        self.left().saturating_sub(half).max(1)
    }
}

/// Renews a lease until it is over; `lost` is told if that is not by its owner. Ends with its cache.
pub(super) async fn keep(held: Arc<Held>, lost: impl FnOnce() + Send) {
    let mut pause = held.until_half();
    loop {
        tokio::select! {
            () = sleep(Duration::from_millis(pause)) => (),
            () = held.changed.notified() => {
                if held.over.load(SeqCst) {
                    break;
                }
                pause = held.until_half();
                continue;
            }
        }
        match held.renew_in_time().await {
            Ok(true) => pause = held.until_half(),
            Ok(false) => break,
            Err(_) if held.left() == 0 => break,
            Err(_) => {
                let try_again = held.ttl_ms.load(Relaxed) / TRY_SHARE;
                pause = try_again.max(TRY_MIN_MS).min(held.left());
            }
        }
    }
    if !held.released.load(SeqCst) {
        held.over.store(true, SeqCst);
        lost();
    }
}

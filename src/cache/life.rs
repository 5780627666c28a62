//! A key's life: how long it has left, another one, or its end without its value.

use std::sync::Arc;

use redis::Cmd;

use super::{
    Cache, Key, Outcome, Waiter,
    read::Found,
    write::{Ttl, WriteOptions},
};
use crate::{
    clock::{self, NEVER},
    entry::{Entry, Left, wire},
    l2::{
        commands,
        port::{Failure, Reply, Request},
    },
};

impl Cache {
    /// What is left of the life of `key` in ms.
    pub fn ttl(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let strict = self.strict(strict);
        let known = self
            .hit(key)
            .and_then(|entry| entry.life_left(clock::now()));
        if let Some(left) = known {
            return waiter.now(life_outcome(Some(left)));
        }
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        if self.open_link(key).is_none() || self.journaled(key) {
            return waiter.now(self.local_ttl(key, strict, &Failure::Unavailable));
        }
        let (cache, key) = (Arc::clone(self), Arc::clone(key));
        self.runtime.spawn(async move {
            let outcome = match cache.ttl_in_redis(&key).await {
                Ok(left) => life_outcome(left),
                Err(failure) => cache.local_ttl(&key, strict, &failure),
            };
            waiter.settle(outcome);
        });
        None
    }

    async fn ttl_in_redis(self: &Arc<Self>, key: &Key) -> Result<Option<Left>, Failure> {
        let header = self.call(Request::Raw(commands::header(key)));
        let pttl = self.call(Request::Raw(commands::pttl(key)));
        let (header, pttl) = futures_util::future::join(header, pttl).await;
        let pttl = commands::integer(&pttl?).unwrap_or(-2);
        let physical = match u64::try_from(pttl) {
            Ok(ms) => Left::Ms(ms),
            Err(_) if pttl == -1 => Left::Forever,
            Err(_) => return Ok(None),
        };
        // A key of another type has no header, but a life.
        let header = header.ok().and_then(commands::bytes).unwrap_or_default();
        let left = wire::peek_life(&header, clock::unix()).unwrap_or(physical);
        // Whether its tags hold says only the whole entry.
        if wire::is_tagged(&header) && !matches!(self.look_again(key).await, Some(Found::Hit(_))) {
            return Ok(None);
        }
        Ok(Some(left).filter(|left| *left != Left::Ms(0)))
    }

    fn local_ttl(&self, key: &Key, strict: bool, failure: &Failure) -> Outcome {
        if strict && self.l2.is_some() {
            return Outcome::Error(self.failed(failure, key));
        }
        let now = clock::now();
        let entry = self.l1.as_ref().and_then(|l1| l1.get(key, now));
        life_outcome(entry.map(|entry| entry.life_left(clock::now()).unwrap_or(Left::Forever)))
    }

    /// Gives a key another life; true if it is there.
    pub fn touch(
        self: &Arc<Self>,
        key: &Key,
        ttl_ms: Option<u64>,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let now = clock::unix();
        let life = wire::life_patch(now, ttl_ms);
        let expiry = ttl_ms.map_or(commands::Expiry::Never, commands::Expiry::After);
        let cmd = commands::rewrite_life(key, &life, expiry, now);
        self.rewrite(key, cmd, Some(Ttl::from(ttl_ms)), strict, waiter)
    }

    /// Ends a key's freshness but keeps what a loader may still serve; true if it is there.
    pub fn mark_stale(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let now = clock::unix();
        let life = wire::life_patch(now.saturating_sub(1), Some(1));
        let cmd = commands::rewrite_life(key, &life, commands::Expiry::Keep, now);
        self.rewrite(key, cmd, None, strict, waiter)
    }

    /// Changes the life of a key in both tiers; without a new life it leaves L1.
    fn rewrite(
        self: &Arc<Self>,
        key: &Key,
        cmd: Cmd,
        life: Option<Ttl>,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        let mut locked = self.table.lock(key);
        let had = locked.mutate(|| self.relive(key, life));
        if !self.stores(key) {
            if had || life.is_none() {
                self.take_back(key);
            }
            return waiter.now(self.away(key, strict, Outcome::Bool(had)));
        }
        let asked = Arc::clone(key);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                Ok(value) => Outcome::Bool(had || commands::integer(&value) == Some(1)),
                Err(failure) if strict => Outcome::Error(cache.failed(&failure, &asked)),
                Err(_) => Outcome::Bool(had),
            });
        };
        self.send_conditional(key, cmd, Box::new(told));
        drop(locked);
        None
    }

    /// Gives what L1 holds another life, or ends it: then only loaders may still serve it, if any may.
    fn relive(self: &Arc<Self>, key: &Key, life: Option<Ttl>) -> bool {
        let Some(l1) = &self.l1 else { return false };
        let now = clock::now();
        let old = l1.remembered(key).filter(|entry| !entry.expired(now));
        let Some(old) = old else { return false };
        let entry = match life {
            Some(ttl) => self.with_life(key, &old, ttl),
            None => Entry {
                life_until: Some(now),
                l1_until: now,
                ..Entry::clone(&old)
            },
        };
        if entry.is_over(now) {
            l1.take(key);
        } else {
            self.keep(l1, key, entry);
        }
        true
    }

    fn with_life(&self, key: &Key, old: &Entry, ttl: Ttl) -> Entry {
        let now = clock::now();
        let options = WriteOptions {
            ttl,
            jitter: Some(0.0),
            ..WriteOptions::default()
        };
        let lives = self.lives(key, &options);
        Entry {
            made: now,
            l1_until: now.saturating_add(lives.l1_ms),
            life_until: Some(lives.l2.ttl_ms.map_or(NEVER, |ms| now.saturating_add(ms))),
            ..Entry::clone(old)
        }
    }
}

fn life_outcome(left: Option<Left>) -> Outcome {
    match left {
        None => Outcome::Undefined,
        Some(Left::Forever) => Outcome::Null,
        // Exact up to 2^53 ms, which is 285,000 years.
        #[expect(clippy::cast_precision_loss, reason = "no life is that long")]
        Some(Left::Ms(ms)) => Outcome::Number(ms as f64),
    }
}

//! Commands that go to Redis as they are, counters, and `ping`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Cmd;

use super::{Cache, Key, Outcome, Waiter, write::Ttl};
use crate::{
    clock,
    entry::{Kind, MAX_SAFE_INTEGER, Payload},
    error::{CacheError, Code},
    l2::{
        changes::Changes,
        commands,
        link::meaning_of,
        port::{Failure, Reply, Request, once},
    },
    resilience::classify::Meaning,
    telemetry::counters::InvalidationSource,
};

/// Commands that change or block the connection that everyone shares.
const REFUSED: &[&str] = &[
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "SHUTDOWN",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// A raw command: its name and arguments, as they go out.
pub type Args = Vec<Vec<u8>>;

impl Cache {
    /// Sends one command; settles with the raw reply.
    pub fn command(
        self: &Arc<Self>,
        args: &Args,
        timeout_ms: Option<u64>,
        buffers: bool,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let cmd = match self.admit(std::slice::from_ref(args)) {
            Ok(mut cmds) => cmds.pop().unwrap_or_default(),
            Err(error) => return waiter.now(Outcome::Error(error)),
        };
        self.touch_l1(args);
        let (cache, sent) = (Arc::clone(self), args.clone());
        let settle = once(move |reply: Reply| {
            // A read that was queued before it may have filled L1 since.
            cache.touch_l1(&sent);
            waiter.settle(match reply {
                Ok(value) => Outcome::Reply(value, buffers),
                Err(failure) => Outcome::Error(cache.raw_failed(&failure, timeout_ms)),
            });
        });
        self.submit(Request::Raw(cmd), self.raw_deadline(timeout_ms), settle);
        None
    }

    /// Sends commands as one pipeline; settles with a reply or an error for each.
    pub fn commands(
        self: &Arc<Self>,
        list: &[Args],
        timeout_ms: Option<u64>,
        buffers: bool,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let cmds = match self.admit(list) {
            Ok(cmds) => cmds,
            Err(error) => return waiter.now(Outcome::Error(error)),
        };
        for args in list {
            self.touch_l1(args);
        }
        let deadline = self.raw_deadline(timeout_ms);
        let replies = cmds.into_iter().map(|cmd| {
            let (sender, reply) = tokio::sync::oneshot::channel();
            let settle = once(move |reply| {
                let _ = sender.send(reply);
            });
            self.submit(Request::Raw(cmd), deadline, settle);
            reply
        });
        let replies = futures_util::future::join_all(replies.collect::<Vec<_>>());
        let (cache, sent) = (Arc::clone(self), list.to_vec());
        self.runtime.spawn(async move {
            let replies = replies.await;
            for args in &sent {
                cache.touch_l1(args);
            }
            let replies = replies.into_iter().map(|reply| match reply {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(failure)) => Err(cache.raw_failed(&failure, timeout_ms)),
                Err(_) => Err(cache.failed(&Failure::Disconnected, b"")),
            });
            waiter.settle(Outcome::Replies(replies.collect(), buffers));
        });
        None
    }

    fn raw_failed(&self, failure: &Failure, timeout_ms: Option<u64>) -> CacheError {
        match timeout_ms {
            Some(ms) if *failure == Failure::Timeout => CacheError::new(
                Code::Timeout,
                format!("Redis did not answer within {ms} ms"),
            ),
            Some(_) | None => self.failed(failure, b""),
        }
    }

    fn raw_deadline(&self, timeout_ms: Option<u64>) -> u64 {
        timeout_ms.map_or_else(|| self.deadline(), |ms| clock::now().saturating_add(ms))
    }

    /// Refuses what may not be sent, and everything while Redis is away.
    fn admit(&self, list: &[Args]) -> Result<Vec<Cmd>, CacheError> {
        if self.is_closed() {
            return Err(Self::closed_error());
        }
        let cmds = list.iter().map(|args| {
            let (name, rest) = args.split_first().ok_or_else(|| {
                CacheError::new(Code::Options, "Expected `name` to be the name of a command, got nothing")
            })?;
            let name = upper(name);
            if REFUSED.contains(&&*name) || disturbs(&name, rest) {
                let text = format!("{name} would change or block the connection that all operations share: use a client of your own for it");
                return Err(CacheError::new(Code::Options, text));
            }
            let mut cmd = redis::cmd(&name);
            for arg in rest {
                cmd.arg(&arg[..]);
            }
            Ok(cmd)
        });
        let cmds = cmds.collect::<Result<Vec<_>, _>>()?;
        if !self.is_open() {
            return Err(self.failed(&Failure::Unavailable, b""));
        }
        Ok(cmds)
    }

    /// Makes L1 forget what a raw command may change.
    fn touch_l1(self: &Arc<Self>, args: &Args) {
        let Some((name, rest)) = args.split_first() else {
            return;
        };
        match Changes::of(name, rest.iter().map(Vec::as_slice)) {
            Changes::Keys(keys) => {
                for key in keys {
                    let key: Key = Arc::from(key);
                    let dropped = self.table.lock(&key).mutate(|| self.drop_from_l1(&key));
                    let counted = &self.counters.invalidations;
                    counted.add(InvalidationSource::Local, u64::from(dropped));
                }
            }
            Changes::Unknown => self.clear_l1(),
        }
    }

    /// Counts `key` up by `by`; the new number.
    pub fn increment(
        self: &Arc<Self>,
        key: &Key,
        by: i64,
        ttl: Ttl,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        if self.l2.is_none() {
            return waiter.now(self.increment_here(key, by, ttl));
        }
        if self.open_link(key).is_none() || self.covered(key) {
            return waiter.now(Outcome::Error(self.failed(&Failure::Unavailable, key)));
        }
        let ttl_ms = match ttl {
            Ttl::Ms(ms) => Some(ms),
            Ttl::Default | Ttl::Never => None,
        };
        let anew = commands::increment_anew(key, by, ttl_ms, clock::unix());
        let cmd = ttl_ms.map_or_else(|| commands::increment(key, by), |_| anew.clone());
        let mut locked = self.table.lock(key);
        locked.mutate(|| self.drop_from_l1(key));
        self.unlink_if_journaled(key);
        let (cache, asked) = (Arc::clone(self), Arc::clone(key));
        let (again, again_key) = (Arc::clone(self), Arc::clone(key));
        let deadline = self.deadline();
        let settle = once(move |reply: Reply| {
            // No number: it may be what is past its life, and kept for loaders only.
            let is_no_number = matches!(&reply, Err(Failure::Refused(error)) if meaning_of(error) == Meaning::Caller);
            let retries = ttl_ms.is_none() && is_no_number;
            let end = once(move |reply| cache.end_increment(&asked, reply, waiter));
            if retries {
                again.submit(Request::Write(anew, vec![again_key]), deadline, end);
                again.wake();
            } else {
                end(reply);
            }
        });
        self.submit(Request::Write(cmd, vec![Arc::clone(key)]), deadline, settle);
        drop(locked);
        None
    }

    fn end_increment(&self, key: &Key, reply: Reply, waiter: Waiter) {
        waiter.settle(match reply {
            Ok(value) => self.counted(key, commands::integer(&value)),
            Err(failure) => Outcome::Error(self.failed(&failure, key)),
        });
    }

    fn counted(&self, key: &Key, number: Option<i64>) -> Outcome {
        match number {
            #[expect(clippy::cast_precision_loss, reason = "checked to be a safe integer")]
            Some(number) if number.abs() <= MAX_SAFE_INTEGER => Outcome::Number(number as f64),
            Some(_) | None => {
                let text = "the counter is beyond what a JavaScript number holds exactly (2^53)";
                Outcome::Error(CacheError::new(Code::Value, text).key(self.shown(key)))
            }
        }
    }

    /// Counts in memory, in a cache that has no other tier.
    fn increment_here(self: &Arc<Self>, key: &Key, by: i64, ttl: Ttl) -> Outcome {
        let mut locked = self.table.lock(key);
        let now = clock::now();
        let old = self.l1.as_ref().and_then(|l1| l1.get(key, now));
        let before = match &old {
            None => Some(0),
            Some(entry) if entry.payload.is_integer() => std::str::from_utf8(&entry.payload.data)
                .ok()
                .and_then(|text| text.parse::<i64>().ok()),
            Some(_) => None,
        };
        let Some(before) = before else {
            let text = "the value is not an integer";
            return Outcome::Error(CacheError::new(Code::RedisReply, text).key(self.shown(key)));
        };
        let after = before.saturating_add(by);
        let outcome = self.counted(key, Some(after));
        if matches!(outcome, Outcome::Number(_)) {
            let payload = Payload::new(Kind::Json, after.to_string().into_bytes());
            locked.mutate(|| self.put_counter(key, payload, old.as_deref(), ttl));
        }
        outcome
    }

    /// One round trip, in ms.
    pub fn ping(self: &Arc<Self>, waiter: Waiter) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        if !self.is_open() {
            return waiter.now(Outcome::Error(self.failed(&Failure::Unavailable, b"")));
        }
        let (cache, started) = (Arc::clone(self), Instant::now());
        let settle = once(move |reply: Reply| {
            if let Some(l2) = cache.l2.as_ref().filter(|_| reply.is_ok()) {
                l2.any().status.lock().last_ping = Some(clock::unix());
            }
            waiter.settle(match reply {
                Ok(_) => Outcome::Number(started.elapsed().as_secs_f64() * 1_000.0),
                Err(failure) => Outcome::Error(cache.failed(&failure, b"")),
            });
        });
        self.submit(Request::Raw(redis::cmd("PING")), self.deadline(), settle);
        None
    }

    /// Settles once no write that nobody waits for, and no replay, is pending.
    pub fn settled(self: &Arc<Self>, timeout_ms: Option<u64>, waiter: Waiter) -> Option<Outcome> {
        /// How often to look.
        const LOOK: Duration = Duration::from_millis(5);
        if self.nothing_pending() {
            return waiter.now(Outcome::Undefined);
        }
        let until = clock::now().saturating_add(timeout_ms.unwrap_or(clock::NEVER));
        let cache = Arc::clone(self);
        self.runtime.spawn(async move {
            while !cache.nothing_pending() {
                if clock::now() >= until {
                    let text = "writes or replays are still pending";
                    waiter.settle(Outcome::Error(CacheError::new(Code::Timeout, text)));
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
            waiter.settle(Outcome::Undefined);
        });
        None
    }
}

/// Whether this form of a command that is harmless otherwise changes or blocks the connection.
fn disturbs(name: &str, rest: &[Vec<u8>]) -> bool {
    match name {
        "CLIENT" => rest.first().is_some_and(|sub| {
            matches!(
                &*upper(sub),
                "REPLY" | "TRACKING" | "CACHING" | "KILL" | "PAUSE" | "NO-TOUCH" | "NO-EVICT"
            )
        }),
        "XREAD" | "XREADGROUP" => rest.iter().any(|arg| arg.eq_ignore_ascii_case(b"BLOCK")),
        _ => false,
    }
}

fn upper(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_uppercase()
}

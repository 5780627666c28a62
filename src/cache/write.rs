//! Writing: L1 first, under the stripe lock, then the command to Redis in the same order; what Redis did not confirm
//! is journaled.

use std::sync::{
    Arc,
    atomic::Ordering::{Relaxed, SeqCst},
};

use redis::{Cmd, Value};

use super::{Cache, Key, Outcome, Waiter, flight::Hold, read::Read, send::Told};
use crate::{
    clock::{self, NEVER},
    config::Format,
    entry::{
        Entry, Extra, Life, Payload,
        wire::{self, Stamp},
    },
    error::{CacheError, Code},
    generations::Locked,
    l1::{L1, Put},
    l2::{
        commands::{self, OnlyIf},
        port::{Failure, Reply},
    },
};

/// How long past `l1.ttl` L1 keeps what was written while Redis is away, in ms.
const AWAY_EXTRA_MS: u64 = 60_000;

/// A life as the caller put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// Nothing was said: the cache's own.
    #[default]
    Default,
    /// It never ends.
    Never,
    /// So many ms.
    Ms(u64),
}

impl From<Option<u64>> for Ttl {
    fn from(ms: Option<u64>) -> Self {
        ms.map_or(Self::Never, Self::Ms)
    }
}

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The entry's life.
    pub ttl: Ttl,
    /// The most that L1 keeps it, in ms.
    pub l1_ttl: Option<u64>,
    /// How long past its life a loader may serve it, in ms.
    pub stale_for: Option<u64>,
    /// The share by which the life may be shortened.
    pub jitter: Option<f64>,
    /// Whether to settle as soon as L1 holds it.
    pub no_wait: bool,
    /// Only if it is or is not there.
    pub only_if: Option<OnlyIf>,
    /// Whether failures of Redis reject.
    pub strict: Option<bool>,
    /// The keys of its tags' versions.
    pub tags: Arc<[Key]>,
    /// Whether L1 keeps it only if there is room.
    pub gentle: bool,
    /// The versions of tags under which its making began, as far as they are known: under others it is not stored.
    pub made_under: Arc<[Stamp]>,
}

impl WriteOptions {
    /// Whether a tag has another version now than when the value began to be made: it was invalidated meanwhile.
    fn is_outdated(&self, stamps: &[Stamp]) -> bool {
        let is_other = |stamp: &Stamp| {
            let mut before = self.made_under.iter();
            before.any(|was| was.name == stamp.name && was.version != stamp.version)
        };
        stamps.iter().any(is_other)
    }
}

/// The lives of a value in both tiers, after one draw of jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lives {
    pub l2: Life,
    pub l1_ms: u64,
}

impl Lives {
    /// How long Redis is to keep it, in ms; `None` for ever.
    fn in_redis(&self) -> Option<u64> {
        let life = self.l2.ttl_ms?;
        Some(life.saturating_add(self.l2.stale_ms))
    }
}

/// What waits with a write for the versions of its tags.
struct Parked {
    /// How many changes of tags there were when it was asked for.
    tag_changes: u64,
    lives: Lives,
    only_if: Option<OnlyIf>,
    told: Told,
}

/// One write, ready to be carried out.
#[derive(Clone)]
pub(super) struct Write<'a> {
    pub key: &'a Key,
    pub payload: Payload,
    pub options: &'a WriteOptions,
}

impl Cache {
    /// Stores a value in both tiers.
    pub fn set(
        self: &Arc<Self>,
        key: &Key,
        payload: Payload,
        options: &WriteOptions,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(options.strict);
        if payload.data.len() > self.config.l2.max_value_bytes && self.l2.is_some() && strict {
            return waiter.now(Outcome::Error(self.too_large(key, &payload)));
        }
        let write = Write {
            key,
            payload,
            options,
        };
        if let Some(only_if) = options.only_if {
            return self.set_only_if(&write, only_if, waiter);
        }
        if !self.stores(key) {
            self.put_away(&write);
            return waiter.now(self.away(key, strict, Outcome::Undefined));
        }
        if options.no_wait {
            self.background.fetch_add(1, SeqCst);
            self.store(&write, Box::new(|cache, _| cache.finished_one()));
            return waiter.now(Outcome::Undefined);
        }
        let asked = Arc::clone(key);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                Err(failure) if strict => Outcome::Error(cache.failed(&failure, &asked)),
                Ok(_) | Err(_) => Outcome::Undefined,
            });
        };
        self.store(&write, Box::new(told));
        None
    }

    /// Puts a value into L1 and sends it to Redis; `told` hears of Redis' answer.
    pub(super) fn store(self: &Arc<Self>, write: &Write<'_>, told: Told) {
        let lives = self.lives(write.key, write.options);
        let mut locked = self.table.lock(write.key);
        locked.mutate(|| self.put(write, lives));
        self.send_value(locked, write, lives, None, told);
    }

    /// Sends a value whose key is locked. One whose tags have versions that are not known waits for them, and is not sent
    /// if one of them is invalidated meanwhile.
    pub(super) fn send_value(
        self: &Arc<Self>,
        locked: Locked<'_, Read, Hold>,
        write: &Write<'_>,
        lives: Lives,
        only_if: Option<OnlyIf>,
        told: Told,
    ) {
        if let Some(stamps) = self.stamps(&write.options.tags, lives.in_redis()) {
            if write.options.is_outdated(&stamps) {
                drop(locked);
                return told(self, Ok(Value::Nil));
            }
            self.send_stamped(write, lives, only_if, &stamps, told);
            drop(locked);
            return;
        }
        let parked = Parked {
            tag_changes: self.tags.count(),
            lives,
            only_if,
            told,
        };
        self.deferred.begin(write.key);
        drop(locked);
        let (key, payload) = (Arc::clone(write.key), write.payload.clone());
        let options = write.options.clone();
        let tags = Arc::clone(&options.tags);
        self.obtain(&tags, lives.in_redis(), move |cache, obtained| {
            let write = Write {
                key: &key,
                payload,
                options: &options,
            };
            cache.send_parked(parked, &write, obtained);
            cache.go_on(&key);
            cache.wake();
        });
    }

    /// Sends what waited for the versions of its tags. What is asked of its key here waits behind it; a read may have
    /// brought the value from before into L1.
    fn send_parked(
        self: &Arc<Self>,
        parked: Parked,
        write: &Write<'_>,
        obtained: Result<Vec<Stamp>, Failure>,
    ) {
        let Parked { only_if, told, .. } = parked;
        let is_valid = !self.tags_changed(&write.options.tags, parked.tag_changes);
        let mut locked = self.table.lock(write.key);
        match obtained {
            Ok(stamps) if is_valid && !write.options.is_outdated(&stamps) => {
                if only_if.is_none() {
                    locked.mutate(|| self.put(write, parked.lives));
                }
                self.send_stamped(write, parked.lives, only_if, &stamps, told);
            }
            obtained => {
                // Neither what was there before nor this is to be found.
                if only_if.is_none() {
                    self.take_back(write.key);
                }
                drop(locked);
                let nothing = if only_if.is_none() {
                    Value::Okay
                } else {
                    Value::Nil
                };
                let failed = obtained.err().filter(|_| is_valid);
                told(self, failed.map_or(Ok(nothing), Err));
            }
        }
    }

    fn send_stamped(
        self: &Arc<Self>,
        write: &Write<'_>,
        lives: Lives,
        only_if: Option<OnlyIf>,
        stamps: &[Stamp],
        told: Told,
    ) {
        let cmd = self.set_command(write, lives, only_if, stamps);
        match only_if {
            None => self.send_write(std::slice::from_ref(write.key), cmd, told),
            Some(_) => self.send_conditional(write.key, cmd, told),
        }
    }

    /// Puts a value into L1 while Redis is away, or does not store it.
    pub(super) fn put_away(self: &Arc<Self>, write: &Write<'_>) {
        let lives = self.lives(write.key, write.options);
        let mut locked = self.table.lock(write.key);
        locked.mutate(|| self.put(write, lives));
        self.take_back(write.key);
        drop(locked);
    }

    pub(super) fn put(self: &Arc<Self>, write: &Write<'_>, lives: Lives) {
        self.counters.l1_sets.fetch_add(1, Relaxed);
        let Some(l1) = &self.l1 else {
            return;
        };
        let now = clock::now();
        let entry = Entry {
            payload: write.payload.clone(),
            made: now,
            l1_until: now.saturating_add(lives.l1_ms),
            life_until: Some(lives.l2.ttl_ms.map_or(NEVER, |ms| now.saturating_add(ms))),
            link: self.generation_in_use(write.key),
            era: self.era(),
            extra: Extra::of(lives.l2.stale_ms, self.marks(&write.options.tags)),
        };
        if write.options.gentle && !l1.has_room(write.key, &entry) {
            return;
        }
        let put = self.keep(l1, write.key, entry);
        if put == Put::TooLarge && self.l2.is_none() {
            let size = write.payload.data.len();
            self.notices.warn(
                "value-too-large",
                &format!("a value of {size} bytes is too large for l1.maxBytes and is not kept"),
            );
        }
    }

    /// Puts what this process wrote into L1, aside as well while Redis does not take it.
    pub(super) fn keep(&self, l1: &L1, key: &Key, entry: Entry) -> Put {
        match self.link_of(key) {
            Some(link) if link.port.generation() == 0 || link.port.is_gated() => {
                l1.put_aside(key, entry)
            }
            Some(_) | None => l1.put_own(key, entry),
        }
    }

    /// Puts a counter into L1 of a cache that has no other tier; an existing one keeps its life.
    pub(super) fn put_counter(
        self: &Arc<Self>,
        key: &Key,
        payload: Payload,
        old: Option<&Entry>,
        ttl: Ttl,
    ) {
        let Some(l1) = &self.l1 else { return };
        let now = clock::now();
        let life = old.map(|old| (old.l1_until, old.life_until));
        let (l1_until, life_until) = life.unwrap_or_else(|| {
            let until = match ttl {
                Ttl::Ms(ms) => now.saturating_add(ms),
                Ttl::Default | Ttl::Never => NEVER,
            };
            (until, Some(until))
        });
        let entry = Entry {
            payload,
            made: now,
            l1_until,
            life_until,
            link: 0,
            era: self.era(),
            extra: old.and_then(|old| old.extra.clone()),
        };
        l1.put(key, entry);
    }

    /// SET of what is to be stored, or UNLINK of what was there if it is too large to be sent.
    pub(super) fn set_command(
        &self,
        write: &Write<'_>,
        lives: Lives,
        only_if: Option<OnlyIf>,
        stamps: &[Stamp],
    ) -> Cmd {
        let key = write.key;
        self.note_size(write.payload.data.len());
        if write.payload.data.len() > self.config.l2.max_value_bytes {
            let CacheError { message, .. } = self.too_large(key, &write.payload);
            self.notices.warn("value-too-large", &message);
            return commands::unlink(&[key]);
        }
        let expire = lives.in_redis();
        let is_simple = lives.l2.stale_ms == 0 && stamps.is_empty();
        let bare =
            self.config.l2.format == Format::Plain || (write.payload.is_integer() && is_simple);
        if bare {
            return commands::set(key, &write.payload.data, expire, only_if);
        }
        let entry = wire::encode(self.context(key), &write.payload, lives.l2, stamps);
        commands::set(key, &entry, expire, only_if)
    }

    pub(super) fn too_large(&self, key: &Key, payload: &Payload) -> CacheError {
        let (size, most) = (payload.data.len(), self.config.l2.max_value_bytes);
        let text = format!(
            "a value of {size} bytes exceeds l2.maxValueBytes ({most}) and is not sent to Redis"
        );
        CacheError::new(Code::ValueTooLarge, text).key(self.shown(key))
    }

    pub(super) fn lives(&self, key: &[u8], options: &WriteOptions) -> Lives {
        let shorten = 1.0 - options.jitter.unwrap_or(self.config.jitter) * fastrand::f64();
        let ttl = match options.ttl {
            Ttl::Default => self.config.l2.ttl_ms,
            Ttl::Never => None,
            Ttl::Ms(ms) => {
                self.note_ttl(ms);
                Some(ms)
            }
        };
        let shortened = |ms: u64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a life between 0 and 2^53 ms"
            )]
            let ms = (ms as f64 * shorten).ceil() as u64;
            ms.max(1)
        };
        let ttl_ms = ttl.map(shortened);
        let l1_ttl = self.config.l1.as_ref().map_or(0, |l1| l1.ttl_ms);
        let asked = shortened(options.l1_ttl.unwrap_or(l1_ttl));
        let most = match self.link_of(key) {
            None => NEVER,
            Some(_) if self.memory_mode() => NEVER,
            Some(link) if link.port.is_open() => asked,
            Some(_) => l1_ttl.saturating_add(AWAY_EXTRA_MS),
        };
        Lives {
            l1_ms: ttl_ms.unwrap_or(NEVER).min(most),
            l2: Life {
                ttl_ms,
                stale_ms: options.stale_for.unwrap_or(0),
            },
        }
    }

    fn set_only_if(
        self: &Arc<Self>,
        write: &Write<'_>,
        only_if: OnlyIf,
        waiter: Waiter,
    ) -> Option<Outcome> {
        let lives = self.lives(write.key, write.options);
        if write.payload.data.len() > self.config.l2.max_value_bytes && self.l2.is_some() {
            let CacheError { message, .. } = self.too_large(write.key, &write.payload);
            self.notices.warn("value-too-large", &message);
            return waiter.now(Outcome::Bool(false));
        }
        let mut locked = self.table.lock(write.key);
        if self.l2.is_none() {
            let there = self
                .l1
                .as_ref()
                .is_some_and(|l1| l1.get(write.key, clock::now()).is_some());
            let done = there == (only_if == OnlyIf::Present);
            if done {
                locked.mutate(|| self.put(write, lives));
            }
            return waiter.now(Outcome::Bool(done));
        }
        if self.open_link(write.key).is_none() || self.covered(write.key) {
            return waiter.now(Outcome::Error(
                self.failed(&Failure::Unavailable, write.key),
            ));
        }
        // Who wins is Redis' to say: until the next read L1 does not know.
        locked.mutate(|| self.drop_from_l1(write.key));
        let asked = Arc::clone(write.key);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                Ok(value) => Outcome::Bool(value != Value::Nil),
                Err(failure) => Outcome::Error(cache.failed(&failure, &asked)),
            });
        };
        self.send_value(locked, write, lives, Some(only_if), Box::new(told));
        None
    }

    pub(super) fn drop_from_l1(&self, key: &Key) -> bool {
        self.l1.as_ref().is_some_and(|l1| {
            let now = clock::now();
            l1.take(key).is_some_and(|entry| !entry.is_over(now))
        })
    }
}

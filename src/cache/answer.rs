//! What Redis' answer to a read does: who is told, what of it enters L1, and what an answer that cannot be right says of
//! the link.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;
use redis::Value;

use super::{
    Cache, Key,
    flight::Hold,
    read::{Found, Held, Read},
    tagging::Verdict,
};
use crate::{
    clock::{self, NEVER},
    entry::{
        Entry, Extra, Left, Payload,
        wire::{self, Context, Decoded, Stored},
    },
    l2::{
        Control,
        link::meaning_of,
        port::{Failure, Late, Reply, Request, once},
        tier::Chosen,
    },
    resilience::classify::Meaning,
    tags::Mark,
    telemetry::counters::ErrorClass,
};

impl Cache {
    /// Tells those who wait; after the deadline the read stays under way, and its late reply may still fill L1.
    pub(super) fn answered(self: &Arc<Self>, read: &Arc<Read>, reply: Reply) -> Option<Late> {
        if reply != Err(Failure::Timeout) {
            self.take_in(read, reply, read.deadline);
            return None;
        }
        {
            let _locked = self.table.lock(&read.key);
            read.late.store(true, SeqCst);
        }
        self.tell(read, &Found::Failed(Failure::Timeout));
        let (cache, read) = (Arc::clone(self), Arc::clone(read));
        Some(Box::new(move |reply| {
            let deadline = cache.deadline();
            cache.take_in(&read, reply, deadline);
        }))
    }

    fn tell(self: &Arc<Self>, read: &Read, found: &Found) {
        // Not under the lock: they take others, which those who join a read hold.
        let told = std::mem::take(&mut *read.told.lock());
        for told in told {
            told.tell(self, &read.key, found.clone());
        }
    }

    /// Reads the reply. An entry that has tags is judged by them first, which may take another exchange until `deadline`.
    fn take_in(self: &Arc<Self>, read: &Arc<Read>, reply: Reply, deadline: u64) {
        let decoded = match reply {
            Ok(Value::BulkString(data)) => Some(self.decode(&read.key, data.into())),
            Ok(Value::Nil) => None,
            Ok(_) => Some(Decoded::Foreign),
            Err(Failure::Refused(error)) if meaning_of(&error) == Meaning::WrongType => {
                self.counters.l2_errors.count(ErrorClass::Type);
                Some(Decoded::Foreign)
            }
            Err(failure) => return self.give_up(read, failure),
        };
        let stamps = match &decoded {
            Some(Decoded::Fresh(stored) | Decoded::Stale(stored)) => &stored.stamps[..],
            Some(Decoded::Bare(_) | Decoded::Gone | Decoded::Foreign | Decoded::Corrupt) | None => {
                &[]
            }
        };
        if stamps.is_empty() {
            self.fill(read, decoded, Box::default());
            return;
        }
        let (stamps, read) = (stamps.to_vec(), Arc::clone(read));
        self.judge(&stamps, deadline, move |cache, verdict| match verdict {
            Verdict::Holds(marks) => cache.fill(&read, decoded, marks),
            Verdict::Gone => cache.fill(&read, Some(Decoded::Gone), Box::default()),
            Verdict::Failed(failure) => cache.give_up(&read, failure),
        });
    }

    /// There is no answer, or none that can be believed.
    fn give_up(self: &Arc<Self>, read: &Arc<Read>, failure: Failure) {
        let _ = self.table.lock(&read.key).end_read(read);
        self.tell(read, &Found::Failed(failure));
    }

    /// Lets what was read into L1, if the key was not changed since it was asked for, and tells those who wait.
    fn fill(self: &Arc<Self>, read: &Arc<Read>, decoded: Option<Decoded>, marks: Box<[Mark]>) {
        let held_marks = marks.clone();
        let mut locked = self.table.lock(&read.key);
        let current = locked.end_read(read) && read.era == self.era();
        let now = clock::now();
        let entry = match &decoded {
            Some(Decoded::Fresh(stored) | Decoded::Stale(stored)) => {
                Some(self.entry_from_redis(&read.key, stored, marks, now))
            }
            Some(Decoded::Bare(payload)) => Some(self.bare_from_redis(&read.key, payload, now)),
            Some(Decoded::Gone | Decoded::Foreign | Decoded::Corrupt) | None => None,
        };
        let bare = entry.as_ref().map_or(0, |entry| entry.spent(now));
        if matches!(decoded, Some(Decoded::Fresh(_) | Decoded::Bare(_))) && current {
            locked.release_hold(Hold::ends_by_value);
        }
        if let Some(l1) = self
            .l1
            .as_ref()
            .filter(|_| current && !self.being_removed(&read.key))
        {
            locked.fill(|| match entry {
                Some(entry) if read.gentle.load(SeqCst) && !l1.has_room(&read.key, &entry) => (),
                Some(mut entry) => {
                    entry.era = read.era;
                    l1.put(&read.key, entry);
                }
                // Redis does not have it: what L1 kept from before the link came back is gone too.
                None => drop(l1.take(&read.key)),
            });
        }
        drop(locked);
        let found = match decoded {
            Some(Decoded::Fresh(stored)) => Found::Hit(Held::of(stored, held_marks, now)),
            Some(Decoded::Stale(stored)) => Found::Stale(Held::of(stored, held_marks, now)),
            Some(Decoded::Bare(payload)) => Found::Hit(Held {
                payload,
                age_ms: 0,
                spent: bare,
                is_stale: false,
                until: NEVER,
                marks: held_marks,
            }),
            Some(Decoded::Gone) => Found::Miss(true),
            Some(Decoded::Corrupt) => {
                self.counters.l2_errors.count(ErrorClass::Corrupt);
                if current {
                    self.discard_or_renew(&read.key);
                }
                Found::Miss(true)
            }
            Some(Decoded::Foreign) | None => Found::Miss(false),
        };
        self.tell(read, &found);
    }

    /// What Redis gave for `key` is none of its values: either it is damaged, or the link is out of step and this was the
    /// answer to another question. A ping with a word of its own tells: the entry goes, or the link. Should the word be
    /// taken for a value, it is an envelope of no known version, and so a miss.
    fn discard_or_renew(self: &Arc<Self>, key: &Key) {
        let word = [&wire::MAGIC[..], &[0xff], &fastrand::u64(..).to_be_bytes()].concat();
        let generation = self.generation_in_use(&key[..]);
        let mut ping = redis::cmd("PING");
        ping.arg(&word);
        let (cache, key) = (Arc::clone(self), Arc::clone(key));
        let settle = once(move |reply| {
            if reply == Ok(Value::BulkString(word)) {
                cache.discard(&key);
            } else if let Some(link) = cache.link_of(&key) {
                link.control(Control::Renew(generation));
            }
        });
        self.submit(Request::Raw(ping), self.deadline(), settle);
        self.wake();
    }

    fn decode(&self, key: &Key, data: Bytes) -> Decoded {
        let decoded = wire::decode(self.context(key), data, self.config.codec);
        let is_distrusted = |link: Chosen<'_>| link.distrust_bare.load(SeqCst);
        if matches!(decoded, Decoded::Bare(_)) && self.link_of(key).is_some_and(is_distrusted) {
            return Decoded::Gone;
        }
        decoded
    }

    /// With what an entry is written and read now.
    pub(super) fn context<'a>(&self, key: &'a [u8]) -> Context<'a> {
        Context {
            key,
            unix_ms: clock::unix(),
            epoch: self.epoch(key),
            sizes: self.config.l2.sizes(),
        }
    }

    /// The epoch that an entry in Redis must carry.
    pub(super) fn epoch(&self, key: &[u8]) -> u64 {
        self.link_of(key).map_or(0, |link| link.epoch.load(SeqCst))
    }

    /// A value without an envelope for L1. What is left of its life L1 may still know: it is the value that was in L1, be
    /// it past its time. Else one that Redis is about to expire would live on here for `l1.plainTtl`.
    fn bare_from_redis(&self, key: &Key, payload: &Payload, now: u64) -> Entry {
        let old = self.l1.as_ref().and_then(|l1| l1.remembered(key));
        let old = old.filter(|old| old.payload == *payload && old.life_until.is_some());
        let most = self.config.l1.as_ref().map_or(0, |l1| match old {
            Some(_) => l1.ttl_ms,
            None => l1.ttl_ms.min(l1.plain_ttl_ms),
        });
        let life_until = old.as_ref().and_then(|old| old.life_until);
        Entry {
            payload: payload.clone(),
            made: old.map_or(now, |old| old.made),
            l1_until: now.saturating_add(most).min(life_until.unwrap_or(NEVER)),
            life_until,
            link: self.generation_in_use(key),
            era: self.era(),
            extra: None,
        }
    }

    /// What Redis holds, as an entry of L1 that lives no longer than it does there.
    fn entry_from_redis(&self, key: &[u8], stored: &Stored, marks: Box<[Mark]>, now: u64) -> Entry {
        let made = now.saturating_sub(stored.age_ms);
        let most = self.config.l1.as_ref().map_or(0, |l1| l1.ttl_ms);
        // Where nobody tells of changes, it is believed no longer than its tags are.
        let believed = marks.iter().map(Mark::believed_until).min();
        let believed = believed.filter(|_| !self.hears(key)).unwrap_or(NEVER);
        let life_until = match stored.left {
            Left::Forever => NEVER,
            Left::Ms(0) => now.saturating_sub(stored.past_ms),
            Left::Ms(ms) => now.saturating_add(ms),
        };
        Entry {
            payload: stored.payload.clone(),
            made,
            l1_until: now.saturating_add(most).min(life_until).min(believed),
            life_until: Some(life_until),
            link: self.generation_in_use(key),
            era: self.era(),
            extra: Extra::of(stored.stale_ms, marks),
        }
    }
}

impl Held {
    fn of(stored: Stored, marks: Box<[Mark]>, now: u64) -> Self {
        let left = match stored.left {
            Left::Forever => NEVER,
            Left::Ms(left) => (left + stored.stale_ms).saturating_sub(stored.past_ms),
        };
        Self {
            age_ms: stored.age_ms,
            spent: stored.spent(),
            is_stale: stored.left == Left::Ms(0),
            until: now.saturating_add(left),
            marks,
            payload: stored.payload,
        }
    }
}

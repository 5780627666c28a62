//! What Redis' answer to a read does: who is told, what of it enters L1, and what an answer that cannot be right says of
//! the link.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;
use redis::Value;

use super::{
    Cache, Key,
    read::{Found, Read},
};
use crate::{
    clock::{self, NEVER},
    entry::{
        Entry, Left, Payload,
        wire::{self, Context, Decoded},
    },
    l2::{
        Control,
        link::meaning_of,
        port::{Failure, Late, Reply, Request, once},
        tier::Chosen,
    },
    resilience::classify::Meaning,
    telemetry::counters::ErrorClass,
};

impl Cache {
    /// Tells those who wait; after the deadline the read stays under way, and its late reply may still fill L1.
    pub(super) fn answered(self: &Arc<Self>, read: &Arc<Read>, reply: Reply) -> Option<Late> {
        if reply != Err(Failure::Timeout) {
            let found = self.take_in(read, reply);
            self.tell(read, &found);
            return None;
        }
        {
            let _locked = self.table.lock(&read.key);
            read.late.store(true, SeqCst);
        }
        self.tell(read, &Found::Failed(Failure::Timeout));
        let (cache, read) = (Arc::clone(self), Arc::clone(read));
        Some(Box::new(move |reply| {
            let found = cache.take_in(&read, reply);
            cache.tell(&read, &found);
        }))
    }

    fn tell(self: &Arc<Self>, read: &Read, found: &Found) {
        for told in std::mem::take(&mut *read.told.lock()) {
            told(self, found.clone());
        }
    }

    /// Reads the reply and lets it into L1, if the key was not changed since it was asked for.
    fn take_in(self: &Arc<Self>, read: &Arc<Read>, reply: Reply) -> Found {
        let decoded = match reply {
            Ok(Value::BulkString(data)) => Some(self.decode(&read.key, data.into())),
            Ok(Value::Nil) => None,
            Ok(_) => Some(Decoded::Foreign),
            Err(Failure::Refused(error)) if meaning_of(&error) == Meaning::WrongType => {
                self.counters.l2_errors.count(ErrorClass::Type);
                Some(Decoded::Foreign)
            }
            Err(failure) => {
                let _ = self.table.lock(&read.key).end_read(read);
                return Found::Failed(failure);
            }
        };
        let mut locked = self.table.lock(&read.key);
        let current = locked.end_read(read) && read.era == self.era();
        let entry = match &decoded {
            Some(Decoded::Fresh(payload, left)) => {
                Some(self.entry_from_redis(&read.key, payload, Some(*left)))
            }
            Some(Decoded::Bare(payload)) => {
                let left = self.remembered_life(&read.key, payload);
                Some(self.entry_from_redis(&read.key, payload, left))
            }
            Some(Decoded::Gone | Decoded::Foreign | Decoded::Corrupt) | None => None,
        };
        if let Some(l1) = self
            .l1
            .as_ref()
            .filter(|_| current && !self.being_removed(&read.key))
        {
            locked.fill(|| match entry {
                Some(mut entry) => {
                    entry.era = read.era;
                    self.after_put(l1.put(&read.key, entry));
                }
                // Redis does not have it: what L1 kept from before the link came back is gone too.
                None => drop(l1.take(&read.key)),
            });
        }
        drop(locked);
        match decoded {
            Some(Decoded::Fresh(payload, _) | Decoded::Bare(payload)) => Found::Hit(payload),
            Some(Decoded::Gone) => Found::Miss(true),
            Some(Decoded::Corrupt) => {
                self.counters.l2_errors.count(ErrorClass::Corrupt);
                if current {
                    self.discard_or_renew(&read.key);
                }
                Found::Miss(true)
            }
            Some(Decoded::Foreign) | None => Found::Miss(false),
        }
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
        let context = Context {
            key,
            unix_ms: clock::unix(),
            epoch: self.epoch(key),
        };
        let decoded = wire::decode(context, data, self.config.codec);
        let is_distrusted = |link: Chosen<'_>| link.distrust_bare.load(SeqCst);
        if matches!(decoded, Decoded::Bare(_)) && self.link_of(key).is_some_and(is_distrusted) {
            return Decoded::Gone;
        }
        decoded
    }

    /// The epoch that an entry in Redis must carry.
    pub(super) fn epoch(&self, key: &[u8]) -> u64 {
        self.link_of(key).map_or(0, |link| link.epoch.load(SeqCst))
    }

    /// What is left of the life of a value without an envelope, if L1 still knows: it is the value that was in L1, be it
    /// past its time. Else one that Redis is about to expire would live on here for `l1.plainTtl`.
    fn remembered_life(&self, key: &Key, payload: &Payload) -> Option<Left> {
        let old = self.l1.as_ref()?.remembered(key)?;
        (old.payload == *payload).then(|| old.life_left(clock::now()))?
    }

    /// An entry for L1 of what Redis holds; `left` is what is left of its life, if anybody but Redis knows.
    fn entry_from_redis(&self, key: &[u8], payload: &Payload, left: Option<Left>) -> Entry {
        let now = clock::now();
        let l1 = self.config.l1.as_ref();
        let most = l1.map_or(0, |l1| match left {
            Some(_) => l1.ttl_ms,
            None => l1.ttl_ms.min(l1.plain_ttl_ms),
        });
        let life_until = left.map(|left| match left {
            Left::Forever => NEVER,
            Left::Ms(ms) => now.saturating_add(ms),
        });
        Entry {
            payload: payload.clone(),
            l1_until: now.saturating_add(most).min(life_until.unwrap_or(NEVER)),
            life_until,
            link: self.generation_in_use(key),
            era: self.era(),
        }
    }
}

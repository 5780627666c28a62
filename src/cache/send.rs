//! The way of a write to Redis, and into the journal if Redis does not confirm it.

use std::sync::Arc;

use redis::{Cmd, ServerError};

use super::{Cache, Key, Outcome};
use crate::{
    l2::{
        Link, commands,
        link::meaning_of,
        port::{Failure, Late, Reply, Request},
    },
    resilience::gate::Kind,
};

/// Who is told what Redis answered to a write.
pub(super) type Told = Box<dyn FnOnce(&Arc<Cache>, Reply) + Send>;

impl Cache {
    /// Sends a command that puts `keys` right, whatever they held. Call it under the stripe locks of the keys. What
    /// Redis does not confirm is journaled before `told` hears of it.
    pub(super) fn send_write(self: &Arc<Self>, keys: &[Key], cmd: Cmd, told: Told) {
        self.send_change(keys, cmd, true, told);
    }

    /// As [`Cache::send_write`], for a command that may leave a key as it is, or build on what is there: a key that is
    /// journaled is deleted before it.
    pub(super) fn send_conditional(self: &Arc<Self>, key: &Key, cmd: Cmd, told: Told) {
        self.unlink_if_journaled(key);
        self.send_change(std::slice::from_ref(key), cmd, false, told);
    }

    /// Deletes the key in Redis if what is there is no longer true. Call it under the stripe lock of the key.
    pub(super) fn unlink_if_journaled(self: &Arc<Self>, key: &Key) {
        if self.journaled(key) {
            let unlink = commands::unlink(&[key]);
            self.send_write(std::slice::from_ref(key), unlink, Box::new(|_, _| ()));
        }
    }

    /// `settles`: a good reply says that Redis holds nothing older of the keys.
    fn send_change(self: &Arc<Self>, keys: &[Key], cmd: Cmd, settles: bool, told: Told) {
        let Some(link) = self.link.clone() else {
            told(self, Err(Failure::Unavailable));
            return;
        };
        let written: Vec<(Key, u64)> = {
            let mut journal = link.journal.lock();
            keys.iter()
                .map(|key| (Arc::clone(key), journal.begin_write(key)))
                .collect()
        };
        let kind = commands::kind(&cmd);
        let cache = Arc::clone(self);
        let settle = Box::new(move |reply: Reply| -> Option<Late> {
            let late = reply == Err(Failure::Timeout);
            link.heard_of_write(kind, &reply);
            cache.note_reply(&link, &written, settles, &reply);
            told(&cache, reply);
            if !late {
                return None;
            }
            Some(Box::new(move |reply| {
                for (key, seq) in &written {
                    link.end_write(key, *seq, settles && reply.is_ok());
                }
            }))
        });
        self.submit(Request::Write(cmd, keys.to_vec()), self.deadline(), settle);
    }

    /// What the end of a write means for the journal. One whose deadline passed is under way until its late reply.
    fn note_reply(&self, link: &Link, written: &[(Key, u64)], settles: bool, reply: &Reply) {
        let alone = written.len() == 1;
        for (key, seq) in written {
            let seq = *seq;
            match reply {
                Ok(_) => link.end_write(key, seq, settles),
                // Refused for good, if it is this key that was: of several one is enough.
                Err(Failure::Refused(error)) if alone && meaning_of(error).is_for_good() => {
                    link.end_write(key, seq, true);
                }
                Err(Failure::Timeout) => link.doubt_write(key, seq),
                Err(_) => {
                    link.doubt_write(key, seq);
                    link.end_write(key, seq, false);
                }
            }
        }
        if let Err(Failure::Refused(error)) = reply
            && meaning_of(error).is_for_good()
        {
            self.warn_of_forbidden(error);
        }
    }

    /// Tells that this user may not write what was to be written.
    pub(super) fn warn_of_forbidden(&self, error: &ServerError) {
        let detail = error.details().unwrap_or_default();
        self.notices.warn(
            "write-forbidden",
            &format!("Redis refuses to write this key to this user: {detail}"),
        );
    }

    /// What Redis holds of a key that was changed, and is not stored there, is no longer true: it is deleted, or journaled
    /// while Redis is away. Call it under the stripe lock of the key.
    pub(super) fn take_back(self: &Arc<Self>, key: &Key) {
        if self.covered(key) && self.taking_link(Kind::Deletion).is_some() {
            let unlink = commands::unlink(&[key]);
            self.send_write(std::slice::from_ref(key), unlink, Box::new(|_, _| ()));
        } else {
            self.distrust(key);
        }
    }

    /// Journals a key that was changed while Redis is away.
    pub(super) fn distrust(&self, key: &Key) {
        if let Some(link) = &self.link {
            link.distrust(key);
        }
    }

    /// What a write comes to while Redis is away: L1's part, or the error of a strict call.
    pub(super) fn away(&self, key: &Key, strict: bool, local: Outcome) -> Outcome {
        if strict && self.link.is_some() {
            Outcome::Error(self.failed(&Failure::Unavailable, key))
        } else {
            local
        }
    }
}

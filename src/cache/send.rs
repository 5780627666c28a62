//! The way of a write to Redis, and into the journal if Redis does not confirm it.

use std::sync::Arc;

use redis::{Cmd, ServerError};
use smallvec::SmallVec;

use super::{Cache, Key, Outcome};
use crate::{
    l2::{
        commands,
        link::meaning_of,
        port::{Failure, Late, Reply, Request},
        tier::Tier,
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
        let Some(l2) = self.l2.clone() else {
            told(self, Err(Failure::Unavailable));
            return;
        };
        let begun = |key: &Key| l2.journal(key, |journal| journal.begin_write(key));
        let written: SmallVec<[(Key, u64); 1]> = keys
            .iter()
            .map(|key| (Arc::clone(key), begun(key)))
            .collect();
        let kind = commands::kind(&cmd);
        let cache = Arc::clone(self);
        let settle = Box::new(move |reply: Reply| -> Option<Late> {
            let late = reply == Err(Failure::Timeout);
            if let Some((key, _)) = written.first() {
                l2.of(key).heard_of_write(kind, &reply);
            }
            cache.note_reply(&l2, &written, settles, &reply);
            told(&cache, reply);
            if !late {
                return None;
            }
            Some(Box::new(move |reply| {
                for (key, seq) in &written {
                    end_write(&l2, key, *seq, settles && reply.is_ok());
                }
            }))
        });
        self.submit(Request::Write(cmd, keys.to_vec()), self.deadline(), settle);
    }

    /// What the end of a write means for the journal. One whose deadline passed is under way until its late reply.
    fn note_reply(&self, l2: &Tier, written: &[(Key, u64)], settles: bool, reply: &Reply) {
        let alone = written.len() == 1;
        for (key, seq) in written {
            let seq = *seq;
            match reply {
                Ok(_) => end_write(l2, key, seq, settles),
                // Refused for good, if it is this key that was: of several one is enough.
                Err(Failure::Refused(error)) if alone && meaning_of(error).is_for_good() => {
                    end_write(l2, key, seq, true);
                }
                Err(Failure::Timeout) => doubt_write(l2, key, seq),
                Err(_) => {
                    doubt_write(l2, key, seq);
                    end_write(l2, key, seq, false);
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
        if self.covered(key) && self.takes(key, Kind::Deletion) {
            let unlink = commands::unlink(&[key]);
            self.send_write(std::slice::from_ref(key), unlink, Box::new(|_, _| ()));
        } else {
            self.distrust(key);
        }
    }

    /// Journals a key that was changed while Redis is away.
    pub(super) fn distrust(&self, key: &Key) {
        if let Some(l2) = &self.l2 {
            l2.journal(key, |journal| journal.record(Arc::clone(key)));
        }
    }

    /// What a write comes to while Redis is away: L1's part, or the error of a strict call.
    pub(super) fn away(&self, key: &Key, strict: bool, local: Outcome) -> Outcome {
        if strict && self.l2.is_some() {
            Outcome::Error(self.failed(&Failure::Unavailable, key))
        } else {
            local
        }
    }
}

/// The write of `key` that was given `seq` is over; if it is `confirmed`, Redis holds nothing older.
fn end_write(l2: &Tier, key: &Key, seq: u64, confirmed: bool) {
    l2.journal(key, |journal| {
        journal.end_write(key);
        if confirmed {
            journal.acknowledge(key, seq);
        }
    });
}

/// The write of `key` that was given `seq` may not have been carried out.
fn doubt_write(l2: &Tier, key: &Key, seq: u64) {
    l2.journal(key, |journal| journal.record_write(key, seq));
}

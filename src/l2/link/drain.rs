//! Drains the journal while the link is up: keys by UNLINK, patterns and a collapse by a task of their own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::task::JoinHandle;

use super::{Serving, meaning_of};
use crate::{
    l2::{
        barrier::{self, Walked},
        commands,
        port::{Failure, Late, Reply},
    },
    resilience::{gate::Kind, journal::Journal},
};

/// How often the journal is drained.
pub(super) const DRAIN_MS: u64 = 250;
/// How rarely at least, where the server refuses all that is asked.
const RARELY_MS: u64 = 60_000;
/// Keys deleted in one go.
const DRAIN_KEYS: usize = 64;

/// What became of the last drain.
#[derive(Default)]
pub(super) struct Drained {
    some: AtomicBool,
    refused: AtomicBool,
}

impl Drained {
    /// How long to wait for the next drain, after one that waited `last_ms`.
    fn pause(&self, last_ms: u64) -> u64 {
        let (refused, some) = (
            self.refused.swap(false, Relaxed),
            self.some.swap(false, Relaxed),
        );
        if refused && !some {
            (last_ms * 2).min(RARELY_MS)
        } else {
            DRAIN_MS
        }
    }
}

impl Serving<'_> {
    /// Deletes journaled keys in Redis; an entry leaves on its own good reply.
    pub(super) fn drain(&mut self, now: u64) {
        self.drain_ms = self.drained.pause(self.drain_ms);
        self.next_drain = now + self.drain_ms;
        let (mut due, wide) = {
            let journal = self.link.journal.lock();
            (
                journal.batch(0, DRAIN_KEYS),
                journal.is_whole() || journal.patterns().next().is_some(),
            )
        };
        let wide = wide && self.removal.as_ref().is_none_or(JoinHandle::is_finished);
        let most = self.link.takes_deletions(due.len() + usize::from(wide));
        due.truncate(most);
        let wide = wide && most > due.len();
        let deadline = now + self.setting.config.l2.timeout_ms();
        for (key, _) in due {
            let unlink = commands::unlink(&[&key]);
            let seq = self.link.with_journal(&self.setting.tier, &key, |journal| {
                journal.begin_write(&key)
            });
            let (link, setting) = (Arc::clone(self.link), self.setting.clone());
            let drained = Arc::clone(&self.drained);
            let settle = Box::new(move |reply: Reply| -> Option<Late> {
                let end = move |reply: Reply| {
                    link.heard_of_write(Kind::Deletion, &reply);
                    let is_done = done_for_good(&reply);
                    link.with_journal(&setting.tier, &key, |journal| {
                        journal.end_write(&key);
                        if is_done {
                            journal.acknowledge(&key, seq);
                        }
                    });
                    if let Err(Failure::Refused(error)) = &reply {
                        barrier::tell_of_refusal(&link, &setting, error, !is_done);
                    }
                    if is_done {
                        drained.some.store(true, Relaxed);
                    } else if matches!(reply, Err(Failure::Refused(_))) {
                        drained.refused.store(true, Relaxed);
                        let postpone = |journal: &mut Journal| journal.postpone(&key, seq);
                        link.with_journal(&setting.tier, &key, postpone);
                    }
                };
                if reply == Err(Failure::Timeout) {
                    return Some(Box::new(end));
                }
                end(reply);
                None
            });
            self.submit(unlink, deadline, settle);
        }
        if wide {
            let (link, setting) = (Arc::clone(self.link), self.setting.clone());
            let (redis, drained) = (self.connection.redis.clone(), Arc::clone(&self.drained));
            self.removal = Some(tokio::spawn(async move {
                // What is not confirmed is tried again at the next drain.
                match barrier::walk(&link, &setting, &redis).await {
                    Walked::Done => drained.some.store(true, Relaxed),
                    Walked::Refused => drained.refused.store(true, Relaxed),
                    Walked::Broken => (),
                }
                // The link's mode may be another now.
                link.port.wake();
            }));
        }
    }
}

/// Whether nothing remains to be done about a key: its deletion was carried out, or is refused for good.
fn done_for_good(reply: &Reply) -> bool {
    match reply {
        Ok(_) => true,
        Err(Failure::Refused(error)) => meaning_of(error).is_for_good(),
        Err(_) => false,
    }
}

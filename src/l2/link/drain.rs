//! Drains the journal while the link is up: keys by UNLINK, patterns and a collapse by a task of their own.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Serving, meaning_of};
use crate::{
    l2::{
        barrier, commands,
        port::{Failure, Late, Reply},
    },
    resilience::gate::Kind,
};

/// How often the journal is drained.
const DRAIN_MS: u64 = 250;
/// Keys deleted in one go.
const DRAIN_KEYS: usize = 64;

impl Serving<'_> {
    /// Deletes journaled keys in Redis; an entry leaves on its own good reply.
    pub(super) fn drain(&mut self, now: u64) {
        self.next_drain = now + DRAIN_MS;
        let (mut due, wide) = {
            let journal = self.link.journal.lock();
            (
                journal.batch(0, DRAIN_KEYS),
                journal.collapsed() || journal.patterns().next().is_some(),
            )
        };
        let wide = wide && self.removal.as_ref().is_none_or(JoinHandle::is_finished);
        let most = self.link.takes_deletions(due.len() + usize::from(wide));
        due.truncate(most);
        let wide = wide && most > due.len();
        let deadline = now + self.setting.config.l2.timeout_ms();
        for (key, _) in due {
            let unlink = commands::unlink(&[&key]);
            let seq = self.link.journal.lock().begin_write(&key);
            let link = Arc::clone(self.link);
            let settle = Box::new(move |reply: Reply| -> Option<Late> {
                let end = move |reply: Reply| {
                    link.heard_of_write(Kind::Deletion, &reply);
                    link.end_write(&key, seq, done_for_good(&reply));
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
            let (link, config) = (Arc::clone(self.link), Arc::clone(&self.setting.config));
            let mut redis = self.connection.redis.clone();
            self.removal = Some(tokio::spawn(async move {
                // What is not confirmed is tried again at the next drain.
                let _ = barrier::replay_patterns(&link, &config, &mut redis).await;
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

//! The plan's quota, while the link is up: what was sent is counted, written to Redis now and then, and told when it
//! nears its end. Decides nothing of that: `resilience::quota` does.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Serving, meaning_of, server_text};
use crate::{
    clock,
    l2::{
        Event, Link, Setting, commands,
        port::{Failure, Reply, once},
    },
    resilience::{classify::Meaning, quota::Flush},
};

/// How long the count in Redis outlives its last window.
const KEPT_MS: u64 = 40 * 86_400_000;

impl Serving<'_> {
    /// Counts what was sent since the last call, and writes the count to Redis if it is time.
    pub(super) fn spend(&mut self) {
        let Some(quota) = &self.link.shared.quota else {
            return;
        };
        let sent = self.link.counters.l2_commands.load(Relaxed);
        let news = sent - self.link.shared.spent.swap(sent, Relaxed);
        if news > 0 {
            let passed = quota.lock().count(clock::unix(), news);
            tell(self.link, self.setting, passed);
        }
        if !self.link.port.is_open() || self.link.port.is_gated() {
            return;
        }
        let (flush, first) = {
            let mut quota = quota.lock();
            (quota.flush_due(clock::unix()), !quota.is_anchored())
        };
        let first =
            first || (flush.is_some() && self.link.shared.count_is_new.swap(false, Relaxed));
        if let Some(flush) = flush {
            self.write_spending(flush, first);
        }
    }

    /// Adds to the count in Redis; the `first` time in a window, or since somebody deleted it, the key is given a life too.
    fn write_spending(&mut self, flush: Flush, first: bool) {
        let key = format!("{}~quota", self.setting.config.prefix);
        let deadline = clock::now() + self.setting.config.l2.timeout_ms();
        let add = commands::add(&key, &flush.field, flush.add);
        let (link, setting) = (Arc::clone(self.link), self.setting.clone());
        let settle = once(move |reply| {
            written(&link, &setting, &flush, first, &reply);
        });
        self.submit(add, deadline, settle);
        if first {
            self.submit(
                commands::expire(key.as_bytes(), Some(KEPT_MS)),
                deadline,
                once(|_| ()),
            );
        }
    }

    /// The server said how many connections it has, and how many it may have.
    pub(in crate::l2) fn note_connections(&self) {
        let given = self.setting.config.quota.as_ref();
        let limit = given.and_then(|quota| quota.connections);
        let used = limit.and_then(|limit| self.link.status.lock().server.connections(limit));
        let (Some(quota), Some((open, limit))) = (&self.link.shared.quota, used) else {
            return;
        };
        if quota
            .lock()
            .connections(clock::unix(), open, limit)
            .is_some()
        {
            let text =
                format!("{open} of {limit} connections are used, further ones will be refused");
            warn(self.link, self.setting, "connections-nearly-used", text);
        }
    }
}

/// The server refused a command, in these words, since the quota is spent.
pub(in crate::l2) fn note_refusal(link: &Link, setting: &Setting, text: &str) {
    if let Some(quota) = &link.shared.quota {
        let passed = quota.lock().refused(clock::unix(), text);
        tell(link, setting, passed);
    }
}

fn written(link: &Link, setting: &Setting, flush: &Flush, first: bool, reply: &Reply) {
    let Some(quota) = &link.shared.quota else {
        return;
    };
    let total = reply.as_ref().ok().and_then(commands::integer);
    match (total.and_then(|total| u64::try_from(total).ok()), reply) {
        (Some(total), _) => {
            link.shared
                .count_is_new
                .store(total == flush.add && !first, Relaxed);
            let passed = quota.lock().flushed(clock::unix(), flush, total);
            tell(link, setting, passed);
        }
        // Asked again it would be refused again, and billed: not before the next window.
        (None, Err(Failure::Refused(error))) if is_final(meaning_of(error)) => {
            let text = server_text(error);
            warn(
                link,
                setting,
                "quota-not-shared",
                format!(
                    "the quota counts this process only, since Redis refuses to share its count: {text}"
                ),
            );
        }
        (None, _) => quota.lock().flush_failed(flush),
    }
}

/// Whether the count cannot be written as things are.
fn is_final(meaning: Meaning) -> bool {
    matches!(
        meaning,
        Meaning::Forbidden | Meaning::WrongType | Meaning::Caller
    )
}

fn warn(link: &Link, setting: &Setting, code: &'static str, message: String) {
    tracing::warn!(
        cache = link.cache,
        event = "warning",
        code,
        "Redis: {message}"
    );
    setting.application.tell(Event::Warning { code, message });
}

/// Tells of a threshold that was passed.
fn tell(link: &Link, setting: &Setting, passed: Option<f64>) {
    let (Some(quota), Some(at)) = (&link.shared.quota, passed) else {
        return;
    };
    let usage = quota.lock().usage(clock::unix());
    let (used, limit, ratio) = (usage.used, usage.limit, usage.ratio);
    tracing::warn!(
        cache = link.cache,
        event = "quota",
        used,
        limit,
        "Redis: more than {:.0} % of the plan's commands are used",
        at * 100.0
    );
    setting
        .application
        .tell(Event::Quota { used, limit, ratio });
}

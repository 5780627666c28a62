//! The plan's quota, while the link is up: what was sent is counted, written to Redis now and then, and told when it
//! nears its end. Decides nothing of that: `resilience::quota` does.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::Serving;
use crate::{
    clock,
    config::Connections,
    l2::{Event, Link, Setting, commands, port::once},
    resilience::quota::Flush,
};

/// How long the count in Redis outlives its last window.
const KEPT_MS: u64 = 40 * 86_400_000;

impl Serving<'_> {
    /// Counts what was sent since the last call, and writes the count to Redis if it is time.
    pub(super) fn spend(&self) {
        let Some(quota) = &self.link.quota else {
            return;
        };
        let sent = self.link.counters.l2_commands.load(Relaxed);
        let news = sent - self.link.spent.swap(sent, Relaxed);
        let now = clock::unix();
        if news > 0 {
            let passed = quota.lock().count(now, news);
            tell(self.link, self.setting, passed);
        }
    }

    /// What is to be added to the count in Redis now, if anything is.
    pub(super) fn write_spending(&mut self) {
        let (Some(quota), true) = (&self.link.quota, self.link.port.is_open()) else {
            return;
        };
        let (flush, first) = {
            let mut quota = quota.lock();
            (quota.flush_due(clock::unix()), !quota.is_anchored())
        };
        let Some(flush) = flush else { return };
        let key = format!("{}~quota", self.setting.config.prefix);
        let deadline = clock::now() + self.setting.config.l2.timeout_ms();
        let add = commands::add(&key, &flush.field, flush.add);
        let (link, setting) = (Arc::clone(self.link), self.setting.clone());
        let settle = once(move |reply| {
            let total = reply.ok().as_ref().and_then(commands::integer);
            written(&link, &setting, &flush, total);
        });
        self.submit(add, deadline, settle);
        if first {
            self.submit(commands::expire(&key, KEPT_MS), deadline, once(|_| ()));
        }
    }

    /// The server said how many connections it has, and how many it may have.
    pub(in crate::l2) fn note_connections(&self) {
        let (open, most) = {
            let server = &self.link.status.lock().server;
            (server.connected_clients, server.max_clients)
        };
        let limit = match self
            .setting
            .config
            .quota
            .as_ref()
            .and_then(|quota| quota.connections)
        {
            Some(Connections::AtMost(limit)) => Some(limit),
            Some(Connections::Server) => most,
            None => None,
        };
        let (Some(quota), Some(open), Some(limit)) = (&self.link.quota, open, limit) else {
            return;
        };
        if quota
            .lock()
            .connections(clock::unix(), open, limit)
            .is_some()
        {
            self.setting.application.tell(Event::Warning {
                code: "connections-nearly-used",
                message: format!(
                    "Redis has {open} of {limit} connections: it will refuse further ones"
                ),
            });
        }
    }

    /// The server refused a command, in these words, since the quota is spent.
    pub(super) fn note_refusal(&self, text: &str) {
        if let Some(quota) = &self.link.quota {
            let passed = quota.lock().refused(clock::unix(), text);
            tell(self.link, self.setting, passed);
        }
    }
}

fn written(link: &Link, setting: &Setting, flush: &Flush, total: Option<i64>) {
    let Some(quota) = &link.quota else { return };
    let total = total.and_then(|total| u64::try_from(total).ok());
    let mut counted = quota.lock();
    let passed = if let Some(total) = total {
        counted.flushed(clock::unix(), flush, total)
    } else {
        counted.flush_failed(flush);
        None
    };
    drop(counted);
    tell(link, setting, passed);
}

/// Tells of a threshold that was passed.
fn tell(link: &Link, setting: &Setting, passed: Option<f64>) {
    let (Some(quota), Some(at)) = (&link.quota, passed) else {
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

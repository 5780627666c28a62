//! The figures that `advice` in `health()` is told from, and the noting of those that nothing else counts. The rules are in
//! `telemetry::advice`.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::Cache;
use crate::{
    config::Connections,
    l1::Figures,
    l2::Link,
    telemetry::advice::{self, Advice, SHORT_TTL_MS},
};

impl Cache {
    /// What is worth changing; `l1` are the figures of L1.
    pub(super) fn advice(&self, l1: Figures) -> Value {
        let counts = self.counters.read();
        let figures = advice::Figures {
            counts: &counts,
            l1: self.config.l1.as_ref().map(|config| advice::Memory {
                bytes: l1.bytes,
                max_bytes: config.max_bytes,
                evicted: l1.evicted,
                renewed: l1.renewed,
                ttl_ms: config.ttl_ms,
            }),
            l2: self.l2.as_ref().map(|l2| advice::Server {
                max_value_bytes: self.config.l2.max_value_bytes as u64,
                namespaced: !self.config.prefix.is_empty(),
                connections: self.connections_used(&l2.any()),
                quota: self.quota_advice(),
            }),
            ttl_ms: self.config.l2.ttl_ms,
            logger: self.config.logger,
            short_ttl: self.short_ttl.load(Relaxed),
        };
        advice::advise(&figures)
            .into_iter()
            .map(|Advice { code, message }| json!({ "code": code, "message": message }))
            .collect()
    }

    fn quota_advice(&self) -> Option<advice::Quota> {
        let warn_at = self.config.quota.as_ref()?.warn_at.first()?;
        let usage = self.quota_usage()?;
        Some(advice::Quota {
            ratio: usage.ratio,
            warn_at: *warn_at,
        })
    }

    /// The used share of the connections that there may be: as many as the quota says, or else the server.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn connections_used(&self, link: &Link) -> Option<f64> {
        let given = self.config.quota.as_ref();
        let limit = given.and_then(|quota| quota.connections);
        let limit = limit.unwrap_or(Connections::Server);
        let (open, limit) = link.status.lock().server.connections(limit)?;
        (limit > 0).then(|| open as f64 / limit as f64)
    }

    /// Notes a life that was probably meant in seconds.
    pub(super) fn note_ttl(&self, ttl_ms: u64) {
        if ttl_ms < SHORT_TTL_MS {
            self.short_ttl.store(true, Relaxed);
        }
    }

    /// Notes the size of a value for Redis.
    pub(super) fn note_size(&self, bytes: usize) {
        if self.l2.is_some() {
            self.counters.largest_value.fetch_max(bytes as u64, Relaxed);
        }
    }

    /// Notes a step of SCAN that found `matches` and goes on at `next`. The last step of a walk is not counted: nobody
    /// knows how few keys it looked at.
    pub(super) fn note_step(&self, next: &str, count: usize, matches: usize) {
        if next != "0" {
            self.counters.scanned.fetch_add(count as u64, Relaxed);
            self.counters
                .scan_matches
                .fetch_add(matches as u64, Relaxed);
        }
    }
}

//! What the cache says of itself: `health()`, `stats()` and `metrics()`. Reads counters and the link's figures; costs
//! microseconds, so that it may be called as often as one likes.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::Cache;
use crate::{
    clock,
    entry::Payload,
    l1::Figures,
    l2::hearing::Hearing,
    resilience::{breaker::BreakerState, mode::Mode, quota::Usage, state::LinkState},
    telemetry::{
        counters::EvictionCause,
        prometheus::{self, Snapshot},
    },
};

impl Cache {
    /// The health report as JSON text.
    #[must_use]
    pub fn health(&self, verbose: bool) -> String {
        let figures = self.figures();
        let mut report = json!({
            "status": self.status(),
            "cache": {
                "mode": self.mode(),
                "l1": self.l1_health(figures),
                "l2": self.l2_health(),
                "pending_invalidations": self.pending_invalidations(),
                "quota": self.quota_health(),
                "advice": self.advice(figures),
            },
        });
        if verbose {
            self.add_details(&mut report);
        }
        report.to_string()
    }

    /// The last link events and the last INFO, as far as there is a link and an INFO.
    fn add_details(&self, report: &mut Value) {
        let (mut events, mut info) = (Vec::new(), Value::Null);
        if let Some(link) = &self.link {
            let status = link.status.lock();
            events.extend(
                status
                    .events
                    .iter()
                    .map(|(at, what)| json!({ "at": iso(*at), "event": what })),
            );
            let fields = status
                .info
                .lines()
                .filter_map(|line| line.trim_end().split_once(':'));
            if !status.info.is_empty() {
                info = fields
                    .map(|(name, value)| (name.to_owned(), Value::from(value)))
                    .collect();
            }
        }
        report["events"] = events.into();
        report["info"] = info;
    }

    fn status(&self) -> &'static str {
        if self.is_closed() {
            return "closed";
        }
        let forced = self.memory_mode() && !self.config.memory_mode;
        let usable = match self.state() {
            LinkState::Up => self.mode() == Mode::Tiered.as_str(),
            // Nobody wanted it yet, or nobody is to have it.
            LinkState::Idle => {
                self.link.is_none() || self.memory_mode() || self.generation_in_use() == 0
            }
            LinkState::Connecting
            | LinkState::Recovering
            | LinkState::Suspect
            | LinkState::Down
            | LinkState::Closed => false,
        };
        if usable && !forced {
            "healthy"
        } else {
            "degraded"
        }
    }

    /// Which tiers serve now.
    fn mode(&self) -> &'static str {
        match self.link.as_ref().filter(|_| self.admitted()) {
            Some(link) => link.status.lock().mode,
            None => Mode::Memory.as_str(),
        }
    }

    fn l1_health(&self, figures: Figures) -> Value {
        let counts = self.counters.read();
        let asked = counts.l1_hits + counts.l1_misses;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = if asked == 0 {
            0.0
        } else {
            counts.l1_hits as f64 / asked as f64
        };
        json!({
            "hits": counts.l1_hits,
            "misses": counts.l1_misses,
            "sets": counts.l1_sets,
            "deletes": counts.l1_deletes,
            "size": figures.entries,
            "hitRate": rate,
            "bytes": figures.bytes,
            "maxBytes": self.l1.as_ref().map_or(0, crate::l1::L1::max_bytes),
            "evictions": figures.evicted + figures.expired,
        })
    }

    fn l2_health(&self) -> Value {
        let mut report = json!({
            "total_commands": null,
            "total_connections": null,
            "total_keys": null,
            "state": self.state().as_str(),
            "latency_ms": null,
            "last_ping": null,
            "last_error": null,
            "commands": self.counters.l2_commands.load(Relaxed),
            "reconnects": self.counters.l2_reconnects.load(Relaxed),
            "in_flight": 0,
            "breaker": self.breaker_state(),
            "admission": self.admission(),
            "invalidation": { "mode": "off", "reason": null, "losses": 0, "lag_ms": null },
        });
        let Some(link) = &self.link else {
            return report;
        };
        let mut status = link.status.lock();
        status.watched = true;
        report["total_commands"] = status.server.total_commands.into();
        report["total_connections"] = status.server.total_connections.into();
        report["total_keys"] = status.server.total_keys.into();
        report["latency_ms"] = status
            .latency_ms
            .map(|ms| (ms * 1_000.0).round() / 1_000.0)
            .into();
        report["last_ping"] = status.last_ping.map(iso).into();
        report["in_flight"] = status.in_flight.into();
        let Hearing {
            way,
            reason,
            losses,
            lag_ms,
        } = &status.hearing;
        report["invalidation"] =
            json!({ "mode": way.as_str(), "reason": reason, "losses": losses, "lag_ms": lag_ms });
        report["last_error"] = status.last_error.as_ref().map_or(
            Value::Null,
            |error| json!({ "code": error.code, "message": error.message, "at": iso(error.at) }),
        );
        report
    }

    fn breaker_state(&self) -> &'static str {
        let state = self.link.as_ref().map(|link| link.status.lock().breaker);
        state.unwrap_or(BreakerState::Closed).as_str()
    }

    /// Whether reads are sent to Redis.
    fn admitted(&self) -> bool {
        self.generation_in_use() != 0 && self.open_link().is_some()
    }

    /// The share of reads that is sent to Redis.
    fn admission(&self) -> Value {
        let link = self.link.as_ref().filter(|_| self.admitted());
        match link.map_or(0.0, |link| link.port.admission()) {
            share if share >= 1.0 => 1.into(),
            share if share > 0.0 => share.into(),
            _ => 0.into(),
        }
    }

    fn pending_invalidations(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.port.journaled())
    }

    pub(super) fn quota_usage(&self) -> Option<Usage> {
        let quota = self.link.as_ref()?.quota.as_ref()?;
        Some(quota.lock().usage(clock::unix()))
    }

    fn quota_health(&self) -> Value {
        self.quota_usage().map_or(Value::Null, |usage| {
            json!({
                "used": usage.used,
                "limit": usage.limit,
                "ratio": usage.ratio,
                "window": usage.window.as_str(),
                "resets_at": iso(usage.resets_at),
                "source": usage.source.as_str(),
                "forecast_at": usage.forecast_at.map(iso),
            })
        })
    }

    /// All figures since the start as flat JSON.
    #[must_use]
    pub fn stats(&self) -> String {
        let (counts, figures) = (self.counters.read(), self.figures());
        json!({
            "l1Hits": counts.l1_hits,
            "l1Misses": counts.l1_misses,
            "l1Sets": counts.l1_sets,
            "l1Deletes": counts.l1_deletes,
            "l1Evictions": figures.evicted + figures.expired,
            "l1Entries": figures.entries,
            "l1Bytes": figures.bytes,
            "l2Hits": counts.l2_hits,
            "l2Misses": counts.l2_misses,
            "l2Commands": counts.l2_commands,
            "l2Errors": counts.l2_errors.iter().sum::<u64>(),
            "l2Timeouts": counts.l2_timeouts,
            "l2SoftTimeouts": counts.l2_soft_timeouts,
            "l2Reconnects": counts.l2_reconnects,
            "loads": counts.loads.iter().sum::<u64>(),
            "staleServed": counts.stale_served,
            "stampedesPrevented": counts.stampedes_prevented,
            "commandsSaved": counts.commands_saved,
            "pendingInvalidations": self.pending_invalidations(),
        })
        .to_string()
    }

    /// The figures for Prometheus.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let figures = self.figures();
        let mut counts = self.counters.read();
        counts.l1_evictions[EvictionCause::Size as usize] = figures.evicted;
        counts.l1_evictions[EvictionCause::Expired as usize] = figures.expired;
        let mut snapshot = Snapshot {
            cache: self.name.clone(),
            counts,
            l1_entries: figures.entries,
            l1_bytes: figures.bytes,
            l1_max_bytes: self.l1.as_ref().map_or(0, crate::l1::L1::max_bytes),
            l2_keys: None,
            l2_connections: 0,
            l2_in_flight: 0,
            l2_state: self.state().as_str(),
            breaker_state: self.breaker_state(),
            pending_invalidations: self.pending_invalidations() as u64,
            quota_used_ratio: self.quota_usage().map(|usage| usage.ratio),
            version: env!("CARGO_PKG_VERSION"),
            mode: self.mode(),
        };
        if let Some(link) = &self.link {
            let mut status = link.status.lock();
            status.watched = true;
            snapshot.l2_keys = status.server.total_keys;
            snapshot.l2_connections = status.connections;
            snapshot.l2_in_flight = status.in_flight;
        }
        snapshot
    }

    fn figures(&self) -> Figures {
        self.l1
            .as_ref()
            .map(crate::l1::L1::figures)
            .unwrap_or_default()
    }

    /// What L1 holds under `key`, without I/O and without being counted.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<Payload> {
        self.hit(key).map(|entry| entry.payload.clone())
    }

    /// Closes the cache when nobody waits for it.
    pub fn close_unheard(self: &Arc<Self>) {
        if !self.closed.swap(true, SeqCst)
            && let Some(link) = &self.link
        {
            let (done, _) = tokio::sync::oneshot::channel();
            link.control(crate::l2::Control::Close(done));
        }
    }
}

/// The Prometheus text of several caches, each family once.
#[must_use]
pub fn metrics_of(caches: &[&Arc<Cache>], open_metrics: bool) -> String {
    let snapshots: Vec<_> = caches.iter().map(|cache| cache.snapshot()).collect();
    prometheus::render(&snapshots, open_metrics)
}

fn iso(unix_ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_millis(at).to_string()
}

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
    entry::Payload,
    l1::Figures,
    l2::{Link, status::LastError, tier::Tier},
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
        if let Some(l2) = &self.l2 {
            l2.each_status(|status| {
                let told = status.events.iter();
                events.extend(told.map(|(at, what)| (*at, what.clone(), status.endpoint.clone())));
                let fields = status
                    .info
                    .lines()
                    .filter_map(|line| line.trim_end().split_once(':'));
                if !status.info.is_empty() {
                    info = fields
                        .map(|(name, value)| (name.to_owned(), Value::from(value)))
                        .collect();
                }
            });
        }
        events.sort_by_key(|(at, ..)| *at);
        let events = events.into_iter().map(
            |(at, what, endpoint)| json!({ "at": iso(at), "event": what, "endpoint": endpoint }),
        );
        report["events"] = events.collect();
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
                let is_unused = |l2: &Arc<Tier>| l2.any().port.generation() == 0;
                self.memory_mode() || self.l2.as_ref().is_none_or(is_unused)
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
        let mode = self.l2.as_ref().map(|l2| l2.mode());
        mode.unwrap_or(Mode::Memory.as_str())
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
        let Some(l2) = &self.l2 else {
            return report;
        };
        let sum = |sum: &mut Option<u64>, value: Option<u64>| {
            *sum = sum.map_or(value, |sum| Some(sum + value.unwrap_or(0)));
        };
        let (mut commands, mut connections, mut keys) = (None, None, None);
        let (mut slowest, mut in_flight) = (None, 0);
        let (mut last_ping, mut last_error): (Option<u64>, Option<LastError>) = (None, None);
        l2.each_status(|status| {
            status.watched = true;
            sum(&mut commands, status.server.total_commands);
            sum(&mut connections, status.server.total_connections);
            sum(&mut keys, status.server.total_keys);
            slowest = match (slowest, status.latency_ms) {
                (Some(slowest), Some(ms)) => Some(f64::max(slowest, ms)),
                (one, other) => one.or(other),
            };
            in_flight += status.in_flight;
            last_ping = last_ping.max(status.last_ping);
            if status.last_error.as_ref().map(|error| error.at)
                > last_error.as_ref().map(|error| error.at)
            {
                last_error.clone_from(&status.last_error);
            }
        });
        report["total_commands"] = commands.into();
        report["total_connections"] = connections.into();
        report["total_keys"] = keys.into();
        report["latency_ms"] = slowest.map(|ms| (ms * 1_000.0).round() / 1_000.0).into();
        report["last_ping"] = last_ping.map(iso).into();
        report["in_flight"] = in_flight.into();
        let hearing = l2.hearing();
        report["invalidation"] = json!({
            "mode": hearing.way.as_str(),
            "reason": hearing.mute.or(hearing.reason),
            "losses": hearing.losses,
            "lag_ms": hearing.lag_ms,
        });
        report["last_error"] = last_error.map_or(
            Value::Null,
            |error| json!({ "code": error.code, "message": error.message, "at": iso(error.at) }),
        );
        let links = l2.links();
        if links.len() > 1 {
            report["shards"] = links.iter().map(|link| shard_health(link)).collect();
        }
        report
    }

    /// The breaker of the link that is worst off.
    fn breaker_state(&self) -> &'static str {
        let mut worst = BreakerState::Closed;
        if let Some(l2) = &self.l2 {
            l2.each_status(|status| {
                if worst != BreakerState::Open && status.breaker != BreakerState::Closed {
                    worst = status.breaker;
                }
            });
        }
        worst.as_str()
    }

    /// The share of reads that is sent to Redis, of all links.
    fn admission(&self) -> Value {
        let links = self.l2.as_ref().map(|l2| l2.links()).unwrap_or_default();
        let share = |link: &Arc<Link>| {
            let is_used = link.port.generation() != 0 && link.port.is_open();
            if is_used { link.port.admission() } else { 0.0 }
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of servers")]
        let mean = links.iter().map(share).sum::<f64>() / links.len().max(1) as f64;
        match mean {
            share if share >= 1.0 => 1.into(),
            share if share > 0.0 => share.into(),
            _ => 0.into(),
        }
    }

    fn pending_invalidations(&self) -> usize {
        self.l2.as_ref().map_or(0, |l2| l2.journaled())
    }

    pub(super) fn quota_usage(&self) -> Option<Usage> {
        self.l2.as_ref()?.quota_usage()
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
        if let Some(l2) = &self.l2 {
            l2.each_status(|status| {
                status.watched = true;
                if let Some(keys) = status.server.total_keys {
                    *snapshot.l2_keys.get_or_insert(0) += keys;
                }
                snapshot.l2_connections += status.connections;
                snapshot.l2_in_flight += status.in_flight;
            });
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
        let hit = self.hit(key).filter(|_| !self.is_awaited(key));
        hit.map(|entry| entry.payload.clone())
    }

    /// Closes the cache when nobody waits for it.
    pub fn close_unheard(self: &Arc<Self>) {
        if !self.closed.swap(true, SeqCst)
            && let Some(l2) = &self.l2
        {
            drop(l2.close());
        }
    }
}

/// What a link of several says of itself.
fn shard_health(link: &Link) -> Value {
    let status = link.status.lock();
    json!({
        "endpoint": status.endpoint,
        "state": link.state().as_str(),
        "mode": status.mode,
        "breaker": status.breaker.as_str(),
        "latency_ms": status.latency_ms,
        "pending_invalidations": link.port.journaled(),
    })
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

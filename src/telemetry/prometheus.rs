//! The exposition for Prometheus.
//!
//! Owns the names, types and help texts of all families, and both text formats:
//! 0.0.4, and `OpenMetrics` 1.0, which names counters and info without their suffix
//! and ends with `# EOF`. Each family is written once, with the series of all
//! caches; names never carry a key.
//!
//! State sets keep their type `gauge` in both formats: `OpenMetrics`' own type would
//! force the label to have the name of the family.

use super::counters::{Counts, ErrorClass, EvictionCause, InvalidationSource, LoadResult};
use super::page::Page;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The content type of the `OpenMetrics` format.
pub const OPEN_METRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The states of a link, as `health()` names them.
const LINK_STATES: [&str; 7] = [
    "idle",
    "connecting",
    "recovering",
    "up",
    "suspect",
    "down",
    "closed",
];
/// The states of a breaker, as `health()` names them.
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half-open"];
/// About what one cache takes, in bytes.
const SIZE: usize = 12 * 1024;

/// Everything that is exposed of one cache.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The name of the cache, as it stands in its options.
    pub cache: String,
    /// The counters.
    pub counts: Counts,
    /// Entries in L1.
    pub l1_entries: u64,
    /// Bytes of L1, overhead included.
    pub l1_bytes: u64,
    /// The limit of these bytes.
    pub l1_max_bytes: u64,
    /// Keys in the server's database, where the server has told.
    pub l2_keys: Option<u64>,
    /// Connections that this process has open.
    pub l2_connections: u64,
    /// Operations that wait for an answer of Redis.
    pub l2_in_flight: u64,
    /// The state of the link; one that is none of the known ones sets none.
    pub l2_state: &'static str,
    /// The state of the breaker, likewise.
    pub breaker_state: &'static str,
    /// Journaled keys, patterns and collapses.
    pub pending_invalidations: u64,
    /// The used share of the quota, where there is one.
    pub quota_used_ratio: Option<f64>,
    /// The version of the package.
    pub version: &'static str,
    /// The mode, as in `health()`.
    pub mode: &'static str,
}

/// Writes all families of all `caches`.
#[must_use]
pub fn render(caches: &[Snapshot], open_metrics: bool) -> String {
    let mut page = Page::new(caches, SIZE * caches.len(), open_metrics);
    page.l1();
    page.l2();
    page.link();
    page.loads();
    page.whole();
    page.finish()
}

impl Page<'_> {
    fn l1(&mut self) {
        self.counter("cache_l1_hits", "Reads that L1 answered", |c| c.l1_hits);
        self.counter("cache_l1_misses", "Reads that L1 could not answer", |c| {
            c.l1_misses
        });
        self.counter("cache_l1_sets", "Values put into L1", |c| c.l1_sets);
        self.counter(
            "cache_l1_deletes",
            "Entries deleted from L1 on request",
            |c| c.l1_deletes,
        );
        self.counters::<EvictionCause>(
            (
                "cache_l1_evictions",
                "Entries that L1 let go by itself",
                "cause",
            ),
            |c| &c.l1_evictions,
        );
        self.gauge("cache_l1_entries", "Entries in L1", |s| Some(s.l1_entries));
        self.gauge("cache_l1_bytes", "Bytes of L1, overhead included", |s| {
            Some(s.l1_bytes)
        });
        self.gauge("cache_l1_max_bytes", "Limit of the bytes of L1", |s| {
            Some(s.l1_max_bytes)
        });
    }

    fn l2(&mut self) {
        self.counter(
            "cache_l2_hits",
            "Reads that Redis answered with a value",
            |c| c.l2_hits,
        );
        self.counter(
            "cache_l2_misses",
            "Reads to which Redis had no usable value",
            |c| c.l2_misses,
        );
        self.counter(
            "cache_l2_redis_commands",
            "Commands written to Redis by this process",
            |c| c.l2_commands,
        );
        self.gauge(
            "cache_l2_redis_keys",
            "Keys in the database, as Redis says",
            |s| s.l2_keys,
        );
        self.counters::<ErrorClass>(
            (
                "cache_l2_errors",
                "Errors of Redis and of the way to it",
                "class",
            ),
            |c| &c.l2_errors,
        );
        self.counter(
            "cache_l2_timeouts",
            "Operations that missed their deadline",
            |c| c.l2_timeouts,
        );
        self.histogram(
            "cache_l2_command_duration_seconds",
            "Time from sending to Redis to its answer",
            |c| &c.command_duration,
        );
    }

    fn link(&mut self) {
        self.counter(
            "cache_l2_reconnects",
            "Links made after one was lost",
            |c| c.l2_reconnects,
        );
        self.gauge("cache_l2_connections", "Open connections to Redis", |s| {
            Some(s.l2_connections)
        });
        self.gauge(
            "cache_l2_in_flight",
            "Operations that wait for Redis",
            |s| Some(s.l2_in_flight),
        );
        self.states("cache_l2_state", "State of the link", &LINK_STATES, |s| {
            s.l2_state
        });
        self.states(
            "cache_l2_breaker_state",
            "State of the breaker",
            &BREAKER_STATES,
            |s| s.breaker_state,
        );
    }

    fn loads(&mut self) {
        self.counters::<LoadResult>(
            (
                "cache_loads",
                "Loads by getOrSet, by how they ended",
                "result",
            ),
            |c| &c.loads,
        );
        self.histogram("cache_load_duration_seconds", "Time a factory took", |c| {
            &c.load_duration
        });
        self.counter("cache_stale_served", "Answers past their freshness", |c| {
            c.stale_served
        });
        self.counter(
            "cache_stampedes_prevented",
            "Callers that shared another one's load",
            |c| c.stampedes_prevented,
        );
        self.counter(
            "cache_commands_saved",
            "Commands made unnecessary by joining",
            |c| c.commands_saved,
        );
    }

    fn whole(&mut self) {
        self.counters::<InvalidationSource>(
            (
                "cache_invalidations",
                "L1 entries dropped for others' writes",
                "source",
            ),
            |c| &c.invalidations,
        );
        self.gauge(
            "cache_pending_invalidations",
            "Journaled invalidations",
            |s| Some(s.pending_invalidations),
        );
        self.gauge("cache_quota_used_ratio", "Used share of the quota", |s| {
            s.quota_used_ratio.filter(|ratio| ratio.is_finite())
        });
        self.info("cache", "Version and mode", |s| {
            [("version", s.version), ("mode", s.mode)]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::{breaker::BreakerState, state::LinkState};
    use crate::telemetry::counters::Counters;
    use std::collections::{HashMap, HashSet};

    fn snapshot(cache: &str) -> Snapshot {
        Snapshot {
            cache: cache.into(),
            counts: Counts::default(),
            l1_entries: 7,
            l1_bytes: 1_830,
            l1_max_bytes: 67_108_864,
            l2_keys: None,
            l2_connections: 1,
            l2_in_flight: 0,
            l2_state: "up",
            breaker_state: "closed",
            pending_invalidations: 0,
            quota_used_ratio: None,
            version: "0.1.0",
            mode: "tiered",
        }
    }

    /// The families that are promised to dashboards.
    const FAMILIES: &str = "cache_l1_hits_total cache_l1_misses_total cache_l2_redis_commands_total \
        cache_l2_redis_keys cache_l1_sets_total cache_l1_deletes_total cache_l1_evictions_total \
        cache_l1_entries cache_l1_bytes cache_l1_max_bytes cache_l2_hits_total cache_l2_misses_total \
        cache_l2_errors_total cache_l2_timeouts_total cache_l2_reconnects_total cache_l2_connections \
        cache_l2_in_flight cache_l2_state cache_l2_breaker_state cache_l2_command_duration_seconds \
        cache_loads_total cache_load_duration_seconds cache_stale_served_total \
        cache_stampedes_prevented_total cache_commands_saved_total cache_invalidations_total \
        cache_pending_invalidations cache_quota_used_ratio cache_info";

    #[test]
    fn every_family_is_there_once_with_type_and_series_and_no_other() {
        let text = render(&[snapshot("a"), snapshot("b")], false);
        let mut typed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let mut promised: Vec<&str> = FAMILIES.split_whitespace().collect();
        typed.sort_unstable();
        promised.sort_unstable();
        assert_eq!(typed, promised);
        for family in promised {
            for cache in ["a", "b"] {
                let series = |suffix: &str| format!("\n{family}{suffix}{{cache=\"{cache}\"");
                assert!(
                    text.contains(&series("")) || text.contains(&series("_count")),
                    "{family} {cache}"
                );
            }
        }
    }

    #[test]
    fn no_series_is_there_twice_and_families_are_not_mixed() {
        let text = render(&[snapshot("a"), snapshot("b")], true);
        let (mut series, mut family, mut seen) = (HashSet::new(), "", HashMap::new());
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# HELP ") {
                family = head.split(' ').next().unwrap();
                *seen.entry(family).or_insert(0) += 1;
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} under {family}");
                assert!(series.insert(line.rsplit_once(' ').unwrap().0), "{line}");
            }
        }
        assert!(seen.values().all(|&times| times == 1));
    }

    #[test]
    fn counters_are_zero_from_the_start_and_unknown_gauges_nan() {
        let text = render(&[snapshot("default")], false);
        for line in [
            "# TYPE cache_l1_hits_total counter",
            "cache_l1_hits_total{cache=\"default\"} 0",
            "cache_l1_evictions_total{cache=\"default\",cause=\"size\"} 0",
            "cache_l2_errors_total{cache=\"default\",class=\"corrupt\"} 0",
            "cache_l2_redis_keys{cache=\"default\"} NaN",
            "cache_quota_used_ratio{cache=\"default\"} NaN",
            "cache_l1_entries{cache=\"default\"} 7",
            "cache_l2_state{cache=\"default\",state=\"up\"} 1",
            "cache_l2_state{cache=\"default\",state=\"down\"} 0",
            "cache_l2_breaker_state{cache=\"default\",state=\"half-open\"} 0",
            "cache_l2_command_duration_seconds_bucket{cache=\"default\",le=\"+Inf\"} 0",
            "cache_load_duration_seconds_sum{cache=\"default\"} 0.000000",
            "# TYPE cache_info gauge",
            "cache_info{cache=\"default\",version=\"0.1.0\",mode=\"tiered\"} 1",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line}\n{text}"
            );
        }
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn figures_arrive_where_they_belong() {
        let counters = Counters::new();
        (0..41).for_each(|_| counters.l1_hits.count());
        counters.l2_errors.count(ErrorClass::Other);
        counters.loads.count(LoadResult::Stale);
        let snapshot = Snapshot {
            counts: counters.read(),
            l2_keys: Some(3),
            quota_used_ratio: Some(0.25),
            ..snapshot("a\"\n")
        };
        let text = render(&[snapshot], false);
        assert!(text.contains("cache_l1_hits_total{cache=\"a\\\"\\n\"} 41\n"));
        assert!(text.contains("class=\"other\"} 1\n") && text.contains("result=\"stale\"} 1\n"));
        assert!(text.contains("cache_l2_redis_keys{cache=\"a\\\"\\n\"} 3\n"));
        assert!(text.contains("cache_quota_used_ratio{cache=\"a\\\"\\n\"} 0.25\n"));
    }

    #[test]
    fn open_metrics_names_families_without_suffix_and_ends_with_eof() {
        let text = render(&[snapshot("a")], true);
        assert!(
            text.contains("# TYPE cache_l1_hits counter\ncache_l1_hits_total{cache=\"a\"} 0\n")
        );
        assert!(text.contains("# TYPE cache info\ncache_info{cache=\"a\""));
        assert!(!text.contains("_total counter") && !text.contains("_total Reads"));
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(render(&[], true).lines().last(), Some("# EOF"));
    }

    #[test]
    fn the_state_sets_are_those_of_the_link_and_the_breaker() {
        assert_eq!(LinkState::ALL.map(LinkState::as_str), LINK_STATES);
        assert_eq!(BreakerState::ALL.map(BreakerState::as_str), BREAKER_STATES);
    }

    #[test]
    fn one_cache_fits_into_what_is_reserved_for_it() {
        let mut snapshot = snapshot("a-name-of-usual-length");
        snapshot.counts.command_duration.sum_us = u64::MAX;
        let size = render(&[snapshot], true).len();
        assert!((SIZE / 2..=SIZE).contains(&size), "{size}");
    }
}

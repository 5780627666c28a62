//! What an operator could do better, told from the figures of a cache: `advice` in `health()`.
//!
//! Owns the rules and their thresholds, one small function each. A rule speaks only of what lasts: it waits until it has
//! seen enough, and says what to change. Pure: figures in, advice out.

use super::counters::{CommandFamily, Counts, Label};

/// Reads of L1 before its rules speak: what a process does while it warms up says nothing.
const MANY_READS: u64 = 1_000;
/// Commands before it is asked which kind dominates.
const MANY_COMMANDS: u64 = 5_000;
/// L1 is full from this share of `l1.maxBytes` on: of large values a part of it may be full before the whole is.
const FULL: f64 = 0.85;
/// A hit rate of L1 below this is low.
const LOW_HIT_RATE: f64 = 0.5;
/// Misses of L1 cost little as long as they are fewer than this share of the reads.
const COSTLY_MISSES: f64 = 0.1;
/// `l1.ttl` is short if `l2.ttl` is at least so many times as long.
const MUCH_LONGER: u64 = 4;
/// One kind of command dominates above this share of all that the cache was asked for.
const DOMINANT: f64 = 0.9;
/// A value is near `l2.maxValueBytes` above this share of it.
const NEAR_VALUE_LIMIT: f64 = 0.8;
/// Keys that steps of SCAN looked at before that counts as much.
const MANY_SCANNED: u64 = 50_000;
/// A walk finds little if fewer than this share of the keys that it looks at match.
const FEW_MATCHES: f64 = 0.01;
/// Connections of the server are nearly used up from this share on.
const NEARLY_ALL_CONNECTIONS: f64 = 0.8;
/// A life below this many ms is probably meant in seconds.
pub const SHORT_TTL_MS: u64 = 1_000;

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What it is about, for programs.
    pub code: &'static str,
    /// What to do, for people.
    pub message: String,
}

/// L1 as the rules see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Bytes in use.
    pub bytes: u64,
    /// `l1.maxBytes`.
    pub max_bytes: u64,
    /// Entries evicted for lack of room.
    pub evicted: u64,
    /// Entries that came from Redis again, unchanged, since their time in L1 was over.
    pub renewed: u64,
    /// `l1.ttl`.
    pub ttl_ms: u64,
}

/// Redis as the rules see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Server {
    /// `l2.maxValueBytes`.
    pub max_value_bytes: u64,
    /// Whether keys have a namespace.
    pub namespaced: bool,
    /// The used share of the server's connections, if it tells.
    pub connections: Option<f64>,
    /// The plan's limit of commands, if it is known.
    pub quota: Option<Quota>,
}

/// How much of a plan is used.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// The used share of the window's commands.
    pub ratio: f64,
    /// The share from which on to warn.
    pub warn_at: f64,
}

/// All that the rules look at.
#[derive(Debug, Clone)]
pub struct Figures<'a> {
    /// The counters.
    pub counts: &'a Counts,
    /// L1, unless it is off.
    pub l1: Option<Memory>,
    /// Redis, if it is configured.
    pub l2: Option<Server>,
    /// `l2.ttl`, the life of entries without one of their own; `None` never ends.
    pub ttl_ms: Option<u64>,
    /// Whether anybody reads the log.
    pub logger: bool,
    /// Whether a life was given that is shorter than [`SHORT_TTL_MS`].
    pub short_ttl: bool,
}

/// What to do, if there is something to do.
type Rule = fn(&Figures<'_>) -> Option<String>;

/// In the order in which they are told: what may cost data or money first.
const RULES: [(&str, Rule); 10] = [
    ("quota-nearly-used", quota_nearly_used),
    ("connections-nearly-used", connections_nearly_used),
    ("ttl-looks-like-seconds", ttl_looks_like_seconds),
    ("namespace-empty", namespace_empty),
    ("value-near-limit", value_near_limit),
    ("pattern-scans-much", pattern_scans_much),
    ("one-command-dominates", one_command_dominates),
    ("hit-rate-low-at-full-l1", hit_rate_low_at_full_l1),
    ("l1-ttl-short", l1_ttl_short),
    ("no-logger", no_logger),
];

/// What is worth changing.
#[must_use]
pub fn advise(figures: &Figures<'_>) -> Vec<Advice> {
    let told = RULES.iter().filter_map(|(code, rule)| {
        let message = rule(figures)?;
        Some(Advice { code, message })
    });
    told.collect()
}

/// `part` of `whole`, 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

impl Figures<'_> {
    fn reads(&self) -> u64 {
        self.counts.l1_hits + self.counts.l1_misses
    }

    fn hit_rate(&self) -> f64 {
        share(self.counts.l1_hits, self.reads())
    }
}

fn quota_nearly_used(figures: &Figures<'_>) -> Option<String> {
    let quota = figures.l2?.quota?;
    if quota.ratio < quota.warn_at {
        return None;
    }
    let used = percent(quota.ratio);
    Some(format!(
        "{used} of the commands that the plan allows are used: raise the limit, or l1.ttl so that fewer are sent."
    ))
}

fn connections_nearly_used(figures: &Figures<'_>) -> Option<String> {
    let used = figures.l2?.connections?;
    if used < NEARLY_ALL_CONNECTIONS {
        return None;
    }
    let used = percent(used);
    Some(format!(
        "{used} of the server's connections are in use: share one cache in a process, or raise maxclients."
    ))
}

fn ttl_looks_like_seconds(figures: &Figures<'_>) -> Option<String> {
    if !figures.short_ttl && figures.ttl_ms.is_none_or(|ms| ms >= SHORT_TTL_MS) {
        return None;
    }
    Some("A ttl below 1,000 was used: durations are milliseconds.".to_owned())
}

fn namespace_empty(figures: &Figures<'_>) -> Option<String> {
    if figures.l2?.namespaced {
        return None;
    }
    Some("Set a namespace, so that keys do not collide with other programs' and clear() is possible.".to_owned())
}

fn value_near_limit(figures: &Figures<'_>) -> Option<String> {
    let (largest, most) = (figures.counts.largest_value, figures.l2?.max_value_bytes);
    if share(largest, most) <= NEAR_VALUE_LIMIT {
        return None;
    }
    Some(format!(
        "A value of {largest} bytes was written, and above {most} (l2.maxValueBytes) none is sent to Redis: raise the limit, or store less under one key."
    ))
}

/// Counted are whole steps only: the last one of a walk is not, however few keys there were.
fn pattern_scans_much(figures: &Figures<'_>) -> Option<String> {
    let (scanned, found) = (figures.counts.scanned, figures.counts.scan_matches);
    if scanned < MANY_SCANNED || share(found, scanned) >= FEW_MATCHES {
        return None;
    }
    Some(format!(
        "deletePattern(), clear() or keys() looked at {scanned} keys to find {found}: delete what belongs together by its keys, or give this cache a database of its own."
    ))
}

/// The cache's own upkeep is not counted, or an idle process would be told of its pings.
fn one_command_dominates(figures: &Figures<'_>) -> Option<String> {
    let commands = &figures.counts.commands;
    let all: u64 = commands.iter().sum();
    let counted = CommandFamily::ALL.iter().zip(commands);
    let (family, count) = counted.max_by_key(|(_, count)| **count)?;
    let share = share(*count, all);
    if all < MANY_COMMANDS || share <= DOMINANT {
        return None;
    }
    let memory_answers = figures.l1.is_some() && figures.hit_rate() >= LOW_HIT_RATE;
    let what = in_place_of(*family, memory_answers)?;
    Some(format!("{} of the commands are {what}.", percent(share)))
}

/// What the commands of a family are, and what could be done in their place.
const fn in_place_of(family: CommandFamily, memory_answers: bool) -> Option<&'static str> {
    Some(match family {
        // Joined as they should be; and who reads what is written, other processes perhaps, is not known here.
        CommandFamily::MGet | CommandFamily::Set => return None,
        // A cache asks for what it does not have.
        CommandFamily::Get if memory_answers => return None,
        CommandFamily::Get => {
            "single reads: use getMany(), or start reads before awaiting the first, so that they travel together"
        }
        CommandFamily::Delete => "deletions: use deleteMany(), or let entries end with their ttl",
        CommandFamily::Scan => {
            "steps of walks over all keys: remember the keys that belong together instead of searching for them"
        }
        CommandFamily::Script => {
            "scripts (touch(), markStale(), increment() with a ttl): touch less often than on every read"
        }
        CommandFamily::Increment => {
            "increments: count in the process and send the sum now and then"
        }
        CommandFamily::Life => {
            "questions for the time left, since ttl() asks Redis unless L1 knows: ask less often"
        }
        CommandFamily::Other => {
            "sent by command() or pipeline(), past the cache: a client of its own may suit them better"
        }
    })
}

fn hit_rate_low_at_full_l1(figures: &Figures<'_>) -> Option<String> {
    let l1 = figures.l1?;
    let full = share(l1.bytes, l1.max_bytes) >= FULL && l1.evicted > 0;
    if !full || figures.reads() < MANY_READS || figures.hit_rate() >= LOW_HIT_RATE {
        return None;
    }
    let rate = percent(figures.hit_rate());
    Some(format!(
        "L1 is full and answers {rate} of the reads: raise l1.maxBytes, or cache less."
    ))
}

fn l1_ttl_short(figures: &Figures<'_>) -> Option<String> {
    let (l1, misses) = (figures.l1?, figures.counts.l1_misses);
    let much_longer = figures
        .ttl_ms
        .is_none_or(|ms| ms >= l1.ttl_ms.saturating_mul(MUCH_LONGER));
    let costly = share(misses, figures.reads()) >= COSTLY_MISSES;
    let most_renewed = l1.renewed > misses / 2;
    if figures.reads() < MANY_READS || !(much_longer && costly && most_renewed) {
        return None;
    }
    let renewed = percent(share(l1.renewed, misses));
    Some(format!(
        "{renewed} of the reads that L1 could not answer brought the value that it had let go after l1.ttl ({} ms): raise it, as far as older values may be served.",
        l1.ttl_ms
    ))
}

fn no_logger(figures: &Figures<'_>) -> Option<String> {
    if figures.logger {
        return None;
    }
    Some("Pass a logger: without one nobody reads of outages.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const L1: Memory = Memory {
        bytes: 990,
        max_bytes: 1_000,
        evicted: 5,
        renewed: 0,
        ttl_ms: 30_000,
    };
    const L2: Server = Server {
        max_value_bytes: 1_000,
        namespaced: true,
        connections: None,
        quota: None,
    };

    /// The codes for `counts` in a busy, healthy cache that `change` spoils.
    fn codes(
        change_counts: impl FnOnce(&mut Counts),
        change: impl FnOnce(&mut Figures<'_>),
    ) -> Vec<&'static str> {
        let mut counts = Counts {
            l1_hits: 90_000,
            l1_misses: 10_000,
            l2_hits: 8_000,
            l2_misses: 2_000,
            largest_value: 800,
            commands: [5_000, 2_000, 2_500, 300, 50, 100, 30, 10, 10],
            ..Counts::default()
        };
        change_counts(&mut counts);
        let mut figures = Figures {
            counts: &counts,
            l1: Some(L1),
            l2: Some(L2),
            ttl_ms: Some(300_000),
            logger: true,
            short_ttl: false,
        };
        change(&mut figures);
        advise(&figures).iter().map(|advice| advice.code).collect()
    }

    fn of_counts(change: impl FnOnce(&mut Counts)) -> Vec<&'static str> {
        codes(change, |_| ())
    }

    fn of_figures(change: impl FnOnce(&mut Figures<'_>)) -> Vec<&'static str> {
        codes(|_| (), change)
    }

    fn of_quota(ratio: f64, connections: Option<f64>) -> Vec<&'static str> {
        let quota = Some(Quota {
            ratio,
            warn_at: 0.8,
        });
        let server = Server {
            connections,
            quota,
            ..L2
        };
        of_figures(|figures| figures.l2 = Some(server))
    }

    #[test]
    fn a_healthy_busy_cache_gets_no_advice_and_neither_does_a_new_one() {
        assert!(of_counts(|_| ()).is_empty());
        assert!(of_counts(|counts| *counts = Counts::default()).is_empty());
    }

    #[test]
    fn a_full_l1_that_answers_less_than_half_is_too_small() {
        let code = ["hit-rate-low-at-full-l1"];
        let low = |counts: &mut Counts| counts.l1_misses = 90_001;
        assert_eq!(of_counts(low), code);
        assert!(of_counts(|counts| counts.l1_misses = 90_000).is_empty());
        let room = |figures: &mut Figures<'_>| figures.l1 = Some(Memory { bytes: 849, ..L1 });
        assert!(codes(low, room).is_empty());
        let new = |counts: &mut Counts| (counts.l1_hits, counts.l1_misses) = (0, 999);
        assert!(of_counts(new).is_empty());
    }

    #[test]
    fn entries_that_come_back_unchanged_want_a_longer_life_in_l1() {
        let renewed = |renewed| Some(Memory { renewed, ..L1 });
        let short = |figures: &mut Figures<'_>| figures.l1 = renewed(5_001);
        assert_eq!(of_figures(short), ["l1-ttl-short"]);
        assert!(of_figures(|figures| figures.l1 = renewed(5_000)).is_empty());
        let few_misses = |counts: &mut Counts| counts.l1_hits = 900_000;
        assert!(codes(few_misses, short).is_empty());
        let alike = |figures: &mut Figures<'_>| {
            (figures.l1, figures.ttl_ms) = (renewed(9_000), Some(100_000));
        };
        assert!(of_figures(alike).is_empty());
    }

    #[test]
    fn one_family_of_commands_above_nine_in_ten_is_named() {
        for (index, family) in CommandFamily::ALL.iter().enumerate() {
            let mut commands = [10; CommandFamily::ALL.len()];
            commands[index] = 10_000;
            let quiet = matches!(
                family,
                CommandFamily::MGet | CommandFamily::Get | CommandFamily::Set
            );
            let codes = of_counts(|counts| counts.commands = commands);
            assert_eq!(codes.is_empty(), quiet, "{}", family.as_str());
        }
        let gets = |counts: &mut Counts| counts.commands = [10_000, 0, 0, 0, 0, 0, 0, 0, 0];
        let without_l1 = codes(gets, |figures| figures.l1 = None);
        assert_eq!(without_l1, ["one-command-dominates"]);
        let few = |counts: &mut Counts| counts.commands = [0, 0, 0, 4_999, 0, 0, 0, 0, 0];
        assert!(of_counts(few).is_empty());
    }

    #[test]
    fn a_value_above_four_fifths_of_the_limit_is_near_it() {
        let codes = of_counts(|counts| counts.largest_value = 801);
        assert_eq!(codes, ["value-near-limit"]);
    }

    #[test]
    fn walks_that_find_next_to_nothing_are_told() {
        let walk = |scanned, found| {
            of_counts(|counts| (counts.scanned, counts.scan_matches) = (scanned, found))
        };
        assert_eq!(walk(50_000, 499), ["pattern-scans-much"]);
        assert!(walk(50_000, 500).is_empty());
        assert!(walk(49_999, 0).is_empty());
    }

    #[test]
    fn a_quota_warns_from_its_first_threshold_on() {
        assert_eq!(of_quota(0.8, Some(0.1)), ["quota-nearly-used"]);
        assert_eq!(of_quota(0.79, Some(0.8)), ["connections-nearly-used"]);
        assert!(of_quota(0.79, None).is_empty());
    }

    #[test]
    fn options_that_are_probably_mistakes_are_told_at_once() {
        let nameless = Server {
            namespaced: false,
            ..L2
        };
        let of_nameless = of_figures(|figures| figures.l2 = Some(nameless));
        assert_eq!(of_nameless, ["namespace-empty"]);
        let of_seconds = of_figures(|figures| figures.ttl_ms = Some(999));
        assert_eq!(of_seconds, ["ttl-looks-like-seconds"]);
        assert_eq!(
            of_figures(|figures| figures.short_ttl = true),
            ["ttl-looks-like-seconds"]
        );
        assert_eq!(of_figures(|figures| figures.logger = false), ["no-logger"]);
    }
}

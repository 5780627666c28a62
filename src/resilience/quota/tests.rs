use super::*;
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;
/// The midnight before 23 November 2026.
const MIDNIGHT: u64 = 1_795_392_000_000;

fn of(commands: u64, window: Window) -> Quota {
    let warn_at = vec![0.8, 0.95];
    Quota::new(
        Settings {
            commands,
            window,
            warn_at,
        },
        MIDNIGHT,
    )
}

/// A quota of a day whose total is known to be `total` at `now`.
fn anchored(commands: u64, now: u64, total: u64) -> Quota {
    let mut quota = of(commands, Window::Day);
    let flush = quota.flush_due(now).expect("the total is not known yet");
    let _ = quota.flushed(now, &flush, total);
    quota
}

#[test]
fn a_process_alone_counts_what_it_sent_since_it_started() {
    let mut quota = of(1_000, Window::Month);
    assert_eq!(quota.count(MIDNIGHT, 250), None);
    let usage = quota.usage(MIDNIGHT + HOUR);
    assert_eq!(
        (usage.used, usage.limit, usage.source.as_str()),
        (250, 1_000, "process")
    );
    assert!((usage.ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(usage.resets_at, MIDNIGHT + 8 * 24 * HOUR);
}

#[test]
fn the_total_of_all_processes_survives_a_deploy() {
    let mut quota = of(1_000, Window::Day);
    quota.count(MIDNIGHT, 5);
    let flush = quota
        .flush_due(MIDNIGHT)
        .expect("the total is not known yet");
    assert_eq!(
        flush,
        Flush {
            field: "2026-11-23".into(),
            add: 5
        }
    );
    assert_eq!(quota.flush_due(MIDNIGHT + HOUR), None, "one is on its way");
    quota.count(MIDNIGHT, 2);
    assert_eq!(quota.flushed(MIDNIGHT, &flush, 605), None);
    let usage = quota.usage(MIDNIGHT);
    assert_eq!((usage.used, usage.source), (607, Source::Server));
}

#[test]
fn each_threshold_is_told_once_in_a_window_and_the_highest_speaks_for_those_below() {
    let mut quota = of(100, Window::Day);
    let passed: Vec<_> = (0..99).filter_map(|_| quota.count(MIDNIGHT, 1)).collect();
    assert_eq!(passed, [0.8, 0.95]);
    assert_eq!(quota.count(MIDNIGHT + 24 * HOUR, 79), None, "another day");
    assert_eq!(quota.count(MIDNIGHT + 24 * HOUR, 1), Some(0.8));
    assert_eq!(of(100, Window::Day).count(MIDNIGHT, 97), Some(0.95));
    assert_eq!(
        anchored(100, MIDNIGHT, 96).count(MIDNIGHT, 3),
        None,
        "told by the total"
    );
}

#[test]
fn connections_have_thresholds_of_their_own() {
    let mut quota = of(100, Window::Day);
    assert_eq!(quota.connections(MIDNIGHT, 79, 100), None);
    assert_eq!(quota.connections(MIDNIGHT, 80, 100), Some(0.8));
    assert_eq!(quota.connections(MIDNIGHT, 10, 100), None);
    assert_eq!(quota.connections(MIDNIGHT, 90, 100), None, "told today");
    assert_eq!(quota.connections(MIDNIGHT + 24 * HOUR, 90, 100), Some(0.8));
    assert_eq!(quota.count(MIDNIGHT + 24 * HOUR, 80), Some(0.8));
    assert_eq!(
        quota.connections(MIDNIGHT + 24 * HOUR, 5, 0),
        Some(0.95),
        "none allowed"
    );
}

#[test]
fn a_hundred_commands_or_a_quarter_of_an_hour_are_worth_one_more() {
    let mut quota = anchored(1_000_000, MIDNIGHT, 0);
    quota.count(MIDNIGHT, 99);
    assert_eq!(quota.flush_due(MIDNIGHT + AT_LAST_MS - 1), None);
    assert!(
        quota
            .clone()
            .flush_due(MIDNIGHT + AT_LAST_MS)
            .is_some_and(|flush| flush.add == 99)
    );
    quota.count(MIDNIGHT, 1);
    assert_eq!(quota.flush_due(MIDNIGHT + EVERY_MS - 1), None);
    let flush = quota.flush_due(MIDNIGHT + EVERY_MS).expect("enough");
    quota.flush_failed(&flush);
    assert_eq!(
        quota.flush_due(MIDNIGHT + EVERY_MS),
        None,
        "not again at once"
    );
    assert_eq!(quota.flush_due(MIDNIGHT + 2 * EVERY_MS), Some(flush));
    let mut idle = anchored(1_000_000, MIDNIGHT, 0);
    assert_eq!(idle.flush_due(MIDNIGHT + HOUR), None, "nothing to write");
}

#[test]
fn an_answer_of_the_last_window_says_nothing_of_this_one() {
    let mut quota = of(1_000, Window::Day);
    let late = quota
        .flush_due(MIDNIGHT)
        .expect("the total is not known yet");
    let tomorrow = MIDNIGHT + 24 * HOUR;
    let flush = quota
        .flush_due(tomorrow)
        .expect("nor is that of the next day");
    assert_eq!(quota.flushed(tomorrow, &late, 990), None);
    quota.flush_failed(&late);
    assert_eq!(quota.flush_due(tomorrow + HOUR), None, "one is on its way");
    assert_eq!(quota.usage(tomorrow).used, 0);
    assert_eq!(quota.flushed(tomorrow, &flush, 800), Some(0.8));
}

#[test]
fn a_server_that_refuses_knows_better_than_any_count() {
    let daily =
        "ERR max daily request limit exceeded. Limit: 10000, Usage: 10042. See https://example.com";
    let mut quota = of(10_000, Window::Day);
    quota.count(MIDNIGHT, 40);
    assert_eq!(
        quota.refused(
            MIDNIGHT,
            "ERR max requests limit exceeded. Limit: 5, Usage: 5."
        ),
        None
    );
    assert_eq!(quota.usage(MIDNIGHT).used, 40, "that was about the month");
    assert_eq!(quota.refused(MIDNIGHT, daily), Some(0.95));
    let usage = quota.usage(MIDNIGHT);
    assert_eq!((usage.used, usage.source), (10_042, Source::Server));
    assert_eq!(usage.forecast_at, Some(MIDNIGHT), "it is used up");
    let mut month = of(500, Window::Month);
    assert_eq!(
        month.refused(MIDNIGHT, "ERR max requests limit exceeded"),
        Some(0.95)
    );
    assert_eq!(month.usage(MIDNIGHT).used, 500);
}

#[test]
fn the_forecast_follows_the_faster_of_the_mean_and_the_last_hour() {
    let noon = MIDNIGHT + 12 * HOUR;
    let mut even = anchored(1_000, noon, 400);
    assert_eq!(
        even.usage(noon).forecast_at,
        None,
        "it lasts until midnight"
    );
    let mut fast = anchored(1_000, noon, 600);
    assert_eq!(fast.usage(noon).forecast_at, Some(noon + 8 * HOUR));
    assert_eq!(
        anchored(1_000, noon, 9).usage(noon).forecast_at,
        None,
        "too little to tell"
    );
    even.count(noon + HOUR / 2, 225);
    assert_eq!(
        even.usage(noon + HOUR / 2).forecast_at,
        Some(noon + 8 * HOUR),
        "by the mean, since less than an hour was watched"
    );
    fast.count(noon + HOUR, 200);
    assert_eq!(
        fast.usage(noon + HOUR).forecast_at,
        Some(noon + 2 * HOUR),
        "as fast as lately"
    );
}

#[test]
fn the_idle_tick_is_stretched_up_to_ten_times_as_the_quota_nears() {
    for (used, factor) in [
        (0, 1.0),
        (800, 1.0),
        (900, 5.5),
        (1_000, 10.0),
        (5_000, 10.0),
    ] {
        let found = anchored(1_000, MIDNIGHT, used).tick_factor(MIDNIGHT);
        assert!((found - factor).abs() < 1e-9, "{used}: {found}");
    }
}

#[test]
fn a_clock_that_is_put_right_begins_a_new_window_only_if_it_was_far_off() {
    let mut quota = anchored(100, MIDNIGHT, 90);
    assert_eq!(quota.usage(MIDNIGHT - 2_000).used, 90);
    assert_eq!(quota.usage(MIDNIGHT - 2 * HOUR).used, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Count(u64),
    Flush,
    /// The flush that is out is answered; others had added so many.
    Answer(u64),
    /// Its answer is lost: it was carried out, or it was not.
    Lose(bool),
    Refuse,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        6 => (0..300_u64).prop_map(Step::Count),
        3 => Just(Step::Flush),
        3 => (0..200_u64).prop_map(Step::Answer),
        1 => any::<bool>().prop_map(Step::Lose),
        1 => Just(Step::Refuse),
    ];
    let after = prop_oneof![12 => 0..60_000_u64, 3 => 0..HOUR, 1 => 0..30 * HOUR];
    proptest::collection::vec((after, step), 0..60)
}

proptest! {
    #![proptest_config(crate::resilience::sequences())]

    /// The model is the hash in Redis, and what this process sent by itself.
    #[test]
    fn nothing_sent_is_ever_missing_and_nobody_is_warned_twice(steps in steps(), month: bool) {
        let window = if month { Window::Month } else { Window::Day };
        let (mut quota, mut now) = (of(5_000, window), MIDNIGHT);
        let mut redis = std::collections::HashMap::<String, u64>::new();
        let (mut field, mut own, mut warnings, mut flush, mut last) = (window.name(now), 0, Vec::new(), None::<Flush>, None);
        for (after, step) in steps {
            now += after;
            if window.name(now) != field {
                (field, own, last) = (window.name(now), 0, None);
                warnings.clear();
            }
            let warning = match step {
                Step::Count(commands) => {
                    own += commands;
                    quota.count(now, commands)
                }
                Step::Flush => {
                    let due = quota.flush_due(now);
                    if let Some(due) = due {
                        prop_assert!(due.field == field && due.add <= own);
                        prop_assert!(last.is_none_or(|at| now - at >= EVERY_MS));
                        // One that is still out is of another window.
                        prop_assert!(flush.is_none_or(|out| out.field != field));
                        (flush, last) = (Some(due), Some(now));
                    }
                    None
                }
                Step::Answer(others) => flush.take().and_then(|flush| {
                    let total = redis.entry(flush.field.clone()).or_default();
                    *total += flush.add + others;
                    quota.flushed(now, &flush, *total)
                }),
                Step::Lose(done) => {
                    if let Some(flush) = flush.take() {
                        *redis.entry(flush.field.clone()).or_default() += if done { flush.add } else { 0 };
                        quota.flush_failed(&flush);
                    }
                    None
                }
                Step::Refuse => quota.refused(now, if month { "ERR max requests limit exceeded" } else { "ERR max daily request limit exceeded" }),
            };
            if let Some(at) = warning {
                prop_assert!(warnings.iter().all(|before| *before < at), "{:?} {}", warnings, at);
                warnings.push(at);
            }
            let usage = quota.usage(now);
            prop_assert!(usage.used >= own, "{} of {}", usage.used, own);
            prop_assert!(usage.resets_at > now);
            prop_assert!(usage.forecast_at.is_none_or(|at| (now..usage.resets_at).contains(&at)));
            prop_assert_eq!(warnings.last().copied(), [0.95, 0.8].into_iter().find(|at| usage.ratio >= *at));
            prop_assert!((1.0..=10.0).contains(&quota.tick_factor(now)));
        }
    }

    #[test]
    fn no_text_and_no_figure_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), usage: u128, at: u64, count: u64, total: u64) {
        let text = String::from_utf8_lossy(&bytes);
        let mut quota = of(count, Window::Month);
        let _ = quota.refused(at, &text);
        let _ = quota.refused(at, &format!("ERR max requests limit exceeded. Limit: 5, Usage:{usage}{text}"));
        let _ = quota.count(at, count);
        if let Some(flush) = quota.flush_due(at) {
            let _ = quota.flushed(at, &flush, total);
        }
        let _ = (quota.count(at, u64::MAX), quota.connections(at, count, total), quota.usage(at));
    }
}

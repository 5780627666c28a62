//! What a server says when it refuses. What is known by its first word means the same whatever follows.

#![no_main]

use evenkeel::resilience::{
    classify::{Meaning, explained, meaning},
    quota::{Quota, Settings, calendar::Window},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let code = text.split(' ').next().unwrap_or_default();
    let of_all = meaning(code, text);
    assert!(explained(code, text).starts_with(text));
    let of_code = meaning(code, code);
    assert!(
        of_code == Meaning::Caller || of_code == of_all,
        "{of_code:?} became {of_all:?}"
    );
    let settings = Settings {
        commands: 1_000,
        window: Window::Day,
        warn_at: vec![0.8],
    };
    let mut quota = Quota::new(settings, 0);
    quota.refused(0, text);
    let usage = quota.usage(0);
    assert!(usage.ratio >= 0.0, "{}", usage.ratio);
});

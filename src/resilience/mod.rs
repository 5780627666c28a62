//! The rules for trouble, as pure values.
//!
//! Owns when to connect again, when to stop asking, what Redis may hold that is
//! no longer true, and which states a link goes through. Owns no socket, no
//! timer, no clock and no log: `now` (milliseconds of a monotonic clock) and
//! randomness (a closure that answers uniformly from 0 to 1) are arguments, so
//! that whole outages are tested in microseconds. The supervisor acts on what is
//! answered here.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod classify;
pub mod flood;
pub mod gate;
pub mod glob;
pub mod journal;
pub mod mode;
pub mod patience;
mod patterns;
pub mod quota;
pub mod ramp;
pub mod state;
mod window;

/// How many random sequences a property is held against: 100,000, or what `PROPTEST_CASES` says. What failed is printed
/// and kept in `proptest-regressions/`, and tried first from then on.
#[cfg(test)]
pub(crate) fn sequences() -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    proptest::test_runner::Config {
        cases: asked
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(100_000),
        ..proptest::test_runner::Config::default()
    }
}

/// A number from `low` to `high`, both included, drawn with `rng`.
///
/// A draw outside of 0 to 1 counts as the nearer end, one that is no number as 0.
pub(crate) fn between(low: u64, high: u64, rng: &mut impl FnMut() -> f64) -> u64 {
    const STEPS: u64 = 1 << 32;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "0..=1 times 2^32 fits, and `as` takes what is no number for 0"
    )]
    let share = (rng().clamp(0.0, 1.0) * STEPS as f64) as u64;
    let span = u128::from(high.saturating_sub(low));
    let part = (span * u128::from(share)) >> 32;
    low.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn a_draw_stays_between_its_ends_whatever_the_source_answers() {
        for (draw, expected) in [
            (0.0, 100),
            (0.5, 150),
            (1.0, 200),
            (-3.0, 100),
            (7.0, 200),
            (f64::NAN, 100),
        ] {
            assert_eq!(between(100, 200, &mut || draw), expected, "{draw}");
        }
        assert_eq!(between(9, 3, &mut || 1.0), 9, "ends in the wrong order");
        assert_eq!(between(0, u64::MAX, &mut || 1.0), u64::MAX);
    }
}

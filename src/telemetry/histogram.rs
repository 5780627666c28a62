//! Durations in buckets, without a lock.
//!
//! Owns the bounds of the buckets, which are those of the exposition, and the
//! estimate of a quantile. One observation is two relaxed additions; what is read
//! while others write may miss the newest observations, never lose one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds; a last one takes the rest.
pub const BOUNDS_US: [u64; 13] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000,
];
/// The same in seconds, as Prometheus wants them written.
pub const BOUNDS_TEXT: [&str; 13] = [
    "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
    "0.25", "0.5", "1.0",
];
/// Buckets, the last one included.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Durations as they are being observed.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations by bucket, not added up.
    buckets: [AtomicU64; BUCKETS],
    /// The sum of all, in microseconds.
    sum_us: AtomicU64,
}

impl Histogram {
    /// A histogram that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `duration`.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// What was seen so far.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

/// Durations as they were when somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distribution {
    /// Observations by bucket, not added up.
    pub buckets: [u64; BUCKETS],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What came after `earlier` was read from the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| {
                self.buckets[bucket].saturating_sub(earlier.buckets[bucket])
            }),
            sum_us: self.sum_us.wrapping_sub(earlier.sum_us),
        }
    }

    /// An estimate, in microseconds, of the duration that `permille` of 1,000
    /// observations do not exceed (990: p99), taken as evenly spread within its
    /// bucket, as `histogram_quantile` does. `None` without observations; beyond
    /// the last bound that bound, 1 s.
    #[must_use]
    pub fn quantile_us(&self, permille: u16) -> Option<u64> {
        let rank = u128::from(self.count()) * u128::from(permille.min(1_000));
        let mut before = 0;
        for (bucket, &within) in self.buckets.iter().enumerate() {
            let here = u128::from(within) * 1_000;
            if within > 0 && before + here >= rank {
                let Some(&high) = BOUNDS_US.get(bucket) else {
                    break;
                };
                let low = bucket.checked_sub(1).map_or(0, |below| BOUNDS_US[below]);
                let part = u128::from(high - low) * (rank - before) / here;
                return Some(low + u64::try_from(part).unwrap_or(high - low));
            }
            before += here;
        }
        (before > 0 || self.buckets[BUCKETS - 1] > 0).then_some(BOUNDS_US[BUCKETS - 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(durations_us: &[u64]) -> Distribution {
        let histogram = Histogram::new();
        for &us in durations_us {
            histogram.record(Duration::from_micros(us));
        }
        histogram.read()
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let seen = seen(&[0, 100, 101, 1_000_000, 1_000_001]);
        assert_eq!((seen.buckets[0], seen.buckets[1]), (2, 1));
        assert_eq!((seen.buckets[12], seen.buckets[13]), (1, 1));
        assert_eq!((seen.count(), seen.sum_us), (5, 2_000_202));
    }

    #[test]
    fn the_texts_name_the_bounds() {
        for (text, us) in BOUNDS_TEXT.iter().zip(BOUNDS_US) {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds).as_micros(), u128::from(us));
        }
    }

    #[test]
    fn a_quantile_is_estimated_within_its_bucket() {
        assert_eq!(seen(&[]).quantile_us(990), None);
        assert_eq!(seen(&[300; 100]).quantile_us(500), Some(375));
        assert_eq!(seen(&[5_000_000]).quantile_us(990), Some(1_000_000));
        let mut mostly_fast = vec![50; 98];
        mostly_fast.extend([80_000; 2]);
        assert_eq!(seen(&mostly_fast).quantile_us(990), Some(75_000));
    }

    #[test]
    fn what_came_since_can_be_told_apart() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_millis(400));
        let earlier = histogram.read();
        histogram.record(Duration::from_micros(60));
        assert_eq!(histogram.read().since(&earlier), seen(&[60]));
    }

    proptest! {
        #[test]
        fn an_estimate_lies_in_the_bucket_of_the_true_quantile(
            mut durations in proptest::collection::vec(0..2_000_000_u64, 1..200), permille in 1..=1_000_u16,
        ) {
            let estimate = seen(&durations).quantile_us(permille).unwrap();
            durations.sort_unstable();
            let rank = (durations.len() * usize::from(permille)).div_ceil(1_000);
            let exact = durations[rank - 1].min(1_000_000);
            let bucket = BOUNDS_US.partition_point(|&bound| bound < exact);
            let low = bucket.checked_sub(1).map_or(0, |below| BOUNDS_US[below]);
            prop_assert!((low..=BOUNDS_US[bucket]).contains(&estimate));
        }
    }
}

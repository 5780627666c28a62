//! When changes of others come in such numbers that somebody should look.

/// The time over which they are counted.
const WINDOW_MS: u64 = 10_000;
/// How many in that time are a flood.
const MANY: u64 = 10_000;
/// How rarely it is told.
const RARELY_MS: u64 = 600_000;

/// The changes of the last while.
#[derive(Debug, Clone, Default)]
pub struct Flood {
    since: u64,
    count: u64,
    told_at: Option<u64>,
}

impl Flood {
    /// So many changes came; how many do in a second, if that is to be told.
    pub fn note(&mut self, changes: u64, now: u64) -> Option<u64> {
        if now >= self.since + WINDOW_MS {
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(changes);
        let quiet = self.told_at.is_some_and(|at| now < at + RARELY_MS);
        if self.count < MANY || quiet {
            return None;
        }
        self.told_at = Some(now);
        Some(self.count * 1_000 / (now - self.since).max(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_short_time_are_told_once_in_a_while() {
        let mut flood = Flood::default();
        let mut told = Vec::new();
        for second in 0..1_200_u64 {
            told.extend(
                flood
                    .note(1_500, 100_000 + second * 1_000)
                    .map(|rate| (second, rate)),
            );
        }
        assert_eq!(told, [(6, 1_750), (606, 1_750)]);
    }

    #[test]
    fn as_many_over_a_long_time_are_not() {
        let mut flood = Flood::default();
        for second in 0..3_600_u64 {
            assert_eq!(flood.note(900, second * 1_000), None);
        }
    }
}

//! The two clocks: one for deadlines and TTLs in memory, which counts the time a machine was suspended, and the wall
//! clock, for what is written to Redis. Everything else takes `now` as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of time: what never expires expires then.
pub const NEVER: u64 = u64::MAX;

#[cfg(all(not(test), any(target_os = "linux", target_os = "macos")))]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    // On macOS the monotonic clock goes on while the machine sleeps; `Instant` does not.
    #[cfg(target_os = "macos")]
    const CLOCK: ClockId = ClockId::Monotonic;
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

#[cfg(all(not(test), not(any(target_os = "linux", target_os = "macos"))))]
fn since_boot() -> Duration {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// In tests tokio's own clock, so that paused time stands still here too. It starts at an hour: what is subtracted from
/// it stays positive.
#[cfg(test)]
fn since_boot() -> Duration {
    use std::sync::OnceLock;
    use tokio::time::Instant;
    const HOUR: Duration = Duration::from_secs(3_600);
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let (start, now) = (
        *START.get_or_init(std::time::Instant::now),
        Instant::now().into_std(),
    );
    (HOUR + now.saturating_duration_since(start))
        .saturating_sub(start.saturating_duration_since(now))
}

/// Milliseconds on a monotonic clock that counts suspended time.
#[must_use]
pub fn now() -> u64 {
    millis(since_boot())
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// Milliseconds since 1970 on the wall clock.
#[must_use]
pub fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

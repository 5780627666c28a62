//! The windows of a quota: days and months in UTC.
//!
//! Owns when a window begins and ends, and its name. Knows no time zone and no leap second: services reset their counts at
//! midnight UTC, and Unix time has none.

/// The span a quota is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
}

/// One window in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first millisecond.
    pub starts_at: u64,
    /// The first millisecond of the next one.
    pub ends_at: u64,
}

const DAY_MS: u64 = 86_400_000;
/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: u64 = 146_097;
/// From the first of March of the year 0 to 1970.
const EPOCH_DAYS: u64 = 719_468;

impl Window {
    /// The window that `unix_ms` is in.
    #[must_use]
    pub const fn around(self, unix_ms: u64) -> Span {
        let day = unix_ms / DAY_MS;
        let (first, next) = match self {
            Self::Day => (day, day + 1),
            Self::Month => {
                let (year, month, _) = date(day);
                let (next_year, next_month) = match month {
                    12 => (year + 1, 1),
                    _ => (year, month + 1),
                };
                (first_of(year, month), first_of(next_year, next_month))
            }
        };
        Span {
            starts_at: first * DAY_MS,
            ends_at: next.saturating_mul(DAY_MS),
        }
    }

    /// The name of the window that `unix_ms` is in: `2026-11-23`, or `2026-11`.
    #[must_use]
    pub fn name(self, unix_ms: u64) -> String {
        let (year, month, day) = date(unix_ms / DAY_MS);
        match self {
            Self::Day => format!("{year:04}-{month:02}-{day:02}"),
            Self::Month => format!("{year:04}-{month:02}"),
        }
    }

    /// The name in `health()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// Year, month and day of a number of days since 1970. Years begin in March here, so that the leap day is their last (the
/// algorithm is Howard Hinnant's `civil_from_days`).
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + (month <= 2) as u64, month, day)
}

/// Days from 1970 to the first of a month (`days_from_civil`).
const fn first_of(year: u64, month: u64) -> u64 {
    let (year, march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * march + 2) / 5;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants_fall_into_known_windows() {
        for (at, day, starts_at, ends_at) in [
            (0, "1970-01-01", 0, 2_678_400_000),
            (
                951_782_400_000,
                "2000-02-29",
                949_363_200_000,
                951_868_800_000,
            ),
            (
                4_107_542_400_000,
                "2100-03-01",
                4_107_542_400_000,
                4_110_220_800_000,
            ),
            (
                1_798_761_599_999,
                "2026-12-31",
                1_796_083_200_000,
                1_798_761_600_000,
            ),
            (
                1_798_761_600_000,
                "2027-01-01",
                1_798_761_600_000,
                1_801_440_000_000,
            ),
        ] {
            assert_eq!(Window::Day.name(at), day);
            assert_eq!(Window::Month.name(at), day[..7]);
            assert_eq!(
                Window::Month.around(at),
                Span { starts_at, ends_at },
                "{day}"
            );
        }
    }

    #[test]
    fn the_end_of_time_is_in_a_window_too() {
        for window in [Window::Day, Window::Month] {
            let span = window.around(u64::MAX);
            assert!(span.starts_at < span.ends_at, "{window:?}");
        }
    }

    #[test]
    fn every_month_of_800_years_has_the_days_that_it_has() {
        let mut at = 0;
        for month in 0..12 * 800_u64 {
            let (year, of_year) = (1970 + month / 12, month % 12 + 1);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match of_year {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let span = Window::Month.around(at);
            assert_eq!((span.starts_at, span.ends_at), (at, at + days * DAY_MS));
            assert_eq!(Window::Month.name(at), format!("{year}-{of_year:02}"));
            at = span.ends_at;
        }
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn windows_hold_their_instants_and_follow_each_other(at in 0..20_000_000_000_000_u64, month: bool) {
            let window = if month { Window::Month } else { Window::Day };
            let span = window.around(at);
            prop_assert!((span.starts_at..span.ends_at).contains(&at));
            prop_assert_eq!(window.around(span.ends_at).starts_at, span.ends_at);
            prop_assert_eq!(window.around(span.ends_at - 1), span);
            prop_assert_eq!(window.name(span.starts_at), window.name(span.ends_at - 1));
            prop_assert_ne!(window.name(at), window.name(span.ends_at));
        }
    }
}

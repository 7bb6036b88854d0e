//! Days, seconds within a day, and the cutoff: arithmetic on times that were handed in.
//! Never reads a clock.

use std::fmt;
use std::ops::Sub;
use std::str::FromStr;

/// Seconds in a UTC day as Unix time counts them.
pub const DAY_SECONDS: u64 = 86_400;
/// The cutoff is a multiple of this.
pub const CUTOFF_STEP_MS: u64 = 10_000;
/// The cutoff is at least this long ago.
pub const CUTOFF_AGE_MS: u64 = 5_000;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

impl UnixMillis {
    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The UTC day this instant lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(u32::try_from(self.seconds() / DAY_SECONDS).unwrap_or(u32::MAX))
    }

    /// Seconds from the start of `day`; 0 for instants before it, saturating far beyond it.
    #[must_use]
    pub fn second_of(self, day: Day) -> u32 {
        let seconds = self.seconds().saturating_sub(u64::from(day.0) * DAY_SECONDS);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// The cutoff in force at this instant: the last multiple of 10 s that is at least 5 s ago.
    #[must_use]
    pub fn cutoff(self) -> Cutoff {
        let settled_ms = self.0.saturating_sub(CUTOFF_AGE_MS);
        Cutoff((settled_ms - settled_ms % CUTOFF_STEP_MS) / 1000)
    }

    /// This instant moved by a length of time.
    #[must_use]
    pub fn plus(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub for UnixMillis {
    type Output = Millis;

    /// How much later `self` is; zero when it is earlier.
    fn sub(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds since 1970 up to which records count in comparisons; a multiple of 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cutoff(pub u64);

impl Cutoff {
    /// The cutoff before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(CUTOFF_STEP_MS / 1000))
    }

    /// Whether a record of this day and second counts at this cutoff.
    #[must_use]
    pub fn covers(self, day: Day, second: u32) -> bool {
        u64::from(day.0) * DAY_SECONDS + u64::from(second) <= self.0
    }
}

/// A UTC day, counted from 1970-01-01. Prints as `YYYY-MM-DD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// Days from 1970 to 9999-12-31, the last day that has a four-digit year.
const DAY_MAX: u32 = 2_932_896;

impl Day {
    /// Year, month (1..=12) and day of the month (1..=31).
    ///
    /// *Source*: the civil calendar from day counts, with years that begin in March.
    #[must_use]
    pub fn civil(self) -> (u32, u32, u32) {
        let shifted = u64::from(self.0) + 719_468;
        let era = shifted / 146_097;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        (year as u32, month as u32, day as u32)
    }

    /// The day of a civil date; `None` when there is no such date from 1970 to 9999.
    #[must_use]
    pub fn from_civil(year: u32, month: u32, day: u32) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let march_year = u64::from(year) - u64::from(month <= 2);
        let era = march_year / 400;
        let year_of_era = march_year % 400;
        let march_month = u64::from(if month > 2 { month - 3 } else { month + 9 });
        let of_year = (153 * march_month + 2) / 5 + u64::from(day) - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        let count = Self(u32::try_from(era * 146_097 + of_era - 719_468).ok()?);
        (count.civil() == (year, month, day)).then_some(count)
    }

    /// Whether the day has a four-digit year and so a directory name.
    #[must_use]
    pub fn is_representable(self) -> bool {
        self.0 <= DAY_MAX
    }

    /// The instant the day begins.
    #[must_use]
    pub fn start(self) -> UnixMillis {
        UnixMillis(u64::from(self.0) * DAY_SECONDS * 1000)
    }

    /// The day `days` earlier, 1970-01-01 at the least.
    #[must_use]
    pub fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Text that is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date; write YYYY-MM-DD, from 1970-01-01 on")]
pub struct DayTextError(pub String);

impl FromStr for Day {
    type Err = DayTextError;

    fn from_str(text: &str) -> Result<Self, DayTextError> {
        let refuse = || DayTextError(text.chars().take(40).collect());
        let bytes = text.as_bytes();
        let digits_only = bytes.iter().enumerate().all(|(at, byte)| {
            if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() }
        });
        if bytes.len() != 10 || !digits_only {
            return Err(refuse());
        }
        let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().ok();
        number(0..4)
            .zip(number(5..7))
            .zip(number(8..10))
            .and_then(|((year, month), day)| Self::from_civil(year, month, day))
            .ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cutoff, Day, UnixMillis};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn knows_dates_that_trip_calendars() {
        for (text, count) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2026-11-23", 20_780),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(text.parse(), Ok(Day(count)), "{text}");
            assert_eq!(Day(count).to_string(), text);
        }
        for text in
            ["2023-02-29", "2026-13-01", "2026-00-10", "2026-1-01", "+026-01-01", "1969-12-31"]
        {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_cutoff_is_a_multiple_of_ten_seconds_at_least_five_ago() {
        assert_eq!(UnixMillis(100_000_000).cutoff(), Cutoff(99_990));
        assert_eq!(UnixMillis(100_004_999).cutoff(), Cutoff(99_990));
        assert_eq!(UnixMillis(100_005_000).cutoff(), Cutoff(100_000));
    }

    proptest! {
        #[test]
        fn every_day_prints_and_parses(count in 0u32..=2_932_896) {
            prop_assert_eq!(Day(count).to_string().parse(), Ok(Day(count)));
        }

        #[test]
        fn the_cutoff_is_never_young(now in 20_000u64..4_000_000_000_000) {
            let cutoff = UnixMillis(now).cutoff();
            prop_assert_eq!(cutoff.0 % 10, 0);
            let age = now - cutoff.0 * 1000;
            prop_assert!((5_000..15_000).contains(&age), "{age}");
        }
    }
}

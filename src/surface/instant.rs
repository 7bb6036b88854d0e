//! Instants as people and programs write them: RFC 3339, or milliseconds since 1970.
//! Never reads a clock or a time zone of this machine.

use quar_base::time::{Day, Millis, UnixMillis};

/// Reads `2026-11-23T08:15:12Z`, with fractions and offsets if there are any, or a plain number of
/// milliseconds since 1970. `None` for anything else and for instants before 1970.
#[must_use]
pub fn parse_instant(text: &str) -> Option<UnixMillis> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(UnixMillis);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let day: Day = date.parse().ok()?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let second = second_of_day(clock)?;
    let (fraction_ms, zone) = split_fraction(rest)?;
    let local = day.start().plus(Millis(u64::from(second) * 1000 + fraction_ms));
    let offset_ms = offset_ms(zone)?;
    let utc = i64::try_from(local.0).ok()?.checked_sub(offset_ms)?;
    u64::try_from(utc).ok().map(UnixMillis)
}

fn second_of_day(clock: &str) -> Option<u32> {
    let mut parts = clock.split(':');
    let mut next = |max: u32| {
        let part = parts.next()?;
        let number = digits(part, 2)?;
        (number <= max).then_some(number)
    };
    // A leap second counts as the second before it.
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    Some(hour * 3600 + minute * 60 + second.min(59))
}

/// Milliseconds of a fraction, cut, and what follows it.
fn split_fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(end);
    if fraction.is_empty() {
        return None;
    }
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some((milliseconds.parse().ok()?, zone))
}

fn offset_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    let is_offset = hours <= 23 && minutes <= 59;
    is_offset.then(|| sign * i64::from(hours * 60 + minutes) * 60_000)
}

fn digits(text: &str, count: usize) -> Option<u32> {
    let is_plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse_instant;
    use crate::daemon::view::rfc3339;
    use proptest::prelude::{prop_assert_eq, proptest};
    use quar_base::time::UnixMillis;

    #[test]
    fn reads_the_forms_that_people_write() {
        let at = 1_795_420_812_000;
        for (text, ms) in [
            ("2026-11-23T08:00:12Z", at),
            ("2026-11-23t08:00:12z", at),
            ("2026-11-23 08:00:12.5Z", at + 500),
            ("2026-11-23T08:00:12.123456789Z", at + 123),
            ("2026-11-23T09:30:12+01:30", at),
            ("2026-11-22T23:00:12-09:00", at),
            ("1795420812000", at),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_instant(text), Some(UnixMillis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in [
            "",
            "yesterday",
            "2026-11-23",
            "2026-11-23T08:00:12",
            "2026-11-23T08:00Z",
            "2026-11-23T24:00:00Z",
            "2026-13-23T08:00:12Z",
            "2026-11-23T08:00:12.Z",
            "2026-11-23T08:00:12+1:30",
            "2026-11-23T08:00:12\u{fc}",
            "1970-01-01T00:00:00+01:00",
            "-1",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_listings_print(second in 0u64..4_000_000_000) {
            let at = UnixMillis(second * 1000);
            prop_assert_eq!(parse_instant(&rfc3339(at)), Some(at));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse_instant(&text);
        }
    }
}

//! Where a record stands: bucket, key within it, and the message id that people use.
//! Never looks inside a record.
//!
//! ```text
//! message id   spam-20261123-081512-4f3a...   class, day, second of the day, record id
//!              \____bucket_____/ \___key____/
//! ```

use crate::class::Class;
use crate::ids::RecordId;
use crate::time::{CUTOFF_AGE_MS, CUTOFF_STEP_MS, Cutoff, DAY_SECONDS, Day, UnixMillis};
use std::fmt;
use std::str::FromStr;

/// A class on one UTC day of arrival: the unit of segments, comparison and expiry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// The class.
    pub class: Class,
    /// The UTC day on which the bucket's messages arrived.
    pub day: Day,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, self.day)
    }
}

/// A text that names no bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bucket is named CLASS/YYYY-MM-DD")]
pub struct BucketNameError;

impl FromStr for Bucket {
    type Err = BucketNameError;

    fn from_str(text: &str) -> Result<Self, BucketNameError> {
        let (class, day) = text.split_once('/').ok_or(BucketNameError)?;
        let class = class.parse().map_err(|_| BucketNameError)?;
        let day = day.parse().map_err(|_| BucketNameError)?;
        Ok(Self { class, day })
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A record's place in its bucket's order: time first, so that what arrived together lies together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// Seconds from the start of the bucket's day; an action's may exceed a day.
    pub second: u32,
    /// BLAKE3 of the record's bytes.
    pub id: RecordId,
}

impl RecordKey {
    /// Bytes of the sortable form.
    pub const BYTES: usize = 4 + RecordId::BYTES;
    /// Nibbles of the sortable form.
    pub const NIBBLES: usize = Self::BYTES * 2;

    /// Big-endian second, then the id: sorts as the key does.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.second.to_be_bytes());
        bytes[4..].copy_from_slice(&self.id.0);
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (second, id) = bytes.split_at(4);
        Self {
            second: u32::from_be_bytes(second.try_into().expect("split at 4")),
            id: RecordId::from_slice(id).expect("36 - 4 bytes are a record id"),
        }
    }

    /// Like [`Self::from_bytes`], for bytes of any length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }

    /// The instant this key's second begins, for a bucket of `day`.
    #[must_use]
    pub fn instant(&self, day: Day) -> UnixMillis {
        UnixMillis((u64::from(day.0) * DAY_SECONDS + u64::from(self.second)) * 1000)
    }

    /// Whether the record counts at `cutoff`, for a bucket of `day`.
    #[must_use]
    pub fn is_settled(&self, day: Day, cutoff: Cutoff) -> bool {
        cutoff.covers(day, self.second)
    }

    /// The first instant whose cutoff the record counts at, for a bucket of `day`.
    #[must_use]
    pub fn settles(&self, day: Day) -> UnixMillis {
        let UnixMillis(instant) = self.instant(day);
        UnixMillis(instant.next_multiple_of(CUTOFF_STEP_MS) + CUTOFF_AGE_MS)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.second, self.id.short())
    }
}

/// One message: its bucket and the key of its arrival record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Class and day of arrival.
    pub bucket: Bucket,
    /// Second and record id of the arrival.
    pub key: RecordKey,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.bucket.day.civil();
        let second = self.key.second;
        write!(
            f,
            "{}-{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{}",
            self.bucket.class,
            second / 3600,
            second / 60 % 60,
            second % 60,
            self.key.id
        )
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.bucket, self.key)
    }
}

/// Text that is no message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a message id; one looks like spam-20261123-081512-4f3a... with 64 hex digits at the end"
)]
pub struct MessageIdTextError(pub String);

impl FromStr for MessageId {
    type Err = MessageIdTextError;

    fn from_str(text: &str) -> Result<Self, MessageIdTextError> {
        let id = Self::parse_record(text).filter(|id| id.key.second < DAY_SECONDS as u32);
        id.ok_or_else(|| MessageIdTextError(text.chars().take(120).collect()))
    }
}

impl MessageId {
    /// Reads what [`fmt::Display`] wrote, of an action too: its hours may exceed a day. `None` for any other text.
    #[must_use]
    pub fn parse_record(text: &str) -> Option<Self> {
        // From the right: the class may itself contain a dash.
        let mut parts = text.rsplitn(4, '-');
        let id: RecordId = parts.next()?.parse().ok()?;
        let clock = parts.next()?;
        let (hour, rest) = clock.split_at_checked(clock.len().checked_sub(4)?)?;
        let hour = match hour.as_bytes() {
            [b'1'..=b'9', _, _, ..] | [_, _] => fixed_digits(hour, hour.len())?,
            _ => return None,
        };
        let rest = fixed_digits(rest, 4)?;
        let date = fixed_digits(parts.next()?, 8)?;
        let class: Class = parts.next()?.parse().ok()?;
        let (minute, second) = (rest / 100, rest % 100);
        if minute > 59 || second > 59 {
            return None;
        }
        let day = Day::from_civil(date / 10_000, date / 100 % 100, date % 100)?;
        let second = hour.checked_mul(3600)?.checked_add(minute * 60 + second)?;
        let key = RecordKey { second, id };
        Some(MessageId { bucket: Bucket { class, day }, key })
    }
}

fn fixed_digits(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Bucket, MessageId, RecordKey};
    use crate::class::Class;
    use crate::ids::RecordId;
    use crate::time::{Day, UnixMillis};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn a_message_id_reads_like_a_date() {
        let id = MessageId {
            bucket: Bucket { class: Class::SPAM, day: Day(20_780) },
            key: RecordKey { second: 8 * 3600 + 15 * 60 + 12, id: RecordId([0x4f; 32]) },
        };
        assert_eq!(id.to_string(), format!("spam-20261123-081512-{}", "4f".repeat(32)));
    }

    #[test]
    fn refuses_ids_that_name_no_instant() {
        let digest = "4f".repeat(32);
        for text in [
            format!("spam-20261123-241512-{digest}"),
            format!("spam-20261323-081512-{digest}"),
            format!("spam-20261123-08151-{digest}"),
            format!("ham-20261123-081512-{digest}"),
            format!("20261123-081512-{digest}"),
            String::new(),
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn message_ids_print_and_parse(class: u8, day in 0u32..2_932_896, second in 0u32..86_400, id: [u8; 32]) {
            let id = MessageId {
                bucket: Bucket { class: Class(class), day: Day(day) },
                key: RecordKey { second, id: RecordId(id) },
            };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn a_record_settles_at_the_first_instant_that_counts_it(day in 0u32..2_932_896, second in 0u32..200_000) {
            let key = RecordKey { second, id: RecordId([0; 32]) };
            let settles = key.settles(Day(day));
            prop_assert!(key.is_settled(Day(day), settles.cutoff()));
            prop_assert!(!key.is_settled(Day(day), UnixMillis(settles.0 - 1).cutoff()));
        }

        #[test]
        fn key_bytes_sort_as_keys_do(a in any::<(u32, [u8; 32])>(), b in any::<(u32, [u8; 32])>()) {
            let [a, b] = [a, b].map(|(second, id)| RecordKey { second, id: RecordId(id) });
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(RecordKey::from_bytes(&a.to_bytes()), a);
        }
    }
}

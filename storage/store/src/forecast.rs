//! How long the disk will last: what comes in a day, against what expires in the days to come.
//! Never looks further than a week ahead or back.
//!
//! ```text
//! a week ago        first day of the rate                today
//!    │  held, strays        │ ◄── the mail of a node ──► │ not over: not counted
//! ```
//! A node may be younger than its oldest mail: imported mail keeps its day, and a held message that of its original.

use crate::floors::Retention;
use crate::segment::bucket_directory;
use crate::store::Store;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeMap;
use std::io;

/// Days ahead, and days of history at most.
const DAYS: u32 = 7;
/// A day with less than this part of the busiest day's bytes does not begin a node's history: some single
/// message was imported there.
const STRAY_PART: u64 = 100;

impl Store {
    /// In how many days there will be no room for mail, at the rate of the last days; `None` when that
    /// is more than a week off, or when not one whole day of the last week has mail.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn forecast(&self, today: Day) -> io::Result<Option<u32>> {
        let buckets = self.buckets().into_iter();
        let sized =
            buckets.map(|bucket| Ok((bucket, self.disk.used_bytes(&bucket_directory(bucket))?)));
        let sized: Vec<(Bucket, u64)> = sized.collect::<io::Result<_>>()?;
        let spare = self.spare_bytes()?;
        Ok(days_left(&sized, &self.settings.retention, today, spare))
    }
}

/// As [`Store::forecast`], from the buckets' bytes and the bytes that mail may still take.
fn days_left(
    buckets: &[(Bucket, u64)],
    retention: &Retention,
    today: Day,
    spare: u64,
) -> Option<u32> {
    let first = first_day(buckets, today)?;
    let is_recent = |bucket: &Bucket| bucket.day < today && bucket.day >= first;
    let recent = buckets.iter().filter(|(bucket, _)| is_recent(bucket));
    let a_day = recent.map(|(_, bytes)| *bytes).sum::<u64>() / u64::from(today.0 - first.0);
    let mut spare = i128::from(spare);
    for ahead in 1..=DAYS {
        let day = Day(today.0 + ahead);
        let goes = |bucket: &Bucket| {
            let floor = |day: Day| retention.days(bucket.class).map(|days| day.minus(days));
            let is_below = |day| floor(day).is_some_and(|floor| bucket.day < floor);
            is_below(day) && !is_below(Day(day.0 - 1))
        };
        let going = buckets.iter().filter(|(bucket, _)| goes(bucket));
        spare += going.map(|(_, bytes)| i128::from(*bytes)).sum::<i128>();
        spare -= i128::from(a_day);
        if spare < 0 {
            return Some(ahead);
        }
    }
    None
}

/// From which day of the last week on mail came as it comes; `None` without a whole day of it.
fn first_day(buckets: &[(Bucket, u64)], today: Day) -> Option<Day> {
    let week = || {
        let is_within = |bucket: &Bucket| bucket.day < today && bucket.day >= today.minus(DAYS);
        buckets.iter().filter(move |(bucket, _)| is_within(bucket))
    };
    let is_only_held = week().all(|(bucket, _)| bucket.class == Class::HELD);
    let mut days = BTreeMap::<Day, u64>::new();
    for (bucket, bytes) in week() {
        if is_only_held || bucket.class != Class::HELD {
            *days.entry(bucket.day).or_default() += bytes;
        }
    }
    let busiest = days.values().max().copied()?;
    days.into_iter().find(|(_, bytes)| *bytes >= busiest / STRAY_PART).map(|(day, _)| day)
}

#[cfg(test)]
mod tests {
    use super::days_left;
    use crate::floors::Retention;
    use quar_base::class::Class;
    use quar_base::key::Bucket;
    use quar_base::time::Day;

    const TODAY: Day = Day(1000);

    /// So many bytes on each of the days before today, the last first.
    fn days(class: Class, bytes: &[u64]) -> Vec<(Bucket, u64)> {
        let bucket = |ago: usize| Bucket { class, day: Day(TODAY.0 - ago as u32) };
        bytes.iter().zip(1..).map(|(bytes, ago)| (bucket(ago), *bytes)).collect()
    }

    fn kept(days: u32) -> Retention {
        Retention([(Class::SPAM, Some(days))].into())
    }

    #[test]
    fn without_a_whole_day_there_is_no_forecast() {
        assert_eq!(days_left(&[], &kept(30), TODAY, 5), None);
        let today = [(Bucket { class: Class::SPAM, day: TODAY }, 1 << 40)];
        assert_eq!(days_left(&today, &kept(30), TODAY, 5), None);
    }

    #[test]
    fn growth_without_expiry_fills_the_disk_on_the_day_it_does() {
        let week = days(Class::SPAM, &[10; 7]);
        assert_eq!(days_left(&week, &kept(30), TODAY, 29), Some(3));
        assert_eq!(days_left(&week, &kept(30), TODAY, 30), Some(4));
        assert_eq!(days_left(&week, &kept(30), TODAY, 70), None);
        // One day is enough to tell, and today, which is not over, does not count.
        let mut one = days(Class::SPAM, &[10]);
        one.push((Bucket { class: Class::SPAM, day: TODAY }, 1 << 40));
        assert_eq!(days_left(&one, &kept(30), TODAY, 29), Some(3));
    }

    #[test]
    fn a_node_that_is_younger_than_its_oldest_mail_has_the_rate_of_its_own_days() {
        let young = |others: &[(Class, u32, u64)]| {
            let mut all = days(Class::SPAM, &[1000, 1000]);
            let other = |(class, ago, bytes): &(Class, u32, u64)| {
                (Bucket { class: *class, day: Day(TODAY.0 - ago) }, *bytes)
            };
            all.extend(others.iter().map(other));
            days_left(&all, &kept(30), TODAY, 2999)
        };
        assert_eq!(young(&[]), Some(3));
        assert_eq!(young(&[(Class::ARCHIVE, 20, 90_000)]), Some(3), "imported");
        assert_eq!(young(&[(Class::HELD, 6, 900)]), Some(3), "held");
        assert_eq!(young(&[(Class::SPAM, 6, 9)]), Some(3), "a stray");
        assert_eq!(young(&[(Class::SPAM, 6, 10)]), None, "a quiet day of its own");
    }

    #[test]
    fn what_expires_makes_room_for_what_comes() {
        // Kept for nine days, and all nine are there: each day one goes and one comes.
        let steady = days(Class::SPAM, &[10; 9]);
        assert_eq!(days_left(&steady, &kept(9), TODAY, 0), None);
        // Larger days go than come.
        let shrinking = days(Class::SPAM, &[1, 1, 1, 1, 1, 1, 1, 50, 50]);
        assert_eq!(days_left(&shrinking, &kept(9), TODAY, 0), None);
        // A class that is kept for good only grows.
        let held = days(Class::HELD, &[10; 9]);
        assert_eq!(days_left(&held, &Retention::default(), TODAY, 15), Some(2));
    }
}

//! Floors: the oldest day that each class still keeps, and the file that remembers what was unlinked.
//! Never moves a kept floor back.
//!
//! ```text
//! kept floor     in the file; bytes below it were unlinked, so it only rises
//! clock floor    today minus the retention; hides at once, and goes away when a wrong clock is mended
//! floor          the higher of the two: below it nothing is shown, offered or accepted
//! ```

use crate::disk::Disk;
use crate::error::OpenError;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const FILE: &str = "floors";
const HEADER: &str = "quard floors 1\n";
/// What the first line of every version begins with; its number follows.
const NAME: &[u8] = b"quard floors ";
const VERSION: u32 = 1;

/// Days that each class keeps; classes not named use their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention(pub BTreeMap<Class, Option<u32>>);

impl Retention {
    /// Days that a class keeps; `None` keeps everything.
    #[must_use]
    pub fn days(&self, class: Class) -> Option<u32> {
        self.0.get(&class).copied().unwrap_or_else(|| class.default_retention_days())
    }
}

/// The floors in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floors {
    kept: BTreeMap<Class, Day>,
    retention: Retention,
    today: Option<Day>,
}

/// Why the floors file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloorsUnreadable {
    /// It is not what was written.
    Damaged,
    /// A later version of this program wrote it.
    Later { found: u32 },
}

impl FloorsUnreadable {
    pub(crate) fn into_open_error(self) -> OpenError {
        match self {
            Self::Damaged => OpenError::Floors,
            Self::Later { found } => OpenError::Segment {
                path: FILE.into(),
                reason: format!(
                    "the file has version {found} and this program knows {VERSION} at most: it was \
                     written by a later version; run that version or a later one, and leave the \
                     file as it is"
                ),
            },
        }
    }
}

impl Floors {
    pub(crate) fn new(retention: Retention, today: Day) -> Self {
        Self { kept: BTreeMap::new(), retention, today: Some(today) }
    }

    /// Sets what the clock says; lowers the clock floor when the clock was set back.
    pub(crate) fn set_today(&mut self, today: Day) {
        self.today = Some(today);
    }

    /// The oldest day of a class that is shown, offered and accepted.
    pub(crate) fn floor(&self, class: Class) -> Day {
        let kept = self.kept.get(&class).copied().unwrap_or(Day(0));
        kept.max(self.clock_floor(class))
    }

    pub(crate) fn is_below(&self, bucket: Bucket) -> bool {
        bucket.day < self.floor(bucket.class)
    }

    /// Whether the day's bytes were unlinked, or may be.
    pub(crate) fn is_below_kept(&self, bucket: Bucket) -> bool {
        self.kept.get(&bucket.class).is_some_and(|day| bucket.day < *day)
    }

    /// The day below which the retention lets a class go, by the clock alone.
    pub(crate) fn clock_floor(&self, class: Class) -> Day {
        match (self.retention.days(class), self.today) {
            (Some(days), Some(today)) => today.minus(days),
            _ => Day(0),
        }
    }

    /// Raises the kept floor to the clock floor for every class; returns whether any moved.
    pub(crate) fn keep_clock_floors(&mut self, classes: impl Iterator<Item = Class>) -> bool {
        let mut moved = false;
        for class in classes {
            let floor = self.clock_floor(class);
            let kept = self.kept.entry(class).or_insert(Day(0));
            if floor > *kept {
                *kept = floor;
                moved = true;
            }
        }
        moved
    }

    /// Raises a class's kept floor, whatever the clock says.
    pub(crate) fn keep(&mut self, class: Class, floor: Day) {
        let kept = self.kept.entry(class).or_insert(Day(0));
        *kept = floor.max(*kept);
    }

    /// Kept floors that are higher than what the clock says: those days went early, or under an
    /// earlier, shorter retention.
    pub(crate) fn early(&self) -> Vec<(Class, Day)> {
        let is_early = |(class, day): &(&Class, &Day)| **day > self.clock_floor(**class);
        let early = self.kept.iter().filter(is_early);
        early.map(|(class, day)| (*class, *day)).collect()
    }

    /// Classes of which days were unlinked.
    pub(crate) fn kept_classes(&self) -> impl Iterator<Item = Class> {
        self.kept.keys().copied()
    }

    pub(crate) fn today(&self) -> Option<Day> {
        self.today
    }

    /// Floors of all classes that have one, for comparing with a peer's.
    pub(crate) fn list(&self, classes: impl Iterator<Item = Class>) -> Vec<(Class, Day)> {
        let all = classes.map(|class| (class, self.floor(class)));
        all.filter(|(_, day)| *day > Day(0)).collect()
    }

    /// Makes the kept floors durable.
    pub(crate) fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut text = HEADER.to_owned();
        for (class, day) in &self.kept {
            text.push_str(&format!("{class} {day}\n"));
        }
        let check = blake3::hash(text.as_bytes()).to_hex();
        text.push_str(&format!("check {}\n", &check.as_str()[..16]));
        disk.replace(Path::new(FILE), text.as_bytes())
    }

    /// Reads the kept floors; none when there is no file.
    pub(crate) fn load(&mut self, disk: &dyn Disk) -> io::Result<Result<(), FloorsUnreadable>> {
        let Some(bytes) = disk.read(Path::new(FILE))? else {
            return Ok(Ok(()));
        };
        Ok(parse(&bytes).map(|kept| self.kept = kept))
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<Class, Day>, FloorsUnreadable> {
    let Some((found, behind)) = version(bytes).filter(|(found, _)| *found > VERSION) else {
        return parse_ours(bytes).ok_or(FloorsUnreadable::Damaged);
    };
    // A flipped bit makes a 3 of our 1. Nothing else is known of what a later version writes.
    let as_ours = [HEADER.as_bytes(), behind].concat();
    match parse_ours(&as_ours) {
        Some(_) => Err(FloorsUnreadable::Damaged),
        None => Err(FloorsUnreadable::Later { found }),
    }
}

/// The number in the first line, and what stands behind that line.
fn version(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let rest = bytes.strip_prefix(NAME)?;
    let (digits, behind) = rest.split_at(rest.iter().position(|byte| *byte == b'\n')?);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, &behind[1..]))
}

fn parse_ours(bytes: &[u8]) -> Option<BTreeMap<Class, Day>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, check) = text.split_at(text.rfind("check ")?);
    let wanted = blake3::hash(body.as_bytes()).to_hex();
    if check.strip_prefix("check ")?.strip_suffix('\n')? != &wanted.as_str()[..16] {
        return None;
    }
    let mut kept = BTreeMap::new();
    for line in body.strip_prefix(HEADER)?.lines() {
        let (class, day) = line.split_once(' ')?;
        kept.insert(class.parse().ok()?, day.parse().ok()?);
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::{Floors, FloorsUnreadable, Retention};
    use crate::disk::{Disk, MemoryDisk};
    use quar_base::class::Class;
    use quar_base::key::Bucket;
    use quar_base::time::Day;
    use std::path::Path;

    fn spam(day: u32) -> Bucket {
        Bucket { class: Class::SPAM, day: Day(day) }
    }

    #[test]
    fn a_wrong_clock_hides_and_a_mended_clock_shows_again() {
        let mut floors = Floors::new(Retention::default(), Day(1000));
        assert!(floors.is_below(spam(969)) && !floors.is_below(spam(970)));
        floors.set_today(Day(2000));
        assert!(floors.is_below(spam(1000)));
        floors.set_today(Day(1000));
        assert!(!floors.is_below(spam(1000)));
    }

    #[test]
    fn a_kept_floor_never_moves_back_and_survives_a_crash() {
        let disk = MemoryDisk::new();
        let mut floors = Floors::new(Retention::default(), Day(1000));
        assert!(floors.keep_clock_floors(Class::known()));
        floors.save(&disk).unwrap();
        let mut again = Floors::new(Retention([(Class::SPAM, Some(900))].into()), Day(1000));
        again.load(&disk.crash()).unwrap().unwrap();
        assert!(again.is_below_kept(spam(969)) && again.is_below(spam(969)));
        assert!(!again.keep_clock_floors(Class::known()));
    }

    #[test]
    fn held_mail_has_no_floor() {
        let floors = Floors::new(Retention::default(), Day(20_000));
        assert_eq!(floors.floor(Class::HELD), Day(0));
    }

    #[test]
    fn a_damaged_file_is_noticed() {
        let disk = MemoryDisk::new();
        let mut floors = Floors::new(Retention::default(), Day(1000));
        floors.keep_clock_floors(Class::known());
        floors.save(&disk).unwrap();
        disk.damage(Path::new("floors"), |bytes| bytes[20] ^= 1);
        assert!(disk.read(Path::new("floors")).unwrap().is_some());
        assert_eq!(floors.load(&disk).unwrap(), Err(FloorsUnreadable::Damaged));
    }

    #[test]
    fn a_file_of_a_later_version_is_no_damage_and_one_flipped_bit_is_no_later_version() {
        let disk = MemoryDisk::new();
        let mut floors = Floors::new(Retention::default(), Day(1000));
        floors.keep_clock_floors(Class::known());
        floors.save(&disk).unwrap();
        let ours = disk.read(Path::new("floors")).unwrap().unwrap();
        let mut check = |bytes: &[u8], expected| {
            disk.replace(Path::new("floors"), bytes).unwrap();
            assert_eq!(floors.load(&disk).unwrap(), Err(expected), "{}", bytes.escape_ascii());
        };
        check(b"quard floors 2\nanything", FloorsUnreadable::Later { found: 2 });
        check(b"quard floors 10\n\xff", FloorsUnreadable::Later { found: 10 });
        for text in ["quard floors 0\n", "quard floors 2", "quard floors x\n", "quard floors \n"] {
            check(text.as_bytes(), FloorsUnreadable::Damaged);
        }
        let mut flipped = ours;
        flipped[13] ^= 2;
        assert!(flipped.starts_with(b"quard floors 3\n"));
        check(&flipped, FloorsUnreadable::Damaged);
    }
}

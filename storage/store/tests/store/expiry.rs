//! Expiry cut short at every operation: a day is whole or gone, and once gone stays gone.
//! Never asks when a day may go; the caller of the store decides that.

use crate::spy::SpyDisk;
use crate::support::{DAY_MS, NOW, mail, open_memory, put};
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId};
use quar_base::time::{Day, UnixMillis};
use quar_index::{Index, MemoryIndex};
use quar_store::{Disk, MemoryDisk, ReadError, RealDisk, Refusal, Store};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const LATER: UnixMillis = UnixMillis(NOW.0 + 20 * DAY_MS);

#[test]
fn a_day_cut_off_in_the_middle_of_its_expiry_is_gone_after_the_next_start() {
    let index = Arc::new(MemoryIndex::new());
    let disk = SpyDisk::new(MemoryDisk::new(), index.clone(), [1; 32]);
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    let mut old = mail(b"old", 1);
    old.received = UnixMillis(NOW.0 - 15 * DAY_MS);
    let [old, new] = [put(&store, old), put(&store, mail(b"new", 1))];
    let record = store.item(old.bucket, &old.key).unwrap().unwrap();
    store.checkpoint().unwrap();
    drop(store);
    // More than one segment in the day.
    let (store, _) = open_memory(disk.clone(), index, NOW);
    let mut more = mail(b"old too", 1);
    more.received = UnixMillis(NOW.0 - 15 * DAY_MS);
    let more = put(&store, more);
    disk.take_images();
    store.set_today(LATER.day());
    let expired = store.unlink_expired().unwrap();
    assert_eq!(expired.buckets, [old.bucket]);
    store.forget_expired(&expired).unwrap();
    store.checkpoint().unwrap();
    let mut images = disk.take_images();
    assert!(images.len() >= 2);
    for image in &images {
        let (store, report) = open_memory(image.disk.clone(), image.index.clone(), LATER);
        assert_eq!(report.damaged, Vec::<String>::new());
        assert_eq!(store.body(new).unwrap(), b"new");
        for id in [old, more] {
            assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
        }
        store.unlink_expired().unwrap();
        assert_eq!(store.expired(), []);
    }
    // With its floor kept, a clock set back brings nothing back, nor does a peer.
    let last = images.pop().unwrap();
    let (store, _) = open_memory(last.disk, last.index, NOW);
    assert!(matches!(store.body(old), Err(ReadError::NotFound(_))));
    assert_eq!(store.body(new).unwrap(), b"new");
    let refusal = store.admit_record(record.0, record.1, NOW).err();
    assert!(matches!(refusal, Some(Refusal::BelowFloor { .. })));
}

#[test]
fn the_oldest_day_of_the_classes_asked_for_goes_early_and_stays_gone() {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    let put_on = |class: Class, days: u64| {
        let mut mail = mail(format!("{class} {days}").as_bytes(), 1);
        (mail.class, mail.received) = (class, UnixMillis(NOW.0 - days * DAY_MS));
        put(&store, mail)
    };
    let virus = put_on(Class::VIRUS, 5);
    let spam = [3, 2, 0].map(|days| put_on(Class::SPAM, days));
    let record = store.item(spam[0].bucket, &spam[0].key).unwrap().unwrap();
    assert_eq!(store.expire_oldest(&BTreeSet::new()).unwrap().buckets, []);
    let classes = BTreeSet::from([Class::SPAM]);
    let expired = store.expire_oldest(&classes).unwrap();
    store.forget_expired(&expired).unwrap();
    assert_eq!(expired.buckets, [spam[0].bucket]);
    assert_eq!(store.expired_early(), [(Class::SPAM, Day(spam[0].bucket.day.0 + 1))]);
    let check = |store: &Store| {
        assert!(matches!(store.body(spam[0]), Err(ReadError::NotFound(_))));
        for id in [virus, spam[1], spam[2]] {
            store.body(id).unwrap();
        }
        // Nor does a peer bring it back.
        let refusal = store.admit_record(record.0.clone(), record.1.clone(), NOW).err();
        assert!(matches!(refusal, Some(Refusal::BelowFloor { .. })), "{refusal:?}");
    };
    check(&store);
    drop(store);
    let (store, _) = open_memory(disk.crash(), Arc::new(index.crash()), NOW);
    check(&store);
    assert_eq!(store.expire_oldest(&classes).unwrap().buckets, [spam[1].bucket]);
    assert_eq!(store.expire_oldest(&classes).unwrap().buckets, [], "today stays");
    // Once the clock has come there by itself, nothing is early any more.
    store.set_today(Day(NOW.day().0 + 300));
    assert_eq!(store.expired_early(), []);
}

/// A store on a real disk with one mail on each of the last five days, the oldest first.
struct FiveDays {
    directory: TempDir,
    index: Arc<MemoryIndex>,
    store: Store,
    mail: [MessageId; 5],
}

impl FiveDays {
    fn new() -> Self {
        let (directory, index) = (tempfile::tempdir().unwrap(), Arc::new(MemoryIndex::new()));
        let (store, _) = open_memory(RealDisk::new(directory.path()), index.clone(), NOW);
        let mail = [4, 3, 2, 1, 0].map(|days| {
            let received = UnixMillis(NOW.0 - days * DAY_MS);
            put(&store, quar_store::Mail { received, ..mail(&[days as u8; 300], 1) })
        });
        Self { directory, index, store, mail }
    }

    fn bucket(&self, number: usize) -> Bucket {
        self.mail[number].bucket
    }

    /// Directory of one of the days.
    fn day(&self, number: usize) -> PathBuf {
        let Bucket { class, day } = self.bucket(number);
        let path = self.directory.path().join(format!("segments/{class}/{day}"));
        assert!(path.is_dir(), "{path:?}");
        path
    }

    /// Puts what no call for directories can unlink in the place of one; returns what mends it.
    fn spoil(&self, number: usize) -> impl FnOnce() + use<> {
        let path = self.day(number);
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"no directory").unwrap();
        move || fs::remove_file(path).unwrap()
    }

    /// The days of which something is on disk, in the index, in the lists, or counted.
    fn left(&self) -> Vec<usize> {
        let is_left =
            |number: &usize| self.index.buckets().unwrap().contains(&self.bucket(*number));
        let left: Vec<usize> = (0..5).filter(is_left).collect();
        assert_eq!(self.store.counts().records, left.len() as u64);
        left
    }
}

fn is_gone(path: &Path) -> bool {
    !path.exists()
}

#[test]
fn a_day_whose_directory_is_gone_is_expired_with_the_others() {
    let days = FiveDays::new();
    let paths = [0, 1, 2, 3, 4].map(|number| days.day(number));
    fs::remove_dir_all(&paths[1]).unwrap();
    days.store.set_today(Day(NOW.day().0 + 60));
    let expired = days.store.unlink_expired().unwrap();
    assert_eq!((expired.buckets.len(), expired.records), (5, 5));
    days.store.forget_expired(&expired).unwrap();
    assert_eq!((days.store.expired(), days.left()), (vec![], vec![]));
    assert!(paths.iter().all(|path| is_gone(path)));
}

#[test]
fn a_day_that_cannot_be_unlinked_keeps_no_other_day() {
    let days = FiveDays::new();
    let paths = [0, 1, 2, 3, 4].map(|number| days.day(number));
    let mend = days.spoil(1);
    days.store.set_today(Day(NOW.day().0 + 60));
    for _ in 0..2 {
        days.store.unlink_expired().expect_err("one day is no directory");
        assert_eq!(days.store.expired(), [days.bucket(1)]);
        assert_eq!(days.left(), [1]);
        assert!([0, 2, 3, 4].iter().all(|number| is_gone(&paths[*number])));
    }
    mend();
    let expired = days.store.unlink_expired().unwrap();
    assert_eq!(expired.buckets, [days.bucket(1)]);
    assert_eq!(days.store.expired(), []);
}

#[test]
fn a_day_that_cannot_be_unlinked_stops_no_start() {
    let index = Arc::new(MemoryIndex::new());
    let disk = SpyDisk::new(MemoryDisk::new(), index.clone(), [1; 32]);
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    let old = put(&store, mail(b"old", 1));
    let later = UnixMillis(NOW.0 + 60 * DAY_MS);
    store.set_today(later.day());
    let new = put(&store, quar_store::Mail { received: later, ..mail(b"new", 2) });
    disk.keep_directories(true);
    store.unlink_expired().expect_err("no directory may be unlinked");
    store.close();
    for (keeps, complaints) in [(true, 1), (true, 1), (false, 0), (false, 0)] {
        disk.keep_directories(keeps);
        let (store, report) = open_memory(disk.clone(), index.clone(), later);
        assert_eq!(report.rebuilt, None);
        assert_eq!(report.damaged.len(), complaints, "{:?}", report.damaged);
        let says = |what: &String| what.contains("expired, and cannot be unlinked");
        assert!(report.damaged.iter().all(says), "{:?}", report.damaged);
        assert!(store.message(old).is_err() && store.message(new).is_ok());
        store.close();
    }
    assert!(disk.list(Path::new("segments/spam")).unwrap().len() == 1);
}

#[test]
fn under_pressure_a_day_whose_directory_is_gone_does_not_hold_up_the_next() {
    let days = FiveDays::new();
    fs::remove_dir_all(days.day(0)).unwrap();
    let classes = BTreeSet::from([Class::SPAM]);
    for number in 0..4 {
        let expired = days.store.expire_oldest(&classes).unwrap();
        assert_eq!(expired.buckets, [days.bucket(number)]);
        days.store.forget_expired(&expired).unwrap();
    }
    assert_eq!(days.left(), [4]);
}

#[test]
fn under_pressure_the_next_day_goes_when_the_oldest_cannot_and_only_then() {
    let days = FiveDays::new();
    let classes = BTreeSet::from([Class::SPAM]);
    let mend = days.spoil(0);
    days.store.expire_oldest(&classes).expect_err("the oldest day is no directory");
    assert_eq!(days.left(), [0, 1, 2, 3, 4]);
    for left in [[0, 2, 3, 4].as_slice(), &[0, 3, 4]] {
        days.store.expire_oldest(&classes).expect_err("it still is none");
        assert_eq!(days.left(), left);
    }
    mend();
    let expired = days.store.expire_oldest(&classes).unwrap();
    assert_eq!(expired.buckets, [days.bucket(0)]);
    days.store.forget_expired(&expired).unwrap();
    assert_eq!(days.left(), [3, 4]);
}

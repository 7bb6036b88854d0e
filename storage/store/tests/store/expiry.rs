//! Expiry cut short at every operation: a day is whole or gone, and once gone stays gone.
//! Never asks when a day may go; the caller of the store decides that.

use crate::spy::SpyDisk;
use crate::support::{DAY_MS, NOW, mail, open_memory, put};
use quar_base::class::Class;
use quar_base::time::{Day, UnixMillis};
use quar_index::MemoryIndex;
use quar_store::{MemoryDisk, ReadError, Refusal, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

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

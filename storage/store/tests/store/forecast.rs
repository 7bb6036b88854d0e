//! How long the disk will last, as stores with mail of several days tell it.

use crate::support::{DAY_MS, NOW, mail, open_with, put, settings};
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId};
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_store::{Disk, Holding, MemoryDisk, MemoryHome, Origin, Store};
use std::path::PathBuf;
use std::sync::Arc;

const MIN_FREE: u64 = 1 << 20;

/// A store with mail that no compression makes smaller.
struct Filled {
    disk: MemoryDisk,
    store: Store,
}

impl Filled {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let settings = quar_store::Settings { min_free_bytes: MIN_FREE, ..settings(1) };
        let home = &mut MemoryHome(Arc::default());
        let (store, _) = open_with(settings, Arc::new(disk.clone()), home, NOW).unwrap();
        Self { disk, store }
    }

    fn put(&self, class: Class, days_ago: u64, bytes: usize, origin: Origin) -> MessageId {
        let rng = &mut Rng::from_seed([days_ago as u8; 32]);
        let body: Vec<u8> = (0..bytes).map(|_| rng.bytes::<1>()[0]).collect();
        let mut mail = mail(&body, 1);
        (mail.class, mail.origin) = (class, origin);
        mail.received = UnixMillis(NOW.0 - days_ago * DAY_MS);
        put(&self.store, mail)
    }

    fn taken(&self, bucket: Bucket) -> u64 {
        let directory = PathBuf::from(format!("segments/{}/{}", bucket.class, bucket.day));
        let bytes = self.disk.used_bytes(&directory).unwrap();
        assert!(bytes > 0, "nothing in {}", directory.display());
        bytes
    }

    /// In how many days this much room is full.
    fn days_until(&self, spare: u64) -> Option<u32> {
        self.disk.set_free_bytes(MIN_FREE + spare);
        self.store.forecast(NOW.day()).unwrap()
    }
}

#[test]
fn a_store_tells_the_day_on_which_its_disk_takes_no_more_mail() {
    let filled = Filled::new();
    assert_eq!(filled.days_until(0), None, "nothing is known");
    filled.disk.set_free_bytes(u64::MAX);
    let days = [1, 2, 3].map(|ago| filled.put(Class::SPAM, ago, 100_000, Origin::Caught).bucket);
    // Today is not over and says nothing about a day.
    filled.put(Class::SPAM, 0, 900_000, Origin::Caught);
    filled.store.close();
    let a_day = days.map(|bucket| filled.taken(bucket)).iter().sum::<u64>() / 3;
    assert!(a_day >= 100_000, "{a_day} bytes");
    assert_eq!(filled.days_until(a_day * 5 / 2), Some(3));
    assert_eq!(filled.days_until(0), Some(1));
    assert_eq!(filled.days_until(a_day * 7), None, "more than a week off");
}

#[test]
fn neither_imported_nor_held_mail_makes_a_young_node_look_old() {
    let filled = Filled::new();
    let yesterday = filled.put(Class::SPAM, 1, 400_000, Origin::Caught).bucket;
    filled.put(Class::ARCHIVE, 40, 100_000, Origin::Imported);
    filled.put(Class::SPAM, 6, 100, Origin::Imported);
    // From a peer, which has the original: this node's days do not begin with it.
    let peer = Filled::new();
    let original = peer.put(Class::VIRUS, 5, 50_000, Origin::Caught);
    let Holding::New(hold) = peer.store.hold(original).unwrap() else { panic!("held before") };
    let held = peer.store.admit_hold(*hold).unwrap().message.unwrap();
    peer.store.commit();
    let (record, body) = peer.store.item(held.bucket, &held.key).unwrap().unwrap();
    filled.store.admit_record(record, body, NOW).unwrap();
    filled.store.commit();
    filled.taken(held.bucket);
    filled.store.close();
    let a_day = filled.taken(yesterday);
    assert_eq!(filled.days_until(a_day * 5 / 2), Some(3));
    assert_eq!(filled.days_until(a_day * 7), None);
}

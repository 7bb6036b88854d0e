//! Bit rot in the small files beside the segments: every bit of each flipped, and runs of zeros.

use crate::support::{DAY_MS, NOW, mail, open_with, put, settings};
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_store::{Disk, Finding, LastSeen, MemoryDisk, MemoryHome, OpenError, OpenReport, Store};
use std::path::Path;
use std::sync::Arc;

const OLD: UnixMillis = UnixMillis(NOW.0 - 60 * DAY_MS);

/// Every flip of one bit, and zeros over each byte, over 16 and over all.
fn damages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            all.push(changed);
        }
        for run in [1, 16, bytes.len()] {
            let mut changed = bytes.to_vec();
            changed[at..].iter_mut().take(run).for_each(|byte| *byte = 0);
            all.push(changed);
        }
    }
    all
}

struct Whole {
    disk: MemoryDisk,
    index: Arc<MemoryIndex>,
    expired: MessageId,
    kept: [MessageId; 2],
}

impl Whole {
    /// A store that has let a day go, has a damaged record, and knows when it last ran.
    fn new() -> Self {
        let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
        let home = &mut MemoryHome(index.clone());
        let (store, _) = open_with(settings(1), Arc::new(disk.clone()), home, OLD).unwrap();
        let mut old = mail(b"old", 1);
        old.received = OLD;
        let expired = put(&store, old);
        store.set_today(NOW.day());
        let gone = store.unlink_expired().unwrap();
        store.forget_expired(&gone).unwrap();
        let kept = [put(&store, mail(b"one", 1)), put(&store, mail(b"two", 1))];
        store.mark_broken(&[Finding::LostRecord { record: kept[1] }]).unwrap();
        store.save_last_seen(LastSeen::at(NOW)).unwrap();
        store.checkpoint().unwrap();
        store.close();
        drop(store);
        Self { disk, index, expired, kept }
    }

    fn open(&self, disk: &MemoryDisk) -> Result<(Store, OpenReport), OpenError> {
        let home = &mut MemoryHome(Arc::new(self.index.crash()));
        open_with(settings(1), Arc::new(disk.clone()), home, NOW)
    }

    /// Opens a copy with each damage of a file; how many there are.
    fn each(
        &self,
        file: &str,
        look: &mut dyn FnMut(Result<(Store, OpenReport), OpenError>),
    ) -> usize {
        let good = self.disk.read(Path::new(file)).unwrap().expect("the file is there");
        let all = damages(&good);
        for bytes in &all {
            let disk = self.disk.crash();
            disk.damage(Path::new(file), |file| file.clone_from(bytes));
            let before = disk.paths();
            let opened = self.open(&disk);
            let is_refused = opened.is_err();
            look(opened);
            // Who refuses to open leaves everything as it is.
            let left = || disk.read(Path::new(file)).unwrap().as_ref() == Some(bytes);
            assert!(!is_refused || (disk.paths() == before && left()));
        }
        all.len()
    }

    fn is_right(&self, store: &Store) {
        assert!(store.body(self.expired).is_err(), "what expired is back");
        assert_eq!(store.body(self.kept[0]).unwrap(), b"one");
        assert_eq!(store.body(self.kept[1]).unwrap(), b"two");
    }
}

#[test]
fn a_damaged_floors_file_never_opens_and_is_left_as_it_is() {
    let whole = Whole::new();
    let damaged = whole.each("floors", &mut |opened| {
        assert!(matches!(opened.err(), Some(OpenError::Floors)));
    });
    eprintln!("floors, before it opens: damaged {damaged}, found {damaged}, none healed by itself");
    assert!(damaged > 300, "{damaged}");
}

#[test]
fn a_damaged_list_of_damaged_records_is_reported_and_costs_no_record() {
    let whole = Whole::new();
    let damaged = whole.each("broken", &mut |opened| {
        let (store, report) = opened.unwrap();
        let is_named = |text: &String| text.starts_with("broken: ");
        assert!(report.damaged.iter().any(is_named), "{report:?}");
        whole.is_right(&store);
    });
    eprintln!("broken, before it opens: damaged {damaged}, found {damaged}, healed {damaged}");
}

#[test]
fn a_damaged_time_of_the_last_run_changes_nothing_that_is_shown() {
    let whole = Whole::new();
    let mut found = 0;
    let damaged = whole.each("last-seen", &mut |opened| {
        let (store, _) = opened.unwrap();
        whole.is_right(&store);
        // It has no check: another digit is another time.
        found += usize::from(store.last_seen().unwrap().is_none());
    });
    eprintln!("last-seen, before it opens: damaged {damaged}, not taken for a time {found}");
    assert!(found * 2 > damaged, "{found} of {damaged}");
}

//! The sled form: the contract, and what outlives a close, a crash and a second opener.
//! Never damages files; that is in damage_tests.

use super::{GATHER, Gather, SledIndex};
use crate::contract::{self, History, Step, bucket, put};
use crate::filter::{Filter, hash_of};
use crate::{Index, IndexError, Tree, Visit, Write, set_aside};
use proptest::prelude::{ProptestConfig, proptest};
use quar_base::key::Bucket;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// An index that takes its directory with it.
struct Temporary {
    index: SledIndex,
    _dir: TempDir,
}

impl Temporary {
    fn new(gather: Gather) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = SledIndex::open_with(dir.path(), gather).unwrap();
        Self { index, _dir: dir }
    }
}

/// From settling at every write to hardly ever.
const GATHERS: [Gather; 4] = [
    Gather { entries_max: 5, ..GATHER },
    Gather { entries_max: 20, ..GATHER },
    Gather { logged_bytes_max: 1000, ..GATHER },
    GATHER,
];

impl Index for Temporary {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(tree, key)
    }
    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.index.scan(tree, start, visit)
    }
    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.index.write(batch)
    }
    fn fill(&self, tree: Tree, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), IndexError> {
        self.index.fill(tree, entries)
    }
    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.index.drop_tree(bucket)
    }
    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.index.buckets()
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.index.flush()
    }
    fn written_bytes(&self) -> u64 {
        self.index.written_bytes()
    }
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn keeps_the_contract() {
    for gather in GATHERS {
        contract::check(&|| Box::new(Temporary::new(gather)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn does_as_a_map_does_and_finds_it_all_when_opened_again(seed: u64, gather in 0usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = SledIndex::open_with(dir.path(), GATHERS[gather]).unwrap();
        let mut model = contract::Model::default();
        for step in History::from_seed(seed).0 {
            contract::apply(&index, &step).unwrap();
            model.take(&step);
            if matches!(step, Step::Flush) {
                drop(index);
                index = SledIndex::open_with(dir.path(), GATHERS[gather]).unwrap();
            }
            contract::compare(&index, &model);
        }
    }

    #[test]
    fn a_crash_keeps_all_that_was_flushed(seed: u64, gather in 0usize..4) {
        let root = tempfile::tempdir().unwrap();
        let (home, copy) = (root.path().join("index"), root.path().join("copy"));
        let index = SledIndex::open_with(&home, GATHERS[gather]).unwrap();
        let model = contract::follow(&index, &History::from_seed(seed));
        index.flush().unwrap();
        // What a dying process leaves: the files as they are, nothing closed.
        copy_dir(&home, &copy);
        contract::compare(&SledIndex::open(&copy).unwrap(), &model);
    }
}

#[test]
fn a_crash_keeps_what_was_filled_and_flushed() {
    let root = tempfile::tempdir().unwrap();
    let (home, copy) = (root.path().join("index"), root.path().join("copy"));
    let index = SledIndex::open(&home).unwrap();
    let tree = Tree::Bucket(bucket(1));
    let entries: Vec<_> = (0..2000u16).map(|n| (n.to_be_bytes().to_vec(), vec![7; 20])).collect();
    index.fill(tree, entries.clone()).unwrap();
    index.flush().unwrap();
    copy_dir(&home, &copy);
    let copied = SledIndex::open(&copy).unwrap();
    assert_eq!(contract::entries(&copied, tree, b"").unwrap(), entries);
}

/// Two thousand keys, of which sled has some and the layer before it the others.
fn half_settled(index: &SledIndex, tree: Tree, sled_has: fn(u16) -> bool) -> Vec<[u8; 2]> {
    for settled in [true, false] {
        let numbers = (0..2000).filter(|number| sled_has(*number) == settled);
        let batch = numbers.map(|number| put(tree, &number.to_be_bytes(), b"v"));
        index.write(batch.collect()).unwrap();
        if settled {
            index.drop_tree(bucket(99)).unwrap();
            index.flush().unwrap();
        }
    }
    assert!(index.read_layers(|layers| layers.newer.entries()) >= 600);
    (0..2000u16).map(u16::to_be_bytes).collect()
}

fn check_a_woven_scan(sled_has: fn(u16) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open(dir.path()).unwrap();
    let tree = Tree::Bucket(bucket(1));
    let mut expected = half_settled(&index, tree, sled_has);
    let keys = || -> Vec<_> {
        let entries = contract::entries(&index, tree, b"").unwrap();
        entries.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(), expected);
    // A long run of deletes must not end the scan.
    let gone = expected.drain(100..1500);
    index.write(gone.map(|key| contract::delete(tree, &key)).collect()).unwrap();
    assert_eq!(keys(), expected);
}

#[test]
fn a_scan_weaves_what_sled_has_with_what_it_has_not() {
    check_a_woven_scan(|number| number % 3 == 0);
    check_a_woven_scan(|number| number % 3 != 0);
}

#[test]
fn changes_are_settled_when_enough_of_either_kind_have_gathered() {
    for (gather, same_key) in [
        (Gather { entries_max: 10, ..GATHER }, false),
        (Gather { logged_bytes_max: 200, ..GATHER }, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let index = SledIndex::open_with(dir.path(), gather).unwrap();
        for number in 0..50u8 {
            let key = if same_key { 0 } else { number };
            index.write(vec![put(Tree::Bucket(bucket(1)), &[key], &[number; 20])]).unwrap();
            assert!(index.read_layers(|layers| layers.newer.entries()) < 10);
        }
        assert_eq!(index.engine().buckets(), [bucket(1)]);
    }
}

#[test]
fn the_journal_is_not_given_twice_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let journal_bytes = || fs::metadata(dir.path().join("quar-index.journal")).unwrap().len();
    let index = SledIndex::open(dir.path()).unwrap();
    index.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    index.flush().unwrap();
    index.flush().unwrap();
    drop(index);
    let bytes = journal_bytes();
    SledIndex::open(dir.path()).unwrap().flush().unwrap();
    assert_eq!(journal_bytes(), bytes);
}

#[test]
fn a_crash_before_the_journal_is_emptied_changes_nothing() {
    for seed in 0..20 {
        let root = tempfile::tempdir().unwrap();
        let [home, before] = ["index", "before"].map(|name| root.path().join(name));
        let index = SledIndex::open(&home).unwrap();
        let mut model = contract::follow(&index, &History::from_seed(seed));
        let more = [put(Tree::Meta, b"k", b"v"), put(Tree::Bucket(bucket(1)), b"k", b"v")];
        for step in [Step::Flush, Step::Write(more.to_vec()), Step::Flush] {
            contract::apply(&index, &step).unwrap();
            model.take(&step);
        }
        copy_dir(&home, &before);
        index.drop_tree(bucket(99)).unwrap();
        index.flush().unwrap();
        drop(index);
        let journal = "quar-index.journal";
        assert_eq!(fs::metadata(home.join(journal)).unwrap().len(), 0, "settled");
        assert_ne!(fs::copy(before.join(journal), home.join(journal)).unwrap(), 0);
        let index = SledIndex::open(&home).unwrap();
        contract::compare(&index, &model);
        index.drop_tree(bucket(99)).unwrap();
        index.flush().unwrap();
        contract::compare(&index, &model);
    }
}

#[test]
fn opens_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = SledIndex::open(dir.path()).unwrap();
    for _ in 0..2 {
        let error = SledIndex::open(dir.path()).expect_err("open already");
        assert!(matches!(error, IndexError::Busy { .. }), "{error}");
    }
    first.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    first.flush().unwrap();
    drop(first);
    let second = SledIndex::open(dir.path()).unwrap();
    assert_eq!(second.get(Tree::Meta, b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_process_that_has_only_sleds_lock_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledIndex::open(dir.path()).unwrap());
    let db = fs::File::open(dir.path().join("db")).unwrap();
    db.lock().unwrap();
    let error = SledIndex::open(dir.path()).expect_err("locked");
    assert!(matches!(error, IndexError::Busy { .. }), "{error}");
}

#[test]
fn an_index_of_a_later_format_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledIndex::open(dir.path()).unwrap());
    let file = dir.path().join("quar-index.format");
    // Version 2 and the FNV-1a of what stands before it.
    let later = b"QUARIDX\n\x02\x00\x00\x00\x79\xf0\x37\x94\x42\xff\x69\x59";
    fs::write(&file, later).unwrap();
    let error = SledIndex::open(dir.path()).expect_err("later");
    assert!(matches!(error, IndexError::LaterFormat { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), later);
}

#[test]
fn an_index_set_aside_makes_room_for_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("index");
    let index = SledIndex::open(&dir).unwrap();
    index.write(vec![put(Tree::Bucket(bucket(1)), b"k", b"v")]).unwrap();
    index.flush().unwrap();
    drop(index);
    let aside = set_aside(&dir).unwrap();
    assert_eq!(SledIndex::open(&dir).unwrap().buckets().unwrap(), []);
    assert_eq!(SledIndex::open(&aside).unwrap().buckets().unwrap(), [bucket(1)]);
}

#[test]
fn after_a_failed_flush_the_index_refuses_changes_and_still_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open(dir.path()).unwrap();
    index.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    // A flush that cannot sync everything must not pass for one that did.
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    index.drop_tree(bucket(1)).unwrap();
    assert!(index.flush().is_err());
    assert!(index.flush().is_err());
    assert!(index.write(Vec::new()).is_err());
    assert!(index.drop_tree(bucket(1)).is_err());
    // What a commit had made durable when the flush beside it failed is read until the restart.
    assert!(index.write(vec![put(Tree::Meta, b"k2", b"v2")]).is_err());
    assert_eq!(index.get(Tree::Meta, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(index.get(Tree::Meta, b"k2").unwrap().as_deref(), Some(&b"v2"[..]));
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        seen.push(key.to_vec());
        ControlFlow::Continue(())
    };
    index.scan(Tree::Meta, b"", &mut visit).unwrap();
    assert_eq!(seen, [&b"k"[..], b"k2"]);
    assert_eq!(index.buckets().unwrap(), []);
}

#[test]
fn without_room_nothing_is_settled_and_nothing_is_lost() {
    static HAS_ROOM: AtomicBool = AtomicBool::new(false);
    let gather =
        Gather { entries_max: 5, has_room: |_, _| HAS_ROOM.load(Ordering::Relaxed), ..GATHER };
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open_with(dir.path(), gather).unwrap();
    let tree = Tree::Bucket(bucket(1));
    let keys = |index: &SledIndex| contract::entries(index, tree, b"").unwrap().len();
    for number in 0..40u8 {
        index.write(vec![put(tree, &[number], b"v")]).unwrap();
        index.flush().unwrap();
    }
    assert_eq!((index.engine().buckets(), keys(&index)), (vec![], 40));
    // What a dying process leaves.
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    assert_eq!(keys(&SledIndex::open(copy.path()).unwrap()), 40);
    index.drop_tree(bucket(2)).unwrap();
    let error = index.flush().expect_err("a drop needs room");
    assert!(matches!(error, IndexError::NoRoom { .. }) && error.is_transient(), "{error}");
    index.write(vec![put(tree, &[99], b"v")]).unwrap();
    HAS_ROOM.store(true, Ordering::Relaxed);
    index.flush().unwrap();
    assert_eq!((index.engine().buckets(), keys(&index)), (vec![bucket(1)], 41));
}

#[test]
fn a_panic_of_the_visitor_stays_the_visitors() {
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open(dir.path()).unwrap();
    index.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    let scan = std::panic::AssertUnwindSafe(|| {
        index.scan(Tree::Meta, b"", &mut |_, _| std::panic::resume_unwind(Box::new("mine")))
    });
    let panic = std::panic::catch_unwind(scan).expect_err("passed on");
    assert_eq!(panic.downcast_ref(), Some(&"mine"));
    assert_eq!(index.get(Tree::Meta, b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn what_a_scan_of_a_whole_tree_shows_a_get_finds_whatever_the_reading_at_opening_had_met() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::Bucket(bucket(1));
    let key = |number: u32| number.to_be_bytes();
    let entries = (0..20_000).map(|number| (key(number).to_vec(), vec![0; 40])).collect();
    let index = SledIndex::open(dir.path()).unwrap();
    index.fill(tree, entries).unwrap();
    index.flush().unwrap();
    drop(index);
    let index = SledIndex::open(dir.path()).unwrap();
    let is_found = |number| index.get(tree, &key(number)).unwrap().is_some();
    let forget = || {
        let met = [7, 8].map(|number| hash_of(&key(number)));
        index.change_layers(|layers| layers.filters.insert(tree, Filter::of(&met)));
        assert!((0..20_000).filter(|number| is_found(*number)).count() < 1000);
    };
    // The visitor has enough in the first leaf, later on, and never.
    for last in [1, 15_000, u32::MAX] {
        forget();
        let mut shown = 0;
        let visit = &mut |found: &[u8], _: &[u8]| {
            shown += 1;
            if found == key(last) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        index.scan(tree, &[], visit).unwrap();
        assert!((0..shown).all(is_found), "{shown} shown");
    }
}

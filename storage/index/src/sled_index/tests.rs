//! The sled form: the contract, and what outlives a close, a crash and a second opener.
//! Never damages files; that is in damage_tests.

use super::SledIndex;
use crate::contract::{self, History, Step, bucket, put};
use crate::{Index, IndexError, Tree, Visit, Write, set_aside};
use proptest::prelude::{ProptestConfig, proptest};
use quar_base::key::Bucket;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// An index that takes its directory with it.
struct Temporary {
    index: SledIndex,
    _dir: TempDir,
}

impl Temporary {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            index: SledIndex::open(dir.path()).unwrap(),
            _dir: dir,
        }
    }
}

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
    contract::check(&|| Box::new(Temporary::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn does_as_a_map_does_and_finds_it_all_when_opened_again(seed: u64) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = SledIndex::open(dir.path()).unwrap();
        let mut model = contract::Model::default();
        for step in History::from_seed(seed).0 {
            contract::apply(&index, &step).unwrap();
            model.take(&step);
            if matches!(step, Step::Flush) {
                drop(index);
                index = SledIndex::open(dir.path()).unwrap();
            }
            contract::compare(&index, &model);
        }
    }

    #[test]
    fn a_crash_keeps_all_that_was_flushed(seed: u64) {
        let root = tempfile::tempdir().unwrap();
        let (home, copy) = (root.path().join("index"), root.path().join("copy"));
        let index = SledIndex::open(&home).unwrap();
        let model = contract::follow(&index, &History::from_seed(seed));
        index.flush().unwrap();
        // What a dying process leaves: the files as they are, nothing closed.
        copy_dir(&home, &copy);
        contract::compare(&SledIndex::open(&copy).unwrap(), &model);
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
    assert_eq!(
        second.get(Tree::Meta, b"k").unwrap().as_deref(),
        Some(&b"v"[..])
    );
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
    assert!(
        matches!(
            error,
            IndexError::LaterFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read(&file).unwrap(), later);
}

#[test]
fn an_index_set_aside_makes_room_for_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("index");
    let index = SledIndex::open(&dir).unwrap();
    index
        .write(vec![put(Tree::Bucket(bucket(1)), b"k", b"v")])
        .unwrap();
    drop(index);
    let aside = set_aside(&dir).unwrap();
    assert_eq!(SledIndex::open(&dir).unwrap().buckets().unwrap(), []);
    assert_eq!(
        SledIndex::open(&aside).unwrap().buckets().unwrap(),
        [bucket(1)]
    );
}

#[test]
fn after_a_failure_the_index_answers_with_errors_only() {
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open(dir.path()).unwrap();
    index.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    // A flush that cannot sync everything must not pass for one that did.
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    assert!(index.flush().is_err());
    assert!(index.flush().is_err());
    assert!(index.get(Tree::Meta, b"k").is_err());
    assert!(index.write(Vec::new()).is_err());
    assert!(
        index
            .scan(Tree::Meta, b"", &mut |_, _| panic!("visited"))
            .is_err()
    );
    assert!(index.drop_tree(bucket(1)).is_err());
    assert!(index.buckets().is_err());
}

#[test]
fn a_panic_of_the_visitor_stays_the_visitors() {
    let dir = tempfile::tempdir().unwrap();
    let index = SledIndex::open(dir.path()).unwrap();
    index.write(vec![put(Tree::Meta, b"k", b"v")]).unwrap();
    let scan = std::panic::AssertUnwindSafe(|| {
        index.scan(Tree::Meta, b"", &mut |_, _| {
            std::panic::resume_unwind(Box::new("mine"))
        })
    });
    let panic = std::panic::catch_unwind(scan).expect_err("passed on");
    assert_eq!(panic.downcast_ref(), Some(&"mine"));
    assert_eq!(
        index.get(Tree::Meta, b"k").unwrap().as_deref(),
        Some(&b"v"[..])
    );
}

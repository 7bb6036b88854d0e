//! What keeps a store from opening, and leaves all of it as it is: no damage, but what passes or is later's.
//! Never damages anything; rot.rs does.

use crate::support::{NOW, mail, open_dir, open_memory, open_with, put, settings, try_open_dir};
use quar_base::key::Bucket;
use quar_index::{Index, IndexError, MemoryIndex, Tree, Visit, Write};
use quar_store::{Disk, IndexHome, MemoryDisk, OpenError, OpenReport, Store};
use std::io;
use std::path::Path;
use std::sync::Arc;

const TOO_MANY_FILES: i32 = 24;

/// An index that opens, and then does not let itself be read.
struct Refusing {
    inner: Arc<MemoryIndex>,
    refusal: fn() -> IndexError,
}

/// Where it is, until it is set aside.
struct Home {
    index: Option<Refusing>,
    resets: u32,
}

impl IndexHome for Home {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        match self.index.take() {
            Some(index) => Ok(Arc::new(index)),
            None => Ok(Arc::new(MemoryIndex::new())),
        }
    }

    fn reset(&mut self) -> io::Result<()> {
        self.resets += 1;
        Ok(())
    }
}

impl Index for Refusing {
    fn get(&self, _: Tree, _: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Err((self.refusal)())
    }
    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        match tree {
            Tree::Meta => self.inner.scan(tree, start, visit),
            Tree::Bucket(_) => Err((self.refusal)()),
        }
    }
    fn write(&self, _: Vec<Write>) -> Result<(), IndexError> {
        Err((self.refusal)())
    }
    fn drop_tree(&self, _: Bucket) -> Result<(), IndexError> {
        Err((self.refusal)())
    }
    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.inner.buckets()
    }
    fn flush(&self) -> Result<(), IndexError> {
        Err((self.refusal)())
    }
    fn written_bytes(&self) -> u64 {
        0
    }
}

fn no_room() -> IndexError {
    IndexError::NoRoom { dir: "index".into() }
}

fn no_files() -> IndexError {
    let source = io::Error::from_raw_os_error(TOO_MANY_FILES);
    IndexError::Io { dir: "index".into(), action: "scan", source }
}

fn stopped() -> IndexError {
    IndexError::Stopped { dir: "index".into(), cause: "the medium failed".into() }
}

fn damaged() -> IndexError {
    IndexError::Damaged { dir: "index".into(), detail: "a leaf that is none".into() }
}

/// Opens a store with one mail, whose index is good and refuses to be read; and how often the index
/// was set aside.
fn open_refused(refusal: fn() -> IndexError) -> (Result<(Store, OpenReport), OpenError>, u32) {
    let (disk, inner) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk.clone(), inner.clone(), NOW);
    let id = put(&store, mail(b"kept", 1));
    store.checkpoint().unwrap();
    drop(store);
    let index = Refusing { inner: inner.clone(), refusal };
    let mut home = Home { index: Some(index), resets: 0 };
    let opened = open_with(settings(1), Arc::new(disk.clone()), &mut home, NOW);
    if opened.is_err() {
        let (store, report) = open_memory(disk, inner, NOW);
        assert_eq!((report.rebuilt, store.body(id).unwrap()), (None, b"kept".to_vec()));
    }
    (opened, home.resets)
}

#[test]
fn an_index_that_the_system_keeps_from_being_read_is_not_set_aside() {
    for refusal in [no_room, no_files, stopped] {
        let (opened, resets) = open_refused(refusal);
        assert!(opened.is_err(), "{}", refusal());
        assert_eq!(resets, 0, "{}", refusal());
    }
    let error = open_refused(no_room).0.err().unwrap();
    let OpenError::Io { path, error } = error else { panic!("{error}") };
    assert_eq!((path.as_path(), error.kind()), (Path::new("index"), io::ErrorKind::StorageFull));
    let error = open_refused(no_files).0.err().unwrap();
    assert!(matches!(error, OpenError::Index(IndexError::Io { .. })), "{error}");
}

#[test]
fn an_index_that_shows_damage_when_it_is_read_is_set_aside() {
    let (opened, resets) = open_refused(damaged);
    let (_, report) = opened.unwrap();
    assert!(report.rebuilt.unwrap().contains("a leaf that is none"));
    assert_eq!(resets, 1);
}

#[test]
fn a_floors_file_of_a_later_version_stops_the_store_from_opening_and_says_so() {
    let disk = MemoryDisk::new();
    let later = b"quard floors 2\nspam day 20700 reason age\n";
    disk.replace(Path::new("floors"), later).unwrap();
    let home = &mut Home { index: None, resets: 0 };
    let refused = open_with(settings(1), Arc::new(disk.clone()), home, NOW);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("written by a later version; run that version"), "{error}");
    assert!(error.starts_with("floors: the file has version 2"), "{error}");
    assert!(!error.contains("damaged") && !error.contains("remove"), "{error}");
    assert_eq!(disk.read(Path::new("floors")).unwrap().unwrap(), later);
}

#[test]
fn a_list_of_damaged_records_that_cannot_be_read_is_named_with_what_the_system_says() {
    const IS_A_DIRECTORY: i32 = 21;
    let directory = tempfile::tempdir().unwrap();
    open_dir(directory.path()).0.close();
    std::fs::create_dir(directory.path().join("broken")).unwrap();
    match try_open_dir(1, directory.path()) {
        Err(OpenError::Io { path, error }) => {
            assert_eq!(
                (path.as_path(), error.raw_os_error()),
                (Path::new("broken"), Some(IS_A_DIRECTORY))
            );
        }
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

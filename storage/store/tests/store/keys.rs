//! Keys and openers: another key, another epoch, another cluster, somebody else already inside.
//! Never writes with a key that does not fit.

use crate::support::{
    NOW, encryption_key, files_of, mail, open_dir, open_memory, open_with, put, settings,
    try_open_dir,
};
use quar_base::ids::ClusterId;
use quar_index::{IndexError, MemoryIndex};
use quar_store::{
    Disk, EncryptionKey, MemoryDisk, MemoryHome, OpenError, RealDisk, Settings, SledHome,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = files_of(dir).into_iter();
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Opening with these settings must fail, say so in these words, and leave the segments alone.
fn check_refused(change: impl FnOnce(&mut Settings), words: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_dir(dir.path());
    let id = put(&store, mail(b"kept", 1));
    store.checkpoint().unwrap();
    drop(store);
    let before = contents(&dir.path().join("segments"));
    let mut wrong = settings(1);
    change(&mut wrong);
    let home = &mut SledHome(dir.path().join("index"));
    let refused = open_with(wrong, Arc::new(RealDisk::new(dir.path())), home, NOW);
    let error = refused.err().expect("it must be refused");
    assert!(matches!(error, OpenError::Segment { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(words) && text.contains("00000001.seg"), "{text}");
    assert_eq!(contents(&dir.path().join("segments")), before);
    let (store, report) = open_dir(dir.path());
    assert_eq!((report.rebuilt, report.replayed_records), (None, 0));
    assert_eq!(store.body(id).unwrap(), b"kept");
}

#[test]
fn a_wrong_encryption_key_is_refused_in_clear_words_and_nothing_changes() {
    check_refused(
        |settings| settings.keys = vec![EncryptionKey::new(1, [1; 32])],
        "the cluster encryption key does not fit",
    );
}

#[test]
fn a_missing_key_epoch_is_named() {
    check_refused(|settings| settings.keys = vec![encryption_key(2)], "sealed under key epoch 1");
}

#[test]
fn segments_of_another_cluster_are_refused() {
    check_refused(
        |settings| settings.cluster = ClusterId([1; 16]),
        "segment belongs to cluster 0909",
    );
}

#[test]
fn a_segment_of_a_later_version_is_refused_and_not_taken_for_damage() {
    let disk = MemoryDisk::new();
    let index = Arc::new(MemoryIndex::new());
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    put(&store, mail(b"kept", 1));
    drop(store);
    let path = disk.paths().pop().unwrap();
    disk.damage(&path, |bytes| {
        bytes[8] = 3;
        let check = blake3::hash(&bytes[..224]);
        bytes[224..256].copy_from_slice(check.as_bytes());
    });
    let refused = open_with(settings(1), Arc::new(disk), &mut MemoryHome(index), NOW);
    let text = refused.err().expect("it must be refused").to_string();
    assert!(text.contains("format version 3"), "{text}");
}

#[test]
fn a_store_under_a_new_key_epoch_reads_what_the_old_one_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_dir(dir.path());
    let old = put(&store, mail(b"old", 1));
    drop(store);
    let both = || Settings { keys: vec![encryption_key(2), encryption_key(1)], ..settings(1) };
    let open = |settings| {
        let home = &mut SledHome(dir.path().join("index"));
        open_with(settings, Arc::new(RealDisk::new(dir.path())), home, NOW)
    };
    let (store, _) = open(both()).unwrap();
    assert_eq!(store.body(old).unwrap(), b"old");
    let new = put(&store, mail(b"new", 1));
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = open(both()).unwrap();
    assert_eq!(store.body(old).unwrap(), b"old");
    assert_eq!(store.body(new).unwrap(), b"new");
    drop(store);
    // New segments are sealed under the new epoch alone.
    let error = open(settings(1)).err().expect("epoch 2 is missing").to_string();
    assert!(error.contains("sealed under key epoch 2"), "{error}");
}

#[test]
fn two_cannot_open_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_dir(dir.path());
    let id = put(&store, mail(b"kept", 1));
    let before = contents(&dir.path().join("segments"));
    let error = try_open_dir(1, dir.path()).err().expect("it is open");
    assert!(matches!(error, OpenError::Index(IndexError::Busy { .. })), "{error}");
    assert!(error.to_string().contains("is open already"), "{error}");
    assert_eq!(contents(&dir.path().join("segments")), before);
    let more = put(&store, mail(b"more", 1));
    drop(store);
    let (store, _) = open_dir(dir.path());
    assert_eq!(store.body(id).unwrap(), b"kept");
    assert_eq!(store.body(more).unwrap(), b"more");
}

#[test]
fn a_damaged_floors_file_stops_the_store_from_opening() {
    let disk = MemoryDisk::new();
    disk.replace(Path::new("floors"), b"quard floors 1\nspam 2026-01-01\n").unwrap();
    let home = &mut MemoryHome(Arc::new(MemoryIndex::new()));
    let refused = open_with(settings(1), Arc::new(disk), home, NOW);
    assert!(matches!(refused.err(), Some(OpenError::Floors)));
}

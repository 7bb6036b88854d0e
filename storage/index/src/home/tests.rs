//! The index directory as its openers meet it: taken, of a later format, torn, out of reach.
//! Never opens sled.

use super::{FORMAT_FILE, claim, format_file, set_aside};
use crate::IndexError;
use std::fs;
use std::io;
use std::path::Path;

fn error_of(dir: &Path) -> IndexError {
    claim(dir).expect_err("must be refused")
}

#[test]
fn the_format_file_has_these_bytes() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/index");
    drop(claim(&dir).unwrap());
    let golden = b"QUARIDX\n\x01\x00\x00\x00\x0a\xad\x6d\xea\x4a\xab\x64\xf9";
    assert_eq!(fs::read(dir.join(FORMAT_FILE)).unwrap(), golden);
}

#[test]
fn a_directory_is_claimed_once_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let first = claim(root.path()).unwrap();
    let error = error_of(root.path());
    assert!(matches!(error, IndexError::Busy { .. }), "{error}");
    assert!(error.is_transient());
    drop(first);
    claim(root.path()).unwrap();
}

#[test]
fn a_later_format_is_named_and_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut bytes = format_file(9).to_vec();
    bytes.extend(b"what format 9 adds");
    fs::write(root.path().join(FORMAT_FILE), bytes).unwrap();
    let error = error_of(root.path());
    assert!(matches!(error, IndexError::LaterFormat { found: 9, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("has format 9 and this program knows 1 at most"), "{error}");
}

#[test]
fn format_0_is_damage() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(FORMAT_FILE), format_file(0)).unwrap();
    assert!(error_of(root.path()).needs_rebuild());
}

#[test]
fn every_flipped_bit_of_the_format_file_is_damage() {
    let root = tempfile::tempdir().unwrap();
    for bit in 0..format_file(1).len() * 8 {
        let mut bytes = format_file(1);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(root.path().join(FORMAT_FILE), bytes).unwrap();
        assert!(error_of(root.path()).needs_rebuild(), "bit {bit}");
    }
}

#[test]
fn files_of_sled_without_a_format_are_damage() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("db"), b"from somewhere").unwrap();
    assert!(error_of(root.path()).needs_rebuild());
    assert!(error_of(root.path()).needs_rebuild(), "the first refusal must not have mended it");
}

#[test]
fn a_place_out_of_reach_is_named_with_its_cause() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let error = error_of(&root.path().join("file/index"));
    assert!(matches!(error, IndexError::Io { action: "create the directory", .. }), "{error}");
    assert!(error.to_string().contains("file/index: create the directory: "), "{error}");
}

#[test]
fn setting_aside_keeps_the_newest_only() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("index");
    for number in 1..=3 {
        drop(claim(&dir).unwrap());
        fs::write(dir.join("db"), number.to_string()).unwrap();
        let aside = set_aside(&dir).unwrap();
        assert_eq!(aside, root.path().join(format!("index.damaged-{number}")));
    }
    let names: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["index.damaged-3"]);
    assert_eq!(fs::read(root.path().join("index.damaged-3/db")).unwrap(), b"3");
}

#[test]
fn an_open_index_is_not_set_aside() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("index");
    let _claim = claim(&dir).unwrap();
    assert_eq!(set_aside(&dir).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert!(dir.is_dir());
}

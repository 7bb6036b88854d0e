//! Erasure: of a deleted mail's bytes, sealed or plain, no window stays in any file of the node.
//! Never asks the store whether they are gone: the files are read.

use crate::support::{NOW, files_of, mail, open_dir, put};
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_store::Store;
use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const MIB: usize = 1 << 20;
/// Any window of 64 bytes holds one such run whole, wherever in a file it begins.
const RUN: usize = 32;

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// Every run of the bytes, at every offset.
fn runs(bytes: &[u8]) -> HashSet<&[u8]> {
    // A run of one byte, as zeros between blocks are, tells nothing.
    bytes.windows(RUN).filter(|run| run.iter().any(|byte| *byte != run[0])).collect()
}

/// Runs of the bytes that lie in files below a directory, at the files' own steps.
fn found(directory: &Path, runs: &HashSet<&[u8]>) -> usize {
    let count = |path| {
        let bytes = fs::read(path).unwrap();
        bytes.chunks_exact(RUN).filter(|chunk| runs.contains(chunk)).count()
    };
    files_of(directory).into_iter().map(count).sum()
}

/// The bytes on disk of the block that holds a message's body.
fn sealed(directory: &Path, store: &Store, id: MessageId) -> Vec<u8> {
    let places = store.place_reports(id).unwrap();
    let place = places.iter().find(|place| place.what == "body").unwrap();
    let number = place.path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let blocks = store.block_reports(id.bucket, number).unwrap().unwrap();
    let block = blocks.iter().find(|block| block.offset == place.block).unwrap();
    let file = fs::read(directory.join(&place.path)).unwrap();
    file[block.offset as usize..(block.offset + block.bytes) as usize].to_vec()
}

fn check(is_packed: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (store, _) = open_dir(path);
    let others: Vec<_> = (1..20).map(|n| (put(&store, mail(&noise(n, 5000), 1)), n)).collect();
    let body = noise(99, MIB);
    let id = put(&store, mail(&body, 1));
    put(&store, mail(&noise(20, 5000), 1));
    store.checkpoint().unwrap();
    if is_packed {
        store.pack(id.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    }
    let sealed = sealed(path, &store, id);
    assert!(sealed.len() >= MIB, "what cannot be compressed is as long on disk");
    let (sealed, plain) = (runs(&sealed), runs(&body));
    assert!(found(path, &sealed) > MIB / RUN / 2, "its bytes are there before");
    assert_eq!(found(path, &plain), 0, "and never in plain");
    let action = Action::Deleted(RecipientSet::all(1).unwrap());
    store.admit_action(id, &action, UnixMillis(NOW.0 - 600_000)).unwrap();
    store.commit();
    assert!(found(path, &sealed) > MIB / RUN / 2, "a delete alone takes nothing away");
    for bucket in store.erasable() {
        store.erase(bucket).unwrap();
    }
    store.checkpoint().unwrap();
    assert_eq!(found(path, &sealed) + found(path, &plain), 0);
    let remains = store.remains_of(id, &|_| ControlFlow::Continue(())).unwrap().unwrap();
    assert!(remains.is_deleted && remains.is_gone(), "{remains:?}");
    for (id, seed) in others {
        assert_eq!(store.body(id).unwrap(), noise(seed, 5000));
    }
}

#[test]
fn of_a_deleted_mail_no_window_stays_in_any_file() {
    check(false);
}

#[test]
fn of_a_deleted_mail_no_window_stays_in_any_file_of_a_packed_day() {
    check(true);
}

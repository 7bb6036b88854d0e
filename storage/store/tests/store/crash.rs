//! Syncs that fail, and what must not be built upon afterwards.
//! Never waits for luck: each sync of a run is one that fails.

use crate::spy::SpyDisk;
use crate::support::{assert_same, mail, open_memory, open_with, put, see, used_bytes};
use crate::world::record_of;
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::time::UnixMillis;
use quar_index::{Index, MemoryIndex, Tree, Write};
use quar_store::{Disk, MemoryDisk, Outcome, ReadError, Refusal, Store};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

fn seed(number: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

/// Puts six mails one by one; returns which were stored and which refused.
fn run_until_failure(disk: &SpyDisk, store: &Store) -> (Vec<u8>, Vec<u8>) {
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for number in 0..6u8 {
        let Ok(admitted) = store.admit_mail(mail(&[number; 300], 1)) else {
            refused.push(number);
            continue;
        };
        let outcomes = store.commit();
        assert_eq!(outcomes[0].0, admitted.ticket);
        match &outcomes[0].1 {
            Outcome::Stored(_) => stored.push(number),
            Outcome::Refused(Refusal::Failed) => refused.push(number),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.has_failed(), disk.has_failed());
    }
    (stored, refused)
}

#[test]
fn after_any_failed_sync_nothing_is_taken_and_what_was_acknowledged_stays() {
    for number in 0.. {
        let index = Arc::new(MemoryIndex::new());
        let inner = MemoryDisk::new();
        let disk = SpyDisk::new(inner.clone(), index.clone(), seed(1));
        disk.fail_sync(number);
        let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
        let (stored, refused) = run_until_failure(&disk, &store);
        assert_eq!(stored.len() + refused.len(), 6);
        if !disk.has_failed() {
            assert!(number > 5 && refused.is_empty(), "{number} syncs");
            return;
        }
        assert_eq!(stored, (0..stored.len() as u8).collect::<Vec<_>>());
        drop(store);
        let (store, _) = open_memory(inner.crash(), Arc::new(index.crash()), crate::support::NOW);
        let bodies: BTreeSet<_> = crate::support::list(&store)
            .iter()
            .map(|message| store.body(message.id).unwrap()[0])
            .collect();
        assert!(stored.iter().all(|number| bodies.contains(number)));
    }
}

#[test]
fn restarts_without_a_checkpoint_write_the_last_commit_again_once_each() {
    let index = Arc::new(MemoryIndex::new());
    let disk = MemoryDisk::new();
    let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
    let ids: Vec<_> = (0..3u8).map(|n| put(&store, mail(&[n; 300], 1))).collect();
    drop(store);
    let length = |number| used_bytes(&disk, number);
    for restarts in 1..12 {
        let index = Arc::new(index.crash());
        let (store, report) = open_memory(disk.clone(), index, crate::support::NOW);
        assert_eq!(report.replayed_records, 2 + restarts as u64);
        assert_eq!(disk.paths().len(), 1 + restarts);
        assert_eq!(length(restarts), length(1));
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(store.body(*id).unwrap(), [number as u8; 300]);
        }
    }
}

#[test]
fn a_block_that_never_left_the_page_cache_is_not_built_upon() {
    let index = Arc::new(MemoryIndex::new());
    let inner = MemoryDisk::new();
    let disk = SpyDisk::new(inner.clone(), index.clone(), seed(2));
    let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
    put(&store, mail(b"first", 1));
    disk.fail_sync(disk.syncs());
    store.admit_mail(mail(b"second", 1)).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Refused(Refusal::Failed)));
    drop(store);
    // The process starts again: the page cache still shows the block, and syncing it says `Ok`.
    let index = Arc::new(index.crash());
    let (store, _) = open_memory(disk, index.clone(), crate::support::NOW);
    let admitted = store.admit_mail(mail(b"second", 1)).unwrap();
    let outcomes = store.commit();
    let is_known = |outcome: &Outcome| matches!(outcome, Outcome::AlreadyHere(Some(_)));
    assert!(is_known(&outcomes[0].1), "{outcomes:?}");
    let id = admitted.message.unwrap();
    for index in [Arc::new(index.crash()), Arc::new(MemoryIndex::new())] {
        let (store, _) = open_memory(inner.crash(), index, crate::support::NOW);
        assert_eq!(store.body(id).unwrap(), b"second");
    }
}

#[test]
fn a_watermark_never_outlives_what_it_counts() {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
    let id = put(&store, mail(b"one body", 1));
    drop(store);
    // Written again in a second segment, which is what the index names from here on.
    let index = Arc::new(index.crash());
    let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
    store.checkpoint().unwrap();
    drop(store);
    let second = disk.paths().into_iter().find(|path| path.ends_with("00000002.seg")).unwrap();
    disk.remove(&second).unwrap();
    disk.sync_dir(second.parent().unwrap()).unwrap();
    let spy = SpyDisk::new(disk.crash(), Arc::new(index.crash()), seed(1));
    let home = &mut spy.clone();
    let settings = crate::support::settings(1);
    open_with(settings, Arc::new(spy.clone()), home, crate::support::NOW).unwrap();
    let images = spy.take_images();
    assert!(!images.is_empty());
    for image in images {
        let index = Arc::new(image.index.crash());
        let (store, _) = open_memory(image.disk.crash(), index, crate::support::NOW);
        let body =
            store.body(id).unwrap_or_else(|error| panic!("before {}: {error}", image.before));
        assert_eq!(body, b"one body");
    }
}

#[test]
fn an_index_that_lost_any_one_entry_shows_all_the_same() {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk.clone(), index.clone(), crate::support::NOW);
    let ids: Vec<_> = (0..4u8).map(|n| put(&store, mail(&[n; 300], 1))).collect();
    let action = Action::Deleted(RecipientSet::all(1).unwrap());
    store.admit_action(ids[0], &action, crate::support::NOW).unwrap();
    store.commit();
    store.checkpoint().unwrap();
    let seen = see(&store);
    drop(store);
    let tree = Tree::Bucket(ids[0].bucket);
    let mut keys = Vec::new();
    index
        .scan(tree, &[], &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(keys.len() >= 9, "four mails and a delete: {} keys", keys.len());
    for key in keys {
        let index = Arc::new(index.crash());
        index.write(vec![Write::Delete { tree, key: key.clone() }]).unwrap();
        index.flush().unwrap();
        let (store, report) = open_memory(disk.crash(), index, crate::support::NOW);
        assert_same(&see(&store), &seen, &format!("without {key:?}; {report:?}"));
    }
}

#[test]
fn what_is_sent_again_brings_the_body_that_was_lost() {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk, index, crate::support::NOW);
    let mut sent = mail(b"one body", 1);
    sent.envelope.queue_id = "4bQ1".into();
    // A power cut, or a peer, may leave the record alone.
    let record = record_of(&sent, 1);
    store.admit_record(record.clone(), None, crate::support::NOW).unwrap();
    store.commit();
    let id = record.message();
    assert!(matches!(store.body(id), Err(ReadError::BodyMissing(_))));
    sent.received = UnixMillis(sent.received.0 + 90_000);
    let ticket = store.admit_mail(sent).unwrap().ticket;
    let outcomes = store.commit();
    let is_same =
        |outcome: &Outcome| matches!(outcome, Outcome::AlreadyHere(Some(known)) if *known == id);
    assert!(outcomes[0].0 == ticket && is_same(&outcomes[0].1), "{outcomes:?}");
    assert_eq!(store.body(id).unwrap(), b"one body");
    assert_eq!(store.wanted(9), []);
}

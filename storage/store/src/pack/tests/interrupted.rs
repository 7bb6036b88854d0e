//! Packings that are interrupted: nothing is seen of it, and the next one does not begin again.

use super::{LATER, body, fill, pack, reopen, sight};
use crate::pack::PackProgress;
use crate::segment::bucket_directory;
use crate::tests::{Node, delete};
use crate::{Disk, Store};
use quar_base::key::{Bucket, MessageId};
use std::ops::ControlFlow;

fn files(node: &Node, bucket: Bucket) -> Vec<String> {
    let files = node.disk.list(&bucket_directory(bucket)).unwrap().into_iter();
    files.map(|entry| entry.name).collect()
}

/// Packs and stops when `step` is asked for the `at`-th time.
fn interrupt(store: &Store, bucket: Bucket, at: usize) {
    let mut asked = 0;
    let mut step = |_| {
        asked += 1;
        if asked > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(store.pack(bucket, &mut step).unwrap(), None);
}

/// How many bodies a packing writes, and how many are in the pack.
fn bodies(store: &Store, bucket: Bucket) -> (u64, u64) {
    let mut written = 0;
    let mut count = |progress: PackProgress| {
        written = progress.bodies_done;
        ControlFlow::Continue(())
    };
    let packed = store.pack(bucket, &mut count).unwrap().unwrap();
    (written, packed.bodies)
}

fn findings(store: &Store, bucket: Bucket) -> usize {
    store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1.len()
}

/// A day of which all bodies were written to a pack that is not in force.
fn interrupted() -> (Node, Store, Vec<MessageId>) {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    interrupt(&store, ids[0].bucket, 0);
    assert_eq!(files(&node, ids[0].bucket).len(), 2);
    (node, store, ids)
}

#[test]
fn what_an_interrupted_packing_wrote_is_not_seen_and_not_written_again() {
    let (node, store, ids) = interrupted();
    let bucket = ids[0].bucket;
    let mut other = Node::new(1);
    let same = other.open_at(LATER).0;
    assert_eq!(fill(&same, 50).len(), 50);
    assert_eq!(sight(&store).0.len(), sight(&same).0.len());
    let before = sight(&store);
    assert_eq!(findings(&store, bucket), 0);
    assert_eq!(sight(&node.crash().open_at(LATER).0), before);
    assert_eq!(bodies(&store, bucket), (0, 50));
    assert_eq!(sight(&store).0, before.0);
    assert_eq!((files(&node, bucket).len(), findings(&store, bucket)), (2, 0));
}

#[test]
fn what_an_interrupted_packing_wrote_is_taken_up_after_a_stop_and_after_a_crash() {
    for is_cut in [false, true] {
        let (mut node, store, ids) = interrupted();
        let before = sight(&store);
        if !is_cut {
            store.checkpoint().unwrap();
            store.close();
        }
        drop(store);
        let mut after = node.crash();
        let store = if is_cut { reopen(&mut after) } else { reopen(&mut node) };
        assert_eq!(sight(&store), before);
        assert_eq!(findings(&store, ids[0].bucket), 0);
        assert_eq!(bodies(&store, ids[0].bucket), (0, 50));
        assert_eq!(sight(&store).0, before.0);
        assert_eq!(findings(&store, ids[0].bucket), 0);
    }
}

#[test]
fn interrupted_again_and_again_a_packing_comes_to_its_end() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    let bucket = ids[0].bucket;
    let before = sight(&store);
    for at in [0, 0, 1, 1] {
        interrupt(&store, bucket, at);
        assert_eq!((sight(&store), findings(&store, bucket)), (before.clone(), 0));
        let copy = node.crash().open_at(LATER).0;
        assert_eq!((sight(&copy), findings(&copy, bucket)), (before.clone(), 0));
    }
    assert_eq!(bodies(&store, bucket), (0, 50));
    assert_eq!(sight(&reopen(&mut node)).0, before.0);
}

#[test]
fn what_is_deleted_after_an_interruption_is_erased_from_what_it_left() {
    for is_started_again in [false, true] {
        let (mut node, mut store, ids) = interrupted();
        if is_started_again {
            store.checkpoint().unwrap();
            drop(store);
            store = reopen(&mut node);
        }
        delete(&store, ids[7], 2, &[0, 1]);
        assert_eq!(store.erase(ids[0].bucket).unwrap().messages, 1);
        for store in [&store, &node.crash().open_at(LATER).0] {
            let remains =
                store.remains_of(ids[7], &|_| ControlFlow::Continue(())).unwrap().unwrap();
            assert!(remains.is_deleted && remains.is_gone(), "{remains:?}");
            assert_eq!(store.body(ids[8]).unwrap(), body(8));
        }
    }
}

#[test]
fn what_is_damaged_in_what_an_interruption_left_is_written_again_from_where_it_was() {
    let (node, store, ids) = interrupted();
    let bucket = ids[0].bucket;
    let left = files(&node, bucket).pop().unwrap();
    node.disk.damage(&bucket_directory(bucket).join(left), |bytes| bytes[400] ^= 1);
    let before = sight(&store);
    assert_eq!(findings(&store, bucket), 0);
    assert_eq!(bodies(&store, bucket), (50, 50));
    assert_eq!(sight(&store).0, before.0);
    assert_eq!((files(&node, bucket).len(), findings(&store, bucket)), (1, 0));
}

#[test]
fn a_packing_that_fails_takes_back_what_interruptions_left() {
    let (node, store, ids) = interrupted();
    node.disk.set_fail_syncs(true);
    assert!(store.pack(ids[0].bucket, &mut |_| ControlFlow::Continue(())).is_err());
    node.disk.set_fail_syncs(false);
    assert_eq!(files(&node, ids[0].bucket).len(), 1);
    assert_eq!(pack(&store, ids[0].bucket).bodies, 50);
}

#[test]
fn without_room_to_pack_what_an_interruption_left_goes_and_an_erasure_writes_only_what_it_must() {
    let (node, store, ids) = interrupted();
    let bucket = ids[0].bucket;
    delete(&store, ids[7], 2, &[0, 1]);
    let used = node.disk.used_bytes(&bucket_directory(bucket)).unwrap();
    node.disk.set_free_bytes(store.settings.min_free_bytes + used - 1);
    assert_eq!(files(&node, bucket).len(), 3, "the delete has a segment of its own");
    assert_eq!(store.packable(quar_base::time::Day(bucket.day.0 + 9)), []);
    assert_eq!(files(&node, bucket).len(), 2);
    assert_eq!(store.erase(bucket).unwrap().messages, 1);
    assert!(store.packed().is_empty());
}

//! Checks find every kind of damage and nothing else, and what they find can be had again from a peer.

mod meanwhile;

use super::Finding;
use crate::segment::{SegmentName, bucket_directory};
use crate::tests::{NOW, Node, delete, put};
use crate::{Disk, Outcome, ReadError, Store, Which};
use quar_base::key::{Bucket, MessageId};
use quar_base::time::UnixMillis;
use std::ops::ControlFlow;
use std::path::PathBuf;

const LATER: UnixMillis = UnixMillis(NOW.0 + 600_000);

fn findings(store: &Store, bucket: Bucket) -> Vec<Finding> {
    store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1
}

fn body(number: usize) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\n{}", "some text\r\n".repeat(number)).into_bytes()
}

/// A node with mails of one day, some deleted, packed or not and more behind that.
fn filled(is_packed: bool) -> (Node, Store, Vec<MessageId>) {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let mut ids: Vec<_> = (0..12).map(|number| put(&store, &body(number), 2)).collect();
    delete(&store, ids[3], 2, &[0, 1]);
    delete(&store, ids[4], 2, &[0]);
    if is_packed {
        store.pack(ids[0].bucket, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    ids.extend((12..15).map(|number| put(&store, &body(number), 2)));
    delete(&store, ids[5], 2, &[0, 1]);
    (node, store, ids)
}

fn files(node: &Node, bucket: Bucket) -> Vec<PathBuf> {
    let files = node.disk.list(&bucket_directory(bucket)).unwrap().into_iter();
    let number = |entry: crate::Entry| SegmentName::number_of(&entry.name);
    files.filter_map(number).map(|number| SegmentName { bucket, number }.path()).collect()
}

#[test]
fn a_good_store_has_no_findings_and_everything_is_counted() {
    for is_packed in [false, true] {
        let (mut node, store, ids) = filled(is_packed);
        let check = |store: &Store| {
            let step = |_| ControlFlow::Continue(());
            let (checked, findings) = store.check(ids[0].bucket, &step).unwrap().unwrap();
            assert_eq!(findings, []);
            // Of a packed day the deleted mail is gone already.
            let gone = u64::from(is_packed);
            assert_eq!((checked.records, checked.bodies), (18 - gone, 15 - gone));
            checked
        };
        let before = check(&store);
        assert!(before.bytes > 0 && before.blocks > 4 && before.segments >= 1);
        store.checkpoint().unwrap();
        drop(store);
        let store = node.open_at(LATER).0;
        // The last commit was written again.
        assert_eq!(findings(&store, ids[0].bucket), []);
        store.erase(ids[0].bucket).unwrap();
        assert_eq!(findings(&store, ids[0].bucket), []);
    }
}

#[test]
fn a_file_that_a_failed_commit_left_without_a_header_is_no_damage() {
    let (mut node, store, ids) = filled(false);
    store.checkpoint().unwrap();
    drop(store);
    let bucket = ids[0].bucket;
    node.disk.create(&SegmentName { bucket, number: 9 }.path()).unwrap();
    let store = node.open_at(LATER).0;
    assert_eq!(findings(&store, bucket), []);
}

#[test]
fn every_flipped_byte_of_a_used_block_is_found() {
    for is_packed in [false, true] {
        let (node, store, ids) = filled(is_packed);
        let bucket = ids[0].bucket;
        store.checkpoint().unwrap();
        store.close();
        for path in files(&node, bucket) {
            let good = node.disk.read(&path).unwrap().unwrap();
            let number = SegmentName::number_of(path.file_name().unwrap().to_str().unwrap());
            let name = SegmentName { bucket, number: number.unwrap() };
            let segment = store.segments.open(name).unwrap();
            for header in segment.headers().unwrap() {
                let end = header.offset + 48 + u64::from(header.sealed_bytes);
                for at in [header.offset, header.offset + 20, header.offset + 48, end - 1] {
                    node.disk.damage(&path, |bytes| bytes[at as usize] ^= 4);
                    let found = findings(&store, bucket);
                    assert!(!found.is_empty(), "{path:?} {:?} byte {at}", header.kind);
                    node.disk.damage(&path, |bytes| bytes.clone_from(&good));
                }
            }
        }
        assert_eq!(findings(&store, bucket), []);
    }
}

#[test]
fn what_a_check_finds_damaged_is_taken_again_from_a_peer_and_written_anew() {
    for is_packed in [false, true] {
        let (node, store, ids) = filled(is_packed);
        let bucket = ids[0].bucket;
        let peer = Node::new(2).open_at(LATER).0;
        for (bucket, key) in all_records(&store) {
            let (record, body) = store.item(bucket, &key).unwrap().unwrap();
            peer.admit_record(record, body, LATER).unwrap();
        }
        peer.commit();
        let whole = store.live_root();
        assert_eq!(peer.live_root(), whole);
        store.checkpoint().unwrap();
        store.close();
        // All but the first header of each file.
        for path in files(&node, bucket) {
            node.disk
                .damage(&path, |bytes| bytes[300..].iter_mut().step_by(40).for_each(|b| *b ^= 1));
        }
        let found = findings(&store, bucket);
        assert!(found.iter().any(|one| matches!(one, Finding::LostRecord { .. })), "{found:?}");
        assert!(store.mark_broken(&found).unwrap() > 0);
        assert_eq!(store.mark_broken(&found).unwrap(), 0);
        assert!(!store.broken_records().is_empty());
        for (bucket, key) in all_records(&peer) {
            let (record, body) = peer.item(bucket, &key).unwrap().unwrap();
            store.admit_record(record, body, LATER).unwrap();
        }
        let outcomes = store.commit();
        let is_taken = |outcome: &Outcome| !matches!(outcome, Outcome::Refused(_));
        assert!(outcomes.iter().all(|(_, outcome)| is_taken(outcome)), "{outcomes:?}");
        assert_eq!(
            (store.live_root(), store.broken_records(), store.wanted(9)),
            (whole, vec![], vec![])
        );
        for (number, id) in ids.iter().enumerate().filter(|(number, _)| ![3, 5].contains(number)) {
            assert_eq!(store.body(*id).unwrap(), body(number));
        }
    }
}

fn all_records(store: &Store) -> Vec<(Bucket, quar_base::key::RecordKey)> {
    let view = store.view(Which::Current);
    let tries =
        view.buckets().into_iter().filter_map(|(bucket, ..)| Some((bucket, view.trie(bucket)?)));
    let keys =
        tries.flat_map(|(bucket, trie)| trie.iter().map(|key| (bucket, key)).collect::<Vec<_>>());
    keys.collect()
}

#[test]
fn a_reader_that_meets_damage_has_the_body_fetched_and_a_restart_remembers() {
    let (mut node, store, ids) = filled(false);
    let bucket = ids[0].bucket;
    let good = store.body_for_peer(bucket, body_id(&store, 8)).unwrap().unwrap();
    store.checkpoint().unwrap();
    store.close();
    let path = &files(&node, bucket)[0];
    let blocks = store.segments.open(SegmentName { bucket, number: 1 }).unwrap().headers().unwrap();
    // Each message had a commit of its own: two blocks.
    let at = blocks[16].offset as usize + 60;
    node.disk.damage(path, |bytes| bytes[at] ^= 1);
    assert!(matches!(store.body(ids[8]), Err(ReadError::Damaged { .. })));
    assert_eq!(store.wanted(9), [(bucket, body_id(&store, 8))]);
    assert!(!store.message(ids[8]).unwrap().has_body);
    store.checkpoint().unwrap();
    drop(store);
    let store = node.open_at(LATER).0;
    assert_eq!(store.wanted(9), [(bucket, body_id(&store, 8))]);
    store.admit_body(bucket, good).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Stored(_)));
    assert_eq!(store.body(ids[8]).unwrap(), body(8));
    assert_eq!(store.wanted(9), []);
    let found = findings(&store, bucket);
    assert!(
        found.iter().all(|one| matches!(one, Finding::Block { .. } | Finding::Body { .. })),
        "{found:?}"
    );
}

fn body_id(store: &Store, number: usize) -> quar_base::ids::BodyId {
    store.settings.id_key.body_id(&body(number))
}

#[test]
fn nothing_more_goes_into_a_segment_whose_header_is_damaged() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let early = put(&store, &body(1), 1);
    let path = &files(&node, early.bucket)[0];
    node.disk.damage(path, |bytes| bytes[75] ^= 1);
    let found = findings(&store, early.bucket);
    assert!(matches!(found[0], Finding::Segment { .. }), "{found:?}");
    store.mark_broken(&found).unwrap();
    let late = [2, 1].map(|number| put(&store, &body(number), 1));
    let are_kept = |store: &Store| {
        assert_eq!(store.body(late[0]).unwrap(), body(2));
        assert_eq!(store.body(late[1]).unwrap(), body(1));
    };
    are_kept(&store);
    store.checkpoint().unwrap();
    store.close();
    drop(store);
    are_kept(&node.open_at(LATER).0);
}

#[test]
fn entries_that_the_index_lost_are_found_and_put_back() {
    use crate::layout;
    use quar_index::{Index, Tree, Write};
    let (mut node, store, ids) = filled(false);
    let bucket = ids[0].bucket;
    let tree = Tree::Bucket(bucket);
    let root = store.live_root();
    let partly_deleted = layout::actions_of(&ids[4].key);
    let mut action = None;
    store
        .index
        .scan(tree, &partly_deleted, &mut |key, _| {
            action = Some(key.to_vec());
            ControlFlow::Break(())
        })
        .unwrap();
    let lost = [
        layout::body_key(&body_id(&store, 8)),
        layout::record_key(&ids[8].key),
        action.filter(|key| key.starts_with(&partly_deleted)).unwrap(),
    ];
    let state = |store: &Store| store.message(ids[4]).unwrap().state;
    let before = state(&store);
    for key in &lost {
        store.index.write(vec![Write::Delete { tree, key: key.clone() }]).unwrap();
    }
    let found = findings(&store, bucket);
    let entries = match &found[0] {
        Finding::NotIndexed { items: 3, entries, .. } => entries,
        other => panic!("{other:?}"),
    };
    assert_eq!(entries.iter().filter(|(key, _)| lost.contains(key)).count(), 3);
    assert_eq!(found[1..], [Finding::Trie { bucket }]);
    assert_eq!(store.mark_broken(&found).unwrap(), 4);
    assert_eq!(findings(&store, bucket), []);
    assert_eq!((store.body(ids[8]).unwrap(), state(&store)), (body(8), before));
    assert_eq!(store.live_root(), root);
    store.checkpoint().unwrap();
    store.close();
    drop(store);
    let (store, report) = node.open_at(LATER);
    assert_eq!((report.rebuilt, store.live_root()), (None, root));
}

#[test]
fn a_body_that_is_put_back_into_the_index_is_wanted_no_more() {
    use crate::layout;
    use quar_index::{Index, Tree, Write};
    let (mut node, store, ids) = filled(false);
    let bucket = ids[0].bucket;
    let lost = body_id(&store, 8);
    let (tree, key) = (Tree::Bucket(bucket), layout::body_key(&lost));
    store.index.write(vec![Write::Delete { tree, key }]).unwrap();
    // As when the copy that the index named was left out of a rewrite, while another one is whole.
    assert!(store.want_again(ids[8]).unwrap());
    assert_eq!(store.wanted(9), [(bucket, lost)]);
    let found = findings(&store, bucket);
    assert!(matches!(found[..], [Finding::NotIndexed { items: 1, .. }]), "{found:?}");
    assert_eq!(store.mark_broken(&found).unwrap(), 1);
    assert_eq!((store.wanted(9), store.body(ids[8]).unwrap()), (vec![], body(8)));
    store.checkpoint().unwrap();
    store.close();
    drop(store);
    assert_eq!(node.open_at(LATER).0.wanted(9), []);
}

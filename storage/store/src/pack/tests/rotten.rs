//! Erasing and packing where something is damaged or was cut short: what can be read stays, the rest is named.

use super::{LATER, body, fill, only_file, pack, reopen};
use crate::pack::write::PackWriter;
use crate::segment::{BlockKind, SegmentName};
use crate::tests::{NOW, Node, delete, mail, put};
use crate::{Disk, Finding, Mail, Remains, Store};
use quar_base::key::MessageId;
use quar_base::rng::Rng;
use quar_base::time::{Day, UnixMillis};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

fn remains(store: &Store, id: MessageId) -> Remains {
    store.remains_of(id, &|_| ControlFlow::Continue(())).unwrap().unwrap()
}

fn readable(store: &Store, ids: &[MessageId]) -> usize {
    ids.iter().filter(|id| store.body(**id).is_ok()).count()
}

/// Flips a bit of the last block of a kind, 50 bytes in.
fn damage(node: &Node, store: &Store, name: SegmentName, kind: BlockKind) {
    let segment = store.segment(name).unwrap().unwrap();
    let headers = segment.headers().unwrap();
    let block = headers.into_iter().rfind(|header| header.kind == kind).unwrap();
    let at = block.offset as usize + 50;
    node.disk.damage(&name.path(), |bytes| bytes[at] ^= 1);
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed([3; 32]);
    (0..bytes).map(|_| rng.bytes::<1>()[0]).collect()
}

#[test]
fn erasing_in_a_day_whose_footer_is_damaged_keeps_all_other_bodies() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 60);
    let bucket = ids[0].bucket;
    pack(&store, bucket);
    store.checkpoint().unwrap();
    let name = store.index.pack(bucket).unwrap().name();
    damage(&node, &store, name, BlockKind::Footer);
    drop(store);
    let store = node.open_at(LATER).0;
    assert_eq!(readable(&store, &ids), 60);
    delete(&store, ids[3], 2, &[0, 1]);
    assert_eq!(store.erase(bucket).unwrap().messages, 1);
    assert_eq!(readable(&store, &ids), 59);
    assert!(remains(&store, ids[3]).is_gone());
}

#[test]
fn one_damaged_body_stops_neither_erasure_nor_packing_and_is_wanted() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 60);
    let bucket = ids[0].bucket;
    let big = put(&store, &noise(1_200_000), 1);
    pack(&store, bucket);
    store.checkpoint().unwrap();
    let name = store.index.pack(bucket).unwrap().name();
    // The last group is that of the long one alone.
    damage(&node, &store, name, BlockKind::Group);
    assert!(store.body(big).is_err());
    delete(&store, ids[3], 2, &[0, 1]);
    assert_eq!(store.erase(bucket).unwrap().messages, 1);
    assert!(remains(&store, ids[3]).is_gone());
    assert_eq!(readable(&store, &ids), 59);
    assert_eq!(store.wanted(9).len(), 1);
    assert!(!store.message(big).unwrap().has_body);
    drop(store);
    let store = reopen(&mut node);
    assert_eq!((readable(&store, &ids), store.wanted(9).len()), (59, 1));
    // What comes with that body brings it for both.
    let again = Mail { received: UnixMillis(NOW.0 + 9000), ..mail(&noise(1_200_000), 3) };
    store.admit_mail(again).unwrap();
    store.commit();
    assert_eq!(store.body(big).unwrap(), noise(1_200_000));
    assert_eq!(store.wanted(9), []);
}

#[test]
fn what_a_packing_that_was_cut_short_left_is_erased_too() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    let bucket = ids[0].bucket;
    let mut writer = PackWriter::new(&store, bucket);
    for number in 0..30 {
        let id = store.settings.id_key.body_id(&body(number));
        writer.push_body(crate::layout::body_key(&id), &body(number)).unwrap();
    }
    writer.end_group().unwrap();
    writer.end_segment().unwrap();
    drop(writer);
    drop(store);
    let store = node.open_at(LATER).0;
    delete(&store, ids[3], 2, &[0, 1]);
    store.erase(bucket).unwrap();
    assert!(remains(&store, ids[3]).is_gone());
    assert_eq!(readable(&store, &ids), 49);
    pack(&store, bucket);
    assert!(remains(&store, ids[3]).is_gone());
}

#[test]
fn erasing_beside_a_damaged_records_block_keeps_the_bodies_that_only_it_named() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let first = put(&store, b"the body that both need", 1);
    let second = put(&store, b"the body that both need", 2);
    let gone = put(&store, b"to be deleted", 1);
    let bucket = first.bucket;
    let peer = Node::new(2).open_at(LATER).0;
    let (record, body) = store.item(bucket, &first.key).unwrap().unwrap();
    peer.admit_record(record, body, LATER).unwrap();
    peer.commit();
    let deleted = delete(&peer, first, 1, &[0]);
    store.checkpoint().unwrap();
    store.close();
    let name = SegmentName { bucket, number: 1 };
    let segment = store.segment(name).unwrap().unwrap();
    let headers = segment.headers().unwrap();
    let records = headers.into_iter().find(|header| header.kind == BlockKind::Records).unwrap();
    let path = only_file(&node, bucket);
    node.disk.damage(&path, |bytes| bytes[records.offset as usize + 50] ^= 1);
    delete(&store, gone, 1, &[0]);
    store.erase(bucket).unwrap();
    assert_eq!(store.body(second).unwrap(), b"the body that both need");
    assert_eq!(remains(&store, gone).places, Vec::<String>::new());
    // The one that is lost is named, also after the next start, until it is here again.
    assert_eq!(store.broken_records(), [first]);
    let found = store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1;
    assert_eq!(found, [Finding::LostRecord { record: first }]);
    drop(store);
    let store = reopen(&mut node);
    assert_eq!(store.broken_records(), [first]);
    assert_eq!(readable(&store, &[second]), 1);
    let again = Mail { received: UnixMillis(NOW.0 + 5000), ..mail(b"the body that both need", 3) };
    let again = store.admit_mail(again).unwrap().message.unwrap();
    store.commit();
    assert_eq!(store.body(again).unwrap(), b"the body that both need");
    // Of what a peer deletes nothing is missed.
    store.admit_record(deleted, None, LATER).unwrap();
    store.commit();
    assert_eq!(store.broken_records(), []);
}

#[test]
fn a_packed_day_with_damaged_records_is_packed_again_without_them_and_they_are_named() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 60);
    let bucket = ids[0].bucket;
    let item = |id: &MessageId| store.item(bucket, &id.key).unwrap().unwrap();
    let items: Vec<_> = ids.iter().map(item).collect();
    pack(&store, bucket);
    store.checkpoint().unwrap();
    let name = store.index.pack(bucket).unwrap().name();
    damage(&node, &store, name, BlockKind::Records);
    let late = put(&store, b"later than the pack", 1);
    delete(&store, late, 1, &[0]);
    store.erase(bucket).unwrap();
    // Bodies that only damaged records name stay: they are whole, and their records may come again.
    let left = remains(&store, late);
    assert_eq!((left.places.len(), left.unsure.len()), (0, 60));
    let mut named = store.broken_records();
    named.sort();
    assert_eq!(named, ids);
    drop(store);
    let store = reopen(&mut node);
    assert_eq!(store.broken_records().len(), 60);
    assert!(node.disk.read(Path::new("broken")).unwrap().is_some());
    // A peer has them: they come back, and are no longer named.
    for (record, body) in items {
        store.admit_record(record, body, LATER).unwrap();
    }
    store.commit();
    assert_eq!((readable(&store, &ids), store.broken_records()), (60, Vec::new()));
}

#[test]
fn a_day_whose_tables_are_damaged_is_packed_again_and_whole() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 60);
    let bucket = ids[0].bucket;
    pack(&store, bucket);
    store.checkpoint().unwrap();
    let name = store.index.pack(bucket).unwrap().name();
    damage(&node, &store, name, BlockKind::Table);
    let today = Day(bucket.day.0 + 9);
    assert_eq!(store.packable(today), []);
    let check = || store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1;
    assert!(check().iter().any(|finding| matches!(finding, Finding::Tables { .. })));
    assert_eq!(store.packable(today), [bucket]);
    pack(&store, bucket);
    assert_eq!((check(), store.packable(today)), (Vec::new(), Vec::new()));
    assert_eq!(readable(&store, &ids), 60);
}

#[test]
fn a_damaged_delete_holds_also_when_its_day_was_packed_without_it() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 5);
    let bucket = ids[0].bucket;
    let record = delete(&store, ids[3], 2, &[1]);
    store.checkpoint().unwrap();
    store.close();
    damage(&node, &store, SegmentName { bucket, number: 1 }, BlockKind::Records);
    let look = |store: &Store| {
        assert!(store.message(ids[3]).unwrap().state.deleted.covers(2, 1));
        let named = MessageId { bucket, key: record.key() };
        assert_eq!(store.broken_records(), [named]);
        assert_eq!(store.lost_deletes(), BTreeSet::from([named]), "it can be made again");
    };
    // The second finds it in the first's tables.
    for _ in 0..2 {
        pack(&store, bucket);
        look(&store);
        look(&reopen(&mut node.crash()));
        let mut bare = Node { home: Node::new(1).home, ..node.crash() };
        look(&bare.open_at(LATER).0);
        store.checkpoint().unwrap();
        // The list of names is damaged too: the pack still says what the delete said.
        let listless = || {
            let node = node.crash();
            node.disk.damage(std::path::Path::new("broken"), |bytes| bytes[20] ^= 1);
            node
        };
        look(&listless().open_at(LATER).0);
        let mut bare = Node { home: Node::new(1).home, ..listless() };
        look(&bare.open_at(LATER).0);
    }
    store.delete_again(&store.lost_deletes());
    store.commit();
    assert_eq!(store.lost_deletes(), BTreeSet::new());
}

#[test]
fn a_record_that_a_peer_gives_again_while_its_day_is_packed_is_whole_and_counted_once() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let origin = Node::new(2).open_at(LATER).0;
    let ids = [put(&store, b"mail 1", 1), put(&store, b"mail 2", 1)];
    let bucket = ids[0].bucket;
    let items = ids.map(|id| store.item(bucket, &id.key).unwrap().unwrap());
    for (record, body) in items.clone() {
        origin.admit_record(record, body, LATER).unwrap();
    }
    origin.commit();
    store.close();
    damage(&node, &store, SegmentName { bucket, number: 1 }, BlockKind::Records);
    let found = store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1;
    store.mark_broken(&found).unwrap();
    assert_eq!(store.broken_records(), [ids[1]]);
    let [_, (record, body)] = items;
    let mut item = Some((record, body));
    let mut step = |_| {
        if let Some((record, body)) = item.take() {
            store.admit_record(record, body, LATER).unwrap();
            store.commit();
            assert_eq!(store.broken_records(), []);
        }
        ControlFlow::Continue(())
    };
    assert_eq!(store.pack(bucket, &mut step).unwrap().unwrap().records, 1);
    let look = |store: &Store| {
        assert_eq!((readable(store, &ids), store.broken_records()), (2, Vec::new()));
        assert_eq!(store.state().buckets[&bucket].records, 2);
        assert_eq!(store.live_root(), origin.live_root());
    };
    look(&store);
    look(&reopen(&mut node.crash()));
    store.checkpoint().unwrap();
    drop(store);
    look(&reopen(&mut node));
}

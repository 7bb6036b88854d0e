//! Packs: what goes in comes out, and what happens meanwhile or afterwards is not lost.

mod damage;
mod interrupted;
mod rotten;
mod versions;

use super::PackProgress;
use crate::segment::{SegmentName, bucket_directory};
use crate::tests::{NOW, Node, delete, mail, put};
use crate::{Disk, Outcome, Query, ReadError, Store, Which};
use quar_base::key::{Bucket, MessageId};
use quar_base::time::{Millis, UnixMillis};
use std::ops::ControlFlow;

/// Long after everything that a test did: all cutoffs lie behind it.
const LATER: UnixMillis = UnixMillis(NOW.0 + 600_000);

fn on(_: PackProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A body that is like others, and long enough to be coded.
fn body(number: usize) -> Vec<u8> {
    let text = format!("Subject: offer {number}\r\n\r\n{}", "a line that they share\r\n".repeat(9));
    format!("{text}{}", "x".repeat(number % 700)).into_bytes()
}

/// Puts mails of as many seconds.
fn fill(store: &Store, count: usize) -> Vec<MessageId> {
    let put_one = |number: usize| {
        let received = UnixMillis(NOW.0).plus(Millis(number as u64 * 1000));
        let mail = crate::Mail { received, ..mail(&body(number), 2) };
        store.admit_mail(mail).unwrap().message.unwrap()
    };
    let ids = (0..count).map(put_one).collect();
    assert!(store.commit().iter().all(|(_, outcome)| matches!(outcome, Outcome::Stored(_))));
    store.advance(UnixMillis(LATER.0).cutoff());
    ids
}

/// All that can be seen of a store.
fn sight(store: &Store) -> (Vec<String>, String, u64) {
    let query = Query { limit: usize::MAX, ..Query::default() };
    let page = store.list(&query).unwrap();
    assert_eq!(page.damaged, 0);
    let line = |message: &crate::Message| {
        let body = store.body(message.id).map_err(|error| error.to_string());
        format!("{message:?} {body:?}")
    };
    let view = store.view(Which::Current);
    (
        page.messages.iter().map(line).collect(),
        view.state_root().to_string(),
        store.counts().records,
    )
}

fn pack(store: &Store, bucket: Bucket) -> crate::Packed {
    store.pack(bucket, &mut on).unwrap().unwrap()
}

fn reopen(node: &mut Node) -> Store {
    let (store, report) = node.open_at(LATER);
    assert_eq!((report.rebuilt, report.damaged), (None, Vec::new()));
    store
}

#[test]
fn a_packed_day_reads_as_before_now_and_after_opening_and_without_its_index() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER);
    let store = store.0;
    let ids = fill(&store, 300);
    let gone = delete(&store, ids[7], 2, &[0, 1]);
    delete(&store, ids[8], 2, &[1]);
    let before = sight(&store);
    let packed = pack(&store, ids[0].bucket);
    assert_eq!((packed.records, packed.bodies, packed.erased), (301, 299, 1));
    let after = sight(&store);
    assert_eq!((&after.0, &after.1), (&before.0, &before.1));
    assert!(matches!(store.body(ids[7]), Err(ReadError::NotFound(_))));
    assert_eq!(store.record(gone.head().bucket, &gone.key()).unwrap(), Some(gone));
    store.checkpoint().unwrap();
    drop(store);
    let files = node.disk.list(&bucket_directory(ids[0].bucket)).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    let store = reopen(&mut node);
    assert_eq!(sight(&store), after);
    assert_eq!(store.erasable(), []);
    drop(store);
    // Cut off after the pack, the changes to the index never flushed; and without any index.
    assert_eq!(sight(&node.crash().open_at(LATER).0), after);
    let mut bare = Node { home: Node::new(1).home, ..node.crash() };
    assert_eq!(sight(&bare.open_at(LATER).0), after);
}

#[test]
fn bodies_take_less_room_together() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let rng = &mut quar_base::rng::Rng::from_seed([3; 32]);
    let line = |rng: &mut quar_base::rng::Rng| format!("{:02x?}\r\n", rng.bytes::<32>());
    let templates: Vec<String> = (0..10).map(|_| (0..20).map(|_| line(rng)).collect()).collect();
    let ids: Vec<MessageId> = (0..200)
        .map(|number| put(&store, format!("{}{number}", templates[number % 10]).as_bytes(), 1))
        .collect();
    let directory = bucket_directory(ids[0].bucket);
    let length = |node: &Node| -> usize {
        let files = node.disk.list(&directory).unwrap();
        let bytes = |name: &String| node.disk.read(&directory.join(name)).unwrap().unwrap().len();
        files.iter().map(|entry| bytes(&entry.name)).sum()
    };
    store.close();
    let before = length(&node);
    let packed = pack(&store, ids[0].bucket);
    assert_eq!(packed.bytes, length(&node) as u64);
    assert!(packed.bytes * 2 < before as u64, "{} of {before}", packed.bytes);
}

#[test]
fn what_comes_while_a_day_is_packed_stays() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    let bucket = ids[0].bucket;
    delete(&store, ids[1], 2, &[0, 1]);
    let mut steps = 0;
    let mut late = Vec::new();
    let mut meanwhile = |_| {
        if steps == 0 {
            // A new mail, one whose body is about to go, one whose body stays; a delete.
            late.extend([b"late".to_vec(), body(1), body(2)].map(|body| put(&store, &body, 3)));
            delete(&store, ids[3], 2, &[0, 1]);
        }
        steps += 1;
        ControlFlow::Continue(())
    };
    let packed = store.pack(bucket, &mut meanwhile).unwrap().unwrap();
    assert!(steps > 0);
    assert_eq!((packed.records, packed.erased), (50, 1));
    let check = |store: &Store| {
        for (id, bytes) in late.iter().zip([b"late".to_vec(), body(1), body(2)]) {
            assert_eq!(store.body(*id).unwrap(), bytes);
        }
        assert_eq!(store.body(ids[2]).unwrap(), body(2));
        for gone in [ids[1], ids[3]] {
            assert!(matches!(store.message(gone), Err(ReadError::NotFound(_))));
        }
    };
    check(&store);
    let before = sight(&store);
    drop(store);
    check(&node.crash().open_at(LATER).0);
    let store = reopen(&mut node);
    assert_eq!(sight(&store), before);
    assert_eq!(store.erasable(), [bucket]);
    assert_eq!(store.erase(bucket).unwrap().messages, 1);
    check(&store);
    assert_eq!(store.erasable(), []);
    assert_eq!(node.disk.list(&bucket_directory(bucket)).unwrap().len(), 1);
    check(&reopen(&mut node));
}

#[test]
fn closed_days_are_due_once_and_again_when_a_tenth_of_them_is_new() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    let (bucket, today) = (ids[0].bucket, ids[0].bucket.day);
    let after = |days: u32| quar_base::time::Day(today.0 + days);
    assert_eq!((store.packable(after(1)), store.packable(after(2))), (vec![], vec![bucket]));
    pack(&store, bucket);
    assert_eq!(store.packable(after(2)), []);
    assert_eq!(store.packed(), [(bucket, 50, 50)]);
    for id in &ids[..5] {
        delete(&store, *id, 2, &[0]);
    }
    assert_eq!(store.packable(after(2)), []);
    delete(&store, ids[5], 2, &[0]);
    assert_eq!(store.packable(after(2)), [bucket]);
    pack(&store, bucket);
    assert_eq!(store.packable(after(2)), []);
    let store = reopen(&mut node);
    assert_eq!((store.packable(after(2)), store.counts().records), (vec![], 56));
}

#[test]
fn a_body_that_was_missing_is_wanted_from_the_pack_and_taken() {
    let origin = Node::new(1).open_at(LATER).0;
    let mut node = Node::new(2);
    let store = node.open_at(LATER).0;
    let ids = fill(&origin, 4);
    for id in &ids {
        let (record, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
        store.admit_record(record, body.filter(|_| *id != ids[2]), LATER).unwrap();
    }
    store.commit();
    store.advance(LATER.cutoff());
    pack(&store, ids[0].bucket);
    pack(&origin, ids[0].bucket);
    drop(store);
    let store = reopen(&mut node);
    assert_eq!(store.wanted(9).len(), 1);
    let (bucket, wanted) = store.wanted(9)[0];
    let coded = origin.body_for_peer(bucket, wanted).unwrap().unwrap();
    assert_eq!(coded.codec, crate::Codec::Zstd);
    store.admit_body(bucket, coded).unwrap();
    store.commit();
    for store in [&store, &node.crash().open_at(LATER).0] {
        assert_eq!(store.wanted(9), []);
        assert_eq!(store.body(ids[2]).unwrap(), body(2));
        assert_eq!(
            store.view(Which::Current).state_root(),
            origin.view(Which::Current).state_root()
        );
    }
    store.checkpoint().unwrap();
    drop(store);
    // Opened with a clock that hides the day, and put right.
    let (store, _) = node.open_at(UnixMillis(LATER.0 + 400 * 86_400_000));
    assert!(store.body(ids[2]).is_err());
    store.set_today(LATER.day());
    assert_eq!(store.wanted(9), []);
    assert_eq!(store.body(ids[2]).unwrap(), body(2));
}

#[test]
fn segments_finished_before_a_crash_are_taken_up() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 50);
    let bucket = ids[0].bucket;
    // As a packing leaves them when it is cut off behind its first full segment.
    let mut writer = super::write::PackWriter::new(&store, bucket);
    for number in 0..30 {
        let key = crate::layout::body_key(&store.settings.id_key.body_id(&body(number)));
        writer.push_body(key, &body(number)).unwrap();
    }
    writer.end_group().unwrap();
    writer.end_segment().unwrap();
    let before = sight(&store);
    drop(writer);
    drop(store);
    let store = reopen(&mut node);
    assert_eq!(sight(&store), before);
    let mut total = 0;
    let mut count = |progress: PackProgress| {
        total = progress.bodies_total;
        ControlFlow::Continue(())
    };
    let packed = store.pack(bucket, &mut count).unwrap().unwrap();
    assert_eq!((packed.bodies, total), (50, 20));
    assert_eq!(sight(&store).0, before.0);
    assert_eq!(sight(&reopen(&mut node)).0, before.0);
}

/// The file of a bucket's only segment.
fn only_file(node: &Node, bucket: Bucket) -> std::path::PathBuf {
    let files = node.disk.list(&bucket_directory(bucket)).unwrap();
    assert_eq!(files.len(), 1);
    let number = SegmentName::number_of(&files[0].name).unwrap();
    SegmentName { bucket, number }.path()
}

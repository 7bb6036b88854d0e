//! Deletes that name an action as their message: no honest member makes one.
//! Never compares what a delete of an arrival leaves; the other tests do.

use super::{NOW, Node, delete, put, signing_key};
use crate::commit::WRITERS_MAX;
use crate::{MemoryHome, ReadError, Store};
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::ids::{MemberId, RecordId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_merkle::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A mail, its delete, and a delete of that delete.
fn records() -> (MessageId, [Record; 3]) {
    let store = Node::new(1).open();
    let mail = put(&store, b"gone for good", 1);
    let (arrival, _) = store.item(mail.bucket, &mail.key).unwrap().unwrap();
    let deleted = delete(&store, mail, 1, &[0]);
    let misnamed = MessageId { bucket: mail.bucket, key: deleted.key() };
    (mail, [arrival, deleted, delete(&store, misnamed, 1, &[0])])
}

/// What a node claims to have after all cutoffs; the mail must not be there.
fn root(store: &Store, mail: MessageId) -> Hash {
    store.advance(UnixMillis(NOW.0 + 3_600_000).cutoff());
    assert!(store.message(mail).is_err(), "it is back");
    store.live_root()
}

#[test]
fn a_delete_that_names_an_action_deletes_nothing_in_whatever_order_they_come() {
    let (mail, records) = records();
    let mut roots = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for together in [false, true] {
            let mut node = Node::new(2);
            let store = node.open();
            for at in order {
                // An arrival that is deleted already is refused.
                drop(store.admit_record(records[at].clone(), None, NOW));
                if !together {
                    store.commit();
                }
            }
            store.commit();
            roots.push(root(&store, mail));
            store.checkpoint().unwrap();
            drop(store);
            let store = node.open();
            roots.push(root(&store, mail));
            store.erase(mail.bucket).unwrap();
            store.checkpoint().unwrap();
            drop(store);
            let mut rebuilt = node.crash();
            rebuilt.home = MemoryHome(Arc::new(MemoryIndex::default()));
            roots.push(root(&rebuilt.open(), mail));
            let store = node.open();
            store.pack(mail.bucket, &mut |_| ControlFlow::Continue(())).unwrap();
            store.checkpoint().unwrap();
            drop(store);
            roots.push(root(&node.open(), mail));
            let mut rebuilt = node.crash();
            rebuilt.home = MemoryHome(Arc::new(MemoryIndex::default()));
            roots.push(root(&rebuilt.open(), mail));
        }
    }
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
}

/// An arrival by member 2 that names a body of which it has half of the id, or another length.
fn liar(honest: &Record, half: bool) -> Record {
    let mut arrival = Arrival::decode(honest.payload()).unwrap();
    if half {
        arrival.body_id[20] ^= 1
    } else {
        arrival.body_bytes += 1
    }
    let head = Head { author: MemberId([2; 16]), second: 9, ..*honest.head() };
    Record::unsigned(head, &arrival.encode().unwrap()).unwrap()
}

#[test]
fn who_names_half_of_a_bodys_id_does_not_take_it_along() {
    for is_packed in [false, true] {
        let mut node = Node::new(1);
        let store = node.open();
        let honest = put(&store, b"stays", 1);
        let (record, _) = store.item(honest.bucket, &honest.key).unwrap().unwrap();
        let lie = liar(&record, true);
        let id = lie.message();
        store.admit_record(lie, None, NOW).unwrap();
        store.commit();
        // Nor is it damaged when somebody reads the lie.
        assert!(matches!(store.body(id), Err(ReadError::BodyMissing(_))));
        assert!(store.message(honest).unwrap().has_body && store.wanted(9).is_empty());
        if is_packed {
            store.pack(honest.bucket, &mut |_| ControlFlow::Continue(())).unwrap();
        }
        delete(&store, id, 1, &[0]);
        store.erase(honest.bucket).unwrap();
        assert_eq!(store.body(honest).unwrap(), b"stays");
        store.checkpoint().unwrap();
        drop(store);
        assert_eq!(node.open().body(honest).unwrap(), b"stays");
    }
}

#[test]
fn a_body_of_another_length_than_its_record_says_goes_to_no_peer() {
    let store = Node::new(1).open();
    let honest = put(&store, b"its length is told wrong", 1);
    let (record, body) = store.item(honest.bucket, &honest.key).unwrap().unwrap();
    assert!(body.is_some());
    let lie = liar(&record, false);
    let key = lie.key();
    store.admit_record(lie, None, NOW).unwrap();
    store.commit();
    assert!(store.item(honest.bucket, &key).unwrap().unwrap().1.is_none());
}

#[test]
fn records_of_very_many_days_keep_no_more_files_open_than_a_few_days_do() {
    let mut node = Node::new(1);
    let store = node.open();
    let days = (0..300).map(|back| Bucket { class: Class::HELD, day: NOW.day().minus(back) });
    let ids: Vec<MessageId> = days
        .map(|bucket| {
            let head = Head {
                kind: Kind(99),
                bucket,
                second: 7,
                author: MemberId([2; 16]),
                action: Some(ActionHead {
                    key_id: signing_key(2).public().key_id(),
                    message: RecordKey { second: 5, id: RecordId([3; 32]) },
                }),
            };
            let record = Record::signed(head, b"who knows", |text| signing_key(2).sign(text));
            let record = record.unwrap();
            let id = MessageId { bucket, key: record.key() };
            store.admit_record(record, None, NOW).unwrap();
            store.commit();
            id
        })
        .collect();
    assert!(store.committer().writers.len() <= WRITERS_MAX + 1);
    let today = put(&store, b"mail goes on", 1);
    assert!(store.committer().writers.contains_key(&today.bucket), "the newest stay");
    drop(store);
    let store = node.crash().open();
    for id in ids {
        assert!(store.record(id.bucket, &id.key).unwrap().is_some());
    }
    assert_eq!(store.body(today).unwrap(), b"mail goes on");
}

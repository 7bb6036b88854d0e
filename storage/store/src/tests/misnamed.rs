//! Deletes that name an action as their message: no honest member makes one.
//! Never compares what a delete of an arrival leaves; the other tests do.

use super::{NOW, Node, delete, put};
use crate::{MemoryHome, Store};
use quar_base::key::MessageId;
use quar_base::record::Record;
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

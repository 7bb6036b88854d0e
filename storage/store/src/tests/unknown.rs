//! Actions of a kind that this version does not know.
//! Never reads what is in them.

use super::damaged::{check, rot};
use super::{NOW, Node, put, signing_key};
use crate::Store;
use quar_base::ids::MemberId;
use quar_base::record::{ActionHead, Head, Kind, Record};

#[test]
fn one_is_counted_until_it_is_found_damaged() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, b"mail", 1);
    let key_id = signing_key(2).public().key_id();
    let head = Head {
        kind: Kind(99),
        bucket: id.bucket,
        second: id.key.second,
        author: MemberId([2; 16]),
        action: Some(ActionHead { key_id, message: id.key }),
    };
    let record = Record::signed(head, b"later", |text| signing_key(2).sign(text)).unwrap();
    let key = record.key();
    store.admit_record(record, None, NOW).unwrap();
    store.commit();
    let counted = |store: &Store| store.message(id).unwrap().state.unknown_actions;
    assert_eq!(counted(&store), 1);
    rot(&node, &store, id, &key);
    store.checkpoint().unwrap();
    drop(store);
    let store = node.open();
    store.mark_broken(&check(&store, id)).unwrap();
    assert_eq!(counted(&store), 0);
}

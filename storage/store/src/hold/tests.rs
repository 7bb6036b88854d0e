//! Held messages: what outlives the original, and that nodes agree on them.

use super::{Hold, HoldError, Holding};
use crate::tests::{NOW, Node, delete, put};
use crate::{MemoryHome, Outcome, ReadError, Refusal, Store};
use quar_base::action::{Action, Delivery, ReleaseIntent, ReleaseOutcome};
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::time::{DAY_SECONDS, Day, UnixMillis};
use std::ops::ControlFlow;
use std::sync::Arc;

const BODY: &[u8] = b"Subject: x\r\n\r\n\0\xff bare\nlines\r";

fn hold(store: &Store, id: MessageId) -> MessageId {
    let new = match store.hold(id).unwrap() {
        Holding::New(new) => new,
        Holding::Here(held) => panic!("held already as {held}"),
    };
    let foretold = new.id();
    let admitted = store.admit_hold(*new).unwrap();
    assert_eq!(admitted.message, Some(foretold));
    let (_, outcome) = store.commit().pop().unwrap();
    assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
    foretold
}

fn held_already(store: &Store, id: MessageId) -> MessageId {
    match store.hold(id).unwrap() {
        Holding::Here(held) => held,
        Holding::New(new) => panic!("held anew as {}", new.id()),
    }
}

fn act(store: &Store, id: MessageId, action: &Action) -> quar_base::record::Record {
    let (_, record) = store.admit_action(id, action, NOW).unwrap();
    store.commit();
    record
}

/// Everything of one store's that another lacks, bodies with their arrivals.
fn replicate(from: &Store, to: &Store) {
    from.advance(UnixMillis(NOW.0 + 600_000).cutoff());
    let view = from.view(crate::Which::Current);
    let keys = |(bucket, _, _)| {
        let keys: Vec<_> = view.trie(bucket).unwrap().iter().collect();
        keys.into_iter().map(move |key| (bucket, key))
    };
    for (bucket, key) in view.buckets().into_iter().flat_map(keys) {
        let (record, body) = from.item(bucket, &key).unwrap().unwrap();
        to.admit_record(record, body, NOW).unwrap();
        to.commit();
    }
}

#[test]
fn a_hold_outlives_the_deletion_and_the_erasure_of_its_original() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, BODY, 2);
    let held = hold(&store, id);
    assert_eq!(held.bucket.class, Class::HELD);
    assert_eq!((held.bucket.day, held.key.second), (id.bucket.day, id.key.second));
    delete(&store, id, 2, &[0, 1]);
    store.erase(id.bucket).unwrap();
    let bare = {
        let mut bare = node.crash();
        bare.home = MemoryHome(Arc::default());
        bare
    };
    for mut after in [node.crash(), bare] {
        let store = after.open();
        assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
        assert_eq!(store.body(held).unwrap(), BODY);
        let message = store.message(held).unwrap();
        assert_eq!(message.hold.unwrap().original, id);
        assert_eq!(message.arrival.envelope.recipients.len(), 2);
        assert_eq!(held_already(&store, id), held, "found by the original's id");
    }
}

#[test]
fn a_hold_outlives_its_original_s_day() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, BODY, 1);
    let held = hold(&store, id);
    store.pack(held.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    store.set_today(Day(id.bucket.day.0 + 400));
    assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
    let expired = store.unlink_expired().unwrap();
    assert_eq!(expired.buckets, [id.bucket]);
    drop(store);
    let later = UnixMillis(NOW.0 + 400 * DAY_SECONDS * 1000);
    let (store, _) = node.crash().open_at(later);
    assert_eq!(store.body(held).unwrap(), BODY);
}

#[test]
fn a_message_is_held_once_and_a_hold_is_its_own() {
    let store = Node::new(1).open();
    let id = put(&store, BODY, 1);
    // Of the same second, and another message.
    let other = put(&store, b"other", 1);
    let held = hold(&store, id);
    assert_eq!(held_already(&store, id), held);
    assert_eq!(held_already(&store, held), held);
    assert_ne!(hold(&store, other), held);
    let intent = ReleaseIntent { recipients: RecipientSet::all(1).unwrap(), others: Vec::new() };
    act(&store, id, &Action::ReleaseIntent(intent));
    assert_eq!(held_already(&store, id), held, "an action since then makes no other hold");
}

#[test]
fn a_hold_can_be_let_go_and_made_again() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, BODY, 2);
    let first = hold(&store, id);
    delete(&store, first, 2, &[0, 1]);
    assert!(store.holds_of(id).unwrap().is_empty());
    assert_eq!(store.body(id).unwrap(), BODY, "the original stays");
    store.erase(first.bucket).unwrap();
    let second = hold(&store, id);
    assert_ne!(first, second);
    assert_eq!(store.message(second).unwrap().hold.unwrap().round, 1);
    let store = node.crash().open();
    assert_eq!(store.body(second).unwrap(), BODY);
    assert!(store.body(first).is_err());
}

#[test]
fn what_is_gone_or_has_no_body_here_is_not_held() {
    let store = Node::new(1).open();
    let id = put(&store, BODY, 1);
    let record = store.record(id.bucket, &id.key).unwrap().unwrap();
    let peer = Node::new(2).open();
    peer.admit_record(record, None, NOW).unwrap();
    peer.commit();
    let missing = peer.hold(id).err();
    assert!(matches!(missing, Some(HoldError::Read(ReadError::BodyMissing(_)))), "{missing:?}");
    delete(&store, id, 1, &[0]);
    for _ in 0..2 {
        let gone = store.hold(id).err();
        assert!(matches!(gone, Some(HoldError::Read(ReadError::NotFound(_)))), "{gone:?}");
        store.erase(id.bucket).unwrap();
    }
    assert!(store.holds_of(id).unwrap().is_empty());
}

#[test]
fn nodes_that_hold_one_message_at_once_make_one_hold() {
    let [one, other] = [1, 2].map(|number| Node::new(number).open());
    let id = put(&one, BODY, 1);
    replicate(&one, &other);
    let held = hold(&one, id);
    assert_eq!(hold(&other, id), held);
    replicate(&one, &other);
    replicate(&other, &one);
    assert_eq!(one.live_root(), other.live_root());
    assert_eq!(one.counts().records, 2);
}

#[test]
fn nodes_that_knew_of_different_actions_converge_on_both_holds() {
    let [one, other] = [1, 2].map(|number| Node::new(number).open());
    let id = put(&one, BODY, 2);
    replicate(&one, &other);
    delete(&one, id, 2, &[1]);
    let holds = [hold(&one, id), hold(&other, id)];
    assert_ne!(holds[0], holds[1]);
    replicate(&one, &other);
    replicate(&other, &one);
    assert_eq!(one.live_root(), other.live_root());
    for store in [&one, &other] {
        let mut found = store.holds_of(id).unwrap();
        found.sort_by_key(|held| held.key);
        let mut wanted = holds.to_vec();
        wanted.sort_by_key(|held| held.key);
        assert_eq!(found, wanted);
        for held in holds {
            assert_eq!(store.body(held).unwrap(), BODY);
        }
    }
}

#[test]
fn a_hold_knows_the_releases_that_its_original_had() {
    let store = Node::new(1).open();
    let id = put(&store, BODY, 2);
    let recipients = RecipientSet::of(2, &[1]).unwrap();
    let intent = ReleaseIntent { recipients, others: Vec::new() };
    let intent = act(&store, id, &Action::ReleaseIntent(intent)).id();
    let deliveries = vec![Delivery::Delivered("250 ok".into())];
    act(&store, id, &Action::ReleaseOutcome(ReleaseOutcome { intent: intent.0, deliveries }));
    delete(&store, id, 2, &[0]);
    let before = store.message(id).unwrap().state.releases;
    let held = hold(&store, id);
    delete(&store, id, 2, &[1]);
    store.erase(id.bucket).unwrap();
    let message = store.message(held).unwrap();
    assert_eq!(message.state.releases, before);
    assert_eq!(message.state.releases_to(1).count(), 1);
    assert!(!message.state.deleted.covers(2, 0), "the held copy is everybody's");
    let history = crate::MessageState::fold(message.hold.unwrap().actions);
    assert!(history.deleted.covers(2, 0) && !history.deleted.covers(2, 1));
}

#[test]
fn a_full_disk_refuses_a_hold_and_a_peer_s_false_hold_is_an_offence() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, BODY, 1);
    let Holding::New(new) = store.hold(id).unwrap() else { panic!("it is new") };
    let mut bytes = new.record.payload().to_vec();
    let root = bytes.len() - 142 - 8 - 36 - 1;
    bytes[root] ^= 0x80;
    let head = *new.record.head();
    let forged = quar_base::record::Record::unsigned(head, &bytes).unwrap();
    let refused = store.admit_record(forged, None, NOW).err();
    assert!(refused.as_ref().is_some_and(Refusal::is_offence), "{refused:?}");
    node.disk.set_free_bytes(0);
    store.admit_hold(*new).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Refused(Refusal::Full)));
    assert!(store.holds_of(id).unwrap().is_empty());
    node.disk.set_free_bytes(u64::MAX);
    assert_eq!(store.body(hold(&store, id)).unwrap(), BODY);
}

#[test]
fn what_another_member_passes_off_as_a_hold_holds_nothing() {
    let store = Node::new(1).open();
    let (id, other) = (put(&store, BODY, 2), put(&store, b"what it was not", 2));
    let peer = Node::new(2).open();
    replicate(&store, &peer);
    // It names the one, and has the body of the other.
    let record = peer.record(other.bucket, &other.key).unwrap().unwrap();
    let arrival = Arrival::decode(record.payload()).unwrap();
    let false_hold = Hold::new(id, &arrival, Vec::new()).unwrap();
    let original = peer.record(id.bucket, &id.key).unwrap().unwrap();
    let record = peer.held_record(original.head(), false_hold, &arrival).unwrap();
    let (_, body) = peer.item(other.bucket, &other.key).unwrap().unwrap();
    store.admit_record(record, body, NOW).unwrap();
    store.commit();
    assert_eq!(store.holds_of(id).unwrap().len(), 1);
    let held = hold(&store, id);
    assert_eq!(store.body(held).unwrap(), BODY);
    assert_eq!(held_already(&store, id), held);
}

//! Bits that rot under a running store: what is hidden by it, and what is not.

use super::{NOW, Node, delete, mail, put};
use crate::layout::{self, RecordPlace};
use crate::segment::SegmentName;
use crate::{Finding, MemoryHome, Outcome, Query, ReadError, Store};
use quar_base::action::{Action, ReleaseIntent};
use quar_base::coverage::RecipientSet;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::UnixMillis;
use quar_index::{Index, MemoryIndex, Tree};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const LATER: UnixMillis = UnixMillis(NOW.0 + 600_000);

/// Flips a bit in the block that holds a record.
pub(super) fn rot(node: &Node, store: &Store, id: MessageId, key: &RecordKey) {
    let value = store.index.get(Tree::Bucket(id.bucket), &layout::record_key(key)).unwrap();
    let place = RecordPlace::decode(&value.unwrap()).unwrap().block;
    let name = SegmentName { bucket: id.bucket, number: place.segment };
    node.disk.damage(&name.path(), |bytes| bytes[place.offset as usize + 60] ^= 1);
}

pub(super) fn check(store: &Store, id: MessageId) -> Vec<Finding> {
    store.check(id.bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap().1
}

#[test]
fn a_damaged_action_hides_neither_its_message_nor_what_the_index_says_of_it() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let (id, gone) = (put(&store, b"mail", 3), put(&store, b"to be erased", 1));
    let one = delete(&store, id, 3, &[1]);
    let recipients = RecipientSet::of(3, &[0]).unwrap();
    let release = Action::ReleaseIntent(ReleaseIntent { recipients, others: Vec::new() });
    let (_, release) = store.admit_action(id, &release, NOW).unwrap();
    store.commit();
    let other = delete(&store, id, 3, &[2]);
    rot(&node, &store, id, &one.key());
    rot(&node, &store, id, &release.key());
    delete(&store, gone, 1, &[0]);
    store.checkpoint().unwrap();
    store.close();
    drop(store);
    let store = node.open_at(LATER).0;
    let look = |store: &Store| {
        let page = store.list(&Query { limit: 9, ..Query::default() }).unwrap();
        assert_eq!((page.messages.len(), page.damaged), (1, 0));
        let state = &page.messages[0].state;
        assert_eq!([0, 1, 2].map(|at| state.deleted.covers(3, at)), [false, true, true]);
        assert_eq!((state.releases.len(), state.damaged_releases), (0, 1));
        assert_eq!(store.body(id).unwrap(), b"mail");
    };
    look(&store);
    // What it was released to is not known: its hold would say that it never was.
    assert!(store.hold(id).is_err());
    let found = check(&store, id);
    assert_eq!(store.mark_broken(&found).unwrap(), 2, "{found:?}");
    look(&store);
    // A new segment without them, and the index says so still.
    assert_eq!(store.erase(id.bucket).unwrap().segments, 1);
    assert!(check(&store, id).iter().all(|one| matches!(one, Finding::LostRecord { .. })));
    look(&store);
    let mut cut = node.crash();
    store.checkpoint().unwrap();
    drop(store);
    // Without the list of names, the index still says what the actions said.
    let mut listless = node.crash();
    listless.disk.damage(Path::new("broken"), |bytes| bytes[20] ^= 1);
    for node in [&mut listless, &mut cut, &mut node] {
        let store = node.open_at(LATER).0;
        look(&store);
        assert!(store.hold(id).is_err());
        let named = MessageId { bucket: id.bucket, key: one.key() };
        assert_eq!(store.lost_deletes(), BTreeSet::from([named]), "it can be made again");
    }
    let store = node.open_at(LATER).0;
    for record in [one, release, other] {
        store.admit_record(record, None, LATER).unwrap();
    }
    store.commit();
    let state = store.message(id).unwrap().state;
    assert_eq!((state.releases.len(), state.damaged_releases), (1, 0));
    assert!(store.hold(id).is_ok());
}

#[test]
fn damage_in_the_last_blocks_of_the_segment_in_use_is_found_at_once() {
    let node = &mut Node::new(1);
    let store = node.open_at(LATER).0;
    for number in 0..3u8 {
        store.admit_mail(mail(&[number; 900], 1)).unwrap();
    }
    store.commit();
    let ids: Vec<_> = store.find("", 9).unwrap();
    assert_eq!(ids.len(), 3);
    let name = SegmentName { bucket: ids[0].bucket, number: 1 };
    let headers = store.segments.open(name).unwrap().headers().unwrap();
    for header in &headers[headers.len() - 2..] {
        let at = header.offset as usize + 50;
        node.disk.damage(&name.path(), |bytes| bytes[at] ^= 1);
    }
    let found = check(&store, ids[0]);
    let lost = |what: fn(&Finding) -> bool| found.iter().filter(|one| what(one)).count();
    assert_eq!(lost(|one| matches!(one, Finding::LostRecord { .. })), 3, "{found:?}");
    assert_eq!(lost(|one| matches!(one, Finding::LostBody { .. })), 3, "{found:?}");
    assert_eq!(store.mark_broken(&found).unwrap(), 6);
    // More behind them makes nothing else of it.
    put(&store, b"more", 1);
    let again = check(&store, ids[0]);
    assert_eq!(store.mark_broken(&again).unwrap(), 0, "{again:?}");
}

#[test]
fn a_clock_set_back_over_a_delete_brings_its_arrival_back_into_the_set() {
    let origin = Node::new(1).open_at(NOW).0;
    let store = Node::new(2).open_at(NOW).0;
    let id = put(&origin, b"mail", 1);
    let (arrival, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
    store.admit_record(arrival, body, NOW).unwrap();
    store.commit();
    let ahead = UnixMillis(NOW.0 + 3_600_000);
    store.advance(ahead.cutoff());
    let action = Action::Deleted(RecipientSet::of(1, &[0]).unwrap());
    let (_, record) = store.admit_action(id, &action, UnixMillis(ahead.0 - 60_000)).unwrap();
    store.commit();
    origin.admit_record(record, None, NOW).unwrap();
    origin.commit();
    for now in [LATER, ahead, LATER, NOW, LATER] {
        store.advance(now.cutoff());
        origin.advance(now.cutoff());
        let roots = [&store, &origin].map(|one| one.view(crate::Which::Current).state_root());
        assert_eq!(roots[0], roots[1], "{now:?}");
    }
}

#[test]
fn a_damaged_arrival_is_taken_again_also_behind_a_delete_whose_time_is_far_ahead() {
    let origin = Node::new(1).open_at(LATER).0;
    let node = &mut Node::new(2);
    let store = node.open_at(LATER).0;
    let id = put(&origin, b"mail", 1);
    let (arrival, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
    store.admit_record(arrival.clone(), body.clone(), LATER).unwrap();
    store.commit();
    let ahead = UnixMillis(LATER.0 + 3_600_000);
    let action = Action::Deleted(RecipientSet::of(1, &[0]).unwrap());
    store.admit_action(id, &action, ahead).unwrap();
    store.commit();
    let trie = |store: &Store| {
        let trie = store.view(crate::Which::Current).trie(id.bucket);
        trie.map(|trie| trie.iter().collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(trie(&store), [id.key]);
    rot(node, &store, id, &id.key);
    let found = check(&store, id);
    store.mark_broken(&found).unwrap();
    assert_eq!(trie(&store), [], "it cannot be given to anybody");
    assert_eq!(store.broken_records(), [], "nor is it missed by anybody who reads");
    store.admit_record(arrival, body, LATER).unwrap();
    store.commit();
    assert_eq!(trie(&store), [id.key]);
    assert!(store.message(id).is_err());
}

/// Erases what is to be erased of a bucket, and sets the clock back at some time.
type Erasing = fn(&Store, Bucket, &dyn Fn(&Store));

#[test]
fn what_was_erased_before_or_while_a_clock_is_set_back_is_in_the_set_only_when_a_peer_brings_it() {
    let ahead = UnixMillis(NOW.0 + 3_600_000);
    let set_back = |store: &Store| {
        store.advance(LATER.cutoff());
    };
    let before: Erasing = |store, bucket, set_back| {
        assert_eq!(store.erase(bucket).unwrap().messages, 1);
        set_back(store);
    };
    let while_erased: Erasing = |store, bucket, set_back| {
        let begun = store.begin_rewriting(bucket).unwrap().unwrap();
        set_back(store);
        assert_eq!(store.rewrite_without(bucket, begun).unwrap().messages, 1);
        store.end_rewriting(bucket);
    };
    let while_packed: Erasing = |store, bucket, set_back| {
        let mut step = |_| {
            set_back(store);
            ControlFlow::Continue(())
        };
        assert_eq!(store.pack(bucket, &mut step).unwrap().unwrap().erased, 1);
    };
    for erase in [before, while_erased, while_packed] {
        let origin = Node::new(1).open_at(LATER).0;
        let store = Node::new(2).open_at(ahead).0;
        let ids = [put(&origin, b"mail", 1), put(&origin, b"kept", 1)];
        let items = ids.map(|id| origin.item(id.bucket, &id.key).unwrap().unwrap());
        for (arrival, body) in items.clone() {
            store.admit_record(arrival, body, ahead).unwrap();
        }
        store.commit();
        let action = Action::Deleted(RecipientSet::of(1, &[0]).unwrap());
        let (_, record) = store.admit_action(ids[0], &action, ahead).unwrap();
        store.commit();
        origin.admit_record(record, None, LATER).unwrap();
        origin.commit();
        erase(&store, ids[0].bucket, &set_back);
        let trie = store.view(crate::Which::Current).trie(ids[0].bucket).unwrap();
        assert_eq!(trie.iter().collect::<Vec<_>>(), [ids[1].key]);
        let (arrival, body) = items[0].clone();
        store.admit_record(arrival, body, LATER).unwrap();
        store.commit();
        let roots = [&store, &origin].map(|one| one.view(crate::Which::Current).state_root());
        assert_eq!(roots[0], roots[1]);
    }
}

#[test]
fn an_arrival_behind_a_delete_stamped_far_ahead_is_in_the_set_until_then_and_never_shown() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    let origin = first.open_at(LATER).0;
    let store = second.open_at(LATER).0;
    let id = put(&origin, b"mail", 1);
    let (arrival, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
    let ahead = UnixMillis(LATER.0 + 3_600_000);
    let action = Action::Deleted(RecipientSet::of(1, &[0]).unwrap());
    let (_, record) = origin.admit_action(id, &action, ahead).unwrap();
    origin.commit();
    // Here the delete comes first.
    store.admit_record(record, None, LATER).unwrap();
    store.commit();
    let take = |store: &Store| {
        store.admit_record(arrival.clone(), body.clone(), LATER).unwrap();
        store.commit().pop().unwrap().1
    };
    let outcome = take(&store);
    assert!(matches!(&outcome, Outcome::Stored(stored) if stored.body.is_none()), "{outcome:?}");
    assert!(matches!(take(&store), Outcome::AlreadyHere(_)));
    assert_eq!((store.wanted(9), store.erasable()), (vec![], vec![]));
    assert_eq!(origin.erasable(), []);
    let root = |store: &Store| store.view(crate::Which::Current).state_root();
    assert_eq!(root(&store), root(&origin));
    assert!(matches!(store.message(id), Err(ReadError::NotFound(_))));
    assert_eq!(check(&store, id), []);
    let mut bare = second.crash();
    bare.home = MemoryHome(Arc::new(MemoryIndex::default()));
    for mut after in [second.crash(), bare] {
        let store = after.open_at(LATER).0;
        assert_eq!(root(&store), root(&origin));
        assert!(matches!(store.message(id), Err(ReadError::NotFound(_))));
        store.advance(UnixMillis(ahead.0 + 20_000).cutoff());
        assert!(matches!(take(&store), Outcome::Refused(_)));
        assert_eq!(store.erasable(), [id.bucket]);
        assert_eq!(store.erase(id.bucket).unwrap().messages, 1);
    }
    for store in [&store, &origin] {
        store.advance(UnixMillis(ahead.0 + 20_000).cutoff());
    }
    assert_eq!(root(&store), root(&origin));
}

#[test]
fn what_was_damaged_while_the_clock_was_wrong_is_missed_when_it_is_right() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let id = put(&store, b"mail", 1);
    store.checkpoint().unwrap();
    rot(&node, &store, id, &id.key);
    let found = check(&store, id);
    store.mark_broken(&found).unwrap();
    let root = store.live_root();
    drop(store);
    let years_ahead = UnixMillis(LATER.0 + 900 * 86_400_000);
    let store = node.open_at(years_ahead).0;
    store.checkpoint().unwrap();
    store.set_today(LATER.day());
    assert_eq!(store.broken_records(), [id]);
    assert_eq!(store.live_root(), root);
    drop(store);
    assert_eq!(node.open_at(LATER).0.broken_records(), [id]);
}

#[test]
fn a_floor_is_told_of_a_class_that_has_no_name_and_no_mail() {
    let mut node = Node::new(1);
    let store = node.open_at(NOW).0;
    let mut odd = mail(b"mail", 1);
    odd.class = quar_base::class::Class(9);
    store.admit_mail(odd).unwrap();
    store.commit();
    let later = UnixMillis(NOW.0 + 400 * 86_400_000);
    store.set_today(later.day());
    store.unlink_expired().unwrap();
    let floors = store.floors();
    assert!(floors.iter().any(|(class, _)| class.0 == 9), "{floors:?}");
    store.close();
    drop(store);
    assert_eq!(node.open_at(later).0.floors(), floors);
}

#[test]
fn what_lies_in_a_segment_that_cannot_be_opened_again_is_missed_and_written_anew_from_the_open_one()
{
    let node = &mut Node::new(1);
    let store = node.open_at(LATER).0;
    let id = put(&store, b"mail", 3);
    let deleted = delete(&store, id, 3, &[1]);
    let name = SegmentName { bucket: id.bucket, number: 1 };
    assert_eq!(store.body(id).unwrap(), b"mail");
    node.disk.damage(&name.path(), |bytes| bytes[12] ^= 1);
    let found = check(&store, id);
    store.mark_broken(&found).unwrap();
    let action = MessageId { bucket: id.bucket, key: deleted.key() };
    assert_eq!(BTreeSet::from_iter(store.broken_records()), BTreeSet::from([id, action]));
    assert_eq!(store.body(id).unwrap(), b"mail", "no reader has to suffer");
    store.commit();
    assert_eq!((store.broken_records(), store.wanted(9)), (vec![], vec![]));
    store.segments.forget_bucket(id.bucket);
    let look = |store: &Store| {
        assert_eq!(store.body(id).unwrap(), b"mail");
        assert!(store.message(id).unwrap().state.deleted.covers(3, 1));
        assert_eq!(store.broken_records(), []);
    };
    look(&store);
    let root = store.view(crate::Which::Current).state_root();
    store.close();
    drop(store);
    let store = node.open_at(LATER).0;
    look(&store);
    assert_eq!(store.view(crate::Which::Current).state_root(), root);
}

#[test]
fn a_record_that_comes_back_without_its_damaged_body_wants_it() {
    let node = &mut Node::new(1);
    let store = node.open_at(LATER).0;
    let id = put(&store, b"mail", 1);
    let (record, body) = store.item(id.bucket, &id.key).unwrap().unwrap();
    let name = SegmentName { bucket: id.bucket, number: 1 };
    // Both lie in it, and neither tells of the other any more.
    node.disk.damage(&name.path(), |bytes| bytes[12] ^= 1);
    store.close();
    store.segments.forget_bucket(id.bucket);
    let found = check(&store, id);
    store.mark_broken(&found).unwrap();
    assert!(!store.broken_records().is_empty(), "{found:?}");
    store.admit_record(record, None, LATER).unwrap();
    store.commit();
    assert_eq!(store.wanted(9).len(), 1);
    store.admit_body(id.bucket, body.unwrap()).unwrap();
    store.commit();
    assert_eq!(store.body(id).unwrap(), b"mail");
}

#[test]
fn a_delete_whose_record_is_damaged_is_made_again_for_peers_that_never_had_it() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    let (store, peer) = (first.open_at(LATER).0, second.open_at(LATER).0);
    let [all, one] = [b"all", b"one"].map(|bytes| put(&store, bytes, 2));
    let give = |from: &Store, to: &Store| {
        let trie = from.view(crate::Which::Current).trie(all.bucket).unwrap();
        for key in trie.iter() {
            let (record, body) = from.item(all.bucket, &key).unwrap().unwrap();
            to.admit_record(record, body, LATER).unwrap();
        }
        to.commit();
    };
    give(&store, &peer);
    let deletes = [delete(&store, all, 2, &[0, 1]), delete(&store, one, 2, &[1])];
    for record in &deletes {
        rot(&first, &store, all, &record.key());
    }
    store.mark_broken(&check(&store, all)).unwrap();
    let lost = store.lost_deletes();
    assert_eq!(lost.len(), 2);
    store.delete_again(&lost);
    store.commit();
    assert!(store.lost_deletes().is_empty());
    give(&store, &peer);
    assert!(matches!(peer.message(all), Err(ReadError::NotFound(_))));
    assert_eq!(peer.message(one).unwrap().state, store.message(one).unwrap().state);
    assert_eq!(peer.live_root(), store.live_root());
}

#[test]
fn a_damaged_delete_that_a_peer_gives_is_not_made_again() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    let (store, peer) = (first.open_at(LATER).0, second.open_at(LATER).0);
    let id = put(&store, b"mail", 1);
    let (arrival, body) = store.item(id.bucket, &id.key).unwrap().unwrap();
    peer.admit_record(arrival, body, LATER).unwrap();
    let record = delete(&store, id, 1, &[0]);
    peer.admit_record(record.clone(), None, LATER).unwrap();
    peer.commit();
    rot(&first, &store, id, &record.key());
    store.mark_broken(&check(&store, id)).unwrap();
    let lost = store.lost_deletes();
    store.admit_record(record, None, LATER).unwrap();
    store.commit();
    store.delete_again(&lost);
    assert!(!store.has_pending());
    assert_eq!(peer.live_root(), store.live_root());
}

#[test]
fn a_message_looks_the_same_with_a_damaged_delete_for_nobody_as_where_that_never_came() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    let (store, peer) = (first.open_at(LATER).0, second.open_at(LATER).0);
    let id = put(&store, b"mail", 1);
    let (arrival, body) = store.item(id.bucket, &id.key).unwrap().unwrap();
    peer.admit_record(arrival, body, LATER).unwrap();
    peer.commit();
    let record = delete(&store, id, 1, &[]);
    rot(&first, &store, id, &record.key());
    store.mark_broken(&check(&store, id)).unwrap();
    assert!(store.lost_deletes().is_empty(), "it says nothing that could be made again");
    assert_eq!(peer.live_root(), store.live_root());
    assert_eq!(peer.message(id).unwrap(), store.message(id).unwrap());
}

#[test]
fn a_damaged_record_does_not_keep_other_bodies_from_being_wanted() {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = [b"mail 1", b"mail 2"].map(|bytes| put(&store, bytes, 1));
    let lost = ids.map(|id| {
        let body = store.message(id).unwrap().arrival.body();
        Finding::LostBody { bucket: id.bucket, key: layout::body_key(&body), messages: vec![id] }
    });
    rot(&node, &store, ids[0], &ids[0].key);
    assert_eq!(store.mark_broken(&lost).unwrap(), 2);
    assert_eq!(store.wanted(9).len(), 1);
}

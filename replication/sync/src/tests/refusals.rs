//! What a peer does not take: a full one gets no mail for a while, the rest is not sent in vain.

use super::harness::{Pair, action};
use super::{DAY, pair_of, spread};
use crate::{CodedBody, Event, Item, RefusalReason, limits};
use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use quar_base::time::Day;

fn full(item: &Item) -> Option<RefusalReason> {
    item.is_mail().then_some(RefusalReason::Full)
}

fn deleted(item: &Item) -> Option<RefusalReason> {
    item.is_mail().then_some(RefusalReason::Covered)
}

fn later(item: &Item) -> Option<RefusalReason> {
    item.is_mail().then_some(RefusalReason::Other)
}

/// Member 0 has mail and a delete that member 1 lacks and, but for the delete, refuses.
fn refusing(refuse: fn(&Item) -> Option<RefusalReason>) -> Pair {
    let mut pair = pair_of(spread(2000, |_| false), Vec::new());
    pair.members[0].add(action(500, b"delete"));
    pair.members[1].refuse = Some(refuse);
    pair.connect();
    pair.run();
    pair
}

fn refuses(pair: &Pair) -> Option<RefusalReason> {
    pair.members[0].engine.status(pair.members[1].id).refuses
}

#[test]
fn a_full_peer_gets_deletes_and_a_little_mail_now_and_then() {
    let mut pair = refusing(full);
    let before = pair.members[1].offered;
    for _ in 0..30 {
        pair.tick();
    }
    let tried = pair.members[1].offered - before;
    assert!(tried <= 8 * limits::LOAD_ITEMS, "{tried} items in 5 minutes");
    assert_eq!(refuses(&pair), Some(RefusalReason::Full));
    assert_eq!(pair.members[0].held_back, [RefusalReason::Full]);
    assert_eq!(pair.members[0].engine.peers().filter(|(_, takes_mail)| *takes_mail).count(), 0);
    assert!(pair.members[1].records.values().any(|record| record.head().action.is_some()));
    let item = Item::Record(action(600, b"fresh delete"), None);
    let name = item.name();
    pair.give(0, Event::Committed(item));
    pair.run();
    assert!(pair.members[0].confirmed.contains(&name));
}

#[test]
fn a_peer_that_has_room_again_gets_everything() {
    let mut pair = refusing(full);
    for _ in 0..10 {
        pair.tick();
    }
    pair.members[1].refuse = None;
    for _ in 0..10 {
        pair.tick();
    }
    assert_eq!(refuses(&pair), None);
    assert_eq!(pair.members[0].engine.peers().filter(|(_, takes_mail)| *takes_mail).count(), 1);
    assert!(pair.agree());
}

#[test]
fn a_full_peer_is_tried_ever_more_rarely() {
    let mut pair = refusing(full);
    let mut tries = Vec::new();
    for step in 1..=60 {
        let before = pair.members[1].offered;
        pair.tick();
        if pair.members[1].offered > before {
            tries.push(step);
        }
    }
    let last = tries.len() - 1;
    assert!(tries[1] - tries[0] <= 3, "{tries:?}");
    assert!(tries[last] - tries[last - 1] >= 6, "{tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= 8), "{tries:?}");
}

#[test]
fn fresh_mail_tries_a_full_peer_once_and_opens_the_way() {
    let mut pair = refusing(full);
    let fresh = |n: u8| Item::Record(super::record(Class::SPAM, DAY, 40, &[n; 9]), None);
    let before = pair.members[1].offered;
    pair.give(0, Event::Committed(fresh(1)));
    pair.run();
    assert_eq!(pair.members[1].offered, before, "held back");
    assert!(pair.members[0].engine.not_pushed() > 0);
    pair.members[1].refuse = None;
    pair.tick();
    assert_eq!(refuses(&pair), None);
    pair.give(0, Event::Committed(fresh(2)));
    pair.run();
    assert!(pair.members[0].confirmed.contains(&fresh(2).name()));
}

#[test]
fn bodies_asked_for_by_a_full_peer_wait_for_room_and_are_not_said_to_be_missing() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    // More than the window: when the first are refused, others are read already.
    for number in 0..200 {
        let id = BodyId([number; 32]);
        let bytes = vec![number; 100 << 10].into();
        let coded = CodedBody { id, raw_bytes: 100 << 10, codec: 0, dictionary: None, bytes };
        pair.members[0].bodies.insert((bucket, id), coded);
        pair.members[1].wanted.insert((bucket, id));
    }
    pair.members[1].refuse = Some(full);
    pair.connect();
    for _ in 0..10 {
        pair.tick();
        let member = &pair.members[1];
        assert_eq!(member.engine.lost(&member.view()), []);
    }
    assert!(pair.members[1].offered < 200, "{} offered", pair.members[1].offered);
    pair.members[1].refuse = None;
    for _ in 0..60 {
        pair.tick();
    }
    assert_eq!(pair.members[1].bodies.len(), 200);
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
}

#[test]
fn a_full_peer_that_asks_for_a_body_has_room_again_and_waits_for_no_trial() {
    for (reason, comes) in [(RefusalReason::Full, true), (RefusalReason::Failed, false)] {
        let mut pair = refusing(match reason {
            RefusalReason::Full => full,
            _ => |item| item.is_mail().then_some(RefusalReason::Failed),
        });
        pair.members[1].refuse = None;
        let (bucket, id) = (Bucket { class: Class::SPAM, day: Day(DAY) }, BodyId([7; 32]));
        let bytes = b"some mail"[..].into();
        let coded = CodedBody { id, raw_bytes: 9, codec: 0, dictionary: None, bytes };
        pair.members[0].bodies.insert((bucket, id), coded);
        pair.members[1].wanted.insert((bucket, id));
        pair.give(1, Event::Fetch { bucket, body: id });
        pair.run();
        assert_eq!(pair.members[1].bodies.contains_key(&(bucket, id)), comes, "{reason:?}");
    }
}

#[test]
fn what_is_deleted_at_the_peer_is_sent_once_and_what_it_may_take_later_again() {
    for (refuse, at_least, at_most) in
        [(deleted as fn(&Item) -> _, 2001, 2001), (later as fn(&Item) -> _, 8001, usize::MAX)]
    {
        let mut pair = refusing(refuse);
        for _ in 0..8 {
            pair.tick();
        }
        let offered = pair.members[1].offered;
        assert!((at_least..=at_most).contains(&offered), "{offered} items");
        assert_eq!(refuses(&pair), None);
    }
}

#[test]
fn what_a_delete_covers_is_sent_again_to_a_peer_whose_clock_is_set_back() {
    let mut pair = refusing(deleted);
    pair.members[1].refuse = None;
    (0..8).for_each(|_| pair.tick());
    assert_eq!(pair.members[1].offered, 2001);
    for member in &mut pair.members {
        member.now.0 -= 60_000;
    }
    (0..3).for_each(|_| pair.tick());
    assert!(pair.agree());
}

#[test]
fn a_day_that_a_wrong_clock_hid_comes_on_the_same_connection_when_the_clock_is_right() {
    // Whether or not the peer could tell of its floor before it refused.
    for told in [vec![(Class::SPAM, Day(DAY + 1))], Vec::new()] {
        let mut pair = pair_of(spread(300, |_| false), Vec::new());
        pair.members[1].floors = told;
        pair.members[1].refuse = Some(|_| Some(RefusalReason::BelowFloor));
        pair.connect();
        pair.run();
        pair.tick();
        assert!(pair.members[1].records.is_empty());
        pair.members[1].floors.clear();
        pair.members[1].refuse = None;
        for _ in 0..3 {
            pair.tick();
        }
        assert!(pair.agree(), "{} records", pair.members[1].records.len());
    }
}

#[test]
fn acknowledgements_that_no_honest_peer_sends_end_the_connection() {
    // Sequence, count, then position and reason of each refused item.
    for (ack, offence) in [
        (vec![1, 1, 0, 0, 7], crate::Offence::Malformed),
        (vec![1, 1, 0, 0, 0], crate::Offence::Malformed),
        (vec![1, 2, 0, 0, 1, 0, 0, 1], crate::Offence::Malformed),
        (vec![1, 1, 0, 0], crate::Offence::Malformed),
        (vec![1, 1, 1, 0, 1], crate::Offence::BogusAck),
    ] {
        let mut pair = pair_of(Vec::new(), Vec::new());
        pair.connect();
        pair.run();
        pair.give(0, Event::Committed(Item::Record(action(5, b"x"), None)));
        let peer = pair.members[1].id;
        pair.give(0, Event::Frame { peer, kind: 9, payload: &ack });
        assert_eq!(pair.members[0].offences, [offence], "{ack:?}");
    }
}

//! What no honest peer sends ends the connection and changes nothing.

use super::{DAY, NOW, pair_of, spread};
use crate::frame::{
    FlightFrame, Lot, TakeFrame, Told, WantedKeys, encode_lot_number, encode_offers,
    encode_want_keys, kind, name_of,
};
use crate::{Event, Offence, limits};
use quar_base::class::Class;
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::Day;

#[test]
fn frames_that_no_honest_peer_sends_end_the_connection() {
    let bogus_ack = vec![99, 0];
    let cases: [(u8, Vec<u8>, Offence); 6] = [
        (1, vec![4, 2, 3], Offence::Malformed),
        (1, vec![9; 64], Offence::Version),
        (9, bogus_ack, Offence::BogusAck),
        (8, vec![1, 77], Offence::Malformed),
        (5, vec![2], Offence::Malformed),
        (33, vec![], Offence::UnknownKind),
    ];
    for (kind, payload, offence) in cases {
        let mut pair = pair_of(spread(10, |_| false), spread(10, |_| false));
        pair.connect();
        pair.run();
        let peer = pair.members[1].id;
        let before = pair.members[0].keys();
        pair.give(0, Event::Frame { peer, kind, payload: &payload });
        assert_eq!(pair.members[0].offences, [offence], "kind {kind}");
        assert_eq!(pair.members[0].keys(), before);
        assert_eq!(pair.members[0].engine.peers().count(), 0);
    }
}

/// Gives member 0 frames of a connected peer; returns its offences.
fn offences_of(frames: &[(u8, Vec<u8>)]) -> Vec<Offence> {
    let mut pair = pair_of(spread(500, |_| false), spread(500, |_| false));
    pair.connect();
    pair.run();
    let peer = pair.members[1].id;
    for (kind, payload) in frames {
        pair.give(0, Event::Frame { peer, kind: *kind, payload });
    }
    pair.members[0].offences.clone()
}

#[test]
fn floods_of_honest_looking_frames_end_the_connection() {
    let hello = crate::frame::Hello {
        clock_ms: NOW.0,
        cutoff_steps: 7,
        current_root: [0; 16],
        previous_root: [0; 16],
        digest: [0; 8],
        records: 0,
        wanted: 0,
    };
    assert_eq!(offences_of(&vec![(1, hello.encode()); 50]), [Offence::TooMuch]);
    assert_eq!(offences_of(&[(7, vec![0; 5])]), [Offence::OutOfTurn], "fresh is told once");
    assert_eq!(offences_of(&[(8, vec![5, 0])]), [Offence::OutOfTurn], "batches are numbered");
    assert_eq!(offences_of(&[(8, vec![1, 0])]), [Offence::Malformed], "a batch has items");
    assert_eq!(
        offences_of(&vec![(2, vec![0, 0]); 9]),
        [Offence::NotAsked],
        "floors answer greetings"
    );
    assert_eq!(offences_of(&[(3, vec![0])]), [Offence::NotAsked], "rosters answer floors");
    assert_eq!(offences_of(&vec![(200, vec![0; 1 << 20]); 3]), []);
    assert_eq!(offences_of(&vec![(200, vec![0; 1 << 20]); 5]), [Offence::TooMuch]);
    assert_eq!(offences_of(&vec![(200, vec![]); 17_000]), [Offence::TooMuch]);
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let many = |count: u16| -> Vec<_> {
        (0..count)
            .map(|n| (bucket, BodyId([n.to_le_bytes(); 16].concat().try_into().unwrap())))
            .collect()
    };
    let wants = |count| (10, crate::frame::encode_bodies(&many(count)));
    assert_eq!(offences_of(&[wants(1000), wants(1000)]), [], "each is answered in between");
    assert_eq!(offences_of(&[wants(1001)]), [Offence::Malformed]);
    assert_eq!(offences_of(&[(12, crate::frame::encode_bodies(&many(1)))]), [Offence::NotAsked]);
}

#[test]
fn a_place_that_is_told_of_twice_ends_the_connection() {
    let mut pair = pair_of(spread(2000, |_| false), spread(2000, |n| n % 7 == 0));
    pair.connect();
    let peer = pair.members[1].id;
    // Member 0 begins a round when it hears that the roots differ.
    let at = pair.wire.iter().position(|(to, kind, _)| (*to, *kind) == (0, 1)).unwrap();
    let (_, _, hello) = pair.wire.remove(at).unwrap();
    pair.give(0, Event::Frame { peer, kind: 1, payload: &hello });
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let told = vec![crate::frame::Told::Empty(bucket, quar_merkle::Prefix::ROOT); 100];
    for payload in crate::frame::FlightFrame::encode_all(1, &told) {
        pair.give(0, Event::Frame { peer, kind: 5, payload: &payload });
    }
    assert_eq!(pair.members[0].offences, [Offence::OutOfTurn]);
}

#[test]
fn keys_of_a_leaf_are_looked_for_once() {
    let mut pair = pair_of(spread(9, |n| n % 2 == 0), spread(9, |n| n % 2 == 1));
    pair.connect();
    let asker = pair.members[0].id;
    let told = loop {
        let (to, kind, payload) = pair.wire.pop_front().unwrap();
        let peer = pair.members[1 - to].id;
        if (to, kind) == (0, kind::FLIGHT) {
            break FlightFrame::decode(&payload).unwrap().told;
        }
        pair.give(to, Event::Frame { peer, kind, payload: &payload });
    };
    let [Told::Leaf(bucket, prefix, shorts)] = &told[..] else { panic!("{told:?}") };
    let (bucket, prefix, shorts) = (*bucket, *prefix, shorts.clone());
    let want = WantedKeys { bucket, prefix, shorts, has_others: false };
    for offers in [1, 0] {
        pair.wire.clear();
        let payload = encode_want_keys(&[want.clone(), want.clone()]);
        pair.give(1, Event::Frame { peer: asker, kind: kind::WANT_KEYS, payload: &payload });
        let offered = pair.wire.iter().filter(|(_, kind, _)| *kind == kind::OFFER);
        assert_eq!(offered.count(), offers);
    }
    assert_eq!(pair.members[1].offences, []);
}

#[test]
fn frames_before_the_greeting_are_out_of_turn_and_unknown_late_kinds_are_passed_over() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    let peer = pair.members[1].id;
    pair.give(0, Event::Connected { peer, session_key: [9; 32] });
    pair.give(0, Event::Frame { peer, kind: 200, payload: b"anything" });
    assert_eq!(pair.members[0].offences, []);
    pair.give(0, Event::Frame { peer, kind: 7, payload: b"" });
    assert_eq!(pair.members[0].offences, [Offence::OutOfTurn]);
}

#[test]
fn lots_that_no_honest_peer_takes_or_sends_end_the_connection() {
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let lot = || Lot::Span(bucket, 0, 86_399, 1);
    let take = |number| (kind::TAKE, TakeFrame { number, lot: lot() }.encode());
    let sent = |number| (kind::LOT_SENT, encode_lot_number(number));
    assert_eq!(offences_of(&[sent(0)]), [Offence::NotAsked], "nothing was taken");
    // The peer acknowledges nothing, so that nothing more is read for it.
    let many: Vec<_> = (0..2000).map(take).collect();
    assert_eq!(offences_of(&many), [Offence::TooMuch]);
    assert_eq!(offences_of(&[take(0), (kind::LEAVE, encode_lot_number(7))]), []);
}

#[test]
fn frames_that_lead_to_nothing_have_one_budget_whatever_their_kind() {
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let nobody = RecordKey { second: 5, id: RecordId([0xee; 32]) };
    let lot = || Lot::Names(bucket, vec![name_of(&nobody)]);
    let take = |number| (kind::TAKE, TakeFrame { number, lot: lot() }.encode());
    let leave = |number| (kind::LEAVE, encode_lot_number(number));
    let hurry = |_| (kind::HURRY, crate::frame::encode_bodies(&[(bucket, BodyId([7; 32]))]));
    let kinds: [&dyn Fn(u64) -> (u8, Vec<u8>); 3] = [&take, &leave, &hurry];
    for frame in kinds {
        let frames = |count| (0..count).map(frame).collect::<Vec<_>>();
        assert_eq!(offences_of(&frames(1000)), []);
        assert_eq!(offences_of(&frames(17_000)), [Offence::TooMuch]);
    }
}

#[test]
fn what_a_peer_took_it_may_take_again_and_not_for_ever() {
    let mut pair = pair_of(spread(500, |_| false), Vec::new());
    pair.connect();
    pair.run();
    let peer = pair.members[1].id;
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let lot = || Lot::Span(bucket, 0, 86_399, 500);
    let mut takes = 0;
    while pair.members[0].offences.is_empty() {
        takes += 1;
        // The other side acknowledges what comes.
        let payload = TakeFrame { number: 1000 + takes, lot: lot() }.encode();
        pair.give(0, Event::Frame { peer, kind: kind::TAKE, payload: &payload });
        pair.wire.retain(|(_, frame, _)| *frame != kind::LOT_SENT);
        pair.run();
    }
    assert_eq!(pair.members[0].offences, [Offence::Replayed]);
    assert_eq!(takes, 4, "as often as it was taken, and a thousand records more");
}

#[test]
fn an_endless_offer_is_kept_within_limits() {
    let mut pair = pair_of(spread(10, |_| false), spread(10, |_| false));
    pair.connect();
    pair.run();
    let peer = pair.members[1].id;
    for round in 0..50u32 {
        let lots: Vec<Lot> = (0..1000u32)
            .map(|n| {
                let bucket = Bucket { class: Class::SPAM, day: Day(round * 1000 + n) };
                Lot::Span(bucket, 0, 86_399, 1024)
            })
            .collect();
        for payload in encode_offers(&lots) {
            pair.give(0, Event::Frame { peer, kind: kind::OFFER, payload: &payload });
        }
    }
    let taken = pair.wire.iter().filter(|(_, frame, _)| *frame == kind::TAKE).count();
    assert!(taken <= 5, "{taken} lots were taken at once");
    let left = pair.members[0].engine.backfill().left;
    assert!(left <= 1024 * (limits::OFFERS_KEPT as u64), "{left} records are kept in mind");
}

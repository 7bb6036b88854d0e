//! What is lacking is taken, once, whatever the two sets look like.

use super::harness::{Member, record};
use super::{DAY, pair_of, spread};
use crate::frame::{Lot, TakeFrame, encode_offers, kind, name_of, whole_name_of};
use crate::{Event, RefusalReason, limits};
use quar_base::class::Class;
use quar_base::ids::{MemberId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::Day;
use std::collections::BTreeMap;

#[test]
fn a_member_that_has_a_few_of_very_many_gets_the_rest_in_spans() {
    let all = spread(20_000, |_| false);
    let few = spread(20_000, |n| n % 2000 != 3);
    let mut pair = pair_of(all, few);
    pair.connect();
    pair.run();
    pair.tick();
    assert!(pair.agree());
    // Names take 5 bytes, and as many once more when they are taken.
    let named = pair.bytes[&kind::OFFER] + pair.bytes[&kind::TAKE];
    assert!(named < 20_000 / 4, "{named} bytes to offer and to take 20,000 records");
    assert_eq!(pair.members[1].offered, 19_990, "each came once");
}

#[test]
fn more_records_of_one_second_than_a_lot_takes_come_by_their_names() {
    let of_second = |n: u32| record(Class::SPAM, DAY, 40_000, &n.to_le_bytes());
    let all: Vec<_> = (0..5000).map(of_second).chain(spread(100, |_| false)).collect();
    for theirs in [Vec::new(), spread(100, |_| false), all[..1].to_vec()] {
        let mut pair = pair_of(all.clone(), theirs);
        pair.connect();
        pair.run();
        for _ in 0..3 {
            pair.tick();
        }
        assert!(pair.agree());
    }
}

#[test]
fn what_is_offered_again_while_it_comes_comes_once() {
    let mut pair = pair_of(spread(6000, |_| false), Vec::new());
    pair.connect();
    while pair.members[1].records.len() < 1000 {
        let (to, kind, payload) = pair.wire.pop_front().unwrap();
        let peer = pair.members[1 - to].id;
        pair.give(to, Event::Frame { peer, kind, payload: &payload });
    }
    // Another round begins in the middle.
    for _ in 0..3 {
        pair.tick();
    }
    assert!(pair.agree());
    assert_eq!(pair.members[1].offered, 6000);
}

#[test]
fn young_records_that_both_sides_lack_are_taken_by_their_keys() {
    let young = |n: u32| record(Class::SPAM, DAY, 86_392 + n % 8, &n.to_le_bytes());
    let mut pair = pair_of((0..400).map(young).collect(), (200..900).map(young).collect());
    pair.connect();
    pair.run();
    assert!(pair.agree());
    assert_eq!((pair.members[0].offered, pair.members[1].offered), (500, 200));
}

#[test]
fn what_one_side_has_no_room_for_hides_nothing_of_what_the_other_side_lacks() {
    // Minutes in which both have something, others in which one has, at either side's seconds.
    let of = |side: u32| {
        let seconds = (0..4000).filter(move |n| (n / 50) % 3 != side && n % 7 < 5 - side);
        seconds.map(move |n| record(Class::SPAM, DAY, n, &[side as u8, (n % 251) as u8, 1]))
    };
    for full in 0..2 {
        let mut pair = pair_of(of(0).collect(), of(1).collect());
        let before = pair.members[full].keys();
        pair.members[full].refuse = Some(|_| Some(RefusalReason::Full));
        pair.connect();
        pair.run();
        for _ in 0..3 {
            pair.tick();
        }
        let other = pair.members[1 - full].keys();
        assert!(before.is_subset(&other), "{} of them", before.difference(&other).count());
        assert_eq!(pair.members[full].keys(), before);
    }
}

#[test]
fn what_only_the_other_side_has_in_between_hides_nothing() {
    let at = |from: u32, tag: u8| {
        (0..100u32).map(move |n| record(Class::SPAM, DAY, from + n * 16, &[tag, n as u8]))
    };
    let common = || at(0x2000, 1).chain(at(0x4800, 1));
    let one = common().chain(at(0x2800, 2)).chain(at(0x4000, 2)).collect();
    let mut pair = pair_of(one, common().chain(at(0x3000, 3)).collect());
    let before = pair.members[0].keys();
    pair.members[0].refuse = Some(|_| Some(RefusalReason::Full));
    pair.connect();
    pair.run();
    for _ in 0..3 {
        pair.tick();
    }
    assert!(before.is_subset(&pair.members[1].keys()));
}

/// A member that has nothing, and two peers of which the first offers and never sends.
#[test]
fn what_a_peer_offers_and_withholds_comes_from_another() {
    let all = spread(9, |_| false);
    let bucket = all[0].head().bucket;
    let keys: Vec<RecordKey> = all.iter().map(|record| record.key()).collect();
    let (least, most) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
    let bogus = name_of(&RecordKey { second: 0, id: RecordId([0; 32]) });
    let mut names: Vec<_> = keys.iter().map(name_of).collect();
    names.sort_unstable();
    let with_bogus = [&[bogus][..], &names].concat();
    let span = Lot::Span(bucket, least.second, most.second, 1);
    for withheld in [Lot::Names(bucket, with_bogus), span] {
        let mut asker = Member::new(200);
        let session_key = [9; 32];
        let mut taken = BTreeMap::new();
        let mut give = |asker: &mut Member, event: Event<'_>| {
            for (to, frame_kind, payload) in asker.take(event) {
                if frame_kind == kind::TAKE {
                    let taken: &mut Vec<Lot> = taken.entry(to).or_default();
                    taken.push(TakeFrame::decode(&payload).unwrap().lot);
                }
            }
        };
        for number in [1, 2] {
            let peer = MemberId([number; 16]);
            let hello = Member::new(number).take(Event::Connected { peer: asker.id, session_key });
            give(&mut asker, Event::Connected { peer, session_key });
            give(&mut asker, Event::Frame { peer, kind: kind::HELLO, payload: &hello[0].2 });
        }
        let honest = Lot::Names(bucket, names.clone());
        // Each time it is found out, the first offers anew, and the second tells what a comparison found.
        for _ in 0..20 {
            for (number, lot) in [(1, &withheld), (2, &honest)] {
                let peer = MemberId([number; 16]);
                for payload in encode_offers(std::slice::from_ref(lot)) {
                    let payload = &payload[..];
                    give(&mut asker, Event::Frame { peer, kind: kind::OFFER, payload });
                }
            }
            asker.now.0 += 5_000;
            give(&mut asker, Event::Tick);
        }
        let of_honest = taken.remove(&MemberId([2; 16])).unwrap_or_default();
        let is_asked = |key: &&RecordKey| of_honest.iter().any(|lot| lot.contains(bucket, key));
        assert_eq!(keys.iter().filter(is_asked).count(), keys.len(), "{withheld:?}");
    }
}

#[test]
fn short_and_whole_names_are_not_taken_in_one_lot() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    pair.connect();
    pair.run();
    let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
    let key = |second: u32, last: u8| {
        let mut id = [1; 32];
        id[31] = last;
        RecordKey { second, id: RecordId(id) }
    };
    let whole = vec![whole_name_of(&key(5, 1)), whole_name_of(&key(5, 2))];
    let short = vec![name_of(&key(4, 1)), name_of(&key(9, 1))];
    let lots = [Lot::Names(bucket, short), Lot::Names(bucket, whole)];
    let peer = pair.members[1].id;
    for payload in encode_offers(&lots) {
        pair.give(0, Event::Frame { peer, kind: kind::OFFER, payload: &payload });
    }
    let takes = pair.wire.iter().filter(|(_, frame, _)| *frame == kind::TAKE);
    let takes: Vec<_> = takes.map(|(.., payload)| TakeFrame::decode(payload).unwrap()).collect();
    assert_eq!(takes.iter().map(|take| take.lot.count()).sum::<u64>(), 4);
}

#[test]
fn more_places_than_a_flight_tells_of_are_compared_round_by_round() {
    // Each second is a leaf of its own, and differs.
    let seconds = limits::FLIGHT_DESCRIPTIONS as u32 + 100;
    let of = |copies: u8| {
        let all = (0..seconds).flat_map(move |second| (0..copies).map(move |copy| (second, copy)));
        all.map(|(second, copy)| record(Class::SPAM, DAY, second, &[copy, second as u8])).collect()
    };
    let mut pair = pair_of(of(5), of(4));
    pair.connect();
    pair.run();
    for _ in 0..4 {
        pair.tick();
    }
    assert!(pair.agree());
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
}

//! What is lacking is taken, once, whatever the two sets look like.

use super::harness::record;
use super::{DAY, pair_of, spread};
use crate::frame::kind;
use crate::{Event, RefusalReason};
use quar_base::class::Class;

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

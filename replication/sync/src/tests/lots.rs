//! What is lacking is taken, once, whatever the two sets look like.

use super::harness::record;
use super::{DAY, pair_of, spread};
use crate::Event;
use crate::frame::kind;
use quar_base::class::Class;

#[test]
fn a_member_that_has_a_few_of_very_many_gets_the_rest_in_ranges() {
    let all = spread(20_000, |_| false);
    let few = spread(20_000, |n| n % 2000 != 3);
    let mut pair = pair_of(all, few);
    pair.connect();
    pair.run();
    pair.tick();
    assert!(pair.agree());
    // Keys that are named one by one take 36 bytes.
    let named = pair.bytes[&kind::OFFER] + pair.bytes[&kind::TAKE];
    assert!(named < 20_000 * 4, "{named} bytes to offer and to take 20,000 records");
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

//! Members that keep to the protocol are never cut off, whatever their clocks and their order of speaking.

use super::harness::{Member, Pair};
use super::{NOW, pair_of, spread};
use crate::frame::kind;
use crate::{Event, RefusalReason};
use quar_base::time::UnixMillis;

fn tick(pair: &mut Pair, at: usize, now_ms: u64) {
    pair.members[at].now = UnixMillis(now_ms);
    pair.give(at, Event::Tick);
    pair.run();
}

#[test]
fn a_clock_that_is_set_back_charges_no_peer_with_too_many_greetings() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    pair.connect();
    pair.run();
    for step in 1..20 {
        tick(&mut pair, 0, NOW.0 + step * 10_000);
        tick(&mut pair, 1, NOW.0 + step * 10_000);
    }
    for step in 20..40 {
        tick(&mut pair, 0, NOW.0 + step * 10_000 - 3_600_000);
        tick(&mut pair, 1, NOW.0 + step * 10_000);
    }
    assert_eq!(pair.members[0].offences, []);
    assert!(pair.members[0].engine.peers().count() == 1);
}

#[test]
fn a_flight_of_a_round_that_was_given_up_is_not_taken_for_the_next_ones() {
    let mut pair = pair_of(spread(2000, |_| false), spread(2000, |n| n % 7 == 0));
    pair.connect();
    while pair.wire.front().is_none_or(|(to, kind, _)| (*to, *kind) != (0, kind::FLIGHT)) {
        let (to, kind, payload) = pair.wire.pop_front().unwrap();
        let peer = pair.members[1 - to].id;
        pair.give(to, Event::Frame { peer, kind, payload: &payload });
    }
    // The clock jumps: the round is given up, and another one begins upon the greeting there was.
    pair.members[0].previous = Some(pair.members[0].now.cutoff());
    pair.members[0].now.0 += 31_000;
    pair.give(0, Event::Tick);
    assert!(pair.wire.iter().any(|(to, kind, _)| (*to, *kind) == (1, kind::BUCKETS)));
    pair.run();
    for member in &pair.members {
        assert_eq!(member.offences, []);
    }
    assert_eq!(pair.members[0].keys(), pair.members[1].keys());
}

/// The members never agree, as the higher one does not take what it lacks.
fn never_agreeing() -> Pair {
    let mut pair = Pair::new(Member::new(1), Member::new(2));
    spread(10, |_| false).into_iter().for_each(|record| pair.members[0].add(record));
    pair.members[1].refuse = Some(|_| Some(RefusalReason::Other));
    pair
}

#[test]
fn rounds_upon_greetings_of_both_sides_are_none_too_many_in_any_order() {
    for orders in [[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1], [1, 0, 1, 0]] {
        let mut pair = never_agreeing();
        pair.connect();
        pair.run();
        for step in 0..20 {
            let two = &orders[step % 2 * 2..][..2];
            for at in two {
                tick(&mut pair, *at, NOW.0 + (step as u64 + 1) * 10_000);
            }
        }
        for member in &pair.members {
            assert_eq!(member.offences, [], "in the order {orders:?}");
        }
    }
}

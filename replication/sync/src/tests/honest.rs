//! Members that keep to the protocol are never cut off, whatever their clocks and their order of speaking.

use super::harness::{Member, Pair};
use super::{NOW, pair_of, spread};
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

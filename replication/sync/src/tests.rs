//! Members in memory that talk until nothing is left to say.

mod dictionaries;
mod frames;
mod harness;
mod honest;
mod hostile;
mod long;
mod lots;
mod refusals;
mod wants;

use crate::dictionaries::Dictionaries;
use crate::long::Assembly;
use crate::{Event, Item};
use harness::{Member, Pair, record};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::record::Record;
use quar_base::time::UnixMillis;
use std::collections::BTreeSet;

const DAY: u32 = 20_000;
/// The end of the day in which the tests' records lie.
const NOW: UnixMillis = UnixMillis((DAY as u64 + 1) * 86_400_000);

fn spread(count: u32, skip: impl Fn(u32) -> bool) -> Vec<Record> {
    let numbers = (0..count).filter(|number| !skip(*number));
    numbers.map(|n| record(Class::SPAM, DAY, n * (86_000 / count), &n.to_le_bytes())).collect()
}

fn pair_of(one: Vec<Record>, other: Vec<Record>) -> Pair {
    let mut pair = Pair::new(Member::new(1), Member::new(2));
    one.into_iter().for_each(|record| pair.members[0].add(record));
    other.into_iter().for_each(|record| pair.members[1].add(record));
    pair
}

#[test]
fn members_in_sync_say_hello_in_64_bytes_and_nothing_more() {
    let mut pair = pair_of(spread(3000, |_| false), spread(3000, |_| false));
    pair.connect();
    pair.run();
    assert_eq!(pair.bytes[&1], 2 * 63);
    assert!(pair.bytes[&1] / 2 <= 64);
    assert_eq!(pair.comparison_bytes(), 0);
    assert!(pair.members[0].engine.status(pair.members[1].id).in_sync);
}

#[test]
fn comparisons_are_counted_once_a_cutoff_with_the_bytes_both_ways() {
    let mut pair = pair_of(spread(3000, |_| false), spread(3000, |n| n == 7));
    pair.connect();
    pair.run();
    let seen = |pair: &Pair| {
        [0, 1].map(|n| pair.members[n].engine.status(pair.members[1 - n].id).comparisons)
    };
    let carried: usize = (1..=7).chain([14, 15]).filter_map(|kind| pair.bytes.get(&kind)).sum();
    for comparisons in seen(&pair) {
        assert_eq!((comparisons.made, comparisons.equal), (1, 0));
        assert_eq!(comparisons.bytes, carried as u64);
    }
    pair.tick();
    for comparisons in seen(&pair) {
        assert_eq!((comparisons.made, comparisons.equal), (2, 1));
    }
}

#[test]
fn an_hour_that_is_missing_costs_less_than_a_kilobyte_to_find() {
    for lacking in [0, 1] {
        let all = spread(20_000, |_| false);
        let some = spread(20_000, |n| (9_000..10_000).contains(&n));
        let mut pair = if lacking == 0 { pair_of(some, all) } else { pair_of(all, some) };
        pair.connect();
        pair.run();
        assert!(pair.agree());
        let bytes = pair.comparison_bytes();
        assert!(bytes <= 1000, "{bytes} bytes to find what member {lacking} lacks");
    }
}

#[test]
fn scattered_differences_cost_less_than_300_bytes_each() {
    let one = spread(20_000, |n| n % 400 == 7);
    let other = spread(20_000, |n| n % 400 == 9);
    let mut pair = pair_of(one, other);
    pair.connect();
    pair.run();
    assert!(pair.agree());
    let each = pair.comparison_bytes() / 100;
    assert!(each <= 300, "{each} bytes for each of 100");
}

#[test]
fn an_empty_member_gets_everything() {
    let mut pair = pair_of(Vec::new(), spread(5000, |_| false));
    pair.connect();
    pair.run();
    assert!(pair.agree());
}

#[test]
fn what_is_younger_than_the_cutoff_is_exchanged_at_connect() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    for number in 0..4u8 {
        let second = 86_399 + u32::from(number);
        let young = record(Class::SPAM, DAY, second, &[number]);
        pair.members[usize::from(number % 2)].add(young);
    }
    pair.connect();
    pair.run();
    assert!(pair.agree());
}

#[test]
fn old_and_young_records_that_are_missing_come_with_one_connection() {
    for lacking in [0, 1] {
        let mut all = spread(3000, |_| false);
        all.extend(
            (0..300u32).map(|n| record(Class::SPAM, DAY, 86_395 + n % 20, &n.to_le_bytes())),
        );
        let mut pair =
            if lacking == 0 { pair_of(Vec::new(), all) } else { pair_of(all, Vec::new()) };
        pair.connect();
        pair.run();
        assert!(pair.agree(), "member {lacking} lacks some");
    }
}

#[test]
fn a_cutoff_that_moves_during_the_greeting_leaves_no_gap() {
    let young = |n: u32| record(Class::SPAM, DAY, 86_391 + n % 9, &n.to_le_bytes());
    let mut pair = pair_of(Vec::new(), (0..50).map(young).collect());
    pair.connect();
    pair.members[1].now = UnixMillis(NOW.0 + 5_000);
    pair.run();
    assert!(pair.agree());
}

#[test]
fn a_committed_item_is_pushed_and_confirmed() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    pair.connect();
    pair.run();
    let pushed = record(Class::SPAM, DAY, 5, b"new");
    pair.members[0].add(pushed.clone());
    let item = Item::Record(pushed, None);
    let name = item.name();
    pair.give(0, Event::Committed(item));
    pair.run();
    assert!(pair.agree());
    assert!(pair.members[0].confirmed.contains(&name));
}

#[test]
fn a_newer_roster_reaches_the_peer() {
    let mut pair = pair_of(Vec::new(), Vec::new());
    pair.members[1].roster = (2, "roster 2".into());
    pair.connect();
    pair.run();
    assert_eq!(pair.members[0].adopted.as_deref(), Some("roster 2"));
    assert_eq!(pair.members[1].adopted, None);
}

#[test]
fn clocks_on_two_sides_of_a_step_still_compare() {
    let mut pair = pair_of(spread(500, |_| false), spread(500, |n| n == 77));
    pair.members[1].now = UnixMillis(NOW.0 + 10_000);
    pair.connect();
    pair.run();
    assert!(pair.agree());
}

fn any_records(numbers: Vec<(u8, u32, u32)>) -> Vec<Record> {
    let make = |(class, day, second): (u8, u32, u32)| {
        let day = DAY - day % 200;
        let text = [second.to_le_bytes(), day.to_le_bytes()].concat();
        record(Class(class % 3 + 1), day, second % 86_000, &text)
    };
    numbers.into_iter().map(make).collect()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]

    #[test]
    fn any_two_sets_become_their_union(
        one in proptest::collection::vec(any::<(u8, u32, u32)>(), 0..300),
        other in proptest::collection::vec(any::<(u8, u32, u32)>(), 0..300),
        common in proptest::collection::vec(any::<(u8, u32, u32)>(), 0..300),
        cut_after in proptest::option::of(1usize..40),
    ) {
        let with_common = |own: Vec<_>| {
            let mut all = any_records(common.clone());
            all.extend(any_records(own));
            all
        };
        let mut pair = pair_of(with_common(one), with_common(other));
        let union: BTreeSet<_> = pair.members[0].keys().union(&pair.members[1].keys()).copied().collect();
        pair.cut_after = cut_after;
        pair.connect();
        pair.run();
        for _ in 0..3 {
            pair.tick();
        }
        prop_assert_eq!(pair.members[0].keys(), union);
        prop_assert!(pair.agree());
        prop_assert!(pair.members.iter().all(|member| member.offences.is_empty()));
    }

    #[test]
    fn no_bytes_make_it_panic(kind: u8, payload: Vec<u8>, at: usize, flip: u8) {
        let mut pair = pair_of(spread(200, |_| false), spread(200, |n| n % 9 == 0));
        pair.connect();
        let peer = pair.members[1].id;
        // A damaged frame of a real exchange, then anything at all.
        let frames: Vec<_> = pair.wire.iter().filter(|(to, ..)| *to == 0).cloned().collect();
        for (_, real_kind, mut real) in frames {
            if !real.is_empty() {
                let at = at % real.len();
                real[at] ^= flip;
            }
            pair.give(0, Event::Frame { peer, kind: real_kind, payload: &real });
        }
        pair.give(0, Event::Frame { peer, kind, payload: &payload });
    }

    #[test]
    fn body_ids_are_not_sent_with_their_records(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
        let arrival = record(Class::SPAM, DAY, 5, b"names its body");
        let id = BodyId([7; 32]);
        let bytes = bytes.into();
        let body = crate::CodedBody { id, raw_bytes: 9, codec: 1, dictionary: None, bytes };
        let item = Item::Record(arrival.clone(), Some(body.clone()));
        let frame = crate::batch::encode_batch(1, &[item]);
        let (mut assembly, known) = (Assembly::default(), Dictionaries::default());
        let (sequence, items) = crate::batch::decode_batch(&frame, &mut assembly, &known).unwrap();
        prop_assert_eq!(sequence, 1);
        let expected = crate::CodedBody { id: BodyId::default(), ..body };
        prop_assert_eq!(items, vec![Item::Record(arrival, Some(expected))]);
    }
}

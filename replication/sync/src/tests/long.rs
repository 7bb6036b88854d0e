//! Long bodies: part by part, with everything else in between, and never longer than a message.

use super::harness::{Member, Pair, record};
use super::{DAY, pair_of};
use crate::frame::{AckFrame, PartFrame, kind};
use crate::long::Assembly;
use crate::{CodedBody, Engine, Event, Item, Offence, RefusalReason, batch, limits};
use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::time::Day;

const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
const PART: usize = limits::PART_BYTES;

fn coded(number: u8, length: usize) -> CodedBody {
    let bytes = (0..length).map(|at| (at / 1000) as u8 ^ number).collect::<Vec<_>>();
    CodedBody {
        id: BodyId([number; 32]),
        raw_bytes: 7,
        codec: 1,
        dictionary: None,
        bytes: bytes.into(),
    }
}

fn with_body(number: u8, length: usize) -> Item {
    let record = record(Class::SPAM, DAY, u32::from(number), &[number; 9]);
    Item::Record(record, Some(CodedBody { id: BodyId::default(), ..coded(number, length) }))
}

fn small(number: u8) -> Item {
    Item::Record(record(Class::SPAM, DAY, 900, &[number; 9]), None)
}

/// Two members that know of each other and have nothing to say.
fn connected() -> Pair {
    let mut pair = pair_of(Vec::new(), Vec::new());
    // The push budget is there for more than one long body.
    for member in &mut pair.members {
        member.engine = Engine::new(member.id, 1 << 30);
    }
    pair.connect();
    pair.run();
    pair
}

/// Kinds of the frames that wait on the wire.
fn kinds(pair: &Pair) -> Vec<u8> {
    pair.wire.iter().map(|(_, kind, _)| *kind).collect()
}

/// Carries the frames that wait now, and leaves the answers.
fn carry(pair: &mut Pair) {
    for (to, kind, payload) in std::mem::take(&mut pair.wire) {
        let peer = pair.members[1 - to].id;
        pair.give(to, Event::Frame { peer, kind, payload: &payload });
    }
}

#[test]
fn a_long_body_has_a_few_parts_on_their_way_and_fresh_items_go_between() {
    const FEW: usize = limits::PARTS_OUTSTANDING;
    let mut pair = connected();
    let long = with_body(1, 3 * FEW * PART + 1);
    pair.give(0, Event::Committed(long.clone()));
    for number in 0..3 {
        assert_eq!(kinds(&pair), [kind::BODY_PART; FEW], "a few parts at a time");
        pair.give(0, Event::Committed(small(number)));
        assert_eq!(kinds(&pair), [&[kind::BODY_PART; FEW][..], &[kind::BATCH]].concat());
        carry(&mut pair);
        assert_eq!(pair.members[1].came_with, [], "the body is not whole");
        assert_eq!(pair.members[1].records.len(), usize::from(number) + 1);
        assert_eq!(kinds(&pair), [kind::ACK; FEW + 1]);
        carry(&mut pair);
    }
    assert_eq!(kinds(&pair), [kind::BODY_PART, kind::BATCH], "the last part, and the record");
    pair.run();
    let Item::Record(_, Some(body)) = &long else { unreachable!() };
    assert_eq!(pair.members[1].came_with, std::slice::from_ref(body));
    assert!(pair.members[0].confirmed.contains(&long.name()));
    assert_eq!(pair.members[0].engine.status(pair.members[1].id).queued_bytes, 0);
}

#[test]
fn long_bodies_come_whole_whatever_way_they_go() {
    let mut pair = connected();
    for number in 0..6 {
        let length = [PART, PART + 1, 2 * PART, 3 * PART - 1, 20 * PART, 100][usize::from(number)];
        pair.give(0, Event::Committed(with_body(number, length)));
        let wanted = coded(100 + number, length);
        pair.members[1].wanted.insert((BUCKET, wanted.id));
        pair.members[0].bodies.insert((BUCKET, wanted.id), wanted);
    }
    pair.tick();
    assert_eq!(pair.members[1].bodies, pair.members[0].bodies);
    assert_eq!(pair.members[1].came_with.len(), 6);
    for body in &pair.members[1].came_with {
        let number = body.bytes[0];
        assert_eq!(body.bytes, coded(number, body.bytes.len()).bytes);
    }
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
    assert_eq!(pair.members[0].engine.status(pair.members[1].id).queued_bytes, 0);
}

#[test]
fn a_long_body_is_not_begun_before_the_peer_has_decided_on_the_one_before() {
    let mut pair = connected();
    pair.give(0, Event::Committed(with_body(1, 2 * PART)));
    pair.give(0, Event::Committed(with_body(2, 2 * PART)));
    let peer = pair.members[1].id;
    let mut told = vec![kinds(&pair).len()];
    for sequence in 1..=3 {
        let payload = AckFrame { sequence, refused: Vec::new() }.encode();
        pair.give(0, Event::Frame { peer, kind: kind::ACK, payload: &payload });
        told.push(kinds(&pair).len());
    }
    assert_eq!(told, [3, 3, 3, 6], "two parts and a batch, and once that is decided the next");
}

#[test]
fn nothing_more_is_read_while_many_long_bodies_that_were_read_wait() {
    let mut pair = connected();
    let bytes: std::sync::Arc<[u8]> = vec![0; PART + 1].into();
    for number in 0..=limits::LOAD_ITEMS {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let body = CodedBody {
            id: BodyId(id),
            raw_bytes: 1,
            codec: 0,
            dictionary: None,
            bytes: bytes.clone(),
        };
        pair.members[0].bodies.insert((BUCKET, body.id), body);
    }
    pair.members[1].wanted = pair.members[0].bodies.keys().copied().collect();
    pair.give(1, Event::Tick);
    carry(&mut pair);
    assert_eq!(pair.members[0].loads, 1);
    pair.run();
    assert_eq!(pair.members[0].loads, 2);
    assert_eq!(pair.members[1].bodies, pair.members[0].bodies);
}

#[test]
fn other_bodies_are_read_and_sent_while_a_long_one_waits() {
    let mut pair = connected();
    pair.give(0, Event::Committed(with_body(1, 9 * PART)));
    for number in 0..=limits::LOAD_ITEMS {
        let mut body = coded(7, if number == 0 { 2 * PART } else { 100 });
        body.id.0[..8].copy_from_slice(&number.to_be_bytes());
        pair.members[0].bodies.insert((BUCKET, body.id), body);
    }
    pair.members[1].wanted = pair.members[0].bodies.keys().copied().collect();
    pair.give(1, Event::Tick);
    carry(&mut pair);
    // The long one of them waits behind the fresh one, and the last of the others is read all the same.
    assert_eq!(pair.members[0].loads, 2);
    carry(&mut pair);
    assert_eq!(pair.members[1].bodies.len(), limits::LOAD_ITEMS);
    pair.run();
    assert_eq!(pair.members[1].bodies, pair.members[0].bodies);
}

#[test]
fn a_connection_that_ends_within_a_long_body_leaves_nothing_behind() {
    let mut pair = connected();
    pair.give(0, Event::Committed(with_body(1, 5 * PART)));
    carry(&mut pair);
    carry(&mut pair);
    pair.connect();
    pair.run();
    pair.give(0, Event::Committed(with_body(2, 3 * PART)));
    pair.run();
    assert_eq!(pair.members[1].came_with.len(), 1);
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
}

#[test]
fn a_full_peer_gets_the_rest_of_what_was_begun_and_nothing_that_was_not() {
    let mut pair = connected();
    pair.members[1].refuse = Some(|item| item.is_mail().then_some(RefusalReason::Full));
    pair.give(0, Event::Committed(with_body(1, 3 * PART)));
    pair.give(0, Event::Committed(with_body(2, 3 * PART)));
    pair.give(0, Event::Committed(Item::Record(record(Class::SPAM, DAY, 1, b"small"), None)));
    pair.run();
    assert_eq!(pair.members[1].offered, 2, "the small one and the one that was begun");
    assert_eq!(pair.members[0].engine.status(pair.members[1].id).queued_bytes, 0);
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
    pair.members[1].refuse = None;
    pair.tick();
    pair.give(0, Event::Committed(with_body(3, 3 * PART)));
    pair.run();
    assert_eq!(pair.members[1].came_with.len(), 1);
}

fn part(sequence: u64, left: usize) -> (u8, Vec<u8>) {
    let bytes = vec![1; left.min(PART)];
    (kind::BODY_PART, PartFrame { sequence, left, bytes }.encode())
}

fn batch_of(sequence: u64, items: &[Item]) -> (u8, Vec<u8>) {
    (kind::BATCH, batch::encode_batch(sequence, items))
}

/// What member 0 finds wrong with a peer that sends these.
fn offences(frames: &[(u8, Vec<u8>)]) -> Vec<Offence> {
    let mut pair = connected();
    let peer = pair.members[1].id;
    for (kind, payload) in frames {
        pair.give(0, Event::Frame { peer, kind: *kind, payload });
    }
    pair.members[0].offences.clone()
}

#[test]
fn parts_that_do_not_make_a_body_end_the_connection() {
    let two = 2 * PART;
    let body = with_body(1, two);
    let right = [part(1, two), part(2, PART), batch_of(3, std::slice::from_ref(&body))];
    assert_eq!(offences(&right), []);
    let cases = [
        ("longer than a message", vec![part(1, MESSAGE_BYTES_MAX + 1)], Offence::Malformed),
        ("not long", vec![part(1, PART)], Offence::Malformed),
        ("more than said", vec![part(1, two), part(2, two)], Offence::OutOfTurn),
        ("less than said", vec![part(1, two), part(2, PART - 1)], Offence::OutOfTurn),
        ("not numbered", vec![part(2, two)], Offence::OutOfTurn),
        ("goes on", vec![part(1, two), part(2, PART), part(3, two)], Offence::OutOfTurn),
        (
            "not whole",
            vec![part(1, two), batch_of(2, std::slice::from_ref(&body))],
            Offence::Malformed,
        ),
        (
            "another length",
            vec![part(1, two), part(2, PART), batch_of(3, &[with_body(1, two + 1)])],
            Offence::Malformed,
        ),
        (
            "one body for two",
            vec![part(1, two), part(2, PART), batch_of(3, &[body.clone(), body])],
            Offence::Malformed,
        ),
    ];
    for (name, frames, offence) in cases {
        assert_eq!(offences(&frames), [offence], "{name}");
    }
}

#[test]
fn a_body_is_not_begun_while_the_one_before_is_undecided() {
    let two = 2 * PART;
    let mut assembly = Assembly::default();
    let take = |assembly: &mut Assembly, left: usize| {
        assembly.add(&PartFrame { sequence: 1, left, bytes: vec![0; left.min(PART)] })
    };
    take(&mut assembly, two).unwrap();
    take(&mut assembly, PART).unwrap();
    assert_eq!(assembly.finish(3, two).unwrap().len(), two);
    assert_eq!(take(&mut assembly, two), Err(Offence::OutOfTurn));
    assembly.decided(2);
    assert_eq!(take(&mut assembly, two), Err(Offence::OutOfTurn));
    assembly.decided(3);
    assert_eq!(take(&mut assembly, two), Ok(()));
}

#[test]
fn more_bytes_than_the_window_without_an_outcome_end_the_connection() {
    let mut pair = connected();
    let peer = pair.members[1].id;
    let member: &mut Member = &mut pair.members[0];
    let mut engine = std::mem::replace(&mut member.engine, Engine::new(member.id, 0));
    let mut effects = Vec::new();
    let mut sent = 0;
    for sequence in 1.. {
        // Nothing is flushed or decided: the offers stay effects.
        let (kind, payload) = batch_of(sequence, &[with_body(sequence as u8, 500_000)]);
        sent += payload.len();
        engine.handle(Event::Frame { peer, kind, payload: &payload }, &member.view(), &mut effects);
        if engine.peers().count() == 0 {
            break;
        }
    }
    assert!(sent > limits::UNDECIDED_BYTES && sent < limits::UNDECIDED_BYTES + 600_000, "{sent}");
}

#[test]
fn batches_fit_a_frame_whatever_is_in_them() {
    let mut pair = connected();
    for number in 0..40 {
        let record = record(Class::SPAM, DAY, u32::from(number), &vec![number; 262_000]);
        let body = CodedBody { id: BodyId::default(), ..coded(number, PART) };
        pair.give(0, Event::Committed(small(number)));
        pair.give(0, Event::Committed(Item::Record(record, Some(body))));
    }
    while !pair.wire.is_empty() {
        let longest = pair.wire.iter().map(|(_, _, payload)| payload.len()).max().unwrap();
        assert!(longest <= quar_base::limits::FRAME_BYTES_MAX, "{longest}");
        carry(&mut pair);
    }
    assert_eq!(pair.members[1].came_with.len(), 40);
}

//! What must hold of any bytes that a peer sends: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.
//!
//! Every frame has one form: a payload is refused, or the value it gives encodes to that very
//! payload, within the limits of docs/formats.md. A whole conversation is in [`session`].

mod session;

use crate::batch::{decode_batch, encode_batch};
use crate::codec::Malformed;
use crate::dictionaries::Dictionaries;
use crate::frame::{
    AckFrame, BucketsFrame, FlightFrame, FloorsFrame, FreshFrame, Hello, Lot, PartFrame, TakeFrame,
    Told, decode_bodies, decode_offer, decode_roster, decode_want_keys, encode_bodies,
    encode_offers, encode_roster, encode_want_keys,
};
use crate::limits;
use crate::long::Assembly;
use crate::{Dictionary, Item, Offence};
use quar_base::class::Class;
use quar_base::ids::MemberId;
use quar_base::key::Bucket;
use quar_base::limits::{
    DICTIONARY_BYTES_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, ROSTER_BYTES_MAX,
};
use quar_base::record::{Head, Kind, Record};
use quar_base::time::Day;
use std::fmt::Debug;

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("frame_hello", hello),
    ("frame_floors", floors),
    ("frame_roster", roster),
    ("frame_buckets", buckets),
    ("frame_flight", flight),
    ("frame_want_keys", want_keys),
    ("frame_fresh", fresh),
    ("frame_lots", lots),
    ("frame_batch", batch),
    ("frame_ack", ack),
    ("frame_bodies", bodies),
    ("frame_part", part),
    ("frame_dictionary", dictionary),
    ("long_body", long_body),
    ("session", session),
];

/// Decodes; what comes out must encode to what went in.
fn round<T: Debug + PartialEq>(
    input: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(input).ok()?;
    assert_eq!(encode(&value), input, "{value:?} has one form");
    Some(value)
}

/// A greeting.
pub fn hello(input: &[u8]) {
    match Hello::decode(input) {
        Ok(Some(hello)) => assert_eq!(hello.encode(), input),
        Ok(None) => assert_ne!(input[0], crate::frame::VERSION),
        Err(Malformed) => {}
    }
}

/// Floors and the roster's epoch.
pub fn floors(input: &[u8]) {
    let Some(frame) = round(input, FloorsFrame::decode, FloorsFrame::encode) else { return };
    assert!(frame.floors.len() <= 256);
    assert!(frame.floors.iter().all(|(_, day)| day.is_representable()));
}

/// A roster's signed text.
pub fn roster(input: &[u8]) {
    let Some(text) =
        round(input, |input| decode_roster(input).map(str::to_owned), |text| encode_roster(text))
    else {
        return;
    };
    assert!(text.len() <= ROSTER_BYTES_MAX);
}

/// What buckets the initiator of a round has.
pub fn buckets(input: &[u8]) {
    let Some(frame) = round(input, BucketsFrame::decode, BucketsFrame::encode) else { return };
    assert!(5 * (frame.days.len() + frame.months.len()) <= input.len());
}

/// A flight, or a part of one.
pub fn flight(input: &[u8]) {
    let encode = |frame: &FlightFrame| frame.encode();
    let Some(frame) = round(input, FlightFrame::decode, encode) else { return };
    for told in frame.told {
        match told {
            Told::Days(_, days) => assert!(days.len() <= 31),
            Told::Leaf(_, _, shorts) => assert!(shorts.len() <= limits::WANT_KEYS),
            Told::Page(_, prefix, at, children) => {
                assert!(prefix.covers(&at) && children.len() <= 16);
                assert!(children.iter().all(|(nibble, _)| at.child(*nibble).is_some()));
            }
            Told::Empty(..) => {}
        }
    }
}

/// Keys that are asked for.
pub fn want_keys(input: &[u8]) {
    let encode = |wants: &Vec<_>| encode_want_keys(wants);
    let Some(wants) = round(input, decode_want_keys, encode) else { return };
    assert!(wants.iter().all(|want| want.shorts.len() <= limits::WANT_KEYS));
}

/// What is younger than the cutoff.
pub fn fresh(input: &[u8]) {
    let Some(frame) = round(input, FreshFrame::decode, FreshFrame::encode) else { return };
    assert!(frame.shorts.len() <= limits::FRESH);
}

/// Lots that are offered, and one that is taken.
pub fn lots(input: &[u8]) {
    let check = |lot: &Lot| match lot {
        Lot::Span(_, from, to, count) => {
            assert!(from <= to && (1..=limits::LOT_KEYS).contains(count));
        }
        Lot::Names(_, names) => {
            assert!((1..=limits::LOT_NAMES).contains(&names.len()));
            assert!(names.is_sorted_by(|one, next| one < next));
        }
    };
    if let Some(taken) = round(input, TakeFrame::decode, TakeFrame::encode) {
        check(&taken.lot);
    }
    if let Ok(offered) = decode_offer(input) {
        offered.iter().for_each(check);
        let again = encode_offers(&offered);
        assert!(again.iter().all(|frame| frame.len() <= FRAME_BYTES_MAX));
        let decoded = again.iter().flat_map(|frame| decode_offer(frame).expect("it was encoded"));
        assert!(decoded.eq(offered), "offers have one form");
    }
}

/// An acknowledgement.
pub fn ack(input: &[u8]) {
    let Some(frame) = round(input, AckFrame::decode, AckFrame::encode) else { return };
    assert!(frame.refused.is_sorted_by(|(one, _), (next, _)| one < next));
}

/// Bodies that are asked for, or not there.
pub fn bodies(input: &[u8]) {
    let encode = |bodies: &Vec<_>| encode_bodies(bodies);
    let Some(bodies) = round(input, decode_bodies, encode) else { return };
    assert!(bodies.len() <= limits::WANT_BODIES);
}

/// Part of a long body.
pub fn part(input: &[u8]) {
    let Some(part) = round(input, PartFrame::decode, PartFrame::encode) else { return };
    assert!(part.left <= MESSAGE_BYTES_MAX);
    assert_eq!(part.bytes.len(), part.left.min(limits::PART_BYTES));
}

/// A dictionary.
pub fn dictionary(input: &[u8]) {
    let Some(frame) = round(input, Dictionary::decode, Dictionary::encode) else { return };
    assert!(frame.bytes.len() <= DICTIONARY_BYTES_MAX);
}

/// A batch of any bytes, after a long body and a dictionary came in; and one of made-up records.
pub fn batch(input: &[u8]) {
    let known = || {
        let mut known = Dictionaries::default();
        known.add(Dictionary { id: [7; 16], generation: 1, bytes: b"words"[..].into() });
        known
    };
    check_batch(input, &mut gathered(), &known());
    // Nobody guesses a record's check.
    let mut items = Vec::new();
    for piece in input.split(|byte| *byte == b'\n').filter(|piece| piece.len() > 3) {
        let head = Head {
            kind: Kind::ARRIVAL,
            bucket: Bucket { class: Class(piece[0]), day: Day(piece[1].into()) },
            second: piece[2].into(),
            author: MemberId([1; 16]),
            action: None,
        };
        items.extend(Record::unsigned(head, &piece[3..]).map(|record| Item::Record(record, None)));
    }
    let payload = encode_batch(input.len() as u64, &items);
    let found = check_batch(&payload, &mut Assembly::default(), &known());
    assert_eq!(found, (items.len() <= limits::BATCH_ITEMS).then_some(items));
    let mut longer = payload;
    longer.extend_from_slice(input);
    check_batch(&longer, &mut gathered(), &known());
}

const LONG_BYTES: usize = limits::PART_BYTES + 5;

/// A long body that has come in.
fn gathered() -> Assembly {
    let mut assembly = Assembly::default();
    for (sequence, left, bytes) in [(1, LONG_BYTES, limits::PART_BYTES), (2, 5, 5)] {
        let part = PartFrame { sequence, left, bytes: vec![0; bytes] };
        assembly.add(&part).expect("parts in order are taken");
    }
    assembly
}

fn check_batch(input: &[u8], assembly: &mut Assembly, known: &Dictionaries) -> Option<Vec<Item>> {
    let (sequence, items) = decode_batch(input, assembly, known).ok()?;
    assert!(items.len() <= limits::BATCH_ITEMS);
    for body in items.iter().filter_map(Item::body) {
        assert!(body.bytes.len() <= MESSAGE_BYTES_MAX);
        assert!(body.raw_bytes as usize <= MESSAGE_BYTES_MAX);
    }
    assert_eq!(encode_batch(sequence, &items), input, "a batch has one form");
    Some(items)
}

/// Parts of long bodies, and batches between them: three bytes each.
pub fn long_body(input: &[u8]) {
    let mut assembly = Assembly::default();
    let mut held = 0;
    for [what, low, high] in input.as_chunks::<3>().0.iter().take(200) {
        let number = usize::from(u16::from_le_bytes([*low, *high]));
        match what % 4 {
            // A part of a body of so many bytes, or kilobytes: what is longer than a message does not
            // decode.
            0 | 1 => {
                let left = number << (10 * (what % 4));
                if left == 0 || left > MESSAGE_BYTES_MAX {
                    continue;
                }
                let bytes = vec![*what; left.min(limits::PART_BYTES)];
                let sent = bytes.len();
                match assembly.add(&PartFrame { sequence: 1, left, bytes }) {
                    Ok(()) => held += sent,
                    Err(offence) => {
                        return assert!(
                            [Offence::Malformed, Offence::OutOfTurn].contains(&offence)
                        );
                    }
                }
            }
            2 => match assembly.finish(number as u64, held) {
                Ok(body) => assert_eq!(body.len(), std::mem::take(&mut held)),
                Err(Malformed) => return,
            },
            _ => assembly.decided(number as u64),
        }
        assert!(held <= MESSAGE_BYTES_MAX, "one body at a time, and none longer than a message");
    }
}

/// A connection: frames of any kinds and bytes, ticks, and outcomes.
pub fn session(input: &[u8]) {
    session::run(input);
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;

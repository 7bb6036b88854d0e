//! Holds as bytes: what this version writes, and what one that knows no holds reads.

use super::{Hold, HoldFormError, MARK};
use crate::action::Action;
use crate::arrival::{Arrival, Envelope, Headers};
use crate::class::Class;
use crate::coverage::RecipientSet;
use crate::ids::{KeyId, MemberId, RecordId};
use crate::key::{Bucket, MessageId, RecordKey};
use crate::limits::{HOLD_ACTIONS_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::{ActionHead, Head, Kind, Record};
use crate::signing::Signature;
use crate::time::Day;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

const ORIGINAL: MessageId = MessageId {
    bucket: Bucket { class: Class::SPAM, day: Day(20_780) },
    key: RecordKey { second: 29_712, id: RecordId([7; 32]) },
};

fn arrival() -> Arrival {
    Arrival {
        node_number: 7,
        body_id: [1; 32],
        body_bytes: 5216,
        envelope: Envelope {
            sender: "a@example.org".into(),
            recipients: vec!["b@example.net".into(), "c@example.net".into()],
            queue_id: "1abcDE-0001xy-2Z".into(),
            ..Envelope::default()
        },
        headers: Headers { subject: "Gr\u{fc}\u{df}e".into(), ..Headers::default() },
        score_milli: 15_300,
        reason: "BAYES_99".into(),
    }
}

fn action(second: u32, kind: Kind, payload: &[u8]) -> Record {
    let message = ORIGINAL.key;
    let head = Head {
        kind,
        bucket: ORIGINAL.bucket,
        second,
        author: MemberId([1; 16]),
        action: Some(ActionHead { key_id: KeyId([2; 8]), message }),
    };
    Record::signed(head, payload, |_| Signature([4; 64])).unwrap()
}

fn deleted(second: u32) -> Record {
    let payload = Action::Deleted(RecipientSet::of(2, &[0]).unwrap()).encode().unwrap();
    action(second, Kind::DELETED, &payload)
}

fn held(class: Class, payload: &[u8]) -> Record {
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: Bucket { class, ..ORIGINAL.bucket },
        second: ORIGINAL.key.second,
        author: MemberId([1; 16]),
        action: None,
    };
    Record::unsigned(head, payload).unwrap()
}

#[test]
fn golden_bytes_of_a_hold() {
    let hold = Hold::new(ORIGINAL, &arrival(), vec![deleted(30_000)]).unwrap();
    let hold = Hold { round: 0x0102, actions_left_out: 0x0a0b_0c0d, ..hold };
    let payload = hold.encode(&arrival()).unwrap();
    let root = &payload[payload.len() - 205..payload.len() - 142];
    // The vector of actions lies at the start; behind it stand the fields and the mark.
    assert_eq!(root[4..8], 1u32.to_le_bytes());
    let fields = data_encoding::HEXLOWER.encode(&root[8..]);
    let key = format!("00007410{}", "07".repeat(32));
    assert_eq!(fields, format!("0d0c0b0a020101{}{key}51484f4c44000001", "2c510000"));
    let digest = blake3::hash(&payload).to_hex().to_string();
    assert_eq!(digest, "2252d9cda5856f9e7f78a586d9b2bee0eb3afb5ec2f721d4c9d92a8c556c8626");
}

#[test]
fn whoever_knows_no_holds_reads_the_arrival() {
    let hold = Hold::new(ORIGINAL, &arrival(), vec![deleted(30_000), deleted(30_001)]).unwrap();
    let payload = hold.encode(&arrival()).unwrap();
    assert_eq!(Arrival::decode(&payload), Ok(arrival()));
    assert!(
        payload.ends_with(&arrival().encode().unwrap()[arrival().encode().unwrap().len() - 2..])
    );
}

#[test]
fn reads_back_what_was_written() {
    let actions = vec![deleted(30_001), action(29_800, Kind(4711), b"later"), deleted(30_001)];
    let hold = Hold::new(ORIGINAL, &arrival(), actions).unwrap();
    assert_eq!(hold.actions.iter().map(|a| a.key().second).collect::<Vec<_>>(), [29_800, 30_001]);
    let record = held(Class::HELD, &hold.encode(&arrival()).unwrap());
    assert_eq!(Hold::decode(&record), Ok(Some(hold)));
}

#[test]
fn a_plain_arrival_and_one_of_another_class_hold_nothing() {
    assert_eq!(Hold::decode(&held(Class::HELD, &arrival().encode().unwrap())), Ok(None));
    let hold = Hold::new(ORIGINAL, &arrival(), Vec::new()).unwrap();
    let record = held(Class::SPAM, &hold.encode(&arrival()).unwrap());
    assert_eq!(Hold::decode(&record), Ok(None));
    // A mark at the end of what a stranger wrote makes no hold.
    let mut forged = arrival();
    forged.reason = format!("behind this {}", std::str::from_utf8(&MARK).unwrap());
    let record = held(Class::HELD, &forged.encode().unwrap());
    assert_eq!(Hold::decode(&record), Err(HoldFormError::Archive));
    assert_eq!(Arrival::decode(record.payload()), Ok(forged));
}

#[test]
fn refuses_actions_of_another_message() {
    let hold = Hold::new(ORIGINAL, &arrival(), vec![deleted(1)]).unwrap();
    let other = RecordKey { second: 0, ..ORIGINAL.key };
    let hold = Hold { original: MessageId { key: other, ..ORIGINAL }, ..hold };
    let record = held(Class::HELD, &hold.encode(&arrival()).unwrap());
    assert_eq!(Hold::decode(&record), Err(HoldFormError::Action));
}

#[test]
fn refuses_actions_out_of_order_twice_or_beyond_their_bytes() {
    let long = |second| action(second, Kind(4711), &[second as u8; 20_000]);
    let of = |actions| Hold { original: ORIGINAL, round: 0, actions, actions_left_out: 0 };
    let decoded = |hold: &Hold| Hold::decode(&held(Class::HELD, &hold.encode(&arrival()).unwrap()));
    let good = of(vec![deleted(1), long(2), long(3)]);
    assert_eq!(decoded(&good), Ok(Some(good)));
    let over = (1..=4).map(long).collect();
    for bad in [vec![deleted(2), deleted(1)], vec![deleted(1), deleted(1)], over] {
        assert_eq!(decoded(&of(bad)), Err(HoldFormError::Actions));
    }
}

#[test]
fn the_latest_actions_are_taken_along_as_far_as_there_is_room() {
    let long = |second| action(second, Kind(4711), &[second as u8; 20_000]);
    let hold = Hold::new(ORIGINAL, &arrival(), (0..10).map(long).collect()).unwrap();
    assert_eq!(hold.actions.iter().map(|a| a.key().second).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(hold.actions_left_out, 7);
    let mut wide = arrival();
    wide.envelope.recipients = (0..248).map(|n| format!("{n:>01016}@example")).collect();
    let hold = Hold::new(ORIGINAL, &wide, (0..10).map(|n| action(n, Kind(9), &[0; 900])).collect());
    let payload = hold.unwrap().encode(&wide).unwrap();
    assert!(held(Class::HELD, &payload).bytes().len() > RECORD_BYTES_MAX - 2000);
    const { assert!(HOLD_ACTIONS_BYTES_MAX < RECORD_BYTES_MAX) };
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at: usize, value: u8, cut: usize) {
        let hold = Hold::new(ORIGINAL, &arrival(), vec![deleted(30_000)]).unwrap();
        let payload = hold.encode(&arrival()).unwrap();
        let mut damaged = payload.clone();
        damaged[at % payload.len()] = value;
        let _ = Hold::decode(&held(Class::HELD, &damaged));
        let _ = Hold::decode(&held(Class::HELD, &payload[cut % payload.len()..]));
    }

    #[test]
    fn every_arrival_is_held_with_all_that_it_says(
        sender in ".{0,80}",
        recipients in proptest::collection::vec(".{0,20}", 0..20),
        actions in 0u32..5,
        round: u16,
    ) {
        let mut arrival = arrival();
        arrival.envelope.sender = sender;
        arrival.envelope.recipients = recipients;
        let hold = Hold::new(ORIGINAL, &arrival, (0..actions).map(deleted).collect()).unwrap();
        let hold = Hold { round, ..hold };
        let record = held(Class::HELD, &hold.encode(&arrival).unwrap());
        prop_assert_eq!(Arrival::decode(record.payload()), Ok(arrival));
        prop_assert_eq!(Hold::decode(&record), Ok(Some(hold)));
        prop_assert!(record.bytes().len() < RECORD_BYTES_MAX);
    }
}

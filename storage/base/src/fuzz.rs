//! What must hold of any bytes that are handed to this crate's decoders: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.
//!
//! A decoder refuses or gives a value. A value keeps the limits of docs/formats.md, and encoding it
//! gives what it was decoded from, or, where bytes have more than one form, something that decodes
//! to the same value.

use crate::action::{Action, Delivery};
use crate::arrival::Arrival;
use crate::class::Class;
use crate::hold::Hold;
use crate::ids::{BodyId, KeyId, MemberId, RecordId};
use crate::key::{Bucket, MessageId, RecordKey};
use crate::limits::{
    FIELD_BYTES_MAX, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, RECIPIENTS_MAX, RECORD_BYTES_MAX,
};
use crate::record::{ActionHead, Head, Kind, Record};
use crate::signing::Signature;
use crate::time::{DAY_SECONDS, Day};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("record", record),
    ("arrival", arrival),
    ("action", action),
    ("hold", hold),
    ("roster", roster),
    ("names", names),
];

const CHECK_BYTES: usize = 4;
const MESSAGE: MessageId = MessageId {
    bucket: Bucket { class: Class::SPAM, day: Day(20_780) },
    key: RecordKey { second: 7, id: RecordId([5; 32]) },
};

/// The record envelope: the bytes as they are, and with the check bytes that they should have.
pub fn record(input: &[u8]) {
    let mut bytes = input.to_vec();
    check_record(bytes.clone());
    if let Some(end) = bytes.len().checked_sub(CHECK_BYTES) {
        let check = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        check_record(bytes);
    }
}

fn check_record(bytes: Vec<u8>) {
    let length = bytes.len();
    let Ok(record) = Record::parse(bytes.clone()) else { return };
    assert!(length <= RECORD_BYTES_MAX);
    assert_eq!(record.bytes(), bytes);
    let head = *record.head();
    assert!(head.bucket.day.is_representable());
    assert_eq!(head.action.is_none(), head.kind == Kind::ARRIVAL);
    let again = match record.signature() {
        None => Record::unsigned(head, record.payload()),
        Some((signature, text)) => Record::signed(head, record.payload(), |signed| {
            assert_eq!(signed, text);
            signature
        }),
    };
    assert_eq!(again, Ok(record.clone()), "the envelope has one form");
    let message = record.message();
    if u64::from(message.key.second) < DAY_SECONDS {
        assert_eq!(message.to_string().parse(), Ok(message));
    }
    let _ = (Action::decode(&record), Hold::decode(&record), format!("{record:?}"));
}

/// The payload of an arrival.
pub fn arrival(input: &[u8]) {
    let Ok(arrival) = Arrival::decode(input) else { return };
    check_arrival(&arrival);
    let encoded = arrival.encode().expect("what was decoded is within the limits");
    assert_eq!(Arrival::decode(&encoded), Ok(arrival));
}

fn check_arrival(arrival: &Arrival) {
    let Arrival { envelope, headers, reason, .. } = arrival;
    assert!(arrival.body_bytes <= MESSAGE_BYTES_MAX as u64);
    assert!((1..=RECIPIENTS_MAX).contains(&arrival.recipient_count()));
    let fields = [
        &envelope.sender,
        &envelope.client_address,
        &envelope.helo,
        &envelope.queue_id,
        &envelope.spool_path,
        reason,
    ];
    let mut fields = fields.into_iter().chain(&envelope.recipients);
    assert!(fields.all(|field| field.len() <= FIELD_BYTES_MAX));
    let shown = [&headers.from, &headers.to, &headers.subject, &headers.date, &headers.message_id];
    assert!(shown.iter().all(|field| field.len() <= HEADER_BYTES_MAX));
}

/// The payload of an action: its kind stands in the first two bytes.
pub fn action(input: &[u8]) {
    let Some((kind, payload)) = input.split_first_chunk() else { return };
    let kind = Kind(u16::from_le_bytes(*kind));
    let Ok(record) = action_record(kind, payload) else { return };
    match Action::decode(&record) {
        Err(_) => {}
        Ok(None) => {
            assert!(![Kind::DELETED, Kind::RELEASE_INTENT, Kind::RELEASE_OUTCOME].contains(&kind));
        }
        Ok(Some(action)) => check_action(kind, &action),
    }
}

fn check_action(kind: Kind, action: &Action) {
    assert_eq!(action.kind(), kind);
    let recipients = match action {
        Action::Deleted(recipients) => Some(recipients),
        Action::ReleaseIntent(intent) => {
            assert!(intent.others.len() <= RECIPIENTS_MAX);
            Some(&intent.recipients)
        }
        Action::ReleaseOutcome(outcome) => {
            assert!(outcome.deliveries.len() <= 2 * RECIPIENTS_MAX);
            assert!(outcome.deliveries.iter().all(|delivery| match delivery {
                Delivery::Delivered(text) | Delivery::Failed(text) | Delivery::Unknown(text) => {
                    text.len() <= FIELD_BYTES_MAX
                }
            }));
            None
        }
    };
    if let Some(recipients) = recipients {
        let count = recipients.recipient_count();
        assert!((1..=RECIPIENTS_MAX).contains(&count));
        assert_eq!(recipients.bitmap().len(), count.div_ceil(8));
        assert!((count..8 * count.div_ceil(8)).all(|index| !recipients.contains(index)));
    }
    let encoded = action.encode().expect("what was decoded is within the limits");
    let record = action_record(kind, &encoded).expect("an action's payload fits a record");
    assert_eq!(Action::decode(&record), Ok(Some(action.clone())));
}

fn action_record(kind: Kind, payload: &[u8]) -> Result<Record, crate::record::RecordError> {
    let action = Some(ActionHead { key_id: KeyId([4; 8]), message: MESSAGE.key });
    let author = MemberId([3; 16]);
    let head = Head { kind, bucket: MESSAGE.bucket, second: 9, author, action };
    Record::signed(head, payload, |_| Signature([6; 64]))
}

/// The payload of a held message's arrival: as it is, and as a hold of what its pieces say.
pub fn hold(input: &[u8]) {
    if let Ok(record) = held_record(input)
        && let Ok(Some(hold)) = Hold::decode(&record)
    {
        check_hold(&hold, input);
    }
    hold_of_pieces(input);
}

fn check_hold(hold: &Hold, payload: &[u8]) {
    assert!(hold.original.bucket.day.is_representable());
    assert!(hold.actions.iter().all(|action| action.message() == hold.original));
    // Whoever knows nothing of holds finds an arrival in the same bytes, or refuses them.
    let Ok(arrival) = Arrival::decode(payload) else { return };
    let encoded = hold.encode(&arrival).expect("what was decoded is within the limits");
    let again = held_record(&encoded).expect("its bytes were a record's before");
    assert_eq!(Hold::decode(&again), Ok(Some(hold.clone())));
    assert_eq!(Arrival::decode(&encoded), Ok(arrival));
}

/// `day` 4, `round` 2, then actions: 1 byte of where each belongs, 1 byte of length, its payload.
fn hold_of_pieces(input: &[u8]) {
    let Some((day, rest)) = input.split_first_chunk() else { return };
    let Some((round, mut rest)) = rest.split_first_chunk() else { return };
    let day = Day(u32::from_le_bytes(*day));
    let original = MessageId { bucket: Bucket { day, ..MESSAGE.bucket }, key: MESSAGE.key };
    let mut actions = Vec::new();
    while let [place, length, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(behind.len().min((*length).into()));
        rest = behind;
        let bucket = Bucket { class: Class(place & 7), day };
        let key = RecordKey { second: u32::from(place >> 6) + 7, ..MESSAGE.key };
        let action = Some(ActionHead { key_id: KeyId([4; 8]), message: key });
        let author = MemberId([3; 16]);
        let head = Head { kind: Kind::DELETED, bucket, second: 9, author, action };
        actions.extend(Record::signed(head, payload, |_| Signature([6; 64])));
    }
    let are_its_own = actions.iter().all(|action| action.message() == original);
    let round = u16::from_le_bytes(*round);
    let arrival = plain_arrival();
    let fitted = Hold::new(original, &arrival, actions.clone()).expect("within the limits");
    let is_sound = are_its_own && fitted.actions == actions;
    let payload = fitted.encode(&arrival).expect("the arrival is within limits");
    assert!(held_record(&payload).is_ok(), "what is left out makes room for the rest");
    let hold = Hold { original, round, actions, actions_left_out: 1 };
    let Ok(payload) = hold.encode(&arrival) else { return };
    let Ok(record) = held_record(&payload) else { return };
    assert_eq!(Arrival::decode(&payload), Ok(arrival.clone()));
    match Hold::decode(&record) {
        Ok(decoded) => assert!(is_sound && decoded == Some(hold)),
        Err(_) => assert!(!is_sound || !day.is_representable()),
    }
}

fn held_record(payload: &[u8]) -> Result<Record, crate::record::RecordError> {
    let bucket = Bucket { class: Class::HELD, ..MESSAGE.bucket };
    let author = MemberId([3; 16]);
    let head = Head { kind: Kind::ARRIVAL, bucket, second: 9, author, action: None };
    Record::unsigned(head, payload)
}

fn plain_arrival() -> Arrival {
    Arrival {
        node_number: 7,
        body_id: [1; 32],
        body_bytes: 5216,
        envelope: Default::default(),
        headers: Default::default(),
        score_milli: -3,
        reason: "longer than eight bytes".to_owned(),
    }
}

/// The text of a roster, signed by nobody, and what it would say if its signature held.
pub fn roster(input: &[u8]) {
    crate::roster::fuzz::roster(input);
}

/// Texts that name a message, a bucket, a class, a day or an id.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(id) = check_name::<MessageId>(text) {
        assert!(u64::from(id.key.second) < DAY_SECONDS && id.bucket.day.is_representable());
    }
    check_name::<Bucket>(text);
    check_name::<Class>(text);
    if let Some(day) = check_name::<Day>(text) {
        assert!(day.is_representable());
        assert_eq!(day.to_string(), text, "a day has one form");
    }
    check_name::<RecordId>(text);
    check_name::<BodyId>(text);
    check_name::<MemberId>(text);
}

/// What a text names; printed, it is a text that names the same.
fn check_name<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let named: T = text.parse().ok()?;
    assert_eq!(named.to_string().parse().ok().as_ref(), Some(&named));
    Some(named)
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;

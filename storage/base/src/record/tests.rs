//! Round trips, refusals and golden bytes of the record envelope.

use super::{ActionHead, Head, Kind, Record, RecordError};
use crate::class::Class;
use crate::ids::{KeyId, MemberId, RecordId};
use crate::key::{Bucket, RecordKey};
use crate::signing::Signature;
use crate::time::Day;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

fn head(action: bool) -> Head {
    Head {
        kind: if action { Kind::DELETED } else { Kind::ARRIVAL },
        bucket: Bucket { class: Class::SPAM, day: Day(20_780) },
        second: 29_712,
        author: MemberId([3; 16]),
        action: action.then_some(ActionHead {
            key_id: KeyId([4; 8]),
            message: RecordKey { second: 7, id: RecordId([5; 32]) },
        }),
    }
}

fn action(payload: &[u8]) -> Record {
    Record::signed(head(true), payload, |_| Signature([6; 64])).unwrap()
}

#[test]
fn golden_bytes_of_an_arrival() {
    let record = Record::unsigned(head(false), b"payload").unwrap();
    assert_eq!(
        data_encoding::HEXLOWER.encode(record.bytes()),
        concat!(
            "01",                               // envelope version
            "01",                               // class
            "0100",                             // kind
            "2c510000",                         // day
            "10740000",                         // second
            "00",                               // flags
            "03030303030303030303030303030303", // author
            "07000000",                         // payload length
            "7061796c6f6164",                   // payload
            "1ff30e8e",                         // check bytes
        )
    );
    assert_eq!(record.payload(), b"payload");
    assert_eq!(record.message().key, record.key());
}

#[test]
fn an_action_names_its_message_and_carries_its_signature() {
    let record = action(b"who");
    assert_eq!(record.message().key.second, 7);
    let (signature, text) = record.signature().unwrap();
    assert_eq!(signature, Signature([6; 64]));
    assert!(text.ends_with(b"who"));
    assert_eq!(record.payload(), b"who");
}

#[test]
fn refuses_an_arrival_that_claims_to_be_an_action_and_the_reverse() {
    let mut wrong = head(false);
    wrong.kind = Kind::DELETED;
    assert_eq!(Record::unsigned(wrong, b""), Err(RecordError::Shape(16)));
    assert_eq!(
        Record::signed(head(false), b"", |_| Signature([0; 64])),
        Err(RecordError::Shape(1))
    );
}

#[test]
fn keeps_kinds_of_a_later_version() {
    let mut later = head(true);
    later.kind = Kind(999);
    let record = Record::signed(later, b"new", |_| Signature([6; 64])).unwrap();
    assert_eq!(Record::parse(record.bytes().to_vec()), Ok(record));
}

#[test]
fn refuses_a_record_beyond_the_limit() {
    let payload = vec![0; crate::limits::RECORD_BYTES_MAX];
    assert!(matches!(Record::unsigned(head(false), &payload), Err(RecordError::TooLarge(_))));
}

proptest! {
    #[test]
    fn every_record_parses_back(payload: Vec<u8>, second: u32, is_action: bool) {
        let mut wanted = head(is_action);
        wanted.second = second;
        let record = if is_action {
            Record::signed(wanted, &payload, |_| Signature([9; 64])).unwrap()
        } else {
            Record::unsigned(wanted, &payload).unwrap()
        };
        let parsed = Record::parse(record.bytes().to_vec()).unwrap();
        prop_assert_eq!(&parsed, &record);
        prop_assert_eq!(parsed.payload(), &payload[..]);
        prop_assert_eq!(parsed.head(), &wanted);
    }

    #[test]
    fn no_single_changed_byte_and_no_truncation_parses(at in any::<proptest::sample::Index>(), flip in 1u8..) {
        let record = action(b"some payload");
        let mut bytes = record.bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assert!(Record::parse(bytes[..at].to_vec()).is_err());
        bytes[at] ^= flip;
        prop_assert!(Record::parse(bytes).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Record::parse(bytes);
    }
}

//! Dictionaries on the wire: whatever order bodies come in, the peer knows what each one needs.

use super::DAY;
use super::harness::record;
use crate::dictionaries::Dictionaries;
use crate::event::{CodedBody, Dictionary, Effect, Item};
use crate::frame::kind;
use crate::limits;
use crate::long::Assembly;
use crate::transfer::Transfer;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use quar_base::class::Class;
use quar_base::ids::{BodyId, MemberId};

fn dictionary(number: u8) -> Dictionary {
    Dictionary { id: [number; 16], generation: 1, bytes: [number; 40][..].into() }
}

fn item(second: u32, needed: Option<u8>) -> Item {
    let body = CodedBody {
        id: BodyId::default(),
        raw_bytes: 9,
        codec: 1,
        dictionary: needed.map(dictionary),
        bytes: b"coded"[..].into(),
    };
    Item::Record(record(Class::SPAM, DAY, second, b"names its body"), Some(body))
}

/// What a peer makes of these frames, and how many dictionaries were among them.
fn receive(effects: Vec<Effect>) -> (Vec<Item>, usize) {
    let (mut known, mut items, mut count) = (Dictionaries::default(), Vec::new(), 0);
    for effect in effects {
        let Effect::Send { kind, payload, .. } = effect else { panic!("{effect:?}") };
        if kind == kind::DICTIONARY {
            known.add(Dictionary::decode(&payload).unwrap());
            count += 1;
        } else {
            let batch =
                crate::batch::decode_batch(&payload, &mut Assembly::default(), &known).unwrap();
            items.extend(batch.1);
        }
    }
    (items, count)
}

proptest! {
    #[test]
    fn every_body_finds_its_dictionary(needed in proptest::collection::vec(any::<Option<u8>>(), 0..80)) {
        // Few enough to repeat, more than are remembered.
        let many = limits::DICTIONARIES as u8 + 8;
        let needed: Vec<Option<u8>> = needed.into_iter().map(|one| one.map(|n| n % many)).collect();
        let items: Vec<Item> =
            needed.iter().zip(0..).map(|(needed, second)| item(second, *needed)).collect();
        let mut transfer = Transfer::new(MemberId([1; 16]), 1 << 20);
        prop_assert!(items.iter().all(|item| transfer.push(item)));
        let mut effects = Vec::new();
        transfer.flush(&mut crate::budget::Budget::new(None), &mut effects);
        let (received, _) = receive(effects);
        prop_assert_eq!(received, items);
    }
}

#[test]
fn a_dictionary_travels_once() {
    let mut transfer = Transfer::new(MemberId([1; 16]), 1 << 20);
    let mut effects = Vec::new();
    for second in 0..100 {
        transfer.push(&item(second, Some(u8::from(second % 2 == 0))));
        transfer.flush(&mut crate::budget::Budget::new(None), &mut effects);
    }
    let (received, count) = receive(effects);
    assert_eq!((received.len(), count), (100, 2));
}

#[test]
fn refuses_a_body_with_a_dictionary_that_was_never_sent_and_an_oversized_one() {
    let payload = crate::batch::encode_batch(1, &[item(1, Some(1))]);
    let known = Dictionaries::default();
    assert!(crate::batch::decode_batch(&payload, &mut Assembly::default(), &known).is_err());
    let of = |length: usize| Dictionary { bytes: vec![0; length].into(), ..dictionary(1) };
    let longest = quar_base::limits::DICTIONARY_BYTES_MAX;
    assert!(Dictionary::decode(&of(longest).encode()).is_ok());
    assert!(Dictionary::decode(&of(longest + 1).encode()).is_err());
}

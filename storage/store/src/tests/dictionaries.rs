//! Dictionaries through the whole store: learned, written, found again after anything.
//! Never asserts how much they save: docs/benchmarks.md does.

use super::{NOW, Node, delete, mail, outcome_of_record};
use crate::{CodedBody, IdKey, Mail, Outcome, Store};
use quar_base::key::MessageId;
use quar_base::record::Record;
use std::sync::Arc;

/// More than the first training needs, and than a segment holds before it takes a dictionary.
const MAILS: usize = 1100;

fn text(number: usize) -> Vec<u8> {
    use quar_base::rng::Rng;
    let noise: [u8; 512] = Rng::from_seed([number as u8; 32]).bytes();
    let common = "X-Spam-Status: yes, score=9 required=5 tests=BAYES_99,URIBL_BLACK\r\n".repeat(3);
    let subject = format!("Subject: offer {number}\r\n{}\r\n", number % 7);
    [common.as_bytes(), subject.as_bytes(), &noise, &noise[1..]].concat()
}

fn fill(store: &Store) -> Vec<(MessageId, Vec<u8>)> {
    let mut stored = Vec::new();
    for number in 0..MAILS {
        let body = text(number);
        let coded = store.encode_body(&body).unwrap();
        let admitted = store.admit_mail(Mail { body: coded, ..mail(b"", 1) }).unwrap();
        stored.push((admitted.message.unwrap(), body));
        if number % 8 == 7 {
            store.commit();
        }
    }
    store.commit();
    stored
}

fn check(store: &Store, stored: &[(MessageId, Vec<u8>)]) {
    for (id, body) in stored {
        assert_eq!(store.body(*id).as_ref().ok(), Some(body), "{id}");
    }
}

fn with_dictionary(store: &Store, stored: &[(MessageId, Vec<u8>)]) -> Vec<(Record, CodedBody)> {
    let items = stored.iter().map(|(id, _)| store.item(id.bucket, &id.key).unwrap().unwrap());
    let items = items.map(|(record, body)| (record, body.unwrap()));
    items.filter(|(_, body)| body.dictionary.is_some()).collect()
}

#[test]
fn bodies_coded_with_a_dictionary_survive_a_crash_a_lost_index_and_an_erasure() {
    let mut node = Node::new(1);
    let store = node.open();
    let stored = fill(&store);
    let with = with_dictionary(&store, &stored).len();
    assert!(with > 200, "only {with} of {MAILS} use the dictionary");
    check(&store, &stored);

    let mut crashed = node.crash();
    check(&crashed.open(), &stored);

    let mut bare = node.crash();
    bare.home = Node::new(1).home;
    let store = bare.open();
    check(&store, &stored);

    let gone = stored[MAILS - 1].0;
    delete(&store, gone, 1, &[0]);
    store.erase(gone.bucket).unwrap();
    check(&store, &stored[..MAILS - 1]);
    assert!(store.body(gone).is_err());
    check(&bare.crash().open(), &stored[..MAILS - 1]);
}

#[test]
fn a_peer_takes_bodies_with_their_dictionary() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    let (first, second) = (one.open(), two.open());
    let stored = fill(&first);
    let sent = with_dictionary(&first, &stored);
    for (record, body) in &sent {
        let known = body.dictionary.as_ref().unwrap();
        let bytes: Arc<[u8]> = known.bytes().to_vec().into();
        let dictionary = Some(second.dictionary(known.id(), known.generation(), &bytes).unwrap());
        let body = CodedBody { dictionary, ..body.clone() };
        second.admit_record(record.clone(), Some(body), NOW).unwrap();
    }
    let outcomes = second.commit();
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Stored(_))));
    let ids: Vec<MessageId> = sent.iter().map(|(record, _)| record.message()).collect();
    let expected: Vec<_> = stored.into_iter().filter(|(id, _)| ids.contains(id)).collect();
    check(&second, &expected);
    check(&two.crash().open(), &expected);
}

#[test]
fn a_body_with_the_wrong_dictionary_or_none_is_refused() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    let (first, second) = (one.open(), two.open());
    let stored = fill(&first);
    let (record, body) = with_dictionary(&first, &stored).pop().unwrap();
    let none = CodedBody { dictionary: None, ..body.clone() };
    let refused = second.admit_record(record.clone(), Some(none), NOW).unwrap_err();
    assert!(refused.is_offence(), "{refused}");

    let garbage: Arc<[u8]> = [0x37, 0xa4, 0x30, 0xec, 1, 2, 3, 4, 5][..].into();
    assert!(second.dictionary([1; 16], 1, &garbage).is_err());
    let id = IdKey::new([8; 32]).digest("dictionary", &garbage);
    let dictionary = Some(second.dictionary(id, 1, &garbage).unwrap());
    let wrong = CodedBody { dictionary, ..body.clone() };
    let refused = second.admit_record(record.clone(), Some(wrong), NOW).unwrap_err();
    assert!(refused.is_offence(), "{refused}");

    let outcome = {
        second.admit_record(record.clone(), Some(body), NOW).unwrap();
        outcome_of_record(&second, record)
    };
    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

#[test]
fn an_oversized_dictionary_is_refused() {
    let store = Node::new(1).open();
    let bytes: Arc<[u8]> = vec![0; quar_base::limits::DICTIONARY_BYTES_MAX + 1].into();
    let id = IdKey::new([8; 32]).digest("dictionary", &bytes);
    assert!(store.dictionary(id, 1, &bytes).is_err());
}

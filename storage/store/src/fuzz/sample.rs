//! A small segment as a node may have made it: bodies in every codec, arrivals, a delete, a dictionary.
//! Never changes from run to run.

use super::{BUCKET, MEMBER, id_key};
use crate::codec::{CodedBody, LEVEL};
use crate::dictionary::Dictionary;
use crate::segment::fuzz::{Forge, PLAIN, SHARED, ZSTD};
use crate::segment::{BlockKind, BodyEntry, Entry};
use quar_base::action::Action;
use quar_base::arrival::{Arrival, Envelope};
use quar_base::coverage::RecipientSet;
use quar_base::ids::KeyId;
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::signing::Signature;
use std::sync::Arc;

/// Adds two commits, the second with a dictionary, and a closing block.
pub(crate) fn fill(forge: &mut Forge) {
    let texts = [&b"Subject: one\r\n\r\n1\r\n"[..], &b"Subject: two\r\n".repeat(9)];
    let bodies = texts.map(|text| body(text, None));
    let entries = push_bodies(forge, &bodies, 0);
    let [one, two] = [arrival(&bodies[0], 1), arrival(&bodies[1], 2)];
    let records = [one.clone(), two].map(Entry::Record);
    push_entries(forge, [entries, records.to_vec()].concat(), ZSTD);
    forge.next_commit();
    let text = b"Received: from mx.example.org\r\nSubject: three\r\n\r\n";
    let place = forge.push_dictionary(text);
    let known = Arc::new(Dictionary::new([1; 16], 0, text[..].into(), LEVEL));
    let bodies = [body(&[text, &b"dear user"[..]].concat(), Some(known))];
    let entries = push_bodies(forge, &bodies, place);
    let records = [arrival(&bodies[0], 3), deleted(&one)].map(Entry::Record);
    push_entries(forge, [entries, records.to_vec()].concat(), SHARED);
    forge.push(BlockKind::Closing, PLAIN, 1, &9u32.to_le_bytes());
}

fn body(text: &[u8], dictionary: Option<Arc<Dictionary>>) -> CodedBody {
    CodedBody::encode(text, dictionary, &id_key()).expect("it is small")
}

fn push_bodies(forge: &mut Forge, bodies: &[CodedBody], dictionary: u32) -> Vec<Entry> {
    let block = forge.end();
    let (mut payload, mut entries) = (Vec::new(), Vec::new());
    for body in bodies {
        entries.push(Entry::Body(BodyEntry {
            id: body.id,
            raw_bytes: body.raw_bytes,
            coded_bytes: body.bytes.len() as u32,
            block,
            start: payload.len() as u32,
            dictionary,
            codec: body.codec,
        }));
        payload.extend_from_slice(&body.bytes);
    }
    forge.push(BlockKind::Bodies, PLAIN, bodies.len() as u16, &payload);
    entries
}

fn push_entries(forge: &mut Forge, entries: Vec<Entry>, compression: crate::segment::fuzz::Form) {
    let mut payload = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut payload));
    forge.push(BlockKind::Records, compression, entries.len() as u16, &payload);
}

/// An arrival that names a body.
pub(crate) fn arrival(body: &CodedBody, second: u32) -> Record {
    let recipients = vec!["user@example.net".to_owned(), "b@c".to_owned()];
    let sender = "sender@example.org".to_owned();
    let arrival = Arrival {
        node_number: 1,
        body_id: body.id.0,
        body_bytes: body.raw_bytes.into(),
        envelope: Envelope { sender, recipients, ..Envelope::default() },
        headers: Default::default(),
        score_milli: 9000,
        reason: "test".to_owned(),
    };
    let head = Head { kind: Kind::ARRIVAL, bucket: BUCKET, second, author: MEMBER, action: None };
    let payload = arrival.encode().expect("it is within the limits");
    Record::unsigned(head, &payload).expect("it is small")
}

/// A delete of a message for all of its recipients.
pub(crate) fn deleted(arrival: &Record) -> Record {
    let action = Action::Deleted(RecipientSet::all(2).expect("two recipients"));
    let about = ActionHead { key_id: KeyId([3; 8]), message: arrival.key() };
    let head = Head {
        kind: Kind::DELETED,
        bucket: BUCKET,
        second: 50,
        author: MEMBER,
        action: Some(about),
    };
    let payload = action.encode().expect("it is within the limits");
    Record::signed(head, &payload, |_| Signature([4; 64])).expect("it is small")
}

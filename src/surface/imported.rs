//! Imports: the id that a message gets from what it is, whoever imports it.
//! Never looks at a clock or at the node's name: three nodes that import one tree make one copy.
//!
//! The arrival of an import is a pure function of class, envelope, score, reason, instant and
//! bytes: its author is [`MemberId::IMPORT`] and its node number 0.

use crate::daemon::view;
use crate::intake::Mail;
use quar_base::arrival::Arrival;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, MessageId};
use quar_base::record::{Head, Kind, Record};
use quar_base::time::UnixMillis;
use quar_store::{IdKey, ReadError, Store};

/// The id that a message gets when it is imported as of `at`; `None` when it cannot be stored.
#[must_use]
pub fn imported_id(mail: &Mail, at: UnixMillis, id_key: &IdKey) -> Option<MessageId> {
    let arrival = Arrival {
        node_number: 0,
        body_id: id_key.body_id(&mail.body).0,
        body_bytes: mail.body.len() as u64,
        envelope: mail.envelope.clone(),
        headers: view::header_digest(&mail.body),
        score_milli: mail.score_milli,
        reason: mail.reason.clone(),
    };
    let day = at.day();
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: Bucket { class: mail.class, day },
        second: at.second_of(day),
        author: MemberId::IMPORT,
        action: None,
    };
    let record = Record::unsigned(head, &arrival.encode().ok()?).ok()?;
    Some(record.message())
}

/// The message that an import would repeat, if it is here with its body: an import that is resumed
/// passes over it without compressing it again.
///
/// # Errors
/// [`ReadError`] when the store cannot be read.
pub fn already_here(
    store: &Store,
    mail: &Mail,
    at: UnixMillis,
) -> Result<Option<MessageId>, ReadError> {
    let Some(id) = imported_id(mail, at, &store.settings().id_key) else {
        return Ok(None);
    };
    match store.message(id) {
        Ok(message) => Ok(message.has_body.then_some(id)),
        Err(ReadError::NotFound(_) | ReadError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

//! What action records say: deletes, release intents and outcomes.
//! Never names a recipient by address: indices into the arrival's list, or keyed digests.
//!
//! *Source*: docs/formats.md, "Action payloads" (rkyv, little endian, unaligned, 32-bit offsets).

use crate::coverage::{RecipientSet, RecipientSetError};
use crate::limits::{FIELD_BYTES_MAX, RECIPIENTS_MAX};
use crate::record::{Kind, Record};
use rkyv::{Archive, Deserialize, Serialize};

/// How an attempt to hand a message to a mail server ended.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server took it; its reply, usually with its queue id.
    Delivered(String),
    /// The server refused it, or it could not be reached before the message was handed over.
    Failed(String),
    /// The connection ended after the final dot and before the reply: it may have been taken.
    Unknown(String),
}

/// A payload of an action record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// These recipients no longer have the message.
    Deleted(RecipientSet),
    /// A release is about to be tried.
    ReleaseIntent(ReleaseIntent),
    /// How a release ended.
    ReleaseOutcome(ReleaseOutcome),
}

/// What is about to be released to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseIntent {
    /// The stored recipients that get the message.
    pub recipients: RecipientSet,
    /// Digests of other addresses, keyed with the cluster's id key.
    pub others: Vec<[u8; 16]>,
}

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// Record id of the intent.
    pub intent: [u8; 32],
    /// One entry for each of the intent's recipients in order, then one for each of its others.
    pub deliveries: Vec<Delivery>,
}

#[derive(Archive, Serialize, Deserialize)]
struct DeletedForm {
    count: u16,
    bitmap: Vec<u8>,
}

#[derive(Archive, Serialize, Deserialize)]
struct IntentForm {
    count: u16,
    bitmap: Vec<u8>,
    others: Vec<[u8; 16]>,
}

#[derive(Archive, Serialize, Deserialize)]
struct OutcomeForm {
    intent: [u8; 32],
    deliveries: Vec<Delivery>,
}

/// A payload that is no action of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The bytes are not a checked archive.
    #[error("action payload is not a valid archive")]
    Archive,
    /// Recipients that cannot be.
    #[error(transparent)]
    Recipients(#[from] RecipientSetError),
    /// More entries, or a longer reply, than a message can have.
    #[error("action payload is beyond its limits")]
    Limit,
}

impl Action {
    /// The kind under which the payload is filed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Deleted(_) => Kind::DELETED,
            Self::ReleaseIntent(_) => Kind::RELEASE_INTENT,
            Self::ReleaseOutcome(_) => Kind::RELEASE_OUTCOME,
        }
    }

    /// Whether this version reads actions of a kind.
    #[must_use]
    pub fn is_known(kind: Kind) -> bool {
        matches!(kind, Kind::DELETED | Kind::RELEASE_INTENT | Kind::RELEASE_OUTCOME)
    }

    /// The payload's bytes.
    ///
    /// # Errors
    /// [`ActionError::Limit`] when there are more entries than a message can have.
    pub fn encode(&self) -> Result<Vec<u8>, ActionError> {
        let bytes = match self {
            Self::Deleted(set) => rkyv::to_bytes::<rkyv::rancor::Error>(&DeletedForm {
                count: count_of(set),
                bitmap: set.bitmap().to_vec(),
            }),
            Self::ReleaseIntent(intent) => {
                check_others(&intent.others)?;
                rkyv::to_bytes(&IntentForm {
                    count: count_of(&intent.recipients),
                    bitmap: intent.recipients.bitmap().to_vec(),
                    others: intent.others.clone(),
                })
            }
            Self::ReleaseOutcome(outcome) => {
                check_deliveries(&outcome.deliveries)?;
                rkyv::to_bytes(&OutcomeForm {
                    intent: outcome.intent,
                    deliveries: outcome.deliveries.clone(),
                })
            }
        };
        Ok(bytes.map_err(|_| ActionError::Archive)?.to_vec())
    }

    /// Reads a record's payload; `None` for arrivals and kinds that this version does not know.
    ///
    /// # Errors
    /// [`ActionError`] for a payload that does not fit its kind.
    pub fn decode(record: &Record) -> Result<Option<Self>, ActionError> {
        let payload = record.payload();
        let action = match record.head().kind {
            Kind::DELETED => {
                let form: DeletedForm = archive(payload)?;
                Self::Deleted(RecipientSet::from_bitmap(form.count.into(), &form.bitmap)?)
            }
            Kind::RELEASE_INTENT => {
                let form: IntentForm = archive(payload)?;
                check_others(&form.others)?;
                let recipients = RecipientSet::from_bitmap(form.count.into(), &form.bitmap)?;
                Self::ReleaseIntent(ReleaseIntent { recipients, others: form.others })
            }
            Kind::RELEASE_OUTCOME => {
                let form: OutcomeForm = archive(payload)?;
                check_deliveries(&form.deliveries)?;
                let OutcomeForm { intent, deliveries } = form;
                Self::ReleaseOutcome(ReleaseOutcome { intent, deliveries })
            }
            _ => return Ok(None),
        };
        Ok(Some(action))
    }
}

fn archive<T>(payload: &[u8]) -> Result<T, ActionError>
where
    T: Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rkyv::rancor::Error>>
        + Deserialize<T, rkyv::api::high::HighDeserializer<rkyv::rancor::Error>>,
{
    rkyv::from_bytes::<T, rkyv::rancor::Error>(payload).map_err(|_| ActionError::Archive)
}

fn count_of(set: &RecipientSet) -> u16 {
    u16::try_from(set.recipient_count()).expect("a recipient set holds at most RECIPIENTS_MAX")
}

fn check_others(others: &[[u8; 16]]) -> Result<(), ActionError> {
    if others.len() > RECIPIENTS_MAX { Err(ActionError::Limit) } else { Ok(()) }
}

fn check_deliveries(deliveries: &[Delivery]) -> Result<(), ActionError> {
    let too_long = deliveries.iter().any(|delivery| match delivery {
        Delivery::Delivered(text) | Delivery::Failed(text) | Delivery::Unknown(text) => {
            text.len() > FIELD_BYTES_MAX
        }
    });
    if too_long || deliveries.len() > 2 * RECIPIENTS_MAX {
        return Err(ActionError::Limit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Action, ActionError, Delivery, ReleaseIntent, ReleaseOutcome};
    use crate::class::Class;
    use crate::coverage::RecipientSet;
    use crate::ids::{KeyId, MemberId, RecordId};
    use crate::key::{Bucket, RecordKey};
    use crate::record::{ActionHead, Head, Kind, Record};
    use crate::signing::Signature;
    use crate::time::Day;

    fn record(kind: Kind, payload: &[u8]) -> Record {
        let head = Head {
            kind,
            bucket: Bucket { class: Class::SPAM, day: Day(1) },
            second: 5,
            author: MemberId([1; 16]),
            action: Some(ActionHead {
                key_id: KeyId([2; 8]),
                message: RecordKey { second: 1, id: RecordId([3; 32]) },
            }),
        };
        Record::signed(head, payload, |_| Signature([4; 64])).unwrap()
    }

    fn samples() -> [Action; 3] {
        [
            Action::Deleted(RecipientSet::of(11, &[0, 10]).unwrap()),
            Action::ReleaseIntent(ReleaseIntent {
                recipients: RecipientSet::all(2).unwrap(),
                others: vec![[9; 16]],
            }),
            Action::ReleaseOutcome(ReleaseOutcome {
                intent: [8; 32],
                deliveries: vec![
                    Delivery::Delivered("250 2.0.0 queued as ABC".into()),
                    Delivery::Failed("550 no such user".into()),
                    Delivery::Unknown("connection lost".into()),
                ],
            }),
        ]
    }

    #[test]
    fn actions_decode_to_what_was_encoded() {
        for action in samples() {
            let record = record(action.kind(), &action.encode().unwrap());
            assert_eq!(Action::decode(&record), Ok(Some(action)));
        }
    }

    #[test]
    fn golden_bytes_of_a_delete() {
        let bytes = samples()[0].encode().unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), "01040b00fcffffff02000000");
    }

    #[test]
    fn refuses_a_payload_of_another_kind_and_truncations() {
        for action in samples() {
            let bytes = action.encode().unwrap();
            for cut in 0..bytes.len() {
                let damaged = record(action.kind(), &bytes[bytes.len() - cut..]);
                assert!(Action::decode(&damaged).is_err(), "{cut} bytes of {action:?}");
            }
        }
    }

    #[test]
    fn passes_kinds_of_a_later_version() {
        assert_eq!(Action::decode(&record(Kind(4711), b"anything")), Ok(None));
    }

    #[test]
    fn refuses_a_bitmap_that_does_not_fit_its_count() {
        let form = super::DeletedForm { count: 2, bitmap: vec![0xff] };
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&form).unwrap();
        let refused = Action::decode(&record(Kind::DELETED, &bytes));
        assert!(matches!(refused, Err(ActionError::Recipients(_))));
    }
}

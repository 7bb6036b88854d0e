//! What an arrival record says: who caught the message, its envelope, its body and what a listing shows.
//! Never holds the body itself.
//!
//! *Source*: docs/formats.md, "Arrival payload" (rkyv, little endian, unaligned, 32-bit offsets).

use crate::ids::BodyId;
use crate::limits::{FIELD_BYTES_MAX, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, RECIPIENTS_MAX};
use rkyv::{Archive, Deserialize, Serialize};

/// The SMTP envelope and the way by which a message came in.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Reverse path without angle brackets; empty for the null sender.
    pub sender: String,
    /// Forward paths without angle brackets, in the order given.
    pub recipients: Vec<String>,
    /// Address of the SMTP client that the filter saw; empty when unknown.
    pub client_address: String,
    /// What that client called itself; empty when unknown.
    pub helo: String,
    /// The mail server's own id of the message; empty when unknown.
    pub queue_id: String,
    /// Path in a spool tree that the message was taken from; empty otherwise.
    pub spool_path: String,
}

/// Header fields shown in listings, decoded to text and cut at [`HEADER_BYTES_MAX`].
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `From`.
    pub from: String,
    /// `To`.
    pub to: String,
    /// `Subject`.
    pub subject: String,
    /// `Date`, as written.
    pub date: String,
    /// `Message-ID`, without angle brackets.
    pub message_id: String,
}

/// The payload of a record of kind `ARRIVAL`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Number of the node that caught the message.
    pub node_number: u16,
    /// The body, by its keyed hash.
    pub body_id: [u8; 32],
    /// Length of the body in bytes.
    pub body_bytes: u64,
    /// Envelope as received.
    pub envelope: Envelope,
    /// Header digest.
    pub headers: Headers,
    /// Spam score in thousandths.
    pub score_milli: i32,
    /// Why the filter put the message aside; empty when unknown.
    pub reason: String,
}

/// A payload that is no arrival.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalError {
    /// The bytes are not a checked archive.
    #[error("arrival payload is not a valid archive")]
    Archive,
    /// A field beyond its limit.
    #[error("arrival field {field} has {actual}, beyond the limit of {limit}")]
    Limit {
        /// Which field.
        field: &'static str,
        /// Its length or number.
        actual: u64,
        /// The limit.
        limit: u64,
    },
}

impl Arrival {
    /// The archive's bytes.
    ///
    /// # Errors
    /// [`ArrivalError::Limit`] when a field is beyond its limit.
    pub fn encode(&self) -> Result<Vec<u8>, ArrivalError> {
        self.check()?;
        let bytes =
            rkyv::to_bytes::<rkyv::rancor::Error>(self).map_err(|_| ArrivalError::Archive)?;
        Ok(bytes.to_vec())
    }

    /// Checks and reads an archive.
    ///
    /// # Errors
    /// [`ArrivalError`] for bytes that are no archive or go beyond a limit.
    pub fn decode(payload: &[u8]) -> Result<Self, ArrivalError> {
        let arrival: Self = rkyv::from_bytes::<Self, rkyv::rancor::Error>(payload)
            .map_err(|_| ArrivalError::Archive)?;
        arrival.check()?;
        Ok(arrival)
    }

    /// The body's id.
    #[must_use]
    pub fn body(&self) -> BodyId {
        BodyId(self.body_id)
    }

    /// Recipients that deletes and releases count: at least one, so that a message without an
    /// envelope can be deleted too.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        self.envelope.recipients.len().max(1)
    }

    fn check(&self) -> Result<(), ArrivalError> {
        let limit = |field, actual: usize, limit: usize| {
            if actual > limit {
                Err(ArrivalError::Limit { field, actual: actual as u64, limit: limit as u64 })
            } else {
                Ok(())
            }
        };
        let envelope = &self.envelope;
        let size = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
        limit("body_bytes", size, MESSAGE_BYTES_MAX)?;
        limit("recipients", envelope.recipients.len(), RECIPIENTS_MAX)?;
        for recipient in &envelope.recipients {
            limit("recipient", recipient.len(), FIELD_BYTES_MAX)?;
        }
        for (field, text) in [
            ("sender", &envelope.sender),
            ("client_address", &envelope.client_address),
            ("helo", &envelope.helo),
            ("queue_id", &envelope.queue_id),
            ("spool_path", &envelope.spool_path),
            ("reason", &self.reason),
        ] {
            limit(field, text.len(), FIELD_BYTES_MAX)?;
        }
        let headers = &self.headers;
        for (field, text) in [
            ("from", &headers.from),
            ("to", &headers.to),
            ("subject", &headers.subject),
            ("date", &headers.date),
            ("message_id", &headers.message_id),
        ] {
            limit(field, text.len(), HEADER_BYTES_MAX)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, ArrivalError, Envelope, Headers};
    use proptest::prelude::{prop_assert_eq, proptest};

    fn sample() -> Arrival {
        Arrival {
            node_number: 7,
            body_id: [1; 32],
            body_bytes: 5216,
            envelope: Envelope {
                sender: "a@example.org".into(),
                recipients: vec!["b@example.net".into(), "c@example.net".into()],
                client_address: "192.0.2.1".into(),
                helo: "mx.example.org".into(),
                queue_id: "1abcDE-0001xy-2Z".into(),
                spool_path: String::new(),
            },
            headers: Headers { subject: "Grüße".into(), ..Headers::default() },
            score_milli: 15_300,
            reason: "BAYES_99".into(),
        }
    }

    #[test]
    fn golden_bytes_of_an_arrival_payload() {
        let digest = blake3::hash(&sample().encode().unwrap()).to_hex().to_string();
        assert_eq!(digest, "9c0df3801344160053892d51b0af938e6e006f2af53f42f4b8f58965657c62a8");
    }

    #[test]
    fn refuses_too_many_recipients_and_too_long_fields() {
        let mut many = sample();
        many.envelope.recipients = vec!["x@example.org".into(); 1001];
        assert!(matches!(many.encode(), Err(ArrivalError::Limit { field: "recipients", .. })));
        let mut long = sample();
        long.headers.subject = "s".repeat(513);
        assert!(matches!(long.encode(), Err(ArrivalError::Limit { field: "subject", .. })));
    }

    proptest! {
        #[test]
        fn arrivals_decode_to_what_was_encoded(
            sender in ".{0,80}",
            recipients in proptest::collection::vec(".{0,20}", 0..20),
            score: i32,
        ) {
            let mut arrival = sample();
            arrival.envelope.sender = sender;
            arrival.envelope.recipients = recipients;
            arrival.score_milli = score;
            prop_assert_eq!(Arrival::decode(&arrival.encode().unwrap()), Ok(arrival));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: usize, value: u8) {
            let _ = Arrival::decode(&bytes);
            let mut damaged = sample().encode().unwrap();
            let at = at % damaged.len();
            damaged[at] = value;
            let _ = Arrival::decode(&damaged);
            let _ = Arrival::decode(&damaged[..at]);
        }
    }
}

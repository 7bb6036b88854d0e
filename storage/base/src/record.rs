//! The record envelope: the frozen frame around every replicated record.
//! Never interprets a payload, so that kinds of a later version are stored and forwarded.
//!
//! ```text
//! version class kind day second flags author [key id, message key] length payload [signature] check
//! ```
//! Byte table: docs/formats.md, "Record". A record's bytes are never rewritten; its id is BLAKE3 of all of them.

use crate::class::Class;
use crate::ids::{KeyId, MemberId, RecordId};
use crate::key::{Bucket, MessageId, RecordKey};
use crate::limits::RECORD_BYTES_MAX;
use crate::signing::{SIGNATURE_BYTES, Signature};
use crate::time::Day;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 29;
const ACTION_BYTES: usize = KeyId::BYTES + RecordKey::BYTES;
const LENGTH_BYTES: usize = 4;
const CHECK_BYTES: usize = 4;
const FLAG_ACTION: u8 = 1;
const SIGNATURE_CONTEXT: &[u8] = b"quard record signature v1\0";

/// What a record says; unknown numbers are carried, not understood.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u16);

impl Kind {
    /// A message came in. Unsigned.
    pub const ARRIVAL: Self = Self(1);
    /// Recipients of a message are covered.
    pub const DELETED: Self = Self(16);
    /// A release is about to be tried.
    pub const RELEASE_INTENT: Self = Self(17);
    /// How a release ended.
    pub const RELEASE_OUTCOME: Self = Self(18);
}

/// The parts of an envelope, before it has bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the payload says.
    pub kind: Kind,
    /// Class and day whose bucket the record is filed in.
    pub bucket: Bucket,
    /// Seconds from the start of the bucket's day.
    pub second: u32,
    /// The member that made the record.
    pub author: MemberId,
    /// For actions: whose key signed it, and the arrival it is about.
    pub action: Option<ActionHead>,
}

/// What an action's envelope has and an arrival's has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActionHead {
    /// The key that signed the record.
    pub key_id: KeyId,
    /// The arrival's key, in the same bucket.
    pub message: RecordKey,
}

/// A record whose envelope was checked: lengths, version, check bytes. The signature is *not* checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    id: RecordId,
    head: Head,
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter or longer than its own lengths say.
    #[error("record is {actual} bytes long where its envelope needs {needed}")]
    Length {
        /// Bytes that the envelope asks for.
        needed: usize,
        /// Bytes given.
        actual: usize,
    },
    /// Beyond the limit for records.
    #[error("record of {0} bytes is beyond the limit of {RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// An envelope version that this program does not read.
    #[error("record envelope has version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// Flags outside of the format.
    #[error("record envelope has unknown flags {0:#04x}")]
    Flags(u8),
    /// A day beyond the year 9999.
    #[error("record names day {0}, beyond the year 9999")]
    Day(u32),
    /// The check bytes do not match: damaged on the way or on disk.
    #[error("record fails its check bytes")]
    Check,
    /// An arrival with an action's fields, or an action without them.
    #[error("record kind {0} does not fit its envelope's flags")]
    Shape(u16),
}

impl Record {
    /// Wraps a payload without a signature: an arrival.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] beyond [`RECORD_BYTES_MAX`]; [`RecordError::Shape`] for an action's head.
    pub fn unsigned(head: Head, payload: &[u8]) -> Result<Self, RecordError> {
        if head.action.is_some() {
            return Err(RecordError::Shape(head.kind.0));
        }
        Self::finish(unfinished(&head, payload), &[])
    }

    /// Wraps a payload and signs envelope and payload: an action.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] beyond [`RECORD_BYTES_MAX`]; [`RecordError::Shape`] for an arrival's head.
    pub fn signed(
        head: Head,
        payload: &[u8],
        sign: impl FnOnce(&[u8]) -> Signature,
    ) -> Result<Self, RecordError> {
        if head.action.is_none() {
            return Err(RecordError::Shape(head.kind.0));
        }
        let bytes = unfinished(&head, payload);
        let signature = sign(&signed_text(&bytes));
        Self::finish(bytes, &signature.0)
    }

    fn finish(mut bytes: Vec<u8>, signature: &[u8]) -> Result<Self, RecordError> {
        bytes.extend_from_slice(signature);
        let check = check_bytes(&bytes);
        bytes.extend_from_slice(&check);
        Self::parse(bytes)
    }

    /// Checks an envelope's version, lengths and check bytes.
    ///
    /// *Limits*: at most [`RECORD_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Any [`RecordError`]; nothing is trusted before all of them are ruled out.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        let head = parse_head(&bytes)?;
        let id = RecordId(*blake3::hash(&bytes).as_bytes());
        Ok(Self { bytes, id, head })
    }

    /// All bytes, as they are stored and sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// BLAKE3 of all bytes.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The envelope's fields.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The record's place in its bucket's order.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        RecordKey { second: self.head.second, id: self.id }
    }

    /// The message that an arrival starts or that an action is about.
    #[must_use]
    pub fn message(&self) -> MessageId {
        let key = self.head.action.map_or_else(|| self.key(), |action| action.message);
        MessageId { bucket: self.head.bucket, key }
    }

    /// The payload's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let start = payload_start(&self.head);
        &self.bytes[start..self.bytes.len() - trailer_bytes(&self.head)]
    }

    /// An action's signature and the text that it signs; `None` for arrivals.
    #[must_use]
    pub fn signature(&self) -> Option<(Signature, Vec<u8>)> {
        self.head.action?;
        let text_end = self.bytes.len() - trailer_bytes(&self.head);
        let signature = self.bytes[text_end..text_end + SIGNATURE_BYTES]
            .try_into()
            .expect("parse checked that a signature fits");
        Some((Signature(signature), signed_text(&self.bytes[..text_end])))
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} kind {} {:?})", self.head.bucket, self.head.kind.0, self.key())
    }
}

fn payload_start(head: &Head) -> usize {
    FIXED_BYTES + if head.action.is_some() { ACTION_BYTES } else { 0 } + LENGTH_BYTES
}

fn trailer_bytes(head: &Head) -> usize {
    CHECK_BYTES + if head.action.is_some() { SIGNATURE_BYTES } else { 0 }
}

fn check_bytes(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = blake3::hash(bytes);
    digest.as_bytes()[..CHECK_BYTES].try_into().expect("a digest has 32 bytes")
}

fn signed_text(bytes: &[u8]) -> Vec<u8> {
    [SIGNATURE_CONTEXT, bytes].concat()
}

fn unfinished(head: &Head, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload_start(head) + payload.len() + trailer_bytes(head));
    bytes.push(VERSION);
    bytes.push(head.bucket.class.0);
    bytes.extend_from_slice(&head.kind.0.to_le_bytes());
    bytes.extend_from_slice(&head.bucket.day.0.to_le_bytes());
    bytes.extend_from_slice(&head.second.to_le_bytes());
    bytes.push(if head.action.is_some() { FLAG_ACTION } else { 0 });
    bytes.extend_from_slice(&head.author.0);
    if let Some(action) = &head.action {
        bytes.extend_from_slice(&action.key_id.0);
        bytes.extend_from_slice(&action.message.to_bytes());
    }
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes fixed-size fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("length was checked before");
        self.0 = rest;
        *field
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, RecordError> {
    let actual = bytes.len();
    let need = |needed: usize| {
        if actual < needed { Err(RecordError::Length { needed, actual }) } else { Ok(()) }
    };
    need(FIXED_BYTES + LENGTH_BYTES + CHECK_BYTES)?;
    let mut fields = Fields(bytes);
    let [version] = fields.take();
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let [class] = fields.take();
    let kind = Kind(u16::from_le_bytes(fields.take()));
    let day = Day(u32::from_le_bytes(fields.take()));
    let second = u32::from_le_bytes(fields.take());
    let [flags] = fields.take();
    let author = MemberId(fields.take());
    if flags & !FLAG_ACTION != 0 {
        return Err(RecordError::Flags(flags));
    }
    let is_action = flags & FLAG_ACTION != 0;
    let mut head =
        Head { kind, bucket: Bucket { class: Class(class), day }, second, author, action: None };
    if is_action {
        need(FIXED_BYTES + ACTION_BYTES + LENGTH_BYTES + SIGNATURE_BYTES + CHECK_BYTES)?;
        let key_id = KeyId(fields.take());
        let message = RecordKey::from_bytes(&fields.take());
        head.action = Some(ActionHead { key_id, message });
    }
    let payload_bytes = u32::from_le_bytes(fields.take()) as usize;
    let needed = (payload_start(&head) + trailer_bytes(&head)).saturating_add(payload_bytes);
    if needed != actual {
        return Err(RecordError::Length { needed, actual });
    }
    let (text, check) = bytes.split_at(actual - CHECK_BYTES);
    if check_bytes(text) != check {
        return Err(RecordError::Check);
    }
    if !day.is_representable() {
        return Err(RecordError::Day(day.0));
    }
    if is_action == (kind == Kind::ARRIVAL) {
        return Err(RecordError::Shape(kind.0));
    }
    Ok(head)
}

#[cfg(test)]
mod tests;

//! The payload of a records block: the records of a commit, and where its bodies lie.
//! Never holds a body's bytes.

use crate::codec::Codec;
use quar_base::ids::BodyId;
use quar_base::limits::{MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use quar_base::record::Record;
use std::ops::Range;

const TAG_RECORD: u8 = 1;
const TAG_BODY: u8 = 2;
const BODY_ENTRY_BYTES: usize = 32 + 5 * 4 + 1;

/// Where one coded body lies: inside of a bodies block of the same segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BodyEntry {
    pub(crate) id: BodyId,
    pub(crate) raw_bytes: u32,
    pub(crate) coded_bytes: u32,
    /// Offset of the bodies block in the file.
    pub(crate) block: u32,
    /// Offset of the coded bytes in the block's payload.
    pub(crate) start: u32,
    /// Offset of the first copy of its dictionary in the file; 0 without one.
    pub(crate) dictionary: u32,
    pub(crate) codec: Codec,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Record(Record),
    Body(BodyEntry),
}

/// A payload that is no list of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records block holds no valid list of entries")]
pub(crate) struct EntriesError;

impl Entry {
    pub(crate) fn body_id(&self) -> Option<BodyId> {
        match self {
            Self::Body(body) => Some(body.id),
            Self::Record(_) => None,
        }
    }

    pub(crate) fn into_record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Body(_) => None,
        }
    }

    pub(crate) fn encode(&self, payload: &mut Vec<u8>) {
        match self {
            Self::Record(record) => {
                let length = u32::try_from(record.bytes().len()).expect("records are bounded");
                payload.push(TAG_RECORD);
                payload.extend_from_slice(&length.to_le_bytes());
                payload.extend_from_slice(record.bytes());
            }
            Self::Body(body) => {
                payload.push(TAG_BODY);
                payload.extend_from_slice(&body.id.0);
                let BodyEntry { raw_bytes, coded_bytes, block, start, dictionary, .. } = body;
                for number in [raw_bytes, coded_bytes, block, start, dictionary] {
                    payload.extend_from_slice(&number.to_le_bytes());
                }
                payload.push(body.codec as u8);
            }
        }
    }

    /// Reads a whole payload.
    pub(crate) fn decode_all(payload: &[u8]) -> Result<Vec<Self>, EntriesError> {
        Self::spans(payload).map(|span| Self::decode_one(&payload[span?])).collect()
    }

    /// Where each entry of a payload lies. Nothing follows an error.
    pub(crate) fn spans(
        payload: &[u8],
    ) -> impl Iterator<Item = Result<Range<usize>, EntriesError>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = payload.get(at..).filter(|rest| !rest.is_empty())?;
            let length = length_of(rest).filter(|length| *length <= rest.len());
            let span = length.map(|length| at..at + length).ok_or(EntriesError);
            at = span.as_ref().map_or(payload.len(), |span| span.end);
            Some(span)
        })
    }

    /// Whether the bytes of an entry, as [`Self::spans`] cut it, hold a record.
    pub(crate) fn is_record(bytes: &[u8]) -> bool {
        bytes.first() == Some(&TAG_RECORD)
    }

    /// Reads one entry, as [`Self::spans`] cut it.
    pub(crate) fn decode_one(bytes: &[u8]) -> Result<Self, EntriesError> {
        match bytes.split_first() {
            Some((&TAG_RECORD, rest)) => decode_record(rest),
            Some((&TAG_BODY, rest)) => decode_body(rest),
            _ => Err(EntriesError),
        }
    }
}

/// Bytes of the entry that comes first.
fn length_of(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        TAG_RECORD => {
            let length = u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize;
            (length <= RECORD_BYTES_MAX).then_some(1 + 4 + length)
        }
        TAG_BODY => Some(1 + BODY_ENTRY_BYTES),
        _ => None,
    }
}

fn decode_record(bytes: &[u8]) -> Result<Entry, EntriesError> {
    let (_, record) = bytes.split_first_chunk::<4>().ok_or(EntriesError)?;
    Record::parse(record.to_vec()).map(Entry::Record).map_err(|_| EntriesError)
}

fn decode_body(bytes: &[u8]) -> Result<Entry, EntriesError> {
    let fields: &[u8; BODY_ENTRY_BYTES] = bytes.try_into().map_err(|_| EntriesError)?;
    let number = |index: usize| {
        let at = 32 + 4 * index;
        u32::from_le_bytes(fields[at..at + 4].try_into().expect("inside of a fixed-size entry"))
    };
    let entry = BodyEntry {
        id: BodyId::from_slice(&fields[..32]).expect("32 bytes are a body id"),
        raw_bytes: number(0),
        coded_bytes: number(1),
        block: number(2),
        start: number(3),
        dictionary: number(4),
        codec: Codec::from_number(fields[BODY_ENTRY_BYTES - 1]).ok_or(EntriesError)?,
    };
    let is_bounded = entry.raw_bytes as usize <= MESSAGE_BYTES_MAX
        && entry.coded_bytes as usize <= MESSAGE_BYTES_MAX;
    if is_bounded { Ok(Entry::Body(entry)) } else { Err(EntriesError) }
}

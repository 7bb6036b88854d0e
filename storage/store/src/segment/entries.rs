//! The payload of a records block: the records of a commit, and where its bodies lie.
//! Never holds a body's bytes.

use crate::codec::Codec;
use quar_base::ids::BodyId;
use quar_base::limits::{MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use quar_base::record::Record;

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
    pub(crate) fn decode_all(mut payload: &[u8]) -> Result<Vec<Self>, EntriesError> {
        let mut entries = Vec::new();
        while let Some((tag, rest)) = payload.split_first() {
            let (entry, rest) = match *tag {
                TAG_RECORD => decode_record(rest)?,
                TAG_BODY => decode_body(rest)?,
                _ => return Err(EntriesError),
            };
            entries.push(entry);
            payload = rest;
        }
        Ok(entries)
    }
}

fn decode_record(bytes: &[u8]) -> Result<(Entry, &[u8]), EntriesError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(EntriesError)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(EntriesError);
    }
    let (record, rest) = rest.split_at_checked(length).ok_or(EntriesError)?;
    let record = Record::parse(record.to_vec()).map_err(|_| EntriesError)?;
    Ok((Entry::Record(record), rest))
}

fn decode_body(bytes: &[u8]) -> Result<(Entry, &[u8]), EntriesError> {
    let (fields, rest) = bytes.split_first_chunk::<BODY_ENTRY_BYTES>().ok_or(EntriesError)?;
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
    if is_bounded { Ok((Entry::Body(entry), rest)) } else { Err(EntriesError) }
}

//! Keys and values of the index: where records and bodies lie, and what is known of them.
//! Never holds anything that the segments do not say, nor an address or a subject.
//!
//! ```text
//! bucket tree   'a' message key, action key   kind, and for deletes whom     12..
//!               'b' body id (16 bytes)        place of the coded body        25
//!               'd' digest (12 bytes)         resend guard: record key's     12 first bytes
//!               'r' record key                place of the record            12
//!               'w' body id, arrival's key    nothing: the arrival needs it  0
//! meta tree     's' class day segment         watermark                      32
//! ```
//! Byte tables: docs/formats.md, "Index".

use crate::codec::Codec;
use crate::segment::{BlockPlace, BodyEntry, SegmentName};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{Kind, Record};
use quar_base::time::Day;

pub(crate) const ACTION: u8 = b'a';
pub(crate) const BODY: u8 = b'b';
pub(crate) const RECORD: u8 = b'r';
pub(crate) const WANTED: u8 = b'w';
const RESEND: u8 = b'd';
const WATERMARK: u8 = b's';
const BODY_PREFIX_BYTES: usize = 16;
/// Bytes of a resend guard's digest.
pub(crate) const RESEND_BYTES: usize = 12;
/// First bytes of a record key that a resend guard keeps: the second and 8 bytes of the id.
pub(crate) const RESEND_KEY_BYTES: usize = 12;

/// Where a record lies, and its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordPlace {
    pub(crate) block: BlockPlace,
    /// Number among the block's records.
    pub(crate) number: u16,
    pub(crate) kind: Kind,
}

/// Where a coded body lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BodyPlace {
    pub(crate) block: BlockPlace,
    pub(crate) start: u32,
    pub(crate) coded_bytes: u32,
    pub(crate) raw_bytes: u32,
    /// Offset of its dictionary in the segment; 0 without one.
    pub(crate) dictionary: u32,
    pub(crate) codec: Codec,
}

/// How far a segment is in the index, and what of it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Watermark {
    /// Everything before this offset is in the index.
    pub(crate) end: u64,
    /// Index keys that name a place before `end`.
    pub(crate) keys: u64,
    /// Wrapping sum over these keys of eight of their bytes.
    pub(crate) digest: u64,
    /// First bytes of the segment's salt: an index of another store does not vouch for ours.
    pub(crate) salt: [u8; 8],
}

pub(crate) fn record_key(key: &RecordKey) -> Vec<u8> {
    tagged(RECORD, &[&key.to_bytes()])
}

pub(crate) fn record_key_from_second(second: u32) -> Vec<u8> {
    tagged(RECORD, &[&second.to_be_bytes()])
}

pub(crate) fn body_key(id: &BodyId) -> Vec<u8> {
    tagged(BODY, &[&id.0[..BODY_PREFIX_BYTES]])
}

pub(crate) fn action_key(message: &RecordKey, action: &RecordKey) -> Vec<u8> {
    tagged(ACTION, &[&message.to_bytes(), &action.to_bytes()])
}

pub(crate) fn actions_of(message: &RecordKey) -> Vec<u8> {
    tagged(ACTION, &[&message.to_bytes()])
}

pub(crate) fn wanted_key(id: &BodyId, arrival: &RecordKey) -> Vec<u8> {
    tagged(WANTED, &[&id.0, &arrival.to_bytes()])
}

pub(crate) fn resend_key(digest: &[u8; RESEND_BYTES]) -> Vec<u8> {
    tagged(RESEND, &[digest])
}

pub(crate) fn resend_value(key: &RecordKey) -> Vec<u8> {
    key.to_bytes()[..RESEND_KEY_BYTES].to_vec()
}

pub(crate) fn watermark_key(name: &SegmentName) -> Vec<u8> {
    let Bucket { class, day } = name.bucket;
    tagged(WATERMARK, &[&[class.0], &day.0.to_be_bytes(), &name.number.to_be_bytes()])
}

pub(crate) fn watermark_keys() -> Vec<u8> {
    vec![WATERMARK]
}

fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// The record key in an `'r'` key; `None` for keys with another tag or length.
pub(crate) fn parse_record_key(key: &[u8]) -> Option<RecordKey> {
    RecordKey::from_slice(key.strip_prefix(&[RECORD])?)
}

/// Message key and action key of an `'a'` key.
pub(crate) fn parse_action_key(key: &[u8]) -> Option<(RecordKey, RecordKey)> {
    let (message, action) = key.strip_prefix(&[ACTION])?.split_at_checked(RecordKey::BYTES)?;
    Some((RecordKey::from_slice(message)?, RecordKey::from_slice(action)?))
}

/// Body id and arrival's key of a `'w'` key.
pub(crate) fn parse_wanted_key(key: &[u8]) -> Option<(BodyId, RecordKey)> {
    let (body, arrival) = key.strip_prefix(&[WANTED])?.split_at_checked(BodyId::BYTES)?;
    Some((BodyId::from_slice(body)?, RecordKey::from_slice(arrival)?))
}

/// The segment of an `'s'` key.
pub(crate) fn parse_watermark_key(key: &[u8]) -> Option<SegmentName> {
    let fields: &[u8; 9] = key.strip_prefix(&[WATERMARK])?.try_into().ok()?;
    let number = |at: usize| {
        u32::from_be_bytes(fields[at..at + 4].try_into().expect("inside of nine bytes"))
    };
    let bucket = Bucket { class: Class(fields[0]), day: Day(number(1)) };
    Some(SegmentName { bucket, number: number(5) })
}

/// The segment that the place in an `'r'` or `'b'` entry's value names.
pub(crate) fn segment_of(place: &[u8]) -> Option<u32> {
    Numbers(place).u32()
}

/// What an index key adds to its segment's digest.
pub(crate) fn digest_of_key(key: &[u8]) -> u64 {
    let tail = key.last_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(tail)
}

/// Reads fixed-width little-endian numbers off the front of a value.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

impl RecordPlace {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(12);
        value.extend_from_slice(&self.block.segment.to_le_bytes());
        value.extend_from_slice(&self.block.offset.to_le_bytes());
        value.extend_from_slice(&self.number.to_le_bytes());
        value.extend_from_slice(&self.kind.0.to_le_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        let block = BlockPlace { segment: numbers.u32()?, offset: numbers.u32()? };
        let number = u16::from_le_bytes(numbers.take()?);
        let kind = Kind(u16::from_le_bytes(numbers.take()?));
        numbers.0.is_empty().then_some(Self { block, number, kind })
    }
}

impl BodyPlace {
    pub(crate) fn new(segment: u32, entry: &BodyEntry) -> Self {
        Self {
            block: BlockPlace { segment, offset: entry.block },
            start: entry.start,
            coded_bytes: entry.coded_bytes,
            raw_bytes: entry.raw_bytes,
            dictionary: entry.dictionary,
            codec: entry.codec,
        }
    }

    /// The entry in the segment for the body that this place was looked up for.
    pub(crate) fn entry(&self, id: BodyId) -> BodyEntry {
        BodyEntry {
            id,
            raw_bytes: self.raw_bytes,
            coded_bytes: self.coded_bytes,
            block: self.block.offset,
            start: self.start,
            dictionary: self.dictionary,
            codec: self.codec,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(25);
        let BlockPlace { segment, offset } = self.block;
        let Self { start, coded_bytes, raw_bytes, dictionary, .. } = *self;
        for number in [segment, offset, start, coded_bytes, raw_bytes, dictionary] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        value.push(self.codec as u8);
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        let block = BlockPlace { segment: numbers.u32()?, offset: numbers.u32()? };
        let (start, coded_bytes, raw_bytes) = (numbers.u32()?, numbers.u32()?, numbers.u32()?);
        let dictionary = numbers.u32()?;
        let [codec] = numbers.take()?;
        let codec = Codec::from_number(codec)?;
        let place = Self { block, start, coded_bytes, raw_bytes, dictionary, codec };
        numbers.0.is_empty().then_some(place)
    }
}

impl Watermark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.end, self.keys, self.digest]
            .map(u64::to_le_bytes)
            .into_iter()
            .chain([self.salt])
            .flatten()
            .collect()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(value);
        let mut u64 = || numbers.take().map(u64::from_le_bytes);
        let (end, keys, digest) = (u64()?, u64()?, u64()?);
        let salt = numbers.take()?;
        numbers.0.is_empty().then_some(Self { end, keys, digest, salt })
    }
}

/// The `'a'` entry of an action's record.
pub(crate) fn action_entry(record: &Record) -> (Vec<u8>, Vec<u8>) {
    let deleted = match Action::decode(record) {
        Ok(Some(Action::Deleted(recipients))) => Some(recipients),
        _ => None,
    };
    let key = action_key(&record.message().key, &record.key());
    (key, action_value(record.head().kind, deleted.as_ref()))
}

/// Value of an `'a'` entry: the action's kind, and whom a delete covers.
pub(crate) fn action_value(kind: Kind, deleted: Option<&RecipientSet>) -> Vec<u8> {
    let mut value = kind.0.to_le_bytes().to_vec();
    if let Some(deleted) = deleted {
        let count = u16::try_from(deleted.recipient_count()).expect("recipient sets are bounded");
        value.extend_from_slice(&count.to_le_bytes());
        value.extend_from_slice(deleted.bitmap());
    }
    value
}

/// The kind in an `'a'` entry; `None` for damage.
pub(crate) fn action_kind(value: &[u8]) -> Option<Kind> {
    Numbers(value).take().map(|bytes| Kind(u16::from_le_bytes(bytes)))
}

/// Whom a delete's `'a'` entry covers; `Ok(None)` for other kinds, `Err` for damage.
pub(crate) fn parse_action_value(value: &[u8]) -> Result<Option<RecipientSet>, ()> {
    let mut numbers = Numbers(value);
    let kind = numbers.take().map(|bytes| Kind(u16::from_le_bytes(bytes))).ok_or(())?;
    if kind != Kind::DELETED {
        return Ok(None);
    }
    let count = u16::from_le_bytes(numbers.take().ok_or(())?);
    RecipientSet::from_bitmap(count.into(), numbers.0).map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{
        BodyPlace, RecordPlace, Watermark, action_key, action_value, parse_action_key,
        parse_action_value, parse_record_key, parse_wanted_key, parse_watermark_key, record_key,
        wanted_key, watermark_key,
    };
    use crate::codec::Codec;
    use crate::segment::{BlockPlace, SegmentName};
    use quar_base::class::Class;
    use quar_base::coverage::RecipientSet;
    use quar_base::ids::{BodyId, RecordId};
    use quar_base::key::{Bucket, RecordKey};
    use quar_base::record::Kind;
    use quar_base::time::Day;

    const KEY: RecordKey = RecordKey { second: 77, id: RecordId([8; 32]) };
    const BLOCK: BlockPlace = BlockPlace { segment: 3, offset: 0x0102_0304 };

    #[test]
    fn keys_parse_back() {
        assert_eq!(parse_record_key(&record_key(&KEY)), Some(KEY));
        let other = RecordKey { second: 5, ..KEY };
        assert_eq!(parse_action_key(&action_key(&KEY, &other)), Some((KEY, other)));
        assert_eq!(parse_record_key(&action_key(&KEY, &other)), None);
        let body = BodyId([4; 32]);
        assert_eq!(parse_wanted_key(&wanted_key(&body, &KEY)), Some((body, KEY)));
        let bucket = Bucket { class: Class::VIRUS, day: Day(20_780) };
        let name = SegmentName { bucket, number: 9 };
        assert_eq!(parse_watermark_key(&watermark_key(&name)), Some(name));
    }

    #[test]
    fn values_decode_to_what_was_encoded_and_nothing_shorter_or_longer() {
        let record = RecordPlace { block: BLOCK, number: 4, kind: Kind::DELETED };
        let (start, coded_bytes, raw_bytes, dictionary) = (1, 2, 3, 4);
        let codec = Codec::Zstd;
        let body = BodyPlace { block: BLOCK, start, coded_bytes, raw_bytes, dictionary, codec };
        let mark = Watermark { end: 1 << 33, keys: 5, digest: u64::MAX, salt: [6; 8] };
        assert_eq!(RecordPlace::decode(&record.encode()), Some(record));
        assert_eq!(BodyPlace::decode(&body.encode()), Some(body));
        assert_eq!(Watermark::decode(&mark.encode()), Some(mark));
        for mut value in [record.encode(), body.encode(), mark.encode()] {
            value.push(0);
            assert_eq!(RecordPlace::decode(&value), None);
            assert_eq!(BodyPlace::decode(&value), None);
            assert_eq!(Watermark::decode(&value), None);
        }
    }

    #[test]
    fn a_delete_keeps_whom_it_covers() {
        let set = RecipientSet::of(9, &[0, 8]).unwrap();
        let value = action_value(Kind::DELETED, Some(&set));
        assert_eq!(parse_action_value(&value), Ok(Some(set)));
        assert_eq!(parse_action_value(&action_value(Kind(99), None)), Ok(None));
        assert_eq!(parse_action_value(&[16]), Err(()));
    }
}

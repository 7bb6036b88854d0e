//! Frames about lots: records that one side has and the other lacks, offered, taken, and sent.
//! Never holds a record itself: those are in batches.

use crate::codec::{Malformed, NO_BUCKET, Reader, put_bucket_after, put_varint};
use crate::limits;
use quar_base::key::{Bucket, RecordKey};
use quar_merkle::Prefix;

const SPAN: u8 = 0;
const NAMES: u8 = 1;
const WHOLE_NAMES: u8 = 2;
/// No lot takes fewer bytes.
const LOT_BYTES_MIN: usize = 4;

/// Nibbles of a key's second: a prefix that is no longer is a span of seconds.
pub(crate) const SECOND_NIBBLES: u8 = 8;
/// Nibbles of a short name: a record's second and the first four bytes of its id.
const NAME_NIBBLES: u8 = 16;

/// The short name of a record: what all keys that share it begin with.
pub(crate) fn name_of(key: &RecordKey) -> Prefix {
    let mut bytes = key.to_bytes();
    bytes[usize::from(NAME_NIBBLES / 2)..].fill(0);
    Prefix::new(bytes, NAME_NIBBLES).expect("there are zeros behind it")
}

/// The whole key as a name, where another record has the same short one.
pub(crate) fn whole_name_of(key: &RecordKey) -> Prefix {
    Prefix::new(key.to_bytes(), Prefix::NIBBLES_MAX).expect("nothing is behind it")
}

/// What all keys of a second begin with.
pub(crate) fn prefix_of(second: u32) -> Prefix {
    let mut bytes = [0; RecordKey::BYTES];
    bytes[..4].copy_from_slice(&second.to_be_bytes());
    Prefix::new(bytes, SECOND_NIBBLES).expect("there are zeros behind it")
}

/// The first second of which there are keys under a prefix; of a name, the second of its record.
pub(crate) fn second_of(prefix: &Prefix) -> u32 {
    let [a, b, c, d, ..] = *prefix.bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Records that are offered and taken together, all of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lot {
    /// All of these seconds, the first and the last one included, and how many those are.
    Span(Bucket, u32, u32, u64),
    /// Those of these names, all short or all whole ones, which ascend.
    Names(Bucket, Vec<Prefix>),
}

impl Lot {
    pub(crate) fn bucket(&self) -> Bucket {
        match self {
            Self::Span(bucket, ..) | Self::Names(bucket, _) => *bucket,
        }
    }

    /// How many records.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Span(.., count) => *count,
            Self::Names(_, names) => names.len() as u64,
        }
    }

    /// Whether a record belongs to it.
    pub(crate) fn contains(&self, bucket: Bucket, key: &RecordKey) -> bool {
        self.bucket() == bucket
            && match self {
                Self::Span(_, from, to, _) => (*from..=*to).contains(&key.second),
                Self::Names(_, names) => [name_of(key), whole_name_of(key)]
                    .iter()
                    .any(|name| names.binary_search(name).is_ok()),
            }
    }

    fn encode(&self, before: &mut Bucket, out: &mut Vec<u8>) {
        match self {
            Self::Span(bucket, from, to, count) => {
                out.push(SPAN);
                put_bucket_after(out, before, *bucket);
                put_varint(out, (*from).into());
                put_varint(out, to.saturating_sub(*from).into());
                put_varint(out, *count);
            }
            Self::Names(bucket, names) => {
                let is_whole = names.first().is_some_and(|name| name.nibbles() > NAME_NIBBLES);
                out.push(if is_whole { WHOLE_NAMES } else { NAMES });
                put_bucket_after(out, before, *bucket);
                put_varint(out, names.len() as u64);
                let mut second = 0;
                for name in names {
                    let own = second_of(name);
                    put_varint(out, own.saturating_sub(second).into());
                    out.extend_from_slice(&name.bytes()[4..usize::from(name.nibbles() / 2)]);
                    second = own;
                }
            }
        }
    }

    fn decode(before: &mut Bucket, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = fields.u8()?;
        let bucket = fields.bucket_after(before)?;
        let lot = match tag {
            SPAN => {
                let (from, seconds) = (take_u32(fields)?, take_u32(fields)?);
                let to = from.checked_add(seconds).ok_or(Malformed)?;
                Self::Span(bucket, from, to, fields.varint()?)
            }
            NAMES => Self::Names(bucket, take_names(fields, NAME_NIBBLES)?),
            WHOLE_NAMES => Self::Names(bucket, take_names(fields, Prefix::NIBBLES_MAX)?),
            _ => return Err(Malformed),
        };
        if (1..=limits::LOT_KEYS).contains(&lot.count()) { Ok(lot) } else { Err(Malformed) }
    }
}

fn take_u32(fields: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(fields.varint()?).map_err(|_| Malformed)
}

fn take_names(fields: &mut Reader<'_>, nibbles: u8) -> Result<Vec<Prefix>, Malformed> {
    let bytes = usize::from(nibbles / 2);
    let count = fields.count(1 + bytes - 4)?;
    let mut second = 0u32;
    let name = |_| {
        second = second.checked_add(take_u32(fields)?).ok_or(Malformed)?;
        let mut name = [0; RecordKey::BYTES];
        name[..4].copy_from_slice(&second.to_be_bytes());
        name[4..bytes].copy_from_slice(fields.bytes(bytes - 4)?);
        Prefix::new(name, nibbles).map_err(|_| Malformed)
    };
    let names = (0..count).map(name).collect::<Result<Vec<_>, Malformed>>()?;
    let is_right = names.len() <= limits::LOT_NAMES && names.is_sorted_by(|a, b| a < b);
    if is_right { Ok(names) } else { Err(Malformed) }
}

/// Lots that the receiver lacks, in as many frames as they need.
pub(crate) fn encode_offers(lots: &[Lot]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let (mut count, mut bytes, mut before) = (0u64, Vec::new(), NO_BUCKET);
    for lot in lots {
        lot.encode(&mut before, &mut bytes);
        count += 1;
        if bytes.len() > limits::FLIGHT_FRAME_BYTES {
            frames.push(offer_frame(count, &bytes));
            (count, bytes, before) = (0, Vec::new(), NO_BUCKET);
        }
    }
    if count > 0 {
        frames.push(offer_frame(count, &bytes));
    }
    frames
}

fn offer_frame(count: u64, lots: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lots.len() + 4);
    put_varint(&mut out, count);
    out.extend_from_slice(lots);
    out
}

pub(crate) fn decode_offer(payload: &[u8]) -> Result<Vec<Lot>, Malformed> {
    let mut fields = Reader(payload);
    let count = fields.count(LOT_BYTES_MIN)?;
    let mut before = NO_BUCKET;
    let one = |_| Lot::decode(&mut before, &mut fields);
    let lots = (0..count).map(one).collect::<Result<_, _>>()?;
    fields.end()?;
    Ok(lots)
}

/// A lot that the sender takes, under a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakeFrame {
    pub(crate) number: u64,
    pub(crate) lot: Lot,
}

impl TakeFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.number);
        self.lot.encode(&mut NO_BUCKET.clone(), &mut out);
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let number = fields.varint()?;
        let lot = Lot::decode(&mut NO_BUCKET.clone(), &mut fields)?;
        fields.end()?;
        Ok(Self { number, lot })
    }
}

/// A lot by its number: all of it was sent, or what is left of it is not wanted any more.
pub(crate) fn encode_lot_number(number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, number);
    out
}

pub(crate) fn decode_lot_number(payload: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Reader(payload);
    let number = fields.varint()?;
    fields.end()?;
    Ok(number)
}

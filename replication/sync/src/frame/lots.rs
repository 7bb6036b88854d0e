//! Frames about lots: records that one side has and the other lacks, offered, taken, and sent.
//! Never holds a record itself: those are in batches.

use crate::codec::{Malformed, Reader, put_bucket, put_varint};
use crate::limits;
use quar_base::key::{Bucket, RecordKey};
use quar_merkle::Prefix;

const RANGE: u8 = 0;
const KEYS: u8 = 1;
/// No lot takes fewer bytes.
const LOT_BYTES_MIN: usize = 5;

/// Records that are offered and taken together, all of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lot {
    /// All under a prefix, and how many those are.
    Range(Bucket, Prefix, u64),
    /// These, in ascending order.
    Keys(Bucket, Vec<RecordKey>),
}

impl Lot {
    pub(crate) fn bucket(&self) -> Bucket {
        match self {
            Self::Range(bucket, ..) | Self::Keys(bucket, _) => *bucket,
        }
    }

    /// How many records.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Range(_, _, count) => *count,
            Self::Keys(_, keys) => keys.len() as u64,
        }
    }

    /// Whether a record belongs to it.
    pub(crate) fn contains(&self, bucket: Bucket, key: &RecordKey) -> bool {
        match self {
            Self::Range(own, prefix, _) => *own == bucket && prefix.contains(key),
            Self::Keys(own, keys) => *own == bucket && keys.binary_search(key).is_ok(),
        }
    }

    /// Lots of ascending keys.
    pub(crate) fn of_keys(mut keys: Vec<(Bucket, RecordKey)>) -> Vec<Self> {
        keys.sort_unstable();
        keys.dedup();
        let of_bucket = keys.chunk_by(|(one, _), (other, _)| one == other);
        let lots = of_bucket.flat_map(|keys| keys.chunks(limits::LOT_NAMES));
        lots.map(|keys| Self::Keys(keys[0].0, keys.iter().map(|(_, key)| *key).collect())).collect()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Range(bucket, prefix, count) => {
                out.push(RANGE);
                put_bucket(out, *bucket);
                prefix.encode(out);
                put_varint(out, *count);
            }
            Self::Keys(bucket, keys) => {
                out.push(KEYS);
                put_bucket(out, *bucket);
                put_varint(out, keys.len() as u64);
                keys.iter().for_each(|key| out.extend_from_slice(&key.to_bytes()));
            }
        }
    }

    fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = fields.u8()?;
        let bucket = fields.bucket()?;
        match tag {
            RANGE => {
                let (prefix, rest) = Prefix::decode(fields.0).map_err(|_| Malformed)?;
                fields.0 = rest;
                let count = fields.varint()?;
                let is_right = (1..=limits::LOT_KEYS).contains(&count);
                if is_right { Ok(Self::Range(bucket, prefix, count)) } else { Err(Malformed) }
            }
            KEYS => {
                let count = fields.count(RecordKey::BYTES)?;
                let key = |_| Ok(RecordKey::from_bytes(&fields.array()?));
                let keys = (0..count).map(key).collect::<Result<Vec<_>, Malformed>>()?;
                let is_right =
                    (1..=limits::LOT_NAMES).contains(&count) && keys.is_sorted_by(|a, b| a < b);
                if is_right { Ok(Self::Keys(bucket, keys)) } else { Err(Malformed) }
            }
            _ => Err(Malformed),
        }
    }
}

/// Lots that the receiver lacks, in as many frames as they need.
pub(crate) fn encode_offers(lots: &[Lot]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let (mut count, mut bytes) = (0u64, Vec::new());
    for lot in lots {
        lot.encode(&mut bytes);
        count += 1;
        if bytes.len() > limits::FLIGHT_FRAME_BYTES {
            frames.push(offer_frame(count, &bytes));
            (count, bytes) = (0, Vec::new());
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
    let lots = (0..count).map(|_| Lot::decode(&mut fields)).collect::<Result<_, _>>()?;
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
        self.lot.encode(&mut out);
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let number = fields.varint()?;
        let lot = Lot::decode(&mut fields)?;
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

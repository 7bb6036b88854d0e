//! Frames of a comparison: what each side has, place by place, and which keys it lacks.
//! Never compares anything.

use crate::codec::{Malformed, NO_BUCKET, Reader, put_bucket_after, put_varint};
use crate::limits;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use quar_merkle::Prefix;

/// No place that is told of takes fewer bytes.
const TOLD_BYTES_MIN: usize = 3;

/// A class and a month: months are counted from 1970-01.
pub(crate) type Month = (Class, u32);

/// The initiator's buckets: the newest days singly, older ones by month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketsFrame {
    pub(crate) cutoff_steps: u32,
    pub(crate) round: u32,
    pub(crate) first_single: Day,
    pub(crate) days: Vec<(Bucket, u32)>,
    pub(crate) months: Vec<(Month, u32)>,
}

impl BucketsFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.cutoff_steps.to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        put_varint(&mut out, self.first_single.0.into());
        put_days(&mut out, &self.days);
        put_varint(&mut out, self.months.len() as u64);
        for ((class, month), hash) in &self.months {
            out.push(class.0);
            put_varint(&mut out, (*month).into());
            out.extend_from_slice(&hash.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let cutoff_steps = fields.u32()?;
        let round = fields.u32()?;
        let first_single = Day(u32::try_from(fields.varint()?).map_err(|_| Malformed)?);
        let days = take_days(&mut fields)?;
        let count = fields.count(6)?;
        let mut months = Vec::with_capacity(count);
        for _ in 0..count {
            let class = Class(fields.u8()?);
            let month = u32::try_from(fields.varint()?).map_err(|_| Malformed)?;
            months.push(((class, month), fields.u32()?));
        }
        fields.end()?;
        Ok(Self { cutoff_steps, round, first_single, days, months })
    }
}

fn put_days(out: &mut Vec<u8>, days: &[(Bucket, u32)]) {
    put_varint(out, days.len() as u64);
    let mut before = NO_BUCKET;
    for (bucket, hash) in days {
        put_bucket_after(out, &mut before, *bucket);
        out.extend_from_slice(&hash.to_le_bytes());
    }
}

fn take_days(fields: &mut Reader<'_>) -> Result<Vec<(Bucket, u32)>, Malformed> {
    let count = fields.count(5)?;
    let mut days = Vec::with_capacity(count);
    let mut before = NO_BUCKET;
    for _ in 0..count {
        days.push((fields.bucket_after(&mut before)?, fields.u32()?));
    }
    Ok(days)
}

/// What one side has in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The days of a month whose hashes differ.
    Days(Month, Vec<(Bucket, u32)>),
    /// Nothing under a prefix.
    Empty(Bucket, Prefix),
    /// All keys under a prefix, by their short forms.
    Leaf(Bucket, Prefix, Vec<u32>),
    /// The branches under a prefix, and where they branch.
    Page(Bucket, Prefix, Prefix, Vec<(u8, u32)>),
}

impl Told {
    fn encode(&self, before: &mut Bucket, out: &mut Vec<u8>) {
        match self {
            Self::Days((class, month), days) => {
                out.extend_from_slice(&[0, class.0]);
                put_varint(out, (*month).into());
                put_days(out, days);
            }
            Self::Empty(bucket, prefix) => {
                out.push(1);
                put_bucket_after(out, before, *bucket);
                prefix.encode(out);
            }
            Self::Leaf(bucket, prefix, shorts) => {
                out.push(2);
                put_bucket_after(out, before, *bucket);
                prefix.encode(out);
                put_shorts(out, shorts);
            }
            Self::Page(bucket, prefix, at, children) => {
                out.push(if at == prefix { 3 } else { 4 });
                put_bucket_after(out, before, *bucket);
                prefix.encode(out);
                if at != prefix {
                    at.encode(out);
                }
                let bitmap = children.iter().fold(0u16, |bits, (nibble, _)| bits | 1 << nibble);
                out.extend_from_slice(&bitmap.to_le_bytes());
                children.iter().for_each(|(_, hash)| out.extend_from_slice(&hash.to_le_bytes()));
            }
        }
    }

    fn decode(before: &mut Bucket, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = fields.u8()?;
        if tag == 0 {
            let class = Class(fields.u8()?);
            let month = u32::try_from(fields.varint()?).map_err(|_| Malformed)?;
            let days = take_days(fields)?;
            return if days.len() > 31 {
                Err(Malformed)
            } else {
                Ok(Self::Days((class, month), days))
            };
        }
        let bucket = fields.bucket_after(before)?;
        let prefix = take_prefix(fields)?;
        match tag {
            1 => Ok(Self::Empty(bucket, prefix)),
            2 => Ok(Self::Leaf(bucket, prefix, take_shorts(fields)?)),
            3 | 4 => {
                let at = if tag == 3 { prefix } else { take_prefix(fields)? };
                let bitmap = fields.u16()?;
                let mut children = Vec::with_capacity(16);
                for nibble in (0..16u8).filter(|nibble| bitmap >> nibble & 1 == 1) {
                    children.push((nibble, fields.u32()?));
                }
                let is_right = prefix.covers(&at) && at.nibbles() < Prefix::NIBBLES_MAX;
                let is_right = is_right && (tag == 3 || at != prefix);
                if is_right { Ok(Self::Page(bucket, prefix, at, children)) } else { Err(Malformed) }
            }
            _ => Err(Malformed),
        }
    }
}

fn take_prefix(fields: &mut Reader<'_>) -> Result<Prefix, Malformed> {
    let (prefix, rest) = Prefix::decode(fields.0).map_err(|_| Malformed)?;
    fields.0 = rest;
    Ok(prefix)
}

fn put_shorts(out: &mut Vec<u8>, shorts: &[u32]) {
    put_varint(out, shorts.len() as u64);
    shorts.iter().for_each(|short| out.extend_from_slice(&short.to_le_bytes()));
}

fn take_shorts(fields: &mut Reader<'_>) -> Result<Vec<u32>, Malformed> {
    let count = fields.count(4)?;
    if count > limits::WANT_KEYS {
        return Err(Malformed);
    }
    (0..count).map(|_| fields.u32()).collect()
}

/// Part of a flight: what one side tells in answer to the other's flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlightFrame {
    /// Whose answer it is: a round that was given up by one side may be answered by the other.
    pub(crate) round: u32,
    pub(crate) is_last: bool,
    pub(crate) told: Vec<Told>,
}

impl FlightFrame {
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let round = fields.u32()?;
        let is_last = fields.flag()?;
        let count = fields.count(TOLD_BYTES_MIN)?;
        if count > limits::FRAME_DESCRIPTIONS {
            return Err(Malformed);
        }
        let mut before = NO_BUCKET;
        let one = |_| Told::decode(&mut before, &mut fields);
        let told = (0..count).map(one).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { round, is_last, told })
    }

    /// One frame of a flight.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (mut places, mut before) = (Vec::new(), NO_BUCKET);
        self.told.iter().for_each(|told| told.encode(&mut before, &mut places));
        flight_frame(self.round, self.is_last, self.told.len() as u64, &places)
    }

    /// A flight in as many frames as it needs; the last one says so.
    pub(crate) fn encode_all(round: u32, told: &[Told]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let (mut count, mut places, mut before) = (0u64, Vec::new(), NO_BUCKET);
        for one in told {
            if places.len() > limits::FLIGHT_FRAME_BYTES {
                frames.push(flight_frame(round, false, count, &places));
                (count, places, before) = (0, Vec::new(), NO_BUCKET);
            }
            one.encode(&mut before, &mut places);
            count += 1;
        }
        frames.push(flight_frame(round, true, count, &places));
        frames
    }
}

fn flight_frame(round: u32, is_last: bool, count: u64, places: &[u8]) -> Vec<u8> {
    let mut out = round.to_le_bytes().to_vec();
    out.push(is_last.into());
    put_varint(&mut out, count);
    out.extend_from_slice(places);
    out
}

/// Keys that the sender lacks, by their short forms under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedKeys {
    pub(crate) bucket: Bucket,
    pub(crate) prefix: Prefix,
    pub(crate) shorts: Vec<u32>,
    /// Whether the sender has others there, which the receiver lacks.
    pub(crate) has_others: bool,
}

pub(crate) fn encode_want_keys(wants: &[WantedKeys]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, wants.len() as u64);
    let mut before = NO_BUCKET;
    for want in wants {
        put_bucket_after(&mut out, &mut before, want.bucket);
        want.prefix.encode(&mut out);
        out.push(want.has_others.into());
        put_shorts(&mut out, &want.shorts);
    }
    out
}

pub(crate) fn decode_want_keys(payload: &[u8]) -> Result<Vec<WantedKeys>, Malformed> {
    let mut fields = Reader(payload);
    let count = fields.count(TOLD_BYTES_MIN)?;
    if count > limits::WANTS_PER_FRAME {
        return Err(Malformed);
    }
    let mut before = NO_BUCKET;
    let one = |_| {
        let bucket = fields.bucket_after(&mut before)?;
        let prefix = take_prefix(&mut fields)?;
        let has_others = fields.flag()?;
        Ok(WantedKeys { bucket, prefix, shorts: take_shorts(&mut fields)?, has_others })
    };
    let wants = (0..count).map(one).collect::<Result<_, _>>()?;
    fields.end()?;
    Ok(wants)
}

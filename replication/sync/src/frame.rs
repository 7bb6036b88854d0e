//! Frames: their kinds, their fields, their bytes.
//! Never acts on one; and decoding never depends on the state of a connection.
//!
//! Byte tables: docs/formats.md, "Frames".

use crate::codec::{Malformed, Reader, put_bucket, put_varint};
use crate::limits;
use crate::refusal::RefusalReason;
use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use quar_base::time::Day;
use quar_merkle::Prefix;

/// The version both sides must speak.
pub(crate) const VERSION: u8 = 1;

/// Frame kinds. From 64 on, a kind that is not known is passed over.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const FLOORS: u8 = 2;
    pub(crate) const ROSTER: u8 = 3;
    pub(crate) const BUCKETS: u8 = 4;
    pub(crate) const FLIGHT: u8 = 5;
    pub(crate) const WANT_KEYS: u8 = 6;
    pub(crate) const FRESH: u8 = 7;
    pub(crate) const BATCH: u8 = 8;
    pub(crate) const ACK: u8 = 9;
    pub(crate) const WANT_BODIES: u8 = 10;
    pub(crate) const BODY_PART: u8 = 11;
    pub(crate) const NOT_HERE: u8 = 12;
    pub(crate) const PASSED_OVER: u8 = 64;
}

/// The greeting: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) clock_ms: u64,
    /// In units of 10 s.
    pub(crate) cutoff_steps: u32,
    pub(crate) current_root: [u8; 16],
    pub(crate) previous_root: [u8; 16],
    pub(crate) digest: [u8; 8],
    pub(crate) records: u64,
    pub(crate) wanted: u32,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.clock_ms.to_le_bytes()[..6]);
        out.extend_from_slice(&self.cutoff_steps.to_le_bytes());
        out.extend_from_slice(&self.current_root);
        out.extend_from_slice(&self.previous_root);
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.wanted.to_le_bytes());
        out
    }

    /// `Ok(None)` for another protocol version.
    pub(crate) fn decode(payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut fields = Reader(payload);
        if fields.u8()? != VERSION {
            return Ok(None);
        }
        let mut clock = [0; 8];
        clock[..6].copy_from_slice(&fields.array::<6>()?);
        let hello = Self {
            clock_ms: u64::from_le_bytes(clock),
            cutoff_steps: fields.u32()?,
            current_root: fields.array()?,
            previous_root: fields.array()?,
            digest: fields.array()?,
            records: fields.u64()?,
            wanted: fields.u32()?,
        };
        fields.end()?;
        Ok(Some(hello))
    }
}

/// Floors and roster epoch, when the digests differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FloorsFrame {
    pub(crate) roster_epoch: u64,
    pub(crate) floors: Vec<(Class, Day)>,
}

impl FloorsFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.roster_epoch);
        put_varint(&mut out, self.floors.len() as u64);
        for (class, day) in &self.floors {
            put_bucket(&mut out, Bucket { class: *class, day: *day });
        }
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let roster_epoch = fields.varint()?;
        let count = fields.count(2)?;
        if count > 256 {
            return Err(Malformed);
        }
        let pair = |_| fields.bucket().map(|bucket| (bucket.class, bucket.day));
        let floors = (0..count).map(pair).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { roster_epoch, floors })
    }
}

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
    for (bucket, hash) in days {
        put_bucket(out, *bucket);
        out.extend_from_slice(&hash.to_le_bytes());
    }
}

fn take_days(fields: &mut Reader<'_>) -> Result<Vec<(Bucket, u32)>, Malformed> {
    let count = fields.count(6)?;
    let mut days = Vec::with_capacity(count);
    for _ in 0..count {
        days.push((fields.bucket()?, fields.u32()?));
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
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Days((class, month), days) => {
                out.extend_from_slice(&[0, class.0]);
                put_varint(out, (*month).into());
                put_days(out, days);
            }
            Self::Empty(bucket, prefix) => {
                out.push(1);
                put_bucket(out, *bucket);
                prefix.encode(out);
            }
            Self::Leaf(bucket, prefix, shorts) => {
                out.push(2);
                put_bucket(out, *bucket);
                prefix.encode(out);
                put_shorts(out, shorts);
            }
            Self::Page(bucket, prefix, at, children) => {
                out.push(3);
                put_bucket(out, *bucket);
                prefix.encode(out);
                at.encode(out);
                let bitmap = children.iter().fold(0u16, |bits, (nibble, _)| bits | 1 << nibble);
                out.extend_from_slice(&bitmap.to_le_bytes());
                children.iter().for_each(|(_, hash)| out.extend_from_slice(&hash.to_le_bytes()));
            }
        }
    }

    pub(crate) fn decode(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
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
        let bucket = fields.bucket()?;
        let prefix = take_prefix(fields)?;
        match tag {
            1 => Ok(Self::Empty(bucket, prefix)),
            2 => Ok(Self::Leaf(bucket, prefix, take_shorts(fields)?)),
            3 => {
                let at = take_prefix(fields)?;
                let bitmap = fields.u16()?;
                let mut children = Vec::with_capacity(16);
                for nibble in (0..16u8).filter(|nibble| bitmap >> nibble & 1 == 1) {
                    children.push((nibble, fields.u32()?));
                }
                let is_right = prefix.covers(&at) && at.nibbles() < Prefix::NIBBLES_MAX;
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

pub(crate) fn put_shorts(out: &mut Vec<u8>, shorts: &[u32]) {
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
    pub(crate) is_last: bool,
    pub(crate) told: Vec<Told>,
}

impl FlightFrame {
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let is_last = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let mut told = Vec::new();
        while !fields.0.is_empty() {
            told.push(Told::decode(&mut fields)?);
        }
        Ok(Self { is_last, told })
    }

    /// A flight in as many frames as it needs; the last one says so.
    pub(crate) fn encode_all(told: &[Told]) -> Vec<Vec<u8>> {
        let mut frames = vec![vec![0u8]];
        for one in told {
            if frames.last().is_some_and(|frame| frame.len() > limits::FLIGHT_FRAME_BYTES) {
                frames.push(vec![0]);
            }
            if let Some(frame) = frames.last_mut() {
                one.encode(frame);
            }
        }
        if let Some(last) = frames.last_mut() {
            last[0] = 1;
        }
        frames
    }
}

/// Keys that the sender lacks, by their short forms under prefixes.
pub(crate) fn decode_want_keys(
    payload: &[u8],
) -> Result<Vec<(Bucket, Prefix, Vec<u32>)>, Malformed> {
    let mut fields = Reader(payload);
    let mut wants = Vec::new();
    while !fields.0.is_empty() {
        wants.push((fields.bucket()?, take_prefix(&mut fields)?, take_shorts(&mut fields)?));
    }
    Ok(wants)
}

/// A batch is decided: durable, but for what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AckFrame {
    pub(crate) sequence: u64,
    /// Positions in ascending order.
    pub(crate) refused: Vec<(u16, RefusalReason)>,
}

impl AckFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.sequence);
        put_varint(&mut out, self.refused.len() as u64);
        for (position, reason) in &self.refused {
            out.extend_from_slice(&position.to_le_bytes());
            out.push(reason.number());
        }
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let sequence = fields.varint()?;
        let count = fields.count(3)?;
        let mut refused: Vec<(u16, RefusalReason)> = Vec::with_capacity(count);
        for _ in 0..count {
            let position = fields.u16()?;
            let reason = RefusalReason::from_number(fields.u8()?).ok_or(Malformed)?;
            if refused.last().is_some_and(|(last, _)| *last >= position) {
                return Err(Malformed);
            }
            refused.push((position, reason));
        }
        fields.end()?;
        Ok(Self { sequence, refused })
    }
}

/// A list of bodies: those that the sender asks for, or those that it does not have.
pub(crate) fn encode_bodies(bodies: &[(Bucket, BodyId)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, bodies.len() as u64);
    for (bucket, id) in bodies {
        put_bucket(&mut out, *bucket);
        out.extend_from_slice(&id.0);
    }
    out
}

pub(crate) fn decode_bodies(payload: &[u8]) -> Result<Vec<(Bucket, BodyId)>, Malformed> {
    let mut fields = Reader(payload);
    let count = fields.count(2 + BodyId::BYTES)?;
    if count > limits::WANT_BODIES {
        return Err(Malformed);
    }
    let body = |_| Ok((fields.bucket()?, fields.body_id()?));
    let bodies = (0..count).map(body).collect::<Result<_, _>>()?;
    fields.end()?;
    Ok(bodies)
}

//! Frames: their kinds, their fields, their bytes.
//! Never acts on one; and decoding never depends on the state of a connection.
//!
//! Byte tables: docs/formats.md, "Frames".

use crate::codec::{Malformed, Reader, put_bucket, put_varint};
use crate::limits;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::limits::ROSTER_BYTES_MAX;
use quar_base::time::Day;

mod comparison;
mod delivery;
mod lots;

pub(crate) use comparison::{
    BucketsFrame, FlightFrame, Month, Told, WantedKeys, decode_want_keys, encode_want_keys,
};
pub(crate) use delivery::{AckFrame, PartFrame, decode_bodies, encode_bodies};
pub(crate) use lots::{
    Lot, SECOND_NIBBLES, TakeFrame, decode_lot_number, decode_offer, encode_lot_number,
    encode_offers, name_of, prefix_of, second_of, whole_name_of,
};

/// The version both sides must speak.
pub(crate) const VERSION: u8 = 4;

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
    pub(crate) const DICTIONARY: u8 = 13;
    pub(crate) const OFFER: u8 = 14;
    pub(crate) const TAKE: u8 = 15;
    pub(crate) const LOT_SENT: u8 = 16;
    pub(crate) const LEAVE: u8 = 17;
    pub(crate) const HURRY: u8 = 18;
    pub(crate) const PASSED_OVER: u8 = 64;

    /// Whether frames of a kind find out what differs, offer it or take it, and carry none of it.
    pub(crate) fn compares(kind: u8) -> bool {
        matches!(kind, HELLO..=FRESH | OFFER | TAKE)
    }
}

/// The greeting: 63 bytes.
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

/// A roster's signed text.
pub(crate) fn encode_roster(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    out
}

pub(crate) fn decode_roster(payload: &[u8]) -> Result<&str, Malformed> {
    let mut fields = Reader(payload);
    let length = fields.count(1)?;
    if length > ROSTER_BYTES_MAX {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(fields.bytes(length)?).map_err(|_| Malformed)?;
    fields.end()?;
    Ok(text)
}

/// What the sender has that is later than its cutoff, by short forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FreshFrame {
    pub(crate) cutoff_steps: u32,
    pub(crate) shorts: Vec<u64>,
}

impl FreshFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.cutoff_steps.to_le_bytes().to_vec();
        put_varint(&mut out, self.shorts.len() as u64);
        self.shorts.iter().for_each(|short| out.extend_from_slice(&short.to_le_bytes()));
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let cutoff_steps = fields.u32()?;
        let count = fields.count(8)?;
        if count > limits::FRESH {
            return Err(Malformed);
        }
        let shorts = (0..count).map(|_| fields.u64()).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { cutoff_steps, shorts })
    }
}

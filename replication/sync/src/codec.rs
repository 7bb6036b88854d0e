//! Numbers and fields of frames: reading within limits, writing.
//! Never allocates by a number that the peer stated before the bytes for it are there.

use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use quar_base::time::Day;

/// Bytes that are no frame of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub struct Malformed;

/// Takes fields off the front of a payload.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of at most 64 bits in its shortest form, seven bits a byte.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 || shift > 0 && byte == 0 {
                return Err(Malformed);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A number of entries, each of at least `entry_bytes`: more than can follow are refused.
    pub(crate) fn count(&mut self, entry_bytes: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if count > self.0.len() / entry_bytes.max(1) { Err(Malformed) } else { Ok(count) }
    }

    pub(crate) fn bucket(&mut self) -> Result<Bucket, Malformed> {
        let class = Class(self.u8()?);
        let day = Day(u32::try_from(self.varint()?).map_err(|_| Malformed)?);
        if day.is_representable() { Ok(Bucket { class, day }) } else { Err(Malformed) }
    }

    /// A bucket in a list, behind another one.
    pub(crate) fn bucket_after(&mut self, before: &mut Bucket) -> Result<Bucket, Malformed> {
        let bucket = match self.varint()?.checked_sub(1) {
            None => {
                let bucket = self.bucket()?;
                if days_after(*before, bucket).is_some() {
                    return Err(Malformed);
                }
                bucket
            }
            Some(days) => {
                let day = u64::from(before.day.0).checked_add(days).ok_or(Malformed)?;
                let day = Day(u32::try_from(day).map_err(|_| Malformed)?);
                if !day.is_representable() {
                    return Err(Malformed);
                }
                Bucket { class: before.class, day }
            }
        };
        *before = bucket;
        Ok(bucket)
    }

    pub(crate) fn body_id(&mut self) -> Result<BodyId, Malformed> {
        self.array().map(BodyId)
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What stands before the first bucket of a list.
pub(crate) const NO_BUCKET: Bucket = Bucket { class: Class(0), day: Day(0) };

/// A bucket of a list, behind another one: how many days later, and one, or 0 and the bucket.
pub(crate) fn put_bucket_after(out: &mut Vec<u8>, before: &mut Bucket, bucket: Bucket) {
    match days_after(*before, bucket) {
        Some(days) => put_varint(out, u64::from(days) + 1),
        None => {
            out.push(0);
            put_bucket(out, bucket);
        }
    }
    *before = bucket;
}

fn days_after(before: Bucket, bucket: Bucket) -> Option<u32> {
    if before.class == bucket.class { bucket.day.0.checked_sub(before.day.0) } else { None }
}

pub(crate) fn put_bucket(out: &mut Vec<u8>, bucket: Bucket) {
    out.push(bucket.class.0);
    put_varint(out, bucket.day.0.into());
}

//! Frames about items on their way: what was taken, what is asked for, what is not there.
//! Never holds the items themselves: those are in batches.

use crate::codec::{Malformed, Reader, put_bucket, put_varint};
use crate::limits;
use crate::refusal::RefusalReason;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use quar_base::limits::MESSAGE_BYTES_MAX;

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

/// Part of a long body, numbered among the batches and acknowledged like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartFrame {
    pub(crate) sequence: u64,
    /// Bytes of the body from the start of this part on: in the first part, its whole length.
    pub(crate) left: usize,
    pub(crate) bytes: Vec<u8>,
}

impl PartFrame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 16);
        put_varint(&mut out, self.sequence);
        put_varint(&mut out, self.left as u64);
        out.extend_from_slice(&self.bytes);
        out
    }

    /// What is left also says how long the part is.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader(payload);
        let sequence = fields.varint()?;
        let left = usize::try_from(fields.varint()?).map_err(|_| Malformed)?;
        if left == 0 || left > MESSAGE_BYTES_MAX {
            return Err(Malformed);
        }
        let bytes = fields.bytes(left.min(limits::PART_BYTES))?.to_vec();
        fields.end()?;
        Ok(Self { sequence, left, bytes })
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

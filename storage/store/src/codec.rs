//! Coded bodies: one zstd frame each, or the plain bytes where that is shorter.
//! Never trusts a stated length: decoding is bounded by it and the result must hash to the body's id.
//!
//! A body is coded once, by the node that caught it; disks and wires carry the same coded bytes,
//! together with the dictionary that they need.

use crate::dictionary::Dictionary;
use crate::seal::IdKey;
use quar_base::ids::BodyId;
use quar_base::limits::MESSAGE_BYTES_MAX;
use std::cell::RefCell;
use std::sync::Arc;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

/// zstd's level for bodies as they come in; measured in docs/benchmarks.md, "Compression".
pub(crate) const LEVEL: i32 = 3;
/// zstd's level for closed days; measured in docs/benchmarks.md, "Packing".
const PACK_LEVEL: i32 = 12;
/// Longer bodies are coded without a dictionary: they have context enough of their own.
const DICTIONARY_BODY_BYTES_MAX: usize = 128 << 10;

/// How a body's bytes are coded. Numbers are part of the formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// The bytes themselves.
    Plain = 0,
    /// One zstd frame, against a dictionary if there is one.
    Zstd = 1,
}

impl Codec {
    /// The codec of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A body in its coded form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedBody {
    /// Keyed hash of the plain bytes.
    pub id: BodyId,
    /// Length of the plain bytes.
    pub raw_bytes: u32,
    /// How `bytes` are coded.
    pub codec: Codec,
    /// What the frame was coded against.
    pub dictionary: Option<Arc<Dictionary>>,
    /// The coded bytes.
    pub bytes: Arc<[u8]>,
}

/// A coded body that does not decode to what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Beyond the limit for messages.
    #[error("body of {0} bytes is beyond the limit of {MESSAGE_BYTES_MAX}")]
    TooLarge(u64),
    /// The coded bytes do not decode, or not to the stated length.
    #[error("body does not decode to its stated length")]
    Undecodable,
    /// The decoded bytes hash to another id.
    #[error("body does not hash to its id")]
    WrongId,
}

impl CodedBody {
    /// Codes a body, against a dictionary if that helps, and computes its id.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] beyond [`MESSAGE_BYTES_MAX`].
    pub fn encode(
        body: &[u8],
        dictionary: Option<Arc<Dictionary>>,
        id_key: &IdKey,
    ) -> Result<Self, CodecError> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(CodecError::TooLarge(body.len() as u64));
        }
        Ok(Self::encode_with_id(body, id_key.body_id(body), dictionary))
    }

    fn encode_with_id(body: &[u8], id: BodyId, dictionary: Option<Arc<Dictionary>>) -> Self {
        let raw_bytes = u32::try_from(body.len()).expect("the limit fits 32 bits");
        let dictionary = dictionary.filter(|_| body.len() <= DICTIONARY_BODY_BYTES_MAX);
        let packed = compress(body, dictionary.as_deref());
        match packed.filter(|packed| packed.len() < body.len()) {
            Some(packed) => {
                Self { id, raw_bytes, codec: Codec::Zstd, dictionary, bytes: packed.into() }
            }
            None => {
                Self { id, raw_bytes, codec: Codec::Plain, dictionary: None, bytes: body.into() }
            }
        }
    }

    /// The same body, coded without a dictionary.
    ///
    /// # Errors
    /// [`CodecError::Undecodable`].
    pub(crate) fn without_dictionary(&self) -> Result<Self, CodecError> {
        if self.dictionary.is_none() {
            return Ok(self.clone());
        }
        Ok(Self::encode_with_id(&self.plain_bytes()?, self.id, None))
    }

    /// Decodes and checks the id.
    ///
    /// *Limits*: never allocates more than the stated length, nor more than [`MESSAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// Any [`CodecError`].
    pub fn decode(&self, id_key: &IdKey) -> Result<Vec<u8>, CodecError> {
        if self.raw_bytes as usize > MESSAGE_BYTES_MAX {
            return Err(CodecError::TooLarge(self.raw_bytes.into()));
        }
        let body = self.plain_bytes()?;
        if id_key.body_id(&body) != self.id {
            return Err(CodecError::WrongId);
        }
        Ok(body)
    }

    /// The form that goes to a peer: bodies of packs lie here in plain.
    pub(crate) fn for_wire(self, dictionary: Option<Arc<Dictionary>>) -> Self {
        match self.codec {
            Codec::Plain => Self::encode_with_id(&self.bytes, self.id, dictionary),
            Codec::Zstd => self,
        }
    }

    /// The plain bytes, whatever they hash to.
    ///
    /// # Errors
    /// [`CodecError::Undecodable`].
    pub(crate) fn plain_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let length = self.raw_bytes as usize;
        let body = match self.codec {
            Codec::Plain => self.bytes.to_vec(),
            Codec::Zstd => decompress(&self.bytes, length, self.dictionary.as_deref())?,
        };
        if body.len() == length { Ok(body) } else { Err(CodecError::Undecodable) }
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<CCtx<'static>>> = RefCell::new(CCtx::try_create());
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = RefCell::new(DCtx::try_create());
}

/// One zstd frame of the bytes; `None` when the library cannot allocate.
pub(crate) fn compress(bytes: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    compress_at(LEVEL, bytes, dictionary)
}

/// As [`compress`], without a dictionary, at the level of what is written once and kept.
pub(crate) fn compress_well(bytes: &[u8]) -> Option<Vec<u8>> {
    compress_at(PACK_LEVEL, bytes, None)
}

fn compress_at(level: i32, bytes: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|context| {
        let context = context.as_mut()?;
        let mut frame = Vec::with_capacity(compress_bound(bytes.len()));
        match dictionary {
            Some(known) => context.compress_using_cdict(&mut frame, bytes, known.encoder()?),
            None => context.compress(&mut frame, bytes, level),
        }
        .ok()?;
        Some(frame)
    })
}

/// The bytes of one zstd frame, at most `limit` of them.
pub(crate) fn decompress(
    frame: &[u8],
    limit: usize,
    dictionary: Option<&Dictionary>,
) -> Result<Vec<u8>, CodecError> {
    let decode = |context: &mut DCtx<'static>| {
        let mut bytes = Vec::with_capacity(limit);
        match dictionary {
            Some(known) => {
                context.decompress_using_ddict(&mut bytes, frame, known.decoder()?).ok()?
            }
            None => context.decompress(&mut bytes, frame).ok()?,
        };
        Some(bytes)
    };
    DECOMPRESSOR
        .with_borrow_mut(|context| context.as_mut().and_then(decode))
        .ok_or(CodecError::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::{Codec, CodecError, CodedBody};
    use crate::seal::IdKey;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn key() -> IdKey {
        IdKey::new([1; 32])
    }

    #[test]
    fn text_is_compressed_and_noise_is_not() {
        let text = b"Subject: buy now\r\n".repeat(50);
        assert_eq!(CodedBody::encode(&text, None, &key()).unwrap().codec, Codec::Zstd);
        assert_eq!(CodedBody::encode(b"x", None, &key()).unwrap().codec, Codec::Plain);
    }

    #[test]
    fn refuses_another_id_another_length_and_a_bomb() {
        let good = CodedBody::encode(&b"a mail\r\n".repeat(30), None, &key()).unwrap();
        let wrong_id = CodedBody { id: Default::default(), ..good.clone() };
        assert_eq!(wrong_id.decode(&key()), Err(CodecError::WrongId));
        let shorter = CodedBody { raw_bytes: good.raw_bytes - 1, ..good.clone() };
        assert_eq!(shorter.decode(&key()), Err(CodecError::Undecodable));
        let huge = CodedBody { raw_bytes: u32::MAX, ..good };
        assert_eq!(huge.decode(&key()), Err(CodecError::TooLarge(u32::MAX.into())));
    }

    proptest! {
        #[test]
        fn every_body_decodes_byte_exact(body: Vec<u8>, repeat in 1usize..20) {
            let body = body.repeat(repeat);
            let coded = CodedBody::encode(&body, None, &key()).unwrap();
            prop_assert_eq!(coded.decode(&key()), Ok(body));
        }

        #[test]
        fn no_changed_byte_decodes(at: usize, flip in 1u8..) {
            let coded = CodedBody::encode(&b"Received: from mx\r\n".repeat(30), None, &key()).unwrap();
            let mut bytes = coded.bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let damaged = CodedBody { bytes: bytes.into(), ..coded.clone() };
            let decoded = damaged.decode(&key());
            // A flipped bit in unused header bits may decode to the very same body.
            prop_assert!(decoded.is_err() || decoded == coded.decode(&key()));
        }
    }
}

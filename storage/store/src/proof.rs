//! Proofs as bytes: "this member, at this time, held this message and its body", signed.
//! Never decides whether the member was one: whoever checks a proof looks at the certificate in it.
//!
//! ```text
//! who, when │ state root, number of buckets │ message, body │ way from one to the other │ certificate │ signature
//! └────────────────────────────── over all of this ─────────────────────────────────────────────┘
//! ```
//! A proof has one form, and the signature covers every bit of it. Byte table: docs/formats.md, "Proof".

use aws_lc_rs::digest::{SHA256, digest};
use quar_base::class::Class;
use quar_base::ids::{BodyId, ClusterId, MemberId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::limits::{CERTIFICATE_BYTES_MAX, MESSAGE_BYTES_MAX, PROOF_BYTES_MAX};
use quar_base::signing::{PublicKey, SIGNATURE_BYTES, Signature, SigningKey};
use quar_base::time::{Cutoff, DAY_SECONDS, Day, UnixMillis};
use quar_merkle::{Hash, INCLUSION_BYTES_MAX, Inclusion, InclusionError};

const MAGIC: &[u8; 8] = b"quarprf\n";
const VERSION: u16 = 1;
const SIGNATURE_CONTEXT: &[u8] = b"quard proof signature v1\0";
/// Everything before the way to the state root.
const FIXED_BYTES: usize = 203;
const _: () = assert!(
    FIXED_BYTES + INCLUSION_BYTES_MAX + 2 + CERTIFICATE_BYTES_MAX + SIGNATURE_BYTES
        <= PROOF_BYTES_MAX
);

/// What a member says, with the way from the message to the state root.
///
/// *Holds*: the way leads from the message's key to the state root. Whether `member` signed it,
/// [`Self::check_signature`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Who says so.
    pub member: MemberId,
    /// When, by its clock.
    pub at: UnixMillis,
    /// Up to which second the set was taken.
    pub cutoff: Cutoff,
    /// The root over all buckets of that set.
    pub state_root: Hash,
    /// The message that was in it.
    pub message: MessageId,
    /// The message's body, which was read and hashed for this proof.
    pub body: BodyId,
    /// Its length.
    pub body_bytes: u64,
    /// Its digest without a key, for whoever has the mail and not the cluster's id key.
    pub body_sha256: [u8; 32],
    /// How the message leads to the state root.
    pub inclusion: Inclusion,
    /// The member's certificate, DER.
    pub certificate: Vec<u8>,
    /// Over everything else.
    pub signature: Signature,
}

/// Why bytes are no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Beyond the limit.
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes, and this is longer")]
    TooLarge,
    /// Something else.
    #[error("this is no proof of a quard node: it does not begin as one")]
    Magic,
    /// A later version.
    #[error("the proof has version {0}; this program reads version {VERSION}")]
    Version(u16),
    /// It ends early.
    #[error("the proof is cut off")]
    Truncated,
    /// Something stands behind it.
    #[error("{0} bytes too many stand behind the proof")]
    Trailing(usize),
    /// No message has such an id, or such a body.
    #[error("the proof names a message that cannot be")]
    Message,
    /// The times contradict each other.
    #[error("the proof names a message later than the set it is in, or a set later than itself")]
    Time,
    /// Beyond the limit.
    #[error("the certificate has {0} bytes; the limit is {CERTIFICATE_BYTES_MAX}")]
    Certificate(usize),
    /// The way to the state root is none.
    #[error(transparent)]
    Inclusion(#[from] InclusionError),
    /// It leads elsewhere.
    #[error("the message does not lead to the state root that the proof names")]
    StateRoot,
    /// It was changed, or somebody else signed it.
    #[error("the proof is not signed by the member that it names, or was changed since")]
    Signature,
}

impl Proof {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.unsigned();
        bytes.extend_from_slice(&self.signature.0);
        bytes
    }

    /// Reads a proof, and checks that its message leads to its state root.
    ///
    /// *Limits*: [`PROOF_BYTES_MAX`]; every length in it is held against its own limit first.
    ///
    /// # Errors
    /// Any [`ProofError`] but the one of the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let proof = Self::parse(bytes)?;
        let root = proof.inclusion.state_root(proof.message.bucket, &proof.message.key)?;
        if root != proof.state_root {
            return Err(ProofError::StateRoot);
        }
        Ok(proof)
    }

    /// Reads a proof that may lead nowhere.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge);
        }
        let mut input = Input(bytes);
        if input.take::<8>().ok() != Some(MAGIC) {
            return Err(ProofError::Magic);
        }
        let version = u16::from_le_bytes(*input.take()?);
        if version != VERSION {
            return Err(ProofError::Version(version));
        }
        let proof = Self {
            cluster: ClusterId(*input.take()?),
            member: MemberId(*input.take()?),
            at: UnixMillis(input.number()?),
            cutoff: Cutoff(input.number()?),
            state_root: Hash(*input.take()?),
            message: input.message()?,
            body: BodyId(*input.take()?),
            body_bytes: input.number()?,
            body_sha256: *input.take()?,
            inclusion: input.inclusion()?,
            certificate: input.certificate()?,
            signature: Signature(*input.take()?),
        };
        if !input.0.is_empty() {
            return Err(ProofError::Trailing(input.0.len()));
        }
        proof.check_fields()?;
        Ok(proof)
    }

    /// Whether the holder of this key signed the proof as it is.
    ///
    /// # Errors
    /// [`ProofError::Signature`].
    pub fn check_signature(&self, key: &PublicKey) -> Result<(), ProofError> {
        let is_signed = key.verifies(&self.signed_text(), &self.signature);
        is_signed.then_some(()).ok_or(ProofError::Signature)
    }

    /// Whether this is the body that the proof is about.
    #[must_use]
    pub fn is_about(&self, body: &[u8]) -> bool {
        body.len() as u64 == self.body_bytes && sha256(body) == self.body_sha256
    }

    pub(crate) fn sign(&mut self, key: &SigningKey) {
        self.signature = key.sign(&self.signed_text());
    }

    fn signed_text(&self) -> Vec<u8> {
        [SIGNATURE_CONTEXT, &self.unsigned()].concat()
    }

    fn unsigned(&self) -> Vec<u8> {
        let Bucket { class, day } = self.message.bucket;
        let mut out = Vec::with_capacity(PROOF_BYTES_MAX);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.member.0);
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.cutoff.0.to_le_bytes());
        out.extend_from_slice(&self.state_root.0);
        out.push(class.0);
        out.extend_from_slice(&day.0.to_le_bytes());
        out.extend_from_slice(&self.message.key.to_bytes());
        out.extend_from_slice(&self.body.0);
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.body_sha256);
        self.inclusion.encode(&mut out);
        out.extend_from_slice(&(self.certificate.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.certificate);
        out
    }

    fn check_fields(&self) -> Result<(), ProofError> {
        let MessageId { bucket, key } = self.message;
        let can_be = bucket.day.is_representable()
            && u64::from(key.second) < DAY_SECONDS
            && self.body_bytes <= MESSAGE_BYTES_MAX as u64;
        if !can_be {
            return Err(ProofError::Message);
        }
        let is_in_order =
            key.is_settled(bucket.day, self.cutoff) && self.cutoff.0 <= self.at.seconds();
        is_in_order.then_some(()).ok_or(ProofError::Time)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], ProofError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ProofError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, ProofError> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn message(&mut self) -> Result<MessageId, ProofError> {
        let [class] = *self.take()?;
        let day = Day(u32::from_le_bytes(*self.take()?));
        let key = RecordKey::from_bytes(self.take()?);
        Ok(MessageId { bucket: Bucket { class: Class(class), day }, key })
    }

    fn inclusion(&mut self) -> Result<Inclusion, ProofError> {
        let (inclusion, rest) = Inclusion::decode(self.0)?;
        self.0 = rest;
        Ok(inclusion)
    }

    fn certificate(&mut self) -> Result<Vec<u8>, ProofError> {
        let length = usize::from(u16::from_le_bytes(*self.take()?));
        if length > CERTIFICATE_BYTES_MAX {
            return Err(ProofError::Certificate(length));
        }
        let (certificate, rest) = self.0.split_at_checked(length).ok_or(ProofError::Truncated)?;
        self.0 = rest;
        Ok(certificate.to_vec())
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests;

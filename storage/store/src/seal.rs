//! Keys and sealing: AES-256-GCM-SIV under a random key per segment, wrapped by the cluster encryption key.
//! Never stores a key in the clear, and never prints one.
//!
//! ```text
//! cluster encryption key (epoch) ──wraps──► segment key ──seals──► blocks
//!                                └─wraps──► id key ──keys──► body ids
//! ```
//! *Source*: RFC 8452; layouts in docs/formats.md, "Segment" and "Id key file".

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use quar_base::ids::BodyId;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;
/// Bytes of a wrapped 32-byte key: nonce, sealed key, tag.
pub const WRAPPED_BYTES: usize = NONCE_LEN + 32 + TAG_BYTES;

/// The cluster encryption key under its epoch. Epochs begin at 1.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EncryptionKey {
    epoch: u32,
    bytes: [u8; 32],
}

/// The key of body ids: one for a cluster's whole life.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdKey([u8; 32]);

/// A key that does not open what it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Authentication failed: another key, or damaged bytes.
    #[error(
        "the cluster encryption key does not fit: it is another cluster's key, or the sealed bytes are damaged"
    )]
    Wrong,
    /// Sealed under an epoch that this node has no key for.
    #[error("sealed under key epoch {0}, which this node has no key for")]
    Epoch(u32),
}

impl EncryptionKey {
    /// A key with its epoch.
    #[must_use]
    pub fn new(epoch: u32, bytes: [u8; 32]) -> Self {
        Self { epoch, bytes }
    }

    /// The epoch, from 1 on.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals a 32-byte key. `purpose` binds it to its place.
    #[must_use]
    pub fn wrap(
        &self,
        key: &[u8; 32],
        purpose: &[u8],
        nonce: [u8; NONCE_LEN],
    ) -> [u8; WRAPPED_BYTES] {
        let mut sealed = key.to_vec();
        seal_in_place(&cipher(&self.bytes), nonce, purpose, &mut sealed);
        let mut wrapped = [0; WRAPPED_BYTES];
        wrapped[..NONCE_LEN].copy_from_slice(&nonce);
        wrapped[NONCE_LEN..].copy_from_slice(&sealed);
        wrapped
    }

    /// Opens what [`Self::wrap`] sealed for the same purpose.
    ///
    /// # Errors
    /// [`KeyError::Wrong`] when this key, the purpose or the bytes are others.
    pub fn unwrap(
        &self,
        wrapped: &[u8; WRAPPED_BYTES],
        purpose: &[u8],
    ) -> Result<[u8; 32], KeyError> {
        let (nonce, sealed) = wrapped.split_at(NONCE_LEN);
        let nonce = nonce.try_into().expect("split at the nonce's length");
        let mut sealed = sealed.to_vec();
        let opened = open_in_place(&cipher(&self.bytes), nonce, purpose, &mut sealed)?;
        let key = opened.try_into().map_err(|_| KeyError::Wrong);
        sealed.zeroize();
        key
    }
}

impl IdKey {
    const PURPOSE: &'static [u8] = b"quard id key v1";

    /// A key from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The form that is kept in a file: sealed under the cluster encryption key.
    #[must_use]
    pub fn wrap(&self, key: &EncryptionKey, nonce: [u8; NONCE_LEN]) -> [u8; WRAPPED_BYTES] {
        key.wrap(&self.0, Self::PURPOSE, nonce)
    }

    /// Opens the kept form. Doubles as the check that a node was given the right encryption key.
    ///
    /// # Errors
    /// [`KeyError::Wrong`] for another key or damaged bytes.
    pub fn unwrap(wrapped: &[u8; WRAPPED_BYTES], key: &EncryptionKey) -> Result<Self, KeyError> {
        key.unwrap(wrapped, Self::PURPOSE).map(Self)
    }

    /// The id of a body.
    #[must_use]
    pub fn body_id(&self, body: &[u8]) -> BodyId {
        BodyId(*blake3::keyed_hash(&self.0, body).as_bytes())
    }

    /// A short digest of something personal, comparable within the cluster only.
    #[must_use]
    pub fn digest(&self, context: &str, text: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(context.as_bytes()).update(&[0]).update(text);
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

/// The key that seals one segment's blocks.
pub(crate) struct BlockCipher(LessSafeKey);

impl BlockCipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(cipher(key))
    }

    /// Seals a block's payload; its position is authenticated through nonce and `header`.
    pub(crate) fn seal(&self, position: u64, header: &[u8], payload: &mut Vec<u8>) {
        seal_in_place(&self.0, position_nonce(position), header, payload);
    }

    /// Opens a block's payload in place.
    pub(crate) fn open(
        &self,
        position: u64,
        header: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let length = open_in_place(&self.0, position_nonce(position), header, payload)?.len();
        payload.truncate(length);
        Ok(())
    }
}

/// A position is written once under a segment's key, so it never repeats a nonce; and the cipher
/// would only show equality if it did.
fn position_nonce(position: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&position.to_le_bytes());
    nonce
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has 32 bytes"))
}

fn seal_in_place(
    cipher: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    context: &[u8],
    bytes: &mut Vec<u8>,
) {
    cipher
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), bytes)
        .expect("payloads are far below the cipher's limit");
}

fn open_in_place<'a>(
    cipher: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    context: &[u8],
    bytes: &'a mut [u8],
) -> Result<&'a [u8], KeyError> {
    cipher
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(context), bytes)
        .map(|opened| &*opened)
        .map_err(|_| KeyError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::{BlockCipher, EncryptionKey, IdKey, KeyError};

    #[test]
    fn a_wrapped_key_opens_with_its_own_key_and_purpose_only() {
        let key = EncryptionKey::new(1, [1; 32]);
        let wrapped = key.wrap(&[7; 32], b"segment", [2; 12]);
        assert_eq!(key.unwrap(&wrapped, b"segment"), Ok([7; 32]));
        assert_eq!(key.unwrap(&wrapped, b"other"), Err(KeyError::Wrong));
        let other = EncryptionKey::new(1, [3; 32]);
        assert_eq!(other.unwrap(&wrapped, b"segment"), Err(KeyError::Wrong));
    }

    #[test]
    fn a_block_opens_at_its_own_position_only() {
        let cipher = BlockCipher::new(&[5; 32]);
        let mut sealed = b"payload".to_vec();
        cipher.seal(4096, b"header", &mut sealed);
        for (position, header) in [(8192, &b"header"[..]), (4096, b"HEADER")] {
            assert!(cipher.open(position, header, &mut sealed.clone()).is_err());
        }
        cipher.open(4096, b"header", &mut sealed).unwrap();
        assert_eq!(sealed, b"payload");
    }

    #[test]
    fn body_ids_of_two_clusters_differ() {
        let [one, other] = [[1; 32], [2; 32]].map(IdKey::new);
        assert_ne!(one.body_id(b"mail"), other.body_id(b"mail"));
        assert_ne!(one.digest("a", b"x"), one.digest("b", b"x"));
    }
}

//! 32-byte hashes of sets, the domains that keep their kinds apart, and their short wire forms.
//! Never hashes a record or a body: those have ids.

use quar_base::key::RecordKey;
use std::fmt;

/// The hash of a set of keys, of the buckets, or of a node's whole state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Length in bytes.
    pub const BYTES: usize = 32;
    /// The hash of no keys: the root of an empty trie, an absent child, a node without buckets.
    pub const EMPTY: Self = Self([0; 32]);

    /// Reads a hash from exactly `BYTES` bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The form compared on the wire: the first 4 bytes, big-endian, of BLAKE3 keyed with the
    /// round's key over the 32 bytes. Means nothing in another round.
    #[must_use]
    pub fn keyed_short(&self, round_key: &[u8; 32]) -> u32 {
        (keyed_first_8(round_key, &self.0) >> 32) as u32
    }

    /// The first 12 hex digits, for people; never for comparisons.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.short())
    }
}

/// A key's 4-byte wire form: the upper half of [`short8_of_key`].
#[must_use]
pub fn short_of_key(round_key: &[u8; 32], key: &RecordKey) -> u32 {
    (short8_of_key(round_key, key) >> 32) as u32
}

/// A key's 8-byte wire form: the first 8 bytes, big-endian, of BLAKE3 keyed with the round's key
/// over the key's 36 bytes.
#[must_use]
pub fn short8_of_key(round_key: &[u8; 32], key: &RecordKey) -> u64 {
    keyed_first_8(round_key, &key.to_bytes())
}

fn keyed_first_8(round_key: &[u8; 32], bytes: &[u8]) -> u64 {
    let digest = blake3::keyed_hash(round_key, bytes);
    let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

/// What a hash was taken of: the first byte of everything hashed here.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    /// The keys of a leaf.
    Leaf = 1,
    /// A pair in the binary tree over a page's 16 slots.
    SlotPair = 2,
    /// A page.
    Page = 3,
    /// One bucket in the day tree.
    Bucket = 4,
    /// A pair in the day tree.
    BucketPair = 5,
    /// The day tree with its leaf count.
    State = 6,
}

pub(crate) fn digest(domain: Domain, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[domain as u8]);
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Hash, short_of_key, short8_of_key};
    use quar_base::ids::RecordId;
    use quar_base::key::RecordKey;

    const KEY: RecordKey = RecordKey { second: 7, id: RecordId([9; 32]) };

    #[test]
    fn prints_hex_in_full_and_debugs_short() {
        let hash = Hash([0xa5; 32]);
        assert_eq!(hash.to_string(), "a5".repeat(32));
        assert_eq!(format!("{hash:?}"), "Hash(a5a5a5a5a5a5)");
    }

    #[test]
    fn a_short_form_is_the_first_bytes_of_the_keyed_digest() {
        let round_key = [3; 32];
        let digest = blake3::keyed_hash(&round_key, &[0xa5; 32]);
        let short = Hash([0xa5; 32]).keyed_short(&round_key);
        assert_eq!(short.to_be_bytes(), digest.as_bytes()[..4]);

        let digest = blake3::keyed_hash(&round_key, &KEY.to_bytes());
        assert_eq!(short_of_key(&round_key, &KEY).to_be_bytes(), digest.as_bytes()[..4]);
        assert_eq!(short8_of_key(&round_key, &KEY).to_be_bytes(), digest.as_bytes()[..8]);
    }

    #[test]
    fn short_forms_change_with_the_round() {
        assert_ne!(short8_of_key(&[3; 32], &KEY), short8_of_key(&[4; 32], &KEY));
        assert_ne!(Hash::EMPTY.keyed_short(&[3; 32]), Hash::EMPTY.keyed_short(&[4; 32]));
    }
}

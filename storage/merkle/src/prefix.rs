//! The leading nibbles of a key: which part of a bucket is meant.
//! Never holds anything but zeros behind its last nibble, so equal prefixes are equal bytes.
//!
//! On the wire: one byte with the nibble count n (at most 72), then ceil(n / 2) bytes, the high
//! nibble first; when n is odd the last low nibble is zero.

use quar_base::key::RecordKey;
use std::fmt;

/// The sortable bytes of a key, [`RecordKey::to_bytes`].
pub(crate) type KeyBytes = [u8; RecordKey::BYTES];

/// The first `nibbles` nibbles of a key's sortable bytes.
///
/// *Holds*: at most 72 nibbles; all bytes behind them are zero. Prefixes sort in the order of the
/// keys under them, a prefix before its own extensions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bytes: KeyBytes,
    nibbles: u8,
}

/// Bytes or numbers that are no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// More nibbles than a key has.
    #[error("a prefix of {nibbles} nibbles is longer than a key, which has 72")]
    TooLong {
        /// The nibble count given.
        nibbles: u8,
    },
    /// Something other than zeros behind the last nibble.
    #[error("a prefix of {nibbles} nibbles has more than zeros behind them")]
    Padding {
        /// The nibble count given.
        nibbles: u8,
    },
    /// The input ended early.
    #[error("a prefix needs {needed} bytes, {present} are there")]
    Truncated {
        /// Bytes that the prefix takes, its count included.
        needed: usize,
        /// Bytes that were there.
        present: usize,
    },
}

impl Prefix {
    /// Most nibbles of a prefix: a whole key.
    pub const NIBBLES_MAX: u8 = RecordKey::NIBBLES as u8;
    /// The prefix of all keys.
    pub const ROOT: Self = Self { bytes: [0; RecordKey::BYTES], nibbles: 0 };

    /// The prefix of `nibbles` nibbles of `bytes`.
    ///
    /// # Errors
    ///
    /// [`PrefixError::TooLong`] above 72 nibbles; [`PrefixError::Padding`] when anything behind
    /// the nibbles is not zero.
    pub fn new(bytes: [u8; RecordKey::BYTES], nibbles: u8) -> Result<Self, PrefixError> {
        if nibbles > Self::NIBBLES_MAX {
            return Err(PrefixError::TooLong { nibbles });
        }
        let prefix = Self::of(&bytes, nibbles);
        if prefix.bytes != bytes {
            return Err(PrefixError::Padding { nibbles });
        }
        Ok(prefix)
    }

    /// The first `nibbles` nibbles of `bytes`; whatever follows them is dropped.
    pub(crate) fn of(bytes: &KeyBytes, nibbles: u8) -> Self {
        let nibbles = nibbles.min(Self::NIBBLES_MAX);
        let whole = usize::from(nibbles / 2);
        let mut kept = [0; RecordKey::BYTES];
        kept[..whole].copy_from_slice(&bytes[..whole]);
        if nibbles % 2 == 1 {
            kept[whole] = bytes[whole] & 0xf0;
        }
        Self { bytes: kept, nibbles }
    }

    /// This prefix and one nibble more; `None` below a whole key or for a nibble above 15.
    #[must_use]
    pub fn child(&self, nibble: u8) -> Option<Self> {
        if nibble > 15 || self.nibbles >= Self::NIBBLES_MAX {
            return None;
        }
        let mut child = *self;
        let shift = if self.nibbles.is_multiple_of(2) { 4 } else { 0 };
        child.bytes[usize::from(self.nibbles / 2)] |= nibble << shift;
        child.nibbles += 1;
        Some(child)
    }

    /// How many nibbles there are.
    #[must_use]
    pub fn nibbles(&self) -> u8 {
        self.nibbles
    }

    /// The nibbles, two a byte, with zeros behind them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; RecordKey::BYTES] {
        &self.bytes
    }

    /// Whether a key begins with this prefix.
    #[must_use]
    pub fn contains(&self, key: &RecordKey) -> bool {
        self.contains_bytes(&key.to_bytes())
    }

    /// Whether `other` is this prefix or extends it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.nibbles <= other.nibbles && self.contains_bytes(&other.bytes)
    }

    pub(crate) fn contains_bytes(&self, key: &KeyBytes) -> bool {
        let whole = usize::from(self.nibbles / 2);
        key[..whole] == self.bytes[..whole]
            && (self.nibbles.is_multiple_of(2) || key[whole] & 0xf0 == self.bytes[whole])
    }

    /// Bytes that [`Self::encode`] appends, from 1 to 37.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        1 + usize::from(self.nibbles.div_ceil(2))
    }

    /// Appends the wire form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.nibbles);
        out.extend_from_slice(&self.bytes[..self.encoded_bytes() - 1]);
    }

    /// Reads a prefix from the front of `input`; returns it and what follows.
    ///
    /// # Errors
    ///
    /// [`PrefixError`]: every prefix has one wire form, and any other is refused.
    pub fn decode(input: &[u8]) -> Result<(Self, &[u8]), PrefixError> {
        let truncated = |needed| PrefixError::Truncated { needed, present: input.len() };
        let (&nibbles, rest) = input.split_first().ok_or_else(|| truncated(1))?;
        if nibbles > Self::NIBBLES_MAX {
            return Err(PrefixError::TooLong { nibbles });
        }
        let taken = usize::from(nibbles.div_ceil(2));
        let (given, rest) = rest.split_at_checked(taken).ok_or_else(|| truncated(1 + taken))?;
        let mut bytes = [0; RecordKey::BYTES];
        bytes[..taken].copy_from_slice(given);
        Ok((Self::new(bytes, nibbles)?, rest))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prefix(")?;
        (0..self.nibbles).try_for_each(|at| write!(f, "{:x}", nibble_of(&self.bytes, at)))?;
        f.write_str(")")
    }
}

/// The nibble at an index below 72, the high half of a byte first.
pub(crate) fn nibble_of(bytes: &KeyBytes, at: u8) -> u8 {
    let byte = bytes[usize::from(at / 2)];
    if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// How many leading nibbles two keys share: 72 when they are equal.
pub(crate) fn common_nibbles(a: &KeyBytes, b: &KeyBytes) -> u8 {
    match a.iter().zip(b).position(|(x, y)| x != y) {
        None => Prefix::NIBBLES_MAX,
        Some(at) => at as u8 * 2 + u8::from((a[at] ^ b[at]) < 0x10),
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyBytes, Prefix, PrefixError, common_nibbles, nibble_of};
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
    use quar_base::key::RecordKey;

    fn key_bytes() -> impl Strategy<Value = KeyBytes> {
        any::<(u32, [u8; 32])>().prop_map(|(second, id)| {
            let id = quar_base::ids::RecordId(id);
            RecordKey { second, id }.to_bytes()
        })
    }

    #[test]
    fn the_wire_form_is_the_count_and_the_nibbles() {
        let mut prefix = Prefix::ROOT;
        for nibble in [0, 1, 0xa] {
            prefix = prefix.child(nibble).unwrap();
        }
        let mut bytes = Vec::new();
        prefix.encode(&mut bytes);
        assert_eq!(bytes, [3, 0x01, 0xa0]);
        assert_eq!(format!("{prefix:?}"), "Prefix(01a)");
        bytes.push(0xff);
        assert_eq!(Prefix::decode(&bytes), Ok((prefix, &[0xff_u8][..])));
        assert_eq!(Prefix::decode(&[0]), Ok((Prefix::ROOT, &[][..])));
    }

    #[test]
    fn refuses_every_other_form() {
        let refused = |bytes: &[u8]| Prefix::decode(bytes).expect_err("no prefix");
        assert_eq!(refused(&[3, 0x01, 0xa1]), PrefixError::Padding { nibbles: 3 });
        assert_eq!(refused(&[73; 80]), PrefixError::TooLong { nibbles: 73 });
        assert_eq!(refused(&[3, 0x01]), PrefixError::Truncated { needed: 3, present: 2 });
        assert_eq!(refused(&[]), PrefixError::Truncated { needed: 1, present: 0 });
        let ones = [1; RecordKey::BYTES];
        assert_eq!(Prefix::new(ones, 70), Err(PrefixError::Padding { nibbles: 70 }));
        assert_eq!(Prefix::new(ones, 73), Err(PrefixError::TooLong { nibbles: 73 }));
    }

    #[test]
    fn a_whole_key_has_no_children() {
        let whole = Prefix::new([0xff; RecordKey::BYTES], 72).unwrap();
        assert_eq!(whole.child(0), None);
        assert_eq!(Prefix::ROOT.child(16), None);
    }

    proptest! {
        #[test]
        fn prefixes_encode_and_decode(bytes in key_bytes(), nibbles in 0u8..=72, tail: Vec<u8>) {
            let prefix = Prefix::of(&bytes, nibbles);
            let mut wire = Vec::new();
            prefix.encode(&mut wire);
            prop_assert_eq!(wire.len(), prefix.encoded_bytes());
            wire.extend_from_slice(&tail);
            prop_assert_eq!(Prefix::decode(&wire), Ok((prefix, &tail[..])));
            prop_assert_eq!(Prefix::new(*prefix.bytes(), nibbles), Ok(prefix));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(wire: Vec<u8>) {
            if let Ok((prefix, rest)) = Prefix::decode(&wire) {
                let mut again = Vec::new();
                prefix.encode(&mut again);
                again.extend_from_slice(rest);
                prop_assert_eq!(again, wire);
            }
        }

        #[test]
        fn contains_what_shares_its_nibbles(
            (a, b) in (key_bytes(), 0u8..=72).prop_flat_map(|(a, keep)| {
                (Just(a), key_bytes().prop_map(move |mut b| {
                    let whole = usize::from(keep / 2);
                    b[..whole].copy_from_slice(&a[..whole]);
                    b
                }))
            }),
            nibbles in 0u8..=72,
        ) {
            let prefix = Prefix::of(&a, nibbles);
            let agree = (0..nibbles).all(|at| nibble_of(&a, at) == nibble_of(&b, at));
            prop_assert_eq!(prefix.contains(&RecordKey::from_bytes(&b)), agree);
            prop_assert_eq!(common_nibbles(&a, &b) >= nibbles, agree);
            prop_assert_eq!(prefix.covers(&Prefix::of(&b, 72)), agree);
            prop_assert!(nibbles == 72 || !Prefix::of(&a, nibbles + 1).covers(&prefix));
        }

        #[test]
        fn children_spell_the_key(bytes in key_bytes(), nibbles in 0u8..72) {
            let child = Prefix::of(&bytes, nibbles).child(nibble_of(&bytes, nibbles));
            prop_assert_eq!(child, Some(Prefix::of(&bytes, nibbles + 1)));
        }
    }
}

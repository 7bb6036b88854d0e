//! Leaves: runs of neighbouring entries that sled keeps as one value under the first key.
//! Never talks to sled.
//!
//! sled keeps at most sixteen values in a page and rewrites pages whole, so small values cost it
//! several times their size: entries of 45 bytes take half the room when twenty are one value.
//! The first leaf of a tree has the empty key, so that every key has a leaf.

use crate::codec::{encode_bytes, take_bytes};
use std::collections::BTreeMap;

/// A leaf grows to this before it is cut; one entry alone may be larger.
pub(crate) const LEAF_BYTES_MAX: usize = 1024;

/// Entries of one leaf, in order.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The value of `key` in a leaf; `None` when the bytes are no leaf.
pub(crate) fn find<'a>(leaf: &'a [u8], key: &[u8]) -> Option<Option<&'a [u8]>> {
    let mut rest = leaf;
    while !rest.is_empty() {
        let (found, value) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
        if found == key {
            return Some(Some(value));
        }
    }
    Some(None)
}

/// The entries of a leaf, in order; the last is `None` when the bytes are no leaf.
pub(crate) fn entries(leaf: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    let mut rest = leaf;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let key = take_bytes(&mut rest);
        let entry = key.and_then(|key| Some((key, take_bytes(&mut rest)?)));
        if entry.is_none() {
            rest = &[];
        }
        Some(entry)
    })
}

/// All entries of a leaf; `None` when the bytes are no leaf.
pub(crate) fn decode(leaf: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    entries(leaf).collect()
}

/// What a leaf holds of keys below `end`; `None` when the bytes are no leaf.
pub(crate) fn below<'a>(leaf: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let mut rest = leaf;
    while !rest.is_empty() {
        let before = leaf.len() - rest.len();
        if take_bytes(&mut rest)? >= end {
            return Some(&leaf[..before]);
        }
        take_bytes(&mut rest)?;
    }
    Some(leaf)
}

/// Cuts entries into leaves of about one size: each with its first key.
pub(crate) fn cut<'a>(
    entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> + Clone,
) -> Vec<(&'a [u8], Vec<u8>)> {
    let size = |(key, value): (&Vec<u8>, &Vec<u8>)| key.len() + value.len() + 2;
    let total: usize = entries.clone().map(size).sum();
    let even = total.div_ceil(total.div_ceil(LEAF_BYTES_MAX).max(1));
    let mut leaves: Vec<(&'a [u8], Vec<u8>)> = Vec::new();
    for (key, value) in entries {
        let room = leaves
            .last()
            .map(|(_, leaf)| leaf.len())
            .is_some_and(|bytes| bytes < even && bytes + size((key, value)) <= LEAF_BYTES_MAX);
        if !room {
            leaves.push((key, Vec::with_capacity(even)));
        }
        if let Some((_, leaf)) = leaves.last_mut() {
            encode_bytes(key, leaf);
            encode_bytes(value, leaf);
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::{Entries, LEAF_BYTES_MAX, below, cut, decode, find};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn leaves_hold_all_entries_in_order_each_under_its_first_key(
            entries in btree_map(vec(any::<u8>(), 0..50), vec(any::<u8>(), 0..300), 0..80),
        ) {
            let leaves = cut(entries.iter());
            let mut seen = Entries::new();
            for (first, leaf) in &leaves {
                let decoded = decode(leaf).unwrap();
                prop_assert_eq!(decoded[0].0, *first);
                prop_assert!(leaf.len() <= LEAF_BYTES_MAX + decoded.len() || decoded.len() == 1);
                for (key, value) in decoded {
                    prop_assert!(seen.keys().all(|before| before.as_slice() < key));
                    prop_assert_eq!(find(leaf, key), Some(Some(value)));
                    seen.insert(key.to_vec(), value.to_vec());
                }
                prop_assert_eq!(find(leaf, &[0; 60]), Some(None));
                let decoded = decode(leaf).unwrap();
                for (at, (key, _)) in decoded.iter().enumerate() {
                    prop_assert_eq!(decode(below(leaf, key).unwrap()).unwrap(), &decoded[..at]);
                }
                prop_assert_eq!(below(leaf, &[255; 60]), Some(leaf.as_slice()));
            }
            prop_assert_eq!(seen, entries);
        }

        #[test]
        fn any_bytes_are_a_leaf_or_not(bytes: Vec<u8>) {
            let entries = decode(&bytes);
            prop_assert_eq!(find(&bytes, &[7; 99]).is_some(), entries.is_some());
            prop_assert_eq!(below(&bytes, &[255; 99]).is_some(), entries.is_some());
        }
    }

    #[test]
    fn small_entries_fill_their_leaves() {
        let entries: Entries =
            (0..1000u32).map(|n| (n.to_be_bytes().to_vec(), vec![0; 40])).collect();
        assert!(cut(entries.iter()).len() <= 1000 * 46 / LEAF_BYTES_MAX + 5);
    }

    #[test]
    fn a_leaf_that_stops_short_is_none() {
        let entries = Entries::from([(b"key".to_vec(), b"value".to_vec())]);
        let leaf = cut(entries.iter()).remove(0).1;
        assert_eq!(decode(&leaf[..leaf.len() - 1]), None);
        assert_eq!(find(&leaf[..2], b"key"), None);
    }
}

//! The way from one key up to a state root: that the key is in the set, for whoever has neither trie nor tree.
//! Never says who had the set: that is for whoever signs the state root.
//!
//! ```text
//! state root
//!    ▲  siblings in the day tree        index and leaf count say left, right or alone
//! bucket: class, day, count, root
//!    ▲  pages, each with 4 siblings     the key's nibble at the page's depth says left or right
//! leaf: its keys in full, the key among them
//! ```
//! Whatever is read here was sent by a stranger. Leaves, pages and pairs are hashed under domains of
//! their own, so none passes as another; shape and count are checked beside that.

use crate::day_tree::{DayTree, Place, pairs_above};
use crate::hash::Hash;
use crate::node::{LEAF_KEYS_MAX, Step, leaf_hash};
use crate::prefix::{KeyBytes, common_nibbles};
use crate::trie::Trie;
use quar_base::key::{Bucket, RecordKey};

const STEP_BYTES: usize = 1 + 8 + 4 * Hash::BYTES;
/// More buckets than there are days of all classes up to the year 9999.
const BUCKETS_MAX: u64 = 1 << 30;
const SIBLINGS_MAX: usize = 30;
/// Most bytes of an inclusion.
pub const INCLUSION_BYTES_MAX: usize = 1
    + LEAF_KEYS_MAX * RecordKey::BYTES
    + 1
    + RecordKey::NIBBLES * STEP_BYTES
    + 8
    + 8
    + 1
    + SIBLINGS_MAX * Hash::BYTES;

/// A key's way to the state root of the buckets that it was taken from.
///
/// *Holds*: 1 to 64 ascending keys; pages whose depths fall and counts grow on the way up; a place
/// that a tree of so many buckets has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    leaf: Vec<KeyBytes>,
    /// The lowest first.
    pages: Vec<Step>,
    place: Place,
}

/// Why bytes prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// They end early.
    #[error("the way to the state root is cut off")]
    Truncated,
    /// A leaf without keys, with too many, or out of order.
    #[error("the leaf has {0} keys or is not in order; there are 1 to 64, ascending")]
    Leaf(usize),
    /// Not what stands above a leaf.
    #[error("page {0} above the leaf is none that can stand there")]
    Page(usize),
    /// No place in a day tree.
    #[error("there is no bucket {index} of {leaf_count} with {siblings} hashes above it")]
    Place {
        /// Which one is asked for.
        index: u64,
        /// Of how many.
        leaf_count: u64,
        /// How many hashes are given.
        siblings: usize,
    },
    /// The leaf is whole, and the key is not in it.
    #[error("the key is not in the leaf, or does not lead to it")]
    KeyMissing,
}

impl Inclusion {
    /// The way of a key in one bucket's trie, which is one of the tree's buckets. `None` when the key
    /// is not in the trie, or not to be had.
    #[must_use]
    pub fn new(tree: &DayTree, bucket: Bucket, trie: &Trie, key: &RecordKey) -> Option<Self> {
        let (leaf, pages) = trie.way_to(&key.to_bytes())?;
        Some(Self { leaf, pages, place: tree.place(bucket)? })
    }

    /// How many buckets the state root stands over.
    #[must_use]
    pub fn bucket_count(&self) -> u64 {
        self.place.leaf_count
    }

    /// The state root of a set that has this key in this bucket.
    ///
    /// # Errors
    /// [`InclusionError::KeyMissing`] when this is another key's way.
    pub fn state_root(&self, bucket: Bucket, key: &RecordKey) -> Result<Hash, InclusionError> {
        let key = key.to_bytes();
        self.leaf.binary_search(&key).map_err(|_| InclusionError::KeyMissing)?;
        let mut count = self.leaf.len() as u64;
        let mut hash = leaf_hash(&self.leaf);
        for page in &self.pages {
            hash = page.hash(&key, hash);
            count = page.count;
        }
        self.place.state_root(bucket, count, hash).ok_or_else(|| self.place_error())
    }

    /// Appends the bytes, at most [`INCLUSION_BYTES_MAX`]. *Source*: docs/formats.md, "Inclusion".
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.leaf.len() as u8);
        out.extend_from_slice(self.leaf.as_flattened());
        out.push(self.pages.len() as u8);
        for page in &self.pages {
            out.push(page.depth);
            out.extend_from_slice(&page.count.to_le_bytes());
            page.siblings.iter().for_each(|hash| out.extend_from_slice(&hash.0));
        }
        out.extend_from_slice(&self.place.index.to_le_bytes());
        out.extend_from_slice(&self.place.leaf_count.to_le_bytes());
        out.push(self.place.siblings.len() as u8);
        self.place.siblings.iter().for_each(|hash| out.extend_from_slice(&hash.0));
    }

    /// Reads an inclusion from the front of `input`; returns it and what follows.
    ///
    /// # Errors
    /// [`InclusionError`]: every inclusion has one form, and any other is refused.
    pub fn decode(input: &[u8]) -> Result<(Self, &[u8]), InclusionError> {
        let mut input = Input(input);
        let inclusion = Self { leaf: input.leaf()?, pages: input.pages()?, place: input.place()? };
        inclusion.check_pages()?;
        Ok((inclusion, input.0))
    }

    /// Whether the pages can stand above the leaf.
    fn check_pages(&self) -> Result<(), InclusionError> {
        // What all keys below share, and how many they are.
        let (first, last) = (&self.leaf[0], &self.leaf[self.leaf.len() - 1]);
        let mut shared = common_nibbles(first, last);
        let mut count = self.leaf.len() as u64;
        for (at, page) in self.pages.iter().enumerate() {
            let is_above = page.depth < shared && page.count > count.max(LEAF_KEYS_MAX as u64);
            if !is_above {
                return Err(InclusionError::Page(at));
            }
            (shared, count) = (page.depth, page.count);
        }
        Ok(())
    }

    fn place_error(&self) -> InclusionError {
        let Place { index, leaf_count, ref siblings } = self.place;
        InclusionError::Place { index, leaf_count, siblings: siblings.len() }
    }
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], InclusionError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(InclusionError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn length(&mut self) -> Result<usize, InclusionError> {
        self.take::<1>().map(|[length]| usize::from(*length))
    }

    fn number(&mut self) -> Result<u64, InclusionError> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn hash(&mut self) -> Result<Hash, InclusionError> {
        self.take().map(|bytes| Hash(*bytes))
    }

    fn leaf(&mut self) -> Result<Vec<KeyBytes>, InclusionError> {
        let length = self.length()?;
        if !(1..=LEAF_KEYS_MAX).contains(&length) {
            return Err(InclusionError::Leaf(length));
        }
        let keys = (0..length).map(|_| self.take().copied());
        let keys: Vec<KeyBytes> = keys.collect::<Result<_, _>>()?;
        let ascends = keys.is_sorted_by(|a, b| a < b);
        ascends.then_some(keys).ok_or(InclusionError::Leaf(length))
    }

    fn pages(&mut self) -> Result<Vec<Step>, InclusionError> {
        let length = self.length()?;
        if length > RecordKey::NIBBLES {
            return Err(InclusionError::Page(RecordKey::NIBBLES));
        }
        let mut pages = Vec::with_capacity(length);
        for _ in 0..length {
            let [depth] = *self.take()?;
            let count = self.number()?;
            let siblings = [self.hash()?, self.hash()?, self.hash()?, self.hash()?];
            pages.push(Step { depth, count, siblings });
        }
        Ok(pages)
    }

    fn place(&mut self) -> Result<Place, InclusionError> {
        let (index, leaf_count) = (self.number()?, self.number()?);
        let siblings = self.length()?;
        let is_place =
            leaf_count <= BUCKETS_MAX && pairs_above(index, leaf_count) == Some(siblings);
        if !is_place {
            return Err(InclusionError::Place { index, leaf_count, siblings });
        }
        let siblings = (0..siblings).map(|_| self.hash()).collect::<Result<_, _>>()?;
        Ok(Place { index, leaf_count, siblings })
    }
}

#[cfg(test)]
mod tests;

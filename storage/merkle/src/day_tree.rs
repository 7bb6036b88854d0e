//! The tree over a node's buckets; its root is the node's state root.
//! Never looks into a bucket: a bucket is its count and its root here.
//!
//! ```text
//! leaf        BLAKE3(4, class in 1 byte, day in 4, count in 8, bucket root in 32), big-endian
//! pair        BLAKE3(5, left, right)
//! state root  BLAKE3(6, leaf count in 8 bytes, root of the pairs); 32 zero bytes for no buckets
//! ```
//!
//! rs_merkle builds the pairs, with a hasher of our own, because of what it leaves to its user:
//!
//! - Its stock hashers hash leaves and pairs alike, so a pair passes for a leaf. Ours have
//!   different first bytes.
//! - The odd node at the end of a layer rises to the next layer unhashed. (It is not doubled, as
//!   in early Bitcoin, where `[a, b, c]` and `[a, b, c, c]` have one root.) So a root also reads as
//!   that of a shorter list: `[a, b, c]` has the root of `[pair(a, b), c]`, and `[a]` has the root
//!   `a`. Given the number of leaves, the shape is fixed and a root has one reading; so the state
//!   root takes in the number.
//! - Its proofs are checked against whatever leaf count the caller passes, and surplus hashes are
//!   ignored. So [`Place::state_root`] takes the count in, refuses an index at or above it, and
//!   wants as many hashes as the shape has, no more.

use crate::hash::{Domain, Hash, digest};
use quar_base::key::Bucket;
use rs_merkle::{Hasher, MerkleProof, MerkleTree};
use std::collections::BTreeMap;

/// The tree over all buckets that have keys, in the order of class and day.
///
/// Of any choice of buckets, too: its root then stands for these.
#[derive(Clone)]
pub struct DayTree {
    tree: MerkleTree<BucketHasher>,
    /// Of each leaf.
    buckets: Vec<Bucket>,
}

/// Where a bucket's leaf stands among the leaves, and what leads from there to the state root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) leaf_count: u64,
    /// The other half of each pair that the way goes through, the lowest first.
    pub(crate) siblings: Vec<Hash>,
}

#[derive(Clone)]
struct BucketHasher;

impl Hasher for BucketHasher {
    type Hash = [u8; 32];

    fn hash(leaf: &[u8]) -> [u8; 32] {
        digest(Domain::Bucket, &[leaf]).0
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| digest(Domain::BucketPair, &[left, right]).0)
    }
}

impl DayTree {
    /// The tree of buckets with their counts and roots, given in any order. A bucket with count 0
    /// has no entry; of one given twice the last counts.
    #[must_use]
    pub fn from_buckets(buckets: impl Iterator<Item = (Bucket, u64, Hash)>) -> Self {
        let sorted: BTreeMap<Bucket, [u8; 32]> = buckets
            .filter(|(_, count, _)| *count > 0)
            .map(|(bucket, count, root)| (bucket, leaf(bucket, count, root)))
            .collect();
        let (buckets, leaves): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        Self { tree: MerkleTree::from_leaves(&leaves), buckets }
    }

    /// The state root; [`Hash::EMPTY`] when no bucket has keys.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root().map_or(Hash::EMPTY, |pairs| state_root(self.leaf_count(), &pairs))
    }

    /// How many buckets have keys.
    #[must_use]
    pub fn leaf_count(&self) -> u64 {
        self.tree.leaves_len() as u64
    }

    /// Where a bucket stands; `None` when it has no keys.
    pub(crate) fn place(&self, bucket: Bucket) -> Option<Place> {
        let index = self.buckets.binary_search(&bucket).ok()?;
        let proof = self.tree.proof(&[index]);
        let siblings = proof.proof_hashes().iter().map(|hash| Hash(*hash)).collect();
        Some(Place { index: index as u64, leaf_count: self.leaf_count(), siblings })
    }
}

impl Place {
    /// The state root of a tree that has this leaf here; `None` when no tree of so many leaves has
    /// such a place.
    pub(crate) fn state_root(&self, bucket: Bucket, count: u64, root: Hash) -> Option<Hash> {
        if pairs_above(self.index, self.leaf_count)? != self.siblings.len() {
            return None;
        }
        let hashes = self.siblings.iter().map(|hash| hash.0).collect();
        let (index, leaf_count) =
            (usize::try_from(self.index).ok()?, usize::try_from(self.leaf_count).ok()?);
        let proof = MerkleProof::<BucketHasher>::new(hashes);
        let pairs = proof.root(&[index], &[leaf(bucket, count, root)], leaf_count).ok()?;
        Some(state_root(self.leaf_count, &pairs))
    }
}

/// Pairs that the way from a leaf goes through: none in a layer at whose odd end it stands.
pub(crate) fn pairs_above(index: u64, leaf_count: u64) -> Option<usize> {
    if index >= leaf_count {
        return None;
    }
    let (mut at, mut width, mut pairs) = (index, leaf_count, 0);
    while width > 1 {
        pairs += usize::from(at ^ 1 < width);
        (at, width) = (at / 2, width.div_ceil(2));
    }
    Some(pairs)
}

fn state_root(leaf_count: u64, pairs: &[u8; 32]) -> Hash {
    digest(Domain::State, &[&leaf_count.to_be_bytes(), pairs])
}

fn leaf(bucket: Bucket, count: u64, root: Hash) -> [u8; 32] {
    let mut bytes = [0; 45];
    bytes[0] = bucket.class.0;
    bytes[1..5].copy_from_slice(&bucket.day.0.to_be_bytes());
    bytes[5..13].copy_from_slice(&count.to_be_bytes());
    bytes[13..].copy_from_slice(&root.0);
    BucketHasher::hash(&bytes)
}

#[cfg(test)]
mod tests;

//! The set of keys of one bucket, as a Merkle trie whose shape and hashes depend on the set alone.
//! Never knows which bucket it is, nor what the records say.
//!
//! ```text
//! key  SSSS SSSS IIII ... IIII      72 nibbles: second of the day (8), record id (64)
//!
//! page, depth 3       000.          all keys share 000, the fourth nibble differs
//!   0  page, depth 5  00000.        path-compressed: nothing branches at depth 4
//!   1  leaf           0001 5180 ... at most 64 keys
//! ```
//!
//! `node` says how nodes are hashed and why proofs stay small.

use crate::hash::Hash;
use crate::iter::Iter;
use crate::node::{Leaf, Node, Page, Step, leaf_hash};
use crate::part::{KeySource, Part, PartsError, Stored, check};
use crate::prefix::{KeyBytes, Prefix};
use quar_base::ids::RecordId;
use quar_base::key::RecordKey;
use std::fmt;
use std::sync::Arc;

/// A set of keys with a hash for every part of it.
///
/// *Holds*: two tries over the same keys have the same root, whatever happened to them before. A
/// clone is a snapshot: it takes constant time, shares all nodes, and changes to either copy only
/// the nodes on the path of the changed key.
#[derive(Clone, Default)]
pub struct Trie {
    root: Option<Node>,
}

/// What stands under a prefix: one step of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Description {
    /// No keys.
    Empty,
    /// 1 to 64 keys, ascending; only those under the prefix.
    Leaf(Vec<RecordKey>),
    /// More than 64 keys.
    Page {
        /// What all keys under the prefix begin with: the prefix itself or an extension of it.
        at: Prefix,
        /// Nibble, count and hash of each child that has keys, ascending by nibble; at least two.
        /// Count and hash are the [`Trie::summary`] of `at.child(nibble)`.
        children: Vec<(u8, u64, Hash)>,
    },
}

/// The part of a trie that a prefix selects, as it lies in memory.
enum Cover<'a> {
    Nothing,
    /// Not empty; possibly fewer than the leaf has.
    Keys(&'a Leaf, &'a [KeyBytes]),
    Page(&'a Page),
    /// All of it is under the prefix.
    Part(&'a Stored),
}

impl Cover<'_> {
    /// With the leaf or page in place of a part; nothing if that is not to be had.
    fn opened(self) -> Self {
        match self {
            Self::Part(stored) => match stored.node() {
                Some(Node::Leaf(leaf)) => Self::Keys(leaf, &leaf.keys),
                Some(Node::Page(page)) => Self::Page(page),
                Some(Node::Stored(_)) | None => Self::Nothing,
            },
            other => other,
        }
    }
}

impl Trie {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The trie of ascending keys, in linear time. Keys that come out of order are sorted first,
    /// repeated ones count once.
    #[must_use]
    pub fn from_sorted(keys: impl Iterator<Item = RecordKey>) -> Self {
        let mut keys: Vec<KeyBytes> = keys.map(|key| key.to_bytes()).collect();
        if !keys.is_sorted_by(|a, b| a < b) {
            keys.sort_unstable();
            keys.dedup();
        }
        Self { root: Node::build(&keys) }
    }

    /// The trie of keys that lie elsewhere, and of which `parts` says what is under them. Root and
    /// counts are known at once; the source is asked for the keys of a part when they are needed.
    ///
    /// # Errors
    ///
    /// [`PartsError`] when these are not the parts of one trie, as [`Self::parts`] gives them.
    pub fn from_parts(parts: &[Part], source: &Arc<dyn KeySource>) -> Result<Self, PartsError> {
        check(parts)?;
        let stored = |(number, part): (usize, &Part)| {
            Arc::new(Stored::new(number, *part, Arc::clone(source)))
        };
        let stored: Vec<_> = parts.iter().enumerate().map(stored).collect();
        Ok(Self { root: Node::join(&stored, 0)? })
    }

    /// Cuts the trie into whole nodes of at most `limit` keys each (64 if that is more), as few as
    /// can be, ascending.
    #[must_use]
    pub fn parts(&self, limit: u64) -> Vec<Part> {
        let mut parts = Vec::new();
        self.root.iter().for_each(|root| root.cut(limit, &mut parts));
        parts
    }

    /// Adds a key; `false` when it was there already.
    pub fn insert(&mut self, key: RecordKey) -> bool {
        let absent = !self.contains(&key);
        if absent {
            Node::insert(&mut self.root, &key.to_bytes());
        }
        absent
    }

    /// Takes a key out; `false` when it was not there.
    pub fn remove(&mut self, key: &RecordKey) -> bool {
        // Looked up first: a change that changes nothing must not copy or dirty the path.
        let present = self.contains(key);
        if present {
            Node::remove(&mut self.root, &key.to_bytes());
        }
        present
    }

    /// Whether a key is in the set.
    #[must_use]
    pub fn contains(&self, key: &RecordKey) -> bool {
        let key = key.to_bytes();
        let mut next = self.root.as_ref();
        while let Some(node) = next {
            match node {
                Node::Stored(stored) => next = stored.node(),
                Node::Leaf(leaf) => return leaf.keys.binary_search(&key).is_ok(),
                Node::Page(page) => next = page.child(&key),
            }
        }
        false
    }

    /// The keys of a key's leaf and the pages above that, the lowest first; `None` when the key is
    /// not in the set, or not to be had.
    pub(crate) fn way_to(&self, key: &KeyBytes) -> Option<(Vec<KeyBytes>, Vec<Step>)> {
        let mut steps = Vec::new();
        let mut next = self.root.as_ref();
        loop {
            match next?.opened()? {
                Node::Stored(_) => return None,
                Node::Page(page) => {
                    steps.push(page.step(key));
                    next = page.child(key);
                }
                Node::Leaf(leaf) => {
                    leaf.keys.binary_search(key).ok()?;
                    steps.reverse();
                    return Some((leaf.keys.clone(), steps));
                }
            }
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.root.as_ref().map_or(0, Node::count)
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Hashes every node that changed since it was last hashed, each once, children first. Calling
    /// it is never needed for correctness: it only chooses when the work is done.
    pub fn rehash(&self) {
        let _ = self.root();
    }

    /// The hash of the whole set; [`Hash::EMPTY`] for no keys. Constant time after
    /// [`Self::rehash`], else hashes what changed.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root.as_ref().map_or(Hash::EMPTY, Node::hash)
    }

    /// All keys, ascending.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_prefix(&Prefix::ROOT)
    }

    /// The keys under a prefix, ascending.
    #[must_use]
    pub fn iter_prefix(&self, prefix: &Prefix) -> Iter<'_> {
        match self.cover(prefix).opened() {
            Cover::Nothing | Cover::Part(_) => Iter::over_keys(&[]),
            Cover::Keys(_, keys) => Iter::over_keys(keys),
            Cover::Page(page) => Iter::over_page(page),
        }
    }

    /// The keys of this second and all later ones, ascending.
    #[must_use]
    pub fn iter_from(&self, second: u32) -> Iter<'_> {
        let id = RecordId([0; RecordId::BYTES]);
        Iter::from_bound(self.root.as_ref(), &RecordKey { second, id }.to_bytes())
    }

    /// The lowest key of this second and all later ones. Of a part that lies elsewhere, its ends are known
    /// without its keys.
    #[must_use]
    pub fn first_from(&self, second: u32) -> Option<RecordKey> {
        let bound = RecordKey { second, id: RecordId([0; RecordId::BYTES]) }.to_bytes();
        self.root.as_ref()?.first_from(&bound).map(|key| RecordKey::from_bytes(&key))
    }

    /// The lowest and the highest key under a prefix; `None` when there is none. Parts that lie elsewhere as a whole
    /// below it are not read.
    #[must_use]
    pub fn ends(&self, prefix: &Prefix) -> Option<(RecordKey, RecordKey)> {
        let ends = match self.cover(prefix) {
            Cover::Nothing => return None,
            Cover::Keys(_, keys) => (*keys.first()?, *keys.last()?),
            Cover::Page(page) => page.ends()?,
            Cover::Part(stored) => (stored.part.first.to_bytes(), stored.last),
        };
        Some((RecordKey::from_bytes(&ends.0), RecordKey::from_bytes(&ends.1)))
    }

    /// What stands under a prefix, one level of it.
    #[must_use]
    pub fn describe(&self, prefix: &Prefix) -> Description {
        match self.cover(prefix).opened() {
            Cover::Nothing | Cover::Part(_) => Description::Empty,
            Cover::Keys(_, keys) => {
                Description::Leaf(keys.iter().map(RecordKey::from_bytes).collect())
            }
            Cover::Page(page) => Description::Page {
                at: page.at,
                children: (0..)
                    .zip(&page.children)
                    .filter_map(|(nibble, child)| {
                        let child = child.as_ref()?;
                        Some((nibble, child.count(), child.hash()))
                    })
                    .collect(),
            },
        }
    }

    /// Count and hash of the keys under a prefix.
    ///
    /// *Holds*: the hash is the root of the trie of exactly these keys; nothing outside of the
    /// prefix bears on it.
    #[must_use]
    pub fn summary(&self, prefix: &Prefix) -> (u64, Hash) {
        match self.cover(prefix) {
            Cover::Nothing => (0, Hash::EMPTY),
            Cover::Keys(leaf, keys) if keys.len() == leaf.keys.len() => {
                (keys.len() as u64, leaf.hash())
            }
            Cover::Keys(_, keys) => (keys.len() as u64, leaf_hash(keys)),
            Cover::Page(page) => (page.count, page.hash()),
            Cover::Part(stored) => (stored.part.count, stored.part.hash),
        }
    }

    fn cover(&self, prefix: &Prefix) -> Cover<'_> {
        let mut next = self.root.as_ref();
        while let Some(node) = next {
            match node {
                Node::Stored(stored) if prefix.covers(&stored.at()) => return Cover::Part(stored),
                Node::Stored(stored) => next = stored.node(),
                Node::Leaf(leaf) => {
                    let keys = under(&leaf.keys, prefix);
                    return match keys {
                        [] => Cover::Nothing,
                        _ => Cover::Keys(leaf, keys),
                    };
                }
                Node::Page(page) if prefix.covers(&page.at) => return Cover::Page(page),
                Node::Page(page) if page.at.covers(prefix) => next = page.child(prefix.bytes()),
                Node::Page(_) => break,
            }
        }
        Cover::Nothing
    }
}

/// The run of ascending keys that lies under a prefix.
fn under<'a>(keys: &'a [KeyBytes], prefix: &Prefix) -> &'a [KeyBytes] {
    let start = keys.partition_point(|key| key < prefix.bytes());
    let from = &keys[start..];
    &from[..from.partition_point(|key| prefix.contains_bytes(key))]
}

impl<'a> IntoIterator for &'a Trie {
    type Item = RecordKey;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Trie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trie({} keys)", self.len())
    }
}

#[cfg(test)]
mod tests;

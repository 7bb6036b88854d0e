//! Parts of a trie that lie elsewhere: what is known of them without their keys, and the way to those.
//! Never reads anything itself: the source does, when a key below a part is asked for.
//!
//! ```text
//! page ── leaf
//!      ── part   first and last key, count, hash ── when needed ──► source ──► leaf or page
//! ```

use crate::hash::Hash;
use crate::node::Node;
use crate::prefix::{KeyBytes, Prefix, common_nibbles};
use quar_base::key::RecordKey;
use std::sync::{Arc, OnceLock};

/// One node of a trie, whole, as it is described where its keys are not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The lowest key.
    pub first: RecordKey,
    /// The highest key.
    pub last: RecordKey,
    /// How many keys there are, at least one.
    pub count: u64,
    /// The hash over them.
    pub hash: Hash,
}

/// Where the keys of parts are.
pub trait KeySource: Send + Sync {
    /// The keys of the part with this number in [`Trie::from_parts`](crate::Trie::from_parts),
    /// ascending; `None` when they cannot be had. The trie then has none there until it is made
    /// anew, so it is for the source to remember that.
    fn keys(&self, part: usize) -> Option<Vec<RecordKey>>;
}

/// Parts that do not make up a trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("part {0} is empty, out of order, or no whole node of the trie")]
pub struct PartsError(pub usize);

/// A part in its place in a trie.
pub(crate) struct Stored {
    pub(crate) part: Part,
    pub(crate) last: KeyBytes,
    number: usize,
    source: Arc<dyn KeySource>,
    node: OnceLock<Option<Node>>,
}

impl Stored {
    pub(crate) fn new(number: usize, part: Part, source: Arc<dyn KeySource>) -> Self {
        let last = part.last.to_bytes();
        Self { part, last, number, source, node: OnceLock::new() }
    }

    /// The node over the part's keys; `None` when they are not to be had.
    pub(crate) fn node(&self) -> Option<&Node> {
        let read = || {
            let keys = self.source.keys(self.number)?;
            let keys: Vec<KeyBytes> = keys.iter().map(RecordKey::to_bytes).collect();
            let node = Node::build(&keys).filter(|_| keys.is_sorted_by(|a, b| a < b))?;
            (node.hash() == self.part.hash).then_some(node)
        };
        self.node.get_or_init(read).as_ref()
    }

    /// What all the keys begin with.
    pub(crate) fn at(&self) -> Prefix {
        let first = self.part.first.to_bytes();
        Prefix::of(&first, common_nibbles(&first, &self.last))
    }
}

/// Why parts cannot be joined: the first that does not follow the one before.
pub(crate) fn check(parts: &[Part]) -> Result<(), PartsError> {
    let is_whole = |part: &Part| part.count > 0 && part.first <= part.last;
    for (at, part) in parts.iter().enumerate() {
        let follows = at == 0 || parts[at - 1].last < part.first;
        if !is_whole(part) || !follows {
            return Err(PartsError(at));
        }
    }
    Ok(())
}

//! The index: ordered maps of bytes, in a form on sled and a form in memory.
//! Knows nothing of mail: what keys and values mean is the store's affair, and so is checking them.
//!
//! ```text
//! Tree::Meta                one map for the whole node
//! Tree::Bucket(bucket)      one map per class and day, dropped as a whole
//!
//! write ---> visible to get and scan ---> flush ---> on disk
//!            a crash loses it, or part of it
//! ```
//!
//! Everything in an index can be computed again from the segments, so damage is an answer and no
//! disaster: [`IndexError::Damaged`], then [`set_aside`], then a rebuild.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ahead;
mod codec;
#[doc(hidden)]
pub mod contract;
mod engine;
mod error;
mod filter;
mod front;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod home;
mod journal;
mod leaf;
mod memory;
mod room;
mod sled_index;

pub use error::IndexError;
pub use home::set_aside;
pub use memory::MemoryIndex;
pub use sled_index::SledIndex;

use quar_base::key::Bucket;
use std::fmt;
use std::ops::ControlFlow;

/// One named map of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// What belongs to no bucket. Always there.
    Meta,
    /// What belongs to one class and day. There from its first put until it is dropped.
    Bucket(Bucket),
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key, new or known.
    Put {
        /// The map.
        tree: Tree,
        /// The key; may be empty.
        key: Vec<u8>,
        /// The value; may be empty.
        value: Vec<u8>,
    },
    /// Removes a key; one that is not there is no error.
    Delete {
        /// The map.
        tree: Tree,
        /// The key.
        key: Vec<u8>,
    },
}

impl Write {
    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        };
        bytes as u64
    }
}

/// What [`Index::scan`] calls for each key and value; `Break` ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered maps of bytes, shared between threads as `Arc<dyn Index>`.
///
/// *Holds*: what one thread wrote and got an answer for, every thread sees. A batch is applied in
/// its order but is no transaction: readers may see its first part, and after a crash any part of
/// what was not yet flushed may be there or missing.
///
/// *Durable when*: [`Index::flush`] has returned `Ok`, and not before.
///
/// # Errors
/// Every operation may answer with any [`IndexError`] but those that only opening gives. After
/// the first failure that leaves the index in doubt, every operation answers with an error.
pub trait Index: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// See [`Index`].
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Visits all keys from `start` on, `start` included, in the order of their bytes.
    ///
    /// The visitor may itself use the index; whether it then meets what was written behind the
    /// scan's start is not said.
    ///
    /// # Errors
    /// See [`Index`].
    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError>;

    /// Applies `batch` in its order. Seen by every reader on return; not yet durable.
    ///
    /// # Errors
    /// See [`Index`]. Part of the batch may have been applied, and readers see all of it after
    /// [`IndexError::Stopped`].
    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError>;

    /// Puts many entries at once, in the order of their keys, no key twice. Seen by every reader on
    /// return; not yet durable. Quickest where the tree holds nothing yet.
    ///
    /// # Errors
    /// See [`Index`]. Some of the entries may have been put.
    fn fill(&self, tree: Tree, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), IndexError> {
        let put = |(key, value)| Write::Put { tree, key, value };
        self.write(entries.into_iter().map(put).collect())
    }

    /// Removes the bucket's tree with all in it; none is no error. Not yet durable.
    ///
    /// # Errors
    /// See [`Index`].
    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError>;

    /// The buckets that have a tree, in order.
    ///
    /// # Errors
    /// See [`Index`].
    fn buckets(&self) -> Result<Vec<Bucket>, IndexError>;

    /// Makes durable all that was written before the call.
    ///
    /// # Errors
    /// See [`Index`]. Nothing can then be said about what was written since the last flush.
    fn flush(&self) -> Result<(), IndexError>;

    /// Bytes of keys and values handed to [`Index::write`] since the index was opened.
    fn written_bytes(&self) -> u64;
}

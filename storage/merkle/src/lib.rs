//! The set of records that a node holds, as hashes that two nodes can compare.
//! No I/O, no clock, no records: only their keys.
//!
//! ```text
//!            state root            DayTree: one leaf per bucket that has keys (rs_merkle)
//!           /          \
//!    spam/2026-11-22  spam/2026-11-23
//!                       |
//!                     page         Trie: one per bucket, radix 16, path-compressed
//!                    /  |  \
//!                leaf page leaf    a leaf holds at most 64 keys, a page stands over more
//! ```
//!
//! Every hash here names a set and nothing else: neither the order in which keys came and went
//! nor what lies outside the set changes it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod day_tree;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod inclusion;
mod iter;
mod node;
mod part;
mod prefix;
mod spread;
mod trie;

pub use day_tree::DayTree;
pub use hash::{Hash, short_of_key, short8_of_key};
pub use inclusion::{INCLUSION_BYTES_MAX, Inclusion, InclusionError};
pub use iter::Iter;
pub use node::LEAF_KEYS_MAX;
pub use part::{KeySource, Part, PartsError};
pub use prefix::{Prefix, PrefixError};
pub use trie::{Description, Trie};

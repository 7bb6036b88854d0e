//! Changes of one tree go into its leaves, one write of sled after the other.
//! Never lets an entry count, or stop to count, but by a change: wherever it is cut short.
//!
//! Of a leaf there count the entries below the first key of the next one. A settling that is cut
//! short may leave others, which do not:
//!
//! ```text
//! L: a b c d e f                   before
//! L: a b c d e f     R: d e f      cut short here, d e f in L do not count: they are *stale*
//! L: a b c           R: d e f      otherwise
//! ```
//!
//! Each write of sled keeps to this, so it holds between any two of them, and sled is found after
//! a crash as it was between two of them:
//!
//! - A new leaf, and a leaf written again in its place, end below the next one. A new leaf makes
//!   fewer entries of the one to its left count, those that it has itself.
//! - A leaf that is removed, R, has no entry left that counts. It gives its range to the leaf to its
//!   left, L, of which the stale entries in that range would count again: of no other leaf,
//!   since L's first key still bounds those further left. So they are cut off L first. That
//!   changes nothing that counts, and is not undone by whatever cuts this settling short
//!   before R goes.
//!
//! By induction no number of crashes brings back a key: not one in the middle of mending either.

use super::{Fault, STRANGE_LEAF, beat_at, leaf_for};
use crate::front::Values;
use crate::guard::Pulse;
use crate::leaf::{self, Entries};
use std::ops::Bound;

/// Brings changes into the leaves.
///
/// `outwait_walks` returns when every reader that walks over leaves now has ended: one that has seen
/// a leaf with its stale entries needs the leaf behind it to know them.
pub(super) fn settle_tree(
    tree: &sled::Tree,
    changes: &Values,
    outwait_walks: &dyn Fn(),
    pulse: &Pulse,
) -> Result<(), Fault> {
    let mut changes = changes.iter().peekable();
    for number in 1u64.. {
        let Some((key, _)) = changes.peek() else {
            break;
        };
        let (first, leaf) = leaf_for(tree, key)?.unwrap_or_default();
        let next = first_behind(tree, key)?;
        let counting = match &next {
            Some(next) => leaf::below(&leaf, next),
            None => Some(&leaf[..]),
        };
        let old = counting.and_then(leaf::decode).ok_or(STRANGE_LEAF)?.into_iter();
        let mut entries: Entries = old.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let is_here = |key: &[u8]| next.as_deref().is_none_or(|next| key < next);
        while let Some((key, value)) = changes.next_if(|(key, _)| is_here(key)) {
            match value {
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
                None => drop(entries.remove(key)),
            }
        }
        if entries.is_empty() {
            remove_leaf(tree, &first, outwait_walks)?;
        } else {
            replace_leaf(tree, &first, &entries)?;
        }
        beat_at(number, pulse);
    }
    Ok(())
}

/// Puts what `entries` are cut into in the place of one leaf, the last first: until the leaf
/// itself is shortened, a reader finds every entry in one leaf or in two, and never in none.
fn replace_leaf(tree: &sled::Tree, first: &[u8], entries: &Entries) -> sled::Result<()> {
    let mut leaves = leaf::cut(entries.iter());
    for (key, leaf) in leaves.drain(1.min(leaves.len())..).rev() {
        tree.insert(key, leaf)?;
    }
    leaves.pop().map_or(Ok(()), |(_, leaf)| tree.insert(first, leaf).map(drop))
}

/// Removes a leaf of which nothing counts any more, and first what in the leaf to its left would
/// then count again.
fn remove_leaf(tree: &sled::Tree, first: &[u8], outwait_walks: &dyn Fn()) -> Result<(), Fault> {
    if let Some((left, leaf)) = tree.get_lt(first)? {
        let counting = leaf::below(&leaf, first).ok_or(STRANGE_LEAF)?;
        if counting.len() < leaf.len() {
            tree.insert(left, counting)?;
            outwait_walks();
        }
    }
    tree.remove(first)?;
    Ok(())
}

fn first_behind(tree: &sled::Tree, key: &[u8]) -> sled::Result<Option<sled::IVec>> {
    let behind = (Bound::Excluded(key), Bound::Unbounded);
    let next = tree.range::<&[u8], _>(behind).next().transpose()?;
    Ok(next.map(|(first, _)| first))
}

#[cfg(test)]
mod tests;

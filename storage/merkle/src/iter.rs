//! Walking keys in ascending order.
//! Never allocates per key: the walk keeps the pages above it, at most 72.

use crate::node::{Node, Page};
use crate::prefix::{KeyBytes, Prefix, nibble_of};
use quar_base::key::RecordKey;
use std::cmp::Ordering;
use std::slice;

/// Keys of a trie in ascending order; from [`Trie::iter`](crate::Trie::iter) and its kin.
pub struct Iter<'a> {
    /// What is still to visit of every page above, the root's first.
    pages: Vec<slice::Iter<'a, Option<Node>>>,
    /// What is still to visit of the leaf.
    keys: slice::Iter<'a, KeyBytes>,
}

impl<'a> Iter<'a> {
    pub(crate) fn over_keys(keys: &'a [KeyBytes]) -> Self {
        Self { pages: Vec::new(), keys: keys.iter() }
    }

    pub(crate) fn over_page(page: &'a Page) -> Self {
        Self { pages: vec![page.children.iter()], keys: [].iter() }
    }

    pub(crate) fn over(node: &'a Node) -> Self {
        match node.opened() {
            Some(Node::Leaf(leaf)) => Self::over_keys(&leaf.keys),
            Some(Node::Page(page)) => Self::over_page(page),
            Some(Node::Stored(_)) | None => Self::over_keys(&[]),
        }
    }

    /// The keys that are not below `bound`.
    pub(crate) fn from_bound(root: Option<&'a Node>, bound: &KeyBytes) -> Self {
        let mut iter = Self::over_keys(&[]);
        let mut next = root;
        while let Some(node) = next {
            next = match node {
                Node::Stored(stored) if stored.last < *bound => None,
                Node::Stored(stored) => stored.node(),
                Node::Leaf(leaf) => {
                    let start = leaf.keys.partition_point(|key| key < bound);
                    iter.keys = leaf.keys[start..].iter();
                    None
                }
                Node::Page(page) => {
                    let depth = page.at.nibbles();
                    match Prefix::of(bound, depth).cmp(&page.at) {
                        Ordering::Greater => None,
                        Ordering::Less => {
                            iter.pages.push(page.children.iter());
                            None
                        }
                        Ordering::Equal => {
                            let at = usize::from(nibble_of(bound, depth));
                            iter.pages.push(page.children[at + 1..].iter());
                            page.children[at].as_ref()
                        }
                    }
                }
            };
        }
        iter
    }

    pub(crate) fn bytes(mut self) -> impl Iterator<Item = &'a KeyBytes> {
        std::iter::from_fn(move || self.next_bytes())
    }

    fn next_bytes(&mut self) -> Option<&'a KeyBytes> {
        loop {
            if let Some(key) = self.keys.next() {
                return Some(key);
            }
            match self.pages.last_mut()?.next() {
                None => drop(self.pages.pop()),
                Some(None) => {}
                Some(Some(node)) => match node.opened() {
                    Some(Node::Leaf(leaf)) => self.keys = leaf.keys.iter(),
                    Some(Node::Page(page)) => self.pages.push(page.children.iter()),
                    Some(Node::Stored(_)) | None => {}
                },
            }
        }
    }
}

impl Iterator for Iter<'_> {
    type Item = RecordKey;

    fn next(&mut self) -> Option<RecordKey> {
        self.next_bytes().map(RecordKey::from_bytes)
    }
}

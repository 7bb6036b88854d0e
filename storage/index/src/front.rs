//! Changes that lie before a store of entries: looked at first, handed on in order of keys.
//! Never touches a disk and never forgets by itself.

use crate::{Tree, Write};
use quar_base::key::Bucket;
use std::collections::BTreeMap;
use std::ops::Bound;

/// New values by key; `None` for a key that is gone.
pub(crate) type Values = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes of all trees.
#[derive(Debug, Default)]
pub(crate) struct Front {
    trees: BTreeMap<Tree, TreeChanges>,
    entries: usize,
    has_drops: bool,
}

/// What happened to one tree.
#[derive(Debug, Default)]
pub(crate) struct TreeChanges {
    /// All that lies behind is gone.
    pub dropped: bool,
    /// There was a put since: the tree is there, even if empty.
    pub created: bool,
    /// What changed after the drop, if there was one.
    pub values: Values,
}

/// What a front knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has this value, or none.
    Value(Option<Vec<u8>>),
    /// Nothing: look behind.
    Nothing,
}

impl Front {
    pub(crate) fn apply(&mut self, write: Write) {
        let (tree, key, value) = match write {
            Write::Put { tree, key, value } => (tree, key, Some(value)),
            Write::Delete { tree, key } => (tree, key, None),
        };
        let changes = self.trees.entry(tree).or_default();
        changes.created |= value.is_some();
        self.entries += usize::from(changes.values.insert(key, value).is_none());
    }

    pub(crate) fn drop_tree(&mut self, bucket: Bucket) {
        let fresh = TreeChanges { dropped: true, ..TreeChanges::default() };
        let before = self.trees.insert(Tree::Bucket(bucket), fresh);
        self.entries -= before.map_or(0, |changes| changes.values.len());
        self.has_drops = true;
    }

    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Known {
        let Some(changes) = self.trees.get(&tree) else {
            return Known::Nothing;
        };
        match changes.values.get(key) {
            Some(value) => Known::Value(value.clone()),
            None if changes.dropped => Known::Value(None),
            None => Known::Nothing,
        }
    }

    /// Whether the tree was dropped, so that nothing behind this front counts.
    pub(crate) fn hides(&self, tree: Tree) -> bool {
        self.trees.get(&tree).is_some_and(|changes| changes.dropped)
    }

    /// Whether anything happened to the tree.
    pub(crate) fn knows(&self, tree: Tree) -> bool {
        self.trees.contains_key(&tree)
    }

    /// The first `count` changes of a tree from a key on.
    pub(crate) fn from(&self, tree: Tree, key: &[u8], count: usize) -> Values {
        let Some(changes) = self.trees.get(&tree) else {
            return Values::new();
        };
        let ahead = changes.values.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
        ahead.take(count).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Adds and removes what changed among the buckets that have a tree.
    pub(crate) fn amend(&self, buckets: &mut Vec<Bucket>) {
        for (tree, changes) in &self.trees {
            let Tree::Bucket(bucket) = tree else { continue };
            match buckets.binary_search(bucket) {
                Ok(at) if changes.dropped && !changes.created => drop(buckets.remove(at)),
                Err(at) if changes.created => buckets.insert(at, *bucket),
                _ => {}
            }
        }
    }

    pub(crate) fn trees(&self) -> impl Iterator<Item = (Tree, &TreeChanges)> {
        self.trees.iter().map(|(tree, changes)| (*tree, changes))
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    pub(crate) fn has_drops(&self) -> bool {
        self.has_drops
    }
}

#[cfg(test)]
mod tests {
    use super::{Front, Known};
    use crate::Tree;
    use crate::contract::{bucket, delete, put};

    #[test]
    fn counts_what_it_holds_and_not_what_it_was_given() {
        let tree = Tree::Bucket(bucket(1));
        let mut front = Front::default();
        for write in [put(tree, b"k", b"1"), put(tree, b"k", b"2"), delete(tree, b"k2")] {
            front.apply(write);
        }
        front.apply(delete(Tree::Meta, b"k"));
        assert_eq!((front.entries(), front.has_drops()), (3, false));
        front.drop_tree(bucket(1));
        assert_eq!((front.entries(), front.has_drops()), (1, true));
    }

    #[test]
    fn a_dropped_tree_hides_what_lies_behind() {
        let tree = Tree::Bucket(bucket(1));
        let mut front = Front::default();
        front.drop_tree(bucket(1));
        front.apply(put(tree, b"k", b"v"));
        assert_eq!(front.get(tree, b"k"), Known::Value(Some(b"v".to_vec())));
        assert_eq!(front.get(tree, b"other"), Known::Value(None));
        assert_eq!(front.get(Tree::Meta, b"other"), Known::Nothing);
        assert!(front.hides(tree) && !front.hides(Tree::Meta));
    }

    #[test]
    fn buckets_come_with_a_put_and_go_with_a_drop() {
        let mut front = Front::default();
        front.apply(put(Tree::Bucket(bucket(1)), b"k", b""));
        front.apply(delete(Tree::Bucket(bucket(1)), b"k"));
        front.apply(delete(Tree::Bucket(bucket(2)), b"k"));
        front.drop_tree(bucket(3));
        front.drop_tree(bucket(4));
        front.apply(put(Tree::Bucket(bucket(4)), b"k", b""));
        let mut buckets = vec![bucket(3), bucket(4), bucket(5)];
        front.amend(&mut buckets);
        assert_eq!(buckets, [bucket(1), bucket(4), bucket(5)]);
    }
}

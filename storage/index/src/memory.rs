//! The index in memory, with the image that a crash would leave beside the one that readers see.
//! Never touches a disk; what it loses in a crash is decided by whoever crashes it.

use crate::{Index, IndexError, Tree, Visit, Write};
use quar_base::key::Bucket;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries copied out under the lock at a time, so that a scan's visitor may use the index: at first, as most scans
/// end soon, and at most.
const ENTRIES_AT_FIRST: usize = 4;
const ENTRIES_AT_MOST: usize = 64;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// An index that simulators and tests crash at will.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    images: Mutex<Images>,
    written_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Images {
    live: Image,
    durable: Image,
    /// What leads from `durable` to `live`, in order.
    unflushed: Vec<Change>,
}

#[derive(Debug, Default, Clone)]
struct Image {
    trees: BTreeMap<Tree, Entries>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(Write),
    DropTree(Bucket),
}

impl MemoryIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index found after a crash that lost everything not flushed.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_with(0)
    }

    /// The index found after a crash in which the first `changes` unflushed ones reached the disk.
    ///
    /// A change is one [`Write`] or one dropped tree: a crash tears batches, as it may with sled.
    #[must_use]
    pub fn crash_with(&self, changes: usize) -> Self {
        let images = self.images();
        let mut left = images.durable.clone();
        for change in images.unflushed.iter().take(changes) {
            left.apply(change.clone());
        }
        let images = Images { live: left.clone(), durable: left, unflushed: Vec::new() };
        Self { images: Mutex::new(images), written_bytes: AtomicU64::new(0) }
    }

    /// How many changes a crash could lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.images().unflushed.len()
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, tree: Tree, from: Bound<&[u8]>, most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let images = self.images();
        let Some(entries) = images.live.trees.get(&tree) else {
            return Vec::new();
        };
        let ahead = entries.range::<[u8], _>((from, Bound::Unbounded));
        ahead.take(most).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Images {
    fn change(&mut self, change: Change) {
        self.live.apply(change.clone());
        self.unflushed.push(change);
    }
}

impl Image {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Write(Write::Put { tree, key, value }) => {
                self.trees.entry(tree).or_default().insert(key, value);
            }
            Change::Write(Write::Delete { tree, key }) => {
                self.trees.get_mut(&tree).and_then(|entries| entries.remove(&key));
            }
            Change::DropTree(bucket) => {
                self.trees.remove(&Tree::Bucket(bucket));
            }
        }
    }
}

impl Index for MemoryIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.images().live.trees.get(&tree).and_then(|entries| entries.get(key)).cloned())
    }

    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let mut most = ENTRIES_AT_FIRST;
        let mut seen = self.look(tree, Bound::Included(start), most);
        while let Some((last, _)) = seen.last().cloned() {
            for (key, value) in seen {
                if visit(&key, &value).is_break() {
                    return Ok(());
                }
            }
            most = (most * 4).min(ENTRIES_AT_MOST);
            seen = self.look(tree, Bound::Excluded(&last), most);
        }
        Ok(())
    }

    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        let mut images = self.images();
        for write in batch {
            self.written_bytes.fetch_add(write.bytes(), Ordering::Relaxed);
            images.change(Change::Write(write));
        }
        Ok(())
    }

    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.images().change(Change::DropTree(bucket));
        Ok(())
    }

    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        let images = self.images();
        let buckets = images.live.trees.keys().filter_map(|tree| match tree {
            Tree::Bucket(bucket) => Some(*bucket),
            Tree::Meta => None,
        });
        Ok(buckets.collect())
    }

    fn flush(&self) -> Result<(), IndexError> {
        let mut images = self.images();
        for change in std::mem::take(&mut images.unflushed) {
            images.durable.apply(change);
        }
        Ok(())
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryIndex;
    use crate::contract::{self, History, bucket, put};
    use crate::{Index, Tree};
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn keeps_the_contract() {
        contract::check(&|| Box::new(MemoryIndex::new()));
    }

    proptest! {
        #[test]
        fn does_as_a_map_does(seed: u64) {
            contract::check_history(&MemoryIndex::new(), &History::from_seed(seed));
        }

        #[test]
        fn a_crash_keeps_the_flushed_and_the_first_after(seed: u64, kept in 0usize..40) {
            let history = History::from_seed(seed);
            let index = MemoryIndex::new();
            let model = contract::follow(&index, &history);
            let expected = model.after_crash(kept);
            contract::compare(&index.crash_with(kept), &expected);
            contract::compare(&index.crash(), &model.after_crash(0));
            prop_assert_eq!(index.unflushed(), model.unflushed());
        }
    }

    #[test]
    fn a_crashed_index_can_crash_again() {
        let index = MemoryIndex::new();
        let tree = Tree::Bucket(bucket(1));
        index.write(vec![put(tree, b"a", b"1"), put(tree, b"b", b"2")]).unwrap();
        let torn = index.crash_with(1);
        assert_eq!(torn.unflushed(), 0);
        assert_eq!(torn.get(tree, b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(torn.get(tree, b"b").unwrap(), None);
        torn.write(vec![put(tree, b"c", b"3")]).unwrap();
        assert_eq!(torn.crash().get(tree, b"c").unwrap(), None);
        assert_eq!(torn.crash().get(tree, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    }
}

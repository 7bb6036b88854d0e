//! sled 0.34 as a store of leaves: opened, read, brought up to date, made durable.
//! Never guards itself: sled panics and stalls on damaged files, and the caller must expect it.
//!
//! ```text
//! sled tree "m"                      Tree::Meta
//! sled tree "b" class day(4, BE)     Tree::Bucket
//!   first key of a leaf -> leaf
//! ```
//!
//! Writes go in one by one: sled's own batches write a block each, and take a lock that all
//! sled stores of the process share and that a stalled thread would keep.

mod settling;

use crate::Tree;
use crate::ahead::{self, ReadAhead};
use crate::filter::{Filter, hash_of};
use crate::front::{Front, TreeChanges};
use crate::guard::{Pulse, caught};
use crate::home;
use crate::leaf;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

/// The unit in which sled takes and frees room in its file. Fixed for the life of an index.
const SEGMENT_BYTES: usize = 128 << 10;
const CACHE_BYTES: u64 = 32 << 20;
/// Leaves read or written between two signs of life.
const LEAVES_PER_BEAT: u64 = 256;

type Entry = (Vec<u8>, Vec<u8>);
type Trees = BTreeMap<Tree, sled::Tree>;
/// The keys of every tree.
pub(crate) type Filters = BTreeMap<Tree, Filter>;

/// What went wrong inside.
#[derive(Debug)]
pub(crate) enum Fault {
    Sled(sled::Error),
    /// A value that is no leaf, or a tree that is none of ours.
    Strange(&'static str),
    /// Our own calls to the operating system.
    Io(io::Error),
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A leaf as sled has it.
pub(crate) struct Leaf {
    bytes: sled::IVec,
    end: Option<sled::IVec>,
}

impl Leaf {
    /// Its entries from a key on.
    pub(crate) fn entries<'a>(
        &'a self,
        start: &'a [u8],
    ) -> impl Iterator<Item = Result<(&'a [u8], &'a [u8]), Fault>> {
        let end = self.end.as_deref();
        let is_here = move |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        leaf::entries(&self.bytes)
            .filter(move |entry| entry.is_none_or(|(key, _)| is_here(key)))
            .map(|entry| entry.ok_or(STRANGE_LEAF))
    }
}

const STRANGE_LEAF: Fault = Fault::Strange("a leaf that is none");

/// sled and the trees that it holds.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    db: sled::Db,
    /// Held for reading by whoever walks over leaves, until it has done so.
    trees: Arc<RwLock<Trees>>,
}

impl Engine {
    /// Opens sled in `dir` and reads every leaf: a damaged page shows now, not in the middle of
    /// work.
    pub(crate) fn open(dir: &Path, pulse: &Pulse) -> Result<(Self, Filters), Fault> {
        // Leaves lie in the file in no order of theirs, and a cold disk is slow at that.
        let _ahead = ReadAhead::start(&dir.join("db"), ahead::WORTH_BYTES);
        let db = sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            // Flushed when asked, and never by a thread of sled's own behind our back.
            .flush_every_ms(None)
            .open()?;
        pulse.beat();
        let (mut trees, mut filters) = (BTreeMap::new(), Filters::new());
        let names = Mutex::new(db.tree_names().into_iter());
        let read = || -> Result<Vec<(Tree, sled::Tree, Filter)>, Fault> {
            let mut read = Vec::new();
            loop {
                let name = names.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(name) = name else { return Ok(read) };
                let tree = db.open_tree(&name)?;
                match tree_of(&name) {
                    Some(known) => {
                        let filter = read_through(&tree, pulse)?;
                        read.push((known, tree, filter));
                    }
                    None if name == SLED_OWN_TREE => {}
                    None => return Err(Fault::Strange("a tree that is none of ours")),
                }
            }
        };
        for (known, tree, filter) in on_all_processors(&read)?.into_iter().flatten() {
            trees.insert(known, tree);
            filters.insert(known, filter);
        }
        Ok((Self { db, trees: Arc::new(RwLock::new(trees)) }, filters))
    }

    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let Some(tree) = self.tree(tree) else {
            return Ok(None);
        };
        let Some((_, leaf)) = leaf_for(&tree, key)? else {
            return Ok(None);
        };
        let value = leaf::find(&leaf, key).ok_or(STRANGE_LEAF)?;
        Ok(value.map(<[u8]>::to_vec))
    }

    /// Leaves with entries from `start` on, at most `count`, and where the next ones start. Of each
    /// leaf what lies at its end or behind belongs to the next.
    pub(crate) fn leaves(
        &self,
        tree: Tree,
        start: &[u8],
        count: usize,
    ) -> Result<(Vec<Leaf>, Option<Vec<u8>>), Fault> {
        let trees = self.trees();
        let Some(tree) = trees.get(&tree) else {
            return Ok((Vec::new(), None));
        };
        let mut leaves = Vec::new();
        let mut held = leaf_for(tree, start)?.map(|(_, leaf)| leaf);
        let behind = (Bound::Excluded(start), Bound::Unbounded);
        for next in tree.range::<&[u8], _>(behind) {
            let Some((first, leaf)) = none_if_dropped(next.map(Some))? else {
                break;
            };
            if let Some(bytes) = held.replace(leaf) {
                leaves.push(Leaf { bytes, end: Some(first.clone()) });
                if leaves.len() >= count {
                    return Ok((leaves, Some(first.to_vec())));
                }
            }
        }
        leaves.extend(held.map(|bytes| Leaf { bytes, end: None }));
        Ok((leaves, None))
    }

    /// The buckets that have a tree, in order.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let trees = self.trees();
        let buckets = trees.keys().filter_map(|tree| match tree {
            Tree::Meta => None,
            Tree::Bucket(bucket) => Some(*bucket),
        });
        buckets.collect()
    }

    /// Brings all changes into the leaves and makes them durable.
    ///
    /// Readers see each key as it was or as it will be, never without it.
    pub(crate) fn settle(&self, front: &Front, dir: &Path, pulse: &Pulse) -> Result<(), Fault> {
        let outwait_walks = || drop(self.change_trees());
        for (tree, changes) in front.trees() {
            if changes.dropped {
                self.change_trees().remove(&tree);
                self.db.drop_tree(name_of(tree))?;
            }
            if let Some(tree) = self.tree_to_settle(tree, changes)? {
                settling::settle_tree(&tree, &changes.values, &outwait_walks, pulse)?;
            }
        }
        self.db.flush()?;
        Ok(home::sync_all(dir)?)
    }

    /// Makes a tree that was not there, of entries in the order of their keys. Not yet durable.
    ///
    /// Readers see it when it is whole.
    pub(crate) fn fill(&self, tree: Tree, entries: &[Entry], pulse: &Pulse) -> Result<(), Fault> {
        let new = self.db.open_tree(name_of(tree))?;
        let entries = entries.iter().map(|(key, value)| (key, value));
        for ((first, leaf), number) in leaf::cut(entries).into_iter().zip(0u64..) {
            new.insert(if number == 0 { &[] } else { first }, leaf)?;
            beat_at(number + 1, pulse);
        }
        self.change_trees().insert(tree, new);
        Ok(())
    }

    pub(crate) fn has(&self, tree: Tree) -> bool {
        self.tree(tree).is_some()
    }

    fn tree(&self, tree: Tree) -> Option<sled::Tree> {
        self.trees().get(&tree).cloned()
    }

    fn trees(&self) -> RwLockReadGuard<'_, Trees> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_trees(&self) -> RwLockWriteGuard<'_, Trees> {
        self.trees.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_to_settle(
        &self,
        tree: Tree,
        changes: &TreeChanges,
    ) -> Result<Option<sled::Tree>, Fault> {
        let known = self.tree(tree);
        if known.is_some() || !changes.created {
            return Ok(known);
        }
        let new = self.db.open_tree(name_of(tree))?;
        self.change_trees().insert(tree, new.clone());
        Ok(Some(new))
    }
}

/// The keys of a tree, every leaf of which is read.
fn read_through(tree: &sled::Tree, pulse: &Pulse) -> Result<Filter, Fault> {
    let mut hashes = Vec::new();
    for (entry, number) in tree.iter().zip(1u64..) {
        for entry in leaf::entries(&entry?.1) {
            hashes.push(hash_of(entry.ok_or(STRANGE_LEAF)?.0));
        }
        beat_at(number, pulse);
    }
    Ok(Filter::of(&hashes))
}

/// What the work returns on each processor.
fn on_all_processors<T: Send>(
    work: &(dyn Fn() -> Result<T, Fault> + Sync),
) -> Result<Vec<T>, Fault> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    on_threads(count, &thread::Builder::new, work)
}

/// What the work returns on each of so many threads; where the system gives fewer, this one works
/// in the place of all that are missing.
fn on_threads<T: Send>(
    count: usize,
    builder: &dyn Fn() -> thread::Builder,
    work: &(dyn Fn() -> Result<T, Fault> + Sync),
) -> Result<Vec<T>, Fault> {
    thread::scope(|scope| {
        // A machine that is short of threads for a moment says nothing against the index.
        let start = |_| builder().spawn_scoped(scope, || caught(work)).ok();
        let running: Vec<_> = (0..count).map_while(start).collect();
        let here = (running.len() < count).then(work);
        let ended = running.into_iter().map(|thread| match thread.join() {
            Ok(Ok(result)) => result,
            // On to whoever guards this one.
            Ok(Err(trouble)) => std::panic::resume_unwind(Box::new(trouble.to_string())),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.chain(here).collect()
    })
}

/// Closes sled and waits until its threads have let go of its file and the lock on it.
pub(crate) fn close(engine: Engine, dir: &Path) -> io::Result<()> {
    drop(engine);
    File::open(dir.join("db"))?.lock()
}

/// The leaf in which `key` is, if it is anywhere.
fn leaf_for(tree: &sled::Tree, key: &[u8]) -> sled::Result<Option<(sled::IVec, sled::IVec)>> {
    none_if_dropped(tree.range::<&[u8], _>(..=key).next_back().transpose())
}

/// A reader may still hold a tree that was dropped; it is then empty to it.
fn none_if_dropped<T>(result: sled::Result<Option<T>>) -> sled::Result<Option<T>> {
    match result {
        Err(sled::Error::CollectionNotFound(_)) => Ok(None),
        other => other,
    }
}

fn beat_at(number: u64, pulse: &Pulse) {
    if number.is_multiple_of(LEAVES_PER_BEAT) {
        pulse.beat();
    }
}

const SLED_OWN_TREE: &[u8] = b"__sled__default";
const META_NAME: &[u8] = b"m";
const BUCKET_PREFIX: u8 = b'b';

fn name_of(tree: Tree) -> Vec<u8> {
    match tree {
        Tree::Meta => META_NAME.to_vec(),
        Tree::Bucket(Bucket { class, day }) => {
            let mut name = vec![BUCKET_PREFIX, class.0];
            name.extend(day.0.to_be_bytes());
            name
        }
    }
}

fn tree_of(name: &[u8]) -> Option<Tree> {
    match name {
        META_NAME => Some(Tree::Meta),
        [BUCKET_PREFIX, class, day @ ..] => {
            let day = Day(u32::from_be_bytes(day.try_into().ok()?));
            Some(Tree::Bucket(Bucket { class: Class(*class), day }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

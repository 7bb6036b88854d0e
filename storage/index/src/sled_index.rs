//! The index on sled 0.34, under guard.
//! Never takes sled's word: not that something is durable, not that damaged files open or fail.
//!
//! ```text
//! sled tree "m"                      Tree::Meta
//! sled tree "b" class day(4, BE)     Tree::Bucket
//! ```
//!
//! What may take long or never end (open, flush, close) runs on a thread of its own and is given
//! up when it stalls; what is quick runs here. Both turn sled's panics into errors. Batches go in
//! write by write: sled's own batches write a block each, and take a lock that all indexes of the
//! process share and that a stalled thread would keep.

use crate::guard::{Pulse, Trouble, caught, watched};
use crate::home::{self, Claim};
use crate::{Index, IndexError, Tree, Visit, Write};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// The unit in which sled takes and frees room in its file. Fixed for the life of an index.
///
/// Measured with 15,000 entries of 45 bytes, written once: docs/decisions.
const SEGMENT_BYTES: usize = 64 << 10;
const CACHE_BYTES: u64 = 32 << 20;
/// How long an opening, a flush or a close may go without a sign of life.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Entries read between two signs of life while opening.
const ENTRIES_PER_BEAT: u64 = 1024;

/// The index on disk.
#[derive(Debug)]
pub struct SledIndex {
    dir: PathBuf,
    /// `None` only while closing.
    engine: Option<Engine>,
    trees: RwLock<BTreeMap<Tree, sled::Tree>>,
    /// Held while changing anything, so that a batch never meets half a dropped tree.
    changing: Mutex<()>,
    failure: OnceLock<Failure>,
    stalled: AtomicBool,
    written_bytes: AtomicU64,
    /// Last: given back when sled has let go.
    _claim: Claim,
}

#[derive(Debug, Clone)]
struct Engine {
    db: sled::Db,
}

/// What stopped an open index for good.
#[derive(Debug)]
enum Failure {
    Damage(String),
    Refusal(String),
}

impl SledIndex {
    /// Opens the index in `dir`, made if absent, and reads all of it once.
    ///
    /// # Errors
    /// [`IndexError::Busy`] when it is open already, [`IndexError::LaterFormat`],
    /// [`IndexError::Damaged`] when sled does not open it or cannot read all of it, or
    /// [`IndexError::Io`].
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        Self::open_within(dir, STALL_LIMIT)
    }

    pub(crate) fn open_within(dir: &Path, stall_limit: Duration) -> Result<Self, IndexError> {
        let claim = home::claim(dir)?;
        let pulse = Pulse::default();
        let (path, beats) = (dir.to_owned(), pulse.clone());
        let opened = match watched(stall_limit, &pulse, move || start(&path, &beats)) {
            Ok(opened) => opened,
            Err(Trouble::NoThread(error)) => {
                return Err(IndexError::io(dir, "start a thread", error));
            }
            Err(trouble) => return Err(IndexError::damaged(dir, format!("open: {trouble}"))),
        };
        let (engine, trees) = opened.map_err(|error| IndexError::from_sled(dir, "open", error))?;
        Ok(Self {
            dir: dir.to_owned(),
            engine: Some(engine),
            trees: RwLock::new(trees),
            changing: Mutex::new(()),
            failure: OnceLock::new(),
            stalled: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
            _claim: claim,
        })
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("taken only by drop")
    }

    fn tree(&self, tree: Tree) -> Option<sled::Tree> {
        self.trees
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tree)
            .cloned()
    }

    fn tree_or_new(&self, tree: Tree) -> Result<sled::Tree, IndexError> {
        if let Some(known) = self.tree(tree) {
            return Ok(known);
        }
        let new = self.guarded("make a tree", || self.engine().db.open_tree(name_of(tree)))?;
        self.trees
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tree, new.clone());
        Ok(new)
    }

    fn put(&self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<(), IndexError> {
        let tree = self.tree_or_new(tree)?;
        self.guarded("put", || tree.insert(key, value)).map(drop)
    }

    fn delete(&self, tree: Tree, key: &[u8]) -> Result<(), IndexError> {
        match self.tree(tree) {
            Some(tree) => self.guarded("delete", || tree.remove(key)).map(drop),
            None => Ok(()),
        }
    }

    /// Runs one quick call into sled, unless the index has stopped.
    fn guarded<T>(
        &self,
        action: &'static str,
        call: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, IndexError> {
        self.check_running()?;
        match caught(call) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.stop(IndexError::from_sled(&self.dir, action, error))),
            Err(trouble) => Err(self.stop_for(action, trouble)),
        }
    }

    fn check_running(&self) -> Result<(), IndexError> {
        match self.failure.get() {
            None => Ok(()),
            Some(Failure::Damage(detail)) => Err(IndexError::damaged(&self.dir, detail)),
            Some(Failure::Refusal(cause)) => Err(IndexError::Stopped {
                dir: self.dir.clone(),
                cause: cause.clone(),
            }),
        }
    }

    /// Remembers what went wrong: after it, what sled holds and what reached the disk may differ.
    fn stop(&self, error: IndexError) -> IndexError {
        let _first_stays = self.failure.set(match &error {
            IndexError::Damaged { detail, .. } => Failure::Damage(detail.clone()),
            other => Failure::Refusal(other.to_string()),
        });
        error
    }

    fn stop_for(&self, action: &'static str, trouble: Trouble) -> IndexError {
        match trouble {
            Trouble::NoThread(error) => IndexError::io(&self.dir, "start a thread", error),
            Trouble::Panicked(_) => self.stop(IndexError::damaged(
                &self.dir,
                format!("{action}: {trouble}"),
            )),
            Trouble::Stalled(_) => {
                self.stalled.store(true, Ordering::Relaxed);
                self.stop(IndexError::damaged(
                    &self.dir,
                    format!("{action}: {trouble}"),
                ))
            }
        }
    }
}

impl Index for SledIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.check_running()?;
        let Some(tree) = self.tree(tree) else {
            return Ok(None);
        };
        let value = self.guarded("get", || none_if_dropped(tree.get(key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.check_running()?;
        let Some(tree) = self.tree(tree) else {
            return Ok(());
        };
        let mut entries = tree.range(start..);
        // The visitor is the caller's and runs outside the guard: its panics are its own.
        while let Some((key, value)) =
            self.guarded("scan", || none_if_dropped(entries.next().transpose()))?
        {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.check_running()?;
        let _order = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for write in batch {
            self.written_bytes
                .fetch_add(write.bytes(), Ordering::Relaxed);
            match write {
                Write::Put { tree, key, value } => self.put(tree, &key, value)?,
                Write::Delete { tree, key } => self.delete(tree, &key)?,
            }
        }
        Ok(())
    }

    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.check_running()?;
        let _order = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = Tree::Bucket(bucket);
        self.trees
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&tree);
        self.guarded("drop a tree", || self.engine().db.drop_tree(name_of(tree)))
            .map(drop)
    }

    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.check_running()?;
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        Ok(trees.keys().filter_map(|tree| bucket_of(*tree)).collect())
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.check_running()?;
        let (engine, dir) = (self.engine().clone(), self.dir.clone());
        let flushed = watched(STALL_LIMIT, &Pulse::default(), move || {
            engine.db.flush().map(drop)?;
            Ok(home::sync_all(&dir)?)
        });
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.stop(IndexError::from_sled(&self.dir, "flush", error))),
            Err(trouble) => Err(self.stop_for("flush", trouble)),
        }
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        let trees =
            std::mem::take(&mut *self.trees.write().unwrap_or_else(PoisonError::into_inner));
        let Some(engine) = self.engine.take() else {
            return;
        };
        if self.stalled.load(Ordering::Relaxed) {
            // Closing waits for what never comes.
            std::mem::forget((trees, engine));
            return;
        }
        let file = self.dir.join("db");
        // A close that fails loses nothing that was flushed.
        let _result = watched(STALL_LIMIT, &Pulse::default(), move || {
            drop((trees, engine));
            wait_until_let_go(&file)
        });
    }
}

/// Opens sled and reads every entry: a damaged page shows now, not in the middle of work.
fn start(dir: &Path, pulse: &Pulse) -> sled::Result<(Engine, BTreeMap<Tree, sled::Tree>)> {
    let db = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        // Flushed when asked, and never by a thread of sled's own behind our back.
        .flush_every_ms(None)
        .open()?;
    pulse.beat();
    let mut trees = BTreeMap::new();
    for name in db.tree_names() {
        let tree = db.open_tree(&name)?;
        for (entry, number) in tree.iter().zip(1u64..) {
            entry?;
            if number.is_multiple_of(ENTRIES_PER_BEAT) {
                pulse.beat();
            }
        }
        match tree_of(&name) {
            Some(known) => drop(trees.insert(known, tree)),
            None if name == SLED_OWN_TREE => {}
            None => {
                return Err(sled::Error::Unsupported(
                    "a tree with a strange name".to_owned(),
                ));
            }
        }
    }
    trees.insert(Tree::Meta, db.open_tree(name_of(Tree::Meta))?);
    Ok((Engine { db }, trees))
}

/// sled's threads may hold its file, and the lock on it, a moment longer than the last handle.
fn wait_until_let_go(file: &Path) -> io::Result<()> {
    File::open(file)?.lock()
}

fn none_if_dropped<T>(result: sled::Result<Option<T>>) -> sled::Result<Option<T>> {
    match result {
        Err(sled::Error::CollectionNotFound(_)) => Ok(None),
        other => other,
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
            Some(Tree::Bucket(Bucket {
                class: Class(*class),
                day,
            }))
        }
        _ => None,
    }
}

fn bucket_of(tree: Tree) -> Option<Bucket> {
    match tree {
        Tree::Meta => None,
        Tree::Bucket(bucket) => Some(bucket),
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

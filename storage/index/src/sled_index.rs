//! The index on disk: newer changes in memory and in the journal, all else in sled.
//! Never takes sled's word: not that something is durable, not that damaged files open or fail.
//!
//! ```text
//! write      newer, pending
//! flush      pending -> journal, synced
//! settle     newer becomes settling -> sled, synced; then the journal is emptied
//!            (when newer is full, and at the flush after a tree was dropped; a full disk puts it off)
//! get, scan  newer, then settling, then sled: a change is always in one of them; a filter in memory
//!            answers for most keys that are in none
//! open       journal -> newer
//! ```
//!
//! sled 0.34 is poor at small entries that come one by one: 150,000 of 45 bytes took 5.5 times
//! their size, a million 6.3 times. Gathered, sorted and handed over in leaves they take 2.0 and
//! 3.7 times, half the time and a third of the memory (`examples/size.rs`). And a flush is one
//! sync of one file.
//!
//! What may take long or never end (open, settle, close) runs on a thread of its own and is given
//! up when it stalls. sled's panics become errors everywhere.

mod fill;
mod scan;

use crate::codec::encode_write;
use crate::engine::{self, Engine, Fault, Filters};
use crate::front::{Front, Known, Values};
use crate::guard::{Pulse, Trouble, caught, watched};
use crate::home::{self, Claim};
use crate::journal::{self, Journal};
use crate::room::has_room_to_settle;
use crate::{Index, IndexError, Tree, Visit, Write};
use quar_base::key::Bucket;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// How much gathers before it is settled.
const GATHER: Gather =
    Gather { entries_max: 65_536, logged_bytes_max: 16 << 20, has_room: has_room_to_settle };
/// How long an opening, a settling or a close may go without a sign of life.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// The index on disk.
#[derive(Debug)]
pub struct SledIndex {
    dir: PathBuf,
    gather: Gather,
    /// `None` only while closing.
    engine: Option<Engine>,
    /// Held while anything on disk changes. Taken before `layers`.
    journal: Mutex<Journal>,
    layers: RwLock<Layers>,
    failure: OnceLock<Failure>,
    stalled: AtomicBool,
    written_bytes: AtomicU64,
    /// Last: given back when sled has let go.
    _claim: Claim,
}

/// When newer changes are settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather {
    /// Keys changed; the more, the fewer leaves are written twice.
    entries_max: usize,
    /// Bytes for the journal, where one key changed often counts every time.
    logged_bytes_max: usize,
    /// Whether the disk has room for settling so many entries in a directory: sled does not
    /// survive that there is none.
    has_room: fn(&Path, usize) -> bool,
}

/// What sled does not have yet.
#[derive(Debug, Default)]
struct Layers {
    newer: Front,
    settling: Arc<Front>,
    /// Writes that the journal does not have yet, encoded.
    pending: Vec<u8>,
    /// Bytes of writes encoded since the last settling began, pending and in the journal.
    logged_bytes: usize,
    /// Whether sled was handed a tree past the journal.
    is_filled: bool,
    /// Keys of all layers and of sled.
    filters: Filters,
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
    /// [`IndexError::Damaged`] when it does not open or not all of it can be read, or
    /// [`IndexError::Io`].
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        Self::open_with(dir, GATHER)
    }

    pub(crate) fn open_with(dir: &Path, gather: Gather) -> Result<Self, IndexError> {
        let claim = home::claim(dir)?;
        let (journal, writes) = Journal::open(dir).map_err(|error| match error {
            journal::OpenError::Io(source) => IndexError::io(dir, "open the journal", source),
            journal::OpenError::Damaged(detail) => IndexError::damaged(dir, detail),
        })?;
        let (engine, filters) = open_engine(dir)?;
        let mut layers = Layers { filters, ..Layers::default() };
        for write in writes {
            layers.take(write);
        }
        // The journal has them.
        layers.pending.clear();
        Ok(Self {
            dir: dir.to_owned(),
            gather,
            engine: Some(engine),
            journal: Mutex::new(journal),
            layers: RwLock::new(layers),
            failure: OnceLock::new(),
            stalled: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
            _claim: claim,
        })
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("taken only by drop")
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_layers<T>(&self, read: impl FnOnce(&Layers) -> T) -> T {
        read(&self.layers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_layers<T>(&self, change: impl FnOnce(&mut Layers) -> T) -> T {
        change(&mut self.layers.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is room to settle now; until there is, changes go on gathering.
    fn has_room(&self) -> bool {
        let entries = self.read_layers(|layers| layers.newer.entries());
        (self.gather.has_room)(&self.dir, entries)
    }

    /// Hands the newer changes to sled. Readers and writers go on meanwhile.
    fn settle(&self, journal: &mut Journal) -> Result<(), IndexError> {
        self.check_running()?;
        let front = self.change_layers(|layers| {
            layers.pending.clear();
            layers.logged_bytes = 0;
            layers.settling = Arc::new(std::mem::take(&mut layers.newer));
            Arc::clone(&layers.settling)
        });
        let pulse = Pulse::default();
        let (engine, dir, beats) = (self.engine().clone(), self.dir.clone(), pulse.clone());
        let settled = watched(STALL_LIMIT, &pulse, move || engine.settle(&front, &dir, &beats));
        self.checked("settle", settled)?;
        // Only now: until sled's files are on disk, the journal alone vouches for them.
        self.checked("clear the journal", Ok(journal.clear().map_err(Fault::Io)))?;
        self.change_layers(|layers| {
            layers.settling = Arc::default();
            layers.is_filled = false;
        });
        Ok(())
    }

    /// Turns what a guarded call answered into an error that stops the index, or its value.
    fn checked<T>(
        &self,
        action: &'static str,
        answer: Result<Result<T, Fault>, Trouble>,
    ) -> Result<T, IndexError> {
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(fault)) => IndexError::from_fault(&self.dir, action, fault),
            Err(Trouble::NoThread(error)) => IndexError::io(&self.dir, "start a thread", error),
            Err(trouble) => {
                let stalled = matches!(trouble, Trouble::Stalled(_));
                self.stalled.fetch_or(stalled, Ordering::Relaxed);
                IndexError::damaged(&self.dir, format!("{action}: {trouble}"))
            }
        };
        // After it, what readers saw and what reached the disk may differ.
        let _first_stays = self.failure.set(match &error {
            IndexError::Damaged { detail, .. } => Failure::Damage(detail.clone()),
            other => Failure::Refusal(other.to_string()),
        });
        Err(error)
    }

    /// Changes end with the first failure of any kind; the last of them are still shown.
    fn check_running(&self) -> Result<(), IndexError> {
        self.check_readable()?;
        match self.failure.get() {
            None | Some(Failure::Damage(_)) => Ok(()),
            Some(Failure::Refusal(cause)) => {
                Err(IndexError::Stopped { dir: self.dir.clone(), cause: cause.clone() })
            }
        }
    }

    /// Reads go on when the operating system refused something: what was not flushed is still in
    /// the layers above sled.
    fn check_readable(&self) -> Result<(), IndexError> {
        match self.failure.get() {
            Some(Failure::Damage(detail)) => Err(IndexError::damaged(&self.dir, detail)),
            None | Some(Failure::Refusal(_)) => Ok(()),
        }
    }
}

impl Layers {
    fn take(&mut self, write: Write) {
        let before = self.pending.len();
        encode_write(&write, &mut self.pending);
        self.logged_bytes += self.pending.len() - before;
        if let Write::Put { tree, key, .. } = &write {
            self.filters.entry(*tree).or_default().add(key);
        }
        self.newer.apply(write);
    }

    fn is_full(&self, gather: Gather) -> bool {
        self.newer.entries() >= gather.entries_max || self.logged_bytes >= gather.logged_bytes_max
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Known {
        if !self.filters.get(&tree).is_some_and(|filter| filter.may_hold(key)) {
            return Known::Value(None);
        }
        match self.newer.get(tree, key) {
            Known::Nothing => self.settling.get(tree, key),
            known => known,
        }
    }

    /// The first changes of a tree from a key on, and whether they hide what sled has.
    fn from(&self, tree: Tree, key: &[u8], count: usize) -> (Values, bool) {
        let newer = self.newer.from(tree, key, count);
        if self.newer.hides(tree) {
            return (newer, true);
        }
        let mut changes = self.settling.from(tree, key, count);
        changes.extend(newer);
        while changes.len() > count {
            changes.pop_last();
        }
        (changes, self.settling.hides(tree))
    }
}

impl Index for SledIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.check_readable()?;
        match self.read_layers(|layers| layers.get(tree, key)) {
            Known::Value(value) => Ok(value),
            Known::Nothing => self.checked("get", caught(|| self.engine().get(tree, key))),
        }
    }

    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.scan_from(tree, start, visit)
    }

    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.check_readable()?;
        let bytes = batch.iter().map(Write::bytes).sum();
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_full = self.change_layers(|layers| {
            batch.into_iter().for_each(|write| layers.take(write));
            layers.is_full(self.gather)
        });
        // Only now: readers see what whoever writes has made durable elsewhere and answers for.
        self.check_running()?;
        if is_full {
            let mut journal = self.journal();
            // Whoever held the journal may have settled it all.
            if self.read_layers(|layers| layers.is_full(self.gather)) && self.has_room() {
                self.settle(&mut journal)?;
            }
        }
        Ok(())
    }

    fn fill(&self, tree: Tree, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), IndexError> {
        self.fill_tree(tree, entries)
    }

    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.check_running()?;
        self.change_layers(|layers| {
            layers.newer.drop_tree(bucket);
            layers.filters.remove(&Tree::Bucket(bucket));
        });
        Ok(())
    }

    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.check_readable()?;
        // Under the lock: a settling that ends in between would show in neither.
        Ok(self.read_layers(|layers| {
            let mut buckets = self.engine().buckets();
            layers.settling.amend(&mut buckets);
            layers.newer.amend(&mut buckets);
            buckets
        }))
    }

    fn flush(&self) -> Result<(), IndexError> {
        let mut journal = self.journal();
        // With the journal in hand: a settling that failed took unflushed writes with it.
        self.check_running()?;
        if self.read_layers(|layers| layers.newer.has_drops() || layers.is_filled) {
            // The journal knows no drops, whose room is wanted back, and nothing of filled trees.
            if !self.has_room() {
                return Err(IndexError::NoRoom { dir: self.dir.clone() });
            }
            return self.settle(&mut journal);
        }
        let pending = self.change_layers(|layers| std::mem::take(&mut layers.pending));
        if pending.is_empty() {
            return Ok(());
        }
        let appended = Ok(journal.append(&pending).map_err(Fault::Io));
        if self.checked("write the journal", appended)? {
            return Ok(());
        }
        self.change_layers(|layers| {
            let later = std::mem::replace(&mut layers.pending, pending);
            layers.pending.extend(later);
        });
        Err(IndexError::NoRoom { dir: self.dir.clone() })
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        if self.stalled.load(Ordering::Relaxed) {
            // Closing waits for what never comes.
            std::mem::forget(engine);
            return;
        }
        let dir = self.dir.clone();
        // A close that fails loses nothing that was flushed.
        let _result = watched(STALL_LIMIT, &Pulse::default(), move || engine::close(engine, &dir));
    }
}

fn open_engine(dir: &Path) -> Result<(Engine, Filters), IndexError> {
    let pulse = Pulse::default();
    let (path, beats) = (dir.to_owned(), pulse.clone());
    match watched(STALL_LIMIT, &pulse, move || Engine::open(&path, &beats)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(fault)) => Err(IndexError::from_fault(dir, "open", fault)),
        Err(Trouble::NoThread(error)) => Err(IndexError::io(dir, "start a thread", error)),
        Err(trouble) => Err(IndexError::damaged(dir, format!("open: {trouble}"))),
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

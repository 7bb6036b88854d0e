//! A disk and an index that keep, before every operation that changes them and within every write,
//! what a power cut at that moment may leave; and that can fail a sync as disks do.
//! Never changes what the store sees of a disk that works.

use quar_base::key::Bucket;
use quar_base::rng::Rng;
use quar_index::{Index, IndexError, MemoryIndex, Tree, Visit, Write};
use quar_store::{Disk, Entry, File, IndexHome, MemoryDisk};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// What a power cut leaves.
pub struct Image {
    pub disk: MemoryDisk,
    pub index: Arc<MemoryIndex>,
    /// Which operation was next, for messages.
    pub before: String,
}

/// Clones share the disk and the images.
#[derive(Clone)]
pub struct SpyDisk {
    inner: MemoryDisk,
    spy: Arc<Mutex<Spy>>,
    gate: Arc<Gate>,
}

/// Where syncs of segments wait while it is shut.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_shut: bool,
    waiting: usize,
}

struct Spy {
    index: Arc<MemoryIndex>,
    rng: Rng,
    images: Vec<Image>,
    syncs: u64,
    fail_sync: Option<u64>,
    /// Files whose unsynced pages were dropped: later syncs succeed and write nothing.
    forgetful: BTreeSet<PathBuf>,
    /// Whether directories may not be unlinked.
    keeps_directories: bool,
}

struct SpyFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    disk: SpyDisk,
}

impl SpyDisk {
    pub fn new(inner: MemoryDisk, index: Arc<MemoryIndex>, seed: [u8; 32]) -> Self {
        Self {
            inner,
            spy: Arc::new(Mutex::new(Spy {
                index,
                rng: Rng::from_seed(seed),
                images: Vec::new(),
                syncs: 0,
                fail_sync: None,
                forgetful: BTreeSet::new(),
                keeps_directories: false,
            })),
            gate: Arc::default(),
        }
    }

    /// Lets syncs of segments wait from now on, or go on.
    pub fn hold_syncs(&self, holds: bool) {
        self.gate.state.lock().unwrap().is_shut = holds;
        self.gate.changed.notify_all();
    }

    /// Returns when a sync waits.
    pub fn until_a_sync_waits(&self) {
        let state = self.gate.state.lock().unwrap();
        drop(self.gate.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    /// Operations since the images were last taken, in order, each with its time before or after.
    pub fn take_operations(&self) -> Vec<String> {
        self.take_images().into_iter().map(|image| image.before).collect()
    }

    /// Lets the sync with this number fail (the first is 0), and what it was to write be forgotten.
    pub fn fail_sync(&self, number: u64) {
        self.spy.lock().unwrap().fail_sync = Some(number);
    }

    /// Refuses from now on to unlink directories, or no longer.
    pub fn keep_directories(&self, keeps: bool) {
        self.spy.lock().unwrap().keeps_directories = keeps;
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.spy.lock().unwrap().syncs
    }

    /// Whether the sync that was to fail has come.
    pub fn has_failed(&self) -> bool {
        !self.spy.lock().unwrap().forgetful.is_empty()
    }

    /// The index as it is.
    pub fn index(&self) -> Arc<MemoryIndex> {
        self.spy.lock().unwrap().index.clone()
    }

    pub fn take_images(&self) -> Vec<Image> {
        std::mem::take(&mut self.spy.lock().unwrap().images)
    }

    /// The disk and the index as a power cut now may leave them.
    pub fn look(&self, before: String) {
        let mut spy = self.spy.lock().unwrap();
        let disk = self.inner.crash_with(&mut spy.rng);
        spy.keep(disk, before);
    }

    /// Within the replacing of a small file: the old one, and beside it a part of the new one.
    fn look_replacing(&self, path: &Path, bytes: &[u8]) {
        let mut spy = self.spy.lock().unwrap();
        let disk = self.inner.crash_with(&mut spy.rng);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let cut = spy.rng.below(bytes.len() as u64 + 1) as usize;
        disk.replace(Path::new(&beside), &bytes[..cut]).unwrap();
        spy.keep(disk, format!("within replacing {}", path.display()));
    }
}

impl Spy {
    fn keep(&mut self, disk: MemoryDisk, before: String) {
        let unflushed = self.index.unflushed() as u64;
        let kept = match self.rng.below(3) {
            0 => 0,
            1 => unflushed,
            _ => self.rng.below(unflushed + 1),
        };
        self.images.push(Image {
            disk,
            index: Arc::new(self.index.crash_with(kept as usize)),
            before: format!("{before} ({kept} of {unflushed} index changes)"),
        });
    }
}

impl File for SpyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.look(format!("write of {}", self.path.display()));
        self.inner.write_at(bytes, offset)?;
        self.disk.look(format!("within a write of {}", self.path.display()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.look(format!("sync of {}", self.path.display()));
        let gate = &self.disk.gate;
        let mut state = gate.state.lock().unwrap();
        if state.is_shut && self.path.starts_with("segments") {
            state.waiting += 1;
            gate.changed.notify_all();
            gate.changed.wait_while(state, |state| state.is_shut).unwrap().waiting -= 1;
            self.disk.look(format!("end of the sync of {}", self.path.display()));
        }
        let mut spy = self.disk.spy.lock().unwrap();
        let number = spy.syncs;
        spy.syncs += 1;
        if spy.fail_sync == Some(number) {
            spy.forgetful.insert(self.path.clone());
            return Err(io::Error::other("the medium failed"));
        }
        if spy.forgetful.contains(&self.path) {
            return Ok(());
        }
        self.inner.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.look(format!("cutting {}", self.path.display()));
        self.inner.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}

impl SpyDisk {
    fn file(&self, inner: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(SpyFile { inner, path: path.to_owned(), disk: self.clone() })
    }
}

impl Disk for SpyDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.create_dir(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.look(format!("making {}", path.display()));
        Ok(self.file(self.inner.create(path)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(path)?, path))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.look(format!("replacing {}", path.display()));
        self.look_replacing(path, bytes);
        self.inner.replace(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.look(format!("removing {}", path.display()));
        self.inner.remove(path)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.look(format!("removing {}", directory.display()));
        if self.spy.lock().unwrap().keeps_directories {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.inner.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.look(format!("sync of directory {}", directory.display()));
        self.inner.sync_dir(directory)
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.look(format!("allocating {}", path.display()));
        self.inner.allocate(path, bytes)
    }

    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.used_bytes(directory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

/// The index beside a [`SpyDisk`]: a power cut may come before each of its writes and flushes too.
pub struct SpyIndex {
    inner: Arc<MemoryIndex>,
    disk: SpyDisk,
}

impl SpyIndex {
    fn look(&self, before: &str) {
        self.disk.look(format!("{before} of the index"));
    }
}

impl Index for SpyIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.inner.get(tree, key)
    }

    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.inner.scan(tree, start, visit)
    }

    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.look("write");
        self.inner.write(batch)
    }

    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.look("dropping a tree");
        self.inner.drop_tree(bucket)
    }

    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.inner.buckets()
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.look("flush");
        self.inner.flush()
    }

    fn written_bytes(&self) -> u64 {
        self.inner.written_bytes()
    }
}

impl IndexHome for SpyDisk {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        let inner = self.spy.lock().unwrap().index.clone();
        Ok(Arc::new(SpyIndex { inner, disk: self.clone() }))
    }

    fn reset(&mut self) -> io::Result<()> {
        self.spy.lock().unwrap().index = Arc::new(MemoryIndex::new());
        Ok(())
    }
}

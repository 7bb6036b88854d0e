//! A disk in memory with a live and a durable image: a crash leaves the durable one, and what luck adds.
//! Never touches the real file system.
//!
//! ```text
//! write_at ─► live bytes      sync_data ─► durable bytes      crash() keeps durable names and bytes only
//! create   ─► live name       sync_dir  ─► durable name       crash_with() also some sectors and names
//! ```

mod luck;

use super::{Disk, Entry, File};
use quar_base::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk whose power can be cut. Clones share the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    live: BTreeMap<PathBuf, Arc<MemoryFile>>,
    durable: BTreeMap<PathBuf, Arc<MemoryFile>>,
    directories: BTreeSet<PathBuf>,
    budget: Arc<Budget>,
}

/// What the disk still lets happen.
struct Budget(Mutex<Limits>);

struct Limits {
    free_bytes: u64,
    fail_syncs: bool,
}

struct MemoryFile {
    bytes: Mutex<Images>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from `durable` to `live`, in order.
    unsynced: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

const PROOF: &str = "no holder of this lock panics";

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk with room for everything.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits { free_bytes: u64::MAX, fail_syncs: false };
        Self {
            state: Arc::new(Mutex::new(State {
                live: BTreeMap::new(),
                durable: BTreeMap::new(),
                directories: BTreeSet::new(),
                budget: Arc::new(Budget(Mutex::new(limits))),
            })),
        }
    }

    /// What is left after the power was cut now: durable names with their durable bytes.
    #[must_use]
    pub fn crash(&self) -> Self {
        let old = self.lock();
        let files =
            old.durable.iter().map(|(path, file)| (path.clone(), file.images().durable.clone()));
        Self::of(files, old.directories.clone())
    }

    /// What may be left: also some of the sectors and names that were not synced.
    #[must_use]
    pub fn crash_with(&self, rng: &mut Rng) -> Self {
        let old = self.lock();
        let files = luck::surviving(&old.live, &old.durable, rng);
        Self::of(files.into_iter(), old.directories.clone())
    }

    fn of(files: impl Iterator<Item = (PathBuf, Vec<u8>)>, directories: BTreeSet<PathBuf>) -> Self {
        let fresh = Self::new();
        {
            let mut state = fresh.lock();
            state.directories = directories;
            for (path, bytes) in files {
                let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
                state.directories.extend(above.map(Path::to_owned));
                let file = Arc::new(MemoryFile::durable(bytes, state.budget.clone()));
                state.live.insert(path.clone(), file.clone());
                state.durable.insert(path, file);
            }
        }
        fresh
    }

    /// Lets only this many more bytes be written before `StorageFull`.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.lock().budget.limits().free_bytes = free_bytes;
    }

    /// Makes every later sync fail, or work again.
    pub fn set_fail_syncs(&self, fail_syncs: bool) {
        self.lock().budget.limits().fail_syncs = fail_syncs;
    }

    /// Changes bytes on the medium behind the store's back.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.lock().live.get(path).cloned().expect("damage is done to files that exist");
        let mut images = file.images();
        change(&mut images.live);
        images.durable = images.live.clone();
        images.unsynced.clear();
    }

    /// Paths of all files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().live.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(PROOF)
    }
}

impl Budget {
    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.lock().expect(PROOF)
    }

    fn spend(&self, bytes: u64) -> io::Result<()> {
        let mut limits = self.limits();
        limits.free_bytes =
            limits.free_bytes.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut limits = self.limits();
        limits.free_bytes = limits.free_bytes.saturating_add(bytes);
    }

    fn sync(&self) -> io::Result<()> {
        if self.limits().fail_syncs {
            return Err(io::Error::other("the medium failed"));
        }
        Ok(())
    }
}

impl MemoryFile {
    fn durable(bytes: Vec<u8>, budget: Arc<Budget>) -> Self {
        let images = Images { live: bytes.clone(), durable: bytes, unsynced: Vec::new() };
        Self { bytes: Mutex::new(images), budget }
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.bytes.lock().expect(PROOF)
    }

    fn bytes_taken(&self) -> u64 {
        self.images().live.len() as u64
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(bytes);
            }
            Self::Cut { length } => image.truncate(*length),
        }
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let images = self.images();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(images.live.len());
        let count = buffer.len().min(images.live.len() - start);
        buffer[..count].copy_from_slice(&images.live[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut images = self.images();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start + bytes.len();
        let growth = end.saturating_sub(images.live.len());
        self.budget.spend(growth as u64)?;
        if growth > 0 {
            images.live.resize(end, 0);
        }
        images.live[start..end].copy_from_slice(bytes);
        images.unsynced.push(Change::Write { offset: start, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.budget.sync()?;
        let mut images = self.images();
        let Images { durable, unsynced, .. } = &mut *images;
        for change in std::mem::take(unsynced) {
            change.apply(durable);
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut images = self.images();
        let cut = images.live.len().saturating_sub(usize::try_from(length).unwrap_or(usize::MAX));
        self.budget.give_back(cut as u64);
        let kept = images.live.len() - cut;
        images.live.truncate(kept);
        images.unsynced.push(Change::Cut { length: kept });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.images().live.len() as u64)
    }
}

impl Disk for MemoryDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        let mut entries = BTreeSet::new();
        let name_of = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let inside = |path: &Path| path.parent() == Some(directory);
        for path in state.live.keys().filter(|path| inside(path)) {
            entries.extend(name_of(path).map(|name| Entry { name, is_dir: false }));
        }
        for path in state.directories.iter().filter(|path| inside(path)) {
            entries.extend(name_of(path).map(|name| Entry { name, is_dir: true }));
        }
        Ok(entries.into_iter().collect())
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.directories.extend(
            directory.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned),
        );
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        if state.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let budget = state.budget.clone();
        let file = Arc::new(MemoryFile { bytes: Mutex::default(), budget });
        state.live.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self.lock().live.get(path).cloned();
        file.map(|file| file as Arc<dyn File>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.budget.spend(bytes.len() as u64)?;
        state.budget.sync()?;
        let file = Arc::new(MemoryFile::durable(bytes.to_vec(), state.budget.clone()));
        if let Some(old) = state.live.insert(path.to_owned(), file.clone()) {
            state.budget.give_back(old.bytes_taken());
        }
        state.durable.insert(path.to_owned(), file);
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = self.lock().live.get(path).cloned();
        Ok(file.map(|file| file.images().live.clone()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let removed = state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.budget.give_back(removed.bytes_taken());
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let inside = state.live.iter().filter(|(path, _)| path.starts_with(directory));
        let taken = inside.map(|(_, file)| file.bytes_taken()).sum();
        state.budget.give_back(taken);
        state.live.retain(|path, _| !path.starts_with(directory));
        state.directories.retain(|path| !path.starts_with(directory));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.budget.sync()?;
        let State { live, durable, directories, .. } = &mut *state;
        if !directory.as_os_str().is_empty() && !directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // A directory that is gone from this one takes along what was in it.
        let is_gone = |path: &Path| {
            let mut between = path.ancestors().skip(1).take_while(|above| *above != directory);
            path.starts_with(directory) && between.any(|above| !directories.contains(above))
        };
        let inside = |path: &Path| path.parent() == Some(directory);
        durable.retain(|path, _| !inside(path) && !is_gone(path));
        let settled = live.iter().filter(|(path, _)| inside(path));
        durable.extend(settled.map(|(path, file)| (path.clone(), file.clone())));
        Ok(())
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let held = self.read(path)?.unwrap_or_default();
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        if held.len() == length {
            return Ok(());
        }
        // Room for the new and the old one at once is more than the file would need.
        let _ = self.remove(path);
        self.replace(path, &vec![1; length])
    }

    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        let state = self.lock();
        let inside = state.live.iter().filter(|(path, _)| path.parent() == Some(directory));
        Ok(inside.map(|(_, file)| file.bytes_taken()).sum())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().budget.limits().free_bytes)
    }
}

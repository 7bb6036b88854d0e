//! A disk that keeps, before every operation that changes it, what a power cut at that moment
//! would leave; and that can fail a sync as disks do.
//! Never changes what the store sees of a disk that works.

use quar_base::rng::Rng;
use quar_index::MemoryIndex;
use quar_store::{Disk, Entry, File, MemoryDisk};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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
}

struct Spy {
    index: Arc<MemoryIndex>,
    rng: Rng,
    images: Vec<Image>,
    syncs: u64,
    fail_sync: Option<u64>,
    /// Files whose unsynced pages were dropped: later syncs succeed and write nothing.
    forgetful: BTreeSet<PathBuf>,
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
            })),
        }
    }

    /// Lets the sync with this number fail (the first is 0), and what it was to write be forgotten.
    pub fn fail_sync(&self, number: u64) {
        self.spy.lock().unwrap().fail_sync = Some(number);
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.spy.lock().unwrap().syncs
    }

    /// Whether the sync that was to fail has come.
    pub fn has_failed(&self) -> bool {
        !self.spy.lock().unwrap().forgetful.is_empty()
    }

    pub fn take_images(&self) -> Vec<Image> {
        std::mem::take(&mut self.spy.lock().unwrap().images)
    }

    /// Only what was synced, and any part of what the index had not flushed.
    fn look(&self, before: String) {
        let mut spy = self.spy.lock().unwrap();
        let disk = self.inner.crash();
        spy.keep(disk, before);
    }

    /// A write that reached the medium in part: its first bytes, or some of its sectors.
    fn look_torn(&self, path: &Path, bytes: &[u8], offset: u64) {
        let mut spy = self.spy.lock().unwrap();
        let disk = self.inner.crash();
        if !disk.paths().iter().any(|known| known == path) {
            // The name may reach the medium without a sync too.
            disk.create(path).unwrap();
        }
        let cut = spy.rng.below(bytes.len() as u64 + 1) as usize;
        let is_scattered = spy.rng.below(2) == 0;
        let sectors: Vec<bool> =
            (0..bytes.len().div_ceil(512)).map(|_| spy.rng.below(2) == 0).collect();
        disk.damage(path, |file| {
            let start = offset as usize;
            let end = if is_scattered { bytes.len() } else { cut };
            file.resize(file.len().max(start + end), 0);
            for (number, sector) in bytes[..end].chunks(512).enumerate() {
                if !is_scattered || sectors[number] {
                    let at = start + number * 512;
                    file[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        });
        // `damage` makes bytes durable, this the name.
        disk.sync_dir(path.parent().unwrap()).unwrap();
        spy.keep(disk, format!("within a write of {}", path.display()));
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
        self.disk.look_torn(&self.path, bytes, offset);
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.look(format!("sync of {}", self.path.display()));
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
        Ok(self.file(self.inner.create(path)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(path)?, path))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.look(format!("replacing {}", path.display()));
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
        self.inner.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.look(format!("sync of directory {}", directory.display()));
        self.inner.sync_dir(directory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

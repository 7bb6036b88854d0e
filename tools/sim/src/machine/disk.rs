//! A machine's disk: the one in memory, with what was unlinked written down.
//! Never decides whether that was right.

use quar_base::key::Bucket;
use quar_store::{Disk, Entry, File, MemoryDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where segments lie below the data directory.
const SEGMENTS: &str = "segments";

/// The disk and its log.
#[derive(Clone)]
pub struct WatchedDisk {
    inner: MemoryDisk,
    unlinked: Arc<Mutex<Vec<PathBuf>>>,
}

impl WatchedDisk {
    /// Watches a disk.
    #[must_use]
    pub fn new(inner: MemoryDisk) -> Self {
        Self { inner, unlinked: Arc::default() }
    }

    /// The disk itself.
    #[must_use]
    pub fn memory(&self) -> &MemoryDisk {
        &self.inner
    }

    /// Days whose directories were unlinked since this was last asked.
    #[must_use]
    pub fn take_unlinked(&self) -> Vec<Bucket> {
        let mut unlinked = self.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *unlinked).iter().filter_map(|path| bucket_of(path)).collect()
    }

    /// Files of segments, with the bucket of each.
    #[must_use]
    pub fn segments(&self) -> Vec<(PathBuf, Bucket)> {
        let paths = self.inner.paths().into_iter();
        paths.filter_map(|path| bucket_of(path.parent()?).map(|bucket| (path, bucket))).collect()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let length = |path: &PathBuf| self.inner.open(path).and_then(|file| file.length());
        self.inner.paths().iter().map(|path| length(path).unwrap_or(0)).sum()
    }
}

/// The bucket of a directory `segments/CLASS/DAY`.
fn bucket_of(directory: &Path) -> Option<Bucket> {
    directory.strip_prefix(SEGMENTS).ok()?.to_str()?.parse().ok()
}

impl Disk for WatchedDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.create_dir(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.replace(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        let mut unlinked = self.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
        unlinked.push(directory.to_owned());
        drop(unlinked);
        self.inner.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.sync_dir(directory)
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.inner.allocate(path, bytes)
    }

    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.used_bytes(directory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

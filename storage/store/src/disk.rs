//! The disk as the store sees it: a few operations on files named relative to the data directory.
//! Never knows what the bytes mean; and nothing is durable before a sync says so.
//!
//! Bytes of a file are durable after its `sync_data`; a new name is durable after `sync_dir` of its directory.

mod memory;
mod real;

pub use memory::MemoryDisk;
pub use real::RealDisk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name within the directory.
    pub name: String,
    /// Whether it is itself a directory.
    pub is_dir: bool,
}

/// An open file. Positions are absolute: there is no cursor to share.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the operating system reports.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at `offset`.
    ///
    /// # Errors
    /// As the operating system reports; some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable (fdatasync).
    ///
    /// # Errors
    /// As the operating system reports; what was written since the last success may be lost.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file off.
    ///
    /// # Errors
    /// As the operating system reports; the file is then as it was.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the operating system reports.
    fn length(&self) -> io::Result<u64>;
}

/// A data directory.
pub trait Disk: Send + Sync {
    /// Entries of a directory in order of names; none when there is no such directory.
    ///
    /// # Errors
    /// As the operating system reports.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory and those above it, and makes their names durable.
    ///
    /// # Errors
    /// As the operating system reports.
    fn create_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes a new file. Its name is durable after `sync_dir` of its directory.
    ///
    /// # Errors
    /// `AlreadyExists`, or as the operating system reports.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or as the operating system reports.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Replaces or makes a small file so that after a crash it is the old one or the new one, and
    /// durable on return.
    ///
    /// # Errors
    /// As the operating system reports; the old file is then untouched or already replaced.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Reads a whole small file; `None` when there is none.
    ///
    /// # Errors
    /// As the operating system reports.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Unlinks a file. It may come back after a crash until `sync_dir`.
    ///
    /// # Errors
    /// As the operating system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Unlinks a directory and all files in it; one that is not there is no error. It may come back
    /// after a crash.
    ///
    /// # Errors
    /// As the operating system reports; some files may be gone.
    fn remove_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system reports.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes a file of so many bytes, or makes up what one that is there lacks, and fills them in:
    /// they take up room on the medium whatever the file system compresses or leaves out. The file
    /// and its name are durable on return.
    ///
    /// # Errors
    /// As the operating system reports; the file is then gone.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Bytes on the medium that the files in a directory take up; 0 when there is none.
    ///
    /// # Errors
    /// As the operating system reports.
    fn used_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// As the operating system reports.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// The path beside `path` where [`Disk::replace`] writes first.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;

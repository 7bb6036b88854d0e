//! The disk of a real machine.
//! Never leaves the data directory it was opened on.

use super::{Disk, Entry, File, beside};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The unit in which the system counts the room that a file takes up.
const STAT_BLOCK_BYTES: u64 = 512;
/// Written at a time into a file that takes up room.
const FILLING_BYTES: usize = 1 << 20;

/// A data directory on a real file system. Files are made with mode 0600, directories with 0700.
pub struct RealDisk {
    root: PathBuf,
}

struct RealFile(fs::File);

impl RealDisk {
    /// The disk under an existing directory.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn options() -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let listing = match fs::read_dir(self.root.join(directory)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let mut made = Vec::new();
        let mut at = directory;
        while !at.as_os_str().is_empty() && !self.root.join(at).is_dir() {
            made.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        for directory in made.into_iter().rev() {
            match fs::DirBuilder::new().mode(0o700).create(self.root.join(directory)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.sync_dir(directory.parent().unwrap_or(Path::new("")))?,
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = Self::options().create_new(true).open(self.root.join(path))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(Self::options().open(self.root.join(path))?)))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = self.root.join(beside(path));
        let file = Self::options().create(true).truncate(true).open(&draft)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        fs::rename(&draft, self.root.join(path))?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(self.root.join(directory))?.sync_all()
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let whole = self.root.join(path);
        let filled = fill(&whole, bytes);
        if filled.is_err() {
            let _ = fs::remove_file(&whole);
        }
        filled?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }

    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        let listing = match fs::read_dir(self.root.join(directory)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut used = 0;
        for entry in listing {
            match entry?.metadata() {
                Ok(metadata) if metadata.is_file() => used += metadata.blocks() * STAT_BLOCK_BYTES,
                Ok(_) => {}
                // It was unlinked meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

/// Gives a file its length and its room: by the file system's own call where it has one, or with
/// bytes that no file system can compress.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let file = RealDisk::options().create(true).truncate(false).open(path)?;
    let is_filled = |file: &fs::File| -> io::Result<bool> {
        let metadata = file.metadata()?;
        Ok(metadata.len() == bytes && metadata.blocks() * STAT_BLOCK_BYTES >= bytes)
    };
    if is_filled(&file)? {
        return Ok(());
    }
    file.set_len(bytes)?;
    let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = nix::fcntl::FallocateFlags::empty();
    let is_done = nix::fcntl::fallocate(&file, flags, 0, length).is_ok() && is_filled(&file)?;
    if !is_done {
        let mut noise = blake3::Hasher::new().finalize_xof();
        let mut piece = vec![0; FILLING_BYTES];
        let mut at = 0;
        while at < bytes {
            let count = (bytes - at).min(FILLING_BYTES as u64);
            noise.fill(&mut piece);
            file.write_all_at(&piece[..usize::try_from(count).unwrap_or(FILLING_BYTES)], at)?;
            at += count;
        }
    }
    file.sync_all()
}

//! The index directory around sled's files: who holds it, which format it has, its way to the disk.
//! Never reads or writes what is inside sled's files.
//!
//! ```text
//! DIR/quar-index.format       magic, format version, check; locked while the index is open
//! DIR/quar-index.journal      what was flushed since sled's files were last brought up to date
//! DIR/db conf snap.* blobs/   sled's
//! DIR.damaged-N               an index that was set aside; one at most
//! ```

use crate::IndexError;
use crate::codec::fnv_1a;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The only format so far.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "quar-index.format";
const MAGIC: [u8; 8] = *b"QUARIDX\n";
/// Magic, version and check: the same for every version to come.
const FORMAT_FILE_BYTES: usize = 20;

/// Holds an index directory against other openers until dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _locked: File,
}

/// Takes `dir`, made if absent, for this opener alone and checks that its format is known.
pub(crate) fn claim(dir: &Path) -> Result<Claim, IndexError> {
    let io = |action| move |source| IndexError::io(dir, action, source);
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(io("create the directory"))?;
        sync_path(&parent_of(dir)).map_err(io("sync the parent directory"))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(FORMAT_FILE))
        .map_err(io("open the format file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(IndexError::Busy { dir: dir.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(io("lock the format file")(source)),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read the format file"))?;
    if bytes.is_empty() && !dir.join("db").exists() {
        file.write_all(&format_file(FORMAT)).map_err(io("write the format file"))?;
        // Before sled writes anything: no index of ours is ever without its format.
        file.sync_all().map_err(io("sync the format file"))?;
        sync_path(dir).map_err(io("sync the directory"))?;
    } else {
        check_format(dir, &bytes)?;
    }
    Ok(Claim { _locked: file })
}

/// Makes every file of `dir`, and every name in it, durable.
///
/// sled 0.34 itself calls `sync_file_range`, which flushes no disk cache and no file length, and
/// never syncs the files in which it keeps large values.
pub(crate) fn sync_all(dir: &Path) -> io::Result<()> {
    for folder in [dir.join("blobs"), dir.to_owned()] {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match sync_path(&entry.path()) {
                    // sled removes files of large values that were overwritten.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    result => result?,
                }
            }
        }
        sync_path(&folder)?;
    }
    Ok(())
}

/// Renames a damaged index directory to `DIR.damaged-N` and returns the new name.
///
/// Removes those set aside before: one is kept, for whoever wants to know what happened.
/// The index must not be open.
///
/// # Errors
/// What the operating system says; [`io::ErrorKind::ResourceBusy`] when the index is open.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    if let Ok(file) = File::open(dir.join(FORMAT_FILE)) {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let earlier = set_aside_before(dir)?;
    let number = earlier.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let aside = beside(dir, number);
    fs::rename(dir, &aside)?;
    for (_, path) in earlier {
        fs::remove_dir_all(path)?;
    }
    sync_path(&parent_of(dir))?;
    Ok(aside)
}

fn format_file(version: u32) -> [u8; FORMAT_FILE_BYTES] {
    let mut bytes = [0; FORMAT_FILE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let check = fnv_1a(&bytes[..12]);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn check_format(dir: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    // A later version may append to the file, but keeps these bytes.
    let version = bytes.get(8..12).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
    match version {
        Some(found) if found > 0 && bytes.starts_with(&format_file(found)) => {
            if found > FORMAT {
                return Err(IndexError::LaterFormat { dir: dir.to_owned(), found, known: FORMAT });
            }
            Ok(())
        }
        _ => Err(IndexError::damaged(dir, format!("{FORMAT_FILE} is no format file of ours"))),
    }
}

fn set_aside_before(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = dir.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the index directory has no name"));
    };
    let prefix = format!("{}.damaged-", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(parent_of(dir))? {
        let entry = entry?;
        let name = entry.file_name();
        let number =
            name.to_string_lossy().strip_prefix(&prefix).and_then(|tail| tail.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    Ok(found)
}

fn beside(dir: &Path, number: u64) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(format!(".damaged-{number}"));
    name.into()
}

fn parent_of(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

pub(crate) fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests;

//! The journal: what was flushed and is not yet in sled's files, in order.
//! Never applies what it reads, and never decides when it may forget.
//!
//! ```text
//! frame: length of payload (8)  check of the length (8)  check of the payload (8)  payload
//! ```
//!
//! A frame is appended and synced before the next one is begun. So only the last frame can be
//! torn, and what is wrong further up is damage. What is wrong *in* the last frame cannot be told
//! from a torn one and is cut off; the store finds out, by its counts.

use crate::Write;
use crate::codec::{fnv_1a, take_write};
use crate::home::sync_path;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::Path;

const FILE: &str = "quar-index.journal";
const HEAD_BYTES: usize = 24;

/// The open journal of an index.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
}

/// Why a journal did not open.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Journal {
    /// Opens the journal of the index in `dir` and hands over what it holds.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Write>), OpenError> {
        let path = dir.join(FILE);
        let is_new = !path.exists();
        // Made before sled's files: an index without it has lost it.
        if is_new && dir.join("db").exists() {
            return Err(OpenError::Damaged(format!("{FILE} is missing")));
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        if is_new {
            sync_path(dir)?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (writes, good) = read_frames(&bytes)
            .ok_or_else(|| OpenError::Damaged(format!("{FILE} is damaged before its end")))?;
        if good < bytes.len() {
            file.set_len(good as u64)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file }, writes))
    }

    /// Appends encoded writes. Durable on return; `false` when the disk has no room for them, and
    /// then the journal is as it was.
    pub(crate) fn append(&mut self, payload: &[u8]) -> io::Result<bool> {
        let before = self.file.stream_position()?;
        match self.file.write_all(&[&head(payload)[..], payload].concat()) {
            Err(error) if is_full(&error) => {
                self.file.set_len(before)?;
                self.file.seek(SeekFrom::Start(before))?;
                return Ok(false);
            }
            result => result?,
        }
        // Syncs the length too: the data is not to be had without it.
        self.file.sync_data()?;
        Ok(true)
    }

    /// Forgets everything. Durable on return.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.sync_all()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn head(payload: &[u8]) -> [u8; HEAD_BYTES] {
    let length = (payload.len() as u64).to_le_bytes();
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&length);
    head[8..16].copy_from_slice(&fnv_1a(&length).to_le_bytes());
    head[16..].copy_from_slice(&fnv_1a(payload).to_le_bytes());
    head
}

/// What the frames hold, and where the last good one ends; `None` when they are damaged.
fn read_frames(bytes: &[u8]) -> Option<(Vec<Write>, usize)> {
    let mut writes = Vec::new();
    let mut good = 0;
    while let Some((head_found, behind)) = bytes[good..].split_at_checked(HEAD_BYTES) {
        let length = u64::from_le_bytes(head_found[..8].try_into().ok()?);
        if fnv_1a(&length.to_le_bytes()).to_le_bytes() != head_found[8..16] {
            // A file that grew before its bytes came shows zeros.
            let never_written = bytes[good..].iter().all(|byte| *byte == 0);
            return never_written.then_some((writes, good));
        }
        let Some(mut payload) = usize::try_from(length).ok().and_then(|end| behind.get(..end))
        else {
            break;
        };
        if head(payload) != head_found {
            let is_last = payload.len() == behind.len();
            return is_last.then_some((writes, good));
        }
        good += HEAD_BYTES + payload.len();
        while !payload.is_empty() {
            writes.push(take_write(&mut payload)?);
        }
    }
    Some((writes, good))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests;

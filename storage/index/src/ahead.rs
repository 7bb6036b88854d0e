//! A file brought into the page cache in its own order, beside somebody who reads it in any other.
//! Never needed for a result: what it cannot read, the other one will meet.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes asked for at a time.
const CHUNK_BYTES: u64 = 4 << 20;
/// Smaller files are read as fast without.
pub(crate) const WORTH_BYTES: u64 = 64 << 20;

/// Reads ahead until dropped.
#[derive(Debug)]
pub(crate) struct ReadAhead(Arc<AtomicBool>);

impl ReadAhead {
    /// Starts on a file of at least so many bytes; `None` where there is none, or no thread for it.
    pub(crate) fn start(path: &Path, worth_bytes: u64) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length =
            file.metadata().ok().map(|known| known.len()).filter(|len| *len >= worth_bytes)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let read = {
            let is_over = is_over.clone();
            move || read_through(&file, length, &is_over)
        };
        let builder = thread::Builder::new().name("quar-index-ahead".to_owned());
        builder.spawn(read).ok()?;
        Some(Self(is_over))
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns how many bytes were asked for.
fn read_through(file: &File, length: u64, is_over: &AtomicBool) -> u64 {
    let mut start = 0;
    while start < length && !is_over.load(Ordering::Relaxed) {
        let chunk = CHUNK_BYTES.min(length - start);
        let [offset, bytes] =
            [start, chunk].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        if posix_fadvise(file, offset, bytes, PosixFadviseAdvice::POSIX_FADV_WILLNEED).is_err() {
            break;
        }
        start += chunk;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, ReadAhead, read_through};
    use std::fs::{self, File};
    use std::sync::atomic::AtomicBool;

    #[test]
    fn reads_all_of_a_file_that_is_worth_it_and_stops_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        assert!(ReadAhead::start(&path, 0).is_none(), "there is none");
        let length = CHUNK_BYTES * 2 + 5;
        fs::write(&path, vec![7; length as usize]).unwrap();
        assert!(ReadAhead::start(&path, length + 1).is_none(), "it is small");
        let ahead = ReadAhead::start(&path, length).unwrap();
        let is_over = ahead.0.clone();
        drop(ahead);
        let file = File::open(&path).unwrap();
        assert_eq!(read_through(&file, length, &is_over), 0);
        assert_eq!(read_through(&file, length, &AtomicBool::new(false)), length);
    }
}

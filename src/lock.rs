//! One process at a time on a data directory: the daemon, or a tool while the daemon is stopped.
//! Never waits: who comes second is told so at once.
//!
//! The lock is a `flock` on the file `lock` in the data directory, so it ends with its process, however that ends.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "lock";

/// The lock on a data directory, held until it is dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: Flock<File>,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on it.
    #[error("{} is in use by {}", directory.display(), holder(*.process))]
    Held {
        /// The data directory.
        directory: PathBuf,
        /// The other process, where it said who it is.
        process: Option<u32>,
    },
    /// The directory or its lock file cannot be used.
    #[error("cannot lock {}: {source}", directory.display())]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    match process {
        Some(id) => format!("process {id}"),
        None => "another process".to_owned(),
    }
}

impl DataLock {
    /// Locks a data directory; one that is not there yet is made, for its owner only.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process, or another holder in this one, has it.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { directory: directory.to_owned(), source };
        match directory.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut builder = DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(directory);
                made.map_err(failed)?;
            }
            // Making it would fail with an error that hides this one.
            Err(error) => return Err(failed(error)),
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(FILE))
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                sign(&mut file).map_err(failed)?;
                Ok(Self { _file: file })
            }
            Err((file, Errno::EWOULDBLOCK)) => {
                Err(LockError::Held { directory: directory.to_owned(), process: signed_by(file) })
            }
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

/// Writes who holds the lock: for people; nobody decides by it.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn signed_by(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{DataLock, LockError};

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("var/lib/quard");
        let held = DataLock::acquire(&data).unwrap();
        let refused = DataLock::acquire(&data).expect_err("it is held");
        let own = std::process::id();
        assert!(matches!(&refused, LockError::Held { process: Some(id), .. } if *id == own));
        assert!(refused.to_string().ends_with(&format!("in use by process {own}")));
        drop(held);
        assert!(DataLock::acquire(&data).is_ok());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error_of_its_own() {
        let refused = DataLock::acquire("/dev/null/quard".as_ref());
        assert!(matches!(refused, Err(LockError::Io { .. })));
    }
}

//! What can go wrong with an index, by what the caller can do about it.
//! Never carries a key or a value: both may hold what a log must not show.

use crate::engine::Fault;
use std::io;
use std::path::{Path, PathBuf};

/// Why an index did not open or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Somebody has it open.
    #[error("index {} is open already, in this process or another", dir.display())]
    Busy {
        /// The index directory.
        dir: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error(
        "index {} has format {found} and this program knows {known} at most: \
         run the later version, or remove the index to have it rebuilt", dir.display()
    )]
    LaterFormat {
        /// The index directory.
        dir: PathBuf,
        /// The format found there.
        found: u32,
        /// The latest format that this version reads.
        known: u32,
    },
    /// It cannot be trusted: set it aside and rebuild it.
    #[error("index {} is damaged and must be rebuilt: {detail}", dir.display())]
    Damaged {
        /// The index directory.
        dir: PathBuf,
        /// What showed it.
        detail: String,
    },
    /// The operating system refused.
    #[error("index {}: {action}: {source}", dir.display())]
    Io {
        /// The index directory.
        dir: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk is full. Nothing is lost by that and nothing stops: what was written stays in memory,
    /// and the next flush tries again.
    #[error("index {}: the disk is full; what it holds stays in memory until there is room", dir.display())]
    NoRoom {
        /// The index directory.
        dir: PathBuf,
    },
    /// An earlier failure stopped it; opening it again may help.
    #[error("index {} stopped when this failed: {cause}; open it again", dir.display())]
    Stopped {
        /// The index directory.
        dir: PathBuf,
        /// The failure that stopped it.
        cause: String,
    },
}

impl IndexError {
    /// Whether the same call may succeed later with nothing done to the index.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::NoRoom { .. })
    }

    /// Whether the index must be set aside and rebuilt.
    #[must_use]
    pub fn needs_rebuild(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    pub(crate) fn damaged(dir: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { dir: dir.to_owned(), detail: detail.into() }
    }

    pub(crate) fn io(dir: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { dir: dir.to_owned(), action, source }
    }

    pub(crate) fn from_fault(dir: &Path, action: &'static str, fault: Fault) -> Self {
        match fault {
            Fault::Sled(error) => Self::from_sled(dir, action, error),
            Fault::Strange(what) => Self::damaged(dir, format!("{action}: {what}")),
            Fault::Io(error) => Self::io(dir, action, error),
        }
    }

    /// Sorts sled's errors: what the operating system refused, and what its files' contents caused.
    fn from_sled(dir: &Path, action: &'static str, error: sled::Error) -> Self {
        match error {
            sled::Error::Io(source) if source.to_string().starts_with("could not acquire lock") => {
                Self::Busy { dir: dir.to_owned() }
            }
            sled::Error::Io(source) if !is_of_the_contents(source.kind()) => {
                Self::io(dir, action, source)
            }
            other => Self::damaged(dir, format!("{action}: {other}")),
        }
    }
}

/// Whether sled reports errors of this kind when its files are short or hold nonsense.
fn is_of_the_contents(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput | Kind::NotFound | Kind::Other
    )
}

#[cfg(test)]
mod tests {
    use super::IndexError;
    use std::io;
    use std::path::Path;

    fn from_io(kind: io::ErrorKind) -> IndexError {
        IndexError::from_sled(Path::new("/q/index"), "open", io::Error::from(kind).into())
    }

    #[test]
    fn what_the_operating_system_refuses_is_no_damage() {
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::StorageFull,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            let error = from_io(kind);
            assert!(matches!(error, IndexError::Io { .. }), "{error}");
            assert!(!error.needs_rebuild());
        }
        let text = from_io(io::ErrorKind::PermissionDenied).to_string();
        assert_eq!(text, "index /q/index: open: permission denied");
    }

    #[test]
    fn short_and_torn_files_are_damage() {
        // What sled answers on a torn segment has the kind `Other`.
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound, io::ErrorKind::Other] {
            assert!(from_io(kind).needs_rebuild(), "{kind}");
        }
        let corruption = sled::Error::Corruption { at: None, bt: () };
        assert!(IndexError::from_sled(Path::new("x"), "read", corruption).needs_rebuild());
    }
}

//! A maildir: every message comes into `new/` by way of `tmp/`.
//! Never a name that two messages share, nor one that a message would not get again.
//!
//! *Source*: D. J. Bernstein, "Using maildir format". The middle of a name is the message's digest: it
//! is unique wherever and whenever the message is exported.

use super::files::{Directories, begin_directory, write_file};
use super::{Outgoing, Target};
use std::path::{Path, PathBuf};

/// A maildir that is being written.
pub struct Maildir {
    root: PathBuf,
    directories: Directories,
}

impl Maildir {
    pub fn begin(root: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let mut directories = begin_directory(root, overwrite)?;
        for part in ["tmp", "new", "cur"] {
            directories.make(&root.join(part))?;
        }
        Ok(Self { root: root.to_owned(), directories })
    }
}

impl Target for Maildir {
    fn take(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()> {
        let id = message.id;
        let seconds = id.key.instant(id.bucket.day).seconds();
        let name = format!("{seconds}.{}.{}", id.key.id, id.bucket.class);
        let (beside, path) = (self.root.join("tmp").join(&name), self.root.join("new").join(&name));
        write_file(beside, &path, message.body)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.directories.sync()
    }
}

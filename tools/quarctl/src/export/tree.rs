//! A tree: one directory for each class and day, one file for each message.
//! Never a name that is not a message id.

use super::files::{Directories, begin_directory, write_file};
use super::{Outgoing, Target};
use std::path::{Path, PathBuf};

/// A tree that is being written.
pub struct Tree {
    root: PathBuf,
    directories: Directories,
}

impl Tree {
    pub fn begin(root: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let directories = begin_directory(root, overwrite)?;
        Ok(Self { root: root.to_owned(), directories })
    }
}

impl Target for Tree {
    fn take(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()> {
        let bucket = message.id.bucket;
        let directory = self.root.join(bucket.class.to_string()).join(bucket.day.to_string());
        self.directories.make(&directory)?;
        let name = format!("{}.eml", message.id);
        write_file(directory.join(format!(".{name}.new")), &directory.join(name), message.body)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.directories.sync()
    }
}

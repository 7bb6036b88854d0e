//! Files that come under their name when they are whole and synced, and directories for them.
//! Never readable by anybody but their owner.

use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Directories that files were put into: synced at the end.
#[derive(Default)]
pub struct Directories(BTreeSet<PathBuf>);

impl Directories {
    /// Makes a directory and those above it; what it is in is synced at the end.
    pub fn make(&mut self, path: &Path) -> anyhow::Result<()> {
        if !self.0.contains(path) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("cannot make {}", path.display()))?;
            self.0.extend(path.ancestors().map(above_all));
        }
        Ok(())
    }

    /// Syncs them all.
    pub fn sync(&self) -> anyhow::Result<()> {
        for path in &self.0 {
            let synced = File::open(path).and_then(|directory| directory.sync_all());
            // Those far above may belong to others, and were there before.
            let is_foreign = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            if let Err(error) = synced
                && !is_foreign(&error)
            {
                return Err(error).with_context(|| format!("cannot sync {}", path.display()));
            }
        }
        Ok(())
    }
}

fn above_all(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// A directory that is to be filled.
///
/// # Errors
/// When it is no directory, or has something in it that is not to be mixed with.
pub fn begin_directory(path: &Path, overwrite: bool) -> anyhow::Result<Directories> {
    let mut directories = Directories::default();
    directories.make(path)?;
    let mut entries =
        std::fs::read_dir(path).with_context(|| format!("cannot write into {}", path.display()))?;
    if entries.next().is_some() && !overwrite {
        bail!("{} is not empty; --overwrite writes into it all the same", path.display());
    }
    Ok(directories)
}

/// A file under another name than it will have. It is removed unless it is given its name.
pub struct NewFile {
    file: Option<File>,
    path: PathBuf,
}

impl NewFile {
    /// Makes the file.
    ///
    /// # Errors
    /// When there is such a file, left over or being written.
    pub fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| match path.exists() {
            true => format!("{} is left over, or being written; remove it", path.display()),
            false => format!("cannot make {}", path.display()),
        })?;
        Ok(Self { file: Some(file), path })
    }

    /// Makes what was written durable and gives the file its name.
    pub fn name(mut self, path: &Path) -> anyhow::Result<()> {
        let file = self.file.as_ref().expect("it is closed here only");
        let named = file.sync_all().and_then(|()| std::fs::rename(&self.path, path));
        named.with_context(|| format!("cannot write {}", path.display()))?;
        self.file = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().expect("it is closed at its end only").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nobody takes it for what it should have become.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a whole file: first as `beside`, then under its name.
pub fn write_file(beside: PathBuf, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = NewFile::create(beside)?;
    file.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))?;
    file.name(path)
}

//! Where the index lives, and how it is set aside when it is in doubt.
//! Never decides that it is in doubt.

use quar_index::{Index, IndexError, MemoryIndex, SledIndex, set_aside};
use std::path::PathBuf;
use std::sync::Arc;

/// The place of a node's index.
pub trait IndexHome: Send {
    /// Opens what is there, or an empty index.
    ///
    /// # Errors
    /// [`IndexError`]; after [`IndexError::Damaged`] the caller resets.
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError>;

    /// Sets aside what is there, so that the next [`Self::open`] gives an empty index.
    ///
    /// The index must have been dropped by everybody.
    ///
    /// # Errors
    /// As the file system reports.
    fn reset(&mut self) -> std::io::Result<()>;
}

/// A sled directory.
pub struct SledHome(pub PathBuf);

impl IndexHome for SledHome {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(SledIndex::open(&self.0)?))
    }

    fn reset(&mut self) -> std::io::Result<()> {
        if self.0.exists() {
            set_aside(&self.0)?;
        }
        Ok(())
    }
}

/// A sled directory that is set aside, whatever it holds, before an empty index is opened in its place:
/// once the segments were found fit to be read, and not before.
pub struct FreshSledHome {
    home: SledHome,
    is_fresh: bool,
}

impl FreshSledHome {
    /// The directory, untouched so far.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { home: SledHome(directory), is_fresh: false }
    }
}

impl IndexHome for FreshSledHome {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        if !self.is_fresh {
            let dir = self.home.0.clone();
            let action = "set it aside";
            self.reset().map_err(|source| IndexError::Io { dir, action, source })?;
        }
        self.home.open()
    }

    fn reset(&mut self) -> std::io::Result<()> {
        self.is_fresh = true;
        self.home.reset()
    }
}

/// An index in memory, shared with whoever keeps a clone.
pub struct MemoryHome(pub Arc<MemoryIndex>);

impl IndexHome for MemoryHome {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        Ok(self.0.clone())
    }

    fn reset(&mut self) -> std::io::Result<()> {
        self.0 = Arc::new(MemoryIndex::default());
        Ok(())
    }
}

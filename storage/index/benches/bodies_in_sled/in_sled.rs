//! Bodies as values of one sled tree.
//! Never takes sled's flush for durable: it is sync_file_range, and blob files are never synced.

use crate::{Answer, Form, Key, VALUES_PER_COMMIT};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A sled of the bench's own, and what of it is on the disk for certain.
pub(crate) struct InSled {
    dir: PathBuf,
    config: sled::Config,
    db: sled::Db,
    /// sled writes a blob once and never again: one sync is enough.
    synced_blobs: BTreeSet<OsString>,
}

impl InSled {
    pub(crate) fn open(dir: &Path, config: sled::Config) -> Answer<Self> {
        let config = config.path(dir).flush_every_ms(None);
        let db = config.open()?;
        Ok(Self { dir: dir.to_owned(), config, db, synced_blobs: BTreeSet::new() })
    }

    fn apply(&mut self, batch: sled::Batch) -> Answer<()> {
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(self.sync()?)
    }

    fn sync(&mut self) -> io::Result<()> {
        let blobs = self.dir.join("blobs");
        let mut has_new = false;
        for entry in fs::read_dir(&blobs)? {
            let name = entry?.file_name();
            if !self.synced_blobs.contains(&name) {
                match File::open(blobs.join(&name)).and_then(|file| file.sync_all()) {
                    // sled removes the blobs of pages that it wrote anew.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    result => result?,
                }
                self.synced_blobs.insert(name);
                has_new = true;
            }
        }
        if has_new {
            File::open(&blobs)?.sync_all()?;
        }
        File::open(self.dir.join("db"))?.sync_data()
    }
}

impl Form for InSled {
    fn commit(&mut self, values: &[(Key, Vec<u8>)]) -> Answer<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in values {
            batch.insert(key, value.as_slice());
        }
        self.apply(batch)
    }

    fn get(&self, key: &Key) -> Answer<Option<Vec<u8>>> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    fn delete(mut self, keys: &[Key]) -> Answer<Self> {
        for keys in keys.chunks(VALUES_PER_COMMIT) {
            let mut batch = sled::Batch::default();
            for key in keys {
                batch.remove(key);
            }
            self.apply(batch)?;
        }
        let Self { dir, config, db, .. } = self;
        drop(db);
        // Its threads let go of the file a little later.
        File::open(dir.join("db"))?.lock()?;
        let mut again = Self::open(&dir, config)?;
        again.db.flush()?;
        again.sync()?;
        Ok(again)
    }
}

//! Key rotation: segment keys are sealed under the newest encryption key, so that older ones can go.
//! Never rewrites more of a segment than its header.

use crate::error::ReadError;
use crate::segment::{HeaderError, OpenSegmentError, SEGMENTS, SegmentName};
use crate::store::Store;
use quar_base::rng::Rng;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// What a rotation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Segments whose header was written again.
    pub segments: u64,
    /// Segments that cannot be opened, and why. They keep the key that they have.
    pub damaged: Vec<String>,
}

impl Store {
    /// Seals every segment's key under the first of the store's encryption keys, and under no other.
    /// `seed` is 32 random bytes. Commits go on meanwhile; packing, erasing and checks wait.
    ///
    /// *Durable when* this returns with nothing damaged: no segment needs another key.
    ///
    /// # Errors
    /// As the operating system reports, for the first segment that could not be written: it opens
    /// with the old key, the new one or both. Rotating again goes on.
    pub fn rotate_keys(&self, seed: [u8; 32]) -> Result<Rotated, ReadError> {
        let _alone = self.rewriting();
        let _unread = self.headers.write().unwrap_or_else(PoisonError::into_inner);
        let keys = &self.settings.keys;
        let Some(current) = keys.first() else { return Ok(Rotated::default()) };
        let mut rng = Rng::from_seed(seed);
        let mut rotated = Rotated::default();
        for name in self.segment_names() {
            let segment = match self.segments.open(name) {
                Ok(segment) => segment,
                // A commit that failed took the number and left nothing, or the day has expired.
                Err(OpenSegmentError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                Err(OpenSegmentError::Header(HeaderError::Unfinished)) => continue,
                Err(OpenSegmentError::Io(error)) => return Err(error.into()),
                Err(error) => {
                    rotated.damaged.push(format!("{}: {error}", name.path().display()));
                    continue;
                }
            };
            if segment.is_wrapped_only_by(current) {
                continue;
            }
            segment.rewrap(&*self.disk, keys, &mut rng)?;
            self.segments.forget(&name);
            rotated.segments += 1;
        }
        self.sync_names()?;
        Ok(rotated)
    }

    /// What was unlinked must not come back under a key that is gone.
    fn sync_names(&self) -> io::Result<()> {
        let root = Path::new(SEGMENTS);
        let inside = |path: &Path| -> io::Result<Vec<PathBuf>> {
            let entries = self.disk.list(path)?.into_iter().filter(|entry| entry.is_dir);
            Ok(entries.map(|entry| path.join(entry.name)).collect())
        };
        for class in inside(root)? {
            for day in inside(&class)? {
                match self.disk.sync_dir(&day) {
                    // The day has expired.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    synced => synced?,
                }
            }
            self.disk.sync_dir(&class)?;
        }
        Ok(())
    }

    fn segment_names(&self) -> Vec<SegmentName> {
        let mut names = Vec::new();
        for (&bucket, held) in &self.state().buckets {
            names.extend(held.segments.keys().map(|&number| SegmentName { bucket, number }));
        }
        names
    }
}

//! Segments that are open for reading, and the way to open more.
//! Never keeps more than a fixed number of files open.

use crate::dictionary::Dictionaries;
use crate::disk::Disk;
use crate::seal::EncryptionKey;
use crate::segment::{OpenSegmentError, Segment, SegmentName};
use quar_base::ids::ClusterId;
use quar_base::key::Bucket;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Files that stay open. Past it all are closed, and opened again as they are read.
const OPEN_MAX: usize = 256;

/// A node's segments, by name.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    cluster: ClusterId,
    keys: Vec<EncryptionKey>,
    dictionaries: Arc<Dictionaries>,
    open: Mutex<HashMap<SegmentName, Arc<Segment>>>,
}

impl Segments {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        cluster: ClusterId,
        keys: Vec<EncryptionKey>,
        dictionaries: Arc<Dictionaries>,
    ) -> Self {
        Self { disk, cluster, keys, dictionaries, open: Mutex::default() }
    }

    /// Opens a segment that is not kept open.
    pub(crate) fn open(&self, name: SegmentName) -> Result<Segment, OpenSegmentError> {
        Segment::open(&*self.disk, name, self.cluster, &self.keys, &self.dictionaries)
    }

    /// An open segment; `None` when its file is gone or its header is damaged.
    pub(crate) fn get(&self, name: SegmentName) -> io::Result<Option<Arc<Segment>>> {
        if let Some(segment) = self.kept().get(&name) {
            return Ok(Some(segment.clone()));
        }
        match self.open(name) {
            Ok(segment) => {
                let segment = Arc::new(segment);
                let mut kept = self.kept();
                if kept.len() >= OPEN_MAX {
                    kept.clear();
                }
                kept.insert(name, segment.clone());
                Ok(Some(segment))
            }
            Err(OpenSegmentError::Io(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(error)
            }
            Err(_) => Ok(None),
        }
    }

    /// Closes a segment whose file goes.
    pub(crate) fn forget(&self, name: &SegmentName) {
        self.kept().remove(name);
    }

    /// Closes all segments of a bucket.
    pub(crate) fn forget_bucket(&self, bucket: Bucket) {
        self.kept().retain(|name, _| name.bucket != bucket);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<SegmentName, Arc<Segment>>> {
        self.open.lock().expect("no holder of this lock panics")
    }
}

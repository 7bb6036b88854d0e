//! Segments that are open for reading, and the way to open more.
//! Never keeps more than a fixed number of files open.

use crate::dictionary::Dictionaries;
use crate::disk::Disk;
use crate::seal::EncryptionKey;
use crate::segment::{OpenSegmentError, Segment, SegmentName};
use quar_base::ids::ClusterId;
use quar_base::key::Bucket;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Files that stay open. Past it all are closed, and opened again as they are read.
const OPEN_MAX: usize = 256;

const PROOF: &str = "no holder of this lock panics";

/// A node's segments, by name.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    cluster: ClusterId,
    keys: Vec<EncryptionKey>,
    dictionaries: Arc<Dictionaries>,
    open: Mutex<HashMap<SegmentName, Arc<Segment>>>,
    /// Those that could not be opened, as they are damaged or gone.
    unreadable: Mutex<BTreeSet<SegmentName>>,
}

impl Segments {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        cluster: ClusterId,
        keys: Vec<EncryptionKey>,
        dictionaries: Arc<Dictionaries>,
    ) -> Self {
        let (open, unreadable) = Default::default();
        Self { disk, cluster, keys, dictionaries, open, unreadable }
    }

    /// Opens a segment that is not kept open.
    pub(crate) fn open(&self, name: SegmentName) -> Result<Segment, OpenSegmentError> {
        let opened = Segment::open(&*self.disk, name, self.cluster, &self.keys, &self.dictionaries);
        if opened.as_ref().is_err_and(OpenSegmentError::is_damage) {
            self.unreadable.lock().expect(PROOF).insert(name);
        }
        opened
    }

    /// Whether a segment could not be opened once: nothing more belongs into it.
    pub(crate) fn is_unreadable(&self, name: &SegmentName) -> bool {
        self.unreadable.lock().expect(PROOF).contains(name)
    }

    /// A file is about to be made under this name: it is none that could not be opened.
    pub(crate) fn make_way(&self, name: &SegmentName) {
        self.unreadable.lock().expect(PROOF).remove(name);
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
        self.open.lock().expect(PROOF)
    }
}

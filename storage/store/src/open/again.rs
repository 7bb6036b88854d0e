//! The last commit of each segment is written again: it may never have left the page cache.
//! Never writes again what a later segment holds too.

use super::{LastCommit, io_at};
use crate::admit::Item;
use crate::commit::Outcome;
use crate::error::{OpenError, Refusal};
use crate::layout;
use crate::segment::{SEGMENTS, SegmentName};
use crate::store::Store;
use quar_index::{Index, IndexError, Tree};
use std::collections::BTreeMap;
use std::io;

impl Store {
    /// A block that was written but perhaps never synced must not be built upon. Where there is no room to write it
    /// again, the store does not open: a sync that succeeds says nothing of pages that an earlier one dropped.
    pub(super) fn write_last_commits_again(
        &self,
        last: BTreeMap<SegmentName, LastCommit>,
    ) -> Result<(), OpenError> {
        for (name, (_, records, entries)) in last {
            let path = name.path();
            let segment = self.segment(name).map_err(io_at(&path))?;
            let Some(segment) = segment else { continue };
            // What a later segment holds too is written again from there, and only once: a daemon
            // that is restarted over and over must not double its last commit each time.
            let tree = Tree::Bucket(name.bucket);
            let is_newest = |key: Vec<u8>| -> Result<bool, IndexError> {
                let place = self.index.get(tree, &key)?;
                Ok(place.and_then(|place| layout::segment_of(&place)) == Some(name.number))
            };
            let (mut newest, mut bodies) = (Vec::new(), Vec::new());
            for record in records {
                if is_newest(layout::record_key(&record.key()))? {
                    newest.push(record);
                }
            }
            for entry in entries {
                if is_newest(layout::body_key(&entry.id))? {
                    bodies.extend(segment.body(&entry).ok());
                }
            }
            if !newest.is_empty() || !bodies.is_empty() {
                self.submit(Item::Again { bucket: name.bucket, records: newest, bodies });
            }
        }
        for (_, outcome) in self.commit() {
            if let Outcome::Refused(refusal) = outcome {
                let code = self.failure.get().and_then(|failure| failure.raw_os_error);
                let error = match (refusal, code) {
                    (Refusal::Full, _) => io::ErrorKind::StorageFull.into(),
                    (_, Some(code)) => io::Error::from_raw_os_error(code),
                    (other, None) => io::Error::other(other.to_string()),
                };
                return Err(OpenError::Io { path: SEGMENTS.into(), error });
            }
        }
        Ok(())
    }
}

//! Records read one after another: a block is opened once for all records of it that follow soon.
//! Never answers for a record that the index does not name.

use crate::error::ReadError;
use crate::layout::{self, RecordPlace};
use crate::segment::{BlockError, Entry, SegmentName};
use crate::store::Store;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Record;

/// Blocks that are kept. Messages in order of time lie in few commits at once.
const BLOCKS_KEPT: usize = 8;

/// One reader's blocks.
pub(crate) struct Records<'a> {
    store: &'a Store,
    blocks: Vec<(SegmentName, u32, Vec<Entry>)>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, blocks: Vec::new() }
    }

    /// A record by its place in the order; `None` when it is not here.
    ///
    /// # Errors
    /// [`ReadError`] when it is here and cannot be read.
    pub(crate) fn get(
        &mut self,
        bucket: Bucket,
        key: &RecordKey,
    ) -> Result<Option<Record>, ReadError> {
        let index_key = layout::record_key(key);
        let found = self.store.find_place(bucket, &index_key, |value| {
            RecordPlace::decode(value).map(|place| (place, place.block.segment))
        })?;
        let Some((place, segment)) = found else {
            return Ok(None);
        };
        let message = MessageId { bucket, key: *key };
        let damaged = || ReadError::Damaged { what: "a record", message };
        let segment = segment.ok_or_else(damaged)?;
        let block = (SegmentName { bucket, number: place.block.segment }, place.block.offset);
        let kept = self.blocks.iter().position(|(name, offset, _)| (*name, *offset) == block);
        let at = match kept {
            Some(at) => at,
            None => {
                let entries = match segment.entries(place.block.offset) {
                    Ok(entries) => entries,
                    Err(BlockError::Io(error)) => return Err(error.into()),
                    Err(BlockError::Damaged) => return Err(damaged()),
                };
                if self.blocks.len() >= BLOCKS_KEPT {
                    self.blocks.remove(0);
                }
                self.blocks.push((block.0, block.1, entries));
                self.blocks.len() - 1
            }
        };
        let mut records = self.blocks[at].2.iter().filter_map(Entry::record);
        let record = records.nth(place.number.into()).filter(|record| record.key() == *key);
        record.cloned().map(Some).ok_or_else(damaged)
    }
}

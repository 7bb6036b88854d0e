//! Records read one after another: a block is opened once for all records of it that follow soon.
//! Never answers for a record that the index does not name.

use crate::error::ReadError;
use crate::layout::{self, RecordPlace};
use crate::segment::{BlockError, BlockKind, Entry, Segment, SegmentName};
use crate::store::Store;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Record;
use std::ops::Range;

/// Blocks that are kept. Messages in order of time lie in few commits at once.
const BLOCKS_KEPT: usize = 8;

/// A block as it was opened, and where its records lie in it.
struct Block {
    name: SegmentName,
    offset: u32,
    payload: Vec<u8>,
    records: Vec<Range<usize>>,
}

impl Block {
    fn open(segment: &Segment, name: SegmentName, offset: u32) -> Result<Self, BlockError> {
        let payload = segment.block(offset, BlockKind::Records)?;
        let spans = Entry::spans(&payload).collect::<Result<Vec<_>, _>>()?;
        let records = spans.into_iter().filter(|span| Entry::is_record(&payload[span.clone()]));
        Ok(Self { name, offset, records: records.collect(), payload })
    }

    fn record(&self, number: u16) -> Option<Record> {
        let span = self.records.get(usize::from(number))?;
        Entry::decode_one(&self.payload[span.clone()]).ok()?.into_record()
    }
}

/// One reader's blocks.
pub(crate) struct Records<'a> {
    store: &'a Store,
    blocks: Vec<Block>,
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
        let name = SegmentName { bucket, number: place.block.segment };
        let offset = place.block.offset;
        let is_it = |block: &Block| block.name == name && block.offset == offset;
        let at = match self.blocks.iter().position(is_it) {
            Some(at) => at,
            None => {
                let block = match Block::open(&segment, name, offset) {
                    Ok(block) => block,
                    Err(BlockError::Io(error)) => return Err(error.into()),
                    Err(BlockError::Damaged) => return Err(damaged()),
                };
                if self.blocks.len() >= BLOCKS_KEPT {
                    self.blocks.remove(0);
                }
                self.blocks.push(block);
                self.blocks.len() - 1
            }
        };
        let record = self.blocks[at].record(place.number).filter(|record| record.key() == *key);
        record.map(Some).ok_or_else(damaged)
    }
}

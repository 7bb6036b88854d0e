//! Reads what is to be packed from the segments that hold it, each block once for neighbours.
//! Never hands on a record or body that is not what the index says, nor takes a disk that cannot be read for damage.

use crate::codec::CodedBody;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{BlockError, BlockPlace, Entry, SegmentName};
use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Record;
use std::io;
use std::sync::Arc;

impl Store {
    /// The body under an index key, coded and plain; `None` when it is damaged. `block` is the block
    /// that was read last, if any, and is this one's afterwards.
    pub(crate) fn whole_body(
        &self,
        bucket: Bucket,
        key: &[u8],
        place: &BodyPlace,
        block: &mut Option<(BlockPlace, Arc<Vec<u8>>)>,
    ) -> io::Result<Option<(CodedBody, Vec<u8>)>> {
        let coded = match self.body_at(bucket, place, block) {
            Ok(coded) => coded,
            Err(BlockError::Damaged) => return Ok(None),
            Err(BlockError::Io(error)) => return Err(error),
        };
        let plain = self.plain_of(key, &coded);
        Ok(plain.map(|plain| (coded, plain)))
    }

    /// The plain bytes of a body if they give the index key that it was found under.
    pub(crate) fn plain_of(&self, key: &[u8], coded: &CodedBody) -> Option<Vec<u8>> {
        let plain = coded.plain_bytes().ok()?;
        (layout::body_key(&self.settings.id_key.body_id(&plain)) == key).then_some(plain)
    }

    fn body_at(
        &self,
        bucket: Bucket,
        place: &BodyPlace,
        block: &mut Option<(BlockPlace, Arc<Vec<u8>>)>,
    ) -> Result<CodedBody, BlockError> {
        let name = SegmentName { bucket, number: place.block.segment };
        let segment = self.segment(name)?.ok_or(BlockError::Damaged)?;
        // The index keeps half of a body's id; the whole is computed from the bytes.
        let entry = place.entry(BodyId::default());
        let known = block.take().filter(|(known, _)| *known == place.block);
        let payload = match known {
            Some((_, payload)) => payload,
            None => Arc::new(segment.bodies_block(entry.block)?),
        };
        *block = Some((place.block, payload.clone()));
        segment.body_in(&payload, &entry)
    }
}

/// Records blocks, read once for as many of their records as are asked for in a row.
pub(super) struct Blocks<'a> {
    store: &'a Store,
    bucket: Bucket,
    /// The last used last.
    kept: Vec<(BlockPlace, Vec<Record>)>,
}

/// Records blocks that are kept.
const BLOCKS_KEPT: usize = 32;

impl<'a> Blocks<'a> {
    pub(super) fn new(store: &'a Store, bucket: Bucket) -> Self {
        Self { store, bucket, kept: Vec::new() }
    }

    /// The record at a place; `None` when it is damaged.
    pub(super) fn record(
        &mut self,
        key: &RecordKey,
        place: &RecordPlace,
    ) -> Result<Option<&Record>, ReadError> {
        let at = match self.kept.iter().position(|(known, _)| *known == place.block) {
            Some(at) => at,
            None => {
                let name = SegmentName { bucket: self.bucket, number: place.block.segment };
                let segment = self.store.segment(name)?;
                let entries = segment.map(|segment| segment.entries(place.block.offset));
                let entries = match entries {
                    Some(Ok(entries)) => entries,
                    Some(Err(BlockError::Io(error))) => return Err(error.into()),
                    // Read again for each of its records, of which there are few.
                    None | Some(Err(BlockError::Damaged)) => return Ok(None),
                };
                if self.kept.len() >= BLOCKS_KEPT {
                    self.kept.remove(0);
                }
                let records = entries.into_iter().filter_map(Entry::into_record);
                self.kept.push((place.block, records.collect()));
                self.kept.len() - 1
            }
        };
        let record = self.kept[at].1.get(usize::from(place.number));
        Ok(record.filter(|record| record.key() == *key))
    }
}

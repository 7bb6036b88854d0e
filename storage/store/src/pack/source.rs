//! Reads what is to be packed from the segments that hold it, each block once for neighbours.
//! Never hands on a record or body that is not what the index says.

use crate::codec::CodedBody;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{BlockError, BlockPlace, Entry, SegmentName};
use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Record;
use std::io;
use std::sync::Arc;

impl Store {
    pub(crate) fn body_at(
        &self,
        bucket: Bucket,
        place: &BodyPlace,
        block: &mut Option<(BlockPlace, Arc<Vec<u8>>)>,
    ) -> Result<CodedBody, ReadError> {
        let name = SegmentName { bucket, number: place.block.segment };
        let damaged = || damaged_segment(name);
        let segment = self.segment(name)?.ok_or_else(damaged)?;
        // The index keeps half of a body's id; the whole is computed from the bytes.
        let entry = place.entry(BodyId::default());
        let known = block.take().filter(|(known, _)| *known == place.block);
        let payload = match known {
            Some((_, payload)) => payload,
            None => Arc::new(segment.bodies_block(entry.block).map_err(|e| read_error(e, name))?),
        };
        *block = Some((place.block, payload.clone()));
        segment.body_in(&payload, &entry).map_err(|error| read_error(error, name))
    }

    /// The plain bytes of a body, which must give the index key it was found under.
    pub(crate) fn checked(
        &self,
        bucket: Bucket,
        key: &[u8],
        coded: &CodedBody,
    ) -> Result<Vec<u8>, ReadError> {
        let plain = coded.plain_bytes().ok();
        let is_right =
            |plain: &Vec<u8>| layout::body_key(&self.settings.id_key.body_id(plain)) == key;
        let found = plain.filter(is_right);
        found.ok_or_else(|| io::Error::other(format!("{bucket} holds a damaged body")).into())
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

    pub(super) fn record(
        &mut self,
        key: &RecordKey,
        place: &RecordPlace,
    ) -> Result<&Record, ReadError> {
        let at = match self.kept.iter().position(|(known, _)| *known == place.block) {
            Some(at) => at,
            None => {
                let name = SegmentName { bucket: self.bucket, number: place.block.segment };
                let segment = self.store.segment(name)?.ok_or_else(|| damaged_segment(name))?;
                let entries = segment.entries(place.block.offset);
                let entries = entries.map_err(|error| read_error(error, name))?;
                if self.kept.len() >= BLOCKS_KEPT {
                    self.kept.remove(0);
                }
                let records = entries.into_iter().filter_map(Entry::into_record);
                self.kept.push((place.block, records.collect()));
                self.kept.len() - 1
            }
        };
        let record = self.kept[at].1.get(usize::from(place.number));
        let message = MessageId { bucket: self.bucket, key: *key };
        let damaged = ReadError::Damaged { what: "a record", message };
        record.filter(|record| record.key() == *key).ok_or(damaged)
    }
}

fn damaged_segment(name: SegmentName) -> ReadError {
    read_error(BlockError::Damaged, name)
}

fn read_error(error: BlockError, name: SegmentName) -> ReadError {
    crate::erase::block_error(error, name)
}

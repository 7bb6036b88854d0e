//! Writes what stays of one segment to another.
//! Never leaves out more than what is doomed, and what is damaged: that is named.

use super::{Doomed, block_error, visit_blocks};
use crate::codec::CodedBody;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{
    BlockError, BlockPlace, BodyEntry, Entry, Maker, RecordsBlock, Segment, SegmentName,
    SegmentRole, SegmentWriter,
};
use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::record::Record;
use quar_index::{Index, Tree};
use std::io;

/// Coded bytes that are gathered before they are appended to a rewrite.
const CHUNK_BYTES: usize = 1 << 20;

/// A rewrite that is durable and not yet in force in memory.
pub(super) struct Rewrite {
    pub(super) old: SegmentName,
    /// `None` when nothing of the old segment stays.
    pub(super) new: Option<Written>,
    /// Bodies that should stay and are damaged: they are wanted from now on.
    pub(super) lost: Vec<BodyId>,
}

pub(super) struct Written {
    pub(super) name: SegmentName,
    pub(super) end: u64,
    pub(super) blocks: Vec<RecordsBlock>,
}

impl Store {
    /// Writes what stays of one segment to a new one, closed and durable.
    pub(super) fn rewrite(
        &self,
        old: SegmentName,
        segment: &Segment,
        doomed: &Doomed,
    ) -> Result<Rewrite, ReadError> {
        let (blocks, lost) = (Vec::new(), Vec::new());
        let mut kept = Kept { store: self, old, doomed, target: None, blocks, lost };
        let result = self.write_kept(&mut kept, segment).and_then(|()| kept.close());
        if let (Err(_), Some(target)) = (&result, &kept.target) {
            self.undo_rewrite(target.name());
        }
        result?;
        let Kept { target, blocks, lost, .. } = kept;
        let new = target.map(|target| Written { name: target.name(), end: target.end(), blocks });
        Ok(Rewrite { old, new, lost })
    }

    /// Unlinks a rewrite that is not in force: the old segment still is.
    pub(super) fn undo_rewrite(&self, name: SegmentName) {
        if let Some(held) = self.state_mut().buckets.get_mut(&name.bucket) {
            held.segments.remove(&name.number);
        }
        // What is left only takes up room until its day goes.
        let _ = self.disk.remove(&name.path());
    }

    /// Writes what stays.
    fn write_kept(&self, kept: &mut Kept<'_>, segment: &Segment) -> Result<(), ReadError> {
        let old = kept.old;
        let mut records = Vec::new();
        let mut bodies: Vec<CodedBody> = Vec::new();
        let mut gathered = 0;
        visit_blocks(segment, &mut |offset, entries| {
            let place = BlockPlace { segment: old.number, offset };
            for entry in entries {
                match entry {
                    Entry::Record(record) if kept.keeps_record(&record, place)? => {
                        gathered += record.bytes().len();
                        records.push(record);
                    }
                    Entry::Body(body) if kept.keeps_body(&body.id, &body)? => {
                        gathered += body.coded_bytes as usize;
                        match segment.body(&body) {
                            Ok(body) => bodies.push(body),
                            Err(BlockError::Damaged) => kept.lost.push(body.id),
                            Err(error) => return Err(error),
                        }
                    }
                    Entry::Record(_) | Entry::Body(_) => {}
                }
            }
            if gathered >= CHUNK_BYTES {
                kept.append(&records, &bodies)?;
                records.clear();
                bodies.clear();
                gathered = 0;
            }
            Ok(())
        })
        .map_err(|error| block_error(error, old))?;
        if !records.is_empty() || !bodies.is_empty() {
            kept.append(&records, &bodies)?;
        }
        Ok(())
    }
}

/// What stays of one segment, on its way to another.
struct Kept<'a> {
    store: &'a Store,
    old: SegmentName,
    doomed: &'a Doomed,
    target: Option<SegmentWriter>,
    blocks: Vec<RecordsBlock>,
    /// Bodies that should stay and are damaged.
    lost: Vec<BodyId>,
}

impl Kept<'_> {
    /// Whether the record stays, and the index names this very place: copies elsewhere do.
    fn keeps_record(&self, record: &Record, place: BlockPlace) -> Result<bool, BlockError> {
        if self.doomed.records.contains(&record.key()) {
            return Ok(false);
        }
        let key = layout::record_key(&record.key());
        let value = self.store.index.get(Tree::Bucket(self.old.bucket), &key);
        let known = value.map_err(io::Error::other)?.and_then(|value| RecordPlace::decode(&value));
        Ok(known.is_some_and(|known| known.block == place))
    }

    fn keeps_body(&self, id: &BodyId, entry: &BodyEntry) -> Result<bool, BlockError> {
        if self.doomed.bodies.contains(id) {
            return Ok(false);
        }
        let value = self.store.index.get(Tree::Bucket(self.old.bucket), &layout::body_key(id));
        let known = value.map_err(io::Error::other)?.and_then(|value| BodyPlace::decode(&value));
        Ok(known == Some(BodyPlace::new(self.old.number, entry)))
    }

    fn append(&mut self, records: &[Record], bodies: &[CodedBody]) -> io::Result<()> {
        let records: Vec<&Record> = records.iter().collect();
        let bodies: Vec<&CodedBody> = bodies.iter().collect();
        if self.target.is_none() {
            self.target = Some(self.create()?);
        }
        let target = self.target.as_mut().expect("it was just made");
        self.blocks.extend(target.append(0, &records, &bodies)?);
        Ok(())
    }

    fn create(&self) -> io::Result<SegmentWriter> {
        let settings = &self.store.settings;
        let key = settings.keys.first().expect("a store is opened with a key");
        let maker = Maker { cluster: settings.cluster, member: settings.member, key };
        let mut committer = self.store.committer();
        let number = self.store.next_segment_number(self.old.bucket);
        let name = SegmentName { bucket: self.old.bucket, number };
        let role = SegmentRole::Rewrite;
        let disk = &*self.store.disk;
        let writer = SegmentWriter::create(disk, name, role, &maker, &mut committer.rng)?;
        self.store.state_mut().name_segment(&name, writer.salt());
        Ok(writer)
    }

    fn close(&mut self) -> Result<(), ReadError> {
        let Some(target) = &mut self.target else {
            return Ok(());
        };
        target.sync()?;
        target.close(0, &[self.old.number])?;
        Ok(target.sync()?)
    }
}

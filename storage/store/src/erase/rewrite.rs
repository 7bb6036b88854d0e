//! Writes what stays of one segment to another.
//! Never leaves out more than what is doomed, and what is damaged: that is named.

use super::{Doomed, block_error, visit_blocks};
use crate::codec::CodedBody;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{
    BlockError, BlockPlace, BodyEntry, Entry, Maker, Segment, SegmentName, SegmentRole,
    SegmentWriter, bucket_directory,
};
use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::key::RecordKey;
use quar_base::record::Record;
use quar_index::{Index, Tree};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Coded bytes that are gathered before they are appended to a rewrite.
const CHUNK_BYTES: usize = 1 << 20;

/// A rewrite that is durable and not yet in force in memory.
pub(super) struct Rewrite {
    pub(super) old: SegmentName,
    /// `None` when nothing of the old segment stays.
    pub(super) new: Option<Written>,
    /// Index keys of what the old segment holds and is to go.
    pub(super) doomed: Vec<Vec<u8>>,
    /// Index keys of bodies that should stay and are damaged: they are wanted from now on.
    pub(super) lost_bodies: Vec<Vec<u8>>,
    /// Records that should stay and are damaged.
    pub(super) lost_records: Vec<RecordKey>,
}

pub(super) struct Written {
    pub(super) name: SegmentName,
    pub(super) end: u64,
    /// Opened while there is a way back.
    pub(super) segment: Arc<Segment>,
}

impl Store {
    /// Writes what stays of one segment to a new one, closed and durable.
    pub(super) fn rewrite(
        &self,
        old: SegmentName,
        segment: &Segment,
        doomed: &Doomed,
    ) -> Result<Rewrite, ReadError> {
        let mut kept = Kept::new(self, old, doomed);
        let result = self.write_kept(&mut kept, segment).and_then(|()| kept.close());
        if let (Err(_), Some(target)) = (&result, &kept.target) {
            self.undo_closed(target.name());
        }
        let new = result?;
        let Kept { gone: doomed, lost_bodies, lost_records, .. } = kept;
        Ok(Rewrite { old, new, doomed, lost_bodies, lost_records })
    }

    /// Takes back rewrites that are not to be put in force.
    pub(super) fn undo_all(&self, rewrites: &[Rewrite]) {
        let made = rewrites.iter().filter_map(|rewrite| rewrite.new.as_ref());
        made.for_each(|new| self.undo_closed(new.name));
    }

    /// Unlinks a rewrite, or a part of a pack, that may be closed. One that stays stands for its old segments at the
    /// next start, whatever was deduplicated onto those meanwhile: then nothing is taken until that start.
    pub(crate) fn undo_closed(&self, name: SegmentName) {
        self.segments.forget(&name);
        if let Err(error) = self.undo_rewrite(name) {
            self.fail("taking back what an erasure or a packing wrote anew", &error);
        }
    }

    /// Unlinks a segment that is not in force: the old ones still are. Its number is free only when it is gone.
    ///
    /// *Durable when* this returns: it was not synced, and what a power cut brought back of it would look damaged.
    ///
    /// # Errors
    /// What the disk says; a file that is left and is not closed only takes up room until the next rewriting, or until
    /// its day goes.
    pub(crate) fn undo_rewrite(&self, name: SegmentName) -> io::Result<()> {
        let removed = match self.disk.remove(&name.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let synced = match self.disk.sync_dir(&bucket_directory(name.bucket)) {
            // The day expired meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        };
        self.forget_unmade(name);
        removed.and(synced)
    }

    /// Writes what stays.
    fn write_kept(&self, kept: &mut Kept<'_>, segment: &Segment) -> Result<(), ReadError> {
        let old = kept.old;
        let mut records = Vec::new();
        let mut bodies: Vec<CodedBody> = Vec::new();
        let mut gathered = 0;
        let is_whole = visit_blocks(segment, &mut |offset, entries| {
            kept.visited.insert(offset);
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
                            Err(BlockError::Damaged) => {
                                kept.lost_bodies.push(layout::body_key(&body.id));
                            }
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
        if !is_whole {
            self.write_unnamed(kept)?;
        }
        Ok(())
    }

    /// What the index has in a segment some of whose records blocks are damaged: bodies that only
    /// those named are kept, and what is lost is named.
    fn write_unnamed(&self, kept: &mut Kept<'_>) -> Result<(), ReadError> {
        let (old, bucket) = (kept.old.number, kept.old.bucket);
        let doomed = kept.doomed;
        let mut bodies = Vec::new();
        self.index.scan(Tree::Bucket(bucket), &[layout::BODY], &mut |key, value| {
            match key.first() {
                Some(&layout::BODY) => {
                    let place = BodyPlace::decode(value);
                    let place = place.filter(|place| place.block.segment == old);
                    match place.filter(|_| !kept.bodies.contains(key)) {
                        Some(_) if doomed.bodies.contains(key) => kept.gone.push(key.to_vec()),
                        Some(place) => bodies.push((key.to_vec(), place)),
                        None => {}
                    }
                }
                Some(&layout::RECORD) => {
                    let place = RecordPlace::decode(value).map(|place| place.block);
                    let is_lost = |place: &BlockPlace| {
                        place.segment == old && !kept.visited.contains(&place.offset)
                    };
                    let record = layout::parse_record_key(key)
                        .filter(|_| place.as_ref().is_some_and(is_lost));
                    match record {
                        Some(record) if doomed.records.contains(&record) => {
                            kept.gone.push(key.to_vec());
                        }
                        record => kept.lost_records.extend(record),
                    }
                }
                Some(&tag) if tag > layout::RECORD => return ControlFlow::Break(()),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        for (key, place) in bodies {
            match self.whole_body(bucket, &key, &place, &mut None)? {
                Some((coded, plain)) => {
                    let id = self.settings.id_key.body_id(&plain);
                    kept.append(&[], &[CodedBody { id, ..coded }])?;
                }
                None if kept.lost_bodies.contains(&key) => {}
                None => kept.lost_bodies.push(key),
            }
        }
        // The next start may find this segment replaced already.
        self.name_damaged(bucket, &kept.lost_records, &[old])
    }
}

/// What stays of one segment, on its way to another.
struct Kept<'a> {
    store: &'a Store,
    old: SegmentName,
    doomed: &'a Doomed,
    target: Option<SegmentWriter>,
    /// Offsets of the records blocks that could be read.
    visited: BTreeSet<u32>,
    /// Index keys of the bodies that were met there.
    bodies: HashSet<Vec<u8>>,
    /// Index keys of what is doomed and lies there.
    gone: Vec<Vec<u8>>,
    lost_bodies: Vec<Vec<u8>>,
    lost_records: Vec<RecordKey>,
}

impl<'a> Kept<'a> {
    fn new(store: &'a Store, old: SegmentName, doomed: &'a Doomed) -> Self {
        Self {
            store,
            old,
            doomed,
            target: None,
            visited: BTreeSet::new(),
            bodies: HashSet::new(),
            gone: Vec::new(),
            lost_bodies: Vec::new(),
            lost_records: Vec::new(),
        }
    }

    /// Whether the record stays, and the index names this very place: copies elsewhere do.
    fn keeps_record(&mut self, record: &Record, place: BlockPlace) -> Result<bool, BlockError> {
        let key = layout::record_key(&record.key());
        let value = self.store.index.get(Tree::Bucket(self.old.bucket), &key);
        let known = value.map_err(io::Error::other)?.and_then(|value| RecordPlace::decode(&value));
        let is_here = known.is_some_and(|known| known.block == place);
        if is_here && self.doomed.records.contains(&record.key()) {
            self.gone.push(key);
            return Ok(false);
        }
        Ok(is_here)
    }

    fn keeps_body(&mut self, id: &BodyId, entry: &BodyEntry) -> Result<bool, BlockError> {
        let key = layout::body_key(id);
        let value = self.store.index.get(Tree::Bucket(self.old.bucket), &key);
        let known = value.map_err(io::Error::other)?.and_then(|value| BodyPlace::decode(&value));
        let is_here = known == Some(BodyPlace::new(self.old.number, entry));
        if is_here && self.doomed.bodies.contains(&key) {
            self.gone.push(key);
            return Ok(false);
        }
        if is_here {
            self.bodies.insert(key);
        }
        Ok(is_here)
    }

    fn append(&mut self, records: &[Record], bodies: &[CodedBody]) -> io::Result<()> {
        let records: Vec<&Record> = records.iter().collect();
        let bodies: Vec<&CodedBody> = bodies.iter().collect();
        if self.target.is_none() {
            self.target = Some(self.create()?);
        }
        // What went where is read again when it is put in force: a day's records do not fit into memory.
        self.target.as_mut().expect("it was just made").append(0, &records, &bodies)?;
        Ok(())
    }

    fn create(&self) -> io::Result<SegmentWriter> {
        let settings = &self.store.settings;
        let key = settings.keys.first().expect("a store is opened with a key");
        let maker = Maker { cluster: settings.cluster, member: settings.member, key };
        let mut committer = self.store.committer();
        let number = self.store.next_rewrite_number(self.old.bucket)?;
        let name = SegmentName { bucket: self.old.bucket, number };
        let role = SegmentRole::Rewrite;
        let disk = &*self.store.disk;
        let writer = SegmentWriter::create(disk, name, role, &maker, &mut committer.rng)?;
        self.store.state_mut().name_segment(&name, writer.salt());
        Ok(writer)
    }

    fn close(&mut self) -> Result<Option<Written>, ReadError> {
        let Some(target) = &mut self.target else {
            return Ok(None);
        };
        target.sync()?;
        target.close(0, &[self.old.number])?;
        target.sync()?;
        let (name, end) = (target.name(), target.end());
        let segment = self.store.segment(name)?;
        let segment = segment.ok_or_else(|| block_error(BlockError::Damaged, name))?;
        Ok(Some(Written { name, end, segment }))
    }
}

//! Puts rewrites that are durable in force: index, memory and files go over to them.
//! Never keeps commits waiting for longer than a block: what comes in between finds the old segments or the new ones.

use super::rewrite::{Rewrite, Written};
use super::{Doomed, Erased, block_error, visit_blocks, visit_entries};
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{BlockError, Entry, Segment, SegmentName, bucket_directory};
use crate::state::Block;
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, Tree, Write};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

impl Store {
    /// All of them, one after the other; their old segments go in the end.
    pub(super) fn put_all_in_force(
        &self,
        bucket: Bucket,
        segments: &[(SegmentName, Arc<Segment>)],
        doomed: &Doomed,
        rewrites: &[Rewrite],
    ) -> Result<Erased, ReadError> {
        let lost = rewrites.iter().flat_map(|rewrite| rewrite.lost_bodies.iter().cloned());
        let lost: HashSet<Vec<u8>> = lost.collect();
        let bereft = arrivals_naming(segments, &doomed.records, &lost);
        let bereft = bereft.inspect_err(|_| self.undo_all(rewrites))?;
        let _whole = self.between_checkpoints();
        if self.is_here(bucket) {
            let begun = self.begin_replacing(bucket, segments, rewrites, &lost, bereft);
            begun.inspect_err(|_| self.undo_all(rewrites))?;
        }
        // All are closed: what the index still has in the old segments is lost with the next start, so that nothing
        // may be deduplicated onto it once one of them could not be put in force.
        let failed = |error: &ReadError| {
            self.fail("moving the index to what an erasure wrote anew", error);
        };
        for rewrite in rewrites {
            self.put_in_force(rewrite, doomed).inspect_err(failed)?;
        }
        let _turn = self.committer();
        if !self.is_here(bucket) {
            // The day expired meanwhile: what was written anew goes too.
            self.disk.remove_dir(&bucket_directory(bucket))?;
            self.segments.forget_bucket(bucket);
            return Ok(Erased::default());
        }
        self.state_mut().begin_replacing(bucket);
        let mut unlinked = Ok(());
        for rewrite in rewrites {
            // Of a segment that stays the index has nothing any more: the others go all the same.
            unlinked = unlinked.and(self.unlink_replaced(rewrite.old));
        }
        self.want_for_the_bereft(bucket)?;
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            held.broken.bodies.retain(|key| !lost.contains(key));
        }
        unlinked?;
        self.disk.sync_dir(&bucket_directory(bucket))?;
        self.state_mut().erased(bucket, &doomed.records);
        Ok(Erased { segments: rewrites.len() as u64, messages: doomed.records.len() as u64 })
    }

    /// Before anything changes: what was found damaged is said to be, and wanted by whoever needs it.
    fn begin_replacing(
        &self,
        bucket: Bucket,
        segments: &[(SegmentName, Arc<Segment>)],
        rewrites: &[Rewrite],
        lost: &HashSet<Vec<u8>>,
        bereft: Vec<(BodyId, RecordKey)>,
    ) -> Result<(), ReadError> {
        let old: Vec<u32> = segments.iter().map(|(name, _)| name.number).collect();
        let new = rewrites.iter().filter_map(|rewrite| rewrite.new.as_ref());
        let known: Vec<u32> = old.iter().copied().chain(new.map(|new| new.name.number)).collect();
        let records = rewrites.iter().flat_map(|rewrite| rewrite.lost_records.iter().copied());
        let records: Vec<RecordKey> = records.collect();
        let committer = self.committer();
        self.state_mut().begin_replacing(bucket);
        let late = self.arrivals_since(bucket, &known, lost)?;
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            held.bereft.extend(bereft.into_iter().chain(late));
            // From here on nothing is deduplicated onto them.
            held.broken.bodies.extend(lost.iter().cloned());
        }
        self.leave_out(bucket, &records, &old, &committer)
    }

    /// Arrivals that came since a rewriting began, into other segments than these, and name one of these bodies: they
    /// were deduplicated onto it before anybody knew that it is damaged. With no commit under way.
    pub(crate) fn arrivals_since(
        &self,
        bucket: Bucket,
        known: &[u32],
        bodies: &HashSet<Vec<u8>>,
    ) -> Result<Vec<(BodyId, RecordKey)>, ReadError> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<u32> = {
            let state = self.state();
            let held = state.buckets.get(&bucket);
            let all = held.into_iter().flat_map(|held| held.segments.keys().copied());
            all.filter(|number| !known.contains(number)).collect()
        };
        arrivals_naming(&self.segments_of(bucket, &numbers)?, &BTreeSet::new(), bodies)
    }

    /// Moves the index to a rewrite, a block at a time: commits go on in between. Nothing more is done once the day has
    /// expired.
    fn put_in_force(&self, rewrite: &Rewrite, doomed: &Doomed) -> Result<(), ReadError> {
        let bucket = rewrite.old.bucket;
        if let Some(new) = &rewrite.new {
            self.apply_written(new)?;
        }
        let _turn = self.committer();
        if !self.is_here(bucket) {
            return Ok(());
        }
        let tree = Tree::Bucket(bucket);
        let mut writes = Vec::new();
        for key in doomed.records.iter().chain(&rewrite.lost_records) {
            let key = layout::record_key(key);
            let place = self.index.get(tree, &key)?.and_then(|value| RecordPlace::decode(&value));
            if place.is_some_and(|place| place.block.segment == rewrite.old.number) {
                writes.push(Write::Delete { tree, key });
            }
        }
        let doomed_bodies = doomed.bodies.iter().map(layout::body_key);
        for key in doomed_bodies.chain(rewrite.lost_bodies.iter().cloned()) {
            let place = self.index.get(tree, &key)?.and_then(|value| BodyPlace::decode(&value));
            if place.is_some_and(|place| place.block.segment == rewrite.old.number) {
                writes.push(Write::Delete { tree, key });
            }
        }
        let mark = layout::watermark_key(&rewrite.old);
        writes.push(Write::Delete { tree: Tree::Meta, key: mark });
        Ok(self.index.write(writes)?)
    }

    /// Reads a rewrite, which is durable and which nobody else writes to.
    fn apply_written(&self, new: &Written) -> Result<(), ReadError> {
        let Some(segment) = self.segment(new.name)? else {
            let _turn = self.committer();
            return if self.is_here(new.name.bucket) {
                Err(block_error(BlockError::Damaged, new.name))
            } else {
                Ok(())
            };
        };
        let is_whole = visit_blocks(&segment, &mut |offset, entries| {
            let _turn = self.committer();
            if !self.is_here(new.name.bucket) {
                return Ok(());
            }
            let block = Block { segment: new.name, offset, end: new.end, entries: &entries };
            self.apply(&block).map_err(|error| BlockError::Io(io::Error::other(error)))
        });
        match is_whole.map_err(|error| block_error(error, new.name))? {
            true => Ok(()),
            false => Err(block_error(BlockError::Damaged, new.name)),
        }
    }

    /// What came without its body meanwhile, counting on one that is now gone, wants it.
    pub(crate) fn want_for_the_bereft(&self, bucket: Bucket) -> Result<(), ReadError> {
        let tree = Tree::Bucket(bucket);
        let mut writes = Vec::new();
        let mut state = self.state_mut();
        let held = state.buckets.entry(bucket).or_default();
        for (body, arrival) in std::mem::take(&mut held.bereft) {
            let is_here = self.index.get(tree, &layout::body_key(&body))?.is_some();
            if !is_here && !held.is_covered(&arrival) {
                held.wanted.insert(body, arrival);
                let key = layout::wanted_key(&body, &arrival);
                let value = Vec::new();
                writes.push(Write::Put { tree, key, value });
            }
        }
        drop(state);
        Ok(self.index.write(writes)?)
    }

    /// Unlinks a segment whose rewrite is in force.
    fn unlink_replaced(&self, old: SegmentName) -> io::Result<()> {
        self.disk.remove(&old.path())?;
        self.segments.forget(&old);
        // Only now: a segment that could not be unlinked must still be there for the next erasure.
        if let Some(held) = self.state_mut().buckets.get_mut(&old.bucket) {
            held.segments.remove(&old.number);
        }
        Ok(())
    }
}

/// Arrivals in these segments that stay and name one of these bodies, by its index key.
fn arrivals_naming(
    segments: &[(SegmentName, Arc<Segment>)],
    doomed: &BTreeSet<RecordKey>,
    bodies: &HashSet<Vec<u8>>,
) -> Result<Vec<(BodyId, RecordKey)>, ReadError> {
    let mut found = Vec::new();
    for (_, segment) in segments.iter().filter(|_| !bodies.is_empty()) {
        visit_entries(segment, &mut |entry| {
            if let Entry::Record(record) = entry
                && record.head().kind == Kind::ARRIVAL
                && !doomed.contains(&record.key())
                && let Ok(arrival) = Arrival::decode(record.payload())
                && bodies.contains(&layout::body_key(&arrival.body()))
            {
                found.push((arrival.body(), record.key()));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

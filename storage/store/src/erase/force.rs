//! Puts rewrites that are durable in force: index, memory and files go over to them.
//! Never keeps commits waiting for longer than a block or as many keys, but where the files go: what comes in between
//! finds the old segments or the new ones.

use super::rewrite::{Rewrite, Written};
use super::{Doomed, Erased, block_error, visit_blocks, visit_entries};
use crate::error::ReadError;
use crate::layout;
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

/// Index keys that leave in one turn of the committer.
const KEYS_AT_ONCE: usize = 1000;

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
            let begun = self.leave_out_damaged(bucket, segments, rewrites, &lost, bereft);
            begun.inspect_err(|_| self.undo_all(rewrites))?;
        }
        // All are closed: what the index still has in the old segments is lost with the next start, so that nothing
        // may be deduplicated onto it once one of them could not be put in force.
        let failed = |error: &ReadError| {
            self.fail("moving the index to what an erasure wrote anew", error);
        };
        for rewrite in rewrites {
            self.put_in_force(rewrite).inspect_err(failed)?;
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
        unlinked?;
        self.disk.sync_dir(&bucket_directory(bucket))?;
        self.state_mut().erased(bucket, &doomed.records);
        Ok(Erased { segments: rewrites.len() as u64, messages: doomed.records.len() as u64 })
    }

    /// Before anything else changes: what was found damaged leaves the index, is named, and is wanted by whoever needs
    /// it. What was given again meanwhile lies elsewhere, and stays.
    fn leave_out_damaged(
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
        self.leave_out(bucket, &records, &old, &committer)?;
        let keys = records.iter().map(layout::record_key).chain(lost.iter().cloned());
        let left_out = self.in_segments(bucket, keys, &old)?;
        self.forget_places(bucket, &left_out)?;
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            for (key, _) in &left_out {
                held.broken.bodies.remove(key);
            }
        }
        self.want_for(bucket, bereft.into_iter().chain(late).collect())
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

    /// Moves the index to a rewrite, some keys at a time: commits go on in between. Nothing more is done once the day
    /// has expired.
    fn put_in_force(&self, rewrite: &Rewrite) -> Result<(), ReadError> {
        let bucket = rewrite.old.bucket;
        if let Some(new) = &rewrite.new {
            self.apply_written(new)?;
        }
        // A check that read the old segment now would miss in the index what goes: nothing of it is to be read.
        {
            let _turn = self.committer();
            let mut state = self.state_mut();
            state.begin_replacing(bucket);
            let held = state.buckets.get_mut(&bucket);
            let counted = held.and_then(|held| held.segments.get_mut(&rewrite.old.number));
            if let Some(counted) = counted {
                counted.mark.end = 0;
            }
        }
        for keys in rewrite.doomed.chunks(KEYS_AT_ONCE) {
            let _turn = self.committer();
            if self.is_here(bucket) {
                let doomed =
                    self.in_segments(bucket, keys.iter().cloned(), &[rewrite.old.number])?;
                self.forget_places(bucket, &doomed)?;
            }
        }
        let _turn = self.committer();
        if self.is_here(bucket) {
            let mark = layout::watermark_key(&rewrite.old);
            self.index.write(vec![Write::Delete { tree: Tree::Meta, key: mark }])?;
        }
        Ok(())
    }

    /// Those of these keys of which the index names a place in one of these segments, and in which.
    fn in_segments(
        &self,
        bucket: Bucket,
        keys: impl Iterator<Item = Vec<u8>>,
        segments: &[u32],
    ) -> Result<Vec<(Vec<u8>, u32)>, ReadError> {
        let mut found = Vec::new();
        for key in keys {
            let value = self.index.get(Tree::Bucket(bucket), &key)?;
            let number = value.and_then(|value| layout::segment_of(&value));
            let number = number.filter(|number| segments.contains(number));
            found.extend(number.map(|number| (key, number)));
        }
        Ok(found)
    }

    /// Takes these keys out of the index, and out of what their segments are said to have there.
    fn forget_places(&self, bucket: Bucket, keys: &[(Vec<u8>, u32)]) -> Result<(), ReadError> {
        let tree = Tree::Bucket(bucket);
        let writes = keys.iter().map(|(key, _)| Write::Delete { tree, key: key.clone() });
        self.index.write(writes.collect())?;
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            keys.iter().for_each(|(key, number)| held.discount(*number, key));
        }
        Ok(())
    }

    /// Reads a rewrite, which is durable and which nobody else writes to.
    fn apply_written(&self, new: &Written) -> Result<(), ReadError> {
        let bucket = new.name.bucket;
        let is_whole = visit_blocks(&new.segment, &mut |offset, entries| {
            let _turn = self.committer();
            if !self.is_here(bucket) {
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
        let bereft = match self.state_mut().buckets.get_mut(&bucket) {
            Some(held) => std::mem::take(&mut held.bereft),
            None => return Ok(()),
        };
        self.want_for(bucket, bereft)
    }

    /// These arrivals want these bodies, where they are not here.
    fn want_for(&self, bucket: Bucket, bereft: Vec<(BodyId, RecordKey)>) -> Result<(), ReadError> {
        let tree = Tree::Bucket(bucket);
        let mut writes = Vec::new();
        let mut state = self.state_mut();
        let Some(held) = state.buckets.get_mut(&bucket) else { return Ok(()) };
        for (body, arrival) in bereft {
            let is_here = self.index.get(tree, &layout::body_key(&body))?.is_some();
            if !is_here && !held.is_covered(&arrival) {
                held.wanted.insert(body, arrival);
                let key = layout::wanted_key(&body, &arrival);
                writes.push(Write::Put { tree, key, value: Vec::new() });
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

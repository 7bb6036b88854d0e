//! Erasure: a bucket's segments written again without what was deleted, and the old ones unlinked.
//! Never leaves a moment at which a kept message is only in an unsynced file.
//!
//! ```text
//! committer locked   deleted arrivals and their bodies are marked; the open segment is ended
//! unlocked           old segments are read; what stays goes to rewrites; closing block; fdatasync
//! block by block     the index moves to the rewrites
//! committer locked   old segments unlinked
//! ```
//! A crash before the closing block is durable leaves the old segments in force, after it the
//! rewrite: opening unlinks the others. What was written by then goes with the next erasure.
//!
//! What is damaged is left out: a body is wanted from then on, a record is named among the broken.
//! Where a packing has left something, and only then, erasing is packing.

mod force;
mod rewrite;
mod touched;

use self::rewrite::Rewrite;
use self::touched::is_touched;
use crate::error::ReadError;
use crate::layout;
use crate::pack::PackProgress;
use crate::recent::Records;
use crate::segment::{
    BlockError, Entry, Found, Segment, SegmentName, SegmentRole, bucket_directory,
};
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Kind;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What an erasure did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Segments that were written again or dropped.
    pub segments: u64,
    /// Messages whose bytes are gone.
    pub messages: u64,
}

/// An erasure or packing that has begun.
pub(crate) struct Begun {
    /// The deleted arrivals.
    pub(crate) records: BTreeSet<RecordKey>,
    /// The bucket's segments. None of them is written to any more, and none made later is touched.
    pub(crate) segments: Vec<u32>,
}

/// What is to go.
struct Doomed {
    records: BTreeSet<RecordKey>,
    /// Index keys: by what the index knows of an id, as another one may have that in common.
    bodies: HashSet<Vec<u8>>,
}

impl Store {
    /// Buckets in which deleted messages still have bytes on disk.
    #[must_use]
    pub fn erasable(&self) -> Vec<Bucket> {
        let state = self.state();
        let waiting = state.buckets.keys().copied();
        let is_waiting = |bucket: &Bucket| !state.erasable(*bucket).is_empty();
        waiting.filter(|bucket| !state.floors.is_below(*bucket)).filter(is_waiting).collect()
    }

    /// Bytes of a bucket's segments that are in no pack: so much an erasure reads, and at the most writes anew.
    #[must_use]
    pub fn unpacked_bytes(&self, bucket: Bucket) -> u64 {
        let state = self.state();
        let held = state.buckets.get(&bucket);
        held.map_or(0, |held| held.segments.values().map(|counted| counted.mark.end).sum())
    }

    /// Removes the bytes of a bucket's deleted messages from its files.
    ///
    /// One erasure of a bucket runs at a time; commits go on meanwhile.
    ///
    /// *Durable when* this returns: the bytes are in no file of the store.
    ///
    /// # Errors
    /// [`ReadError`] when a segment cannot be read or written; then the bytes may still be there, and erasing again
    /// later is safe. Where the index cannot be written, or what was written anew cannot be taken back, the store
    /// takes nothing more until it is opened again.
    pub fn erase(&self, bucket: Bucket) -> Result<Erased, ReadError> {
        let erased = self.erase_in_steps(bucket, &mut |_| ControlFlow::Continue(()))?;
        Ok(erased.unwrap_or_default())
    }

    /// As [`Self::erase`]. Where it writes a packed day anew, `step` is told how far that is and says whether to go on;
    /// `None` when it said no: the bytes are still there.
    ///
    /// # Errors
    /// As [`Self::erase`].
    pub fn erase_in_steps(
        &self,
        bucket: Bucket,
        step: &mut dyn FnMut(PackProgress) -> ControlFlow<()>,
    ) -> Result<Option<Erased>, ReadError> {
        let _alone = self.rewriting();
        let mut begun = match self.begin_rewriting(bucket)? {
            Some(begun) if !begun.records.is_empty() => begun,
            _ => return Ok(Some(Erased::default())),
        };
        if self.has_packed(bucket, &begun.segments)? && !self.has_room_to_pack(bucket) {
            // Without what an interrupted packing left, less may have to be written anew.
            self.take_back_leftovers(bucket);
            let left = self.state().buckets.get(&bucket).map(|held| held.segments.clone());
            begun.segments.retain(|number| left.iter().any(|left| left.contains_key(number)));
        }
        if self.has_packed(bucket, &begun.segments)? {
            let segments = begun.segments.len() as u64;
            self.reserve.make_room_for(self.disk.used_bytes(&bucket_directory(bucket))?)?;
            let packed = self.pack_alone(bucket, step)?;
            return Ok(packed.map(|packed| Erased { segments, messages: packed.erased }));
        }
        let result = self.rewrite_without(bucket, begun);
        self.end_rewriting(bucket);
        result.map(Some)
    }

    /// Whether a bucket has a pack, or segments of one that counts as logs: cut short, or with a
    /// damaged footer. Only a packing knows what lies in those.
    fn has_packed(&self, bucket: Bucket, numbers: &[u32]) -> Result<bool, ReadError> {
        if self.index.pack(bucket).is_some() {
            return Ok(true);
        }
        let segments = self.segments_of(bucket, numbers)?;
        Ok(segments.iter().any(|(_, segment)| segment.role() == SegmentRole::Pack))
    }

    /// Marks what goes: from here on nothing is deduplicated onto it, nor added to its segments.
    /// `None` when the bucket is not here.
    pub(crate) fn begin_rewriting(&self, bucket: Bucket) -> Result<Option<Begun>, ReadError> {
        let erasable = || {
            let state = self.state();
            state.buckets.contains_key(&bucket).then(|| state.erasable(bucket))
        };
        let mut bodies = BTreeMap::new();
        let mut records = Records::new(self);
        // Most are read before commits have to wait.
        for key in erasable().unwrap_or_default() {
            bodies.insert(key, body_of(&mut records, bucket, &key)?);
        }
        let mut committer = self.committer();
        let Some(erasable) = erasable() else { return Ok(None) };
        let mut leaving = BTreeSet::new();
        for key in &erasable {
            leaving.extend(match bodies.get(key) {
                Some(body) => *body,
                None => body_of(&mut records, bucket, key)?,
            });
        }
        let records = erasable;
        committer.writers.remove(&bucket);
        let mut state = self.state_mut();
        let held = state.buckets.entry(bucket).or_default();
        held.leaving = leaving;
        let segments = held.segments.keys().copied().collect();
        Ok(Some(Begun { records, segments }))
    }

    /// What was marked as leaving is gone, or stays after all.
    pub(crate) fn end_rewriting(&self, bucket: Bucket) {
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            held.leaving.clear();
            held.bereft.clear();
        }
    }

    pub(crate) fn rewrite_without(
        &self,
        bucket: Bucket,
        begun: Begun,
    ) -> Result<Erased, ReadError> {
        let segments = self.segments_of(bucket, &begun.segments)?;
        let doomed = self.doom(bucket, &segments, begun.records)?;
        let rewrites = self.rewrite_all(&segments, &doomed)?;
        self.put_all_in_force(bucket, &segments, &doomed, &rewrites)
    }

    /// Whether a day is here: it may expire while its segments are written anew.
    pub(crate) fn is_here(&self, bucket: Bucket) -> bool {
        self.state().buckets.contains_key(&bucket)
    }

    /// All rewrites or none.
    fn rewrite_all(
        &self,
        segments: &[(SegmentName, Arc<Segment>)],
        doomed: &Doomed,
    ) -> Result<Vec<Rewrite>, ReadError> {
        let mut touched = Vec::new();
        let mut needed = 0;
        for (name, segment) in segments {
            if is_touched(segment, doomed)? {
                needed += if self.is_bare(name) { 0 } else { segment.length()? };
                touched.push((*name, segment));
            }
        }
        self.reserve.make_room_for(needed)?;
        let mut rewrites: Vec<Rewrite> = Vec::new();
        for (name, segment) in touched {
            match self.rewrite(name, segment, doomed) {
                Ok(rewrite) => rewrites.push(rewrite),
                Err(error) => {
                    self.undo_all(&rewrites);
                    return Err(error);
                }
            }
        }
        Ok(rewrites)
    }

    /// Whether the index has nothing in a segment: then nothing of it is written anew.
    fn is_bare(&self, name: &SegmentName) -> bool {
        let state = self.state();
        let held = state.buckets.get(&name.bucket);
        let counted = held.and_then(|held| held.segments.get(&name.number));
        counted.is_none_or(|counted| counted.mark.keys == 0)
    }

    fn segments_of(
        &self,
        bucket: Bucket,
        numbers: &[u32],
    ) -> Result<Vec<(SegmentName, Arc<Segment>)>, ReadError> {
        let mut segments = Vec::new();
        for &number in numbers {
            let name = SegmentName { bucket, number };
            if let Some(segment) = self.segment(name)? {
                segments.push((name, segment));
            }
        }
        Ok(segments)
    }

    /// Bodies that only deleted messages use.
    fn doom(
        &self,
        bucket: Bucket,
        segments: &[(SegmentName, Arc<Segment>)],
        records: BTreeSet<RecordKey>,
    ) -> Result<Doomed, ReadError> {
        let leaving = self.state().buckets.get(&bucket).map(|held| held.leaving.clone());
        let leaving = leaving.iter().flatten();
        let mut bodies: HashSet<Vec<u8>> = leaving.map(layout::body_key).collect();
        for (_, segment) in segments {
            visit_entries(segment, &mut |entry| {
                if let Entry::Record(record) = entry
                    && record.head().kind == Kind::ARRIVAL
                    && !records.contains(&record.key())
                    && let Ok(arrival) = Arrival::decode(record.payload())
                {
                    bodies.remove(&layout::body_key(&arrival.body())[..]);
                }
                Ok(())
            })?;
        }
        Ok(Doomed { records, bodies })
    }
}

fn visit_entries(
    segment: &Segment,
    visit: &mut dyn FnMut(Entry) -> Result<(), BlockError>,
) -> Result<(), ReadError> {
    let each = &mut |_, entries: Vec<Entry>| entries.into_iter().try_for_each(&mut *visit);
    let scanned = visit_blocks(segment, each);
    scanned.map(drop).map_err(|error| io::Error::other(error.to_string()).into())
}

/// Whether everything could be read.
fn visit_blocks(
    segment: &Segment,
    visit: &mut dyn FnMut(u32, Vec<Entry>) -> Result<(), BlockError>,
) -> Result<bool, BlockError> {
    let mut is_whole = true;
    segment.scan(Segment::FIRST_BLOCK, &mut |found| match found {
        Found::Entries { offset, entries, .. } => visit(offset, entries),
        Found::Damaged { .. } | Found::TornTail => {
            is_whole = false;
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(is_whole)
}

/// The body that an arrival names; `None` also for a record that is damaged: which body it named is
/// then not known, and that body goes with its day.
fn body_of(
    records: &mut Records<'_>,
    bucket: Bucket,
    key: &RecordKey,
) -> Result<Option<BodyId>, ReadError> {
    let record = match records.get(bucket, key) {
        Err(ReadError::Damaged { .. }) => None,
        read => read?,
    };
    let arrival = record.and_then(|record| Arrival::decode(record.payload()).ok());
    Ok(arrival.map(|arrival| arrival.body()))
}

fn block_error(error: BlockError, name: SegmentName) -> ReadError {
    match error {
        BlockError::Io(error) => error.into(),
        BlockError::Damaged => {
            io::Error::other(format!("{} holds a damaged block", name.path().display())).into()
        }
    }
}

#[cfg(test)]
mod tests;

//! Checks what is on disk: every block, every body's id, the index and the tables against the segments, the trie
//! against the records.
//! Never changes anything: what it finds is for `broken` and for whoever repairs.
//!
//! ```text
//! segments of a bucket ──► blocks opened, bodies decoded and hashed ──► what is whole, and where
//! index, tables        ──► every entry must name something whole; everything whole must have one
//! records              ──► trie: its root must be that of the set
//! ```
//! Erasures and packings go on meanwhile: what they replaced is read no more, and what they wrote is read in its place.

mod blocks;
mod erased;
mod finding;
mod last;
mod passes;

pub use erased::Remains;
pub use finding::Finding;
pub use last::LastCheck;
pub(crate) use last::{Checks, load};

use crate::beside;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::SegmentName;
use crate::store::Store;
use blocks::Whole;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, Tree};
use quar_merkle::Trie;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, ControlFlow};

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments.
    pub segments: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Bodies, each decoded and hashed.
    pub bodies: u64,
}

impl AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.records += other.records;
        self.bodies += other.bodies;
    }
}

/// What a bucket's index entries should be, from its segments.
#[derive(Default)]
struct Contents {
    whole: Whole,
    checked: Checked,
    findings: Vec<Finding>,
    /// Segments that were read through.
    segments: BTreeSet<u32>,
}

impl Store {
    /// Buckets that are on disk, in order.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        self.state().buckets.keys().copied().collect()
    }

    /// Checks one bucket; commits, erasures and packings go on meanwhile. `step` is told how many bytes were read
    /// since it was last called, and says whether to go on; `None` when it said no.
    ///
    /// # Errors
    /// [`ReadError`] when the disk or the index cannot be read; damage is a finding and no error.
    pub fn check(
        &self,
        bucket: Bucket,
        step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Option<(Checked, Vec<Finding>)>, ReadError> {
        let _unchanged = self.reading_headers();
        loop {
            let listing = || Ok(self.indexed_segments(bucket));
            let Some((mut contents, pass)) = self.read_through(bucket, &listing, step)? else {
                return Ok(None);
            };
            if !pass.is_of_a_bucket() {
                return Ok(Some((contents.checked, contents.findings)));
            }
            self.check_tables(bucket, &mut contents)?;
            if step(0).is_break() {
                return Ok(None);
            }
            self.check_index(bucket, &mut contents)?;
            if step(0).is_break() {
                return Ok(None);
            }
            self.check_trie(bucket, &mut contents)?;
            // Of files that went meanwhile nothing can be said.
            if self.is_current(bucket, &pass) {
                return Ok(Some((contents.checked, contents.findings)));
            }
        }
    }

    /// Checks every bucket, in as many threads as there are processors. `step` as in
    /// [`Self::check`]; `done` is told of each bucket.
    ///
    /// # Errors
    /// As [`Self::check`], the first that came.
    pub fn check_all(
        &self,
        step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
        done: &(dyn Fn(Bucket, Checked, Vec<Finding>) + Sync),
    ) -> Result<(), ReadError> {
        // An error that is none: `step` ended it.
        let ended = beside::try_each(self.buckets(), &|bucket| match self.check(bucket, step) {
            Ok(Some((checked, findings))) => {
                done(bucket, checked, findings);
                Ok(())
            }
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        });
        match ended {
            Err(Some(error)) => Err(error),
            Err(None) | Ok(()) => Ok(()),
        }
    }

    /// The tables of the bucket's pack must be readable and say what was written.
    fn check_tables(&self, bucket: Bucket, contents: &mut Contents) -> Result<(), ReadError> {
        if let Some(pack) = self.index.pack(bucket)
            && !pack.are_tables_whole()?
        {
            pack.write_tables_again();
            contents.findings.push(Finding::Tables { path: pack.name().path() });
        }
        Ok(())
    }

    /// Every entry must name something whole, and everything whole must have an entry.
    fn check_index(&self, bucket: Bucket, contents: &mut Contents) -> Result<(), ReadError> {
        let Contents { whole, segments, findings, .. } = contents;
        let live: BTreeSet<u32> = match self.state().buckets.get(&bucket) {
            Some(held) => held.segments.keys().copied().collect(),
            None => return Ok(()),
        };
        // Read through, or not there at all: one that a commit began since is left for the next check.
        let is_checked = |number: &u32| segments.contains(number) || !live.contains(number);
        let (mut lost_records, mut lost_bodies) = (Vec::new(), BTreeSet::new());
        let (mut known_records, mut known_bodies) = (0, 0);
        self.index.scan(Tree::Bucket(bucket), &[layout::BODY], &mut |key, value| {
            match key.first() {
                Some(&layout::BODY) => {
                    let place = BodyPlace::decode(value);
                    let place = place.filter(|place| is_checked(&place.block.segment));
                    if let Some(place) = place {
                        known_bodies += usize::from(whole.bodies.contains_key(key));
                        if whole.bodies.get(key) != Some(&place) && !whole.is_elsewhere(key, &place)
                        {
                            lost_bodies.insert(key.to_vec());
                        }
                    }
                }
                Some(&layout::RECORD) => {
                    let place = RecordPlace::decode(value);
                    let place = place.filter(|place| is_checked(&place.block.segment));
                    if let (Some(place), Some(record)) = (place, layout::parse_record_key(key)) {
                        known_records += usize::from(whole.records.contains_key(&record));
                        let found = whole.records.get(&record);
                        if found.is_none_or(|found| !found.contains(&place)) {
                            lost_records.push((record, place));
                        }
                    }
                }
                Some(&tag) if tag > layout::RECORD => return ControlFlow::Break(()),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        // What a commit put there since the segments were read is whole where the index says.
        for (key, place) in lost_records {
            if self.is_in_set(MessageId { bucket, key })
                && !self.is_record_whole(bucket, &key, &place)?
            {
                findings.push(Finding::LostRecord { record: MessageId { bucket, key } });
            }
        }
        // Of those whose segment is gone only the names are left.
        for id in self.broken_records().into_iter().filter(|id| id.bucket == bucket) {
            if !self.knows(bucket, &layout::record_key(&id.key))? {
                findings.push(Finding::LostRecord { record: id });
            }
        }
        lost_bodies.retain(|key| !self.is_body_whole(bucket, key));
        let mut needed: BTreeMap<Vec<u8>, Vec<MessageId>> = BTreeMap::new();
        let mut unasked = Vec::new();
        for (key, body) in &whole.arrivals {
            let body_key = layout::body_key(body);
            let message = MessageId { bucket, key: *key };
            if lost_bodies.contains(&body_key) {
                needed.entry(body_key).or_default().push(message);
            } else if !whole.bodies.contains_key(&body_key)
                && !self.knows(bucket, &body_key)?
                && self.is_unasked(message, body)
            {
                unasked.push(message);
            }
        }
        let mut unindexed = Vec::new();
        if known_records < whole.records.len() {
            unindexed.extend(whole.records.iter().filter_map(|(key, places)| {
                Some((layout::record_key(key), places.last()?.encode()))
            }));
        }
        if known_bodies < whole.bodies.len() {
            let bodies = whole.bodies.iter();
            unindexed.extend(bodies.map(|(key, place)| (key.clone(), place.encode())));
        }
        unindexed.extend(std::mem::take(&mut whole.actions));
        let (mut missing, mut entries) = (0, Vec::new());
        for (key, value) in unindexed {
            if !self.knows(bucket, &key)? {
                missing += 1;
                entries.push((key, value));
            }
        }
        entries.truncate(Finding::ENTRIES_MAX);
        for key in lost_bodies {
            let messages = needed.remove(&key).unwrap_or_default();
            findings.push(Finding::LostBody { bucket, key, messages });
        }
        if !unasked.is_empty() {
            findings.push(Finding::NotWanted { messages: unasked });
        }
        if missing > 0 {
            findings.push(Finding::NotIndexed { bucket, items: missing, entries });
        }
        Ok(())
    }

    fn knows(&self, bucket: Bucket, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.index.get(Tree::Bucket(bucket), key)?.is_some())
    }

    /// Of what was deleted nothing is missed, once the time of the delete is near: until then the others have it.
    fn is_in_set(&self, id: MessageId) -> bool {
        let state = self.state();
        let held = state.buckets.get(&id.bucket);
        let second = held.and_then(|held| held.covered_from(&id.key));
        second.is_none_or(|second| state.set.leaves_far_ahead(id.bucket, &id.key, second))
    }

    fn is_record_whole(
        &self,
        bucket: Bucket,
        key: &RecordKey,
        place: &RecordPlace,
    ) -> Result<bool, ReadError> {
        let now = self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?;
        let now = now.and_then(|value| RecordPlace::decode(&value));
        // Gone or moved meanwhile: whoever did that read it.
        Ok(now.as_ref() != Some(place)
            || self.can_be_opened(bucket, place.block.segment)
                && self.record(bucket, key).is_ok_and(|found| found.is_some()))
    }

    /// A segment whose header is damaged is read as long as it is kept open, and never again.
    fn can_be_opened(&self, bucket: Bucket, number: u32) -> bool {
        !self.segments.is_unreadable(&SegmentName { bucket, number })
    }

    pub(crate) fn is_body_whole(&self, bucket: Bucket, key: &[u8]) -> bool {
        let value = self.index.get(Tree::Bucket(bucket), key).ok().flatten();
        let Some(place) = value.and_then(|value| BodyPlace::decode(&value)) else {
            return true;
        };
        self.can_be_opened(bucket, place.block.segment)
            && self.whole_body(bucket, key, &place, &mut None).is_ok_and(|body| body.is_some())
    }

    /// Whether a message is to be shown, lacks its body, and nothing says so.
    fn is_unasked(&self, message: MessageId, body: &BodyId) -> bool {
        let state = self.state();
        let is_wanted =
            state.buckets.get(&message.bucket).is_some_and(|held| held.wanted.contains(body));
        state.is_visible(message) && !is_wanted
    }

    /// The trie must be that of the records which the deletes leave.
    fn check_trie(&self, bucket: Bucket, contents: &mut Contents) -> Result<(), ReadError> {
        if !self.has_its_trie(bucket)? {
            // Once more, with no commit in between.
            let _committer = self.committer();
            if !self.has_its_trie(bucket)? {
                contents.findings.push(Finding::Trie { bucket });
            }
        }
        Ok(())
    }

    fn has_its_trie(&self, bucket: Bucket) -> Result<bool, ReadError> {
        let keys = self.indexed_keys(bucket)?;
        let left = keys.into_iter().filter(|(_, covered)| covered.is_none()).map(|(key, _)| key);
        let root = Trie::from_sorted(left).root();
        let state = self.state();
        Ok(!state.buckets.contains_key(&bucket) || root == state.set.live_trie(bucket).root())
    }

    /// Records of a bucket that the index has and that are not marked damaged, in order, with the
    /// second from which a delete covers each.
    pub(crate) fn indexed_keys(
        &self,
        bucket: Bucket,
    ) -> Result<Vec<(RecordKey, Option<u32>)>, ReadError> {
        let mut keys = Vec::new();
        self.index.scan(Tree::Bucket(bucket), &[layout::RECORD], &mut |key, value| {
            let Some(key) = layout::parse_record_key(key) else {
                return ControlFlow::Break(());
            };
            let kind = RecordPlace::decode(value).map(|place| place.kind);
            keys.push((key, kind == Some(Kind::ARRIVAL)));
            ControlFlow::Continue(())
        })?;
        let state = self.state();
        let Some(held) = state.buckets.get(&bucket) else { return Ok(Vec::new()) };
        let whole = keys.into_iter().filter(|(key, _)| !held.broken.records.contains(key));
        let covered = |(key, is_arrival): (RecordKey, bool)| {
            (key, held.covered_from(&key).filter(|_| is_arrival))
        };
        Ok(whole.map(covered).collect())
    }
}

#[cfg(test)]
mod tests;

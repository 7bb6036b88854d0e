//! What the store keeps in memory of each bucket, and how entries of a segment change it.
//! Never reads a clock or writes a segment: a commit and a replay after a crash take the same road.

use crate::floors::Floors;
use crate::layout::{self, BodyPlace, RecordPlace, Watermark, digest_of_key};
use crate::segment::{BlockPlace, Entry, SegmentName};
use crate::set::ReplicaSet;
use crate::wanted::Wanted;
use quar_base::action::Action;
use quar_base::arrival::Arrival;
use quar_base::coverage::{Coverage, RecipientSet};
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::{Kind, Record};
use quar_index::{IndexError, Tree, Write};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Everything in memory that is computed from the segments.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) buckets: BTreeMap<Bucket, BucketState>,
    pub(crate) set: ReplicaSet,
    pub(crate) floors: Floors,
    /// Damaged records whose names are on disk.
    pub(crate) saved_broken: BTreeSet<MessageId>,
}

#[derive(Default)]
pub(crate) struct BucketState {
    /// Deletes by the message they are about. Few messages have any.
    pub(crate) deletes: HashMap<RecordKey, Vec<Delete>>,
    /// Bodies that arrivals need and that are not here.
    pub(crate) wanted: Wanted,
    pub(crate) segments: BTreeMap<u32, Counted>,
    /// How often segments began to be replaced or unlinked: whoever reads them meanwhile lists them again.
    pub(crate) replacements: u64,
    pub(crate) records: u64,
    /// Arrivals that are covered and still lie in a segment.
    pub(crate) erasable: BTreeSet<RecordKey>,
    /// Bodies that an erasure under way may leave out: nothing is deduplicated onto them.
    pub(crate) leaving: BTreeSet<BodyId>,
    /// Arrivals that came without their body while it was leaving.
    pub(crate) bereft: Vec<(BodyId, RecordKey)>,
    /// What is in the index and damaged on disk.
    pub(crate) broken: Broken,
}

/// What is damaged on disk: taken again from whoever has it.
#[derive(Default)]
pub(crate) struct Broken {
    pub(crate) records: BTreeSet<RecordKey>,
    /// Index keys.
    pub(crate) bodies: BTreeSet<Vec<u8>>,
}

/// One delete of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) action: RecordKey,
    pub(crate) recipients: RecipientSet,
}

/// What of one segment is in the index.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub(crate) mark: Watermark,
    /// Whether the stored watermark says less.
    pub(crate) is_dirty: bool,
}

impl BucketState {
    /// Whether the message's recipients are all covered.
    pub(crate) fn is_covered(&self, message: &RecordKey) -> bool {
        self.coverage(message).is_complete()
    }

    pub(crate) fn coverage(&self, message: &RecordKey) -> Coverage {
        let mut coverage = Coverage::default();
        for delete in self.deletes.get(message).into_iter().flatten() {
            coverage.add(&delete.recipients);
        }
        coverage
    }

    /// The second at which the message's deletes first cover all of it.
    pub(crate) fn covered_from(&self, message: &RecordKey) -> Option<u32> {
        let mut deletes: Vec<_> = self.deletes.get(message)?.iter().collect();
        deletes.sort_by_key(|delete| delete.action);
        let mut coverage = Coverage::default();
        for delete in deletes {
            coverage.add(&delete.recipients);
            if coverage.is_complete() {
                return Some(delete.action.second);
            }
        }
        None
    }

    /// Takes a delete; `false` when it is known.
    pub(crate) fn add_delete(&mut self, message: RecordKey, delete: Delete) -> bool {
        let deletes = self.deletes.entry(message).or_default();
        let is_new = deletes.iter().all(|known| known.action != delete.action);
        if is_new {
            deletes.push(delete);
        }
        is_new
    }

    /// Only an arrival is deleted: what names another record as its message deletes nothing. Whether it did.
    pub(crate) fn is_no_arrival(&mut self, record: &RecordKey) -> bool {
        self.deletes.remove(record).is_some()
    }

    /// Counts an index key that names a place in a segment.
    pub(crate) fn count(&mut self, segment: u32, key: &[u8]) {
        let counted = self.segments.entry(segment).or_default();
        counted.mark.keys += 1;
        counted.mark.digest = counted.mark.digest.wrapping_add(digest_of_key(key));
        counted.is_dirty = true;
    }

    /// Takes back what [`Self::count`] counted: the key now names another place, or none.
    pub(crate) fn discount(&mut self, segment: u32, key: &[u8]) {
        if let Some(counted) = self.segments.get_mut(&segment) {
            counted.mark.keys = counted.mark.keys.saturating_sub(1);
            counted.mark.digest = counted.mark.digest.wrapping_sub(digest_of_key(key));
            counted.is_dirty = true;
        }
    }
}

/// What the index says of a key in the bucket's tree.
pub(crate) type Lookup<'a> = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, IndexError> + 'a;

/// The entries of one records block, wherever they came from.
pub(crate) struct Block<'a> {
    pub(crate) segment: SegmentName,
    pub(crate) offset: u32,
    /// End of the block, and so of what is in the index once these entries are.
    pub(crate) end: u64,
    pub(crate) entries: &'a [Entry],
}

impl State {
    /// Takes the entries of a durable block: returns what the index must learn.
    ///
    /// Applying a block twice changes nothing more. Later blocks win over earlier places.
    pub(crate) fn apply(
        &mut self,
        block: &Block<'_>,
        index: &Lookup<'_>,
        resend: &dyn Fn(&Record, &Arrival) -> Option<[u8; layout::RESEND_BYTES]>,
    ) -> Result<Vec<Write>, IndexError> {
        let bucket = block.segment.bucket;
        let mut writes = Writes { tree: Tree::Bucket(bucket), list: Vec::new() };
        let here = Here::new(block.entries);
        let mut number = 0;
        for entry in block.entries {
            match entry {
                Entry::Body(body) => {
                    let place = BodyPlace::new(block.segment.number, body);
                    let key = layout::body_key(&body.id);
                    let old = index(&key)?.and_then(|value| BodyPlace::decode(&value));
                    self.move_key(block, &key, old.map(|old| old.block));
                    writes.put(key, place.encode());
                    let state = self.buckets.entry(bucket).or_default();
                    state.broken.bodies.remove(&layout::body_key(&body.id));
                    for arrival in state.wanted.take_body(&body.id) {
                        writes.delete(layout::wanted_key(&body.id, &arrival));
                    }
                }
                Entry::Record(record) => {
                    let offset = block.offset;
                    let place = BlockPlace { segment: block.segment.number, offset };
                    let place = RecordPlace { block: place, number, kind: record.head().kind };
                    number += 1;
                    let key = layout::record_key(&record.key());
                    let old = index(&key)?.and_then(|value| RecordPlace::decode(&value));
                    self.move_key(block, &key, old.map(|old| old.block));
                    writes.put(key, place.encode());
                    let state = self.buckets.entry(bucket).or_default();
                    if state.broken.records.remove(&record.key()) {
                        // Its damaged copy counted as long as the index named it.
                        state.records -= u64::from(old.is_some());
                        self.apply_new(record, &here, index, resend, &mut writes)?;
                    } else if old.is_none() {
                        self.apply_new(record, &here, index, resend, &mut writes)?;
                    }
                }
            }
        }
        let counted = self.buckets.entry(bucket).or_default().segments.entry(block.segment.number);
        let counted = counted.or_default();
        counted.mark.end = counted.mark.end.max(block.end);
        counted.is_dirty = true;
        Ok(writes.list)
    }

    /// Whether the index has anything of a bucket's segments.
    pub(crate) fn is_in_index(&self, bucket: Bucket) -> bool {
        let held = self.buckets.get(&bucket);
        held.is_some_and(|held| held.segments.values().any(|counted| counted.mark.end > 0))
    }

    /// What is known of one bucket, apart from all others.
    pub(crate) fn take_bucket(&mut self, bucket: Bucket) -> Self {
        let buckets = self.buckets.remove(&bucket).map(|held| (bucket, held)).into_iter().collect();
        let (set, floors) = (self.set.take_bucket(bucket), self.floors.clone());
        Self { buckets, set, floors, ..Self::default() }
    }

    /// Takes back what [`Self::take_bucket`] gave.
    pub(crate) fn put_back(&mut self, mut apart: Self) {
        self.buckets.append(&mut apart.buckets);
        self.set.put_back(apart.set);
    }

    /// Segments of the bucket are about to be replaced or unlinked. With no commit under way, before anything changes.
    pub(crate) fn begin_replacing(&mut self, bucket: Bucket) {
        if let Some(held) = self.buckets.get_mut(&bucket) {
            held.replacements += 1;
        }
    }

    /// A segment's watermark vouches for this very file.
    pub(crate) fn name_segment(&mut self, name: &SegmentName, salt: [u8; 8]) {
        let segments = &mut self.buckets.entry(name.bucket).or_default().segments;
        segments.entry(name.number).or_default().mark.salt = salt;
    }

    fn move_key(&mut self, block: &Block<'_>, key: &[u8], old: Option<BlockPlace>) {
        let state = self.buckets.entry(block.segment.bucket).or_default();
        if let Some(old) = old {
            state.discount(old.segment, key);
        }
        state.count(block.segment.number, key);
    }

    /// A record that the index did not have.
    fn apply_new(
        &mut self,
        record: &Record,
        here: &Here,
        index: &Lookup<'_>,
        resend: &dyn Fn(&Record, &Arrival) -> Option<[u8; layout::RESEND_BYTES]>,
        writes: &mut Writes,
    ) -> Result<(), IndexError> {
        let bucket = record.head().bucket;
        let state = self.buckets.entry(bucket).or_default();
        state.records += 1;
        if record.head().kind == Kind::ARRIVAL {
            // The committer lets no covered arrival in; one found in a replay has left since, and
            // one that came with its delete leaves at the delete's second as on every other node.
            if let Some(second) = state.covered_from(&record.key()) {
                state.erasable.insert(record.key());
                self.set.insert(bucket, record.key());
                self.set.remove(bucket, record.key(), second);
                return Ok(());
            }
            if let Ok(arrival) = Arrival::decode(record.payload()) {
                let body = arrival.body();
                // What is damaged the index names still.
                let key = layout::body_key(&body);
                let is_named = !state.broken.bodies.contains(&key) && index(&key)?.is_some();
                let is_here = here.bodies.contains(&body) || is_named;
                if !is_here {
                    state.wanted.insert(body, record.key());
                    writes.put(layout::wanted_key(&body, &record.key()), Vec::new());
                } else if state.leaving.contains(&body) && !here.bodies.contains(&body) {
                    state.bereft.push((body, record.key()));
                }
                if let Some(digest) = resend(record, &arrival) {
                    writes.put(layout::resend_key(&digest), layout::resend_value(&record.key()));
                }
            }
            self.set.insert(bucket, record.key());
            return Ok(());
        }
        if state.is_no_arrival(&record.key()) {
            self.set.stay(bucket, record.key());
        }
        let message = record.message().key;
        let known = match here.records.get(&message) {
            Some(kind) => Some(*kind),
            None => index(&layout::record_key(&message))?
                .and_then(|value| RecordPlace::decode(&value))
                .map(|place| place.kind),
        };
        let deleted = match Action::decode(record) {
            Ok(Some(Action::Deleted(recipients)))
                if known.is_none_or(|kind| kind == Kind::ARRIVAL) =>
            {
                Some(recipients)
            }
            _ => None,
        };
        let (key, value) = layout::action_entry(record);
        writes.put(key, value);
        self.set.insert(bucket, record.key());
        if let Some(recipients) = deleted {
            state.add_delete(message, Delete { action: record.key(), recipients });
            if let Some(second) = state.covered_from(&message) {
                if known.is_some() {
                    state.erasable.insert(message);
                }
                self.leave(bucket, message, second, writes);
            }
        }
        Ok(())
    }

    /// The message is covered: its arrival leaves the set and wants its body no more.
    fn leave(&mut self, bucket: Bucket, message: RecordKey, second: u32, writes: &mut Writes) {
        self.set.remove(bucket, message, second);
        let state = self.buckets.entry(bucket).or_default();
        if let Some(body) = state.wanted.take_arrival(&message) {
            writes.delete(layout::wanted_key(&body, &message));
        }
    }

    /// Arrivals of a bucket whose bytes may go: those that are covered, but for what stays in the set until
    /// the time of a delete that is stamped far ahead.
    pub(crate) fn erasable(&self, bucket: Bucket) -> BTreeSet<RecordKey> {
        let Some(held) = self.buckets.get(&bucket) else { return BTreeSet::new() };
        let stays = |key: &RecordKey| {
            let second = held.covered_from(key);
            second.is_some_and(|second| self.set.leaves_far_ahead(bucket, key, second))
        };
        held.erasable.iter().filter(|key| !stays(key)).copied().collect()
    }

    /// Covered arrivals are in no file any more. The clock may have been set back meanwhile: the set must not
    /// claim one until the time of its delete either.
    pub(crate) fn erased(&mut self, bucket: Bucket, arrivals: &BTreeSet<RecordKey>) {
        let Some(held) = self.buckets.get_mut(&bucket) else { return };
        held.records = held.records.saturating_sub(arrivals.len() as u64);
        for key in arrivals {
            held.erasable.remove(key);
            let second = held.covered_from(key);
            if second.is_some_and(|second| self.set.leaves_far_ahead(bucket, key, second)) {
                self.set.forget(bucket, *key);
            }
        }
    }

    /// Whether a record that is damaged or gone is to be had again: of what was deleted or unlinked nothing
    /// is missed.
    pub(crate) fn is_missed(&self, id: MessageId) -> bool {
        let covered = self.buckets.get(&id.bucket).is_some_and(|b| b.is_covered(&id.key));
        !covered && !self.floors.is_below_kept(id.bucket)
    }

    /// Whether this message may be shown: its day is kept and its deletes do not cover it.
    pub(crate) fn is_visible(&self, id: MessageId) -> bool {
        let covered = self.buckets.get(&id.bucket).is_some_and(|b| b.is_covered(&id.key));
        !covered && !self.floors.is_below(id.bucket)
    }
}

/// What a block itself brings: the index learns of it only when the whole block is applied.
struct Here {
    bodies: BTreeSet<BodyId>,
    records: BTreeMap<RecordKey, Kind>,
}

impl Here {
    fn new(entries: &[Entry]) -> Self {
        let record_key = |entry: &Entry| match entry {
            Entry::Record(record) => Some((record.key(), record.head().kind)),
            Entry::Body(_) => None,
        };
        Self {
            bodies: entries.iter().filter_map(Entry::body_id).collect(),
            records: entries.iter().filter_map(record_key).collect(),
        }
    }
}

/// Changes to one bucket's tree, as they add up.
struct Writes {
    tree: Tree,
    list: Vec<Write>,
}

impl Writes {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.list.push(Write::Put { tree: self.tree, key, value });
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.list.push(Write::Delete { tree: self.tree, key });
    }
}

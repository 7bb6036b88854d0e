//! What is damaged on disk: marked, so that it counts as missing and is taken again from whoever has it.
//! Never forgets a name: a record that is damaged is listed until it is here again or its day leaves.
//!
//! ```text
//! damaged body    ──► wanted again: peers are asked, and the copy that comes is written anew
//! damaged record  ──► leaves the set: the next comparison with a peer brings it; its name is saved
//! damaged delete  ──► holds all the same; made again when no peer gives it (`deletes.rs`)
//! wrong trie      ──► the set is made again from the index
//! damaged header  ──► its segment is read as long as it is kept open: all of that is written anew
//! damaged footer  ──► its pack is in force as long as the node runs: the day is packed again
//! ```
//! The index goes on naming what is damaged until its segment is written anew without it.

mod deletes;
pub(crate) mod saved;

use crate::check::Finding;
use crate::error::ReadError;
use crate::layout::{self, RecordPlace};
use crate::segment::SegmentName;
use crate::store::{Committer, Store};
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::UnixMillis;
use quar_index::{Index, IndexError, Tree, Write};
use std::collections::BTreeSet;

pub(crate) use saved::{FILE, Named, load};

impl Store {
    /// Marks what a check found damaged or forgotten; returns how many records and bodies that are.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read or written.
    pub fn mark_broken(&self, findings: &[Finding]) -> Result<u64, ReadError> {
        let mut marked = 0;
        for finding in findings {
            match finding {
                Finding::LostRecord { record } => {
                    let mut state = self.state_mut();
                    // It may have expired meanwhile.
                    let Some(held) = state.buckets.get_mut(&record.bucket) else { continue };
                    if held.broken.records.insert(record.key) {
                        state.set.forget(record.bucket, record.key);
                        marked += 1;
                    }
                }
                Finding::LostBody { bucket, key, messages } => {
                    let mut state = self.state_mut();
                    let Some(held) = state.buckets.get_mut(bucket) else { continue };
                    marked += u64::from(held.broken.bodies.insert(key.clone()));
                    drop(state);
                    for message in messages {
                        self.want_again(*message)?;
                    }
                }
                Finding::NotWanted { messages } => {
                    for message in messages {
                        marked += u64::from(self.want_again(*message)?);
                    }
                }
                Finding::NotIndexed { bucket, entries, .. } => {
                    marked += self.index_again(*bucket, entries)?;
                    let _committer = self.committer();
                    self.settle_wants(*bucket)?;
                }
                Finding::Trie { bucket } => {
                    self.count_again(*bucket)?;
                    marked += 1;
                }
                _ => {}
            }
        }
        self.save_broken(&self.committer())?;
        self.write_anew(findings);
        self.pack_anew(findings)?;
        Ok(marked)
    }

    /// A pack whose footer or closing block is damaged would be no pack at the next start: its day is due.
    fn pack_anew(&self, findings: &[Finding]) -> Result<(), ReadError> {
        let is_named = |name: &SegmentName| {
            let file = name.path();
            findings.iter().any(|one| matches!(one, Finding::Block { path, .. } if *path == file))
        };
        for pack in self.index.packs() {
            for name in pack.members().filter(is_named) {
                let Some(segment) = self.segment(name)? else { continue };
                if !segment.is_closed()? || (name == pack.name() && segment.footer()?.is_none()) {
                    pack.write_tables_again();
                }
            }
        }
        Ok(())
    }

    /// What is marked and can be read all the same, from a segment that is open and cannot be opened again: the next
    /// commit puts it elsewhere. What is refused waits for a peer's copy, as all that cannot be read.
    fn write_anew(&self, findings: &[Finding]) {
        // Whatever its time: it is here by right.
        const EVER: UnixMillis = UnixMillis(u64::MAX);
        for finding in findings {
            match finding {
                Finding::LostRecord { record } => {
                    if let Ok(Some((record, body))) = self.item(record.bucket, &record.key) {
                        let _ = self.admit_record(record, body, EVER);
                    }
                }
                Finding::LostBody { bucket, messages, .. } => {
                    let mut items = messages.iter().map(|id| self.item(*bucket, &id.key));
                    if let Some(body) = items.find_map(|item| item.ok()??.1) {
                        let _ = self.admit_body(*bucket, body);
                    }
                }
                _ => {}
            }
        }
    }

    /// Marks records that are damaged in these segments, before something durable stands in the segments' place:
    /// whatever becomes of the index then, they are named.
    ///
    /// *Durable when* this returns: their names.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read or the names cannot be saved.
    pub(crate) fn name_damaged(
        &self,
        bucket: Bucket,
        records: &[RecordKey],
        segments: &[u32],
    ) -> Result<(), ReadError> {
        if records.is_empty() {
            return Ok(());
        }
        let turn = self.committer();
        self.mark_damaged(bucket, records, segments)?;
        Ok(self.save_broken(&turn)?)
    }

    /// Damaged records lose their place in the index, as these segments are about to go.
    ///
    /// *Durable when* this returns: their names.
    ///
    /// # Errors
    /// As [`Self::name_damaged`].
    pub(crate) fn leave_out(
        &self,
        bucket: Bucket,
        records: &[RecordKey],
        segments: &[u32],
        turn: &Committer,
    ) -> Result<(), ReadError> {
        let left_out = self.mark_damaged(bucket, records, segments)?;
        self.save_broken(turn)?;
        if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
            held.records = held.records.saturating_sub(left_out);
        }
        Ok(())
    }

    /// Marks these records; returns how many. One that a peer has given again lies elsewhere, in one piece. With no
    /// commit under way.
    fn mark_damaged(
        &self,
        bucket: Bucket,
        records: &[RecordKey],
        segments: &[u32],
    ) -> Result<u64, ReadError> {
        let mut marked = 0;
        for key in records {
            let value = self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?;
            let place = value.and_then(|value| RecordPlace::decode(&value));
            if place.is_some_and(|place| !segments.contains(&place.block.segment)) {
                continue;
            }
            let mut state = self.state_mut();
            state.set.forget(bucket, *key);
            // It may have expired meanwhile.
            if let Some(held) = state.buckets.get_mut(&bucket) {
                held.broken.records.insert(*key);
                marked += 1;
            }
        }
        Ok(marked)
    }

    /// What is whole in a segment and fell out of the index is in it again; returns how much that is.
    /// Of a segment that is gone meanwhile, whoever wrote it anew has decided; while one is written anew nothing is
    /// said.
    fn index_again(
        &self,
        bucket: Bucket,
        entries: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<u64, ReadError> {
        let Some(_alone) = self.rewriting_now() else { return Ok(0) };
        let _committer = self.committer();
        let tree = Tree::Bucket(bucket);
        let pack = self.index.pack(bucket);
        let is_packed = |number: u32| {
            pack.as_ref().is_some_and(|pack| pack.members().any(|name| name.number == number))
        };
        let mut writes = Vec::new();
        let missing: BTreeSet<&Vec<u8>> = entries.iter().map(|(key, _)| key).collect();
        for (key, value) in entries {
            let is_known = self.index.get(tree, key)?.is_some();
            let is_here = match layout::parse_action_key(key) {
                Some((_, action)) => {
                    let key = layout::record_key(&action);
                    missing.contains(&key) || self.index.get(tree, &key)?.is_some()
                }
                None => layout::segment_of(value).is_some_and(|number| {
                    let state = self.state();
                    let held = state.buckets.get(&bucket);
                    held.is_some_and(|held| held.segments.contains_key(&number))
                        && !is_packed(number)
                }),
            };
            if !is_known && is_here {
                writes.push(Write::Put { tree, key: key.clone(), value: value.clone() });
            }
        }
        let count = writes.len() as u64;
        self.index.write(writes)?;
        Ok(count)
    }

    /// The set must not claim what the index has not: peers bring what is missing then.
    fn count_again(&self, bucket: Bucket) -> Result<(), ReadError> {
        let _committer = self.committer();
        let keys = self.indexed_keys(bucket)?;
        self.state_mut().set.reset(bucket, &keys);
        Ok(())
    }

    /// Records that are damaged on disk, by name; of what was deleted nothing is missed.
    #[must_use]
    pub fn broken_records(&self) -> Vec<MessageId> {
        let state = self.state();
        let named = state.buckets.iter().flat_map(|(bucket, held)| {
            let missed = held.broken.records.iter().filter(|key| !held.is_covered(key));
            missed.map(|key| MessageId { bucket: *bucket, key: *key })
        });
        named.collect()
    }

    /// Whether a record is here, and not known to be damaged.
    pub(crate) fn has_whole_record(&self, id: MessageId) -> Result<bool, IndexError> {
        let is_broken = {
            let state = self.state();
            let held = state.buckets.get(&id.bucket);
            held.is_some_and(|held| held.broken.records.contains(&id.key))
        };
        let key = layout::record_key(&id.key);
        Ok(!is_broken && self.index.get(Tree::Bucket(id.bucket), &key)?.is_some())
    }

    /// The body of this message is not here in one piece: it counts as missing from now on.
    /// Returns whether that is news.
    pub(crate) fn want_again(&self, message: MessageId) -> Result<bool, ReadError> {
        let record = match self.record(message.bucket, &message.key) {
            Ok(Some(record)) => record,
            // The record is to come again itself, and wants its body then.
            Ok(None) | Err(ReadError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(arrival) = Arrival::decode(record.payload()) else {
            return Ok(false);
        };
        let body = arrival.body();
        let tree = Tree::Bucket(message.bucket);
        let _committer = self.committer();
        let is_in_index = self.index.get(tree, &layout::body_key(&body))?.is_some();
        {
            let mut state = self.state_mut();
            // A day that a wrong clock hides is shown again when the clock is right.
            if !state.is_missed(message) {
                return Ok(false);
            }
            let held = state.buckets.entry(message.bucket).or_default();
            if held.wanted.contains(&body) && held.wanted.is_needed_by(&message.key) {
                return Ok(false);
            }
            if is_in_index {
                held.broken.bodies.insert(layout::body_key(&body));
            }
            held.wanted.insert(body, message.key);
        }
        let key = layout::wanted_key(&body, &message.key);
        self.index.write(vec![Write::Put { tree, key, value: Vec::new() }])?;
        Ok(true)
    }

    /// Wants of a bucket whose body is here after all, as the index was cut off between two of its writes or had lost
    /// its place, are none; those whose body is damaged stay, and it counts as missing.
    pub(crate) fn settle_wants(&self, bucket: Bucket) -> Result<(), ReadError> {
        let wanted: Vec<BodyId> = {
            let state = self.state();
            let held = state.buckets.get(&bucket);
            held.map(|held| held.wanted.bodies().copied().collect()).unwrap_or_default()
        };
        for body in wanted {
            let key = layout::body_key(&body);
            if self.index.get(Tree::Bucket(bucket), &key)?.is_none() {
                continue;
            }
            let is_whole = self.is_body_whole(bucket, &key);
            let mut state = self.state_mut();
            let held = state.buckets.entry(bucket).or_default();
            if !is_whole {
                held.broken.bodies.insert(key);
                continue;
            }
            let tree = Tree::Bucket(bucket);
            let arrivals = held.wanted.take_body(&body).into_iter();
            let deletes = arrivals
                .map(|arrival| Write::Delete { tree, key: layout::wanted_key(&body, &arrival) });
            self.index.write(deletes.collect())?;
        }
        Ok(())
    }

    /// Whether a body is here, in one piece as far as is known.
    pub(crate) fn is_body_here(&self, bucket: Bucket, body: &BodyId) -> Result<bool, ReadError> {
        let state = self.state();
        let key = layout::body_key(body);
        let is_broken =
            state.buckets.get(&bucket).is_some_and(|held| held.broken.bodies.contains(&key));
        drop(state);
        let value = self.index.get(Tree::Bucket(bucket), &key)?;
        Ok(value.is_some() && !is_broken)
    }
}

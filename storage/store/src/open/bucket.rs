//! One bucket's index tree at opening: what its segments' watermarks vouch for, and nothing else.
//! Never decides what becomes of an index in doubt.
//!
//! ```text
//! record, body    vouched for when its place lies before its segment's watermark
//! action, want    when the record that brought it is; also an action whose record is named among
//!                 the damaged: its segment may be gone, and nothing else says what it said
//! anything else   was never flushed: to be removed, and written again by the replay if a segment
//!                 still bears it out
//! ```
//! An entry of a segment that is gone may have copies in others, which the index no longer names:
//! then the bucket is forgotten, and all of it replayed.

use super::Doubt;
use crate::broken::Named;
use crate::catalog::Catalog;
use crate::error::OpenError;
use crate::layout::{self, BodyPlace, RecordPlace, Watermark};
use crate::pack::Pack;
use crate::segment::{BlockPlace, SegmentName};
use crate::state::{BucketState, Delete, State};
use quar_base::coverage::RecipientSet;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, Tree, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What is to be done in the index, and what it knows that is nowhere.
pub(super) struct LoadedBucket {
    bucket: Bucket,
    /// Records that the index knows from segments that are gone.
    pub(super) gone: Vec<RecordKey>,
    /// Whether the whole tree goes, and all its watermarks.
    is_forgotten: bool,
    /// What stays of a tree that goes.
    kept: Vec<Write>,
    removals: Vec<Write>,
}

impl LoadedBucket {
    /// Changes the index.
    pub(super) fn put_in_force(self, index: &Catalog, state: &State) -> Result<Self, Doubt> {
        let Self { bucket, is_forgotten, ref kept, ref removals, .. } = self;
        if is_forgotten {
            // The watermarks first, and durably: one that outlived the tree would vouch for nothing.
            let held = state.buckets.get(&bucket);
            let numbers = held.into_iter().flat_map(|held| held.segments.keys().copied());
            let forget = numbers.map(|number| Write::Delete {
                tree: Tree::Meta,
                key: layout::watermark_key(&SegmentName { bucket, number }),
            });
            index.write(forget.collect())?;
            index.flush()?;
            index.changes().drop_tree(bucket)?;
            index.write(kept.clone())?;
        }
        if !removals.is_empty() {
            index.write(removals.clone())?;
        }
        Ok(self)
    }
}

/// Reads the tree and holds it against the watermarks; what a pack has stands behind it. `named` are
/// the damaged records. Changes nothing but the bucket's state.
pub(super) fn load(
    index: &Catalog,
    bucket: Bucket,
    logs: &BTreeSet<SegmentName>,
    named: &Named,
    state: &mut State,
) -> Result<LoadedBucket, Doubt> {
    let mut scan = Scan::default();
    let pack = index.pack(bucket);
    let packed = Packed { pack: pack.as_deref(), bucket };
    let held = state.buckets.entry(bucket).or_default();
    let tree = Tree::Bucket(bucket);
    // What a pack replaced has no copies: all of it stands in the pack, but for bodies that were damaged or erased.
    // What came later may count on those.
    let is_gone = |number, key: &[u8]| match pack.as_deref() {
        Some(pack) if pack.has_replaced(number) => {
            key.first() == Some(&layout::BODY) && pack.get(key).is_ok_and(|place| place.is_none())
        }
        _ => !logs.contains(&SegmentName { bucket, number }),
    };
    let mut visit = |key: &[u8], value: &[u8]| scan.visit(key, value, held, &is_gone);
    index.changes().scan(tree, &[], &mut visit)?;
    if let Some(why) = scan.doubt {
        return Err(Doubt::Mismatch(format!("{bucket}: {why}")));
    }
    let unnamed = match named.damage {
        Some(_) => scan.actions_without_record(&packed)?,
        None => BTreeSet::new(),
    };
    let is_named = |key: &RecordKey| {
        unnamed.contains(key) || named.names.contains(&MessageId { bucket, key: *key })
    };
    let gone = std::mem::take(&mut scan.gone_records);
    let is_forgotten = scan.has_gone;
    let mut kept = Vec::new();
    if is_forgotten {
        let mut actions = std::mem::take(&mut scan.actions);
        actions.retain(|(_, action, _)| is_named(action));
        for (message, action, _) in &actions {
            let key = layout::action_key(message, action);
            let value = index.changes().get(tree, &key)?;
            kept.extend(value.map(|value| Write::Put { tree, key, value }));
        }
        scan = Scan { actions, ..Scan::default() };
        held.segments.values_mut().for_each(|counted| counted.mark = Watermark::default());
    }
    scan.compare(bucket, held)?;
    let mut actions = packed.load(held)?;
    actions.extend(scan.actions.iter().map(|(_, action, _)| *action));
    let (keys, removals) = scan.settle(&packed, &is_named, held)?;
    for action in actions {
        held.is_no_arrival(&action);
    }
    for (_, arrival) in held.wanted.pairs() {
        if held.is_covered(&arrival) {
            held.wanted.take_arrival(&arrival);
        }
    }
    let later = keys.iter().map(|key| packed.contains(key).map(|is_packed| u64::from(!is_packed)));
    held.records = packed.records() + later.sum::<Result<u64, Doubt>>()?;
    let covered: Vec<(RecordKey, u32)> = held
        .deletes
        .keys()
        .filter_map(|message| held.covered_from(message).map(|second| (*message, second)))
        .collect();
    for (message, _) in &covered {
        if keys.binary_search(message).is_ok() || packed.contains(message)? {
            held.erasable.insert(*message);
        }
    }
    state.set.load(bucket, pack.as_ref().and_then(|pack| pack.trie()), &keys);
    for (message, second) in covered {
        state.set.remove(bucket, message, second);
    }
    held.broken.records.extend(unnamed);
    Ok(LoadedBucket { bucket, gone, is_forgotten, kept, removals })
}

/// What a bucket's pack says, or nothing.
struct Packed<'a> {
    pack: Option<&'a Pack>,
    bucket: Bucket,
}

impl Packed<'_> {
    fn records(&self) -> u64 {
        self.pack.map_or(0, Pack::records)
    }

    fn contains(&self, key: &RecordKey) -> Result<bool, Doubt> {
        let found = self.pack.map(|pack| pack.get(&layout::record_key(key))).transpose();
        Ok(found.map_err(|error| self.unreadable(error))?.flatten().is_some())
    }

    /// Takes the pack's segments, deletes and wants; returns its actions.
    fn load(&self, held: &mut BucketState) -> Result<Vec<RecordKey>, Doubt> {
        let mut actions = Vec::new();
        let Some(pack) = self.pack else { return Ok(actions) };
        for name in pack.members() {
            held.segments.entry(name.number).or_default();
        }
        self.visit_actions(&mut |message, action, value| {
            actions.push(action);
            if let Ok(Some(recipients)) = layout::parse_action_value(value) {
                held.add_delete(message, Delete { action, recipients });
            }
        })?;
        let wants = pack.visit(layout::WANTED, &mut |key, _| {
            if let Some((body, arrival)) = layout::parse_wanted_key(key) {
                held.wanted.insert(body, arrival);
            }
        });
        wants.map_err(|error| self.unreadable(error))?;
        Ok(actions)
    }

    /// Messages, actions and what these said; also of actions that were damaged when it was made, and are not counted.
    fn visit_actions(
        &self,
        visit: &mut dyn FnMut(RecordKey, RecordKey, &[u8]),
    ) -> Result<(), Doubt> {
        let Some(pack) = self.pack else { return Ok(()) };
        let mut tables = pack.footer().tables.iter();
        if !tables.any(|table| table.first.first() == Some(&layout::ACTION)) {
            return Ok(());
        }
        let visited = pack.visit(layout::ACTION, &mut |key, value| {
            if let Some((message, action)) = layout::parse_action_key(key) {
                visit(message, action, value);
            }
        });
        visited.map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: std::io::Error) -> Doubt {
        let path = crate::segment::bucket_directory(self.bucket);
        Doubt::Fatal(OpenError::Io { path, error })
    }
}

#[derive(Default)]
struct Scan {
    /// Records that are vouched for, in order.
    keys: Vec<RecordKey>,
    /// How many of them are actions.
    action_records: usize,
    actions: Vec<(RecordKey, RecordKey, Option<RecipientSet>)>,
    wanted: Vec<(BodyId, RecordKey)>,
    /// What is vouched for, by segment.
    found: BTreeMap<u32, Watermark>,
    unvouched: Vec<Vec<u8>>,
    unvouched_records: Vec<RecordKey>,
    /// Whether an entry is of a segment that is gone, and the records that are.
    has_gone: bool,
    gone_records: Vec<RecordKey>,
    doubt: Option<&'static str>,
}

impl Scan {
    fn visit(
        &mut self,
        key: &[u8],
        value: &[u8],
        held: &BucketState,
        is_gone: &dyn Fn(u32, &[u8]) -> bool,
    ) -> ControlFlow<()> {
        if self.take(key, value, held, is_gone).is_none() {
            self.doubt = Some("the index holds a damaged entry");
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        held: &BucketState,
        is_gone: &dyn Fn(u32, &[u8]) -> bool,
    ) -> Option<()> {
        match *key.first()? {
            layout::RECORD => {
                let place = RecordPlace::decode(value)?;
                let record = layout::parse_record_key(key)?;
                if is_gone(place.block.segment, key) {
                    self.has_gone = true;
                    self.gone_records.push(record);
                    return Some(());
                }
                if self.vouch(key, place.block, held) {
                    self.keys.push(record);
                    self.action_records += usize::from(place.kind != Kind::ARRIVAL);
                } else {
                    self.unvouched_records.push(record);
                }
            }
            layout::BODY => {
                let place = BodyPlace::decode(value)?.block;
                if is_gone(place.segment, key) {
                    self.has_gone = true;
                    return Some(());
                }
                self.vouch(key, place, held);
            }
            layout::ACTION => {
                let (message, action) = layout::parse_action_key(key)?;
                let recipients = layout::parse_action_value(value).ok()?;
                self.actions.push((message, action, recipients));
            }
            layout::WANTED => self.wanted.push(layout::parse_wanted_key(key)?),
            _ => {}
        }
        Some(())
    }

    fn vouch(&mut self, key: &[u8], place: BlockPlace, held: &BucketState) -> bool {
        let end = held.segments.get(&place.segment).map_or(0, |counted| counted.mark.end);
        if u64::from(place.offset) >= end {
            self.unvouched.push(key.to_vec());
            return false;
        }
        let mark = self.found.entry(place.segment).or_default();
        mark.keys += 1;
        mark.digest = mark.digest.wrapping_add(layout::digest_of_key(key));
        true
    }

    /// Actions of which it is told what they said, and not where they lie: they were damaged when their segment was
    /// written anew.
    fn actions_without_record(&self, packed: &Packed<'_>) -> Result<BTreeSet<RecordKey>, Doubt> {
        let mut actions: BTreeSet<RecordKey> =
            self.actions.iter().map(|(_, action, _)| *action).collect();
        packed.visit_actions(&mut |_, action, _| {
            actions.insert(action);
        })?;
        // Of a segment that is gone some may lie elsewhere: those are found there, and named no longer.
        for list in [&self.keys, &self.unvouched_records] {
            for key in list {
                actions.remove(key);
            }
        }
        let mut without = BTreeSet::new();
        for action in actions {
            if !packed.contains(&action)? {
                without.insert(action);
            }
        }
        Ok(without)
    }

    /// The watermarks must count exactly what was found.
    fn compare(&self, bucket: Bucket, held: &BucketState) -> Result<(), Doubt> {
        for (&number, counted) in &held.segments {
            let found = self.found.get(&number).copied().unwrap_or_default();
            let expected = counted.mark;
            if (found.keys, found.digest) != (expected.keys, expected.digest) {
                let path = SegmentName { bucket, number }.path();
                return Err(Doubt::Mismatch(format!(
                    "the index holds {} keys of {} where its watermark says {}",
                    found.keys,
                    path.display(),
                    expected.keys
                )));
            }
        }
        Ok(())
    }

    /// Takes actions and wants whose records are vouched for, and actions whose records are named as
    /// damaged; returns the records, and the removal of all else.
    fn settle(
        mut self,
        packed: &Packed<'_>,
        is_named: &dyn Fn(&RecordKey) -> bool,
        held: &mut BucketState,
    ) -> Result<(Vec<RecordKey>, Vec<Write>), Doubt> {
        let bucket = packed.bucket;
        let mut actions = 0;
        for (message, action, recipients) in self.actions {
            let is_vouched = self.keys.binary_search(&action).is_ok();
            if !is_vouched && !is_named(&action) {
                self.unvouched.push(layout::action_key(&message, &action));
                continue;
            }
            actions += usize::from(is_vouched);
            if let Some(recipients) = recipients {
                held.add_delete(message, Delete { action, recipients });
            }
        }
        if actions != self.action_records {
            return Err(Doubt::Mismatch(format!(
                "{bucket}: the index holds {actions} of {} actions",
                self.action_records
            )));
        }
        for (body, arrival) in self.wanted {
            if self.keys.binary_search(&arrival).is_ok() || packed.contains(&arrival)? {
                held.wanted.insert(body, arrival);
            } else {
                self.unvouched.push(layout::wanted_key(&body, &arrival));
            }
        }
        let tree = Tree::Bucket(bucket);
        let removals = self.unvouched.into_iter();
        Ok((self.keys, removals.map(|key| Write::Delete { tree, key }).collect()))
    }
}

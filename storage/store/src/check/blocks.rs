//! Reads one segment through: every block is opened, every body decoded and hashed.
//! Never trusts an entry: what counts as whole was seen whole.

use super::{Checked, Finding};
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::pack::group_entries;
use crate::seal::IdKey;
use crate::segment::{
    BlockError, BlockPlace, BodyEntry, Entry, Found, STRIDE_BYTES, Segment, SegmentName,
};
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::RecordKey;
use quar_base::record::{Kind, Record};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

/// What is whole, and where.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) records: BTreeMap<RecordKey, Vec<RecordPlace>>,
    /// By index key: the last place found.
    pub(super) bodies: BTreeMap<Vec<u8>, BodyPlace>,
    /// Earlier places of bodies that lie in more than one.
    copies: HashMap<Vec<u8>, Vec<BodyPlace>>,
    /// Arrivals with the body that each names.
    pub(super) arrivals: BTreeMap<RecordKey, BodyId>,
    /// The index entries of actions.
    pub(super) actions: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What writes left that were cut short: whole bodies at the end of a segment that no record names, and where the
    /// bytes begin that are no block.
    pub(super) cut_short: Vec<BlockPlace>,
}

impl Whole {
    pub(super) fn extend(&mut self, other: Self) {
        for (key, places) in other.records {
            self.records.entry(key).or_default().extend(places);
        }
        for (key, place) in other.bodies {
            self.add_body(key, place);
        }
        for (key, places) in other.copies {
            self.copies.entry(key).or_default().extend(places);
        }
        self.arrivals.extend(other.arrivals);
        self.cut_short.extend(other.cut_short);
        self.actions.extend(other.actions);
    }

    /// Whether a body is whole at this place too.
    pub(super) fn is_elsewhere(&self, key: &[u8], place: &BodyPlace) -> bool {
        self.copies.get(key).is_some_and(|places| places.contains(place))
    }

    /// Every place where a body is whole.
    pub(super) fn places_of(&self, key: &[u8]) -> impl Iterator<Item = &BodyPlace> {
        self.copies.get(key).into_iter().flatten().chain(self.bodies.get(key))
    }

    fn add_body(&mut self, key: Vec<u8>, place: BodyPlace) {
        if let Some(earlier) = self.bodies.insert(key.clone(), place) {
            self.copies.entry(key).or_default().push(earlier);
        }
    }

    fn add_record(&mut self, record: &Record, block: BlockPlace, number: u16) {
        let kind = record.head().kind;
        let place = RecordPlace { block, number, kind };
        self.records.entry(record.key()).or_default().push(place);
        if kind == Kind::ARRIVAL
            && let Ok(arrival) = Arrival::decode(record.payload())
        {
            self.arrivals.insert(record.key(), arrival.body());
        }
        if kind != Kind::ARRIVAL {
            let (key, value) = layout::action_entry(record);
            self.actions.insert(key, value);
        }
    }
}

struct Reading<'a> {
    segment: &'a Segment,
    name: SegmentName,
    id_key: &'a IdKey,
    /// Bodies blocks whose entries have not come yet.
    bodies: HashMap<u32, Vec<u8>>,
    have_entries_come: bool,
    /// Whether bytes that are no block end the file.
    is_torn: bool,
    whole: Whole,
    checked: Checked,
    findings: Vec<Finding>,
}

/// How far a segment is read, and how far it must be whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// What lies before it is in the index, or in a pack.
    pub(super) whole: u64,
    /// What lies behind it may be on its way to the disk.
    pub(super) read: u64,
    /// Whether commits write to it: its end is not cut short.
    pub(super) is_open: bool,
}

/// Reads a segment; `None` when `step` ended it.
pub(super) fn read(
    segment: &Segment,
    name: SegmentName,
    extent: &Extent,
    id_key: &IdKey,
    step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Option<(Whole, Checked, Vec<Finding>)>, ReadError> {
    let mut reading = Reading {
        segment,
        name,
        id_key,
        bodies: HashMap::new(),
        have_entries_come: false,
        is_torn: false,
        whole: Whole::default(),
        checked: Checked { segments: 1, ..Checked::default() },
        findings: Vec::new(),
    };
    let mut at = Segment::FIRST_BLOCK;
    let end = extent.read.min(segment.length()?);
    let mut torn_at = None;
    // In strides, so that whoever keeps to a rate is asked often.
    while at < end {
        let stride = end.min(at + STRIDE_BYTES);
        let reached = segment.scan_until(at, stride, &mut |found| reading.take(found));
        let reached = match reached {
            Ok(reached) => reached,
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(BlockError::Damaged) => break,
        };
        reading.checked.bytes += reached.saturating_sub(at);
        if step(reached.saturating_sub(at)).is_break() {
            return Ok(None);
        }
        if reached < stride {
            let to = extent.whole.min(segment.length()?.max(reached));
            if reached < to {
                reading.findings.push(Finding::Block { path: name.path(), from: reached, to });
            } else if reading.is_torn {
                torn_at = u32::try_from(reached).ok();
            }
            break;
        }
        at = reached;
    }
    if !extent.is_open {
        reading.end(torn_at);
    }
    Ok(Some((reading.whole, reading.checked, reading.findings)))
}

impl Reading<'_> {
    /// What came after the last entries is what a write left that was cut short.
    fn end(&mut self, torn_at: Option<u32>) {
        let bodies = self.bodies.keys().filter(|_| !self.have_entries_come);
        let segment = self.name.number;
        let offsets = bodies.copied().chain(torn_at);
        self.whole.cut_short.extend(offsets.map(|offset| BlockPlace { segment, offset }));
    }

    fn take(&mut self, found: Found) -> Result<(), BlockError> {
        self.checked.blocks += 1;
        match found {
            Found::Bodies { offset, payload } => {
                if std::mem::take(&mut self.have_entries_come) {
                    self.bodies.clear();
                }
                self.bodies.insert(offset, payload);
            }
            Found::Entries { offset, entries, .. } => {
                self.have_entries_come = true;
                let block = BlockPlace { segment: self.name.number, offset };
                let mut number = 0;
                for entry in entries {
                    match entry {
                        Entry::Record(record) => {
                            self.checked.records += 1;
                            self.whole.add_record(&record, block, number);
                            number += 1;
                        }
                        Entry::Body(body) => self.take_body(&body)?,
                    }
                }
            }
            Found::Group { offset, payload, bodies, .. } => {
                for body in group_entries(self.id_key, offset, &payload, &bodies) {
                    self.checked.bodies += 1;
                    let place = BodyPlace::new(self.name.number, &body);
                    self.whole.add_body(layout::body_key(&body.id), place);
                }
            }
            Found::Damaged { from, to } => {
                self.checked.blocks -= 1;
                self.findings.push(Finding::Block { path: self.name.path(), from, to });
            }
            Found::Dictionary { .. } | Found::Directory | Found::Closing => {}
            // Named by the caller, who knows where the end should be.
            Found::TornTail | Found::Unused { .. } => {
                self.checked.blocks -= 1;
                self.is_torn = matches!(found, Found::TornTail);
            }
        }
        Ok(())
    }

    fn take_body(&mut self, entry: &BodyEntry) -> Result<(), BlockError> {
        self.checked.bodies += 1;
        let decoded = match self.bodies.get(&entry.block) {
            Some(payload) => self.segment.body_in(payload, entry),
            None => self.segment.body(entry),
        };
        let is_whole = match decoded {
            Ok(coded) => coded.decode(self.id_key).is_ok(),
            Err(BlockError::Damaged) => false,
            Err(error) => return Err(error),
        };
        if is_whole {
            let place = BodyPlace::new(self.name.number, entry);
            self.whole.add_body(layout::body_key(&entry.id), place);
        } else {
            let (path, block) = (self.name.path(), entry.block);
            self.findings.push(Finding::Body { path, block, body: entry.id });
        }
        Ok(())
    }
}

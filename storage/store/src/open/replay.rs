//! Replay: what a segment holds behind its watermark goes into index and memory again.
//! Never takes a body for present whose block did not survive.

use super::{Doubt, LastCommit, OpenReport, io_at};
use crate::catalog::Catalog;
use crate::error::OpenError;
use crate::layout::{self, Watermark};
use crate::pack::group_entries;
use crate::segment::{
    BlockError, Entry, Found, HeaderError, OpenSegmentError, Segment, SegmentName, SegmentRole,
};
use crate::segments::Segments;
use crate::state::{Block, State};
use crate::store::Settings;
use quar_base::record::Record;
use quar_index::{Index, IndexError, Tree, Write};
use std::collections::BTreeSet;

/// Where a replay writes, and reads what it wrote: the tree of one bucket.
pub(super) trait Target {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    fn write(&mut self, writes: Vec<Write>) -> Result<(), IndexError>;
}

/// The index itself.
pub(super) struct InPlace<'a> {
    pub(super) index: &'a Catalog,
    pub(super) tree: Tree,
}

impl Target for InPlace<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(self.tree, key)
    }

    fn write(&mut self, writes: Vec<Write>) -> Result<(), IndexError> {
        self.index.write(writes)
    }
}

/// A segment that is open and whose watermark is borne out.
pub(super) struct Ready {
    name: SegmentName,
    segment: Segment,
    /// Where the index's knowledge ends.
    start: u64,
    is_closed: bool,
}

/// What a replay of one segment found.
pub(super) struct Read {
    /// What may have to be written again.
    pub(super) last: Option<LastCommit>,
    /// Where the zeros begin that were written ahead.
    unused_from: Option<u64>,
}

impl Ready {
    /// Opens and syncs a segment; `None` when it holds nothing that can be read.
    pub(super) fn find(
        segments: &Segments,
        name: SegmentName,
        state: &mut State,
        report: &mut OpenReport,
    ) -> Result<Option<Self>, Doubt> {
        let path = name.path();
        let counted = &mut state.buckets.entry(name.bucket).or_default().segments;
        let mark = counted.entry(name.number).or_default().mark;
        let segment = match segments.open(name) {
            Ok(segment) => segment,
            Err(error) => return unreadable(name, error, mark, report).map(|()| None),
        };
        segment.sync().map_err(|error| Doubt::Fatal(io_at(&path)(error)))?;
        if mark.end > 0 && mark.salt != segment.salt() {
            let why = format!("the index is of another store's {}", path.display());
            return Err(Doubt::Mismatch(why));
        }
        if !segment.has_end_at(mark.end).map_err(|error| Doubt::Fatal(io_at(&path)(error)))? {
            let why = format!("{} lost what it held before byte {}", path.display(), mark.end);
            return Err(Doubt::Mismatch(why));
        }
        state.name_segment(&name, segment.salt());
        // A rewrite was synced before it was closed: nothing in it needs writing again. Of an unfinished
        // one, and of an unfinished pack, the segments that it was made from are still there.
        let is_closed = match segment.role() {
            SegmentRole::Log => Ok(false),
            SegmentRole::Rewrite => segment.replaced().map(|replaced| replaced.is_some()),
            SegmentRole::Pack => segment.is_closed(),
        };
        let is_closed = is_closed.map_err(|error| Doubt::Fatal(io_at(&path)(error)))?;
        let start = mark.end.max(Segment::FIRST_BLOCK);
        Ok(Some(Self { name, segment, start, is_closed }))
    }

    /// Reads what the segment holds behind its watermark.
    pub(super) fn replay(
        &self,
        settings: &Settings,
        target: &mut dyn Target,
        state: &mut State,
        report: &mut OpenReport,
    ) -> Result<Read, Doubt> {
        let is_log = self.segment.role() == SegmentRole::Log;
        let mut replay = Replay {
            name: self.name,
            target,
            state,
            settings,
            report,
            bodies: BTreeSet::new(),
            dictionaries: BTreeSet::new(),
            start: self.start,
            yields: !is_log && !self.is_closed,
            last: None,
            unused_from: None,
            error: None,
        };
        let scanned = self.segment.scan(self.start, &mut |found| replay.take(found));
        let Replay { last, unused_from, error, .. } = replay;
        if let Some(error) = error {
            return Err(error.into());
        }
        match scanned {
            Err(BlockError::Io(error)) => Err(Doubt::Fatal(io_at(&self.name.path())(error))),
            Ok(_) | Err(BlockError::Damaged) => {
                Ok(Read { last: last.filter(|_| is_log), unused_from })
            }
        }
    }

    pub(super) fn name(&self) -> SegmentName {
        self.name
    }

    /// Gives back room that was written ahead.
    pub(super) fn give_back(&self, read: &Read) {
        if let Some(from) = read.unused_from {
            // Only room is lost if this fails.
            let _ = self.segment.truncate(from);
        }
    }
}

fn unreadable(
    name: SegmentName,
    error: OpenSegmentError,
    mark: Watermark,
    report: &mut OpenReport,
) -> Result<(), Doubt> {
    let path = name.path();
    match error {
        OpenSegmentError::Header(HeaderError::Unfinished) if mark.end > 0 => {
            Err(Doubt::Mismatch(format!("{} lost all it held", path.display())))
        }
        OpenSegmentError::Header(HeaderError::Unfinished) => {
            report.torn_tails += 1;
            Ok(())
        }
        OpenSegmentError::Io(error) => Err(Doubt::Fatal(io_at(&path)(error))),
        OpenSegmentError::Header(HeaderError::Damaged) | OpenSegmentError::Misplaced => {
            report.damaged.push(format!("{}: {error}", path.display()));
            Ok(())
        }
        // Of these nothing is damaged: it is this program, or this node, that is the wrong one.
        OpenSegmentError::Header(HeaderError::Version(_))
        | OpenSegmentError::Key(_)
        | OpenSegmentError::Cluster(_) => {
            let reason = error.to_string();
            Err(Doubt::Fatal(OpenError::Segment { path, reason }))
        }
    }
}

/// Takes what a scan finds behind a watermark.
struct Replay<'a> {
    name: SegmentName,
    target: &'a mut dyn Target,
    state: &'a mut State,
    settings: &'a Settings,
    report: &'a mut OpenReport,
    /// Bodies blocks found whole behind the watermark.
    bodies: BTreeSet<u32>,
    /// Dictionaries of which a copy was found whole behind the watermark.
    dictionaries: BTreeSet<u32>,
    start: u64,
    /// Whether what the index knows from elsewhere is left as it is.
    yields: bool,
    last: Option<LastCommit>,
    /// Where the zeros begin that were written ahead.
    unused_from: Option<u64>,
    error: Option<IndexError>,
}

impl Replay<'_> {
    fn take(&mut self, found: Found) -> Result<(), BlockError> {
        match found {
            Found::Bodies { offset, .. } => {
                self.bodies.insert(offset);
            }
            Found::Dictionary { of } => {
                self.dictionaries.insert(of);
            }
            Found::Damaged { from, to } => {
                let path = self.name.path();
                self.report.damaged.push(format!("{}: bytes {from} to {to}", path.display()));
            }
            Found::TornTail => self.report.torn_tails += 1,
            Found::Unused { from } => self.unused_from = Some(from),
            Found::Closing | Found::Directory => {}
            Found::Group { offset, end, payload, bodies } => {
                let bodies = group_entries(&self.settings.id_key, offset, &payload, &bodies);
                self.bodies.insert(offset);
                self.take_entries(offset, end, 0, bodies.into_iter().map(Entry::Body).collect());
            }
            Found::Entries { offset, end, commit, entries } => {
                self.take_entries(offset, end, commit, entries);
            }
        }
        Ok(())
    }

    fn take_entries(&mut self, offset: u32, end: u64, commit: u64, entries: Vec<Entry>) {
        // A body whose block or dictionary did not survive is not here, whatever its entry says.
        let is_whole = |offset: u32, found: &BTreeSet<u32>| {
            u64::from(offset) < self.start || found.contains(&offset)
        };
        let survives = |entry: &Entry| match entry {
            Entry::Body(body) => {
                is_whole(body.block, &self.bodies) && is_whole(body.dictionary, &self.dictionaries)
            }
            Entry::Record(_) => true,
        };
        let is_new = |entry: &Entry| !self.yields || !self.is_known(entry);
        let entries: Vec<Entry> = entries.into_iter().filter(survives).filter(is_new).collect();
        let block = Block { segment: self.name, offset, end, entries: &entries };
        let settings = self.settings;
        let resend = |record: &Record, arrival: &quar_base::arrival::Arrival| {
            crate::commit::resend_digest(settings, record, arrival)
        };
        let applied = self.state.apply(&block, &|key| self.target.get(key), &resend);
        if let Err(error) = applied.and_then(|writes| self.target.write(writes)) {
            self.error.get_or_insert(error);
        }
        let last = self.last.get_or_insert_with(|| (commit, Vec::new(), Vec::new()));
        if last.0 != commit {
            *last = (commit, Vec::new(), Vec::new());
        }
        for entry in entries {
            match entry {
                Entry::Record(record) => {
                    self.report.replayed_records += 1;
                    last.1.push(record);
                }
                Entry::Body(body) => last.2.push(body),
            }
        }
    }

    /// Whether the index has the item from another place; an index that cannot be read says no.
    fn is_known(&self, entry: &Entry) -> bool {
        let key = match entry {
            Entry::Body(body) => layout::body_key(&body.id),
            Entry::Record(record) => layout::record_key(&record.key()),
        };
        matches!(self.target.get(&key), Ok(Some(_)))
    }
}

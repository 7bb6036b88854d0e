//! Replay: what a segment holds behind its watermark goes into index and memory again.
//! Never takes a body for present whose block did not survive.

use super::{LastCommit, OpenReport};
use crate::catalog::Catalog;
use crate::layout;
use crate::pack::group_entries;
use crate::segment::{BlockError, Entry, Found, SegmentName};
use crate::state::{Block, State};
use crate::store::Settings;
use quar_base::record::Record;
use quar_index::{Index, IndexError, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Takes what a scan finds behind a watermark.
pub(super) struct Replay<'a> {
    pub(super) name: SegmentName,
    pub(super) index: &'a Arc<Catalog>,
    pub(super) state: &'a mut State,
    pub(super) settings: &'a Settings,
    pub(super) report: &'a mut OpenReport,
    /// Bodies blocks found whole behind the watermark.
    pub(super) bodies: BTreeSet<u32>,
    /// Dictionaries of which a copy was found whole behind the watermark.
    pub(super) dictionaries: BTreeSet<u32>,
    pub(super) start: u64,
    /// Whether what the index knows from elsewhere is left as it is.
    pub(super) yields: bool,
    pub(super) last: Option<LastCommit>,
    /// Where the zeros begin that were written ahead.
    pub(super) unused_from: Option<u64>,
    pub(super) error: Option<IndexError>,
}

impl Replay<'_> {
    pub(super) fn take(&mut self, found: Found) -> Result<(), BlockError> {
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
        let applied = self.state.apply(&block, &**self.index, &resend);
        if let Err(error) = applied.and_then(|writes| self.index.write(writes)) {
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
        matches!(self.index.get(Tree::Bucket(self.name.bucket), &key), Ok(Some(_)))
    }
}

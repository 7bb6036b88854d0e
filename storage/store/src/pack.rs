//! Packs: a closed day written anew in its final form, once, and again after it changed much.
//! Never leaves a moment at which a kept message is only in an unsynced file.
//!
//! ```text
//! committer locked   what was deleted is marked; the open segment is ended
//! unlocked           bodies: similar ones together, in groups          ─► pack segments, each synced
//!                    records in order, tables, trie parts              ─► the last of them, synced
//!                    footer: members, and the segments they replace    ─► synced: in force on disk
//! committer locked   in force in memory; index entries and files of the replaced segments go
//! ```
//! Before the footer is durable a crash leaves the old segments in force, after it the pack: opening
//! unlinks the others. Segments of bodies that were finished before a crash or an interruption are taken up by the next
//! attempt.

mod footer;
mod force;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod job;
mod kept;
mod loaded;
mod recover;
mod similar;
mod source;
mod table;
mod write;

pub(crate) use footer::{Footer, FooterError};
pub(crate) use loaded::{Pack, TablePage};
pub(crate) use recover::group_entries;

use crate::error::ReadError;
use crate::store::Store;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::ops::ControlFlow;

/// A day is packed when so many whole days lie between it and today: later, mail servers repeat
/// nothing of it any more.
const DAYS_BEFORE_PACKING: u32 = 2;
/// A packed day is packed again when this share of it came later, in percent, or tables are damaged.
const CHANGED_PERCENT: u64 = 10;

/// How far a packing has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackProgress {
    /// Bodies written so far.
    pub bodies_done: u64,
    /// Bodies to write in all.
    pub bodies_total: u64,
    /// Bytes read and written since the last report, for whoever keeps to a rate.
    pub bytes: u64,
}

/// What a packing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Records in the pack.
    pub records: u64,
    /// Bodies in the pack.
    pub bodies: u64,
    /// Bytes of the pack's files.
    pub bytes: u64,
    /// Messages whose bytes are gone.
    pub erased: u64,
}

impl Store {
    /// Days that are closed and not packed, or packed and much changed since; the oldest first.
    /// Those for which there is no room are left out until there is; what an interrupted packing left of them goes.
    #[must_use]
    pub fn packable(&self, today: Day) -> Vec<Bucket> {
        let state = self.state();
        let is_closed = |bucket: &Bucket| bucket.day.0 + DAYS_BEFORE_PACKING <= today.0;
        let buckets = state.buckets.iter().filter(|(bucket, held)| {
            is_closed(bucket) && !held.segments.is_empty() && !state.floors.is_below(**bucket)
        });
        let is_due = |bucket: Bucket, records: u64| match self.index.pack(bucket) {
            None => records > 0,
            Some(pack) => {
                let later = records.saturating_sub(pack.records());
                pack.has_damaged_tables() || later * 100 >= records.max(1) * CHANGED_PERCENT
            }
        };
        let due = buckets.filter(|(bucket, held)| is_due(**bucket, held.records));
        let mut due: Vec<Bucket> = due.map(|(bucket, _)| *bucket).collect();
        drop(state);
        due.retain(|bucket| {
            let has_room = self.has_room_to_pack(*bucket);
            if !has_room {
                let _alone = self.rewriting();
                self.take_back_leftovers(*bucket);
            }
            has_room
        });
        due.sort_by_key(|bucket| (bucket.day, bucket.class));
        due
    }

    /// Writes a bucket anew as a pack: similar bodies compressed together, without the deleted, with
    /// its index entries and the parts of its trie in tables. Commits go on meanwhile.
    ///
    /// `step` is told how far it has come and says whether to go on; `None` when it said no, and
    /// then nothing has changed but that the bodies written so far need not be written again.
    ///
    /// *Durable when* this returns: the pack. One packing or erasure runs at a time.
    ///
    /// # Errors
    /// [`ReadError`] when a segment cannot be read or written; then nothing has changed, and packing
    /// again later is safe.
    pub fn pack(
        &self,
        bucket: Bucket,
        step: &mut dyn FnMut(PackProgress) -> ControlFlow<()>,
    ) -> Result<Option<Packed>, ReadError> {
        let _alone = self.rewriting();
        self.pack_alone(bucket, step)
    }

    /// Buckets that are packed, with the records and bodies in their packs.
    #[must_use]
    pub fn packed(&self) -> Vec<(Bucket, u64, u64)> {
        let packs = self.index.packs();
        packs
            .iter()
            .map(|pack| (pack.bucket(), pack.records(), pack.footer().counts.bodies))
            .collect()
    }
}

#[cfg(test)]
mod tests;

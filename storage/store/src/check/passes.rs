//! Reads a bucket's segments while they may be replaced: what goes meanwhile is forgotten, what comes is read too.
//! Never keeps an erasure or a packing waiting.
//!
//! ```text
//! listed with no commit under way ─► each read through ─► replaced meanwhile? listed again, what is new is read
//! ```

use super::blocks::{self, Extent, Whole};
use super::{Checked, Contents, Finding};
use crate::error::ReadError;
use crate::segment::{SegmentName, bucket_directory};
use crate::store::{Committer, Store};
use quar_base::key::Bucket;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

/// What there was to read when it was last listed.
#[derive(Default)]
pub(super) struct Pass {
    /// How often the bucket's segments had been replaced until then; `None` when there is no such bucket.
    replacements: Option<u64>,
    segments: BTreeMap<u32, Listed>,
}

impl Pass {
    /// Whether there was such a bucket: one that has expired is gone with all that could be wrong in it.
    pub(super) fn is_of_a_bucket(&self) -> bool {
        self.replacements.is_some()
    }
}

/// A segment that is to be read, and how far.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Listed {
    extent: Extent,
    /// What the index knows of it ends here.
    end: u64,
    is_packed: bool,
    /// As far as it is known, what tells the file from another of its number.
    salt: [u8; 8],
}

/// What was read of one segment.
struct Piece {
    listed: Listed,
    whole: Whole,
    checked: Checked,
    findings: Vec<Finding>,
    /// Whether it counts as read: one that is damaged does, and nothing of it is whole.
    is_read: bool,
}

/// Why a segment gave nothing to count.
enum Outcome {
    Read(Box<Piece>),
    /// Nothing was ever whole there.
    Absent,
    /// It was replaced while it was about to be read.
    Replaced,
    /// The caller wants no more.
    Broken,
}

impl Store {
    /// Segments as far as they are in the index.
    pub(super) fn indexed_segments(&self, bucket: Bucket) -> Pass {
        let turn = self.committer();
        self.list_segments(bucket, &turn)
    }

    /// Every file of the bucket to its end, whatever the index knows of it.
    pub(super) fn all_segments(&self, bucket: Bucket) -> io::Result<Pass> {
        let turn = self.committer();
        let mut pass = self.list_segments(bucket, &turn);
        let files = match self.disk.list(&bucket_directory(bucket)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        for number in files.iter().filter_map(|file| SegmentName::number_of(&file.name)) {
            let listed = pass.segments.entry(number).or_insert(Listed {
                extent: Extent { whole: 0, read: u64::MAX, is_open: false },
                end: 0,
                is_packed: false,
                salt: [0; 8],
            });
            listed.extent.read = u64::MAX;
        }
        Ok(pass)
    }

    fn list_segments(&self, bucket: Bucket, turn: &Committer) -> Pass {
        let open = turn.writers.get(&bucket).map(|writer| writer.name().number);
        let pack = self.index.pack(bucket);
        let members: BTreeSet<u32> =
            pack.iter().flat_map(|pack| pack.members().map(|name| name.number)).collect();
        let state = self.state();
        let Some(held) = state.buckets.get(&bucket) else { return Pass::default() };
        let listed = held.segments.iter().map(|(&number, counted)| {
            let (end, salt) = (counted.mark.end, counted.mark.salt);
            let is_packed = members.contains(&number);
            // What is being written is on its way to the disk: a commit behind the end, or all of a rewrite.
            let is_written = !is_packed && (open == Some(number) || end == 0);
            let extent = Extent {
                whole: if is_packed { u64::MAX } else { end },
                read: if is_written { end } else { u64::MAX },
                is_open: open == Some(number),
            };
            (number, Listed { extent, end, is_packed, salt })
        });
        Pass { replacements: Some(held.replacements), segments: listed.collect() }
    }

    /// Whether what was listed is still what there is.
    pub(super) fn is_current(&self, bucket: Bucket, pass: &Pass) -> bool {
        let state = self.state();
        state.buckets.get(&bucket).map(|held| held.replacements) == pass.replacements
    }

    /// Reads all segments that `listing` names; `None` when `step` ended it.
    pub(super) fn read_through(
        &self,
        bucket: Bucket,
        listing: &dyn Fn() -> Result<Pass, ReadError>,
        step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Option<(Contents, Pass)>, ReadError> {
        let mut pieces: BTreeMap<u32, Piece> = BTreeMap::new();
        loop {
            let pass = listing()?;
            pieces.retain(|number, piece| pass.segments.get(number) == Some(&piece.listed));
            for (&number, listed) in &pass.segments {
                if pieces.contains_key(&number) {
                    continue;
                }
                let name = SegmentName { bucket, number };
                match self.read_one(name, *listed, &pass, step)? {
                    Outcome::Read(piece) => drop(pieces.insert(number, *piece)),
                    Outcome::Absent => {}
                    Outcome::Replaced => break,
                    Outcome::Broken => return Ok(None),
                }
            }
            if self.is_current(bucket, &pass) {
                return Ok(Some((Contents::of(pieces), pass)));
            }
        }
    }

    fn read_one(
        &self,
        name: SegmentName,
        listed: Listed,
        pass: &Pass,
        step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Outcome, ReadError> {
        let (whole, checked, findings) = (Whole::default(), Checked::default(), Vec::new());
        let mut piece = Piece { listed, whole, checked, findings, is_read: true };
        let segment = match self.segments.open(name) {
            Ok(segment) => segment,
            Err(_) if !self.is_current(name.bucket, pass) => return Ok(Outcome::Replaced),
            // A commit that failed took the number and left nothing, or a file without a header.
            Err(error) if listed.end == 0 && error.is_absence() && !listed.is_packed => {
                return Ok(Outcome::Absent);
            }
            Err(error) => {
                // Nothing of it is whole: what the index has there is lost.
                piece.is_read = error.is_damage();
                piece.findings.push(Finding::Segment { path: name.path(), why: error.to_string() });
                return Ok(Outcome::Read(Box::new(piece)));
            }
        };
        let read = blocks::read(&segment, name, &listed.extent, &self.settings.id_key, step)?;
        let Some((whole, checked, findings)) = read else { return Ok(Outcome::Broken) };
        Ok(Outcome::Read(Box::new(Piece { whole, checked, findings, ..piece })))
    }
}

impl Contents {
    fn of(pieces: BTreeMap<u32, Piece>) -> Self {
        let mut contents = Self::default();
        for (number, piece) in pieces {
            contents.whole.extend(piece.whole);
            contents.checked += piece.checked;
            contents.findings.extend(piece.findings);
            if piece.is_read {
                contents.segments.insert(number);
            }
        }
        contents
    }
}

//! What one commit writes to one bucket, and what of it can wait when the disk is full.
//! Never changes an outcome to a better one.

use super::Outcome;
use crate::admit::{Source, Ticket};
use crate::codec::CodedBody;
use crate::error::Refusal;
use crate::segment::{Drafted, RecordsBlock, SegmentWriter};
use quar_base::record::Record;
use std::io;

/// What of a batch is written on a full disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// All of it: an action, or a record without a body.
    Record,
    /// The record: a peer has the body and keeps it.
    WithBody,
    /// Nothing: whoever sent it comes again.
    Mail,
}

impl Part {
    pub(super) fn of(source: Source) -> Self {
        match source {
            Source::Own | Source::Held => Self::Mail,
            Source::Peer { has_body: true } => Self::WithBody,
            Source::Peer { has_body: false } => Self::Record,
        }
    }
}

/// *Holds*: every record and body belongs to an outcome that waits.
#[derive(Default)]
pub(super) struct Batch {
    records: Vec<(Record, Part)>,
    pub(super) bodies: Vec<CodedBody>,
    /// Those of them that are sealed already.
    drafted: Option<Drafted>,
    /// Positions of the outcomes that depend on this batch.
    waiting: Vec<(usize, Part)>,
    /// Whether it was written before and is written again: then all of it is.
    is_again: bool,
    /// Whether mail was left for want of room.
    is_cut: bool,
}

impl Batch {
    pub(super) fn add(&mut self, record: Record, part: Part) {
        self.records.push((record, part));
    }

    /// An outcome that stands or falls with this batch.
    pub(super) fn wait(&mut self, at: usize, part: Part) {
        self.waiting.push((at, part));
    }

    pub(super) fn add_again(&mut self, at: usize, records: Vec<Record>, bodies: Vec<CodedBody>) {
        self.records.extend(records.into_iter().map(|record| (record, Part::Record)));
        self.bodies.extend(bodies);
        self.wait(at, Part::Record);
        self.is_again = true;
    }

    /// Seals those bodies that are not sealed yet.
    pub(super) fn draft(&mut self, writer: &mut SegmentWriter, commit: u64) -> io::Result<()> {
        writer.draft(&mut self.drafted, commit, &self.bodies)
    }

    /// Writes all of it.
    pub(super) fn write(
        &mut self,
        writer: &mut SegmentWriter,
        commit: u64,
    ) -> io::Result<Vec<RecordsBlock>> {
        self.draft(writer, commit)?;
        let records: Vec<&Record> = self.records.iter().map(|(record, _)| record).collect();
        writer.append_drafted(self.drafted.take(), commit, &records)
    }

    /// Whether nothing of it was left.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// Refuses the mail in it; whether anything is left.
    pub(super) fn leave_mail(&mut self, outcomes: &mut [(Ticket, Outcome)]) -> bool {
        if self.is_again {
            return true;
        }
        self.bodies.clear();
        self.drafted = None;
        self.is_cut = true;
        self.records.retain(|(_, part)| *part != Part::Mail);
        self.waiting.retain(|(at, part)| {
            match part {
                Part::Record => {}
                Part::WithBody => outcomes[*at].1 = Outcome::WithoutBody,
                Part::Mail => outcomes[*at].1 = Outcome::Refused(Refusal::Full),
            }
            *part != Part::Mail
        });
        !self.records.is_empty()
    }

    /// Refuses all that is left in it.
    pub(super) fn refuse(&self, outcomes: &mut [(Ticket, Outcome)], refusal: &Refusal) {
        for (at, _) in &self.waiting {
            outcomes[*at].1 = Outcome::Refused(refusal.clone());
        }
    }
}

//! The committer: everything that waits becomes durable together, then visible, then acknowledged.
//! Never reports an item as stored before the fdatasync of the segment that holds it has returned.
//!
//! ```text
//! take all that waits                                       after a turn for those who add to it
//!   └─ in order: known? covered? body here already?          decided here, nowhere else
//!        └─ per bucket: bodies sealed                        the commit before may still be synced
//!             ╞═ the commit before has landed; what came meanwhile joins
//!             └─ per bucket: bodies block(s) + records block(s), one write
//!                  └─ one fdatasync per touched segment      the next commit may be drafted
//!                       └─ index and set, the same way as a replay
//!                            └─ outcomes
//! ```

mod batch;
mod plan;
mod resend;

use self::batch::Batch;
pub(crate) use self::plan::Coming;
use self::plan::Plan;
pub(crate) use self::resend::resend_digest;
use crate::admit::Ticket;
use crate::codec::CodedBody;
use crate::disk::File;
use crate::error::Refusal;
use crate::reserve::HasNoRoom;
use crate::segment::{Maker, RecordsBlock, SegmentName, SegmentRole, SegmentWriter};
use crate::state::Block;
use crate::store::{Committer, Failure, Store};
use quar_base::arrival::Arrival;
use quar_base::key::{Bucket, MessageId};
use quar_base::limits::SEGMENT_BYTES_MAX;
use quar_base::record::Record;
use quar_index::{Index, IndexError, Tree, Write};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Segments that are written to between two commits: a node's own mail is of some classes and two or three days.
pub(crate) const WRITERS_MAX: usize = 64;
/// Items with which a commit begins at once.
const ENOUGH: usize = 32;

/// What became of one admitted item.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is durable here.
    Stored(Box<Stored>),
    /// It was durable here before; for a message that was sent again, under this id.
    AlreadyHere(Option<MessageId>),
    /// The record is durable here; for the body that came with it there was no room, so it is wanted.
    WithoutBody,
    /// It was not taken.
    Refused(Refusal),
}

/// What was made durable.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The bucket.
    pub bucket: Bucket,
    /// The record; `None` for a body alone.
    pub record: Option<Record>,
    /// The body that came with it.
    pub body: Option<CodedBody>,
}

impl Store {
    /// Whether anything waits for a commit.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Makes everything that waits durable, or says why not.
    ///
    /// *Durable when* this returns: an item whose outcome is [`Outcome::Stored`] or
    /// [`Outcome::AlreadyHere`] survives a power cut. Two threads may commit: one drafts while the other
    /// syncs. Commits land in the order in which they were drafted.
    pub fn commit(&self) -> Vec<(Ticket, Outcome)> {
        self.gather();
        let mut committer = self.drafting();
        committer.end_the_oldest();
        let number = committer.next_commit;
        committer.next_commit += 1;
        let before = std::mem::take(&mut committer.coming);
        let mut plan = Plan { before, ..Plan::default() };
        self.take_pending(&mut committer, number, &mut plan);
        let _landing = self.landing();
        self.take_pending(&mut committer, number, &mut plan);
        let Plan { batches, mut outcomes, coming, .. } = plan;
        if self.has_failed() {
            // What this commit found to be coming did not come.
            outcomes
                .iter_mut()
                .for_each(|(_, outcome)| *outcome = Outcome::Refused(Refusal::Failed));
            return outcomes;
        }
        let planned = batches.len();
        let written = self.write_all(&mut committer, number, batches, &mut outcomes);
        if written.iter().filter(|(_, batch)| batch.is_whole()).count() == planned {
            committer.coming = coming;
            drop(committer);
            self.land(&written, &mut outcomes);
        } else {
            // Of what was planned not all is coming: nobody may build on it.
            self.land(&written, &mut outcomes);
            drop(committer);
        }
        outcomes
    }

    /// Lets whoever prepares something on this processor add it first, as long as each turn brings
    /// more: many small commits cost more than they save. Where nobody does, no time passes.
    fn gather(&self) {
        let mut before = 0;
        loop {
            let waiting = self.pending().len();
            if waiting <= before || waiting >= ENOUGH {
                return;
            }
            before = waiting;
            std::thread::yield_now();
        }
    }

    /// Plans all that waits, and seals its bodies as far as there is a segment for them.
    fn take_pending(&self, committer: &mut Committer, number: u64, plan: &mut Plan) {
        let submissions = std::mem::take(&mut *self.pending());
        for submission in submissions {
            let ticket = submission.ticket;
            let planned = match self.has_failed() {
                false => self.plan(plan, submission),
                true => Ok(Outcome::Refused(Refusal::Failed)),
            };
            let outcome = planned.unwrap_or_else(|error| {
                self.fail("reading the index", &error);
                Outcome::Refused(Refusal::Failed)
            });
            plan.outcomes.push((ticket, outcome));
        }
        for (bucket, batch) in &mut plan.batches {
            let writer = committer.writers.get_mut(bucket).filter(|writer| !self.is_over(writer));
            if writer.is_some_and(|writer| batch.draft(writer, number).is_err()) {
                // It is tried again in another segment, and then said.
                committer.writers.remove(bucket);
            }
        }
    }

    /// Writes the batches; the bytes are not durable yet.
    fn write_all(
        &self,
        committer: &mut Committer,
        number: u64,
        batches: BTreeMap<Bucket, Batch>,
        outcomes: &mut [(Ticket, Outcome)],
    ) -> Vec<(Written, Batch)> {
        let mut written = Vec::new();
        self.reserve.make_room();
        for (bucket, mut batch) in batches {
            let mut result = self.write(committer, bucket, number, &mut batch);
            if let Err(Refusal::Full) = result {
                // Mail waits for another day; the rest has the reserve.
                self.reserve.give_up();
                if batch.leave_mail(outcomes) {
                    result = self.write(committer, bucket, number, &mut batch);
                }
            }
            match result {
                Ok(done) => written.push((done, batch)),
                Err(refusal) => batch.refuse(outcomes, &refusal),
            }
        }
        written
    }

    /// Syncs what was written, and publishes it.
    fn land(&self, written: &[(Written, Batch)], outcomes: &mut [(Ticket, Outcome)]) {
        for (done, batch) in written {
            match done.file.sync_data() {
                Ok(()) if !self.has_failed() => self.publish(done),
                Ok(()) => batch.refuse(outcomes, &Refusal::Failed),
                Err(error) => {
                    self.fail("fdatasync of a segment", &error);
                    batch.refuse(outcomes, &Refusal::Failed);
                }
            }
        }
    }

    /// After this the store takes nothing more: what the kernel did with unsynced pages is unknown.
    pub(crate) fn fail(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let raw_os_error = error.downcast_ref().and_then(io::Error::raw_os_error);
        let _first_stays = self.failure.set(Failure { raw_os_error });
        tracing::error!(%error, "{what} failed; the store takes nothing until the daemon is restarted");
    }

    /// Writes one bucket's batch; the bytes are not durable yet.
    fn write(
        &self,
        committer: &mut Committer,
        bucket: Bucket,
        number: u64,
        batch: &mut Batch,
    ) -> Result<Written, Refusal> {
        let Committer { writers, rng, .. } = committer;
        if writers.get(&bucket).is_none_or(|writer| self.is_over(writer)) {
            let name = SegmentName { bucket, number: self.next_segment_number(bucket) };
            let key = self.settings.keys.first().expect("a store is opened with a key");
            let maker = Maker { cluster: self.settings.cluster, member: self.settings.member, key };
            match SegmentWriter::create(&*self.disk, name, SegmentRole::Log, &maker, rng) {
                Ok(writer) => {
                    self.state_mut().name_segment(&name, writer.salt());
                    writers.insert(bucket, writer)
                }
                Err(error) => {
                    self.forget_unmade(name);
                    return Err(self.refusal_of(&error));
                }
            };
        }
        let writer = writers.get_mut(&bucket).expect("it was just made");
        let (segment, file) = (writer.name(), writer.file());
        match batch.write(writer, number) {
            Ok(blocks) => Ok(Written { segment, file, end: writer.end(), blocks }),
            Err(error) => {
                // Its tail is undefined: the next commit starts another segment.
                writers.remove(&bucket);
                Err(self.refusal_of(&error))
            }
        }
    }

    /// Whether nothing more goes into a segment.
    fn is_over(&self, writer: &SegmentWriter) -> bool {
        writer.end() >= SEGMENT_BYTES_MAX || self.segments.is_unreadable(&writer.name())
    }

    /// A half-made file keeps its number taken; one that is not there does not.
    pub(crate) fn forget_unmade(&self, name: SegmentName) {
        let missing = self.disk.open(&name.path()).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        if missing && let Some(held) = self.state_mut().buckets.get_mut(&name.bucket) {
            held.segments.remove(&name.number);
        }
    }

    /// As [`Self::next_segment_number`], to write a day anew.
    ///
    /// # Errors
    /// Not found: the day expired meanwhile.
    pub(crate) fn next_rewrite_number(&self, bucket: Bucket) -> io::Result<u32> {
        match self.is_here(bucket) {
            true => Ok(self.next_segment_number(bucket)),
            false => Err(io::Error::new(ErrorKind::NotFound, format!("{bucket} has expired"))),
        }
    }

    pub(crate) fn next_segment_number(&self, bucket: Bucket) -> u32 {
        let mut state = self.state_mut();
        let segments = &mut state.buckets.entry(bucket).or_default().segments;
        let number = segments.last_key_value().map_or(1, |(number, _)| number + 1);
        segments.entry(number).or_default();
        self.segments.make_way(&SegmentName { bucket, number });
        number
    }

    fn refusal_of(&self, error: &io::Error) -> Refusal {
        if error.has_no_room() {
            tracing::warn!(%error, "the disk is full; refusing");
            return Refusal::Full;
        }
        self.fail("writing a segment", error);
        Refusal::Failed
    }

    /// Durable: index and set learn of it.
    fn publish(&self, written: &Written) {
        for block in &written.blocks {
            let applied = self.apply(&Block {
                segment: written.segment,
                offset: block.offset,
                end: written.end,
                entries: &block.entries,
            });
            if let Err(error) = applied {
                // The segments have it; opening again replays what the index lacks.
                self.fail("updating the index", &error);
            }
        }
    }

    pub(crate) fn apply(&self, block: &Block<'_>) -> Result<(), IndexError> {
        let resend =
            |record: &Record, arrival: &Arrival| resend_digest(&self.settings, record, arrival);
        let tree = Tree::Bucket(block.segment.bucket);
        let index = |key: &[u8]| self.index.get(tree, key);
        let writes: Vec<Write> = self.state_mut().apply(block, &index, &resend)?;
        self.index.write(writes)
    }
}

impl Committer {
    /// Ends segments of the oldest days where too many are written to: each is an open file, and whoever says of which
    /// days its records are says how many.
    fn end_the_oldest(&mut self) {
        while self.writers.len() > WRITERS_MAX {
            let Some(oldest) = self.writers.keys().copied().min_by_key(|bucket| bucket.day) else {
                return;
            };
            self.writers.remove(&oldest);
        }
    }
}

/// What one bucket's batch became on disk.
struct Written {
    segment: SegmentName,
    file: Arc<dyn File>,
    end: u64,
    blocks: Vec<RecordsBlock>,
}

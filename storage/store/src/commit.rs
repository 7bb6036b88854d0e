//! The committer: everything that waits becomes durable together, then visible, then acknowledged.
//! Never reports an item as stored before the fdatasync of the segment that holds it has returned.
//!
//! ```text
//! take all that waits
//!   └─ in order: known? covered? body here already?        decided here, nowhere else
//!        └─ per bucket: bodies block(s) + records block(s), one write
//!             └─ one fdatasync per touched segment
//!                  └─ index and set, the same way as a replay
//!                       └─ outcomes
//! ```

mod batch;
mod resend;

use self::batch::{Batch, Part};
pub(crate) use self::resend::resend_digest;
use crate::admit::{Item, Source, Submission, Ticket};
use crate::codec::CodedBody;
use crate::error::Refusal;
use crate::layout;
use crate::reserve::HasNoRoom;
use crate::segment::{Maker, RecordsBlock, SegmentName, SegmentRole, SegmentWriter};
use crate::state::{Block, BucketState};
use crate::store::{Committer, Failure, Store};
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::limits::SEGMENT_BYTES_MAX;
use quar_base::record::Record;
use quar_index::{Index, IndexError, Tree, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

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

/// A commit while it is decided what belongs to it.
#[derive(Default)]
struct Plan {
    batches: BTreeMap<Bucket, Batch>,
    outcomes: Vec<(Ticket, Outcome)>,
    records: BTreeSet<(Bucket, RecordKey)>,
    bodies: BTreeSet<(Bucket, BodyId)>,
    resends: BTreeMap<(Bucket, [u8; layout::RESEND_BYTES]), MessageId>,
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
    /// [`Outcome::AlreadyHere`] survives a power cut. One thread commits at a time.
    pub fn commit(&self) -> Vec<(Ticket, Outcome)> {
        let mut committer = self.committer();
        let submissions = std::mem::take(&mut *self.pending());
        if self.has_failed() {
            let refuse = |s: Submission| (s.ticket, Outcome::Refused(Refusal::Failed));
            return submissions.into_iter().map(refuse).collect();
        }
        let mut plan = Plan::default();
        for submission in submissions {
            let ticket = submission.ticket;
            let planned = match self.has_failed() {
                false => self.plan(&mut plan, submission),
                true => Ok(Outcome::Refused(Refusal::Failed)),
            };
            let outcome = planned.unwrap_or_else(|error| {
                self.fail("reading the index", &error);
                Outcome::Refused(Refusal::Failed)
            });
            plan.outcomes.push((ticket, outcome));
        }
        let commit = committer.next_commit;
        committer.next_commit += 1;
        let Plan { batches, mut outcomes, .. } = plan;
        let mut written = Vec::new();
        self.reserve.make_room();
        for (bucket, mut batch) in batches {
            let mut result = self.write(&mut committer, bucket, commit, &batch);
            if let Err(Refusal::Full) = result {
                // Mail waits for another day; the rest has the reserve.
                self.reserve.give_up();
                if batch.leave_mail(&mut outcomes) {
                    result = self.write(&mut committer, bucket, commit, &batch);
                }
            }
            match result {
                Ok(done) => written.push((done, batch)),
                Err(refusal) => batch.refuse(&mut outcomes, &refusal),
            }
        }
        for (done, batch) in written {
            let synced = committer.writers.get(&done.segment.bucket).map(SegmentWriter::sync);
            match synced {
                Some(Ok(())) if !self.has_failed() => self.publish(&done),
                Some(Err(error)) => {
                    self.fail("fdatasync of a segment", &error);
                    batch.refuse(&mut outcomes, &Refusal::Failed);
                }
                _ => batch.refuse(&mut outcomes, &Refusal::Failed),
            }
        }
        outcomes
    }

    /// After this the store takes nothing more: what the kernel did with unsynced pages is unknown.
    pub(crate) fn fail(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let raw_os_error = error.downcast_ref().and_then(io::Error::raw_os_error);
        let _first_stays = self.failure.set(Failure { raw_os_error });
        tracing::error!(%error, "{what} failed; the store takes nothing until the daemon is restarted");
    }

    fn plan(&self, plan: &mut Plan, submission: Submission) -> Result<Outcome, IndexError> {
        let bucket = submission.item.bucket();
        let outcome = match submission.item {
            Item::Arrival { record, arrival, body, source } => {
                self.plan_arrival(plan, record, &arrival, body, source)?
            }
            Item::Action { record } => self.plan_action(plan, record)?,
            Item::Body { bucket, body } => self.plan_body(plan, bucket, body)?,
            Item::Again { bucket, records, bodies } => {
                let batch = plan.batches.entry(bucket).or_default();
                batch.add_again(plan.outcomes.len(), records, bodies);
                return Ok(Outcome::AlreadyHere(None));
            }
        };
        // "Already here" may mean: earlier in this very commit, or the day before in it. It stands
        // or falls with that.
        if let Outcome::AlreadyHere(earlier) = &outcome {
            let bucket = earlier.map_or(bucket, |earlier| earlier.bucket);
            if let Some(batch) = plan.batches.get_mut(&bucket) {
                batch.wait(plan.outcomes.len(), Part::Mail);
            }
        }
        Ok(outcome)
    }

    fn plan_arrival(
        &self,
        plan: &mut Plan,
        record: Record,
        arrival: &Arrival,
        body: Option<CodedBody>,
        source: Source,
    ) -> Result<Outcome, IndexError> {
        let bucket = record.head().bucket;
        let key = record.key();
        let is_of_peer = matches!(source, Source::Peer { .. });
        let mut is_leaving = false;
        {
            let state = self.state();
            if state.floors.is_below(bucket) {
                let Bucket { class, day } = bucket;
                return Ok(Outcome::Refused(Refusal::BelowFloor { class, day }));
            }
            let held = state.buckets.get(&bucket);
            if let Some(second) = held.and_then(|held| held.covered_from(&key)) {
                // Where the delete came second, its arrival is in the set until the delete's time.
                is_leaving = is_of_peer && state.set.leaves_far_ahead(bucket, &key, second);
                if !is_leaving {
                    return Ok(Outcome::Refused(Refusal::Covered));
                }
            }
        }
        // Of what is deleted already nothing but the record is needed.
        let body = body.filter(|_| !is_leaving);
        let is_own = source == Source::Own;
        let resend = if is_own { resend_digest(&self.settings, &record, arrival) } else { None };
        if let Some(earlier) = self.find_resend(plan, &record, resend)? {
            // A power cut may have left the record alone: what is sent again has the body.
            if let Some(body) = body {
                self.plan_body(plan, earlier.bucket, body)?;
            }
            return Ok(Outcome::AlreadyHere(Some(earlier)));
        }
        let is_known = self.knows_record(plan, bucket, &key)?;
        let has_body = self.has_body(plan, bucket, &arrival.body())?;
        let was_left =
            source == Source::Peer { has_body: true } && body.is_none() && !has_body && !is_leaving;
        // A peer that is sent the record needs the body whether or not another message has it here.
        let came = body.clone();
        let new_body = body.filter(|_| !has_body);
        if is_known && new_body.is_none() {
            let known = Outcome::AlreadyHere(Some(record.message()));
            return Ok(if was_left { Outcome::WithoutBody } else { known });
        }
        let batch = plan.batches.entry(bucket).or_default();
        let part = Part::of(source);
        batch.wait(plan.outcomes.len(), part);
        if let Some(body) = &new_body {
            plan.bodies.insert((bucket, body.id));
            batch.bodies.push(body.clone());
        }
        if !is_known {
            plan.records.insert((bucket, key));
            batch.add(record.clone(), part);
            if let Some(digest) = resend {
                plan.resends.insert((bucket, digest), record.message());
            }
        }
        if was_left {
            return Ok(Outcome::WithoutBody);
        }
        Ok(Outcome::Stored(Box::new(Stored { bucket, record: Some(record), body: came })))
    }

    fn plan_action(&self, plan: &mut Plan, record: Record) -> Result<Outcome, IndexError> {
        let bucket = record.head().bucket;
        if self.state().floors.is_below(bucket) {
            let Bucket { class, day } = bucket;
            return Ok(Outcome::Refused(Refusal::BelowFloor { class, day }));
        }
        if self.knows_record(plan, bucket, &record.key())? {
            return Ok(Outcome::AlreadyHere(Some(record.message())));
        }
        plan.records.insert((bucket, record.key()));
        let batch = plan.batches.entry(bucket).or_default();
        batch.wait(plan.outcomes.len(), Part::Record);
        batch.add(record.clone(), Part::Record);
        Ok(Outcome::Stored(Box::new(Stored { bucket, record: Some(record), body: None })))
    }

    fn plan_body(
        &self,
        plan: &mut Plan,
        bucket: Bucket,
        body: CodedBody,
    ) -> Result<Outcome, IndexError> {
        if self.has_body(plan, bucket, &body.id)? {
            return Ok(Outcome::AlreadyHere(None));
        }
        plan.bodies.insert((bucket, body.id));
        let batch = plan.batches.entry(bucket).or_default();
        batch.wait(plan.outcomes.len(), Part::Mail);
        batch.bodies.push(body.clone());
        Ok(Outcome::Stored(Box::new(Stored { bucket, record: None, body: Some(body) })))
    }

    fn knows_record(
        &self,
        plan: &Plan,
        bucket: Bucket,
        key: &RecordKey,
    ) -> Result<bool, IndexError> {
        if plan.records.contains(&(bucket, *key)) {
            return Ok(true);
        }
        let is_broken =
            self.state().buckets.get(&bucket).is_some_and(|held| held.broken.records.contains(key));
        if is_broken {
            return Ok(false);
        }
        Ok(self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?.is_some())
    }

    fn has_body(&self, plan: &Plan, bucket: Bucket, id: &BodyId) -> Result<bool, IndexError> {
        if plan.bodies.contains(&(bucket, *id)) {
            return Ok(true);
        }
        let key = layout::body_key(id);
        let is_unsafe =
            |held: &BucketState| held.leaving.contains(id) || held.broken.bodies.contains(&key);
        if self.state().buckets.get(&bucket).is_some_and(is_unsafe) {
            return Ok(false);
        }
        Ok(self.index.get(Tree::Bucket(bucket), &key)?.is_some())
    }

    /// Writes one bucket's batch; the bytes are not durable yet.
    fn write(
        &self,
        committer: &mut Committer,
        bucket: Bucket,
        commit: u64,
        batch: &Batch,
    ) -> Result<Written, Refusal> {
        let Committer { writers, rng, .. } = committer;
        let is_over = |writer: &SegmentWriter| {
            writer.end() >= SEGMENT_BYTES_MAX || self.segments.is_unreadable(&writer.name())
        };
        if writers.get(&bucket).is_none_or(is_over) {
            let number = self.next_segment_number(bucket);
            let name = SegmentName { bucket, number };
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
        let name = writer.name();
        let records: Vec<&Record> = batch.records().collect();
        let bodies: Vec<&CodedBody> = batch.bodies.iter().collect();
        match writer.append(commit, &records, &bodies) {
            Ok(blocks) => Ok(Written { segment: name, end: writer.end(), blocks }),
            Err(error) => {
                // Its tail is undefined: the next commit starts another segment.
                writers.remove(&bucket);
                Err(self.refusal_of(&error))
            }
        }
    }

    /// A half-made file keeps its number taken; one that is not there does not.
    fn forget_unmade(&self, name: SegmentName) {
        let missing = self.disk.open(&name.path()).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        if missing && let Some(held) = self.state_mut().buckets.get_mut(&name.bucket) {
            held.segments.remove(&name.number);
        }
    }

    pub(crate) fn next_segment_number(&self, bucket: Bucket) -> u32 {
        let mut state = self.state_mut();
        let segments = &mut state.buckets.entry(bucket).or_default().segments;
        let number = segments.last_key_value().map_or(1, |(number, _)| number + 1);
        segments.entry(number).or_default();
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

/// What one bucket's batch became on disk.
struct Written {
    segment: SegmentName,
    end: u64,
    blocks: Vec<RecordsBlock>,
}

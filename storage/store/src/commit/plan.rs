//! What belongs to a commit: each item that waits is known, covered, new or refused.
//! Never decided anywhere else, and never without what is being made durable just now.

use super::batch::{Batch, Part};
use super::{Outcome, Stored, resend_digest};
use crate::admit::{Item, Source, Submission, Ticket};
use crate::codec::CodedBody;
use crate::error::Refusal;
use crate::layout;
use crate::state::BucketState;
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Record;
use quar_index::{Index, IndexError, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// What a commit brings that the index does not have yet.
#[derive(Default)]
pub(crate) struct Coming {
    pub(super) records: BTreeSet<(Bucket, RecordKey)>,
    pub(super) bodies: BTreeSet<(Bucket, BodyId)>,
    pub(super) resends: BTreeMap<(Bucket, [u8; layout::RESEND_BYTES]), MessageId>,
}

/// A commit while it is decided what belongs to it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) batches: BTreeMap<Bucket, Batch>,
    pub(super) outcomes: Vec<(Ticket, Outcome)>,
    pub(super) coming: Coming,
    /// Of the commit before, which may not have landed. Should it fail, so does this one.
    pub(super) before: Coming,
}

impl Store {
    /// Takes an item into the plan, or says why not.
    pub(super) fn plan(
        &self,
        plan: &mut Plan,
        submission: Submission,
    ) -> Result<Outcome, IndexError> {
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
            plan.coming.bodies.insert((bucket, body.id));
            batch.bodies.push(body.clone());
        }
        if !is_known {
            plan.coming.records.insert((bucket, key));
            batch.add(record.clone(), part);
            if let Some(digest) = resend {
                plan.coming.resends.insert((bucket, digest), record.message());
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
        plan.coming.records.insert((bucket, record.key()));
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
        plan.coming.bodies.insert((bucket, body.id));
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
        let item = (bucket, *key);
        if plan.coming.records.contains(&item) || plan.before.records.contains(&item) {
            return Ok(true);
        }
        self.has_whole_record(MessageId { bucket, key: *key })
    }

    fn has_body(&self, plan: &Plan, bucket: Bucket, id: &BodyId) -> Result<bool, IndexError> {
        if plan.coming.bodies.contains(&(bucket, *id)) {
            return Ok(true);
        }
        let key = layout::body_key(id);
        let is_unsafe =
            |held: &BucketState| held.leaving.contains(id) || held.broken.bodies.contains(&key);
        if self.state().buckets.get(&bucket).is_some_and(is_unsafe) {
            return Ok(false);
        }
        if plan.before.bodies.contains(&(bucket, *id)) {
            return Ok(true);
        }
        Ok(self.index.get(Tree::Bucket(bucket), &key)?.is_some())
    }
}

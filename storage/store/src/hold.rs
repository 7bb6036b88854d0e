//! Holding: a message's own copy in the class `held`, that no delete or expiry of the original touches.
//! Never writes: what is made here goes through the one door and is committed like any mail.
//!
//! ```text
//! original ─► arrival, actions, body ─► record of class held, same day and second ─► admit ─► commit
//!               all that it is made from: nodes that know the same make the same one
//! ```
//! *Source*: docs/decisions/0005.

use crate::admit::{Admitted, Item, Source};
use crate::codec::CodedBody;
use crate::error::{ReadError, Refusal};
use crate::recent::Records;
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::hold::{Hold, HoldFormError};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::{Head, Kind, Record};

/// What holding a message comes to.
#[derive(Debug)]
pub enum Holding {
    /// This is to be stored, by [`Store::admit_hold`].
    New(Box<NewHold>),
    /// It is held already, as this message.
    Here(MessageId),
}

/// A held message that is not stored yet.
#[derive(Debug)]
pub struct NewHold {
    record: Record,
    arrival: Box<Arrival>,
    body: CodedBody,
}

/// Why a message cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It is not here, or not all of it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its record has no room for what a hold says, or it was held and let go too often.
    #[error("the message cannot be held: {0}")]
    Unfit(Refusal),
}

impl NewHold {
    /// The id that the held message will have.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.record.message()
    }
}

impl Store {
    /// Prepares to hold a message: reads all of it, and changes nothing.
    ///
    /// A message that is held already, and one that is itself a hold, is answered with the held
    /// message's id, whether or not the original is still here.
    ///
    /// # Errors
    /// [`HoldError`]; [`ReadError::NotFound`] for a message that was deleted or is no longer kept,
    /// [`ReadError::BodyMissing`] while its body is not here.
    pub fn hold(&self, id: MessageId) -> Result<Holding, HoldError> {
        let holds = self.holds_of(id)?;
        let mut records = Records::new(self);
        let original = self.arrival_record(&mut records, id);
        let original = original.and_then(|record| Ok((self.decode_arrival(id, &record)?, record)));
        let arrival = original.as_ref().ok().map(|(arrival, _)| arrival);
        for held in holds {
            // One without its body, which a power cut may leave, holds nothing, nor does what another member passes off
            // as this message: it is made again.
            if held == id || self.is_whole(&mut records, held, arrival)? {
                return Ok(Holding::Here(held));
            }
        }
        let (arrival, original) = original?;
        let actions = self.whole_actions(&mut records, id)?;
        let (body, _) = self.verified_body(id, &arrival)?;
        let hold = Hold::new(id, &arrival, actions).map_err(|error| HoldError::Unfit(error.into()));
        let record =
            self.held_record(original.head(), hold?, &arrival).map_err(HoldError::Unfit)?;
        let body = self.for_wire(body);
        Ok(Holding::New(Box::new(NewHold { record, arrival: Box::new(arrival), body })))
    }

    /// Takes a hold.
    ///
    /// # Errors
    /// [`Refusal`], and then nothing was changed.
    pub fn admit_hold(&self, hold: NewHold) -> Result<Admitted, Refusal> {
        self.check_open_for_mail()?;
        self.check_floor(hold.record.head().bucket)?;
        let NewHold { record, arrival, body } = hold;
        Ok(self.submit(Item::Arrival { record, arrival, body: Some(body), source: Source::Held }))
    }

    /// The held messages that hold this one and may be shown; of a held message itself that one.
    ///
    /// There is one, unless nodes that did not know of the same actions held it at once.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read.
    pub fn holds_of(&self, id: MessageId) -> Result<Vec<MessageId>, ReadError> {
        let bucket = held_bucket(id.bucket);
        let RecordKey { second, .. } = id.key;
        let mut records = Records::new(self);
        let mut held = Vec::new();
        for candidate in self.arrivals_between(bucket, second, second.saturating_add(1))? {
            let record = match self.arrival_record(&mut records, candidate) {
                Ok(record) => record,
                Err(ReadError::NotFound(_) | ReadError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let holds = Hold::decode(&record).ok().flatten();
            if candidate == id || holds.is_some_and(|hold| hold.original == id) {
                held.push(candidate);
            }
        }
        Ok(held)
    }

    /// Whether a held message has its body, and that is its original's where that is here.
    fn is_whole(
        &self,
        records: &mut Records<'_>,
        held: MessageId,
        original: Option<&Arrival>,
    ) -> Result<bool, ReadError> {
        let record = self.arrival_record(records, held)?;
        let arrival = self.decode_arrival(held, &record)?;
        if original.is_some_and(|original| {
            (original.body_id, &original.envelope) != (arrival.body_id, &arrival.envelope)
        }) {
            return Ok(false);
        }
        self.is_body_here(held.bucket, &arrival.body())
    }

    /// A record that was deleted before is refused wherever it is offered: each time that a message
    /// is held again, its hold says another round.
    fn held_record(
        &self,
        original: &Head,
        hold: Hold,
        arrival: &Arrival,
    ) -> Result<Record, Refusal> {
        let head = Head { bucket: held_bucket(original.bucket), kind: Kind::ARRIVAL, ..*original };
        let mut hold = hold;
        loop {
            let record = Record::unsigned(head, &hold.encode(arrival)?)?;
            let state = self.state();
            let is_covered =
                state.buckets.get(&head.bucket).is_some_and(|held| held.is_covered(&record.key()));
            if !is_covered {
                return Ok(record);
            }
            hold.round = hold.round.checked_add(1).ok_or(Refusal::Covered)?;
        }
    }
}

fn held_bucket(original: Bucket) -> Bucket {
    Bucket { class: Class::HELD, ..original }
}

impl From<HoldFormError> for Refusal {
    fn from(error: HoldFormError) -> Self {
        Self::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests;

//! A hold: what a held message's arrival says of the message that it holds.
//! Never changes where the arrival itself lies: whoever knows of no holds reads a held message like any other.
//!
//! ```text
//! payload   [actions] [strings of the arrival] [hold ... mark] [arrival]
//!                                              \________ root ________/
//! ```
//! *Source*: docs/formats.md, "Hold" (rkyv, as "Arrival payload"); docs/decisions/0005.

use crate::arrival::{Arrival, ArrivalError};
use crate::class::Class;
use crate::key::{Bucket, MessageId, RecordKey};
use crate::limits::{HOLD_ACTIONS_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::Record;
use crate::time::Day;
use rkyv::{Archive, Deserialize, Serialize};

/// Stands directly before the arrival.
const MARK: [u8; 8] = *b"QHOLD\0\0\x01";
/// Root of an arrival.
const ARRIVAL_BYTES: usize = size_of::<<Arrival as Archive>::Archived>();
/// What the hold adds to the payload besides its actions.
const FIXED_BYTES: usize = size_of::<<HeldForm as Archive>::Archived>() - ARRIVAL_BYTES;
/// What an action adds besides its bytes.
const ACTION_FIXED_BYTES: usize = size_of::<<Vec<u8> as Archive>::Archived>();
/// An arrival's envelope with its check bytes.
const ENVELOPE_BYTES: usize = 37;

/// What a held message holds.
///
/// Together with the original's arrival it is all that the held message's record is made from, so
/// that nodes which know the same of the original make the same record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The message that is held.
    pub original: MessageId,
    /// How often it was held and let go before: 0 the first time.
    pub round: u16,
    /// The original's actions at that time, in order of their keys.
    pub actions: Vec<Record>,
    /// Actions for which there was no room; the oldest.
    pub actions_left_out: u32,
}

#[derive(Archive, Serialize, Deserialize)]
struct HeldForm {
    actions: Vec<Vec<u8>>,
    actions_left_out: u32,
    round: u16,
    class: u8,
    day: u32,
    key: [u8; RecordKey::BYTES],
    mark: [u8; 8],
    arrival: Arrival,
}

/// A hold that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldFormError {
    /// The arrival is beyond its limits.
    #[error(transparent)]
    Arrival(#[from] ArrivalError),
    /// The bytes say that they are a hold, and are none.
    #[error("hold is not a valid archive")]
    Archive,
    /// An action that is no record of the original's.
    #[error("hold has an action that is none of the message that it names")]
    Action,
    /// Actions out of order, or more bytes of them than a hold takes.
    #[error("hold has actions out of order, or more than {HOLD_ACTIONS_BYTES_MAX} bytes of them")]
    Actions,
}

impl Hold {
    /// A hold of `original` with as many of its actions, the latest first, as a record has room for
    /// beside this arrival.
    ///
    /// *Limits*: [`HOLD_ACTIONS_BYTES_MAX`], and [`RECORD_BYTES_MAX`] for the record as a whole.
    ///
    /// # Errors
    /// [`HoldFormError::Arrival`] when the arrival is beyond its limits.
    pub fn new(
        original: MessageId,
        arrival: &Arrival,
        mut actions: Vec<Record>,
    ) -> Result<Self, HoldFormError> {
        let taken = ENVELOPE_BYTES + FIXED_BYTES + arrival.encode()?.len();
        let mut room = RECORD_BYTES_MAX.saturating_sub(taken).min(HOLD_ACTIONS_BYTES_MAX);
        actions.sort_by_key(Record::key);
        actions.dedup_by_key(|action| action.key());
        let fits = |action: &&Record| {
            let left = room.checked_sub(taken_by(action));
            room = left.unwrap_or(room);
            left.is_some()
        };
        let kept = actions.iter().rev().take_while(fits).count();
        let left_out = actions.len() - kept;
        let actions_left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        let actions = actions.split_off(left_out);
        Ok(Self { original, round: 0, actions, actions_left_out })
    }

    /// The payload of the held message's arrival.
    ///
    /// # Errors
    /// [`HoldFormError`] when the arrival is beyond its limits.
    pub fn encode(&self, arrival: &Arrival) -> Result<Vec<u8>, HoldFormError> {
        // For its limits only.
        arrival.encode()?;
        let form = HeldForm {
            actions: self.actions.iter().map(|action| action.bytes().to_vec()).collect(),
            actions_left_out: self.actions_left_out,
            round: self.round,
            class: self.original.bucket.class.0,
            day: self.original.bucket.day.0,
            key: self.original.key.to_bytes(),
            mark: MARK,
            arrival: arrival.clone(),
        };
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&form);
        Ok(bytes.map_err(|_| HoldFormError::Archive)?.to_vec())
    }

    /// What an arrival holds; `None` for one that holds nothing, or in a way of a later version.
    ///
    /// # Errors
    /// [`HoldFormError`] for a hold that is damaged or says what cannot be.
    pub fn decode(record: &Record) -> Result<Option<Self>, HoldFormError> {
        let payload = record.payload();
        let before = payload.len().checked_sub(ARRIVAL_BYTES).and_then(|end| payload.get(..end));
        if record.head().bucket.class != Class::HELD || !before.is_some_and(|b| b.ends_with(&MARK))
        {
            return Ok(None);
        }
        let form = rkyv::from_bytes::<HeldForm, rkyv::rancor::Error>(payload);
        let form = form.map_err(|_| HoldFormError::Archive)?;
        let bucket = Bucket { class: Class(form.class), day: Day(form.day) };
        let original = MessageId { bucket, key: RecordKey::from_bytes(&form.key) };
        if !bucket.day.is_representable() {
            return Err(HoldFormError::Archive);
        }
        let parse = |bytes| {
            let action = Record::parse(bytes).ok();
            let action = action.filter(|action| action.head().action.is_some());
            action.filter(|action| action.message() == original).ok_or(HoldFormError::Action)
        };
        let actions = form.actions.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let is_ascending = actions.is_sorted_by(|one, next| one.key() < next.key());
        if !is_ascending || actions.iter().map(taken_by).sum::<usize>() > HOLD_ACTIONS_BYTES_MAX {
            return Err(HoldFormError::Actions);
        }
        let HeldForm { round, actions_left_out, .. } = form;
        Ok(Some(Self { original, round, actions, actions_left_out }))
    }
}

/// Bytes of a hold that an action takes.
fn taken_by(action: &Record) -> usize {
    action.bytes().len() + ACTION_FIXED_BYTES
}

#[cfg(test)]
mod tests;

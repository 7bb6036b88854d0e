//! What is kept of one connection.
//! Never outlives it: a new connection begins anew.

use crate::descent::Descent;
use crate::frame::{FlightFrame, FloorsFrame, Hello, Told};
use crate::limits;
use crate::offence::Offence;
use crate::transfer::Transfer;
use quar_base::ids::{BodyId, MemberId};
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::time::{Cutoff, UnixMillis};
use std::collections::BTreeMap;

/// A peer as a status shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Whether the last comparison found equal roots.
    pub in_sync: bool,
    /// Records it said it has.
    pub records: u64,
    /// Bodies it said it wants.
    pub wanted: u64,
    /// Bytes queued or not acknowledged.
    pub queued_bytes: u64,
    /// Rounds in which something was compared.
    pub rounds: u64,
}

/// A comparison under way.
pub(crate) struct Round {
    pub(crate) descent: Descent,
    pub(crate) told: Vec<Told>,
    pub(crate) heard_at: UnixMillis,
    /// Whether what it finds is queued: not while an earlier round's findings are.
    pub(crate) adds_bulk: bool,
}

pub(crate) struct Peer {
    pub(crate) session_key: [u8; 32],
    pub(crate) transfer: Transfer,
    /// The cutoff of the last greeting sent.
    pub(crate) greeted: Option<Cutoff>,
    pub(crate) hello: Option<Hello>,
    pub(crate) floors: Option<FloorsFrame>,
    pub(crate) round: Option<Round>,
    pub(crate) next_round: u32,
    pub(crate) is_fresh_told: bool,
    /// A long body that comes in parts.
    pub(crate) assembled: Vec<u8>,
    /// Bodies asked of this peer, and when.
    pub(crate) asked: BTreeMap<BodyId, UnixMillis>,
    pub(crate) status: PeerStatus,
}

impl Peer {
    pub(crate) fn new(id: MemberId, session_key: [u8; 32], push_bytes_max: usize) -> Self {
        Self {
            session_key,
            transfer: Transfer::new(id, push_bytes_max),
            greeted: None,
            hello: None,
            floors: None,
            round: None,
            next_round: 1,
            is_fresh_told: false,
            assembled: Vec::new(),
            asked: BTreeMap::new(),
            status: PeerStatus::default(),
        }
    }

    pub(crate) fn begin(&mut self, descent: Descent, now: UnixMillis) {
        let adds_bulk = self.transfer.is_bulk_empty();
        self.round = Some(Round { descent, told: Vec::new(), heard_at: now, adds_bulk });
    }

    /// A part of a long body.
    pub(crate) fn assemble(&mut self, part: &[u8]) -> Result<(), Offence> {
        if self.assembled.len() + part.len() > MESSAGE_BYTES_MAX {
            return Err(Offence::TooMuch);
        }
        self.assembled.extend_from_slice(part);
        Ok(())
    }

    /// Part of a flight; the whole flight once its last part is here.
    pub(crate) fn gather(
        &mut self,
        frame: FlightFrame,
        now: UnixMillis,
    ) -> Result<Option<Vec<Told>>, Offence> {
        // A round that was given up here may still be answered there.
        let Some(round) = &mut self.round else {
            return Ok(None);
        };
        round.heard_at = now;
        round.told.extend(frame.told);
        if round.told.len() > limits::FLIGHT_DESCRIPTIONS
            || round.descent.flights() > limits::FLIGHTS
        {
            return Err(Offence::TooMuch);
        }
        Ok(frame.is_last.then(|| std::mem::take(&mut round.told)))
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus { queued_bytes: self.transfer.queued_bytes() as u64, ..self.status }
    }
}

//! What is kept of one connection.
//! Never outlives it: a new connection begins anew.

use crate::descent::Descent;
use crate::dictionaries::Dictionaries;
use crate::event::{Item, ItemName, SetView};
use crate::frame::{self, FlightFrame, FloorsFrame, Hello, TakeFrame, Told, kind};
use crate::limits;
use crate::long::Assembly;
use crate::offence::Offence;
use crate::offered::Offered;
use crate::refusal::RefusalReason;
use crate::repeats::Repeats;
use crate::transfer::Transfer;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::{Cutoff, UnixMillis};
use quar_merkle::Trie;
use std::collections::{BTreeMap, BTreeSet};

/// Comparisons with a peer since its connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    /// Cutoffs at which both roots were known.
    pub made: u64,
    /// Those at which they were equal.
    pub equal: u64,
    /// Payload of the frames that compare, both ways.
    pub bytes: u64,
}

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
    /// What comparing came to.
    pub comparisons: Comparisons,
    /// Why it takes no mail; `None` when it does.
    pub refuses: Option<RefusalReason>,
}

/// A comparison under way.
pub(crate) struct Round {
    pub(crate) descent: Descent,
    pub(crate) told: Vec<Told>,
    pub(crate) heard_at: UnixMillis,
    /// Leaves that the peer was told of and has not asked after keys of.
    pub(crate) wants_left: usize,
    /// What the peer has, as far as the round goes.
    pub(crate) there: BTreeMap<Bucket, Trie>,
}

impl Round {
    /// Something that differs may not have been told of: of no record it is known that the peer has it.
    pub(crate) fn confirms_nothing(&mut self) {
        self.there.clear();
    }
}

/// A batch that is not acknowledged yet.
struct Undecided {
    bytes: usize,
    names: Vec<ItemName>,
}

pub(crate) struct Peer {
    pub(crate) session_key: [u8; 32],
    pub(crate) transfer: Transfer,
    /// The cutoff of the last greeting sent.
    pub(crate) greeted: Option<Cutoff>,
    pub(crate) hello: Option<Hello>,
    /// The last cutoff at which roots were compared, in steps.
    compared: u32,
    pub(crate) floors: Option<FloorsFrame>,
    pub(crate) round: Option<Round>,
    /// What the last round found to be there, until the peer's next greeting says whether it wants bodies.
    pub(crate) found_there: Option<BTreeMap<Bucket, Trie>>,
    pub(crate) next_round: u32,
    pub(crate) is_fresh_told: bool,
    /// Whether the peer told what it has that is younger than the cutoff.
    pub(crate) has_told_fresh: bool,
    /// From when on greetings are counted, and when the last one came.
    counted_from: UnixMillis,
    hello_at: UnixMillis,
    hellos: u64,
    /// Number of the last round that the peer began.
    pub(crate) their_round: u32,
    /// Rounds that the peer may still begin: one for each greeting, its own and those sent to it.
    rounds_allowed: u32,
    /// Number of the last batch that came in, and batches not acknowledged yet.
    pub(crate) last_sequence: u64,
    undecided: BTreeMap<u64, Undecided>,
    /// What it has and this node lacks.
    pub(crate) offered: Offered,
    /// Items that the peer sent and that were taken.
    repeats: Repeats,
    /// Bytes of frames that led to nothing.
    idle_bytes: u64,
    connected: UnixMillis,
    /// Lists of floors, and rosters, that the peer may still send: answers to what was sent to it.
    floors_allowed: u32,
    rosters_allowed: u32,
    /// A long body that comes in parts.
    pub(crate) assembly: Assembly,
    /// Dictionaries that the peer sent.
    pub(crate) dictionaries: Dictionaries,
    /// Bodies asked of this peer that it has neither sent nor said not to have.
    pub(crate) asked: BTreeSet<(Bucket, BodyId)>,
    pub(crate) status: PeerStatus,
}

impl Peer {
    pub(crate) fn new(
        id: MemberId,
        session_key: [u8; 32],
        push_bytes_max: usize,
        now: UnixMillis,
    ) -> Self {
        Self {
            session_key,
            transfer: Transfer::new(id, push_bytes_max),
            greeted: None,
            hello: None,
            compared: 0,
            floors: None,
            round: None,
            found_there: None,
            next_round: 1,
            is_fresh_told: false,
            has_told_fresh: false,
            counted_from: now,
            hello_at: now,
            hellos: 0,
            their_round: 0,
            rounds_allowed: 0,
            last_sequence: 0,
            undecided: BTreeMap::new(),
            offered: Offered::default(),
            repeats: Repeats::default(),
            idle_bytes: 0,
            connected: now,
            floors_allowed: 0,
            rosters_allowed: 0,
            assembly: Assembly::default(),
            dictionaries: Dictionaries::default(),
            asked: BTreeSet::new(),
            status: PeerStatus::default(),
        }
    }

    pub(crate) fn begin(&mut self, descent: Descent, now: UnixMillis) {
        let there = descent.tries().clone();
        self.round = Some(Round { descent, told: Vec::new(), heard_at: now, wants_left: 0, there });
    }

    /// A greeting: a few at once, then one in a while.
    pub(crate) fn count_hello(&mut self, now: UnixMillis) -> Result<(), Offence> {
        if now < self.hello_at {
            // This clock was set back: it does not tell any more how long the others took.
            (self.counted_from, self.hellos) = (now, 0);
        }
        self.hello_at = now;
        self.hellos += 1;
        self.allow_round();
        let allowed = limits::HELLOS_AT_ONCE + (now - self.counted_from).0 / limits::HELLO_EVERY_MS;
        if self.hellos > allowed { Err(Offence::TooMuch) } else { Ok(()) }
    }

    /// Roots were compared at a cutoff: a second time tells nothing new.
    pub(crate) fn compared(&mut self, cutoff_steps: u32, is_equal: bool) {
        self.status.in_sync = is_equal;
        if cutoff_steps > self.compared {
            self.compared = cutoff_steps;
            self.status.comparisons.made += 1;
            self.status.comparisons.equal += u64::from(is_equal);
        }
    }

    /// Greetings went either way: upon each the lower member begins a round, should the roots differ.
    pub(crate) fn allow_round(&mut self) {
        self.rounds_allowed = (self.rounds_allowed + 1).min(limits::ROUNDS_AT_ONCE);
    }

    /// A round that the peer begins: numbered in order, one for each greeting.
    pub(crate) fn count_round(&mut self, number: u32) -> Result<(), Offence> {
        if number != self.their_round.wrapping_add(1) {
            return Err(Offence::OutOfTurn);
        }
        self.their_round = number;
        self.rounds_allowed = self.rounds_allowed.checked_sub(1).ok_or(Offence::TooMuch)?;
        Ok(())
    }

    /// A batch or a part: numbered in order.
    pub(crate) fn count_sequence(&mut self, sequence: u64) -> Result<(), Offence> {
        if sequence != self.last_sequence + 1 {
            return Err(Offence::OutOfTurn);
        }
        self.last_sequence = sequence;
        Ok(())
    }

    /// A batch: no more of them without an outcome than the window allows, and none without items.
    pub(crate) fn count_batch(
        &mut self,
        sequence: u64,
        bytes: usize,
        items: &[Item],
    ) -> Result<(), Offence> {
        self.count_sequence(sequence)?;
        if items.is_empty() {
            return Err(Offence::Malformed);
        }
        let raw_bytes = |item: &Item| item.body().map_or(0, |body| body.raw_bytes as usize);
        let raw: usize = items.iter().map(raw_bytes).sum();
        if raw > limits::BATCH_RAW_BYTES + quar_base::limits::MESSAGE_BYTES_MAX {
            return Err(Offence::TooMuch);
        }
        let names: Vec<ItemName> = items.iter().map(Item::name).collect();
        names.iter().try_for_each(|name| self.repeats.comes(name))?;
        self.undecided.insert(sequence, Undecided { bytes, names });
        let undecided: usize = self.undecided.values().map(|batch| batch.bytes).sum();
        if undecided > limits::UNDECIDED_BYTES { Err(Offence::TooMuch) } else { Ok(()) }
    }

    /// A batch is decided, `refused` in ascending order: the bodies for which there was no room; `None` for a
    /// batch of an earlier connection.
    pub(crate) fn decided(
        &mut self,
        sequence: u64,
        refused: &[(u16, RefusalReason)],
    ) -> Option<Vec<(Bucket, BodyId)>> {
        self.assembly.decided(sequence);
        let batch = self.undecided.remove(&sequence)?;
        let mut no_room = Vec::new();
        let mut refused = refused.iter().peekable();
        for (position, name) in batch.names.iter().enumerate() {
            match (refused.next_if(|(at, _)| usize::from(*at) == position), name) {
                (None, _) => self.repeats.took(name),
                (Some((_, reason)), ItemName::Body(bucket, body)) if reason.is_of_the_peer() => {
                    no_room.push((*bucket, *body));
                }
                (Some(_), _) => {}
            }
        }
        Some(no_room)
    }

    /// A frame that leads to nothing: a later version's, or an answer that nobody waits for any more.
    pub(crate) fn count_idle(&mut self, bytes: usize, now: UnixMillis) -> Result<(), Offence> {
        self.idle_bytes += limits::IDLE_BYTES_MIN.max(bytes as u64);
        let seconds = (now - self.connected).0 / 1000;
        let allowed = limits::IDLE_BYTES + seconds.saturating_mul(limits::IDLE_BYTES_PER_S);
        if self.idle_bytes > allowed { Err(Offence::TooMuch) } else { Ok(()) }
    }

    /// The peer takes a lot, leaves one, or hurries bodies.
    pub(crate) fn asks(
        &mut self,
        frame_kind: u8,
        payload: &[u8],
        set: &dyn SetView,
    ) -> Result<(), Offence> {
        let mut bytes = payload.len();
        let leads_to_something = match frame_kind {
            kind::TAKE => {
                let frame = TakeFrame::decode(payload)?;
                // Each name is looked up, however short it is.
                bytes = bytes.max(frame.lot.count() as usize * RecordKey::BYTES);
                self.transfer.take(&frame, set)?
            }
            kind::LEAVE => self.transfer.leave(frame::decode_lot_number(payload)?),
            _ => self.transfer.hurry(&frame::decode_bodies(payload)?),
        };
        if leads_to_something { Ok(()) } else { self.count_idle(bytes, set.now()) }
    }

    /// The peer was greeted: it may answer with its floors.
    pub(crate) fn allow_floors(&mut self) {
        self.floors_allowed = self.floors_allowed.saturating_add(1);
    }

    pub(crate) fn count_floors(&mut self) -> Result<(), Offence> {
        self.floors_allowed = self.floors_allowed.checked_sub(1).ok_or(Offence::NotAsked)?;
        Ok(())
    }

    /// The peer was told the floors here: it may answer with a newer roster.
    pub(crate) fn allow_roster(&mut self) {
        self.rosters_allowed = self.rosters_allowed.saturating_add(1);
    }

    pub(crate) fn count_roster(&mut self) -> Result<(), Offence> {
        self.rosters_allowed = self.rosters_allowed.checked_sub(1).ok_or(Offence::NotAsked)?;
        Ok(())
    }

    /// The first batch that is not decided.
    pub(crate) fn first_undecided(&self) -> Option<u64> {
        self.undecided.keys().next().copied()
    }

    /// Part of a flight; the whole flight once its last part is here.
    pub(crate) fn gather(
        &mut self,
        frame: FlightFrame,
        now: UnixMillis,
    ) -> Result<Option<Vec<Told>>, Offence> {
        // A round that was given up here may still be answered there.
        let Some(round) = self.round.as_mut().filter(|it| it.descent.round() == frame.round) else {
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
        PeerStatus {
            queued_bytes: self.transfer.queued_bytes() as u64,
            refuses: self.transfer.refuses(),
            ..self.status
        }
    }
}

//! The protocol of one member with all its peers: events in, effects out.
//! Never touches a socket, a clock or a disk, and holds no record of its own.
//!
//! ```text
//! connect, and every new cutoff:  HELLO both ways ── roots equal ──► in sync
//!                                        └─ differ ─► lower id sends BUCKETS, then FLIGHTs alternate
//! connect, once:                  FRESH: what is younger than the cutoff, by short forms
//! what one side lacks:            OFFER ─► TAKE ─► BATCHes ─► LOT_SENT
//! any time:                       BATCH and ACK, both ways, within a window
//! ```

use crate::backfill::Backfill;
use crate::batch;
use crate::budget::Budget;
use crate::confirmed::Confirmed;
use crate::event::{Dictionary, Effect, Event, ItemName, SetView, Which};
use crate::frame::{
    self, AckFrame, BucketsFrame, FlightFrame, FloorsFrame, FreshFrame, Hello, PartFrame, kind,
};
use crate::lacking::Lacking;
use crate::limits;
use crate::offence::Offence;
use crate::peer::{Peer, PeerStatus, Round};
use crate::refusal::RefusalReason;
use crate::wants::Wants;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::{CUTOFF_STEP_MS, Cutoff};
use quar_merkle::{Hash, short8_of_key};
use std::collections::{BTreeMap, BTreeSet};

/// The protocol of one member.
pub struct Engine {
    pub(crate) me: MemberId,
    push_bytes_max: usize,
    pub(crate) peers: BTreeMap<MemberId, Peer>,
    pub(crate) wants: Wants,
    pub(crate) confirmed: BTreeMap<MemberId, Confirmed>,
    pub(crate) backfill: Backfill,
    /// Of bulk, to and from all peers together.
    outgoing: Budget,
    pub(crate) incoming: Budget,
    /// Who is the first to get something of the outgoing budget.
    turn: usize,
    shared_at: Cutoff,
    not_pushed: u64,
}

impl Engine {
    /// The protocol of member `me`; at most `push_bytes_max` of fresh items wait for a peer.
    #[must_use]
    pub fn new(me: MemberId, push_bytes_max: usize) -> Self {
        Self {
            me,
            push_bytes_max,
            peers: BTreeMap::new(),
            wants: Wants::default(),
            confirmed: BTreeMap::new(),
            backfill: Backfill::default(),
            outgoing: Budget::new(None),
            incoming: Budget::new(None),
            turn: 0,
            shared_at: Cutoff(0),
            not_pushed: 0,
        }
    }

    /// At most so many bytes a second of what is not fresh go out to all peers together, and come in
    /// from all; `None` for any number.
    pub fn limit_bulk(&mut self, bytes_per_s: Option<u64>) {
        (self.outgoing, self.incoming) = (Budget::new(bytes_per_s), Budget::new(bytes_per_s));
    }

    /// Connected peers, and whether they take mail as far as is known.
    pub fn peers(&self) -> impl Iterator<Item = (MemberId, bool)> {
        self.peers.iter().map(|(id, peer)| (*id, peer.transfer.refuses().is_none()))
    }

    /// What is known of a peer; defaults for one that is not connected.
    #[must_use]
    pub fn status(&self, peer: MemberId) -> PeerStatus {
        self.peers.get(&peer).map(Peer::status).unwrap_or_default()
    }

    /// Fresh items that were not pushed for want of room, in the queue or at the peer, and left to
    /// anti-entropy.
    #[must_use]
    pub fn not_pushed(&self) -> u64 {
        self.not_pushed
    }

    /// Takes one event. Batches are sent by [`Self::flush`].
    pub fn handle(&mut self, event: Event<'_>, set: &dyn SetView, effects: &mut Vec<Effect>) {
        let known = effects.len();
        if let Event::Frame { peer, kind, payload } = &event {
            self.count_comparing(*peer, *kind, payload.len());
        }
        self.take(event, set, effects);
        for effect in &effects[known..] {
            if let Effect::Send { peer, kind, payload } = effect {
                self.count_comparing(*peer, *kind, payload.len());
            }
        }
    }

    fn count_comparing(&mut self, peer: MemberId, kind: u8, bytes: usize) {
        if kind::compares(kind)
            && let Some(peer) = self.peers.get_mut(&peer)
        {
            peer.status.comparisons.bytes += bytes as u64;
        }
    }

    fn take(&mut self, event: Event<'_>, set: &dyn SetView, effects: &mut Vec<Effect>) {
        match event {
            Event::Tick => self.tick(set, effects),
            Event::Connected { peer, session_key } => {
                self.peer_left(peer);
                self.peers
                    .insert(peer, Peer::new(peer, session_key, self.push_bytes_max, set.now()));
                self.wants.peer_came(peer);
                self.greet(peer, set, effects);
            }
            Event::Disconnected { peer } => {
                self.peer_left(peer);
                self.take_lots(set, effects);
            }
            Event::Frame { peer, kind, payload } => {
                if let Err(offence) = self.frame(peer, kind, payload, set, effects) {
                    self.peer_left(peer);
                    self.take_lots(set, effects);
                    effects.push(Effect::Disconnect { peer, offence });
                }
            }
            Event::Committed(item) => {
                for peer in self.peers.values_mut() {
                    if !peer.transfer.push(&item) {
                        self.not_pushed += 1;
                    }
                }
            }
            Event::Stored { peer, sequence, mut refused } => {
                // A batch of an earlier connection is not this one's to acknowledge.
                refused.sort_unstable();
                let held = self.peers.get_mut(&peer);
                if let Some(no_room) = held.and_then(|held| held.decided(sequence, &refused)) {
                    self.wants.had_no_room(&no_room, set.now());
                    effects.push(acknowledgement(peer, sequence, refused));
                    self.end_lots(peer);
                    self.take_lots(set, effects);
                }
            }
            Event::Loaded { peer, items, rest } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.transfer.take_loaded(items, rest, effects);
                }
            }
            Event::Fetch { bucket, body } => self.fetch((bucket, body), set, effects),
        }
    }

    /// Sends what has gathered. Call it after a number of events.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        // What there is of the budget goes to another one first each time.
        let first = self.turn % self.peers.len().max(1);
        self.turn = self.turn.wrapping_add(1);
        let turns = self.peers.keys().copied().cycle().skip(first).take(self.peers.len());
        for id in turns.collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.transfer.flush(&mut self.outgoing, effects);
            }
        }
    }

    fn tick(&mut self, set: &dyn SetView, effects: &mut Vec<Effect>) {
        let now = set.now();
        self.outgoing.tick(now);
        self.incoming.tick(now);
        let cutoff = set.cutoff(Which::Current);
        let peers: Vec<MemberId> = self.peers.keys().copied().collect();
        for id in peers {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            let is_silent = |round: &Round| (now - round.heard_at).0 > limits::ROUND_PATIENCE_MS;
            peer.transfer.tick(now);
            if peer.round.as_ref().is_some_and(is_silent) {
                peer.round = None;
            }
            if peer.greeted != Some(cutoff) && peer.round.is_none() {
                self.greet(id, set, effects);
            }
        }
        if self.shared_at != cutoff {
            self.shared_at = cutoff;
            self.share_confirmed(set);
        }
        self.leave_slow_lots(set, effects);
        self.take_lots(set, effects);
        self.want(set, effects);
    }

    /// What was asked of a peer that is gone may be asked of others at once.
    fn peer_left(&mut self, id: MemberId) {
        if let Some(gone) = self.peers.remove(&id) {
            self.wants.peer_left(id, &gone.asked);
        }
    }

    fn greet(&mut self, id: MemberId, set: &dyn SetView, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let cutoff = set.cutoff(Which::Current);
        peer.greeted = Some(cutoff);
        peer.allow_round();
        peer.allow_floors();
        let (records, wanted) = set.counts();
        let hello = Hello {
            clock_ms: set.now().0,
            cutoff_steps: steps(cutoff),
            current_root: half(&set.state_root(Which::Current)),
            previous_root: half(&set.state_root(Which::Previous)),
            digest: digest(set),
            records,
            wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
        };
        effects.push(Effect::Send { peer: id, kind: kind::HELLO, payload: hello.encode() });
        if !peer.is_fresh_told {
            peer.is_fresh_told = true;
            let payload = fresh(&peer.session_key, cutoff, &set.later_than(cutoff)).encode();
            effects.push(Effect::Send { peer: id, kind: kind::FRESH, payload });
        }
        if peer.hello.is_some() {
            self.compare(id, set, effects);
        }
    }

    fn frame(
        &mut self,
        id: MemberId,
        frame_kind: u8,
        payload: &[u8],
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        if peer.hello.is_none() && frame_kind != kind::HELLO && frame_kind < kind::PASSED_OVER {
            return Err(Offence::OutOfTurn);
        }
        match frame_kind {
            kind::HELLO => self.hello(id, payload, set, effects)?,
            kind::FLOORS => {
                peer.count_floors()?;
                self.floors(id, FloorsFrame::decode(payload)?, set, effects);
            }
            kind::ROSTER => {
                peer.count_roster()?;
                let text = frame::decode_roster(payload)?.to_owned();
                effects.push(Effect::AdoptRoster { peer: id, text });
            }
            kind::BUCKETS => self.buckets(id, &BucketsFrame::decode(payload)?, set, effects)?,
            kind::FLIGHT => {
                let frame = FlightFrame::decode(payload)?;
                if peer.round.as_ref().is_none_or(|it| it.descent.round() != frame.round) {
                    peer.count_idle(payload.len(), set.now())?;
                }
                if let Some(told) = peer.gather(frame, set.now())? {
                    self.flight(id, &told, effects)?;
                }
            }
            kind::WANT_KEYS => {
                // What is too much now is found again by a later round.
                let mut wants = frame::decode_want_keys(payload)?;
                let Some(round) = &mut peer.round else {
                    return peer.count_idle(payload.len(), set.now());
                };
                // An honest peer asks once after keys of a leaf.
                wants.truncate(round.wants_left);
                round.wants_left -= wants.len();
                let keys = wants.iter().flat_map(|want| round.descent.keys_asked_for(want));
                let keys: Vec<_> = keys.take(limits::NAMED_AT_ONCE).collect();
                if keys.len() == limits::NAMED_AT_ONCE {
                    round.confirms_nothing();
                }
                let has_others = wants.iter().any(|want| want.has_others);
                let lacking = Lacking::of_keys(keys, has_others);
                self.found_lacking(id, &lacking);
                self.offer(id, lacking, effects);
            }
            kind::FRESH => self.offer_fresh(id, payload, set, effects)?,
            kind::OFFER => self.offered(id, frame::decode_offer(payload)?, set, effects),
            kind::TAKE | kind::LEAVE | kind::HURRY => peer.asks(frame_kind, payload, set)?,
            kind::LOT_SENT => {
                self.lot_sent(id, frame::decode_lot_number(payload)?)?;
                self.take_lots(set, effects);
            }
            kind::BATCH => {
                let (sequence, items) =
                    batch::decode_batch(payload, &mut peer.assembly, &peer.dictionaries)?;
                peer.count_batch(sequence, payload.len(), &items)?;
                for item in &items {
                    if let ItemName::Body(bucket, body) = item.name() {
                        peer.asked.remove(&(bucket, body));
                    }
                }
                self.count_bulk(id, &items);
                effects.push(Effect::Offer { peer: id, sequence, items });
            }
            kind::ACK => {
                let (ack, before) = (AckFrame::decode(payload)?, effects.len());
                peer.transfer.acknowledged(&ack, set.now(), effects)?;
                self.confirm_by_acknowledgement(id, &effects[before..]);
            }
            kind::WANT_BODIES => peer.transfer.ask(frame::decode_bodies(payload)?)?,
            kind::NOT_HERE => self.not_here(id, &frame::decode_bodies(payload)?, set, effects)?,
            kind::BODY_PART => {
                let part = PartFrame::decode(payload)?;
                peer.count_sequence(part.sequence)?;
                peer.assembly.add(&part)?;
                effects.push(acknowledgement(id, part.sequence, Vec::new()));
            }
            kind::DICTIONARY => peer.dictionaries.add(Dictionary::decode(payload)?),
            kind::PASSED_OVER.. => peer.count_idle(payload.len(), set.now())?,
            _ => return Err(Offence::UnknownKind),
        }
        Ok(())
    }

    fn hello(
        &mut self,
        id: MemberId,
        payload: &[u8],
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let hello = Hello::decode(payload)?.ok_or(Offence::Version)?;
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        peer.count_hello(set.now())?;
        let offset_ms = i64::try_from(hello.clock_ms).unwrap_or(i64::MAX)
            - i64::try_from(set.now().0).unwrap_or(i64::MAX);
        effects.push(Effect::PeerClock { peer: id, offset_ms });
        peer.status.records = hello.records;
        peer.status.wanted = hello.wanted.into();
        if hello.digest == digest(set) {
            // Whatever it told before, its floors are ours: a wrong clock may have been set right.
            peer.floors = None;
        } else {
            peer.allow_roster();
            let (roster_epoch, _) = set.roster();
            let payload = FloorsFrame { roster_epoch, floors: set.floors() }.encode();
            effects.push(Effect::Send { peer: id, kind: kind::FLOORS, payload });
        }
        peer.transfer.refused.peer_is_at(hello.cutoff_steps);
        let is_first = peer.hello.replace(hello).is_none();
        self.confirm_by_hello(id, is_first, set);
        self.compare(id, set, effects);
        Ok(())
    }

    fn floors(
        &mut self,
        id: MemberId,
        frame: FloorsFrame,
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) {
        let (epoch, text) = set.roster();
        if frame.roster_epoch < epoch {
            let payload = frame::encode_roster(text);
            effects.push(Effect::Send { peer: id, kind: kind::ROSTER, payload });
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.floors = Some(frame);
        }
    }

    /// The peer told what it has that is younger than the cutoff: it is offered what it lacks.
    fn offer_fresh(
        &mut self,
        id: MemberId,
        payload: &[u8],
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        if std::mem::replace(&mut peer.has_told_fresh, true) {
            return Err(Offence::OutOfTurn);
        }
        let frame = FreshFrame::decode(payload)?;
        let told = u64::from(frame.cutoff_steps) * (CUTOFF_STEP_MS / 1000);
        let theirs: BTreeSet<u64> = frame.shorts.into_iter().collect();
        let key = fresh_key(&peer.session_key);
        // The cutoff may have moved since the peer wrote its list: what lies between would be in
        // neither the list's scope nor the comparison's.
        let cutoff = Cutoff(told).clamp(set.cutoff(Which::Previous), set.cutoff(Which::Current));
        let later = set.later_than(cutoff).into_iter();
        let lacking = later.filter(|(_, record)| !theirs.contains(&short8_of_key(&key, record)));
        self.offer(id, Lacking::of_keys(lacking.collect(), true), effects);
        Ok(())
    }
}

impl From<crate::codec::Malformed> for Offence {
    fn from(_: crate::codec::Malformed) -> Self {
        Self::Malformed
    }
}

pub(crate) fn steps(cutoff: Cutoff) -> u32 {
    u32::try_from(cutoff.0 / (CUTOFF_STEP_MS / 1000)).unwrap_or(u32::MAX)
}

pub(crate) fn half(root: &Hash) -> [u8; 16] {
    *root.0.first_chunk().expect("a root has 32 bytes")
}

/// What both sides must have in common besides the set.
fn digest(set: &dyn SetView) -> [u8; 8] {
    let (roster_epoch, _) = set.roster();
    let payload = FloorsFrame { roster_epoch, floors: set.floors() }.encode();
    *blake3::hash(&payload).as_bytes().first_chunk().expect("a digest has 32 bytes")
}

fn fresh_key(session_key: &[u8; 32]) -> [u8; 32] {
    *blake3::keyed_hash(session_key, b"quard fresh").as_bytes()
}

fn fresh(session_key: &[u8; 32], cutoff: Cutoff, later: &[(Bucket, RecordKey)]) -> FreshFrame {
    let key = fresh_key(session_key);
    let newest = later.iter().rev().take(limits::FRESH);
    let shorts = newest.map(|(_, record)| short8_of_key(&key, record)).collect();
    FreshFrame { cutoff_steps: steps(cutoff), shorts }
}

fn acknowledgement(peer: MemberId, sequence: u64, refused: Vec<(u16, RefusalReason)>) -> Effect {
    let payload = AckFrame { sequence, refused }.encode();
    Effect::Send { peer, kind: kind::ACK, payload }
}

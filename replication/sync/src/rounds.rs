//! Rounds: when a comparison begins, how its frames are answered, and when it ends.
//! Never compares by itself: `descent` does, on a snapshot that later changes do not touch.
//!
//! ```text
//! lower id   roots differ ─► BUCKETS ─┐
//! higher id                           └─► FLIGHT ─► FLIGHT ─► ... ─► an empty one ends the round
//! ```

use crate::descent::{Descent, Found};
use crate::engine::{Engine, half, steps};
use crate::event::{Effect, SetView, Snapshot, Which};
use crate::frame::{self, BucketsFrame, FlightFrame, FloorsFrame, Hello, Told, kind};
use crate::lacking::Lacking;
use crate::limits;
use crate::offence::Offence;
use crate::peer::Peer;
use quar_base::ids::MemberId;
use std::collections::BTreeMap;

impl Engine {
    /// Compares roots at the highest cutoff that both sides told of; the lower member begins a round.
    pub(crate) fn compare(&mut self, id: MemberId, set: &dyn SetView, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(hello) = &peer.hello else { return };
        let Some((which, cutoff_steps, theirs)) = common_view(hello, set) else {
            return;
        };
        peer.compared(cutoff_steps, half(&set.state_root(which)) == theirs);
        if peer.status.in_sync {
            return self.confirm_by_root(id, which, set);
        }
        if peer.round.is_some() || self.me > id {
            return;
        }
        let snapshot = above_floors(set.snapshot(which), peer.floors.as_ref());
        let (cutoff_steps, round) = (steps(snapshot.cutoff), peer.next_round);
        peer.next_round += 1;
        peer.status.rounds += 1;
        let first_single = Descent::first_single(&snapshot);
        let descent = Descent::new(snapshot, &peer.session_key, round, first_single);
        let payload = descent.buckets(cutoff_steps, round).encode();
        peer.begin(descent, set.now());
        effects.push(Effect::Send { peer: id, kind: kind::BUCKETS, payload });
    }

    pub(crate) fn buckets(
        &mut self,
        id: MemberId,
        frame: &BucketsFrame,
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        if self.me < id {
            return Err(Offence::OutOfTurn);
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        peer.count_round(frame.round)?;
        let wanted = |which: &Which| steps(set.cutoff(*which)) == frame.cutoff_steps;
        let which = [Which::Current, Which::Previous].into_iter().find(wanted);
        // The cutoff may have moved on meanwhile: an empty flight ends the round.
        let Some(which) = which else {
            send_flight(id, frame.round, &[], effects);
            return Ok(());
        };
        let snapshot = above_floors(set.snapshot(which), peer.floors.as_ref());
        let mut descent =
            Descent::new(snapshot, &peer.session_key, frame.round, frame.first_single);
        let found = descent.answer_buckets(frame);
        peer.status.rounds += 1;
        peer.begin(descent, set.now());
        self.act_on(id, found, effects);
        Ok(())
    }

    pub(crate) fn flight(
        &mut self,
        id: MemberId,
        told: &[Told],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(round) = &mut peer.round else { return Ok(()) };
        if told.is_empty() {
            peer.end_round();
            return Ok(());
        }
        if told.len() >= limits::FLIGHT_DESCRIPTIONS {
            round.confirms_nothing();
        }
        let found = round.descent.answer(told)?;
        self.act_on(id, found, effects);
        Ok(())
    }

    /// Tells a peer what it lacks, the newest days first; it takes that from whom it likes.
    pub(crate) fn offer(&mut self, id: MemberId, lacking: Lacking, effects: &mut Vec<Effect>) {
        let round = self.peers.get(&id).and_then(|peer| peer.round.as_ref());
        let nothing = BTreeMap::new();
        let tries = round.map_or(&nothing, |round| round.descent.tries());
        let by_whole_keys = round.is_some_and(|round| round.descent.is_by_whole_keys());
        let mut lots = lacking.into_lots(tries, by_whole_keys);
        lots.truncate(limits::OFFERS_KEPT);
        for payload in frame::encode_offers(&lots) {
            effects.push(Effect::Send { peer: id, kind: kind::OFFER, payload });
        }
    }

    fn act_on(&mut self, id: MemberId, mut found: Found, effects: &mut Vec<Effect>) {
        self.found_lacking(id, &found.lacking_there);
        // What the peer took before and waits for would be offered again.
        let is_sending = |peer: &Peer| peer.transfer.is_sending_lots();
        if !self.peers.get(&id).is_some_and(is_sending) {
            self.offer(id, found.lacking_there, effects);
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        for wants in found.missing_here.chunks(limits::WANTS_PER_FRAME) {
            let payload = frame::encode_want_keys(wants);
            effects.push(Effect::Send { peer: id, kind: kind::WANT_KEYS, payload });
        }
        // A full flight may lack places, which a later round tells.
        found.told.truncate(limits::FLIGHT_DESCRIPTIONS);
        let Some(round) = &mut peer.round else { return };
        if found.told.len() == limits::FLIGHT_DESCRIPTIONS {
            round.confirms_nothing();
        }
        round.wants_left += found.told.iter().filter(|told| matches!(told, Told::Leaf(..))).count();
        send_flight(id, round.descent.round(), &found.told, effects);
        if found.told.is_empty() {
            peer.end_round();
        }
    }
}

fn send_flight(peer: MemberId, round: u32, told: &[Told], effects: &mut Vec<Effect>) {
    for payload in FlightFrame::encode_all(round, told) {
        effects.push(Effect::Send { peer, kind: kind::FLIGHT, payload });
    }
}

/// Our view at the highest cutoff for which the peer told a root, that cutoff, and the root.
fn common_view(hello: &Hello, set: &dyn SetView) -> Option<(Which, u32, [u8; 16])> {
    let theirs = [
        (hello.cutoff_steps, hello.current_root),
        (hello.cutoff_steps.saturating_sub(1), hello.previous_root),
    ];
    let mine = [Which::Current, Which::Previous];
    let pairs = mine.into_iter().flat_map(|which| theirs.map(|(at, root)| (which, at, root)));
    let common = pairs.filter(|(which, at, _)| steps(set.cutoff(*which)) == *at);
    common.max_by_key(|(_, at, _)| *at)
}

/// Leaves out the days that the peer no longer accepts.
fn above_floors(mut set: Snapshot, floors: Option<&FloorsFrame>) -> Snapshot {
    for (class, day) in floors.iter().flat_map(|frame| &frame.floors) {
        set.tries.retain(|bucket, _| bucket.class != *class || bucket.day >= *day);
    }
    set
}

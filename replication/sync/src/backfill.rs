//! What peers have and this node lacks: offered by them, taken from all of them in turn, the newest days first.
//! Never takes from two peers what one of them is sending, nor what is here.
//!
//! ```text
//! a comparison there ─► OFFER: lots, spans or names ─► kept per peer, the newest day in front
//!                                                        │ this node has room, and nobody sends it yet
//! batches ◄── the peer reads them ◄── TAKE ◄─────────────┘
//!    └─► LOT_SENT ─► every batch until then is durable ─► done: the lot leaves every peer's offers
//! ```
//! What was cut short, by a lost connection or a slow peer, is found by the next comparison, and only
//! what is still missing. So nothing has to be remembered across a restart.

use crate::engine::Engine;
use crate::event::{Effect, Item, ItemName, SetView};
use crate::frame::{self, Lot, TakeFrame, kind};
use crate::limits;
use crate::offence::Offence;
use crate::offered::{Busy, Offered, Taken};
use crate::peer::Peer;
use quar_base::ids::MemberId;
use quar_base::time::{Millis, UnixMillis};

/// How far the filling of a node is that lacks much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// Records that came since it began, and their bytes as they travelled.
    pub records: u64,
    /// See `records`.
    pub bytes: u64,
    /// Records that are offered and not here yet.
    pub left: u64,
    /// Peers that offer them.
    pub peers: usize,
    /// When it began; `None` when nothing is lacking.
    pub since: Option<UnixMillis>,
}

impl Backfill {
    /// What a record with its body takes, as far as is known.
    fn bytes_each(&self) -> u64 {
        const UNKNOWN: u64 = 1000;
        self.bytes.checked_div(self.records).unwrap_or(UNKNOWN)
    }
}

impl Engine {
    /// How far this node is with what it lacks.
    #[must_use]
    pub fn backfill(&self) -> Backfill {
        let offers = self.peers.values().map(|peer| peer.offered.count());
        let peers = self.peers.values().filter(|peer| !peer.offered.is_empty()).count();
        Backfill { left: offers.max().unwrap_or(0), peers, ..self.backfill }
    }

    /// A peer has what is lacking here.
    pub(crate) fn offered(
        &mut self,
        id: MemberId,
        lots: Vec<Lot>,
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) {
        // The same parts whoever offers a span, so that each peer sends some of them.
        let most = self.part_keys();
        if let Some(peer) = self.peers.get_mut(&id) {
            lots.into_iter().flat_map(|lot| parts(lot, most)).for_each(|lot| peer.offered.add(lot));
        }
        self.take_lots(set, effects);
    }

    /// Records of one part of a span.
    fn part_keys(&self) -> u64 {
        (limits::LOT_KEYS / self.peers.len().max(1) as u64).max(limits::PART_KEYS_MIN)
    }

    /// A peer has sent all of a lot.
    pub(crate) fn lot_sent(&mut self, id: MemberId, number: u64) -> Result<(), Offence> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let sequence = peer.last_sequence;
        // One that was left may have been sent all the same.
        match peer.offered.taken.get_mut(&number) {
            Some(taken) if taken.sent_with.is_some() => return Err(Offence::OutOfTurn),
            Some(taken) => taken.sent_with = Some(sequence),
            None if number >= peer.offered.next_lot => return Err(Offence::NotAsked),
            None => {}
        }
        self.end_lots(id);
        Ok(())
    }

    /// Lots of which everything that was sent is decided are done with.
    pub(crate) fn end_lots(&mut self, id: MemberId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let first_open = peer.first_undecided().unwrap_or(u64::MAX);
        let is_done = |taken: &Taken| taken.sent_with.is_some_and(|sequence| sequence < first_open);
        let done = peer.offered.taken.extract_if(.., |_, taken| is_done(taken));
        let done: Vec<Lot> = done.map(|(_, taken)| taken.lot).collect();
        for lot in &done {
            self.peers.values_mut().for_each(|peer| peer.offered.remove(lot));
        }
    }

    /// Takes as much as may be on its way, from each peer in turn.
    pub(crate) fn take_lots(&mut self, set: &dyn SetView, effects: &mut Vec<Effect>) {
        if self.incoming.is_spent() || self.peers.values().all(|peer| peer.offered.is_empty()) {
            if self.peers.values().all(Peer::is_filled) {
                self.backfill = Backfill::default();
            }
            return;
        }
        let now = set.now();
        let part_keys = self.part_keys();
        if !self.peers.values().any(|peer| peer.offered.has_room(part_keys)) {
            return;
        }
        let mut busy = Busy::default();
        let taken = self.peers.values().flat_map(|peer| peer.offered.taken.values());
        taken.for_each(|taken| busy.add(&taken.lot));
        let mut offering = self.peers.values().filter(|peer| !peer.offered.is_empty());
        let has_others = offering.any(|peer| !peer.offered.is_passed_over(now));
        let is_asked = |peer: &Peer| {
            peer.offered.has_room(part_keys) && !(has_others && peer.offered.is_passed_over(now))
        };
        let mut coming: u64 = self.peers.values().map(|peer| peer.offered.outstanding()).sum();
        let bytes_each = self.backfill.bytes_each();
        loop {
            let mut has_taken = false;
            for (id, peer) in &mut self.peers {
                if !is_asked(peer) || self.incoming.is_spent_with(coming * bytes_each) {
                    continue;
                }
                let Some(lot) = peer.offered.next(&busy, set) else { continue };
                has_taken = true;
                busy.add(&lot);
                coming += lot.count();
                self.backfill.since.get_or_insert(now);
                effects.push(take(*id, peer, lot, now));
            }
            if !has_taken {
                break;
            }
        }
    }

    /// Time passes: what a peer is long about is left to another one that waits for work.
    pub(crate) fn leave_slow_lots(&mut self, set: &dyn SetView, effects: &mut Vec<Effect>) {
        if self.incoming.is_spent() {
            return;
        }
        let now = set.now();
        let is_slow = |taken: &Taken| {
            let patience = limits::LOT_PATIENCE_MS * taken.size().div_ceil(limits::PATIENCE_KEYS);
            (now - taken.at).0 > patience && taken.sent_with.is_none()
        };
        let mut left = Vec::new();
        for (id, peer) in &self.peers {
            for (number, taken) in peer.offered.taken.iter().filter(|(_, taken)| is_slow(taken)) {
                let mut others = self.peers.iter().filter(|(other, _)| *other != id);
                let is_idle = |other: &Offered| other.taken.is_empty() && other.offers(&taken.lot);
                if others.any(|(_, other)| is_idle(&other.offered)) {
                    left.push((*id, *number));
                }
            }
        }
        for (id, number) in left {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let Some(taken) = peer.offered.taken.remove(&number) else { continue };
            peer.offered.passed_over_until = now.plus(Millis(limits::PASSED_OVER_MS));
            let payload = frame::encode_lot_number(number);
            effects.push(Effect::Send { peer: id, kind: kind::LEAVE, payload });
            // What others offer of it stays: who is slow may withhold what it offered itself.
            peer.offered.remove(&taken.lot);
        }
    }

    /// Counts what came in of what was taken or asked for.
    pub(crate) fn count_bulk(&mut self, id: MemberId, items: &[Item]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for item in items {
            match item.name() {
                ItemName::Record(bucket, key) => {
                    let mut taken = peer.offered.taken.values_mut();
                    if let Some(taken) = taken.find(|taken| taken.lot.contains(bucket, &key)) {
                        taken.came += 1;
                        self.backfill.records += 1;
                        self.backfill.bytes += item.wire_bytes() as u64;
                        self.incoming.spend(item.wire_bytes());
                    }
                }
                ItemName::Body(..) => self.incoming.spend(item.wire_bytes()),
            }
        }
    }
}

/// A span of more records than `most` in parts of as many seconds each: when its records came is not known.
fn parts(lot: Lot, most: u64) -> Vec<Lot> {
    let Lot::Span(bucket, from, to, count) = lot else { return vec![lot] };
    let seconds = u64::from(to - from) + 1;
    let parts = count.div_ceil(most).min(seconds);
    let edge = |part: u64| u64::from(from) + seconds * part / parts;
    let of_part = |part: u64| count * (part + 1) / parts - count * part / parts;
    let part = |at| Lot::Span(bucket, edge(at) as u32, (edge(at + 1) - 1) as u32, of_part(at));
    (0..parts).map(part).collect()
}

impl Peer {
    /// Whether nothing of this peer's is lacking here.
    fn is_filled(&self) -> bool {
        self.offered.is_empty() && self.offered.taken.is_empty()
    }
}

fn take(id: MemberId, peer: &mut Peer, lot: Lot, now: UnixMillis) -> Effect {
    let number = peer.offered.next_lot;
    peer.offered.next_lot += 1;
    let payload = TakeFrame { number, lot: lot.clone() }.encode();
    peer.offered.taken.insert(number, Taken { lot, at: now, came: 0, sent_with: None });
    Effect::Send { peer: id, kind: kind::TAKE, payload }
}

#[cfg(test)]
mod tests {
    use super::parts;
    use crate::frame::Lot;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use quar_base::class::Class;
    use quar_base::key::Bucket;
    use quar_base::time::Day;

    proptest! {
        #[test]
        fn the_parts_of_a_span_are_the_span(
            from: u32,
            seconds: u32,
            count in 1u64..4096,
            most in 1u64..4096,
        ) {
            let bucket = Bucket { class: Class::SPAM, day: Day(1) };
            let to = from.saturating_add(seconds);
            let mut next = Some(from);
            let mut records = 0;
            for part in parts(Lot::Span(bucket, from, to, count), most) {
                let Lot::Span(_, first, last, count) = part else { panic!("{part:?}") };
                prop_assert_eq!(Some(first), next);
                prop_assert!(first <= last && count > 0);
                next = last.checked_add(1);
                records += count;
            }
            prop_assert_eq!(next, to.checked_add(1));
            prop_assert_eq!(records, count);
        }
    }
}

//! Bodies that are missing here: which peer to ask for each, how often, and which nobody has.
//! Never remembers more bodies than a fixed number, and never lets hopeless ones starve others.
//!
//! ```text
//! wanted, and there is room ─► ask one peer
//!                        ├► it comes: no longer wanted
//!                        ├► NOT_HERE ─► ask another at once ─► all connected peers said so: lost
//!                        ├► no answer, or lost ─► ask again after 5 s, 10 s ... 10 min
//!                        └► it comes, and there is no room ─► ask again after 5 s
//! ```

use crate::engine::Engine;
use crate::event::{Effect, SetView};
use crate::frame::{self, kind};
use crate::limits;
use crate::offence::Offence;
use crate::peer::Peer;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::Bucket;
use quar_base::time::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

type Body = (Bucket, BodyId);

/// What was done to get one body.
struct Want {
    /// When it may be asked for again.
    next_at: UnixMillis,
    /// How long it waits after it was asked for once more.
    pause_ms: u64,
    last_asked: Option<MemberId>,
    /// Peers that said they do not have it.
    denied: BTreeSet<MemberId>,
}

impl Want {
    fn new() -> Self {
        Self {
            next_at: UnixMillis(0),
            pause_ms: limits::WANT_AGAIN_MS,
            last_asked: None,
            denied: BTreeSet::new(),
        }
    }

    fn renew(&mut self) {
        self.next_at = UnixMillis(0);
        self.pause_ms = limits::WANT_AGAIN_MS;
    }

    /// A clock that was set back does not make it wait: whoever asked a moment ago waits for less than a pause.
    fn is_due(&self, now: UnixMillis) -> bool {
        now >= self.next_at || (self.next_at - now).0 > self.pause_ms
    }

    fn wait(&mut self, now: UnixMillis) {
        self.next_at = now.plus(Millis(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(limits::WANT_AGAIN_MS_MAX);
    }
}

/// All bodies that were asked for. The ones that are wanted are known to the set alone.
#[derive(Default)]
pub(crate) struct Wants {
    known: BTreeMap<Body, Want>,
    /// The wanted body that was looked at last; the next tick goes on behind it.
    looked_at: Option<Body>,
    /// The known body that was swept last.
    swept: Option<Body>,
}

impl Wants {
    /// Who came may have what nobody had: everything is asked for again at once.
    pub(crate) fn peer_came(&mut self, peer: MemberId) {
        for want in self.known.values_mut() {
            want.denied.remove(&peer);
            want.renew();
        }
    }

    /// A peer is gone without an answer to these.
    pub(crate) fn peer_left(&mut self, peer: MemberId, unanswered: &BTreeSet<Body>) {
        for want in self.known.values_mut() {
            want.denied.remove(&peer);
        }
        for body in unanswered {
            if let Some(want) = self.known.get_mut(body) {
                want.next_at = UnixMillis(0);
            }
        }
    }

    /// These came, and there was no room for them: it is not that nobody has them. Nor are peers asked too often:
    /// each of them holds back by itself.
    pub(crate) fn had_no_room(&mut self, bodies: &[Body], now: UnixMillis) {
        for body in bodies {
            if let Some(want) = self.known.get_mut(body) {
                want.renew();
                want.wait(now);
            }
        }
    }

    /// Forgets what is no longer wanted and, when no more fits, some of what `is_idle`.
    fn sweep(&mut self, set: &dyn SetView, is_idle: impl Fn(&Body, &Want) -> bool) {
        let is_full = self.known.len() >= limits::WANTS_KNOWN;
        let mut idle_left = if is_full { limits::WANTS_FORGOTTEN } else { 0 };
        let from = self.swept.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.known.range((from, Bound::Unbounded)).take(limits::WANT_PAGE);
        let (mut count, mut last, mut gone) = (0, None, Vec::new());
        for (body, want) in next {
            (count, last) = (count + 1, Some(*body));
            if !set.is_wanted(body.0, &body.1) {
                gone.push(*body);
            } else if idle_left > 0 && is_idle(body, want) {
                idle_left -= 1;
                gone.push(*body);
            }
        }
        self.swept = last.filter(|_| count == limits::WANT_PAGE);
        for body in gone {
            self.known.remove(&body);
        }
    }

    /// What is kept of a body; `None` when it is new and no more can be kept. A reader's has a place besides.
    fn entry(&mut self, body: Body, turn: Turn) -> Option<&mut Want> {
        let besides = if turn == Turn::AtOnce { limits::WANT_RESERVED } else { 0 };
        if self.known.len() >= limits::WANTS_KNOWN + besides && !self.known.contains_key(&body) {
            return None;
        }
        Some(self.known.entry(body).or_insert_with(Want::new))
    }
}

/// Whether a reader waits for a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    OfMany,
    AtOnce,
}

/// Frames that ask, before they are sent.
type Asks = BTreeMap<MemberId, Vec<Body>>;

impl Engine {
    /// Wanted bodies that every connected peer has said not to have; none while nobody is
    /// connected.
    #[must_use]
    pub fn lost(&self, set: &dyn SetView) -> Vec<(Bucket, BodyId)> {
        let known = self.wants.known.iter();
        let lost =
            known.filter(|(body, want)| self.is_lost(want) && set.is_wanted(body.0, &body.1));
        lost.map(|(body, _)| *body).collect()
    }

    fn is_lost(&self, want: &Want) -> bool {
        !self.peers.is_empty() && self.peers.keys().all(|peer| want.denied.contains(peer))
    }

    /// Whether every connected peer has said not to have a body, and none is being asked again.
    #[must_use]
    pub fn is_denied(&self, bucket: Bucket, body: BodyId) -> bool {
        let body = (bucket, body);
        self.wants.known.get(&body).is_some_and(|want| self.is_lost(want)) && !self.is_asked(&body)
    }

    fn is_asked(&self, body: &Body) -> bool {
        self.peers.values().any(|peer| peer.asked.contains(body))
    }

    /// Asks for wanted bodies that are due, each of one peer, going round all of them in order.
    pub(crate) fn want(&mut self, set: &dyn SetView, effects: &mut Vec<Effect>) {
        if self.peers.is_empty() || self.incoming.is_spent() {
            return;
        }
        let mut wants = std::mem::take(&mut self.wants);
        // What some peers do not have and others leave unanswered must not keep out what can be had.
        wants.sweep(set, |body, want| !want.denied.is_empty() && !self.is_asked(body));
        let page = set.wanted_after(wants.looked_at, limits::WANT_PAGE);
        let is_last = page.len() < limits::WANT_PAGE;
        let mut asks = Asks::new();
        let mut taken = 0;
        for body in &page {
            // What there is no room for is the first to get it.
            if !self.ask(&mut wants, *body, Turn::OfMany, set.now(), &mut asks) {
                break;
            }
            wants.looked_at = Some(*body);
            taken += 1;
        }
        if is_last && taken == page.len() {
            wants.looked_at = None;
        }
        self.wants = wants;
        send(asks, effects);
    }

    /// A reader waits for this body.
    pub(crate) fn fetch(&mut self, body: Body, set: &dyn SetView, effects: &mut Vec<Effect>) {
        if !set.is_wanted(body.0, &body.1) {
            return;
        }
        let mut wants = std::mem::take(&mut self.wants);
        if let Some(want) = wants.known.get_mut(&body) {
            want.renew();
        }
        let mut asks = Asks::new();
        self.ask(&mut wants, body, Turn::AtOnce, set.now(), &mut asks);
        self.wants = wants;
        send(asks, effects);
        // Whoever was asked before, among many, is to send it now.
        for (peer, _) in self.peers.iter().filter(|(_, peer)| peer.asked.contains(&body)) {
            let payload = frame::encode_bodies(&[body]);
            effects.push(Effect::Send { peer: *peer, kind: kind::HURRY, payload });
        }
    }

    /// A peer does not have these: another one is asked at once, if one is left.
    pub(crate) fn not_here(
        &mut self,
        id: MemberId,
        bodies: &[Body],
        set: &dyn SetView,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let mut wants = std::mem::take(&mut self.wants);
        let mut asks = Asks::new();
        let mut result = Ok(());
        for body in bodies {
            if !self.peers.get_mut(&id).is_some_and(|peer| peer.asked.remove(body)) {
                result = Err(Offence::NotAsked);
                break;
            }
            let Some(want) = wants.known.get_mut(body) else { continue };
            want.denied.insert(id);
            let mut others = self.peers.iter().filter(|(other, _)| !want.denied.contains(*other));
            let is_one_left = others.any(|(_, other)| may_be_asked(other, body, Turn::OfMany));
            if is_one_left && set.is_wanted(body.0, &body.1) {
                want.renew();
                self.ask(&mut wants, *body, Turn::OfMany, set.now(), &mut asks);
            }
        }
        self.wants = wants;
        send(asks, effects);
        result
    }

    /// Asks a peer for a body if it is due; `false` when no more bodies can be known.
    fn ask(
        &mut self,
        wants: &mut Wants,
        body: Body,
        turn: Turn,
        now: UnixMillis,
        asks: &mut Asks,
    ) -> bool {
        let Some(want) = wants.entry(body, turn) else { return false };
        if !want.is_due(now) {
            return true;
        }
        let with_room = || self.peers.iter().filter(|(_, peer)| may_be_asked(peer, &body, turn));
        let is_new_to_one = with_room().any(|(id, _)| !want.denied.contains(id));
        let candidates = with_room().filter(|(id, _)| !is_new_to_one || !want.denied.contains(id));
        // In turn behind the one that was asked last; the first time, whoever has least to do.
        let chosen = candidates.min_by_key(|(id, peer)| match want.last_asked {
            Some(last) => (**id <= last, 0),
            None => (false, peer.asked.len()),
        });
        if let Some(chosen) = chosen.map(|(id, _)| *id) {
            want.wait(now);
            want.last_asked = Some(chosen);
            if let Some(peer) = self.peers.get_mut(&chosen) {
                peer.asked.insert(body);
            }
            asks.entry(chosen).or_default().push(body);
        } else if self.peers.values().all(|peer| peer.asked.contains(&body)) {
            // All of them are asked: their answers come, or their connections end.
            want.wait(now);
        }
        true
    }
}

/// Whether a peer has room for one more ask. Who answers nothing has none any more, and is not waited for.
fn may_be_asked(peer: &Peer, body: &Body, turn: Turn) -> bool {
    let most = match turn {
        Turn::OfMany => limits::WANT_OUTSTANDING - limits::WANT_RESERVED,
        Turn::AtOnce => limits::WANT_OUTSTANDING,
    };
    !peer.asked.contains(body) && peer.asked.len() < most
}

fn send(asks: Asks, effects: &mut Vec<Effect>) {
    for (peer, bodies) in asks {
        for bodies in bodies.chunks(limits::WANT_BODIES) {
            let payload = frame::encode_bodies(bodies);
            effects.push(Effect::Send { peer, kind: kind::WANT_BODIES, payload });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{UnixMillis, Want};

    #[test]
    fn a_clock_that_is_set_back_lets_no_want_wait() {
        let now = UnixMillis(1_000_000_000);
        let mut want = Want::new();
        for _ in 0..20 {
            want.wait(now);
            assert!(!want.is_due(now));
            assert!(want.is_due(UnixMillis(now.0 - want.pause_ms)));
            assert!(want.is_due(want.next_at));
        }
    }
}

//! Connections between the machines: who is connected, what arrives, what is lost.
//! Never takes anybody for a member whose roster does not say so.

use super::{Cluster, Happening};
use crate::line::{Connection, IDLE_MS, Sent};
use quar_base::ids::MemberId;
use quar_base::time::Millis;
use quar_node::Input;
use std::collections::VecDeque;

/// Longest usual time of a frame on its way, in milliseconds.
const USUAL_MS: u64 = 30;
/// Longest time until an end learns that a connection was cut, in milliseconds.
const LEARNS_MS: u64 = 1_500;

impl Cluster {
    pub(super) fn send(&mut self, from: usize, peer: MemberId, kind: u8, payload: Vec<u8>) {
        self.trace.bytes(kind, &payload);
        let Some((to, number)) = self.connection_with(from, peer) else { return };
        let pair = self.lines.pair(from, to);
        let slow = pair.delay_ms[usize::from(from > to)];
        let (is_twice, is_mixed) = (pair.duplicates > 0, pair.reorders > 0);
        let Some(connection) = self.lines.connections.get_mut(&number) else { return };
        if connection.is_cut {
            return;
        }
        let direction = connection.direction_from(from);
        let delay = 1 + self.chance.below(USUAL_MS) + self.chance.below(slow + 1);
        let queue = &mut connection.queues[direction];
        let earliest = queue.back().map_or(self.now, |last| last.at);
        let at = earliest.max(self.now.plus(Millis(delay)));
        let mut sent = Sent { at, kind, payload };
        if is_twice {
            queue.push_back(Sent { at, kind, payload: sent.payload.clone() });
        }
        let before = queue.back_mut().filter(|_| is_mixed);
        let is_mixed = before.is_some();
        if let Some(before) = before {
            std::mem::swap(&mut before.kind, &mut sent.kind);
            std::mem::swap(&mut before.payload, &mut sent.payload);
        }
        queue.push_back(sent);
        let pair = self.lines.pair(from, to);
        pair.duplicates -= u32::from(is_twice);
        pair.reorders -= u32::from(is_mixed);
        pair.is_wrong |= is_twice || is_mixed;
        self.at(at, Happening::Arrive { connection: number, direction });
    }

    fn connection_with(&self, at: usize, peer: MemberId) -> Option<(usize, u64)> {
        let mut peers = self.machines[at].peers.iter().map(|(to, number)| (*to, *number));
        peers.find(|(_, number)| {
            let connection = self.lines.connections.get(number);
            connection.is_some_and(|held| held.members[1 - held.direction_from(at)] == peer)
        })
    }

    pub(super) fn arrive(&mut self, number: u64, direction: usize) {
        let Some(connection) = self.lines.connections.get_mut(&number) else { return };
        let (from, to) = (connection.ends[direction], connection.ends[1 - direction]);
        let pair = &self.lines.pairs[&(from.min(to), from.max(to))];
        if pair.blocked[usize::from(from > to)] || !self.machines[to].is_awake() {
            return;
        }
        let mut frames = Vec::new();
        while connection.queues[direction].front().is_some_and(|sent| sent.at <= self.now) {
            frames.extend(connection.queues[direction].pop_front());
        }
        let peer = connection.members[direction];
        if frames.is_empty() || self.machines[to].peers.get(&from) != Some(&number) {
            return;
        }
        self.counts.add("frames", frames.len() as u64);
        self.feed(to, |node, now, outputs| {
            for Sent { kind, payload, .. } in &frames {
                node.handle(Input::Frame { peer, kind: *kind, payload }, now, outputs);
            }
        });
    }

    /// What could not arrive for a while arrives now.
    pub fn resume_arrivals(&mut self) {
        let numbers: Vec<u64> = self.lines.connections.keys().copied().collect();
        for connection in numbers {
            for direction in 0..2 {
                self.after(0, Happening::Arrive { connection, direction });
            }
        }
    }

    /// Dials where nobody is connected, and ends what is silent for too long.
    pub(super) fn look_at_lines(&mut self) {
        let pairs: Vec<(usize, usize)> = self.lines.pairs.keys().copied().collect();
        for (one, other) in pairs {
            let is_up = self.machines[one].is_awake() && self.machines[other].is_awake();
            let now = self.now;
            let pair = self.lines.pair(one, other);
            let is_through = is_up && pair.blocked == [false, false];
            match (is_through, pair.silent_since) {
                (true, _) => pair.silent_since = None,
                (false, None) => pair.silent_since = Some(now),
                (false, Some(since)) if (now - since).0 >= IDLE_MS => self.cut(one, other),
                _ => {}
            }
            if is_through && self.lines.pair(one, other).live.is_none() {
                self.connect(one, other);
            }
        }
    }

    /// Makes a connection, in place of the one that stands, if both know each other.
    pub fn connect(&mut self, one: usize, other: usize) {
        if !self.admits(one, other) || !self.admits(other, one) {
            return;
        }
        self.lines.last_number += 1;
        let number = self.lines.last_number;
        let session_key = self.chance.bytes();
        let members = [one, other].map(|at| self.machines[at].identity.member);
        let queues = [VecDeque::new(), VecDeque::new()];
        let connection = Connection { ends: [one, other], members, queues, is_cut: false };
        self.lines.connections.insert(number, connection);
        self.lines.pair(one, other).live = Some(number);
        for (at, peer) in [(one, 1), (other, 0)] {
            let theirs = [one, other][peer];
            let old = self.machines[at].peers.insert(theirs, number);
            let peer = members[peer];
            // Whoever was added again may be another member by now.
            let was = old.and_then(|old| self.lines.connections.get(&old)).map(|old| {
                let end = old.direction_from(theirs);
                old.members[end]
            });
            self.feed(at, |node, now, outputs| {
                if let Some(peer) = was {
                    node.handle(Input::Disconnected { peer }, now, outputs);
                }
                node.handle(Input::Connected { peer, session_key }, now, outputs);
            });
            if let Some(old) = old {
                self.forget(old, at);
            }
        }
    }

    fn admits(&self, at: usize, peer: usize) -> bool {
        let identity = &self.machines[peer].identity;
        let store = self.machines[at].store();
        store.is_some_and(|store| {
            let roster = store.roster();
            let known = roster.member(identity.member);
            known.is_some_and(|known| known.public_key == identity.signing.public())
        })
    }

    /// Ends the connection of two machines: of what is on its way only the first part still arrives.
    pub fn cut(&mut self, one: usize, other: usize) {
        let Some(number) = self.lines.pair(one, other).live.take() else { return };
        let Some(connection) = self.lines.connections.get_mut(&number) else { return };
        connection.is_cut = true;
        for queue in &mut connection.queues {
            let kept = self.chance.index(queue.len() + 1);
            self.counts.add("frames lost", (queue.len() - kept) as u64);
            queue.truncate(kept);
        }
        for machine in [one, other] {
            let learns = self.chance.below(LEARNS_MS);
            self.after(learns, Happening::Gone { connection: number, machine });
        }
    }

    pub(super) fn gone(&mut self, number: u64, at: usize) {
        let Some(connection) = self.lines.connections.get(&number) else { return };
        if !self.machines[at].is_awake() && self.machines[at].running.is_some() {
            return self
                .after(super::BUSY_TICK_MS, Happening::Gone { connection: number, machine: at });
        }
        let end = connection.direction_from(at);
        let (theirs, peer) = (connection.ends[1 - end], connection.members[1 - end]);
        if self.machines[at].peers.get(&theirs) == Some(&number) {
            self.machines[at].peers.remove(&theirs);
            self.feed(at, |node, now, outputs| {
                node.handle(Input::Disconnected { peer }, now, outputs);
            });
        }
        self.forget(number, at);
    }

    /// One end reads no more of a connection; when neither does, it is gone.
    fn forget(&mut self, number: u64, at: usize) {
        let Some(connection) = self.lines.connections.get_mut(&number) else { return };
        connection.is_cut = true;
        let incoming = 1 - connection.direction_from(at);
        connection.queues[incoming].clear();
        let [one, other] = connection.ends;
        let is_read = |at: usize, from: usize| self.machines[at].peers.get(&from) == Some(&number);
        if !is_read(one, other) && !is_read(other, one) {
            self.lines.connections.remove(&number);
        }
        let pair = self.lines.pair(one, other);
        if pair.live == Some(number) {
            pair.live = None;
        }
    }

    /// The node cut its peer off.
    pub(super) fn disconnect(&mut self, at: usize, peer: MemberId) {
        let Some((theirs, number)) = self.connection_with(at, peer) else { return };
        self.machines[at].peers.remove(&theirs);
        self.after(0, Happening::Gone { connection: number, machine: theirs });
        self.forget(number, at);
    }

    /// Peers that a machine's roster does not have any more are cut off at once.
    pub(super) fn cut_off_strangers(&mut self, at: usize) {
        let peers: Vec<(usize, u64)> =
            self.machines[at].peers.iter().map(|(peer, number)| (*peer, *number)).collect();
        for (peer, number) in peers {
            if !self.admits(at, peer) {
                self.gone(number, at);
                self.after(0, Happening::Gone { connection: number, machine: peer });
            }
        }
    }
}

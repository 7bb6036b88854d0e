//! Machines start, stop, are killed, and lose their power.
//! Never cleans up behind them: what a daemon leaves, the next one finds.

use super::{Cluster, Happening};
use crate::machine::disk::WatchedDisk;
use quar_node::Input;
use std::sync::Arc;

/// Longest time until a peer notices that a machine is gone, in milliseconds.
const NOTICED_MS_MAX: u64 = 20_000;

impl Cluster {
    /// Starts a node. One that does not open stays down.
    pub fn start(&mut self, at: usize) {
        if self.machines[at].running.is_some() {
            return;
        }
        let authority = self.authority.public();
        match self.machines[at].start(self.now, authority, &mut self.chance) {
            Ok(report) => {
                let rebuilt = report.rebuilt.is_some();
                let (replayed, torn) = (report.replayed_records, report.torn_tails);
                let damaged = report.damaged.len();
                self.note(format_args!(
                    "node{} started: {replayed} replayed, {torn} torn, {damaged} damaged, rebuilt: {rebuilt}",
                    at + 1
                ));
                self.counts.add("index rebuilt", u64::from(rebuilt));
                self.counts.add("torn tails", torn);
            }
            Err(error) => {
                self.counts.see("start failed");
                self.note(format_args!("node{} does not start: {error}", at + 1));
            }
        }
        crate::invariants::unlinked_late_enough::unlinked(self, at);
    }

    /// Stops a node as an operator does.
    pub fn stop(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let Some(running) = &mut machine.running else { return };
        let store = running.store.clone();
        let mut outcomes = running.committing.take().unwrap_or_default();
        let last = store.commit();
        for (_, outcome) in &last {
            self.ledger.learn(at, &mut machine.holdings, &store, outcome);
        }
        outcomes.extend(last);
        self.feed(at, |node, now, outputs| {
            node.handle(Input::Committed(outcomes), now, outputs);
            node.handle(Input::Stop, now, outputs);
        });
        self.checkpoint(at);
        store.close();
        self.note(format_args!("node{} stopped", at + 1));
        self.leave(at);
    }

    /// The process is killed: what it wrote is in the page cache, what its index kept to itself is gone.
    pub fn kill(&mut self, at: usize) {
        self.leave(at);
        let machine = &mut self.machines[at];
        let kept = self.chance.index(machine.index.unflushed() + 1);
        machine.index = Arc::new(machine.index.crash_with(kept));
        self.note(format_args!("node{} killed", at + 1));
    }

    /// The power goes: of what was not synced any part may be there.
    pub fn cut_power(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if let Some(running) = machine.running.as_ref().filter(|it| it.store.has_failed()) {
            machine.torn.extend(running.store.buckets());
        }
        self.kill(at);
        let machine = &mut self.machines[at];
        let left = machine.disk.memory().crash_with(self.chance.rng());
        machine.disk = WatchedDisk::new(left);
        self.note(format_args!("node{} lost its power", at + 1));
    }

    /// The node is gone; its peers learn of it in their own time.
    fn leave(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.holdings.has_more |= machine.store().is_some_and(|store| store.has_failed());
        machine.running = None;
        machine.stalled_until = None;
        machine.starts += 1;
        let peers = std::mem::take(&mut machine.peers);
        for (peer, connection) in peers {
            if let Some(held) = self.lines.connections.get_mut(&connection) {
                held.is_cut = true;
                let from_peer = held.direction_from(peer);
                held.queues[from_peer].clear();
            }
            let pair = self.lines.pair(at, peer);
            if pair.live == Some(connection) {
                pair.live = None;
            }
            let noticed = self.chance.below(NOTICED_MS_MAX);
            self.after(noticed, Happening::Gone { connection, machine: peer });
        }
    }
}

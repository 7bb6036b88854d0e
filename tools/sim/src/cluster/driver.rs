//! Drives a node as the daemon does (src/daemon/driver.rs): inputs, flush, outputs, commits.
//! Never lets the node know more than its daemon would.

use super::{Cluster, Happening};
use crate::invariants;
use crate::operations::{self, Waiter};
use quar_base::roster::SignedRoster;
use quar_base::time::UnixMillis;
use quar_node::{Input, Node, Output, Request, Token};
use std::sync::Arc;

/// How often the index is flushed, in milliseconds.
const CHECKPOINT_EVERY_MS: u64 = 10_000;
/// How often it is looked how much room there is.
const ROOM_EVERY_MS: u64 = 5_000;
/// How often upkeep is done.
const UPKEEP_EVERY_MS: u64 = 60_000;

impl Cluster {
    /// Hands inputs to a machine's node, and performs what it answers.
    pub(super) fn feed(
        &mut self,
        at: usize,
        inputs: impl FnOnce(&mut Node, UnixMillis, &mut Vec<Output>),
    ) {
        let machine = &mut self.machines[at];
        let clock = machine.clock(self.now);
        let Some(running) = &mut machine.running else { return };
        let mut outputs = Vec::new();
        inputs(&mut running.node, clock, &mut outputs);
        running.node.flush(clock, &mut outputs);
        // Which of this step's answers it was cannot be told: any of them may be short of copies.
        let counted = running.node.under_replicated();
        let may_be_short = std::mem::replace(&mut running.under_replicated, counted) < counted;
        for output in outputs {
            self.perform(at, output, may_be_short);
        }
        self.begin_commit(at);
    }

    /// A surface of a machine asks its node.
    pub fn request(&mut self, at: usize, request: Request, waiter: Waiter) {
        let machine = &mut self.machines[at];
        let clock = machine.clock(self.now);
        let Some(running) = &mut machine.running else { return };
        let token = Token(running.next_token);
        running.next_token += 1;
        running.waiters.insert(token, waiter);
        // Should its sync fail, the action may be there after the next start all the same, whatever was answered.
        if let Request::Act { message, .. } = &request {
            self.ledger.stamped(*message, running.node.time(clock));
        }
        self.feed(at, |node, now, outputs| {
            node.handle(Input::Request { token, request }, now, outputs);
        });
    }

    fn perform(&mut self, at: usize, output: Output, may_be_short: bool) {
        match output {
            Output::Send { peer, kind, payload } => self.send(at, peer, kind, payload),
            Output::Disconnect { peer, offence } => {
                self.counts.see("offence, cut off");
                self.note(format_args!("node{} cuts {} off: {offence}", at + 1, peer.short()));
                self.disconnect(at, peer);
            }
            Output::Offence { peer, offence } => {
                self.counts.see("offence, refused");
                self.note(format_args!("node{} refuses {}'s: {offence}", at + 1, peer.short()));
            }
            Output::Answer { token, answer } => {
                let Some(running) = &mut self.machines[at].running else { return };
                if let Some(waiter) = running.waiters.remove(&token) {
                    operations::answered(self, at, waiter, answer, may_be_short);
                }
            }
            Output::AdoptRoster(signed) => {
                let epoch = signed.roster().epoch;
                self.note(format_args!("node{} adopts roster {epoch}", at + 1));
                self.set_roster(at, signed);
            }
            Output::Unlink => self.unlink(at),
        }
    }

    /// A roster is saved, then used: members that are not in it are cut off at once.
    pub fn set_roster(&mut self, at: usize, signed: SignedRoster) {
        let machine = &mut self.machines[at];
        machine.roster = signed.clone();
        let Some(running) = &mut machine.running else { return };
        running.store.set_roster(Arc::new(signed.roster().clone()));
        running.node.set_roster(signed);
        self.cut_off_strangers(at);
    }

    pub fn begin_commit(&mut self, at: usize) {
        let Self { machines, ledger, chance, .. } = self;
        let machine = &mut machines[at];
        let Some(running) = &mut machine.running else { return };
        if running.committing.is_some() || !running.store.has_pending() {
            return;
        }
        let outcomes = running.store.commit();
        let me = machine.identity.member;
        let made = outcomes.iter().filter_map(|(_, outcome)| match outcome {
            quar_store::Outcome::Stored(stored) => stored.record.as_ref(),
            _ => None,
        });
        // A disk that was replaced takes from peers what its machine made before.
        let made: Vec<_> = made
            .filter(|record| record.head().author == me)
            .map(|record| (record.head().bucket, record.key()))
            .filter(|name| !ledger.records.contains_key(name))
            .collect();
        for (_, outcome) in &outcomes {
            ledger.learn(at, &mut machine.holdings, &running.store, outcome);
        }
        running.committing = Some(outcomes);
        let starts = machine.starts;
        let most = machine.commit_ms_max.max(u64::from(chance.percent(20)) * 20);
        let delay = chance.below(most + 1);
        self.after(delay, Happening::Committed { machine: at, starts });
        invariants::removed_changes_nothing::made(self, at, made);
    }

    pub(super) fn committed(&mut self, at: usize, starts: u32) {
        if self.machines[at].starts != starts {
            return;
        }
        if self.machines[at].stalled_until.is_some() {
            return self.after(super::BUSY_TICK_MS, Happening::Committed { machine: at, starts });
        }
        let Some(running) = &mut self.machines[at].running else { return };
        let Some(outcomes) = running.committing.take() else { return };
        self.feed(at, |node, now, outputs| {
            node.handle(Input::Committed(outcomes), now, outputs);
        });
    }

    pub(super) fn tick(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.stalled_until.is_some_and(|until| until <= self.now) {
            machine.stalled_until = None;
            self.resume_arrivals();
        }
        if !self.machines[at].is_awake() {
            return;
        }
        self.feed(at, |node, now, outputs| node.handle(Input::Tick, now, outputs));
        let now = self.now;
        let is_due = |last: UnixMillis, every_ms: u64| (now - last).0 >= every_ms;
        let Some(running) = &mut self.machines[at].running else { return };
        if is_due(running.checkpoint_at, CHECKPOINT_EVERY_MS) {
            running.checkpoint_at = now;
            self.checkpoint(at);
        }
        let Some(running) = &mut self.machines[at].running else { return };
        if is_due(running.room_at, ROOM_EVERY_MS) {
            running.room_at = now;
            running.store.tend_reserve();
        }
        if is_due(running.upkeep_at, UPKEEP_EVERY_MS) {
            running.upkeep_at = now;
            self.upkeep(at);
        }
        self.restart_if_failed(at);
    }

    /// What a service manager does.
    pub fn restart_if_failed(&mut self, at: usize) {
        if self.machines[at].store().is_some_and(|store| store.has_failed()) {
            self.counts.see("store failed");
            self.note(format_args!("node{} is restarted: its store failed", at + 1));
            self.kill(at);
            self.start(at);
        }
    }
}

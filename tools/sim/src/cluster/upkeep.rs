//! What a daemon does for its store by and by (src/daemon/upkeep.rs, room.rs): flush, erase, pack, check, unlink.
//! Never hurries: everything here is over at once, and may be broken off by chance.

use super::Cluster;
use crate::invariants;
use quar_base::key::{Bucket, MessageId};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// A bucket is checked again after this, in milliseconds.
const CHECK_AGAIN_AFTER_MS: u64 = 24 * 3_600_000;
/// A damaged delete that no peer has given for so long is made again.
const DELETE_AGAIN_AFTER_MS: u64 = 60_000;
/// Half of the time in which deleted messages of packed days have to be erased.
const ERASE_AFTER_MS: u64 = 30 * 60_000;

impl Cluster {
    /// The index becomes durable, and the time until which the node ran.
    pub fn checkpoint(&mut self, at: usize) {
        let machine = &self.machines[at];
        let clock = machine.clock(self.now);
        let Some(running) = &machine.running else { return };
        // What fails here is replayed, or waits after a restart.
        let _ = running.store.checkpoint();
        let _ = running.store.save_last_seen(running.node.last_seen(clock));
    }

    /// One round of upkeep.
    pub fn upkeep(&mut self, at: usize) {
        self.erase(at);
        self.delete_again(at);
        self.pack(at);
        self.check(at);
    }

    /// Erases what was deleted: of open days at once, of packed days together, in time.
    pub fn erase(&mut self, at: usize) {
        let now = self.now;
        let Some(running) = &mut self.machines[at].running else { return };
        let store = running.store.clone();
        let packed: Vec<Bucket> = store.packed().iter().map(|(bucket, ..)| *bucket).collect();
        let erasable = store.erasable();
        running.erasable_since.retain(|bucket, _| erasable.contains(bucket));
        for bucket in erasable {
            let running = self.machines[at].running.as_mut().expect("it was just there");
            let since = *running.erasable_since.entry(bucket).or_insert(now);
            if packed.contains(&bucket) && (now - since).0 < ERASE_AFTER_MS {
                continue;
            }
            running.erasable_since.remove(&bucket);
            if let Ok(erased) = store.erase(bucket) {
                self.counts.add("messages erased", erased.messages);
                self.note(format_args!("node{} erased {} of {bucket}", at + 1, erased.messages));
                let Self { machines, ledger, .. } = self;
                machines[at].holdings.erase(bucket, ledger);
            }
        }
    }

    /// What deletes said whose records are damaged and that no peer has given for a while is said again.
    fn delete_again(&mut self, at: usize) {
        let now = self.now;
        let Some(running) = &mut self.machines[at].running else { return };
        let lost = running.store.lost_deletes();
        running.lost_since.retain(|delete, _| lost.contains(delete));
        let is_due = |delete: &MessageId| {
            let since = *running.lost_since.entry(*delete).or_insert(now);
            (now - since).0 >= DELETE_AGAIN_AFTER_MS
        };
        let due: BTreeSet<MessageId> = lost.into_iter().filter(is_due).collect();
        running.store.delete_again(&due);
        self.counts.add("damaged delete made again", due.len() as u64);
        self.begin_commit(at);
    }

    /// Packs closed days; now and then it is broken off.
    pub fn pack(&mut self, at: usize) {
        let clock = self.machines[at].clock(self.now);
        let Some(store) = self.machines[at].store() else { return };
        for bucket in store.packable(clock.day()) {
            let mut left = if self.chance.percent(15) { self.chance.below(4) } else { u64::MAX };
            let mut step = |_| {
                left = left.saturating_sub(1);
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let packed = store.pack(bucket, &mut step);
            if let Ok(Some(packed)) = packed {
                self.counts.see("day packed");
                self.note(format_args!("node{} packed {bucket}: {} bodies", at + 1, packed.bodies));
                let Self { machines, ledger, .. } = self;
                machines[at].holdings.erase(bucket, ledger);
            }
        }
    }

    /// Checks buckets that were not checked for a day, and marks what is damaged.
    pub fn check(&mut self, at: usize) {
        let now = self.now;
        let Some(running) = &mut self.machines[at].running else { return };
        let store = running.store.clone();
        let buckets = store.buckets();
        running.checked.retain(|bucket, _| buckets.contains(bucket));
        for bucket in buckets {
            let Some(running) = &mut self.machines[at].running else { return };
            let last = running.checked.get(&bucket);
            if last.is_some_and(|last| (now - *last).0 < CHECK_AGAIN_AFTER_MS) {
                continue;
            }
            running.checked.insert(bucket, now);
            if let Ok(Some((_, findings))) = store.check(bucket, &|_| ControlFlow::Continue(())) {
                let _ = store.mark_broken(&findings);
                if !findings.is_empty() {
                    self.counts.see("damage found by a check");
                    let first = &findings[0];
                    self.note(format_args!("node{} found in {bucket}: {first}", at + 1));
                }
                invariants::index_equals_rebuild::checked(self, at, bucket, &findings);
            }
        }
    }

    /// Expired days go.
    pub(super) fn unlink(&mut self, at: usize) {
        let Some(store) = self.machines[at].store() else { return };
        if let Ok(expired) = store.unlink_expired() {
            let _ = store.forget_expired(&expired);
        }
        invariants::unlinked_late_enough::unlinked(self, at);
    }
}

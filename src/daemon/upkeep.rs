//! What a node does for its store by and by: erase what was deleted, pack closed days, check everything on disk.
//! Never hurries: packing and checking keep to a rate, and stop when the daemon does or an erasure is due.

use crate::api::UpkeepStatus;
use crate::config::Upkeep as Settings;
use crate::daemon::clock::Clock;
use quar_base::key::{Bucket, MessageId};
use quar_store::{Finding, PackProgress, ReadError, Store};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked whether there is something to do.
const EVERY: Duration = Duration::from_secs(60);
/// Of an open day up to this, what is deleted is erased at the next round: it is read, and in part written, each time.
const SMALL_DAY_BYTES: u64 = 64 << 20;
/// A delete whose record is damaged and that no peer has given for so long is made again.
const DELETE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Findings that the status shows.
const FINDINGS_SHOWN: usize = 100;
/// A longer wait for the rate is cut, so that a stop is noticed.
const NAP_MAX: Duration = Duration::from_millis(200);

/// The work, and what the status says of it.
#[derive(Clone)]
pub struct Upkeep {
    store: Arc<Store>,
    clock: Clock,
    settings: Settings,
    report: Arc<Mutex<UpkeepStatus>>,
    /// Days with deleted messages.
    seen: Arc<Mutex<HashMap<Bucket, Erasable>>>,
    /// When a day's check was broken off.
    broken_off: Arc<Mutex<HashMap<Bucket, Duration>>>,
    /// When a damaged delete was first seen.
    lost: Arc<Mutex<HashMap<MessageId, Duration>>>,
}

/// A day's deleted messages.
#[derive(Clone, Copy)]
struct Erasable {
    /// When they were first seen.
    first: Duration,
    /// Whether the last try to erase them failed.
    has_failed: bool,
}

impl Upkeep {
    /// Nothing done yet.
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Clock, settings: Settings) -> Self {
        let (report, seen, broken_off, lost) = Default::default();
        Self { store, clock, settings, report, seen, broken_off, lost }
    }

    /// What was done, is being done and was found.
    #[must_use]
    pub fn status(&self) -> UpkeepStatus {
        let mut status = locked(&self.report).clone();
        let packed = self.store.packed();
        status.packed_days = packed.len() as u64;
        status.packed_records = packed.iter().map(|(_, records, _)| records).sum();
        let erasing = self.store.erasable();
        status.erasing_days = erasing.len() as u64;
        status.erasing = erasing.iter().map(ToString::to_string).collect();
        self.tell_checks(&mut status);
        let broken = self.store.broken_records();
        status.broken_records = broken.len() as u64;
        status
    }

    /// What the last checks found and how long ago they were, whoever made them.
    fn tell_checks(&self, status: &mut UpkeepStatus) {
        let (now, checks) = (self.clock.now(), self.store.last_checks());
        let texts = || checks.values().flat_map(|last| &last.findings);
        status.findings = texts().count() as u64;
        status.finding_texts = texts().take(FINDINGS_SHOWN).cloned().collect();
        status.checked_days = checks.len() as u64;
        let is_unchecked = |bucket: &&Bucket| !checks.contains_key(bucket);
        status.unchecked_days = self.store.buckets().iter().filter(is_unchecked).count() as u64;
        let oldest = checks.values().map(|last| last.at).min();
        status.oldest_check_s = oldest.map(|at| now.0.saturating_sub(at.0) / 1000);
    }

    /// Works until the daemon stops.
    pub async fn run(self, stopping: watch::Receiver<bool>) {
        let every = self.clock.upkeep_every(EVERY);
        let mut stopped = stopping.clone();
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(every) => {}
            }
            let (upkeep, stop) = (self.clone(), stopping.clone());
            let round = tokio::task::spawn_blocking(move || {
                upkeep.erase(&stop);
                upkeep.delete_again();
                if upkeep.pack(&stop).is_continue() {
                    // Broken off or through: there is another round.
                    let _ = upkeep.check(&stop);
                }
            });
            if let Err(error) = round.await {
                tracing::error!(%error, "upkeep ended badly; it goes on");
            }
        }
    }

    /// Of small open days at once, since little has to be written anew; of all others together, in time.
    fn erase(&self, stop: &watch::Receiver<bool>) {
        let packed: Vec<Bucket> = self.store.packed().iter().map(|(bucket, ..)| *bucket).collect();
        for (bucket, Erasable { first, .. }) in self.erasable() {
            // What was deleted before the start may have waited long.
            let is_old = first < 2 * EVERY || self.is_overdue(first);
            let is_large = || self.store.unpacked_bytes(bucket) > SMALL_DAY_BYTES;
            if !is_old && (packed.contains(&bucket) || is_large()) {
                continue;
            }
            let mut step = |progress: PackProgress| self.keep_to_rate(first, progress.bytes, stop);
            match self.store.erase_in_steps(bucket, &mut step) {
                Ok(Some(erased)) => {
                    locked(&self.seen).remove(&bucket);
                    locked(&self.report).erased_messages += erased.messages;
                    self.succeeded("erasing", bucket);
                    tracing::info!(%bucket, messages = erased.messages, "erased");
                }
                // The daemon stops.
                Ok(None) => return,
                Err(error) => {
                    if let Some(erasable) = locked(&self.seen).get_mut(&bucket) {
                        erasable.has_failed = true;
                    }
                    self.failed("erasing", bucket, &error);
                }
            }
        }
    }

    /// An erasure keeps to the rate of packing as long as it has time for that; whether to go on.
    fn keep_to_rate(
        &self,
        first: Duration,
        bytes: u64,
        stop: &watch::Receiver<bool>,
    ) -> ControlFlow<()> {
        let waited = self.clock.since_start().saturating_sub(first);
        let is_late = waited >= Duration::from_millis(self.settings.erase_after.0);
        nap(if is_late { 0 } else { bytes }, self.settings.pack_bytes_per_s, stop)
    }

    /// Days that hold something deleted.
    fn erasable(&self) -> Vec<(Bucket, Erasable)> {
        let new = Erasable { first: self.clock.since_start(), has_failed: false };
        let mut seen = locked(&self.seen);
        let erasable = self.store.erasable();
        // A packing erases too.
        seen.retain(|bucket, _| erasable.contains(bucket));
        erasable.into_iter().map(|bucket| (bucket, *seen.entry(bucket).or_insert(new))).collect()
    }

    /// Peers have had time to give what they have.
    fn delete_again(&self) {
        let now = self.clock.since_start();
        let mut since = locked(&self.lost);
        let lost = self.store.lost_deletes();
        since.retain(|delete, _| lost.contains(delete));
        let mut is_due =
            |delete: &MessageId| now - *since.entry(*delete).or_insert(now) >= DELETE_AGAIN_AFTER;
        let due: BTreeSet<MessageId> = lost.into_iter().filter(|delete| is_due(delete)).collect();
        self.store.delete_again(&due);
    }

    /// Half of the time in which it has to be erased is over.
    fn is_overdue(&self, first: Duration) -> bool {
        let waited = self.clock.since_start().saturating_sub(first);
        waited >= Duration::from_millis(self.settings.erase_after.0) / 2
    }

    /// Waits for the rate; whether to go on. What could not be erased when it was tried keeps nothing else from being
    /// done: it is tried again in between.
    fn nap(&self, bytes: u64, rate: u64, stop: &watch::Receiver<bool>) -> ControlFlow<()> {
        nap(bytes, rate, stop)?;
        let is_waiting = |one: &Erasable| !one.has_failed && self.is_overdue(one.first);
        match self.erasable().iter().any(|(_, erasable)| is_waiting(erasable)) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Breaks when it was broken off.
    fn pack(&self, stop: &watch::Receiver<bool>) -> ControlFlow<()> {
        if !self.settings.pack {
            return ControlFlow::Continue(());
        }
        for bucket in self.store.packable(self.clock.now().day()) {
            let mut step = |progress: PackProgress| {
                let PackProgress { bodies_done, bodies_total, bytes } = progress;
                locked(&self.report).packing =
                    Some(format!("{bucket}: {bodies_done} of {bodies_total} bodies"));
                self.nap(bytes, self.settings.pack_bytes_per_s, stop)
            };
            let packed = self.store.pack(bucket, &mut step);
            locked(&self.report).packing = None;
            match packed {
                Ok(Some(packed)) => {
                    self.succeeded("packing", bucket);
                    tracing::info!(%bucket, bodies = packed.bodies, bytes = packed.bytes, "packed");
                }
                Ok(None) => return ControlFlow::Break(()),
                // One that cannot be packed is no reason to leave the others.
                Err(error) => self.failed("packing", bucket, &error),
            }
            self.erase(stop);
        }
        ControlFlow::Continue(())
    }

    /// Breaks when it was broken off.
    fn check(&self, stop: &watch::Receiver<bool>) -> ControlFlow<()> {
        for bucket in self.due_checks() {
            locked(&self.report).checking = Some(bucket.to_string());
            let rate = self.settings.check_bytes_per_s;
            let result = self.store.check(bucket, &|bytes| self.nap(bytes, rate, stop));
            locked(&self.report).checking = None;
            match result {
                Ok(Some((what, findings))) => {
                    locked(&self.broken_off).remove(&bucket);
                    self.succeeded("checking", bucket);
                    self.found(bucket, what.bytes, &findings);
                }
                Ok(None) => {
                    locked(&self.broken_off).insert(bucket, self.clock.since_start());
                    return ControlFlow::Break(());
                }
                Err(error) => self.failed("checking", bucket, &error),
            }
            self.erase(stop);
        }
        ControlFlow::Continue(())
    }

    /// Days to check, in order. One whose check was broken off comes behind the others: it may take longer than there
    /// ever is time between two erasures.
    fn due_checks(&self) -> Vec<Bucket> {
        let mut due = self.store.due_checks(self.clock.now());
        let mut broken_off = locked(&self.broken_off);
        broken_off.retain(|bucket, _| due.contains(bucket));
        due.sort_by_key(|bucket| broken_off.get(bucket).copied());
        due
    }

    fn failed(&self, what: &str, bucket: Bucket, error: &ReadError) {
        tracing::warn!(%bucket, %error, "{what} failed; it is tried again");
        locked(&self.report).trouble = Some(format!("{what} {bucket} failed: {error}"));
    }

    fn succeeded(&self, what: &str, bucket: Bucket) {
        let prefix = format!("{what} {bucket} ");
        let mut report = locked(&self.report);
        report.trouble = report.trouble.take().filter(|text| !text.starts_with(&prefix));
    }

    fn found(&self, bucket: Bucket, bytes: u64, findings: &[Finding]) {
        for finding in findings {
            tracing::warn!(%bucket, %finding, "found damage");
        }
        let marked = self.store.mark_broken(findings).unwrap_or_else(|error| {
            tracing::warn!(%bucket, %error, "what is damaged could not be marked");
            0
        });
        self.store.note_check(bucket, self.clock.now(), findings);
        let mut report = locked(&self.report);
        report.checked_bytes += bytes;
        report.marked_items += marked;
    }
}

/// Sleeps as long as so many bytes may take at a rate; whether to go on.
fn nap(bytes: u64, bytes_per_s: u64, stop: &watch::Receiver<bool>) -> ControlFlow<()> {
    let mut left = Duration::from_secs_f64(bytes as f64 / bytes_per_s.max(1) as f64);
    while !*stop.borrow() {
        if left.is_zero() {
            return ControlFlow::Continue(());
        }
        std::thread::sleep(left.min(NAP_MAX));
        left = left.saturating_sub(NAP_MAX);
    }
    ControlFlow::Break(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Invariant 9: No byte is unlinked early under any clock skew or jump, and no floor moves back.
//! Never takes a machine's word for the time: the true time counts.
//!
//! A clock within the hour is believed.

use crate::cluster::Cluster;
use crate::invariants::deleted_stays_deleted;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::time::{Day, Millis, UnixMillis};

const NAME: &str = "9 nothing is unlinked early";
/// How far off a clock may be that a node believes: it stamps by it, and keeps days by it.
const BELIEVED_MS: u64 = 3_660_000;

/// A machine unlinked expired days.
pub fn unlinked(cluster: &mut Cluster, at: usize) {
    let unlinked = cluster.machines[at].disk.take_unlinked();
    if !unlinked.is_empty() {
        raise_floors(cluster, at);
    }
    let latest = cluster.now.plus(Millis(BELIEVED_MS)).day();
    for bucket in unlinked {
        cluster.counts.see("day unlinked");
        cluster.note(format_args!("node{} unlinked {bucket}", at + 1));
        let machine = &mut cluster.machines[at];
        let was_unlinked = machine.holdings.unlinked.contains(&bucket);
        machine.holdings.unlink(bucket);
        let days = machine.kept_days(bucket.class);
        let is_early = days.is_none_or(|days| bucket.day.0 + days >= latest.0);
        if is_early && !was_unlinked {
            let what = format!("node{} unlinked {bucket} on {latest}, kept for {days:?}", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

/// After the faults: what is kept no longer is not shown any more.
pub fn at_end(cluster: &mut Cluster) {
    // Who heard no peer yet may think it a little earlier.
    let today = UnixMillis(cluster.now.0 - 60_000).day();
    for at in cluster.members() {
        let Some(store) = cluster.machines[at].store() else { continue };
        let shown = deleted_stays_deleted::shown(&store).unwrap_or_default();
        let machine = &cluster.machines[at];
        let is_over = |id: &&MessageId| {
            let days = machine.kept_days(id.bucket.class);
            days.is_some_and(|days| id.bucket.day < today.minus(days))
        };
        if let Some(id) = shown.iter().find(is_over) {
            let what = format!("node{} shows {id} on {today}, which is kept no longer", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

/// What a machine unlinked of one class it keeps of none: every class has its floor from then on.
fn raise_floors(cluster: &mut Cluster, at: usize) {
    let machine = &mut cluster.machines[at];
    let clock = machine.clock(cluster.now);
    let Some(running) = &machine.running else { return };
    let today = running.node.time(clock).day();
    for class in Class::known() {
        let Some(days) = machine.kept_days(class) else { continue };
        let kept = machine.holdings.kept.entry(class).or_insert(Day(0));
        *kept = today.minus(days).max(*kept);
    }
}

//! Clocks that go wrong: by seconds, by hours, by a year.
//! Never most of them at once, and none by much for two days: then nobody could tell.

use super::{Ending, Faults};
use crate::chance::Chance;
use crate::cluster::Cluster;

/// A clock further off than this is wrong.
const WRONG_MS: u64 = 1_000;

/// Sets a machine's clock so far off.
pub fn set(cluster: &mut Cluster, at: usize, clock_ms: i64) {
    if cluster.machines[at].clock_ms != clock_ms {
        cluster.note(format_args!("node{}'s clock is {clock_ms} ms off", at + 1));
        cluster.machines[at].clock_ms = clock_ms;
        cluster.machines[at].clock_set_at = cluster.now;
    }
}

/// A machine whose clock may go wrong beside the others.
fn candidate(cluster: &Cluster, chance: &mut Chance) -> Option<usize> {
    let at = chance.index(cluster.machines.len());
    let is_wrong =
        |other: usize| other != at && cluster.machines[other].clock_ms.unsigned_abs() > WRONG_MS;
    let wrong = (0..cluster.machines.len()).filter(|other| is_wrong(*other)).count();
    let members = cluster.members().len();
    (2 * (wrong + 1) < members).then_some(at)
}

fn either_way(milliseconds: u64, chance: &mut Chance) -> i64 {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    if chance.percent(50) { milliseconds } else { -milliseconds }
}

/// A clock is off by less than a node would notice.
pub fn skew(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let Some(at) = candidate(cluster, chance) else { return };
    cluster.counts.fault("clock skew");
    let most = if chance.percent(50) { 20_000 } else { 50 * 60_000 };
    let off = either_way(chance.below(most), chance);
    set(cluster, at, off);
    faults.lasts(cluster, chance.between(10_000, 24 * 3_600_000), Ending::Clock(at));
}

/// A clock is set wrong by hours, days, or a year.
pub fn jump(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let Some(at) = candidate(cluster, chance) else { return };
    cluster.counts.fault("clock jump");
    let hours = match chance.below(3) {
        0 => chance.between(1, 30),
        1 => chance.between(24, 240),
        _ => chance.between(4_000, 10_000),
    };
    let off = either_way(hours * 3_600_000 + chance.below(3_600_000), chance);
    set(cluster, at, off);
    if chance.percent(30) {
        // It was found wrong at a start.
        cluster.kill(at);
        cluster.start(at);
    }
    faults.lasts(cluster, chance.between(1_000, 120_000), Ending::Clock(at));
}

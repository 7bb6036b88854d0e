//! What goes wrong with a machine as a whole: it stalls, is killed, loses its power, is off for long.
//! Never touches what lies on its disk.

use super::{Ending, Faults};
use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::time::Millis;

/// A machine does nothing for a while.
pub fn stall(cluster: &mut Cluster, chance: &mut Chance, _: &mut Faults) {
    let Some(at) = chance.pick(&cluster.awake()) else { return };
    cluster.counts.fault("stalled peer");
    let length = chance.between(500, 60_000);
    cluster.note(format_args!("node{} stalls for {length} ms", at + 1));
    cluster.machines[at].stalled_until = Some(cluster.now.plus(Millis(length)));
}

/// A machine loses its power, and has it back some time later.
pub fn power_cut(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let Some(at) = chance.pick(&cluster.running()) else { return };
    cluster.counts.fault("power cut");
    cluster.cut_power(at);
    faults.lasts(cluster, chance.below(40_000), Ending::Start(at));
}

/// A daemon is killed, and started some time later.
pub fn kill(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let Some(at) = chance.pick(&cluster.running()) else { return };
    cluster.counts.fault("process killed");
    cluster.kill(at);
    faults.lasts(cluster, chance.below(10_000), Ending::Start(at));
}

/// A machine is off for longer than a class is kept.
pub fn off_for_long(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let Some(at) = chance.pick(&cluster.running()) else { return };
    cluster.counts.fault("off for longer than the retention");
    if chance.percent(50) {
        cluster.cut_power(at);
    } else {
        cluster.stop(at);
    }
    // Nobody's clock is wrong for as long.
    for machine in 0..cluster.machines.len() {
        super::clock::set(cluster, machine, 0);
    }
    let kept = cluster.machines[at].retention.0.values().flatten().min().copied().unwrap_or(1);
    let days = u64::from(kept.min(2)) + 1;
    let length = days * 86_400_000 + chance.below(20 * 3_600_000);
    cluster.note(format_args!("node{} is off for {days} days", at + 1));
    cluster.sleep(length);
    faults.end_due(cluster);
    cluster.start(at);
}

//! Upkeep at once: packing, erasing, checking, flushing.
//! Never out of turn: a node does each of them by itself as well, only later.

use super::some_machine;
use crate::chance::Chance;
use crate::cluster::Cluster;

/// One kind of it on some machine.
pub fn upkeep(cluster: &mut Cluster, chance: &mut Chance) {
    let Some(at) = some_machine(cluster, chance) else { return };
    match chance.below(4) {
        0 => {
            cluster.counts.operation("erase");
            cluster.erase(at);
        }
        1 => {
            cluster.counts.operation("pack");
            cluster.pack(at);
        }
        2 => {
            cluster.counts.operation("check");
            if let Some(running) = &mut cluster.machines[at].running {
                running.checked.clear();
            }
            cluster.check(at);
        }
        _ => {
            cluster.counts.operation("flush");
            cluster.checkpoint(at);
        }
    }
}

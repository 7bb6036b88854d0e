//! Reading: bodies, and whole listings.
//! Never waits for a peer: a body that is missing is asked for, and read another time.

use super::{some_machine, some_message};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::invariants;

/// Reads some message on some machine, or lists what it has.
pub fn read(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    if chance.percent(25) {
        cluster.counts.operation("list");
        invariants::deleted_stays_deleted::on(cluster, at);
        return;
    }
    cluster.counts.operation("read");
    invariants::acknowledged_is_readable::read(cluster, at, id);
}

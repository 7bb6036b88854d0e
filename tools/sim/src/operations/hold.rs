//! Holding a message, and letting a hold go.
//! Never deletes an original.

use super::{Waiter, delete, some_machine, some_message};
use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_node::Request;
use quar_store::Holding;

/// Holds a message, if the machine has all of it.
pub fn hold(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    let Some(store) = cluster.machines[at].store() else { return };
    if let Ok(Holding::New(new)) = store.hold(id) {
        cluster.counts.operation("hold");
        cluster.note(format_args!("node{} is to hold {}", at + 1, id.key.id.short()));
        cluster.request(at, Request::Hold(new), Waiter::Hold(id));
    }
}

/// Lets a hold go: its held copies are deleted.
pub fn unhold(cluster: &mut Cluster, chance: &mut Chance) {
    let order = &cluster.ledger.order;
    let held: Vec<MessageId> =
        order.iter().filter(|id| id.bucket.class == Class::HELD).copied().collect();
    let (Some(at), Some(id)) = (some_machine(cluster, chance), chance.pick(&held)) else { return };
    let Some(store) = cluster.machines[at].store() else { return };
    let Ok(all) = store.holds_of(id) else { return };
    for held in all {
        if delete::delete(cluster, at, held, &mut |_| true) {
            cluster.counts.operation("unhold");
        }
    }
}

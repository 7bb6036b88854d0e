//! Deleting: for all recipients, for some of them, and on two machines that may not know of each other.
//! Never deletes what the machine does not show, as no surface does.

use super::{Waiter, some_machine, some_message};
use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_node::Request;

/// For all recipients.
pub fn whole(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    if delete(cluster, at, id, &mut |_| true) {
        cluster.counts.operation("delete");
    }
}

/// For some recipients.
pub fn some(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    if delete(cluster, at, id, &mut |_| chance.percent(60)) {
        cluster.counts.operation("delete for some");
    }
}

/// On two machines at once.
pub fn both_sides(cluster: &mut Cluster, chance: &mut Chance) {
    let Some(id) = some_message(cluster, chance) else { return };
    let (one, other) = (some_machine(cluster, chance), some_machine(cluster, chance));
    let halves = chance.percent(50);
    for (at, side) in [(one, 0), (other, 1)] {
        let Some(at) = at else { return };
        if delete(cluster, at, id, &mut |index| !halves || index % 2 == side) {
            cluster.counts.operation("delete on both sides");
        }
    }
}

/// Deletes for the recipients that `chosen` says; whether it was asked for.
pub fn delete(
    cluster: &mut Cluster,
    at: usize,
    id: MessageId,
    chosen: &mut dyn FnMut(usize) -> bool,
) -> bool {
    let Some(store) = cluster.machines[at].store() else { return false };
    let Ok(message) = store.message(id) else { return false };
    let count = message.arrival.recipient_count();
    let whom: Vec<usize> = (0..count).filter(|index| chosen(*index)).collect();
    let set = RecipientSet::of(count, &whom).expect("indices below the count");
    cluster.ledger.ask(id, &set);
    let action = Action::Deleted(set);
    cluster.note(format_args!("node{} is to delete {} for {whom:?}", at + 1, id.key.id.short()));
    cluster.request(at, Request::Act { message: id, action }, Waiter::Delete(id, whom));
    true
}

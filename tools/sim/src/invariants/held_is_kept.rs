//! Invariant 6: A held message (its own message id) is never erased while the hold stands.
//! Never looks at the original, which may be gone.

use crate::cluster::Cluster;
use quar_base::class::Class;
use quar_base::key::MessageId;

const NAME: &str = "6 held messages are kept";

/// What a machine has of the held messages that its own disk held.
pub fn on(cluster: &mut Cluster, at: usize) {
    let machine = &cluster.machines[at];
    let Some(store) = machine.store() else { return };
    let held = machine.holdings.arrivals.iter().filter(|id| id.bucket.class == Class::HELD);
    let held: Vec<MessageId> = held.copied().collect();
    for id in held {
        let must = super::acknowledged_is_readable::must_be_readable(cluster, at, id);
        if must && store.body(id).is_err() {
            let what = format!("node{} cannot read {id}, which it holds", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

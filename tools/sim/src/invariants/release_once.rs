//! Invariant 8: Strict release delivers at most once per recipient; available release at most once per node.
//! Never judges strict release, which this version does not have: it needs the group's claims.

use crate::cluster::Cluster;
use quar_base::key::MessageId;

const NAME: &str = "8 released once";

/// A machine handed a message over for a recipient, and the mail server did not refuse it.
pub fn handed_over(cluster: &mut Cluster, at: usize, id: MessageId, recipient: usize) {
    let key = (id, recipient, at, cluster.machines[at].disks);
    let times = cluster.delivered.entry(key).or_default();
    *times += 1;
    if *times > 1 && !cluster.machines[at].holdings.is_uncertain(id) {
        let what = format!("node{} released {id} twice to recipient {recipient}", at + 1);
        cluster.fail(NAME, what);
    }
}

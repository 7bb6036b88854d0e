//! Invariant 2: Bytes served hash to their id.
//! Never asks the store for the hash.
//!
//! Held more strictly: they are the bytes that were handed in.

use crate::cluster::Cluster;
use crate::ledger::Ledger;
use quar_base::key::MessageId;

const NAME: &str = "2 bytes hash to their id";

/// A machine served these bytes of a message.
pub fn served(cluster: &mut Cluster, at: usize, id: MessageId, bytes: &[u8]) {
    let Some(message) = cluster.ledger.messages.get(&id) else {
        let what = format!("node{} serves {id}, which nobody handed in", at + 1);
        return cluster.fail(NAME, what);
    };
    if Ledger::body_id(bytes) != message.body || cluster.ledger.bytes(id) != bytes {
        let what = format!("node{} serves other bytes of {id}", at + 1);
        cluster.fail(NAME, what);
    }
}

//! Invariant 1: An acknowledged message is readable somewhere while any acknowledging disk survives.
//! Never counts on a disk that was wiped, restored from an older image, or damaged in that day.
//!
//! Held more strictly: by every machine whose own disk holds arrival and body, at any time, and after the
//! faults by all members.

use crate::cluster::Cluster;
use crate::invariants::bytes_match;
use quar_base::key::MessageId;
use quar_node::Input;

const NAME: &str = "1 acknowledged messages are readable";

/// A mail server was told that this message is durable.
///
/// A disk that rotted counts if the body was there before: the machine answers in good faith, and whether the message
/// is lost is seen in the end.
///
/// What is handed in again may be there though no commit said so: the sync that failed, or the power, came
/// too late to undo it. And what was answered before, for fewer copies while peers were away, is answered so again.
pub fn told(cluster: &mut Cluster, at: usize, id: MessageId, may_be_short: bool, is_again: bool) {
    let may_be_short = !cluster.ledger.acknowledged.insert(id) || may_be_short;
    let disks = cluster.ledger.stored.get(&id);
    let is_here = disks.is_some_and(|disks| disks.contains(&at))
        || cluster.machines[at].holdings.is_uncertain(id);
    let copies = disks.map_or(0, std::collections::BTreeSet::len);
    if !is_again && (!is_here || (copies < 2 && !may_be_short)) {
        let what = format!("node{} answered for {id}, which {copies} disks hold", at + 1);
        cluster.fail(NAME, what);
    }
}

/// The message that was answered with must be of the mail that was handed in.
pub fn is_of(cluster: &mut Cluster, at: usize, id: MessageId, mail: usize) {
    if cluster.ledger.messages.get(&id).is_some_and(|message| message.mail != mail) {
        let what = format!("node{} answered m{mail} with {id}, another mail's", at + 1);
        cluster.fail(NAME, what);
    }
}

/// Reads a message on a machine, which must give its bytes if its own disk has them.
pub fn read(cluster: &mut Cluster, at: usize, id: MessageId) {
    let machine = &cluster.machines[at];
    let Some(store) = machine.store() else { return };
    let must = must_be_readable(cluster, at, id);
    match store.body(id) {
        Ok(bytes) => {
            let holdings = &cluster.machines[at].holdings;
            if holdings.covers(id) && !holdings.damaged.contains(&id.bucket) {
                let what = format!("node{} serves {id}, which was deleted there", at + 1);
                return cluster.fail("3 deleted messages stay deleted", what);
            }
            bytes_match::served(cluster, at, id, &bytes);
        }
        Err(error) => {
            if must {
                let what =
                    format!("node{} cannot read {id}, which its disk holds: {error}", at + 1);
                return cluster.fail(NAME, what);
            }
            cluster.ask_node(at, |node, now, outputs| {
                node.handle(Input::Fetch(id), now, outputs);
            });
        }
    }
}

/// Whether a machine's own disk has the message, and nothing says that it be gone.
#[must_use]
pub fn must_be_readable(cluster: &Cluster, at: usize, id: MessageId) -> bool {
    let machine = &cluster.machines[at];
    let holdings = &machine.holdings;
    let Some(message) = cluster.ledger.messages.get(&id) else { return false };
    holdings.has_whole(id, message)
        && !cluster.ledger.may_be_deleted(id)
        && !holdings.is_uncertain(id)
        && machine.store().is_some_and(|store| !store.has_failed())
        && !cluster.may_be_expired(at, id.bucket)
}

/// After the faults: every message that some member's disk holds is readable on all of them.
pub fn at_end(cluster: &mut Cluster) {
    let members = cluster.members();
    let union = cluster.united(&members);
    let ids: Vec<MessageId> = cluster.ledger.order.clone();
    for id in ids {
        let message = &cluster.ledger.messages[&id];
        let may_be_gone = cluster.ledger.may_be_deleted(id) || cluster.is_ahead(id);
        if !union.has_whole(id, message) || may_be_gone {
            continue;
        }
        for at in &members {
            if cluster.may_be_expired(*at, id.bucket) {
                continue;
            }
            let Some(store) = cluster.machines[*at].store() else { continue };
            match store.body(id) {
                Ok(bytes) => bytes_match::served(cluster, *at, id, &bytes),
                Err(error) => {
                    let what = format!("node{} cannot read {id} in the end: {error}", at + 1);
                    return cluster.fail(NAME, what);
                }
            }
        }
    }
}

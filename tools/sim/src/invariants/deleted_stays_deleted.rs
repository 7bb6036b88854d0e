//! Invariant 3: A deleted message is never visible again, anywhere.
//! Never expects of a machine what it was not told, nor what its disk lost.

use crate::cluster::Cluster;
use quar_base::key::MessageId;
use quar_store::{Query, Store};
use std::collections::BTreeSet;

const NAME: &str = "3 deleted messages stay deleted";

/// Somebody was told that a message is deleted for these recipients.
pub fn told(cluster: &mut Cluster, at: usize, id: MessageId, whom: &[usize]) {
    let holdings = &cluster.machines[at].holdings;
    let is_noted = |index: &usize| holdings.covers_one(id, *index);
    if !whom.iter().all(is_noted) && !holdings.is_uncertain(id) {
        let what = format!("node{} says that it deleted {id}, and its disk does not", at + 1);
        cluster.fail(NAME, what);
    }
}

/// What a machine shows at this moment.
pub fn on(cluster: &mut Cluster, at: usize) {
    let Some(store) = cluster.machines[at].store() else { return };
    let Some(shown) = shown(&store) else { return };
    let holdings = &cluster.machines[at].holdings;
    let is_gone = |id: &MessageId| {
        (holdings.covers(*id) && !holdings.damaged.contains(&id.bucket))
            || holdings.unlinked.contains(&id.bucket)
    };
    let back = shown.iter().find(|id| is_gone(id));
    if let Some(id) = back {
        let what = format!("node{} shows {id}, which is gone", at + 1);
        return cluster.fail(NAME, what);
    }
    let deleted: Vec<MessageId> =
        holdings.deletes.keys().filter(|id| is_gone(id)).copied().collect();
    for id in deleted {
        if store.message(id).is_ok() {
            let what = format!("node{} shows {id} when asked, which is deleted", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

/// After the faults: what any member knows to be deleted no member shows.
pub fn at_end(cluster: &mut Cluster) {
    let members = cluster.members();
    let union = cluster.united(&members);
    for at in members {
        let Some(store) = cluster.machines[at].store() else { continue };
        let Some(shown) = shown(&store) else { continue };
        let back = shown.iter().find(|id| union.covers(**id) && !cluster.is_ahead(**id));
        if let Some(id) = back {
            let what = format!("node{} shows {id} in the end, which was deleted", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

/// All that a store lists; `None` when it cannot.
#[must_use]
pub fn shown(store: &Store) -> Option<BTreeSet<MessageId>> {
    let mut query = Query { limit: 100, ..Query::default() };
    let mut shown = BTreeSet::new();
    loop {
        let page = store.list(&query).ok()?;
        shown.extend(page.messages.iter().map(|message| message.id));
        query.before = page.next;
        if page.next.is_none() {
            return Some(shown);
        }
    }
}

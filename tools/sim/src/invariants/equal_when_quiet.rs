//! Invariant 4: Connected and quiet nodes have equal roots and equal contents, whatever order they learned things in.
//! Never compares days that one of the two no longer keeps.

use crate::cluster::Cluster;
use crate::invariants::index_equals_rebuild;
use quar_base::key::{Bucket, MessageId};
use quar_merkle::Hash;
use quar_store::{Message, Query, Store, Which};
use std::collections::BTreeMap;

const NAME: &str = "4 quiet nodes are equal";

/// Roots of the days that both keep, as of the same cutoff; `None` while cutoffs differ.
#[must_use]
pub fn are_roots_equal(cluster: &Cluster, one: usize, other: usize) -> Option<bool> {
    let (a, b) = (cluster.machines[one].store()?, cluster.machines[other].store()?);
    let views = [a.view(Which::Current), b.view(Which::Current)];
    if views[0].cutoff() != views[1].cutoff() {
        return None;
    }
    let is_kept = |bucket: Bucket| {
        !cluster.is_below_floor(one, bucket) && !cluster.is_below_floor(other, bucket)
    };
    let roots = views.map(|view| -> BTreeMap<Bucket, Hash> {
        let kept = view.buckets().into_iter().filter(|(bucket, ..)| is_kept(*bucket));
        kept.map(|(bucket, _, root)| (bucket, root)).collect()
    });
    Some(roots[0] == roots[1])
}

/// Keys that only one of two machines has.
#[must_use]
pub fn different_keys(cluster: &Cluster, one: usize, other: usize) -> String {
    let keys = [one, other].map(|at| {
        let store = cluster.machines[at].store();
        store.map(|store| index_equals_rebuild::keys(&store)).unwrap_or_default()
    });
    let only = |one: usize, other: usize| {
        let more: Vec<String> =
            keys[one].difference(&keys[other]).map(|key| format!("{key:?}")).collect();
        format!("{} as {}", more.len(), more.iter().take(3).cloned().collect::<Vec<_>>().join(", "))
    };
    format!("node{} has {}; node{} has {}", one + 1, only(0, 1), other + 1, only(1, 0))
}

/// After the faults: contents are equal, message by message.
pub fn at_end(cluster: &mut Cluster) {
    let members = cluster.members();
    let Some((first, others)) = members.split_first() else { return };
    let contents = |at: usize| {
        let store = cluster.machines[at].store()?;
        Some(contents(&store))
    };
    let Some(mine) = contents(*first) else { return };
    for other in others {
        let Some(theirs) = contents(*other) else { return };
        let is_kept = |id: &MessageId| {
            let both = [*first, *other];
            both.iter().all(|at| !cluster.is_below_floor(*at, id.bucket)) && !cluster.is_ahead(*id)
        };
        let mut ids = mine.keys().chain(theirs.keys()).filter(|id| is_kept(id));
        if let Some(id) = ids.find(|id| mine.get(id) != theirs.get(id)).copied() {
            let what = format!(
                "node{} and node{} differ in {id}: {:?} and {:?}",
                first + 1,
                other + 1,
                mine.get(&id),
                theirs.get(&id)
            );
            return cluster.fail(NAME, what);
        }
    }
}

/// Everything that a store shows of each message, its body's hash included.
#[must_use]
pub fn contents(store: &Store) -> BTreeMap<MessageId, (Message, Option<blake3::Hash>)> {
    let mut query = Query { limit: 100, ..Query::default() };
    let mut all = BTreeMap::new();
    while let Ok(page) = store.list(&query) {
        for mut message in page.messages {
            // That one of its releases was damaged only its own disk knows.
            message.state.damaged_releases = 0;
            let body = store.body(message.id).ok().map(|bytes| blake3::hash(&bytes));
            all.insert(message.id, (message, body));
        }
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    all
}

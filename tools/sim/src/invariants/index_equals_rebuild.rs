//! Invariant 11: The index equals a fresh rebuild; the trie equals one built from scratch.
//! Never rebuilds in the machine's own index.

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::invariants::equal_when_quiet::contents;
use crate::machine::Machine;
use crate::machine::disk::WatchedDisk;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_merkle::{Hash, Trie};
use quar_store::{Finding, Store, Which};
use std::collections::BTreeSet;

const NAME: &str = "11 index and trie are as built anew";

/// A check of an undamaged day finds nothing.
pub fn checked(cluster: &mut Cluster, at: usize, bucket: Bucket, findings: &[Finding]) {
    let holdings = &cluster.machines[at].holdings;
    let has_failed = cluster.machines[at].store().is_none_or(|store| store.has_failed());
    let is_doubted =
        holdings.damaged.contains(&bucket) || cluster.machines[at].torn.contains(&bucket);
    if is_doubted || has_failed || findings.is_empty() {
        return;
    }
    let what = format!("node{} finds in {bucket}, undamaged: {}", at + 1, findings[0]);
    cluster.fail(NAME, what);
}

/// After the faults: a store opened on what is durable on a member's disk, with no index, is the same.
pub fn at_end(cluster: &mut Cluster) {
    for at in cluster.members() {
        if let Some(bucket) = wrong_trie(cluster, at) {
            let what = format!("node{}'s trie of {bucket} is not that of its keys", at + 1);
            return cluster.fail(NAME, what);
        }
    }
    let Some(at) = cluster.chance.pick(&cluster.members()) else { return };
    let machine = &cluster.machines[at];
    let Some(store) = machine.store() else { return };
    let mut twin = Machine::new(at, machine.roster.clone(), machine.retention.clone());
    twin.identity = machine.identity.clone();
    twin.disk = WatchedDisk::new(machine.disk.memory().crash());
    let mut chance = Chance::new(cluster.chance.below(u64::MAX), "twin");
    if let Err(error) = twin.start(cluster.now, cluster.authority.public(), &mut chance) {
        let what = format!("node{} does not open without its index: {error}", at + 1);
        return cluster.fail(NAME, what);
    }
    let rebuilt = twin.store().expect("it was just started");
    let kept = machine.running.as_ref().map(|running| running.node.time(cluster.now).day());
    rebuilt.set_today(kept.unwrap_or_else(|| cluster.now.day()));
    rebuilt.advance(store.view(Which::Current).cutoff());
    let damaged = &machine.holdings.damaged;
    // A deleted message may be erased some seconds before its delete takes effect in the set.
    let is_settled = |id: &MessageId| !damaged.contains(&id.bucket) && !cluster.is_ahead(*id);
    if let Some(what) = difference(&store, &rebuilt, &is_settled) {
        cluster.fail(NAME, format!("node{} built anew: {what}", at + 1));
    }
}

/// What two stores differ in, of what is settled.
fn difference(
    store: &Store,
    rebuilt: &Store,
    is_settled: &dyn Fn(&MessageId) -> bool,
) -> Option<String> {
    let (mine, theirs) = (contents(store), contents(rebuilt));
    let ids = mine.keys().chain(theirs.keys()).filter(|id| is_settled(id));
    let mut differing = ids.filter(|id| mine.get(id) != theirs.get(id));
    if let Some(id) = differing.next() {
        return Some(format!("{id} is {:?} instead of {:?}", theirs.get(id), mine.get(id)));
    }
    let [mine, theirs] = [store, rebuilt].map(|store| -> BTreeSet<MessageId> {
        let keys = keys(store).into_iter().map(|(bucket, key)| MessageId { bucket, key });
        keys.filter(is_settled).collect()
    });
    (mine != theirs).then(|| {
        let more: Vec<_> = theirs.difference(&mine).collect();
        let less: Vec<_> = mine.difference(&theirs).collect();
        format!("its set has {more:?} more and lacks {less:?}")
    })
}

/// Every key of a store's set, as of its cutoff.
#[must_use]
pub fn keys(store: &Store) -> BTreeSet<(Bucket, RecordKey)> {
    let view = store.view(Which::Current);
    let buckets = view.buckets().into_iter().map(|(bucket, ..)| bucket);
    let keys = |bucket| view.trie(bucket).unwrap_or_default().iter().collect::<Vec<_>>();
    buckets.flat_map(|bucket| keys(bucket).into_iter().map(move |key| (bucket, key))).collect()
}

fn wrong_trie(cluster: &Cluster, at: usize) -> Option<Bucket> {
    let view = cluster.machines[at].store()?.view(Which::Current);
    let is_wrong = |(bucket, _, root): &(Bucket, u64, Hash)| {
        let trie = view.trie(*bucket).unwrap_or_default();
        Trie::from_sorted(trie.iter()).root() != *root
    };
    view.buckets().into_iter().find(is_wrong).map(|(bucket, ..)| bucket)
}

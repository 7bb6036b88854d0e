//! Invariant 5: Merging is commutative, associative, idempotent.
//! Never merges in a running node: stores of nobody take the life's records in different orders.

use crate::cluster::Cluster;
use crate::invariants::equal_when_quiet::contents;
use crate::keys::id_key;
use crate::machine::Machine;
use quar_base::key::MessageId;
use quar_base::record::{Kind, Record};
use quar_store::{CodedBody, Store, Which};

const NAME: &str = "5 merging";

/// An import was answered: one tree makes one copy, whichever machine imports it.
pub fn imported(cluster: &mut Cluster, at: usize, id: MessageId, mail: usize) {
    let first = *cluster.imports.entry(mail).or_insert(id);
    if first != id {
        let what = format!("node{} imported m{mail} as {id}, another as {first}", at + 1);
        cluster.fail(NAME, what);
    }
}

/// After the faults: two stores take every record of the life, one of them in another order and twice, and a
/// third takes what two halves have become; all of them then show the same.
pub fn at_end(cluster: &mut Cluster) {
    let items = items(cluster);
    let mut mixed: Vec<&Item> = items.iter().chain(&items).collect();
    for at in (1..mixed.len()).rev() {
        let other = cluster.chance.index(at + 1);
        mixed.swap(at, other);
    }
    let (first, second) = items.split_at(items.len() / 2);
    let in_order = store_of(cluster, &items.iter().collect::<Vec<_>>());
    let in_disorder = store_of(cluster, &mixed);
    let halves = [second, first].map(|half| store_of(cluster, &half.iter().collect::<Vec<_>>()));
    let halves: Vec<Item> = halves.iter().flat_map(everything_in).collect();
    let of_halves = store_of(cluster, &halves.iter().collect::<Vec<_>>());
    let expected = (in_order.live_root(), contents(&in_order));
    for (how, other) in [("in disorder and twice", in_disorder), ("from two halves", of_halves)] {
        let found = (other.live_root(), contents(&other));
        if found != expected {
            let differs = found.1.iter().find(|(id, one)| expected.1.get(id) != Some(one));
            let missing = expected.1.keys().find(|id| !found.1.contains_key(id));
            let roots = found.0 == expected.0;
            let what = format!("{how}: {differs:?}, missing {missing:?}, equal roots: {roots}");
            return cluster.fail(NAME, what);
        }
    }
}

type Item = (Record, Option<CodedBody>);

/// Every record of the life, each arrival with its body.
fn items(cluster: &Cluster) -> Vec<Item> {
    let ledger = &cluster.ledger;
    let body = |record: &Record| {
        let is_arrival = record.head().kind == Kind::ARRIVAL;
        is_arrival.then(|| CodedBody::encode(ledger.bytes(record.message()), None, &id_key()).ok())
    };
    let records = ledger.records.values();
    records.map(|record| (record.clone(), body(record).flatten())).collect()
}

/// A store of nobody that took these, a few at a time.
fn store_of(cluster: &mut Cluster, items: &[&Item]) -> Store {
    let mut nobody =
        Machine::new(0, cluster.newest_roster(), cluster.machines[0].retention.clone());
    let started = nobody.start(cluster.now, cluster.authority.public(), &mut cluster.chance);
    let store = started.ok().and_then(|_| nobody.running.take()).map(|running| running.store);
    let store = store.expect("a store opens on an empty disk that has room");
    store.advance(cluster.now.cutoff());
    for item in items {
        // What is refused is refused whatever came before: days gone, stamps far ahead; or was deleted.
        let _ = store.admit_record(item.0.clone(), item.1.clone(), cluster.now);
        if cluster.chance.percent(10) {
            store.commit();
        }
    }
    store.commit();
    std::sync::Arc::into_inner(store).expect("its node is gone")
}

/// What a peer would be sent of a store.
fn everything_in(store: &Store) -> Vec<Item> {
    let view = store.view(Which::Current);
    let mut keys = store.later_than(view.cutoff());
    for (bucket, ..) in view.buckets() {
        let trie = view.trie(bucket).unwrap_or_default();
        keys.extend(trie.iter().map(|key| (bucket, key)));
    }
    keys.iter().filter_map(|(bucket, key)| store.item(*bucket, key).ok().flatten()).collect()
}

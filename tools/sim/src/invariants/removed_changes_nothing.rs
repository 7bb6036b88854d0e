//! Invariant 10: A removed member, or one from an older cluster epoch, changes nothing from then on; what it signed
//! before stays valid everywhere.
//! Never counts from before every member knows that it was removed.
//!
//! What it signed before is held by the others: the first and the fourth statement miss it if it goes.

use crate::cluster::Cluster;
use quar_base::class::Class;
use quar_base::key::{Bucket, RecordKey};

const NAME: &str = "10 removed members change nothing";

/// A machine made these records. Of one that every member knows to be removed nobody else may take them.
pub fn made(cluster: &mut Cluster, at: usize, records: Vec<(Bucket, RecordKey)>) {
    let machine = &cluster.machines[at];
    let knows = |member: &usize| cluster.machines[*member].roster.roster().epoch == cluster.epoch;
    if machine.is_member || !cluster.members().iter().all(knows) {
        return;
    }
    let author = machine.identity.member;
    // A hold is the same record whoever makes it, and names the original's author.
    let is_its_own = |(bucket, _): &(Bucket, RecordKey)| bucket.class != Class::HELD;
    let records: Vec<_> = records.into_iter().filter(is_its_own).collect();
    cluster.counts.add("record of a removed member", records.len() as u64);
    cluster.outlawed.extend(records.into_iter().map(|record| (record, author)));
}

/// After the faults: no member has such a record.
pub fn at_end(cluster: &mut Cluster) {
    for at in cluster.members() {
        let Some(store) = cluster.machines[at].store() else { continue };
        let has = |(bucket, key): &(Bucket, RecordKey)| {
            store.record(*bucket, key).is_ok_and(|record| record.is_some())
        };
        if let Some((record, author)) = cluster.outlawed.iter().find(|(record, _)| has(record)) {
            let what = format!("node{} has {record:?}, made by {author} when removed", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

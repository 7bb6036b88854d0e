//! Invariant 7: No record lacks its body for more than 5 fault-free rounds while any member has it; what no member has
//! is listed as lost.
//! Never counts a round with a fault in it.

use crate::cluster::Cluster;
use quar_base::ids::BodyId;
use quar_base::key::Bucket;
use std::collections::BTreeMap;

const NAME: &str = "7 bodies follow";
const ROUNDS: u64 = 5;

/// A fault-free round is over.
pub fn after_round(cluster: &mut Cluster) {
    let members = cluster.members();
    let mut lacking = BTreeMap::new();
    for at in &members {
        let Some(store) = cluster.machines[*at].store() else { continue };
        for body in store.wanted(usize::MAX) {
            if has_somebody(cluster, body, &members) {
                let rounds = cluster.lacking.get(&(*at, body)).copied().unwrap_or(0) + 1;
                lacking.insert((*at, body), rounds);
            }
        }
    }
    let late = lacking.iter().find(|(_, rounds)| **rounds > ROUNDS);
    let late = late.map(|((at, (bucket, body)), _)| (*at, *bucket, *body));
    cluster.lacking = lacking;
    if let Some((at, bucket, body)) = late {
        let has = |member: &&usize| has_somebody(cluster, (bucket, body), &[**member]);
        let holders: Vec<usize> = members.iter().filter(has).map(|member| member + 1).collect();
        let what = format!("node{} lacks body {body} of {bucket}, which {holders:?} have", at + 1);
        cluster.fail(NAME, what);
    }
}

/// A body that a machine wants and one of these has.
#[must_use]
pub fn missing(cluster: &Cluster, at: usize, members: &[usize]) -> Option<(Bucket, BodyId)> {
    let wanted = cluster.machines[at].store()?.wanted(usize::MAX);
    wanted.into_iter().find(|body| has_somebody(cluster, *body, members))
}

/// After the faults: what is wanted still, no member has, and it is listed as lost.
pub fn at_end(cluster: &mut Cluster) {
    for at in cluster.members() {
        if let Some(running) = &cluster.machines[at].running {
            let lost = running.node.lost(cluster.machines[at].clock(cluster.now)).bodies;
            cluster.counts.add("body lost for good", lost);
        }
    }
    if let Some(what) = unlisted(cluster) {
        cluster.fail(NAME, what);
    }
}

/// A machine that does not list all it wants as lost: it has to, once it asked all others.
#[must_use]
pub fn unlisted(cluster: &Cluster) -> Option<String> {
    cluster.members().into_iter().find_map(|at| {
        let running = cluster.machines[at].running.as_ref()?;
        let wanted = running.store.wanted(usize::MAX).len() as u64;
        let lost = running.node.lost(cluster.machines[at].clock(cluster.now)).bodies;
        (wanted != lost)
            .then(|| format!("node{} wants {wanted} bodies and lists {lost} as lost", at + 1))
    })
}

fn has_somebody(cluster: &Cluster, body: (Bucket, BodyId), members: &[usize]) -> bool {
    members.iter().any(|at| {
        let store = cluster.machines[*at].store();
        store.is_some_and(|store| store.body_for_peer(body.0, body.1).is_ok_and(|b| b.is_some()))
    })
}

//! Invariant 12: Sync progresses with no quorum.
//! Never lets more than a minority see each other.

use crate::cluster::Cluster;
use crate::faults::Faults;
use crate::invariants::converges::{self, ROUNDS};

const NAME: &str = "12 sync needs no quorum";

/// Two members of four or more are cut off from all others: they become equal all the same.
pub fn of_two(cluster: &mut Cluster, faults: &mut Faults) {
    let members = cluster.members();
    if members.len() < 4 || cluster.machines.len() > members.len() {
        return;
    }
    let one = members[cluster.chance.index(members.len())];
    let others: Vec<usize> = members.iter().copied().filter(|member| *member != one).collect();
    let other = others[cluster.chance.index(others.len())];
    // Who does not know the other yet cannot learn of it from anybody here.
    // Nor who heard others by a wrong clock: it goes by what it heard for an hour.
    let knows = |at: usize| {
        let machine = &cluster.machines[at];
        let is_steady = (cluster.now - machine.clock_set_at).0 > 3_700_000;
        machine.roster.roster().epoch == cluster.epoch && is_steady && machine.clock_ms == 0
    };
    if !knows(one) || !knows(other) {
        return;
    }
    for inside in [one, other] {
        for outside in others.iter().copied().filter(|outside| *outside != other) {
            cluster.lines.pair(inside, outside).blocked = [true, true];
        }
    }
    cluster.note(format_args!("node{} and node{} are alone", one + 1, other + 1));
    faults.stop_for(cluster, one, other);
    let pair = [one, other];
    for _ in 0..ROUNDS {
        converges::next_round(cluster);
        if converges::what_is_missing(cluster, &pair).is_none() {
            return cluster.counts.see("minority became equal");
        }
    }
    let missing = converges::what_is_missing(cluster, &pair).unwrap_or_default();
    cluster.fail(NAME, format!("of two members alone: {missing} after {ROUNDS} rounds"));
}

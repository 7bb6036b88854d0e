//! Invariant 14: When faults stop, everything converges: within 20 rounds.
//! Never waits for what nobody can have: records stamped far ahead, bodies that no member has.

use crate::cluster::Cluster;
use crate::invariants::{bodies_follow, equal_when_quiet};

const NAME: &str = "14 everything converges";
/// A round: a step of the cutoff, in milliseconds.
const ROUND_MS: u64 = 10_000;
/// Rounds in which it has to.
pub const ROUNDS: u64 = 20;

/// Lets rounds go by until all members are equal.
pub fn within_rounds(cluster: &mut Cluster) {
    // What was asked for last takes effect at a later cutoff.
    cluster.run(ROUND_MS);
    for round in 2..=ROUNDS {
        next_round(cluster);
        bodies_follow::after_round(cluster);
        if cluster.violation.is_some() {
            return;
        }
        if what_is_missing(cluster, &cluster.members()).is_none()
            && bodies_follow::unlisted(cluster).is_none()
        {
            cluster.counts.rounds = round;
            return cluster.note(format_args!("equal after {round} rounds"));
        }
    }
    let missing = what_is_missing(cluster, &cluster.members());
    let missing = missing.or_else(|| bodies_follow::unlisted(cluster)).unwrap_or_default();
    cluster.fail(NAME, format!("{missing} after {ROUNDS} rounds without faults"));
}

/// Lets a round go by. It ends well before a step of the cutoff: clocks that are right tell the same one.
pub fn next_round(cluster: &mut Cluster) {
    let since_end = (cluster.now.0 + 2_000) % ROUND_MS;
    cluster.run(ROUND_MS - since_end);
}

/// What these machines lack to be equal; `None` when they are.
#[must_use]
pub fn what_is_missing(cluster: &Cluster, members: &[usize]) -> Option<String> {
    for (at, one) in members.iter().enumerate() {
        let Some(store) = cluster.machines[*one].store() else {
            return Some(format!("node{} does not run", one + 1));
        };
        if store.has_failed() {
            return Some(format!("node{}'s store failed", one + 1));
        }
        // One that nobody gives is said again; until then its machine shows less than the others.
        if let Some(delete) = store.lost_deletes().first() {
            return Some(format!("node{}'s delete {} is damaged", one + 1, delete.key.id.short()));
        }
        if let Some(body) = bodies_follow::missing(cluster, *one, members) {
            return Some(format!("node{} lacks body {}", one + 1, body.1));
        }
        for other in &members[at + 1..] {
            let pair = (one + 1, other + 1);
            let epochs = [*one, *other].map(|at| cluster.machines[at].roster.roster().epoch);
            if epochs[0] != epochs[1] {
                return Some(format!("node{} and node{} have different rosters", pair.0, pair.1));
            }
            match equal_when_quiet::are_roots_equal(cluster, *one, *other) {
                Some(true) => {}
                Some(false) => {
                    let keys = equal_when_quiet::different_keys(cluster, *one, *other);
                    return Some(format!("roots differ: {keys}"));
                }
                None => {
                    return Some(format!("node{} and node{} differ in cutoffs", pair.0, pair.1));
                }
            }
        }
    }
    None
}

//! Members are removed, and added again: with their disk and key, or as new ones.
//! Never tells more than one member of it, if all have the roster before it: the others hear it from each other.

use super::{Ending, Faults, disk};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::keys::Identity;
use quar_base::roster::{Member, SignedRoster};

/// A member is removed; later it is added again, if the life lasts so long.
pub fn remove(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let members = cluster.members();
    let Some(at) = chance.pick(&members).filter(|_| members.len() > 2) else { return };
    if members.len() < cluster.machines.len() {
        return;
    }
    cluster.counts.fault("member removed");
    let gone = cluster.machines[at].identity.listed();
    cluster.machines[at].is_member = false;
    cluster.note(format_args!("node{} is removed", at + 1));
    let mut past = cluster.past.clone();
    past.push(gone);
    publish(cluster, past, None);
    faults.lasts(cluster, chance.between(1_000, 120_000), Ending::Again(at));
}

/// A machine that was removed is a member again.
pub fn again(cluster: &mut Cluster, at: usize) {
    if cluster.machines[at].is_member {
        return;
    }
    cluster.counts.fault("member added again");
    cluster.kill(at);
    let mut past = cluster.past.clone();
    if cluster.chance.percent(50) {
        let generation = cluster.machines[at].generation + 1;
        disk::empty(cluster, at);
        cluster.machines[at].generation = generation;
        cluster.machines[at].identity = Identity::new(at, generation);
    } else {
        let member = cluster.machines[at].identity.member;
        past.retain(|known| known.id != member);
    }
    cluster.machines[at].is_member = true;
    cluster.note(format_args!("node{} is added again", at + 1));
    let member = cluster.machines[at].identity.member;
    cluster.outlawed.retain(|(_, author)| *author != member);
    let signed = publish(cluster, past, Some(at));
    cluster.machines[at].roster = signed;
    cluster.start(at);
}

/// A roster of the next epoch, given to one member that the others know: as long as the last one is not everywhere
/// nobody can tell who knows whom, and all are given it.
fn publish(cluster: &mut Cluster, past: Vec<Member>, new: Option<usize>) -> SignedRoster {
    let members = cluster.members();
    let known: Vec<usize> = members.iter().copied().filter(|member| Some(*member) != new).collect();
    let epoch = |at: usize| cluster.machines[at].roster.roster().epoch;
    let is_everywhere = known.iter().all(|at| epoch(*at) == cluster.epoch);
    cluster.epoch += 1;
    cluster.past.clone_from(&past);
    let listed = members.iter().map(|at| cluster.machines[*at].identity.listed()).collect();
    let signed = cluster.authority.roster(cluster.epoch, listed, past);
    let one = cluster.chance.pick(&known).expect("two are left at least");
    for told in known.into_iter().filter(|at| !is_everywhere || *at == one) {
        cluster.set_roster(told, signed.clone());
    }
    signed
}

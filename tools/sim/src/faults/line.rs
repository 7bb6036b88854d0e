//! What goes wrong between machines: loss, delay, partitions, streams that repeat frames or mix them up.
//! Never changes a frame.
//!
//! No stream of TLS or QUIC repeats a frame or mixes two up: one that does is somebody's who lies in between,
//! and ends soon.

use super::{Ending, Faults};
use crate::chance::Chance;
use crate::cluster::Cluster;

/// Two machines, the lower first.
fn two(cluster: &Cluster, chance: &mut Chance) -> (usize, usize) {
    let machines = cluster.machines.len();
    let one = chance.index(machines);
    let other = (one + 1 + chance.index(machines - 1)) % machines;
    (one.min(other), one.max(other))
}

/// What is on its way is lost, and the connection with it.
pub fn loss(cluster: &mut Cluster, chance: &mut Chance, _: &mut Faults) {
    let (one, other) = two(cluster, chance);
    cluster.counts.fault("loss");
    cluster.note(format_args!("loss between node{} and node{}", one + 1, other + 1));
    cluster.cut(one, other);
}

/// Frames come twice, or two machines dial each other at once.
pub fn duplicates(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let (one, other) = two(cluster, chance);
    cluster.counts.fault("duplication");
    if chance.percent(40) && cluster.lines.pair(one, other).live.is_some() {
        cluster.note(format_args!("node{} and node{} connect again", one + 1, other + 1));
        return cluster.connect(one, other);
    }
    let frames = 1 + chance.below(3) as u32;
    cluster.lines.pair(one, other).duplicates = frames;
    cluster.note(format_args!(
        "{frames} frames twice between node{} and node{}",
        one + 1,
        other + 1
    ));
    faults.lasts(cluster, chance.between(200, 4_000), Ending::Cut(one, other));
}

/// Frames overtake each other.
pub fn reorders(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let (one, other) = two(cluster, chance);
    cluster.counts.fault("reordering");
    let frames = 1 + chance.below(3) as u32;
    cluster.lines.pair(one, other).reorders = frames;
    cluster.note(format_args!("{frames} frames mixed up: node{} and node{}", one + 1, other + 1));
    faults.lasts(cluster, chance.between(200, 4_000), Ending::Cut(one, other));
}

/// Frames take long, in one direction or both.
pub fn delay(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let (one, other) = two(cluster, chance);
    cluster.counts.fault("delay");
    let most = chance.between(200, 4_000);
    let both = chance.percent(50);
    let pair = cluster.lines.pair(one, other);
    pair.delay_ms = [most, if both { most } else { 0 }];
    cluster.note(format_args!("up to {most} ms from node{} to node{}", one + 1, other + 1));
    faults.lasts(cluster, chance.between(1_000, 30_000), Ending::Line(one, other));
}

/// Nothing gets through between some machines and the others.
pub fn partition(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    cluster.counts.fault("partition");
    let machines = cluster.machines.len();
    let apart: Vec<bool> = (0..machines).map(|_| chance.percent(40)).collect();
    let length = if chance.percent(20) { 400_000 } else { chance.between(500, 60_000) };
    cluster.note(format_args!("partition: {apart:?} for {length} ms"));
    for one in 0..machines {
        for other in one + 1..machines {
            if apart[one] != apart[other] {
                cluster.lines.pair(one, other).blocked = [true, true];
                faults.lasts(cluster, length, Ending::Line(one, other));
            }
        }
    }
}

/// Nothing gets through in one direction.
pub fn one_way(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let (one, other) = two(cluster, chance);
    cluster.counts.fault("one-way partition");
    let direction = chance.index(2);
    cluster.lines.pair(one, other).blocked[direction] = true;
    cluster.note(format_args!(
        "node{} and node{}: direction {direction} is dead",
        one + 1,
        other + 1
    ));
    faults.lasts(cluster, chance.between(500, 60_000), Ending::Line(one, other));
}

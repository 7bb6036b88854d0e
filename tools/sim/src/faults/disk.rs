//! What goes wrong with a disk: it is full, slow, fails, rots, is lost, or is an older one.
//! Never makes bytes that somebody could have forged.

use super::{Ending, Faults};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::ledger::Holdings;
use crate::machine::disk::WatchedDisk;
use quar_index::MemoryIndex;
use quar_store::MemoryDisk;
use std::sync::Arc;

/// A machine's disk as it was at some time.
pub struct Image {
    machine: usize,
    generation: u8,
    disk: MemoryDisk,
    index: Arc<MemoryIndex>,
    holdings: Holdings,
}

/// Room, and no other trouble either.
pub fn mend(cluster: &mut Cluster, at: usize) {
    let machine = &mut cluster.machines[at];
    machine.room_bytes = None;
    machine.commit_ms_max = 0;
    machine.disk.memory().set_free_bytes(u64::MAX / 2);
    machine.disk.memory().set_fail_syncs(false);
}

/// Commits take long.
pub fn slow(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    cluster.counts.fault("slow peer");
    let most = chance.between(200, 3_000);
    cluster.note(format_args!("node{}'s commits take up to {most} ms", at + 1));
    cluster.machines[at].commit_ms_max = most;
    faults.lasts(cluster, chance.between(1_000, 30_000), Ending::Disk(at));
}

/// The disk fills.
pub fn full(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    cluster.counts.fault("full disk");
    let free = if chance.percent(50) { chance.below(4_000) } else { chance.below(100_000) };
    cluster.note(format_args!("node{} has {free} bytes left", at + 1));
    cluster.machines[at].room_bytes = Some(free);
    cluster.machines[at].disk.memory().set_free_bytes(free);
    faults.lasts(cluster, chance.between(1_000, 60_000), Ending::Disk(at));
}

/// Syncs fail: the daemon stops taking anything, and is started again.
pub fn sync_fails(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    cluster.counts.fault("failing sync");
    cluster.note(format_args!("node{}'s syncs fail", at + 1));
    cluster.machines[at].disk.memory().set_fail_syncs(true);
    let length = chance.between(100, 3_000);
    faults.lasts(cluster, length, Ending::Disk(at));
    faults.lasts(cluster, length, Ending::Start(at));
}

/// Bytes of a segment change.
pub fn rot(cluster: &mut Cluster, chance: &mut Chance, _: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    let machine = &mut cluster.machines[at];
    let segments = machine.disk.segments();
    let Some((path, bucket)) = segments.get(chance.index(segments.len().max(1))) else { return };
    let mut places = Vec::new();
    machine.disk.memory().damage(path, |bytes| {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            return;
        }
        let first = chance.index(used);
        let length = if chance.percent(70) { 1 } else { 1 + chance.index(2_000) };
        let rotten = bytes.iter_mut().enumerate().take(used).skip(first).take(length);
        for (place, byte) in rotten {
            *byte ^= 1 << chance.below(8);
            places.push(place);
        }
    });
    machine.holdings.damage(*bucket);
    cluster.counts.fault("bit rot");
    let first = places.first().copied().unwrap_or(0);
    let (length, path) = (places.len(), path.display().to_string());
    cluster.note(format_args!("node{}: {length} bytes at {first} of {path} rot", at + 1));
}

/// A member's disk is lost, and replaced by an empty one.
pub fn wipe(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    cluster.counts.fault("member wiped");
    cluster.kill(at);
    empty(cluster, at);
    cluster.note(format_args!("node{}'s disk is replaced", at + 1));
    faults.lasts(cluster, chance.below(20_000), Ending::Start(at));
}

/// Nothing is on a machine's disk any more.
pub fn empty(cluster: &mut Cluster, at: usize) {
    let machine = &mut cluster.machines[at];
    machine.disk = WatchedDisk::new(MemoryDisk::new());
    machine.index = Arc::new(MemoryIndex::new());
    machine.holdings = Holdings::default();
    machine.disks += 1;
}

/// An image is taken of some disk, or one that was taken before comes in its place.
pub fn old_image(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let is_same = |image: &Image| cluster.machines[image.machine].generation == image.generation;
    let usable: Vec<usize> =
        (0..faults.images.len()).filter(|at| is_same(&faults.images[*at])).collect();
    let Some(chosen) = chance.pick(&usable).filter(|_| chance.percent(50)) else {
        return take_image(cluster, chance, faults);
    };
    cluster.counts.fault("restored from an old image");
    let at = faults.images[chosen].machine;
    cluster.kill(at);
    let image = &faults.images[chosen];
    let machine = &mut cluster.machines[at];
    machine.disk = WatchedDisk::new(image.disk.crash());
    let with_index = chance.percent(50);
    let index = if with_index { image.index.crash() } else { MemoryIndex::new() };
    machine.index = Arc::new(index);
    machine.holdings = image.holdings.clone();
    machine.disks += 1;
    cluster.note(format_args!("node{} is restored from an image", at + 1));
    faults.lasts(cluster, chance.below(20_000), Ending::Start(at));
}

fn take_image(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let at = chance.index(cluster.machines.len());
    let machine = &cluster.machines[at];
    faults.images.push(Image {
        machine: at,
        generation: machine.generation,
        disk: machine.disk.memory().crash(),
        index: Arc::new(machine.index.crash()),
        holdings: machine.holdings.clone(),
    });
    cluster.note(format_args!("an image is taken of node{}", at + 1));
}

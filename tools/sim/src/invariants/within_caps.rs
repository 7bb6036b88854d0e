//! Invariant 13: Memory, disk and bytes in flight stay within their caps.
//! Never measures the process: what nodes say they hold, and what lies on disks and lines.

use crate::cluster::Cluster;
use crate::machine::{PUSH_BYTES, RESERVE_BYTES};
use quar_base::limits::FRAME_BYTES_MAX;
use quar_sync::limits;

const NAME: &str = "13 within caps";
/// The longest message that a life hands in, coded.
const MESSAGE_BYTES: u64 = 700 << 10;

/// At any time: what waits for each peer, and what is on its way.
pub fn on(cluster: &mut Cluster, at: usize) {
    let machine = &cluster.machines[at];
    let Some(running) = &machine.running else { return };
    // Fresh items up to the budget and one that alone is more; one that is read; and the window.
    let window = (limits::WINDOW_BYTES + FRAME_BYTES_MAX) as u64;
    let most = PUSH_BYTES + MESSAGE_BYTES + limits::LOAD_BYTES as u64 + MESSAGE_BYTES + window;
    let peers = machine.peers.keys().map(|peer| cluster.machines[*peer].identity.member);
    let queued = peers.map(|peer| running.node.peer_report(peer).queued_bytes);
    if let Some(bytes) = queued.max().filter(|bytes| *bytes > most) {
        let what = format!("node{} has {bytes} bytes for one peer, beyond {most}", at + 1);
        return cluster.fail(NAME, what);
    }
    let lines = cluster.lines.connections.values().flat_map(|connection| &connection.queues);
    let frames = lines.flat_map(|queue| queue.iter().map(|sent| sent.payload.len()));
    if let Some(bytes) = frames.max().filter(|bytes| *bytes > FRAME_BYTES_MAX) {
        cluster.fail(NAME, format!("a frame of {bytes} bytes, beyond {FRAME_BYTES_MAX}"));
    }
}

/// After the faults: no disk holds much more than what was handed in.
pub fn at_end(cluster: &mut Cluster) {
    let mails = cluster.ledger.mails.iter().map(|mail| mail.bytes.len() as u64);
    let records = cluster.ledger.records.values().map(|record| record.bytes().len() as u64);
    // Each message may be held, and a hold may be held again; a segment has as many zeros ahead as bytes.
    let handed_in = mails.sum::<u64>() * 3 + records.sum::<u64>();
    for at in cluster.members() {
        let segments = cluster.machines[at].disk.segments().len() as u64;
        let most = RESERVE_BYTES + (256 << 10) + segments * 8192 + handed_in * 3;
        let used = cluster.machines[at].disk.used_bytes();
        if used > most {
            let what = format!("node{} uses {used} bytes, beyond {most}", at + 1);
            return cluster.fail(NAME, what);
        }
    }
}

//! A note: an action of a kind that this version does not know, made by a member of a later one.
//! Never understood by any node here: it is stored and passed on.

use super::{some_machine, some_message};
use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_store::Refusal;

const NAME: &str = "14 everything converges";

/// Makes a note about some message.
pub fn note(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    let machine = &cluster.machines[at];
    let clock = machine.clock(cluster.now);
    let Some(running) = &machine.running else { return };
    if running.store.message(id).is_err() {
        return;
    }
    let (stamp, signing) = (running.node.time(clock), &machine.identity.signing);
    let head = Head {
        kind: Kind(20 + chance.below(3) as u16),
        bucket: id.bucket,
        second: stamp.second_of(id.bucket.day),
        author: machine.identity.member,
        action: Some(ActionHead { key_id: signing.public().key_id(), message: id.key }),
    };
    let text: [u8; 24] = chance.bytes();
    let record = Record::signed(head, &text, |text| signing.sign(text));
    let record = record.expect("a short payload fits");
    let admitted = running.store.admit_record(record, None, stamp);
    cluster.counts.operation("note of a later version");
    if let Err(Refusal::Invalid(why)) = &admitted {
        cluster
            .fail(NAME, format!("node{} refuses an action that it does not know: {why}", at + 1));
        return;
    }
    let is_taken = admitted.is_ok();
    if is_taken {
        // Should its sync fail, it may be there after the next start all the same.
        cluster.ledger.stamped(id, stamp);
    }
    cluster.note(format_args!("node{} notes on {}: {is_taken}", at + 1, id.key.id.short()));
    cluster.begin_commit(at);
}

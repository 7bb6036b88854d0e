//! Which members have confirmed a message, through all that may happen to them.

use crate::support::{Cluster, Home, START, member};
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_node::Holding::{self, Has, NotYet, Unknown};
use quar_store::{MemoryDisk, Query};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What member 0 knows of the members, itself first.
fn known(cluster: &Cluster, message: MessageId) -> Vec<Holding> {
    let has_body = cluster.store(0).message(message).unwrap().has_body;
    let holders = cluster.node(0).holders().of(message, has_body);
    holders.into_iter().map(|holder| holder.holding).collect()
}

fn under(cluster: &Cluster) -> u64 {
    cluster.node(0).holders().under_replicated(cluster.store(0)).unwrap().messages
}

fn listed(cluster: &Cluster) -> Vec<MessageId> {
    let query = Query { limit: 100, ..Query::default() };
    let holders = cluster.node(0).holders();
    let page = holders.list_under_replicated(cluster.store(0), &query).unwrap();
    page.messages.into_iter().map(|message| message.id).collect()
}

fn bodies(count: u8) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| vec![number; 200])
}

#[test]
fn a_message_is_on_those_members_that_acknowledged_it() {
    let mut cluster = Cluster::started(3, 2);
    cluster.run();
    let everywhere = cluster.put(0, b"everywhere");
    cluster.kill(2);
    let two = cluster.put(0, b"on two");
    cluster.kill(1);
    let one = cluster.put(0, b"on one");
    assert_eq!(known(&cluster, everywhere), [Has, Has, Has]);
    assert_eq!(known(&cluster, two), [Has, Has, NotYet]);
    assert_eq!(known(&cluster, one), [Has, NotYet, NotYet]);
    cluster.pass(30);
    assert_eq!(listed(&cluster), [one]);
    let figures = cluster.node(0).holders().under_replicated(cluster.store(0)).unwrap();
    assert_eq!((figures.messages, figures.mail_bytes, figures.oldest), (1, 6, Some(one)));
}

#[test]
fn equal_roots_confirm_everything_and_what_is_imported_behind_them_is_not_confirmed() {
    let mut cluster = Cluster::started(3, 3);
    let ids: Vec<_> = bodies(20).map(|body| cluster.put(1, &body)).collect();
    // Nothing was acknowledged to member 0: it did not send them.
    cluster.pass(30);
    for id in &ids {
        assert_eq!(known(&cluster, *id), [Has, Has, Has]);
    }
    cluster.kill(2);
    // Its second lies long behind the cutoff at which member 2 was compared.
    let old = cluster.import(0, b"old", UnixMillis(START.0 - 86_400_000));
    assert_eq!(known(&cluster, old), [Has, Has, NotYet]);
    cluster.pass(30);
    assert_eq!(listed(&cluster), [old]);
    cluster.start(2);
    cluster.connect_all();
    cluster.pass(30);
    assert_eq!(known(&cluster, old), [Has, Has, Has]);
    assert_eq!(under(&cluster), 0);
}

#[test]
fn what_a_peer_had_is_unknown_after_a_restart_until_it_was_compared_with() {
    let mut cluster = Cluster::started(3, 3);
    let ids: Vec<_> = bodies(20).map(|body| cluster.put(0, &body)).collect();
    cluster.pass(30);
    cluster.kill(2);
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(known(&cluster, ids[0]), [Has, Unknown, Unknown]);
    cluster.connect_all();
    cluster.pass(30);
    assert_eq!(known(&cluster, ids[0]), [Has, Has, Unknown]);
    let holders = cluster.node(0).holders();
    assert_eq!(holders.unknown().collect::<Vec<_>>(), [member(2)]);
    assert_eq!(under(&cluster), 20);
}

#[test]
fn a_peer_that_comes_back_empty_has_lost_what_it_confirmed_and_confirms_it_again() {
    let mut cluster = Cluster::started(3, 3);
    let ids: Vec<_> = bodies(20).map(|body| cluster.put(0, &body)).collect();
    cluster.pass(30);
    cluster.kill(2);
    assert_eq!(known(&cluster, ids[0]), [Has, Has, Has]);
    cluster.homes[2] = Home::in_memory();
    cluster.start(2);
    cluster.connect(0, 2);
    // Its greeting, and nothing that was sent to it upon that.
    cluster.carry(2);
    assert_eq!(known(&cluster, ids[0]), [Has, Has, Unknown]);
    cluster.pass(30);
    assert_eq!(known(&cluster, ids[0]), [Has, Has, Has]);
}

#[test]
fn a_peer_restored_from_an_old_image_has_lost_what_the_image_lacks() {
    let mut cluster = Cluster::started(2, 2);
    let early: Vec<_> = bodies(20).map(|body| cluster.put(0, &body)).collect();
    cluster.pass(30);
    cluster.kill(1);
    let image = std::mem::replace(&mut cluster.homes[1], Home::in_memory());
    // The member goes on with another disk.
    cluster.start(1);
    cluster.connect_all();
    cluster.pass(30);
    let late = cluster.put(0, b"late");
    cluster.pass(30);
    assert_eq!(known(&cluster, late), [Has, Has]);
    cluster.kill(1);
    cluster.homes[1] = image;
    cluster.start(1);
    // As many records as it confirmed, though others: only a comparison can tell.
    cluster.put(1, b"its own");
    cluster.connect_all();
    while known(&cluster, late)[1] == Has {
        assert!(cluster.carry(1), "the loss was never noticed");
    }
    assert_eq!(known(&cluster, early[3])[1], Has);
    cluster.pass(30);
    assert_eq!(known(&cluster, late), [Has, Has]);
}

#[test]
fn a_message_whose_body_is_missing_here_has_no_copy_here() {
    let mut cluster = Cluster::started(3, 3);
    let ids: Vec<_> = bodies(5).map(|body| cluster.put(0, &body)).collect();
    cluster.pass(30);
    assert_eq!(under(&cluster), 0);
    (1..3).for_each(|at| cluster.kill(at));
    cluster.kill(0);
    let finding = quar_store::Finding::NotWanted { messages: vec![ids[2]] };
    cluster.start(0);
    cluster.store(0).mark_broken(&[finding]).unwrap();
    assert_eq!(known(&cluster, ids[2]), [NotYet, Unknown, Unknown]);
    assert_eq!(known(&cluster, ids[1]), [Has, Unknown, Unknown]);
}

#[test]
fn members_that_differ_for_good_confirm_what_they_have_in_common() {
    let disk = MemoryDisk::new();
    let damaged = Home { disk: Arc::new(disk.clone()), ..Home::in_memory() };
    let mut cluster = Cluster::new(vec![Home::in_memory(), damaged], 2);
    (0..2).for_each(|at| cluster.start(at));
    cluster.connect_all();
    let ids: Vec<_> = bodies(200).map(|body| cluster.put(0, &body)).collect();
    cluster.pass(30);
    cluster.kill(0);
    cluster.kill(1);
    // A record of member 1 that can be read no more, and that member 0 is to send again.
    cluster.start(1);
    let place = cluster.store(1).place_reports(ids[7]).unwrap().remove(0);
    assert_eq!(place.what, "arrival");
    disk.damage(&place.path, |bytes| bytes[place.block as usize + 60] ^= 1);
    let go_on = &|_| ControlFlow::Continue(());
    let (_, found) = cluster.store(1).check(ids[7].bucket, go_on).unwrap().unwrap();
    cluster.store(1).mark_broken(&found).unwrap();
    cluster.start(0);
    cluster.connect_all();
    // Batches never arrive: the two never come to be equal.
    for _ in 0..40 {
        cluster.now = cluster.now.plus(quar_base::time::Millis(1000));
        for at in 0..2 {
            cluster.give(at, quar_node::Input::Tick);
        }
        cluster.drop_batches(1);
        while cluster.carry(1) {
            cluster.drop_batches(1);
        }
    }
    assert_eq!(known(&cluster, ids[7]), [Has, NotYet]);
    assert_eq!(known(&cluster, ids[8]), [Has, Has]);
    assert_eq!(listed(&cluster), [ids[7]]);
}

#[test]
fn what_is_deleted_needs_no_copies() {
    let mut cluster = Cluster::started(2, 2);
    cluster.kill(1);
    let gone = cluster.put(0, b"to be deleted");
    let kept = cluster.put(0, b"kept");
    cluster.delete(0, gone);
    cluster.pass(30);
    assert_eq!(listed(&cluster), [kept]);
    assert_eq!(under(&cluster), 1);
}

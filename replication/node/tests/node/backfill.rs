//! A member that lacks much: it takes each message once, from all its peers, the newest days first.

use crate::support::{Cluster, Home, START};
use quar_base::key::MessageId;
use quar_base::time::{Day, UnixMillis};
use quar_node::Input;

const DAY_MS: u64 = 86_400_000;

/// Members that all have so many messages on each of some days, and one more that is not started.
fn filled(members: usize, days: u64, each: u64) -> (Cluster, Vec<MessageId>) {
    let homes = (0..=members).map(|_| Home::in_memory()).collect();
    let mut cluster = Cluster::new(homes, 1);
    (0..members).for_each(|at| cluster.start(at));
    cluster.connect_all();
    cluster.run();
    let mut ids = Vec::new();
    for day in 0..days {
        for number in 0..each {
            let body = format!("day {day} number {number} {}", "x".repeat(400));
            // A day's messages lie in many ranges.
            let at = START.0 - day * DAY_MS - number * 7_000 % (DAY_MS / 2);
            ids.push(cluster.import(0, body.as_bytes(), UnixMillis(at)));
        }
    }
    cluster.pass(30);
    (cluster, ids)
}

fn records(cluster: &Cluster, at: usize) -> u64 {
    cluster.store(at).counts().records
}

/// Records of a day that a member has.
fn of_day(cluster: &Cluster, at: usize, day: Day) -> u64 {
    let view = cluster.store(at).view(quar_store::Which::Current);
    view.buckets().iter().filter(|(bucket, ..)| bucket.day == day).map(|(_, count, _)| count).sum()
}

#[test]
fn an_empty_member_takes_each_message_once_and_from_every_peer() {
    let (mut cluster, ids) = filled(4, 3, 4000);
    let once = cluster.came_to(1);
    cluster.start(4);
    cluster.connect_all();
    cluster.pass(40);
    assert_eq!(records(&cluster, 4), ids.len() as u64);
    let came = cluster.came_to(4);
    assert!(came < once * 12 / 10, "{came} bytes came, of which {once} are all there is");
    for peer in 0..4 {
        let share = cluster.batch_bytes[&(peer, 4)] as f64 / came as f64;
        assert!((0.1..0.5).contains(&share), "peer {peer} sent {share} of all");
    }
    for id in ids.iter().step_by(97) {
        assert_eq!(cluster.store(4).body(*id).unwrap(), cluster.store(0).body(*id).unwrap());
    }
    assert_eq!(cluster.node(4).backfill().since, None);
    assert_eq!(cluster.offences, [] as [&str; 0]);
}

#[test]
fn the_newest_days_come_first_and_are_read_while_the_rest_comes() {
    let (mut cluster, ids) = filled(2, 12, 800);
    cluster.start(2);
    cluster.connect_all();
    let newest = START.day();
    let oldest = newest.minus(11);
    let mut has_told = false;
    loop {
        if of_day(&cluster, 2, newest) == 800 && !has_told {
            has_told = true;
            assert_eq!(of_day(&cluster, 2, oldest), 0, "the oldest day came before the newest");
            assert_eq!(
                cluster.store(2).body(ids[5]).unwrap(),
                cluster.store(0).body(ids[5]).unwrap()
            );
            let backfill = cluster.node(2).backfill();
            assert!(backfill.since.is_some() && backfill.left > 0 && backfill.records >= 800);
        }
        if !cluster.carry(1) {
            if records(&cluster, 2) == ids.len() as u64 {
                break;
            }
            cluster.pass(1);
        }
    }
    assert!(has_told);
}

#[test]
fn a_member_that_is_killed_while_it_fills_goes_on_where_it_was() {
    let (mut cluster, ids) = filled(3, 4, 1500);
    let once = cluster.came_to(1);
    cluster.start(3);
    for killed_at in [1500, 3500, 5000] {
        cluster.connect_all();
        while records(&cluster, 3) < killed_at {
            if !cluster.carry(1) {
                cluster.pass(1);
            }
        }
        cluster.kill(3);
        cluster.start(3);
        assert!(records(&cluster, 3) >= killed_at, "what was committed is there");
    }
    cluster.connect_all();
    cluster.pass(60);
    assert_eq!(records(&cluster, 3), ids.len() as u64);
    let came = cluster.came_to(3);
    assert!(came < once * 13 / 10, "{came} bytes came, of which {once} are all there is");
}

#[test]
fn bulk_keeps_to_the_rate_and_fresh_mail_does_not_wait_for_it() {
    let (mut cluster, ids) = filled(2, 6, 500);
    let once = cluster.came_to(1);
    cluster.rate = Some(once / 40);
    for at in 0..2 {
        cluster.kill(at);
        cluster.start(at);
    }
    cluster.start(2);
    cluster.connect_all();
    cluster.pass(10);
    let (came, taken) = (cluster.came_to(2), records(&cluster, 2));
    assert!(came < once / 2 && taken > 0, "{came} of {once} bytes in 10 s at a fortieth a second");
    let fresh = cluster.put(0, b"fresh");
    cluster.run();
    assert!(cluster.store(2).message(fresh).is_ok(), "fresh mail comes at once");
    cluster.pass(120);
    assert_eq!(records(&cluster, 2), ids.len() as u64 + 1);
}

#[test]
fn what_a_peer_that_stands_still_was_asked_for_is_taken_from_the_others() {
    let (mut cluster, ids) = filled(3, 3, 1500);
    cluster.start(3);
    cluster.connect_all();
    cluster.carry(40);
    cluster.stalled.insert((1, 3));
    cluster.pass(120);
    assert_eq!(records(&cluster, 3), ids.len() as u64);
    cluster.stalled.clear();
    cluster.pass(30);
    assert_eq!(cluster.offences, [] as [&str; 0]);
}

#[test]
fn a_body_that_a_reader_opens_comes_before_those_that_are_wanted_in_bulk() {
    let (mut cluster, ids) = filled(2, 1, 600);
    // All bodies of member 0 are damaged: it wants them again, and its peer is slow.
    cluster.rate = Some(4_000);
    for at in 0..2 {
        cluster.kill(at);
        cluster.start(at);
    }
    let messages = ids.clone();
    cluster.store(0).mark_broken(&[quar_store::Finding::NotWanted { messages }]).unwrap();
    cluster.connect_all();
    cluster.pass(3);
    let wanted = cluster.store(0).counts().wanted;
    assert!(wanted > 300, "{wanted} are still wanted");
    let last = cluster.store(0).wanted(usize::MAX).pop().unwrap();
    let opened = cluster.store(0).messages_without(last.0, &last.1)[0];
    cluster.give(0, Input::Fetch(opened));
    cluster.run();
    assert!(cluster.store(0).message(opened).unwrap().has_body, "it came at once");
}

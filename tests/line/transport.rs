//! Which lines two nodes use, and how they find each other again.

use crate::proxy::Quality;
use crate::support::{assert_kept, feed, some_mails, start, start_with, until};
use crate::world::World;
use quard::authority::{self, PlannedMember, StaticPlan};
use quard::config::Paths;
use std::time::Duration;

async fn assert_no_offences(world: &World) {
    for node in world.running.cluster.nodes.iter().filter(|node| node.is_started()) {
        assert_eq!(node.status().await.unwrap().offences, Default::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_over_tcp_where_udp_is_filtered_and_over_quic_once_it_heals() {
    let mut world = World::new(Quality::GOOD, 2, "").await;
    world.control.filter_udp(true);
    world.start(3).await;
    world.wait_for_transport("tcp", 2).await;
    let mails = some_mails(90);
    let mut ids = feed(&world.running.cluster.nodes[0], &mails[..30]).await;
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    world.control.filter_udp(false);
    // Mail comes in while they move.
    ids.extend(feed(&world.running.cluster.nodes[1], &mails[30..60]).await);
    world.wait_for_transport("quic", 2).await;
    ids.extend(feed(&world.running.cluster.nodes[2], &mails[60..]).await);
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&world.running.cluster, &ids, &mails).await;
    assert_no_offences(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_in_use_moves_to_tcp_when_udp_is_filtered() {
    let mut world = World::new(Quality::GOOD, 2, "").await;
    world.start(3).await;
    world.wait_for_transport("quic", 2).await;
    let mails = some_mails(60);
    let mut ids = feed(&world.running.cluster.nodes[0], &mails[..30]).await;
    world.control.filter_udp(true);
    ids.extend(feed(&world.running.cluster.nodes[1], &mails[30..]).await);
    world.wait_for_transport("tcp", 2).await;
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&world.running.cluster, &ids, &mails).await;
    assert_no_offences(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_whichever_side_can_dial() {
    for (unreachable, lines) in [(0, ""), (1, ""), (0, "quic = false"), (1, "quic = false")] {
        let mut world = World::new(Quality::GOOD, 2, lines).await;
        world.lose_address(unreachable);
        world.start(2).await;
        let mails = some_mails(20);
        let mut ids = feed(&world.running.cluster.nodes[0], &mails[..10]).await;
        ids.extend(feed(&world.running.cluster.nodes[1], &mails[10..]).await);
        world.running.cluster.wait_for_equal_roots().await.unwrap();
        world.running.cluster.nodes.truncate(2);
        assert_kept(&world.running.cluster, &ids, &mails).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_dial_each_other_at_once_end_with_one_connection_a_pair() {
    // A handshake takes longer than the one waits for the other to dial.
    let quality = Quality { delay: Duration::from_millis(150), ..Quality::GOOD };
    let mut world = World::new(quality, 2, "quic = false").await;
    for round in 0..3 {
        world.start(3).await;
        until("each pair has one connection", async || {
            (world.control.tcp_open() == 3).then_some(())
        })
        .await;
        let mails = some_mails(10);
        let ids = feed(&world.running.cluster.nodes[round], &mails).await;
        world.running.cluster.wait_for_equal_roots().await.unwrap();
        assert_kept(&world.running.cluster, &ids, &mails).await;
        // It stays with the one.
        assert_eq!(world.control.tcp_open(), 3);
        assert_no_offences(&world).await;
        for node in &mut world.running.cluster.nodes {
            node.kill().unwrap();
        }
        until("no line is left", async || (world.control.tcp_open() == 0).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_found_by_a_new_roster_and_nobody_restarts() {
    let mut world = World::new(Quality::GOOD, 2, "").await;
    // Node 1 alone can dial, and knows where node 2 was.
    world.lose_address(0);
    world.start(2).await;
    let mails = some_mails(20);
    let mut ids = feed(&world.running.cluster.nodes[0], &mails[..10]).await;
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    world.lose_address(1);
    world.control.cut();
    world.wait_for_peers(0).await;
    world.control.mend();
    // Two addresses, the first of which leads nowhere.
    let moved = vec![world.address(1), world.new_address(1).await];
    let addresses = [vec![world.address(0)], moved, vec![world.address(2)]];
    let members = (1..).zip(addresses).map(|(number, addresses)| PlannedMember {
        name: format!("node{number}"),
        node_number: number,
        addresses,
        location: String::new(),
    });
    let plan = StaticPlan { members: members.collect() };
    let authority = world.running.directory().join("cluster").join("authority");
    let clock = quard::daemon::clock::Clock::start();
    let seed = quard::daemon::clock::entropy().unwrap();
    let changed = authority::extend_roster(&authority, &plan, seed, clock.now()).unwrap();
    // An operator puts it in place at one node, which runs.
    let first = &world.running.cluster.nodes[0];
    std::fs::copy(&changed.roster, Paths::under(Some(&first.root)).roster()).unwrap();
    world.wait_for_peers(1).await;
    ids.extend(feed(&world.running.cluster.nodes[1], &mails[10..]).await);
    let epoch = changed.epoch;
    let wait = |all: &[quard::api::NodeStatus]| all.iter().all(|it| it.roster_epoch == epoch);
    world.running.cluster.wait("both have the new roster", wait).await.unwrap();
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    world.running.cluster.nodes.truncate(2);
    assert_kept(&world.running.cluster, &ids, &mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_on_ipv6_alone() {
    let mut addresses = Vec::new();
    for _ in 0..3 {
        let Ok(free) = std::net::TcpListener::bind("[::1]:0") else {
            eprintln!("not checked: this machine has no IPv6");
            return;
        };
        addresses.push(free.local_addr().unwrap().to_string());
    }
    for lines in ["tcp = false", "quic = false"] {
        let mut running = start_with(3, lines, addresses.clone()).await;
        for (node, address) in running.cluster.nodes.iter().zip(&addresses) {
            let file = Paths::under(Some(&node.root)).config_file();
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(&node.sync.to_string(), address)).unwrap();
        }
        running.cluster.start().await.unwrap();
        let mails = some_mails(20);
        let ids = feed(&running.cluster.nodes[0], &mails).await;
        running.cluster.wait_for_equal_roots().await.unwrap();
        assert_kept(&running.cluster, &ids, &mails).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_killed_is_noticed_over_quic_because_nobody_listens_there() {
    let mut running = start(2, "").await;
    running.cluster.nodes[2].kill().unwrap();
    let noticed = |status: &quard::api::NodeStatus| {
        status.members.iter().filter(|member| member.state == "up").count() == 2
    };
    let wait = |all: &[quard::api::NodeStatus]| all.iter().all(noticed);
    running.cluster.wait("the others know", wait).await.unwrap();
    for node in &running.cluster.nodes[..2] {
        let log = std::fs::read_to_string(node.root.join("quard.log")).unwrap();
        assert!(log.contains("nothing comes, and nobody listens"), "{log}");
    }
}

//! Nodes that do not belong: another CA, no place in the roster, the wrong key.

use crate::support::{
    Running, assert_kept, feed, some_mails, start, start_with, until, until_counted,
};
use quard::api::NodeStatus;
use quard::authority::{self, PlannedMember, StaticPlan};
use quard::config::Paths;
use std::process::Command;

fn advertised(running: &Running) -> Vec<String> {
    running.cluster.nodes.iter().map(|node| node.sync.to_string()).collect()
}

async fn assert_unharmed(running: &mut Running) {
    let mails = some_mails(10);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
    let all_up = |status: &NodeStatus| status.members.iter().all(|member| member.state == "up");
    running.cluster.wait("all are up", |all| all.iter().all(all_up)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_ca_is_refused_and_counted() {
    for lines in ["quic = false", "tcp = false"] {
        let mut running = start(2, lines).await;
        // Its roster leads it to our first two nodes; its own place is its own.
        let mut addresses = advertised(&running);
        addresses.truncate(2);
        let mut strange = start_with(1, lines, addresses).await;
        let root = running.cluster.nodes[0].status().await.unwrap().live_root;
        strange.cluster.nodes[2].start().unwrap();
        // Whoever dials judges first: the stranger finds our certificate to be none of its CA's.
        until_counted(&running.cluster.nodes[0], "refused-by-peer").await;
        assert_eq!(running.cluster.nodes[0].status().await.unwrap().live_root, root);
        let theirs = strange.cluster.nodes[2].status().await.unwrap();
        let others = theirs.members.iter().filter(|member| !member.is_self);
        assert!(others.clone().all(|member| member.state == "down"), "{theirs:?}");
        assert_unharmed(&mut running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_place_in_the_roster_is_refused_until_the_roster_has_it() {
    let mut running = start(2, "").await;
    let cluster_dir = running.directory().join("cluster");
    let member = |number: usize, address: &str| PlannedMember {
        name: format!("node{number}"),
        node_number: u16::try_from(number).unwrap(),
        addresses: vec![address.to_owned()],
        location: String::new(),
    };
    let mut members: Vec<_> =
        (1..).zip(advertised(&running)).map(|(number, address)| member(number, &address)).collect();
    let free = std::net::TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
    members.push(member(4, &free.to_string()));
    let clock = quard::daemon::clock::Clock::start();
    let seed = quard::daemon::clock::entropy().unwrap();
    let plan = StaticPlan { members };
    let extended =
        authority::extend_roster(&cluster_dir.join("authority"), &plan, seed, clock.now()).unwrap();
    let root = cluster_dir.join("node4");
    let port = std::net::TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap().port();
    std::fs::write(
        Paths::under(Some(&root)).config_file(),
        format!("[sync]\nlisten = \"{free}\"\n[lmtp]\nlisten = [\"127.0.0.4:{port}\"]\n"),
    )
    .unwrap();
    let mut fourth = Command::new(crate::support::daemon())
        .arg("--root")
        .arg(&root)
        .arg("run")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The others have not heard of it.
    until_counted(&running.cluster.nodes[0], "unknown-member").await;
    assert!(fourth.try_wait().unwrap().is_none(), "the fourth node ended");
    assert_unharmed(&mut running).await;
    // One of them gets the new roster; the rest adopt it from there.
    let first = &mut running.cluster.nodes[0];
    first.stop().unwrap();
    std::fs::copy(&extended.roster, Paths::under(Some(&first.root)).roster()).unwrap();
    first.start().unwrap();
    until("every node knows the fourth", async || {
        for node in &running.cluster.nodes {
            let status = node.status().await.ok()?;
            let fourth = status.members.iter().find(|member| member.name == "node4")?;
            if status.roster_epoch != extended.epoch || fourth.state != "up" {
                return None;
            }
        }
        Some(())
    })
    .await;
    fourth.kill().unwrap();
    fourth.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_wrong_key_says_so_and_changes_nothing() {
    let mut running = start(2, "").await;
    let mails = some_mails(10);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let other = start_with(1, "", Vec::new()).await;
    let first = &mut running.cluster.nodes[0];
    first.stop().unwrap();
    let (paths, strange) =
        (Paths::under(Some(&first.root)), Paths::under(Some(&other.cluster.nodes[0].root)));
    let files = [(paths.cluster_key(), strange.cluster_key()), (paths.id_key(), strange.id_key())];
    let right: Vec<Vec<u8>> = files.iter().map(|(ours, _)| std::fs::read(ours).unwrap()).collect();
    // The key alone does not fit the id key; both together fit each other, and not the segments.
    for count in [1, 2] {
        for (ours, theirs) in &files[..count] {
            std::fs::copy(theirs, ours).unwrap();
        }
        let before = tree(&paths.data_dir());
        let output = Command::new(crate::support::daemon())
            .arg("--root")
            .arg(&first.root)
            .arg("run")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains("key"), "{said}");
        let after = tree(&paths.data_dir());
        let changed = after.iter().zip(&before).find(|(after, before)| after != before);
        assert!(
            after.len() == before.len() && changed.is_none(),
            "{count} {said} {:?}",
            changed.map(|(file, _)| &file.0)
        );
    }
    for ((ours, _), right) in files.iter().zip(right) {
        std::fs::write(ours, right).unwrap();
    }
    first.start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

/// Names and bytes of all files below a directory, but for the lock, which names who held it last.
fn tree(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(tree(&entry.path())),
            false if entry.file_name() == "lock" => {}
            false => files.push((entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    files.sort();
    files
}

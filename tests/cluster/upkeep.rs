//! Days that are packed by running daemons, and damage on disk that they mend from one another.

use crate::support::{Running, assert_kept, daemon, feed, some_mails, start};
use quard::config::{Paths, load_certificate};
use quard::proof::verify;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Days go by in an instant, and upkeep is done all the time.
fn later_daemon(directory: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("quard-three-days-later");
    let skew_ms = 3 * 86_400_000;
    let text = format!(
        "#!/bin/sh\nQUARD_TEST_UPKEEP_MS=200 QUARD_TEST_CLOCK_SKEW_MS={skew_ms} exec {} \"$@\"\n",
        daemon().display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A cluster whose mails are days old and packed on every node.
async fn packed(count: usize) -> (Running, Vec<String>, Vec<quard::demo::mails::TestMail>) {
    let mut running = start(2, "").await;
    let mails = some_mails(count);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let later = later_daemon(running.directory());
    for node in &mut running.cluster.nodes {
        node.stop().unwrap();
        node.daemon.clone_from(&later);
    }
    running.cluster.start().await.unwrap();
    let is_packed = |status: &quard::api::NodeStatus| {
        status.upkeep.packed_days > 0 && status.upkeep.packing.is_none()
    };
    running
        .cluster
        .wait("all nodes have packed the day", |statuses| statuses.iter().all(is_packed))
        .await
        .unwrap();
    (running, ids, mails)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_day_is_read_and_deleted_from_on_every_node() {
    let (mut running, mut ids, mut mails) = packed(40).await;
    assert_kept(&running.cluster, &ids, &mails).await;
    let gone = ids.remove(7);
    mails.remove(7);
    let mut client = running.cluster.nodes[1].client().await.unwrap();
    let reply: quard::api::DeleteReply =
        client.delete(&format!("/v1/messages/{gone}")).await.unwrap();
    assert!(reply.gone);
    running.cluster.wait_for_equal_roots().await.unwrap();
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        assert!(crate::support::body_of(&mut client, &gone).await.is_err());
    }
    assert_kept(&running.cluster, &ids, &mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_proves_a_message_of_a_packed_day_by_the_same_root() {
    let (mut running, ids, mails) = packed(100).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let paths = Paths::under(Some(&running.cluster.nodes[0].root));
    let authority = load_certificate(&paths.authority_certificate()).unwrap();
    let (mut roots, mut names) = (BTreeSet::new(), BTreeSet::new());
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        let bytes = client.bytes(&format!("/v1/messages/{}/proof", ids[7])).await.unwrap();
        let proven = verify(&bytes, &authority).unwrap();
        assert_eq!(proven.proof.message.to_string(), ids[7]);
        assert!(proven.proof.is_about(&mails[7].body));
        roots.insert(proven.proof.state_root);
        names.insert(proven.node);
    }
    assert_eq!(roots.len(), 1);
    assert_eq!(names, ["node1", "node2", "node3"].map(str::to_owned).into());
}

/// The longest segment below a directory.
fn longest_segment(directory: &Path) -> Option<(u64, PathBuf)> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let length = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => longest_segment(&entry.path()),
        metadata => Some((metadata.len(), entry.path())),
    };
    let files = entries.filter_map(length);
    files.filter(|(_, path)| path.extension().is_some_and(|end| end == "seg")).max()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_files_are_damaged_takes_what_is_lost_from_its_peers() {
    let (mut running, ids, mails) = packed(40).await;
    running.cluster.nodes[2].stop().unwrap();
    let (_, path) = longest_segment(&running.cluster.nodes[2].root).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Of bodies and records most; the footer at the end stays, and so the pack in force.
    let end = bytes.len() * 6 / 10;
    bytes[300..end].iter_mut().step_by(500).for_each(|byte| *byte ^= 1);
    std::fs::write(&path, bytes).unwrap();
    // The day may have been checked just before, and would not be again for a day: nobody remembers that.
    let checked = Paths::under(Some(&running.cluster.nodes[2].root)).data_dir().join("checked");
    let _ = std::fs::remove_file(checked);
    running.cluster.nodes[2].start().unwrap();
    running
        .cluster
        .wait("the damage is found", |statuses| statuses[2].upkeep.findings > 0)
        .await
        .unwrap();
    running
        .cluster
        .wait("nothing is missing", |statuses| {
            statuses[2].upkeep.broken_records == 0 && statuses[2].wanted == 0
        })
        .await
        .unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

//! A node whose index is gone or old: the segments have everything.

use crate::support::{Running, assert_kept, body_of, feed, some_mails, start};
use quard::api::DeleteReply;
use std::path::{Path, PathBuf};

fn index_of(running: &Running) -> PathBuf {
    running.cluster.nodes[0].root.join("var/lib/quard/index")
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_index_has_everything_after_a_restart() {
    let mut running = start(2, "").await;
    let mails = some_mails(60);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[0].kill().unwrap();
    std::fs::remove_dir_all(index_of(&running)).unwrap();
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_index_brings_nothing_back_and_hides_nothing() {
    let mut running = start(2, "").await;
    let mails = some_mails(60);
    let mut ids = feed(&running.cluster.nodes[0], &mails[..30]).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[0].stop().unwrap();
    let copy = running.directory().join("older-index");
    copy_tree(&index_of(&running), &copy);
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    ids.extend(feed(&running.cluster.nodes[0], &mails[30..]).await);
    let mut client = running.cluster.nodes[0].client().await.unwrap();
    for id in [&ids[0], &ids[30]] {
        let reply: DeleteReply = client.delete(&format!("/v1/messages/{id}")).await.unwrap();
        assert!(reply.gone);
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[0].kill().unwrap();
    std::fs::remove_dir_all(index_of(&running)).unwrap();
    copy_tree(&copy, &index_of(&running));
    // The others are down: what it shows is what its own disk has.
    for node in &mut running.cluster.nodes[1..] {
        node.kill().unwrap();
    }
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait("it is up", |statuses| statuses.len() == 1).await.unwrap();
    let mut client = running.cluster.nodes[0].client().await.unwrap();
    for (at, (id, mail)) in ids.iter().zip(&mails).enumerate() {
        match (at, body_of(&mut client, id).await) {
            (0 | 30, read) => assert!(read.is_err(), "{id} came back"),
            (_, read) => assert_eq!(read.unwrap(), mail.body, "{id}"),
        }
    }
    for node in &mut running.cluster.nodes[1..] {
        node.start().unwrap();
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
}

//! A node that is cut off and comes back: nothing is lost, and nothing that was deleted returns.

use crate::lines::Lines;
use crate::support::{Running, assert_kept, body_of, feed, some_mails, start_with};
use quard::api::{DeleteReply, MessageDetail, ReleaseReply, ReleaseRequest};

async fn start() -> (Running, Lines) {
    let lines = Lines::start(3).await;
    let advertised = lines.addresses.clone();
    let mut running = start_with(2, "quic = false", advertised).await;
    for node in &mut running.cluster.nodes {
        node.start().unwrap();
    }
    lines.lead_to(&running.cluster);
    wait_for_peers(&mut running, [2, 2, 2]).await;
    (running, lines)
}

/// Waits until each node sees this many others up.
async fn wait_for_peers(running: &mut Running, counts: [usize; 3]) {
    let others_up = |status: &quard::api::NodeStatus| {
        status.members.iter().filter(|member| !member.is_self && member.state == "up").count()
    };
    running
        .cluster
        .wait("the nodes see whom they should", |statuses| {
            statuses.iter().zip(counts).all(|(status, count)| others_up(status) == count)
        })
        .await
        .unwrap();
}

async fn delete(running: &Running, node: usize, path: &str) -> DeleteReply {
    let mut client = running.cluster.nodes[node].client().await.unwrap();
    client.delete(&format!("/v1/messages/{path}")).await.unwrap()
}

async fn assert_gone(running: &Running, ids: &[&String]) {
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        for id in ids {
            let read = body_of(&mut client, id).await;
            assert!(read.is_err(), "{id} came back on node {}", node.number);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_caught_on_both_sides_of_a_partition_is_everywhere_after_it_heals() {
    let (mut running, lines) = start().await;
    let mails = some_mails(60);
    let mut ids = feed(&running.cluster.nodes[0], &mails[..20]).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    lines.cut_off(0);
    wait_for_peers(&mut running, [0, 1, 1]).await;
    // The node that is alone takes mail too, and says that it has the only copy.
    ids.extend(feed(&running.cluster.nodes[0], &mails[20..40]).await);
    ids.extend(feed(&running.cluster.nodes[1], &mails[40..]).await);
    assert_eq!(running.cluster.nodes[0].status().await.unwrap().under_replicated, 20);
    lines.mend();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_side_of_a_partition_deleted_stays_deleted() {
    let (mut running, lines) = start().await;
    let two_recipients = |mail: &quard::demo::mails::TestMail| mail.recipients.len() == 2;
    let mut mails = some_mails(20);
    mails.sort_by_key(|mail| !two_recipients(mail));
    assert!(two_recipients(&mails[0]));
    let ids = feed(&running.cluster.nodes[2], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    lines.cut_off(0);
    wait_for_peers(&mut running, [0, 1, 1]).await;
    // One recipient here, the other there: together they cover the message.
    let part = |at: usize| format!("{}?recipient={}", ids[0], mails[0].recipients[at]);
    assert!(!delete(&running, 0, &part(0)).await.gone);
    assert!(!delete(&running, 1, &part(1)).await.gone);
    // The same on both sides, one on each, and one against a release.
    for (node, message) in [(0, 1), (1, 1), (0, 2), (1, 3), (0, 4)] {
        assert!(delete(&running, node, &ids[message]).await.gone);
    }
    let mut client = running.cluster.nodes[1].client().await.unwrap();
    for message in [4, 5] {
        let path = format!("/v1/messages/{}/release", ids[message]);
        let released: ReleaseReply = client.post(&path, &ReleaseRequest::default()).await.unwrap();
        assert!(released.deliveries.iter().all(|one| one.result == "delivered"), "{released:?}");
    }
    lines.mend();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_gone(&running, &ids[..5].iter().collect::<Vec<_>>()).await;
    assert_kept(&running.cluster, &ids[5..], &mails[5..]).await;
    let mut back = running.cluster.nodes[0].client().await.unwrap();
    let detail: MessageDetail = back.get(&format!("/v1/messages/{}", ids[5])).await.unwrap();
    assert!(detail.summary.released, "the release of the other side is not known");
    // Also after a restart, from what is on the disks.
    for node in &mut running.cluster.nodes {
        node.kill().unwrap();
        node.start().unwrap();
    }
    lines.lead_to(&running.cluster);
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_gone(&running, &ids[..5].iter().collect::<Vec<_>>()).await;
}

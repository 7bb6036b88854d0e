//! What nodes tell about copies, with real daemons: who has a message, what is on too few disks.

use crate::support::{feed, some_mails, start, until};
use quard::api::{MessageDetail, MessagePage, NodeStatus};

async fn copies(running: &crate::support::Running, node: usize, id: &str) -> (usize, String) {
    let mut client = running.cluster.nodes[node].client().await.unwrap();
    let detail: MessageDetail = client.get(&format!("/v1/messages/{id}")).await.unwrap();
    let copies = detail.summary.copies.unwrap();
    (copies.confirmed, copies.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_node_has_is_told_listed_and_counted_until_another_is_back() {
    let mut running = start(2, "").await;
    let mails = some_mails(3);
    let everywhere = feed(&running.cluster.nodes[0], &mails[..1]).await.remove(0);
    until("all nodes have confirmed the message", async || {
        (copies(&running, 0, &everywhere).await.0 == 3).then_some(())
    })
    .await;
    for node in [1, 2] {
        running.cluster.nodes[node].stop().unwrap();
    }
    let alone = feed(&running.cluster.nodes[0], &mails[1..]).await;
    let (confirmed, text) = copies(&running, 0, &alone[0]).await;
    assert_eq!((confirmed, text.contains("not yet: node2, node3")), (1, true), "{text}");
    assert_eq!(copies(&running, 0, &everywhere).await.0, 3, "what is off still has it");
    let counted = async || {
        let status: NodeStatus = running.cluster.nodes[0].status().await.ok()?;
        (status.copies.messages == 2).then_some(status)
    };
    let status = until("the two are counted", counted).await;
    assert_eq!(status.copies.target, 2);
    assert!(status.warnings.iter().any(|it| it.contains("2 messages are on fewer than 2 disks")));
    let mut client = running.cluster.nodes[0].client().await.unwrap();
    let first: MessagePage =
        client.get("/v1/messages?under_replicated=true&limit=1").await.unwrap();
    let next = first.next.unwrap();
    let path = format!("/v1/messages?under_replicated=true&limit=1&before={next}");
    let second: MessagePage = client.get(&path).await.unwrap();
    let mut listed: Vec<String> =
        first.messages.into_iter().chain(second.messages).map(|message| message.id).collect();
    listed.sort();
    let mut expected = alone.clone();
    expected.sort();
    assert_eq!((listed, second.next), (expected, None));
    running.cluster.nodes[1].start().unwrap();
    until("one more node has them", async || {
        (copies(&running, 0, &alone[0]).await.0 == 2).then_some(())
    })
    .await;
}

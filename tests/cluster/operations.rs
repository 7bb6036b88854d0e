//! Every operation on every node, also while the node that caught the message is dead.

use crate::support::{assert_kept, body_of, feed, some_mails, start};
use quard::api::{
    DeleteReply, HoldReply, MessageDetail, MessagePage, ReleaseReply, ReleaseRequest, UnholdReply,
};
use quard::client::Refused;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_dead_node_are_read_released_and_deleted_elsewhere() {
    let mut running = start(2, "").await;
    let mails = some_mails(12);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[0].kill().unwrap();
    let mut client = running.cluster.nodes[1].client().await.unwrap();
    for (id, mail) in ids.iter().zip(&mails) {
        assert_eq!(body_of(&mut client, id).await.unwrap(), mail.body);
    }
    let path = format!("/v1/messages/{}/release", ids[0]);
    let released: ReleaseReply = client.post(&path, &ReleaseRequest::default()).await.unwrap();
    assert!(released.deliveries.iter().all(|one| one.result == "delivered"), "{released:?}");
    let received = running.sink.received();
    assert_eq!(received[0].body, mails[0].body);
    assert_eq!(received[0].sender, mails[0].sender);
    let again = client.post::<ReleaseReply>(&path, &ReleaseRequest::default()).await;
    assert!(again.unwrap_err().downcast_ref::<Refused>().is_some_and(|r| r.status == 409));

    let gone: DeleteReply = client.delete(&format!("/v1/messages/{}", ids[1])).await.unwrap();
    assert!(gone.gone);
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    let mut back = running.cluster.nodes[0].client().await.unwrap();
    assert!(body_of(&mut back, &ids[1]).await.is_err(), "a deleted message came back");
    let detail: MessageDetail = back.get(&format!("/v1/messages/{}", ids[0])).await.unwrap();
    assert!(detail.summary.released);
    assert_eq!(detail.releases[0].node, "node2");
    let page: MessagePage = back.get("/v1/messages?limit=100").await.unwrap();
    assert_eq!(page.messages.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_per_recipient_on_two_nodes_cover_together() {
    let mut running = start(2, "").await;
    let mail = some_mails(3).into_iter().find(|mail| mail.recipients.len() == 2).unwrap();
    let id = feed(&running.cluster.nodes[0], std::slice::from_ref(&mail)).await.remove(0);
    running.cluster.wait_for_equal_roots().await.unwrap();
    for (node, recipient) in [(1, 0), (2, 1)] {
        let mut client = running.cluster.nodes[node].client().await.unwrap();
        let path = format!("/v1/messages/{id}?recipient={}", mail.recipients[recipient]);
        let _: DeleteReply = client.delete(&path).await.unwrap();
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        assert!(body_of(&mut client, &id).await.is_err(), "node {}", node.number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transport_alone_is_enough() {
    for lines in ["quic = false", "tcp = false"] {
        let mut running = start(3, lines).await;
        let mails = some_mails(10);
        let ids = feed(&running.cluster.nodes[2], &mails).await;
        running.cluster.wait_for_equal_roots().await.unwrap();
        let mut client = running.cluster.nodes[0].client().await.unwrap();
        assert_eq!(body_of(&mut client, &ids[9]).await.unwrap(), mails[9].body);
        let status = running.cluster.nodes[0].status().await.unwrap();
        let wanted = if lines.starts_with("quic") { "tcp" } else { "quic" };
        assert!(status.members.iter().filter(|m| !m.is_self).all(|m| m.transport == wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_held_on_one_node_and_deleted_on_another_stays_on_all() {
    let mut running = start(2, "").await;
    let mails = some_mails(4);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let mut held = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        // Two nodes at once hold the same; the third deletes the original.
        let path = format!("/v1/messages/{id}/hold");
        let mut one = running.cluster.nodes[at % 3].client().await.unwrap();
        let mut other = running.cluster.nodes[(at + 1) % 3].client().await.unwrap();
        let replies =
            tokio::join!(one.post::<HoldReply>(&path, &()), other.post::<HoldReply>(&path, &()));
        let (one, other) = (replies.0.unwrap(), replies.1.unwrap());
        assert_eq!(one.id, other.id, "one message is held once");
        let mut third = running.cluster.nodes[(at + 2) % 3].client().await.unwrap();
        let gone: DeleteReply = third.delete(&format!("/v1/messages/{id}")).await.unwrap();
        assert!(gone.gone);
        held.push(one.id);
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &held, &mails).await;
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        assert!(body_of(&mut client, &ids[0]).await.is_err(), "node {}", node.number);
        let page: MessagePage = client.get("/v1/messages?limit=100").await.unwrap();
        assert_eq!(page.messages.len(), held.len());
        assert!(page.messages.iter().all(|message| message.class == "held"));
    }
    let mut client = running.cluster.nodes[2].client().await.unwrap();
    let path = format!("/v1/messages/{}/hold", ids[0]);
    let gone: UnholdReply = client.delete(&path).await.unwrap();
    assert_eq!(gone.ids, [held.remove(0)]);
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &held, &mails[1..]).await;
}

//! A node that is killed while mail comes in has everything it acknowledged.

use crate::support::{some_mails, start};
use quard::demo::feed::Feeder;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_survives_a_kill_in_mid_ingest() {
    let mut running = start(1, "").await;
    let mails = some_mails(400);
    let address = running.cluster.nodes[0].lmtp;
    let feeding = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut feeder = Feeder::connect(address).await.unwrap();
        for mail in mails {
            let Ok(replies) = feeder.send(&mail.sender, &mail.recipients, &mail.body).await else {
                break;
            };
            let id = replies[0].text.split_whitespace().last().unwrap().to_owned();
            acknowledged.push((id, mail.body));
        }
        acknowledged
    });
    let enough = |statuses: &[quard::api::NodeStatus]| statuses[0].records >= 100;
    running.cluster.wait("a hundred messages are in", enough).await.unwrap();
    running.cluster.nodes[0].kill().unwrap();
    let acknowledged = feeding.await.unwrap();
    assert!(acknowledged.len() >= 90);
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        for (id, body) in &acknowledged {
            let read = crate::support::body_of(&mut client, id).await.unwrap();
            assert_eq!(read, *body, "{id} on node {}", node.number);
        }
    }
}

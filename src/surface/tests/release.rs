//! Who gets a released message: recipients stored twice, named by another way, or released to before.

use super::served::Served;
use crate::api::{MessageDetail, ReleaseReply, ReleaseRequest};
use serde_json::Value;

const BODY: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

#[tokio::test]
async fn a_recipient_that_is_stored_twice_is_deleted_as_one() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x&recipient=A@x&recipient=b@x", BODY).await;
    let mut client = served.client().await;
    let path = format!("/v1/messages/{id}");
    let gone: Value = client.delete(&format!("{path}?recipient=a@x")).await.unwrap();
    assert_eq!(gone["recipients"], serde_json::json!(["a@x", "A@x"]));
    let detail: MessageDetail = client.get(&path).await.unwrap();
    assert_eq!(detail.summary.recipients, ["b@x"]);
    let request = ReleaseRequest::default();
    let _: ReleaseReply = client.post(&format!("{path}/release"), &request).await.unwrap();
    assert_eq!(served.sink.received().len(), 1);
    assert_eq!(served.sink.received()[0].recipients, ["b@x"]);
}

#[tokio::test]
async fn a_mailbox_that_is_stored_twice_gets_a_release_once() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x&recipient=b@x&recipient=A@x", BODY).await;
    let mut client = served.client().await;
    let path = format!("/v1/messages/{id}/release");
    let reply: ReleaseReply = client.post(&path, &ReleaseRequest::default()).await.unwrap();
    let told = reply.deliveries.iter().map(|one| (one.address.as_deref(), one.result.as_str()));
    let wanted = ["a@x", "b@x", "A@x"].map(|address| (Some(address), "delivered"));
    assert_eq!(told.collect::<Vec<_>>(), wanted);
    assert_eq!(served.sink.received()[0].recipients, ["a@x", "b@x"]);
    let detail: MessageDetail = client.get(&format!("/v1/messages/{id}")).await.unwrap();
    assert_eq!(detail.releases[0].deliveries, reply.deliveries);
}

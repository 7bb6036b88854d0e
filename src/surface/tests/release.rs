//! Who gets a released message: recipients stored twice, named by another way, or released to before.

use super::refusal;
use super::served::Served;
use crate::api::{MessageDetail, ReleaseReply, ReleaseRequest};
use crate::daemon::clock::Clock;
use crate::daemon::view::other_digest;
use quar_base::action::{Action, ReleaseIntent};
use quar_base::coverage::RecipientSet;
use quar_base::time::UnixMillis;
use serde_json::Value;

const BODY: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

fn to(addresses: &[&str]) -> ReleaseRequest {
    let to = addresses.iter().map(|address| (*address).to_owned()).collect();
    ReleaseRequest { to, ..ReleaseRequest::default() }
}

/// Stores an action as it is, so many seconds from now, whatever a release would make of it.
fn act(served: &Served, id: &str, action: &Action, seconds: u64) -> [u8; 32] {
    let at = UnixMillis(Clock::start().now().0 + seconds * 1000);
    let (_, record) = served.store.admit_action(id.parse().unwrap(), action, at).unwrap();
    served.store.commit();
    record.id().0
}

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

#[tokio::test]
async fn a_stored_recipient_stays_one_when_it_is_named_as_another_address() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x&recipient=b@x", BODY).await;
    let mut client = served.client().await;
    let path = format!("/v1/messages/{id}/release");
    let request = ReleaseRequest { recipients: vec!["a@x".into()], ..ReleaseRequest::default() };
    let _: ReleaseReply = client.post(&path, &request).await.unwrap();
    let twice = client.post::<ReleaseReply>(&path, &to(&["A@x"])).await;
    assert_eq!(refusal(twice), (409, "released_before".into()));
    assert_eq!(served.sink.received().len(), 1);
    let reply: ReleaseReply = client.post(&path, &to(&["B@x", "z@x", "Z@x"])).await.unwrap();
    assert_eq!(reply.deliveries.len(), 2, "{reply:?}");
    assert_eq!(served.sink.received()[1].recipients, ["b@x", "z@x"]);
    let request = ReleaseRequest { recipients: vec!["b@x".into()], ..ReleaseRequest::default() };
    let twice = client.post::<ReleaseReply>(&path, &request).await;
    assert_eq!(refusal(twice), (409, "released_before".into()));
}

#[tokio::test]
async fn a_recipient_that_an_earlier_version_released_to_as_another_address_is_known() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", BODY).await;
    let digest = other_digest(&served.store.settings().id_key, "a@x");
    let recipients = RecipientSet::none(1).unwrap();
    let intent = ReleaseIntent { recipients, others: vec![digest] };
    act(&served, &id, &Action::ReleaseIntent(intent), 0);
    let path = format!("/v1/messages/{id}/release");
    let twice = served.client().await.post::<ReleaseReply>(&path, &ReleaseRequest::default()).await;
    assert_eq!(refusal(twice), (409, "released_before".into()));
}

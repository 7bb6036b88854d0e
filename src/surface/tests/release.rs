//! Who gets a released message: recipients stored twice, named by another way, or released to before.

use super::refusal;
use super::served::Served;
use crate::api::{HoldReply, MessageDetail, ReleaseReply, ReleaseRequest};
use crate::daemon::clock::Clock;
use crate::daemon::view::other_digest;
use quar_base::action::{Action, Delivery, ReleaseIntent, ReleaseOutcome};
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

#[tokio::test]
async fn a_held_copy_that_had_no_room_for_a_release_is_not_released_unless_again_is_said() {
    let served = Served::start().await;
    let recipients: Vec<String> = (0..80).map(|at| format!("recipient=r{at}@x")).collect();
    let id = served.put(&recipients.join("&"), BODY).await;
    let recipients = RecipientSet::all(80).unwrap();
    let intent = ReleaseIntent { recipients, others: Vec::new() };
    let intent = act(&served, &id, &Action::ReleaseIntent(intent), 0);
    // More than a held copy takes along, and later than the intent: actions are kept latest first.
    let deliveries = vec![Delivery::Delivered("x".repeat(1024)); 80];
    act(&served, &id, &Action::ReleaseOutcome(ReleaseOutcome { intent, deliveries }), 5);
    let mut client = served.client().await;
    let held: HoldReply =
        client.post(&format!("/v1/messages/{id}/hold"), &Value::Null).await.unwrap();
    let kept = format!("/v1/messages/{}", held.id);
    let detail: MessageDetail = client.get(&kept).await.unwrap();
    assert_eq!((detail.hold.unwrap().actions_left_out, detail.releases.len()), (2, 0));
    let mut request =
        ReleaseRequest { recipients: vec!["r7@x".into()], ..ReleaseRequest::default() };
    let path = format!("{kept}/release");
    let first = client.post::<ReleaseReply>(&path, &request).await;
    assert_eq!(refusal(first), (409, "released_before".into()));
    assert_eq!(served.sink.received(), []);
    request.again = true;
    let reply: ReleaseReply = client.post(&path, &request).await.unwrap();
    assert_eq!(reply.deliveries[0].result, "delivered");
    assert_eq!(served.sink.received()[0].recipients, ["r7@x"]);
}

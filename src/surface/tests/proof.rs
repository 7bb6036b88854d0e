//! Proofs through the API: who may have one, and of what.

use super::refusal;
use super::served::Served;
use crate::api::PutReply;
use crate::config::HttpRole;
use crate::daemon::clock::Clock;
use bytes::Bytes;
use hyper::Method;
use quar_store::Proof;
use serde_json::Value;

#[tokio::test]
async fn a_proof_is_for_operators_and_of_what_is_here() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let an_hour_ago = Clock::start().now().0 - 3_600_000;
    let put = format!("/v1/messages?imported=true&received={an_hour_ago}&recipient=a@x");
    let body = Bytes::from_static(b"Subject: proven\r\n\r\n");
    let PutReply { id, .. } = client.upload(&put, body.clone()).await.unwrap();
    let path = format!("/v1/messages/{id}/proof");
    assert_eq!(served.ask(Method::GET, &path, Some(HttpRole::Viewer)).await.0, 403);
    assert_eq!(served.ask(Method::GET, &path, None).await.0, 401);
    let (status, _) = served.ask(Method::GET, &path, Some(HttpRole::Operator)).await;
    assert_eq!(status, 200);
    let proof = Proof::decode(&client.bytes(&path).await.unwrap()).unwrap();
    assert_eq!(proof.message.to_string(), id);
    assert!(proof.is_about(&body));
    let strange = client.bytes(&format!("{path}?at=yesterday")).await;
    assert_eq!(refusal(strange), (400, "invalid".into()));
    let _: Value = client.delete(&format!("/v1/messages/{id}")).await.unwrap();
    let (status, gone) = served.ask(Method::GET, &path, Some(HttpRole::Operator)).await;
    assert_eq!((status, &gone["kind"]), (404, &"not_found".into()));
    assert!(gone["error"].as_str().unwrap().contains("was deleted"), "{gone}");
    let never = client.bytes("/v1/messages/ffff/proof").await;
    assert_eq!(refusal(never), (404, "not_found".into()));
}

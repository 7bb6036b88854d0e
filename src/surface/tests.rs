//! The API over real sockets, on a real store; only replication is left out.
//! Never what one file of the surface does by itself: that is tested there.

mod brake;
mod broken_off;
mod inspection;
mod proof;
mod release;
pub(crate) mod served;

use super::imported::imported_id;
use crate::api::{
    HoldReply, MessageDetail, MessagePage, NodeStatus, PutReply, ReleaseReply, ReleaseRequest,
    UnholdReply,
};
use crate::client::Refused;
use crate::config::HttpRole;
use crate::daemon::clock::Clock;
use crate::intake::Mail;
use bytes::Bytes;
use hyper::Method;
use quar_base::class::Class;
use quar_base::limits::MESSAGE_BYTES_MAX;
use serde_json::Value;
use served::{Served, secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn refusal<T>(result: anyhow::Result<T>) -> (u16, String) {
    let Err(error) = result else {
        panic!("it was done");
    };
    let refused = error.downcast::<Refused>().unwrap();
    (refused.status, refused.reply.kind)
}

#[tokio::test]
async fn a_message_is_put_listed_shown_opened_and_deleted() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let body = b"From: a@x\r\nSubject: one two\r\n\r\n\0\xff bare\rand\n.\r\nno end";
    let query = "class=virus&sender=s@x&recipient=a@x&recipient=b@x&queue_id=4ABC&score=7.5";
    let path = format!("/v1/messages?{query}");
    let put: PutReply = client.upload(&path, Bytes::from_static(body)).await.unwrap();
    assert!(!put.duplicate);
    let page: MessagePage = client.get("/v1/messages?subject=TWO&class=virus").await.unwrap();
    assert_eq!(page.messages[0].id, put.id);
    let digest = put.id.rsplit('-').next().unwrap();
    let path = format!("/v1/messages/{}", &digest[..12]);
    let detail: MessageDetail = client.get(&path).await.unwrap();
    assert_eq!((detail.queue_id.as_str(), detail.summary.score), ("4ABC", 7.5));
    let copies = detail.summary.copies.unwrap();
    assert_eq!((copies.confirmed, copies.holders[0].state.as_str()), (1, "has"));
    let under: MessagePage = client.get("/v1/messages?under_replicated=true").await.unwrap();
    assert_eq!(under.messages, [], "a node alone is all there is to be");
    assert_eq!(client.bytes(&format!("{path}/body")).await.unwrap(), &body[..]);
    let empty = client.delete::<Value>(&format!("{path}?recipient=")).await;
    assert_eq!(refusal(empty), (400, "invalid".into()));
    let half: Value = client.delete(&format!("{path}?recipient=a@x")).await.unwrap();
    assert_eq!((&half["gone"], &half["recipients"][0]), (&Value::Bool(false), &"a@x".into()));
    let gone: Value = client.delete(&path).await.unwrap();
    assert_eq!(gone["gone"], true);
    for path in [path.clone(), format!("{path}/body"), format!("/v1/messages/{}", put.id)] {
        assert_eq!(refusal(client.bytes(&path).await), (404, "not_found".into()));
    }
    let status = client.get::<NodeStatus>("/v1/status").await;
    assert_eq!(refusal(status), (503, "stopping".into()));
}

#[tokio::test]
async fn each_role_does_what_it_may_and_nobody_else_anything() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", b"Subject: x\r\n\r\n").await;
    let message = format!("/v1/messages/{id}");
    let asks = [
        (Method::GET, "/v1/messages".to_owned(), HttpRole::Viewer, 200),
        (Method::GET, "/v1/usage?by=day&class=spam".to_owned(), HttpRole::Viewer, 200),
        (Method::GET, message.clone(), HttpRole::Viewer, 200),
        (Method::GET, format!("{message}/body"), HttpRole::Operator, 200),
        (Method::POST, "/v1/messages".to_owned(), HttpRole::Operator, 201),
        (Method::POST, format!("{message}/release"), HttpRole::Operator, 200),
        (Method::POST, format!("{message}/hold"), HttpRole::Operator, 201),
        (Method::DELETE, format!("{message}/hold"), HttpRole::Operator, 200),
        (Method::DELETE, message, HttpRole::Operator, 200),
    ];
    for (method, path, needed, done) in asks {
        assert_eq!(served.ask(method.clone(), &path, None).await.0, 401, "{path}");
        for role in HttpRole::ALL.into_iter().filter(|role| *role < needed) {
            let (status, reply) = served.ask(method.clone(), &path, Some(role)).await;
            assert_eq!((status, &reply["kind"]), (403, &"forbidden".into()), "{path}");
        }
        let (status, reply) = served.ask(method, &path, Some(needed)).await;
        assert_eq!(status, done, "{path} {reply}");
    }
    assert_eq!(served.ask(Method::GET, "/v1/healthz", None).await.0, 200);
    assert_eq!(served.ask(Method::GET, "/v1/secret", None).await.0, 401);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let served = Served::start().await;
    let id = served.put("", b"x").await;
    served.put("", b"y").await;
    let role = Some(HttpRole::Admin);
    for (method, path, status, named) in [
        (Method::GET, "/v1/messages?colour=red".to_owned(), 400, "colour"),
        (Method::GET, format!("/v1/messages/{id}?x=1"), 400, "\"x\""),
        (Method::GET, "/v1/usage?by=size".to_owned(), 400, "sender-domain"),
        (Method::GET, "/v1/usage?limit=5".to_owned(), 400, "limit"),
        (Method::GET, "/v1/messages/a@example.org".to_owned(), 400, "message id"),
        (Method::GET, "/v1/messages/%ff".to_owned(), 400, "message id"),
        (Method::GET, "/v1/messages/spam".to_owned(), 409, "more than one"),
        (Method::GET, "/v1/messages/0000000000".to_owned(), 404, "0000000000"),
        (Method::GET, "/v1/nothing".to_owned(), 404, "path"),
        (Method::PUT, "/v1/messages".to_owned(), 405, "method"),
        (Method::POST, "/v1/messages?class=held".to_owned(), 400, "held"),
        (Method::POST, "/v1/messages?sender=a%20b".to_owned(), 400, "sender"),
        (Method::DELETE, format!("/v1/messages/{id}?recipient=z@x"), 400, "z@x"),
        (Method::DELETE, format!("/v1/messages/{id}?recipients=a@x"), 400, "recipients"),
    ] {
        let (found, reply) = served.ask(method, &path, role).await;
        assert_eq!(found, status, "{path} {reply}");
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains(named) && !error.contains("example.org"), "{path}: {error}");
    }
    let path = format!("/v1/messages/{id}/release");
    for request in [r#"{"too":["a@x"]}"#, r#"{"to":["a x"]}"#, "no JSON"] {
        let reply = served.send(Method::POST, &path, role, Bytes::from(request)).await;
        assert_eq!(reply.0, 400, "{request} {}", reply.1);
    }
}

#[tokio::test]
async fn of_releases_of_one_message_at_the_same_time_one_is_delivered() {
    let served = Served::start().await;
    let id = served.put("sender=&recipient=a@x", b"Subject: x\r\n\r\nx").await;
    let path = format!("/v1/messages/{id}/release");
    let clients = [served.client().await, served.client().await, served.client().await];
    let all = clients.map(|mut client| {
        let path = path.clone();
        tokio::spawn(async move {
            let request = ReleaseRequest::default();
            client.post::<ReleaseReply>(&path, &request).await.is_ok()
        })
    });
    let mut delivered = 0;
    for one in all {
        delivered += usize::from(one.await.unwrap());
    }
    assert_eq!((delivered, served.sink.received().len()), (1, 1));
}

#[tokio::test]
async fn a_release_is_delivered_once_unless_again_is_said() {
    let served = Served::start().await;
    let body = b"Subject: x\r\n\r\nbody\r\n";
    let id = served.put("sender=&recipient=a@x&recipient=b@x", body).await;
    let mut client = served.client().await;
    let path = format!("/v1/messages/{id}/release");
    let mut request =
        ReleaseRequest { recipients: vec!["b@x".into()], ..ReleaseRequest::default() };
    let reply: ReleaseReply = client.post(&path, &request).await.unwrap();
    assert_eq!(reply.deliveries[0].result, "delivered");
    assert_eq!(served.sink.received()[0].body, &body[..]);
    let twice = client.post::<ReleaseReply>(&path, &request).await;
    assert_eq!(refusal(twice), (409, "released_before".into()));
    request.again = true;
    client.post::<ReleaseReply>(&path, &request).await.unwrap();
    assert_eq!(served.sink.received().len(), 2);
    let nobody = served.put("", body).await;
    let path = format!("/v1/messages/{nobody}/release");
    let reply = client.post::<ReleaseReply>(&path, &ReleaseRequest::default()).await;
    assert_eq!(refusal(reply), (409, "no_recipients".into()));
}

#[tokio::test]
async fn a_message_is_held_released_from_its_hold_and_let_go() {
    let served = Served::start().await;
    let body = b"Subject: x\r\n\r\nbody\r\n";
    let id = served.put("recipient=a@x&recipient=b@x", body).await;
    let mut client = served.client().await;
    let path = format!("/v1/messages/{id}");
    let request = ReleaseRequest { recipients: vec!["b@x".into()], ..ReleaseRequest::default() };
    let _: ReleaseReply = client.post(&format!("{path}/release"), &request).await.unwrap();
    let _: Value = client.delete(&format!("{path}?recipient=b@x")).await.unwrap();
    let none = client.delete::<Value>(&format!("{path}/hold")).await;
    assert_eq!(refusal(none), (404, "not_found".into()));
    let held: HoldReply = client.post(&format!("{path}/hold"), &Value::Null).await.unwrap();
    assert_eq!((held.original.as_str(), held.duplicate), (id.as_str(), false));
    let _: Value = client.delete(&path).await.unwrap();
    let again: HoldReply = client.post(&format!("{path}/hold"), &Value::Null).await.unwrap();
    assert_eq!((&again.id, again.duplicate), (&held.id, true));

    let kept = format!("/v1/messages/{}", held.id);
    assert_eq!(client.bytes(&format!("{kept}/body")).await.unwrap(), &body[..]);
    let detail: MessageDetail = client.get(&kept).await.unwrap();
    let hold = detail.hold.unwrap();
    assert_eq!((hold.original, hold.deleted), (id.clone(), vec!["b@x".to_owned()]));
    assert_eq!(detail.releases[0].deliveries[0].address.as_deref(), Some("b@x"));
    let twice = client.post::<ReleaseReply>(&format!("{kept}/release"), &request).await;
    assert_eq!(refusal(twice), (409, "released_before".into()));
    let request = ReleaseRequest { recipients: vec!["a@x".into()], ..ReleaseRequest::default() };
    let _: ReleaseReply = client.post(&format!("{kept}/release"), &request).await.unwrap();
    assert_eq!(served.sink.received()[1].body, &body[..]);

    let gone: UnholdReply = client.delete(&format!("{path}/hold")).await.unwrap();
    assert_eq!(gone.ids, [held.id]);
    assert_eq!(refusal(client.bytes(&kept).await), (404, "not_found".into()));
    let late = client.post::<HoldReply>(&format!("{path}/hold"), &Value::Null).await;
    assert_eq!(refusal(late), (404, "not_found".into()));
}

#[tokio::test]
async fn a_release_goes_on_when_its_client_hangs_up() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", b"Subject: x\r\n\r\nbody\r\n").await;
    let mut stream = tokio::net::UnixStream::connect(&served.socket).await.unwrap();
    let request = format!("POST /v1/messages/{id}/release HTTP/1.1\r\nhost: q\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // The request is at the node once the intent is stored.
    let id = id.parse().unwrap();
    while served.store.message(id).unwrap().state.releases.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    served.stop.send_replace(true);
    for task in served.tasks {
        task.await.unwrap();
    }
    let releases = served.store.message(id).unwrap().state.releases;
    assert!(releases[0].deliveries.is_some(), "the outcome was not stored");
}

#[tokio::test]
async fn an_import_is_the_same_message_whenever_it_comes() {
    let served = Served::start().await;
    let at = Clock::start().now();
    let path = format!("/v1/messages?imported=true&received={}&recipient=a@x&queue_id=x.eml", at.0);
    let body = Bytes::from_static(b"Subject: x\r\n\r\n");
    let mut client = served.client().await;
    let first: PutReply = client.upload(&path, body.clone()).await.unwrap();
    let again: PutReply = client.upload(&path, body.clone()).await.unwrap();
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(first.id, again.id);
    let mut mail = Mail {
        class: Class::SPAM,
        envelope: quar_base::arrival::Envelope::default(),
        body: body.clone(),
        score_milli: 0,
        reason: String::new(),
    };
    mail.envelope.recipients.push("a@x".into());
    mail.envelope.queue_id = "x.eml".into();
    let id = imported_id(&mail, at, &served.store.settings().id_key).unwrap();
    assert_eq!(id.to_string(), first.id, "what the store made is what was foretold");
    let old = "/v1/messages?imported=true&received=2001-01-01T00:00:00Z";
    let old = client.upload::<PutReply>(old, body.clone()).await;
    assert_eq!(refusal(old), (422, "too_old".into()));
    client.delete::<Value>(&format!("/v1/messages/{}", first.id)).await.unwrap();
    let deleted = client.upload::<PutReply>(&path, body).await;
    assert_eq!(refusal(deleted), (409, "deleted".into()));
}

#[tokio::test]
async fn a_full_disk_says_so_and_still_deletes() {
    let served = Served::start().await;
    let id = served.put("", b"x").await;
    served.disk.set_free_bytes(999);
    let mut client = served.client().await;
    let put = client.upload::<PutReply>("/v1/messages", Bytes::from("y")).await;
    assert_eq!(refusal(put), (507, "full".into()));
    let gone: Value = client.delete(&format!("/v1/messages/{id}")).await.unwrap();
    assert_eq!(gone["gone"], true);
}

#[tokio::test]
async fn a_disk_that_fails_shows_in_replies_and_in_health() {
    let served = Served::start().await;
    served.disk.set_fail_syncs(true);
    let put = served.client().await.upload::<PutReply>("/v1/messages", Bytes::from("y")).await;
    assert_eq!(refusal(put), (503, "failed".into()));
    assert_eq!(served.ask(Method::GET, "/v1/healthz", None).await.0, 503);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_before_it_is_read() {
    let served = Served::start().await;
    let declared = format!("content-length: {}\r\n\r\n", MESSAGE_BYTES_MAX + 1);
    let reply = raw(&served, HttpRole::Operator, &declared, &[]).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    let slightly = MESSAGE_BYTES_MAX / (1 << 20) + 1;
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let chunks = vec![chunk.as_slice(); slightly];
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let reply = raw(&served, HttpRole::Operator, chunked, &chunks).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert_eq!(served.store.counts().records, 0);
}

#[tokio::test]
async fn a_client_that_is_turned_away_while_it_sends_hears_why() {
    let served = Served::start().await;
    let megabytes = vec![0; 8 << 20];
    let length = format!("content-length: {}\r\n\r\n", megabytes.len());
    let reply = raw(&served, HttpRole::Viewer, &length, &[&megabytes]).await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("role operator"), "{reply}");
}

/// Sends a put and reads the answer; a connection that is cut while it sends is an error.
async fn raw(served: &Served, role: HttpRole, headers: &str, body: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(served.http).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: q\r\nauthorization: Bearer {}\r\n{headers}",
        secret(role)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in body {
        stream.write_all(part).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let served = Served::start().await;
    let mut headers: String = (0..200).map(|number| format!("x-h{number}: 1\r\n")).collect();
    headers.push_str("\r\n");
    let reply = raw(&served, HttpRole::Admin, &headers, &[]).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_removes_the_socket() {
    let served = Served::start().await;
    let mut idle = TcpStream::connect(served.http).await.unwrap();
    let mut client = served.client().await;
    client.get::<MessagePage>("/v1/messages").await.unwrap();
    served.stop.send_replace(true);
    for task in served.tasks {
        task.await.unwrap();
    }
    assert_eq!(idle.read(&mut [0; 10]).await.unwrap(), 0);
    assert!(client.get::<MessagePage>("/v1/messages").await.is_err());
    assert!(!served.socket.exists());
}

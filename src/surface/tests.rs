//! The API over real sockets, on a real store; only replication is left out.

use super::control::ControlSocket;
use super::imported::imported_id;
use super::serve::{Listener, serve};
use super::{Surface, parse_instant};
use crate::api::{MessageDetail, MessagePage, NodeStatus, PutReply, ReleaseReply, ReleaseRequest};
use crate::authority::{PlannedMember, StaticPlan, create_cluster};
use crate::client::{Client, Refused};
use crate::config::{Config, HttpRole, HttpToken, Identity, Paths};
use crate::daemon::clock::{Clock, entropy};
use crate::daemon::driver::Event;
use crate::daemon::handle::{NodeHandle, Request};
use crate::daemon::release;
use crate::delivery::Timeouts;
use crate::demo::sink::Sink;
use crate::intake::Mail;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper_util::rt::TokioIo;
use quar_base::class::Class;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::signing::SigningKey;
use quar_store::{MemoryDisk, MemoryHome, Opening, Outcome, Refusal, Settings, Store};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A node whose store is in memory and that has no peers, with both listeners.
struct Served {
    store: Arc<Store>,
    disk: Arc<MemoryDisk>,
    sink: Sink,
    http: SocketAddr,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    _directory: TempDir,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::new());
        let store = Arc::new(store(directory.path().join("out"), disk.clone()));
        let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (events, queue) = mpsc::channel(16);
        tokio::spawn(answer(store.clone(), queue));
        let settings = release::Settings {
            host: Some(sink.address.to_string()),
            helo: "n1".into(),
            timeouts: Timeouts::default(),
        };
        let node = NodeHandle::new(store.clone(), events, settings, Clock::start());
        let surface = Surface::new(node, tokens());
        let (stop, stopping) = watch::channel(false);
        let socket = directory.path().join("run/control.sock");
        let control = ControlSocket::bind(&socket).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let tasks = [Listener::Control(control), Listener::Http(listener)];
        let tasks =
            tasks.map(|listener| tokio::spawn(serve(listener, surface.clone(), stopping.clone())));
        Self { store, disk, sink, http, socket, stop, tasks: tasks.into(), _directory: directory }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket).await.unwrap()
    }

    /// One request over HTTP; status and JSON.
    async fn ask(&self, method: Method, path: &str, role: Option<HttpRole>) -> (u16, Value) {
        self.send(method, path, role, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        role: Option<HttpRole>,
        body: Bytes,
    ) -> (u16, Value) {
        let stream = TcpStream::connect(self.http).await.unwrap();
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(method).uri(path);
        if let Some(role) = role {
            let credentials = format!("Bearer {}", secret(role));
            request = request.header("authorization", credentials);
        }
        let request = request.header("host", "quard").body(Full::new(body)).unwrap();
        let response = requests.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = Value::String(String::from_utf8_lossy(&bytes).into_owned());
        (status, serde_json::from_slice(&bytes).unwrap_or(text))
    }

    async fn put(&self, query: &str, body: &[u8]) -> String {
        let path = format!("/v1/messages?{query}");
        let body = Bytes::copy_from_slice(body);
        let reply: PutReply = self.client().await.upload(&path, body).await.unwrap();
        reply.id
    }
}

fn secret(role: HttpRole) -> String {
    format!("the secret of {}", role.as_str())
}

fn tokens() -> Vec<HttpToken> {
    let token = |role: HttpRole| {
        let (name, hash) = (role.as_str(), HttpToken::hash_text(&secret(role)));
        format!("[[http.token]]\nname = \"{name}\"\nrole = \"{name}\"\nhash = \"{hash}\"\n")
    };
    let text: String = HttpRole::ALL.into_iter().map(token).collect();
    let config = Config::parse(&text, "quard.toml".as_ref(), &Paths::under(None));
    config.unwrap().http.tokens
}

fn store(directory: PathBuf, disk: Arc<MemoryDisk>) -> Store {
    let member = PlannedMember {
        name: "n1".into(),
        node_number: 1,
        addresses: vec!["127.0.0.1:1027".into()],
        location: String::new(),
    };
    let plan = StaticPlan { members: vec![member] };
    let now = Clock::start().now();
    let created = create_cluster(&plan, entropy().unwrap(), now, &directory).unwrap();
    let identity = Identity::load(&Paths::under(Some(&created.members[0].root))).unwrap();
    let roster = identity.roster.roster().clone();
    let settings = Settings {
        cluster: roster.cluster,
        member: identity.member,
        node_number: 1,
        signing: Arc::new(SigningKey::from_pkcs8(&identity.private_key).unwrap()),
        keys: vec![identity.encryption_key.clone()],
        id_key: identity.id_key.clone(),
        retention: Config::default().retention,
        min_free_bytes: 1000,
    };
    let opening = Opening {
        settings,
        disk,
        index: &mut MemoryHome(Arc::default()),
        roster: Arc::new(roster),
        now,
        seed: entropy().unwrap(),
        progress: &mut |_| {},
    };
    Store::open(opening).unwrap().0
}

/// What the node task does, without peers.
async fn answer(store: Arc<Store>, mut queue: mpsc::Receiver<Event>) {
    let outcome = |refused: Option<Refusal>| refused.map_or(Ok(()), Err);
    let commit = || {
        let refusals = store.commit().into_iter().map(|(_, outcome)| match outcome {
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::Stored(_) | Outcome::AlreadyHere(_) => None,
        });
        outcome(refusals.flatten().next())
    };
    while let Some(event) = queue.recv().await {
        match event {
            Event::Request(Request::Put { mail, reply }) => {
                let admitted = store.admit_mail(*mail);
                let id = admitted
                    .and_then(|admitted| commit().map(|()| admitted.message.expect("a message")));
                let _ = reply.send(id);
            }
            Event::Request(Request::Act { message, action, reply }) => {
                let admitted = store.admit_action(message, &action, Clock::start().now());
                let id = admitted.and_then(|(_, record)| commit().map(|()| record.id()));
                let _ = reply.send(id);
            }
            _ => {}
        }
    }
}

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
        (Method::GET, message.clone(), HttpRole::Viewer, 200),
        (Method::GET, format!("{message}/body"), HttpRole::Operator, 200),
        (Method::POST, "/v1/messages".to_owned(), HttpRole::Operator, 201),
        (Method::POST, format!("{message}/release"), HttpRole::Operator, 200),
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
    assert!(parse_instant("2001-01-01T00:00:00Z").is_some());
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

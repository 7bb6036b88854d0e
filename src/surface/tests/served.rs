//! A node to ask: real handle, listeners and store; the store in memory, and no peers.
//! Never decides what a test expects.

use super::super::Surface;
use super::super::control::ControlSocket;
use super::super::serve::{Listener, serve};
use crate::api::PutReply;
use crate::authority::{PlannedMember, StaticPlan, create_cluster};
use crate::client::Client;
use crate::config::{Config, HttpRole, HttpToken, Identity, Paths};
use crate::daemon::brake::Brake;
use crate::daemon::clock::{Clock, entropy};
use crate::daemon::driver::Event;
use crate::daemon::handle::{NodeHandle, Request};
use crate::daemon::prove::Prover;
use crate::daemon::release;
use crate::delivery::Timeouts;
use crate::demo::sink::Sink;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper_util::rt::TokioIo;
use quar_base::signing::SigningKey;
use quar_store::{Disk, MemoryDisk, MemoryHome, Opening, Outcome, Refusal, Settings, Store};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Deletions within a minute that need nobody to confirm them.
pub const BRAKE: usize = 8;

/// A node whose store is in memory and that has no peers, with both listeners.
pub struct Served {
    pub store: Arc<Store>,
    pub disk: Arc<MemoryDisk>,
    pub sink: Sink,
    pub http: SocketAddr,
    pub socket: PathBuf,
    pub stop: watch::Sender<bool>,
    pub tasks: Vec<JoinHandle<()>>,
    _directory: TempDir,
}

impl Served {
    pub async fn start() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        Self { disk: disk.clone(), ..Self::start_on(disk).await }
    }

    /// With a store on this disk.
    pub async fn start_on(disk: Arc<dyn Disk>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(store(directory.path().join("out"), disk));
        let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (events, queue) = mpsc::channel(16);
        tokio::spawn(answer(store.clone(), queue));
        let settings = release::Settings {
            host: Some(sink.address.to_string()),
            helo: "n1".into(),
            timeouts: Timeouts::default(),
        };
        let root = directory.path().join("out/n1");
        let prover = Prover::new(&Identity::load(&Paths::under(Some(&root))).unwrap());
        let brake = Brake::new(BRAKE);
        let node = NodeHandle::new(store.clone(), events, settings, brake, prover, Clock::start());
        let (stop, stopping) = watch::channel(false);
        let surface = Surface::new(node, tokens(), stopping.clone());
        let socket = directory.path().join("run/control.sock");
        let control = ControlSocket::bind(&socket).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let tasks = [Listener::Control(control), Listener::Http(listener)];
        let tasks =
            tasks.map(|listener| tokio::spawn(serve(listener, surface.clone(), stopping.clone())));
        let disk = Arc::default();
        Self { store, disk, sink, http, socket, stop, tasks: tasks.into(), _directory: directory }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.socket).await.unwrap()
    }

    /// One request over HTTP; status and JSON.
    pub async fn ask(&self, method: Method, path: &str, role: Option<HttpRole>) -> (u16, Value) {
        self.send(method, path, role, Bytes::new()).await
    }

    pub async fn send(
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

    pub async fn put(&self, query: &str, body: &[u8]) -> String {
        let path = format!("/v1/messages?{query}");
        let body = Bytes::copy_from_slice(body);
        let reply: PutReply = self.client().await.upload(&path, body).await.unwrap();
        reply.id
    }
}

pub fn secret(role: HttpRole) -> String {
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

/// The store of a cluster of one, made anew below a directory.
pub(crate) fn store(directory: PathBuf, disk: Arc<dyn Disk>) -> Store {
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
        reserve_bytes: 0,
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
            Outcome::WithoutBody => Some(Refusal::Full),
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
            Event::Request(Request::Hold { hold, reply }) => {
                let admitted = store.admit_hold(*hold);
                let id = admitted
                    .and_then(|admitted| commit().map(|()| admitted.message.expect("a message")));
                let _ = reply.send(id);
            }
            Event::Request(Request::Act { message, action, reply }) => {
                let admitted = store.admit_action(message, &action, Clock::start().now());
                let id = admitted.and_then(|(_, record)| commit().map(|()| record.id()));
                let _ = reply.send(id);
            }
            Event::Request(Request::Holders { reply }) => {
                let _ = reply.send(quar_node::Holders::alone(&store));
            }
            _ => {}
        }
    }
}

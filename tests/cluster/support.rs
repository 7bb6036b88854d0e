//! Clusters for tests, and what is asked of them.

use quard::client::Client;
use quard::demo::cluster::{Cluster, ClusterOptions, NodeProcess, Ports};
use quard::demo::feed::Feeder;
use quard::demo::mails::{TestMail, generated};
use quard::demo::sink::Sink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub fn daemon() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quard"))
}

/// A running cluster of three, its directory and its delivery host.
pub struct Running {
    pub cluster: Cluster,
    pub sink: Sink,
    /// Removed with the last of it.
    directory: TempDir,
}

impl Running {
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

pub async fn start(copies: usize, sync_lines: &str) -> Running {
    let mut running = start_with(copies, sync_lines, Vec::new()).await;
    running.cluster.start().await.unwrap();
    running
}

/// A cluster that is not started yet; `advertised` are the addresses that its roster names.
pub async fn start_with(copies: usize, sync_lines: &str, advertised: Vec<String>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let options = ClusterOptions {
        directory: directory.path().join("cluster"),
        daemon: daemon(),
        ports: Ports::Free,
        copies,
        delivery_host: sink.address.to_string(),
        sync_lines: sync_lines.to_owned(),
        advertised,
    };
    let clock = quard::daemon::clock::Clock::start();
    let seed = quard::daemon::clock::entropy().unwrap();
    let cluster = Cluster::create(&options, seed, clock.now()).unwrap();
    Running { cluster, sink, directory }
}

/// Feeds mails to one node; returns their ids.
pub async fn feed(node: &NodeProcess, mails: &[TestMail]) -> Vec<String> {
    let mut feeder = Feeder::connect(node.lmtp).await.unwrap();
    let mut ids = Vec::new();
    for mail in mails {
        let replies = feeder.send(&mail.sender, &mail.recipients, &mail.body).await.unwrap();
        assert!(replies.iter().all(|reply| reply.code == 250), "{replies:?}");
        ids.push(replies[0].text.split_whitespace().last().unwrap().to_owned());
    }
    ids
}

pub fn some_mails(count: usize) -> Vec<TestMail> {
    generated(count)
}

pub async fn body_of(client: &mut Client, id: &str) -> anyhow::Result<bytes::Bytes> {
    client.bytes(&format!("/v1/messages/{id}/body")).await
}

/// Every message is on every node, byte-exact.
pub async fn assert_kept(cluster: &Cluster, ids: &[String], mails: &[TestMail]) {
    assert_eq!(ids.len(), mails.len());
    for node in &cluster.nodes {
        let mut client = node.client().await.unwrap();
        for (id, mail) in ids.iter().zip(mails) {
            let read = body_of(&mut client, id).await;
            assert_eq!(read.unwrap(), mail.body, "{id} on node {}", node.number);
        }
    }
}

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a node has counted an offence of this kind.
pub async fn until_counted(node: &NodeProcess, kind: &str) {
    let start = Instant::now();
    loop {
        let offences = node.status().await.unwrap().offences;
        if offences.contains_key(kind) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{kind} is not among {offences:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

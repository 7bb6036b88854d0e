//! Clusters for tests, and what is asked of them.

use quard::client::Client;
use quard::demo::cluster::{Cluster, ClusterOptions, NodeProcess, Ports};
use quard::demo::feed::Feeder;
use quard::demo::mails::{TestMail, generated};
use quard::demo::sink::Sink;
use std::path::PathBuf;
use tempfile::TempDir;

pub fn daemon() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quard"))
}

/// A running cluster of three, its directory and its delivery host.
pub struct Running {
    pub cluster: Cluster,
    pub sink: Sink,
    /// Removed with the last of it.
    _directory: TempDir,
}

pub async fn start(copies: usize, sync_lines: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let options = ClusterOptions {
        directory: directory.path().join("cluster"),
        daemon: daemon(),
        ports: Ports::Free,
        copies,
        delivery_host: sink.address.to_string(),
        sync_lines: sync_lines.to_owned(),
    };
    let clock = quard::daemon::clock::Clock::start();
    let seed = quard::daemon::clock::entropy().unwrap();
    let mut cluster = Cluster::create(&options, seed, clock.now()).unwrap();
    cluster.start().await.unwrap();
    Running { cluster, sink, _directory: directory }
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

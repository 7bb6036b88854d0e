//! A cluster at a steady rate: how often its nodes agree, what comparing costs, how fast mail is seen elsewhere.
//! Never asserts: it prints what was, beside what is aimed at.
//!
//! ```text
//! node 1 ◄─ RATE/s      each 250 ─► the other two nodes are asked for the message, again and again,
//! node 2 ◄─ RATE/s                  until it is there: propagation
//! ```

use anyhow::Context;
use clap::Parser;
use quard::api::{MessageDetail, NodeStatus};
use quard::client::{Client, Refused};
use quard::demo::cluster::{Cluster, ClusterOptions, Ports};
use quard::demo::feed::Feeder;
use quard::demo::mails::{self, TestMail};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a node is left alone after it said that it does not have a message yet.
const ASK_AGAIN_AFTER: Duration = Duration::from_micros(500);
/// The nodes that are fed.
const FED: [usize; 2] = [0, 1];

/// Feeds two of three nodes at a steady rate
#[derive(Parser)]
struct Arguments {
    /// Seconds
    #[arg(default_value_t = 300)]
    seconds: u64,
    /// Messages a second to each of two nodes
    #[arg(default_value_t = 100)]
    rate: u64,
    /// Directory of .eml files to feed, instead of generated mail
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// A mail that was acknowledged, and when.
#[derive(Clone)]
struct Acknowledged {
    id: String,
    at: Instant,
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    acknowledge: Vec<Duration>,
    propagate: Vec<Duration>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let count = usize::try_from(arguments.seconds * arguments.rate)?;
    let all = match &arguments.corpus {
        Some(directory) => mails::from_corpus(directory, count * FED.len())?,
        None => mails::generated(count * FED.len()),
    };
    let scratch = tempfile::tempdir()?;
    let mut cluster = Cluster::create(&options(scratch.path().join("cluster")), [7; 32], now()?)?;
    cluster.start().await?;
    let before = statuses(&cluster).await?;
    let start = Instant::now();
    let seen = feed(&cluster, &all, &arguments).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = statuses(&cluster).await?;
    cluster.wait_for_equal_roots().await?;
    for node in &mut cluster.nodes {
        node.stop()?;
    }
    report(&arguments, seconds, seen, &before, &after);
    Ok(())
}

fn options(directory: PathBuf) -> ClusterOptions {
    ClusterOptions {
        directory,
        daemon: env!("CARGO_BIN_EXE_quard").into(),
        ports: Ports::Free,
        copies: 2,
        delivery_host: "127.0.0.1:25".to_owned(),
        sync_lines: String::new(),
        advertised: Vec::new(),
    }
}

fn now() -> anyhow::Result<quar_base::time::UnixMillis> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(quar_base::time::UnixMillis(u64::try_from(since.as_millis())?))
}

async fn statuses(cluster: &Cluster) -> anyhow::Result<Vec<NodeStatus>> {
    let mut all = Vec::new();
    for node in &cluster.nodes {
        all.push(node.status().await?);
    }
    Ok(all)
}

async fn feed(cluster: &Cluster, all: &[TestMail], arguments: &Arguments) -> anyhow::Result<Seen> {
    let mut clients = JoinSet::new();
    for node in FED {
        let mut told = Vec::new();
        for other in cluster.nodes.iter().enumerate().filter(|(at, _)| *at != node) {
            let (tell, acknowledged) = mpsc::unbounded_channel();
            clients.spawn(watch(other.1.client().await?, acknowledged));
            told.push(tell);
        }
        let own: Vec<TestMail> = all.iter().skip(node).step_by(FED.len()).cloned().collect();
        let feeder = Feeder::connect(cluster.nodes[node].lmtp).await?;
        clients.spawn(send(feeder, own, arguments.rate, told));
    }
    let mut seen = Seen::default();
    while let Some(part) = clients.join_next().await {
        let part = part??;
        seen.acknowledge.extend(part.acknowledge);
        seen.propagate.extend(part.propagate);
    }
    Ok(seen)
}

/// Offers mails at a rate; a mail that is late does not make those behind it late too.
async fn send(
    mut feeder: Feeder,
    mails: Vec<TestMail>,
    rate: u64,
    told: Vec<mpsc::UnboundedSender<Acknowledged>>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let start = Instant::now();
    for (number, mail) in mails.into_iter().enumerate() {
        let due = start + Duration::from_secs_f64(number as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        let offered = Instant::now();
        let replies = feeder.send(&mail.sender, &mail.recipients, &mail.body).await?;
        let at = Instant::now();
        seen.acknowledge.push(at - offered);
        let first = replies.first().context("no reply")?;
        anyhow::ensure!(first.code == 250, "refused: {} {}", first.code, first.text);
        let id = first.text.split_whitespace().last().context("a reply without an id")?;
        for tell in &told {
            tell.send(Acknowledged { id: id.to_owned(), at }).context("a watcher ended")?;
        }
    }
    Ok(seen)
}

/// Asks one node for every message that another acknowledged, until it has it.
async fn watch(
    mut client: Client,
    mut acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while let Some(next) = acknowledged.recv().await {
        let path = format!("/v1/messages/{}", next.id);
        loop {
            match client.get::<MessageDetail>(&path).await {
                Ok(message) if message.summary.body_here => break,
                Ok(_) => {}
                Err(error) if error.downcast_ref::<Refused>().is_some_and(|r| r.status == 404) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        seen.propagate.push(next.at.elapsed());
    }
    Ok(seen)
}

fn report(
    arguments: &Arguments,
    seconds: f64,
    mut seen: Seen,
    before: &[NodeStatus],
    after: &[NodeStatus],
) {
    // Each comparison is counted by both sides of its pair, and so are its bytes.
    let sum = |statuses: &[NodeStatus]| {
        let peers = statuses.iter().flat_map(|status| &status.members).filter(|one| !one.is_self);
        peers.fold((0, 0, 0), |sum, one| {
            let seen = one.comparisons;
            (sum.0 + seen.made, sum.1 + seen.equal, sum.2 + seen.bytes)
        })
    };
    let (before, after) = (sum(before), sum(after));
    let pairs = 3.0;
    let rounds = after.0 - before.0;
    let in_sync = 100.0 * (after.1 - before.1) as f64 / rounds.max(1) as f64;
    let bytes_a_second = (after.2 - before.2) as f64 / 2.0 / pairs / seconds;
    let acknowledge = quantiles(&mut seen.acknowledge);
    let propagate = quantiles(&mut seen.propagate);
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds,
            "offered_per_second_and_node": arguments.rate,
            "messages": seen.acknowledge.len(),
            "seen_elsewhere": seen.propagate.len(),
            "comparisons_in_sync_percent": in_sync,
            "comparisons": rounds / 2,
            "comparing_bytes_per_second_and_pair": bytes_a_second,
            "acknowledge_ms": acknowledge,
            "propagate_ms": propagate,
        })
    );
}

/// Median, 99th percentile and the longest, in milliseconds.
fn quantiles(times: &mut [Duration]) -> serde_json::Value {
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map(|time| time.as_secs_f64() * 1e3)
    };
    serde_json::json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

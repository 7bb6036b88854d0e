//! The demo: a real three-node cluster on this machine, with a node that dies and comes back.
//! Never counts what it did not see: every figure is read from the daemons or from the disk.
//!
//! ```text
//! start 3 ─► feed all ─► equal roots ─► kill node 1 ─► feed 2 and 3 ─► release and delete on 2
//!         ─► start node 1 ─► equal roots ─► read everything back from every node ─► stop, clean up
//! ```

pub mod check;
pub mod cluster;
pub mod feed;
pub mod mails;
pub mod sink;

mod progress;

use crate::api::{DeleteReply, ReleaseReply, ReleaseRequest};
use crate::daemon::clock::{Clock, entropy};
use anyhow::Context;
use bytes::Bytes;
use check::{Expected, Findings};
use cluster::{Cluster, ClusterOptions, Ports};
use feed::Feeder;
use mails::TestMail;
use progress::Progress;
use serde::Serialize;
use sink::Sink;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// LMTP clients that feed at once.
const WRITERS: usize = 8;

/// What to demonstrate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Mails fed while all nodes are up.
    pub messages: usize,
    /// Mails fed while node 1 is down.
    pub missed: usize,
    /// Where real mail lies; made from a seed without it.
    pub corpus: Option<PathBuf>,
    /// Where the cluster lies; a temporary directory without it.
    pub directory: Option<PathBuf>,
    /// Whether the cluster is left running at the end.
    pub keep: bool,
    /// Whether nothing is drawn on the terminal.
    pub quiet: bool,
    /// The daemon's binary.
    pub daemon: PathBuf,
    /// Which ports the daemons listen on.
    pub ports: Ports,
    /// Copies that an acknowledgement stands for.
    pub copies: usize,
    /// Lines added to every node's quard.toml under `[sync]`.
    pub sync_lines: String,
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Report {
    /// Nodes in the cluster.
    pub nodes: usize,
    /// Messages fed in all.
    pub messages: usize,
    /// Bytes of the messages fed, those deleted since included: they are on the disks still.
    pub raw_bytes: u64,
    /// Bytes on disk, node by node: blocks of the data directory, index included.
    pub disk_bytes: Vec<u64>,
    /// Bytes that the reserve takes of them on each node, however much mail there is.
    pub reserve_bytes: u64,
    /// Copies that an acknowledgement stood for.
    pub copies: usize,
    /// Seconds from the first mail offered to the last acknowledged, all nodes up.
    pub ingest_seconds: f64,
    /// Messages acknowledged per second meanwhile.
    pub messages_per_second: f64,
    /// Seconds from the last acknowledgement to equal roots everywhere.
    pub replicated_everywhere_seconds: f64,
    /// Messages fed while node 1 was down.
    pub missed_while_down: usize,
    /// Seconds from the start of node 1's daemon to equal roots and no wanted body.
    pub heal_seconds: f64,
    /// Bytes that node 1 exchanged with its peers meanwhile.
    pub heal_bytes: u64,
    /// Messages released, byte-exact in the sink.
    pub released: usize,
    /// Messages deleted.
    pub deleted: usize,
    /// See [`Findings`].
    pub lost: u64,
    /// See [`Findings`].
    pub corrupted: u64,
    /// See [`Findings`].
    pub resurrected: u64,
}

impl Report {
    /// Whether nothing was lost, damaged or brought back.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.corrupted == 0 && self.resurrected == 0
    }
}

/// Called with the cluster just before everything is read back: for a test that does damage.
pub type BeforeCheck = Box<dyn FnOnce(&mut Cluster, &Expected) -> anyhow::Result<()> + Send>;

/// A mail that was acknowledged.
struct Fed {
    id: String,
    node: usize,
    mail: TestMail,
}

/// Runs the demo.
///
/// # Errors
/// When a daemon cannot be started, ends, or does not answer.
pub async fn run(options: &Options, before_check: Option<BeforeCheck>) -> anyhow::Result<Report> {
    let temporary = tempfile::tempdir()?;
    let directory = options.directory.clone().unwrap_or_else(|| temporary.path().join("cluster"));
    let progress = Progress::new(options.quiet);
    let mails = load_mails(options)?;
    let sink = Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let cluster_options = ClusterOptions {
        directory: directory.clone(),
        daemon: options.daemon.clone(),
        ports: options.ports,
        copies: options.copies,
        delivery_host: sink.address.to_string(),
        sync_lines: options.sync_lines.clone(),
        advertised: Vec::new(),
    };
    let clock = Clock::start();
    progress.say("making keys and certificates for three nodes");
    let mut cluster = Cluster::create(&cluster_options, entropy()?, clock.now())?;
    progress.say("starting three daemons");
    cluster.start().await?;
    let mut show = Show { options, progress, cluster, sink, fed: Vec::new() };
    let mut report = show.play(mails).await?;
    let expected = Arc::new(show.expected(&report.1));
    if let Some(damage) = before_check {
        damage(&mut show.cluster, &expected)?;
    }
    let findings = show.read_back(&expected).await?;
    let report = {
        let report = &mut report.0;
        (report.lost, report.corrupted, report.resurrected) =
            (findings.lost, findings.corrupted, findings.resurrected);
        report.raw_bytes = show.fed.iter().map(|fed| fed.mail.body.len() as u64).sum();
        report.clone()
    };
    show.finish(report, temporary, &directory).await
}

/// Writes the mails that the demo would feed, in their order, as `000001.eml` and so on.
///
/// # Errors
/// When mails cannot be read or written.
pub fn write_mails(options: &Options, directory: &Path) -> anyhow::Result<()> {
    for (number, mail) in load_mails(options)?.into_iter().enumerate() {
        let path = directory.join(format!("{:06}.eml", number + 1));
        std::fs::write(&path, &mail.body).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn load_mails(options: &Options) -> anyhow::Result<Vec<TestMail>> {
    let count = options.messages + options.missed;
    match &options.corpus {
        Some(directory) => mails::from_corpus(directory, count),
        None => Ok(mails::generated(count)),
    }
}

/// The demo while it runs.
struct Show<'a> {
    options: &'a Options,
    progress: Progress,
    cluster: Cluster,
    sink: Sink,
    fed: Vec<Fed>,
}

impl Show<'_> {
    async fn play(&mut self, mut mails: Vec<TestMail>) -> anyhow::Result<(Report, Vec<String>)> {
        let mut report = Report { nodes: 3, copies: self.options.copies, ..Report::default() };
        report.messages = mails.len();
        let later = mails.split_off(self.options.messages);
        report.ingest_seconds = self.feed("feeding all nodes", mails, &[0, 1, 2]).await?;
        report.messages_per_second = self.options.messages as f64 / report.ingest_seconds.max(1e-9);
        self.progress.say("waiting for equal roots");
        let agreed = self.cluster.wait_for_equal_roots().await?;
        report.replicated_everywhere_seconds = agreed.as_secs_f64();

        self.progress.say("killing node 1 (SIGKILL)");
        self.cluster.nodes[0].kill()?;
        report.missed_while_down = later.len();
        self.feed("feeding nodes 2 and 3 while node 1 is down", later, &[1, 2]).await?;
        let deleted = self.act(&mut report).await?;

        self.progress.say("starting node 1 again");
        let start = Instant::now();
        self.cluster.nodes[0].start()?;
        self.cluster.wait_for_equal_roots().await?;
        report.heal_seconds = start.elapsed().as_secs_f64();
        let status = self.cluster.nodes[0].status().await?;
        report.heal_bytes = status.sent_bytes + status.received_bytes;
        Ok((report, deleted))
    }

    /// Feeds mails over LMTP, each to the next of the nodes; returns the seconds it took.
    async fn feed(
        &mut self,
        what: &str,
        mails: Vec<TestMail>,
        nodes: &[usize],
    ) -> anyhow::Result<f64> {
        let bar = self.progress.bar(what, mails.len() as u64);
        let mut queues: Vec<Vec<(usize, TestMail)>> = vec![Vec::new(); WRITERS];
        for (number, mail) in mails.into_iter().enumerate() {
            queues[number % WRITERS].push((number, mail));
        }
        let mut writers = tokio::task::JoinSet::new();
        let start = Instant::now();
        for (writer, queue) in queues.into_iter().enumerate() {
            let node = nodes[writer % nodes.len()];
            let (address, bar) = (self.cluster.nodes[node].lmtp, bar.clone());
            writers.spawn(async move {
                let mut feeder = Feeder::connect(address).await?;
                let mut fed = Vec::with_capacity(queue.len());
                for (_, mail) in queue {
                    let replies = feeder.send(&mail.sender, &mail.recipients, &mail.body).await?;
                    fed.push(Fed { id: acknowledged_id(&replies)?, node, mail });
                    bar.inc(1);
                }
                anyhow::Ok(fed)
            });
        }
        let mut fed = Vec::new();
        while let Some(done) = writers.join_next().await {
            fed.extend(done??);
        }
        let seconds = start.elapsed().as_secs_f64();
        bar.finish();
        self.fed.extend(fed);
        Ok(seconds)
    }

    /// Releases and deletes, on node 2, mail that node 1 caught; returns the ids of what was deleted.
    async fn act(&mut self, report: &mut Report) -> anyhow::Result<Vec<String>> {
        let caught: Vec<&Fed> = self.fed.iter().filter(|fed| fed.node == 0).collect();
        let share = (caught.len() / 10).clamp(1, 50);
        self.progress
            .say(&format!("releasing {share} and deleting {share} on node 2 that node 1 caught"));
        let mut client = self.cluster.nodes[1].client().await?;
        for fed in caught.iter().take(share) {
            let path = format!("/v1/messages/{}/release", fed.id);
            let reply: ReleaseReply = client.post(&path, &ReleaseRequest::default()).await?;
            let delivered = reply.deliveries.iter().all(|delivery| delivery.result == "delivered");
            anyhow::ensure!(delivered, "releasing {} came to {:?}", fed.id, reply.deliveries);
        }
        report.released = self.count_in_sink(&caught[..share]);
        anyhow::ensure!(
            report.released == share,
            "the sink has {} of {share} released messages byte-exact",
            report.released
        );
        let mut deleted = Vec::new();
        for fed in caught.iter().skip(share).take(share) {
            let reply: DeleteReply = client.delete(&format!("/v1/messages/{}", fed.id)).await?;
            anyhow::ensure!(reply.gone, "{} is not gone after its delete", fed.id);
            deleted.push(fed.id.clone());
        }
        report.deleted = deleted.len();
        Ok(deleted)
    }

    fn count_in_sink(&self, released: &[&Fed]) -> usize {
        let received = self.sink.received();
        let arrived = |fed: &&&Fed| {
            let same = |body: &Bytes| *body == fed.mail.body;
            received.iter().any(|one| one.sender == fed.mail.sender && same(&one.body))
        };
        released.iter().filter(arrived).count()
    }

    fn expected(&self, deleted: &[String]) -> Expected {
        let (gone, kept): (Vec<&Fed>, Vec<&Fed>) =
            self.fed.iter().partition(|fed| deleted.contains(&fed.id));
        let map = |all: Vec<&Fed>| -> BTreeMap<String, Bytes> {
            all.into_iter().map(|fed| (fed.id.clone(), fed.mail.body.clone())).collect()
        };
        Expected { kept: map(kept), deleted: map(gone) }
    }

    async fn read_back(&self, expected: &Arc<Expected>) -> anyhow::Result<Findings> {
        let total = (expected.kept.len() * self.cluster.nodes.len()) as u64;
        let bar = self.progress.bar("reading everything back from every node", total);
        let mut all = Findings::default();
        for node in &self.cluster.nodes {
            let bar = bar.clone();
            let found = check::check_node(node, expected, move |count| bar.inc(count))
                .await
                .with_context(|| format!("reading back from node {}", node.number))?;
            all.lost += found.lost;
            all.corrupted += found.corrupted;
            all.resurrected += found.resurrected;
        }
        bar.finish();
        Ok(all)
    }

    async fn finish(
        mut self,
        mut report: Report,
        temporary: tempfile::TempDir,
        directory: &std::path::Path,
    ) -> anyhow::Result<Report> {
        if self.options.keep {
            self.measure_disks(&mut report)?;
            if self.options.directory.is_none() {
                // Kept on purpose: the cluster goes on running in it.
                let _ = temporary.keep();
            }
            self.progress.say(&format!(
                "the cluster keeps running; talk to it with: quarctl --root {}/node1 status --cluster\n\
                 press Ctrl-C to end it",
                directory.display()
            ));
            tokio::signal::ctrl_c().await?;
        }
        self.progress.say("stopping");
        for node in &mut self.cluster.nodes {
            node.stop()?;
        }
        if report.disk_bytes.is_empty() {
            self.measure_disks(&mut report)?;
        }
        self.progress.finish(&report);
        Ok(report)
    }

    fn measure_disks(&self, report: &mut Report) -> anyhow::Result<()> {
        let nodes = &self.cluster.nodes;
        report.disk_bytes = nodes.iter().map(|node| node.disk_bytes()).collect::<Result<_, _>>()?;
        report.reserve_bytes = nodes[0].reserve_bytes()?;
        Ok(())
    }
}

/// The message id in the reply to a mail that was taken for all its recipients.
fn acknowledged_id(replies: &[feed::Reply]) -> anyhow::Result<String> {
    let first = replies.first().context("no reply")?;
    for reply in replies {
        anyhow::ensure!(reply.code == 250, "refused: {} {}", reply.code, reply.text);
    }
    let id = first.text.split_whitespace().last().context("a reply without an id")?;
    Ok(id.to_owned())
}

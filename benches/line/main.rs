//! What bad lines, slow peers and lying members cost, with real daemons. Prints figures, judges nothing.
//!
//! `cargo bench --bench line -- WHAT [MESSAGES [CORPUS [LIE]]]`; WHAT: backlog, cuts, moves, slow, hostile; LIE: only
//! lies whose name contains this

#![allow(clippy::unwrap_used, missing_docs)]

mod lying;
mod moving;
#[path = "../../tests/line/proxy.rs"]
#[allow(dead_code)]
mod proxy;
#[path = "../../tests/cluster/support.rs"]
#[allow(dead_code)]
mod support;
#[path = "../../tests/line/world.rs"]
#[allow(dead_code)]
mod world;

#[path = "../../tests/hostile/lies.rs"]
#[allow(dead_code)]
mod lies;
#[path = "../../tests/hostile/member.rs"]
#[allow(dead_code)]
mod member;

use proxy::Quality;
use quard::demo::feed::Feeder;
use quard::demo::mails::{TestMail, from_corpus, generated};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use world::World;

/// 200 ms there and back, 1% lost, 20 Mbit/s.
const BAD: Quality = Quality {
    delay: Duration::from_millis(100),
    lost_of_million: 10_000,
    bytes_per_s: 2_500_000,
    queue: Duration::from_millis(200),
};
const WRITERS: usize = 8;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let count = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(2000);
    let mails = match arguments.get(2) {
        Some(corpus) if !corpus.is_empty() => from_corpus(Path::new(corpus), count).unwrap(),
        _ => generated(count),
    };
    let mails = Arc::new(mails);
    match arguments.first().map(String::as_str) {
        Some("backlog") => backlog(&mails).await,
        Some("cuts") => cuts(&mails).await,
        Some("moves") => moving::run().await,
        Some("slow") => slow(&mails).await,
        Some("hostile") => lying::run(&mails, arguments.get(3).map_or("", String::as_str)).await,
        _ => eprintln!("say what to measure: backlog, cuts, moves, slow or hostile"),
    }
}

/// Feeds mails over so many connections at once; how long that took.
async fn feed(lmtp: std::net::SocketAddr, mails: &Arc<Vec<TestMail>>) -> Duration {
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mails = mails.clone();
        writers.spawn(async move {
            let mut feeder = Feeder::connect(lmtp).await.unwrap();
            for mail in mails.iter().skip(writer).step_by(WRITERS) {
                let replies = feeder.send(&mail.sender, &mail.recipients, &mail.body).await;
                assert!(replies.unwrap().iter().all(|reply| reply.code == 250));
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    begun.elapsed()
}

/// How the second of two nodes gets what the first took while it was down.
struct CaughtUp {
    took: Duration,
    /// Of frames that arrived, each counted once.
    received_bytes: u64,
    carried_bytes: u64,
}

async fn catch_up(
    quality: Quality,
    lines: &str,
    mails: &Arc<Vec<TestMail>>,
    cuts: Option<(Duration, Duration)>,
) -> CaughtUp {
    let mut world = World::new(quality, 1, lines).await;
    world.running.cluster.nodes[0].start().unwrap();
    world.wait_for_peers(0).await;
    feed(world.running.cluster.nodes[0].lmtp, mails).await;
    world.running.cluster.nodes[1].start().unwrap();
    let begun = Instant::now();
    let cutting = cuts.map(|(period, length)| world.control.cut_every(period, length));
    world.running.cluster.wait_for_equal_roots().await.unwrap();
    let took = begun.elapsed();
    cutting.inspect(|cutting| cutting.abort());
    let (udp, tcp) = world.control.carried_bytes();
    let received_bytes = world.running.cluster.nodes[1].status().await.unwrap().received_bytes;
    CaughtUp { took, received_bytes, carried_bytes: udp + tcp }
}

const TRANSPORTS: [(&str, &str); 2] = [("QUIC", "tcp = false"), ("TCP", "quic = false")];

async fn backlog(mails: &Arc<Vec<TestMail>>) {
    let raw: usize = mails.iter().map(|mail| mail.body.len()).sum();
    println!("{} messages of {:.1} MB, 200 ms, 1% lost, 20 Mbit/s", mails.len(), raw as f64 / 1e6);
    for (transport, lines) in TRANSPORTS {
        let done = catch_up(BAD, lines, mails, None).await;
        let seconds = done.took.as_secs_f64();
        let share = |bytes| bytes as f64 / seconds / BAD.bytes_per_s as f64 * 100.0;
        let (full, useful) = (share(done.carried_bytes), share(done.received_bytes));
        let bytes = done.carried_bytes as f64 / 1e6;
        println!(
            "{transport}: {seconds:.2} s, {bytes:.2} MB sent, {full:.0}% of the line, {useful:.0}% useful"
        );
    }
}

async fn cuts(mails: &Arc<Vec<TestMail>>) {
    let cut = (Duration::from_secs(5), Duration::from_millis(500));
    println!("{} messages, 20 Mbit/s, 200 ms, cut for 0.5 s in every 5 s", mails.len());
    for (transport, lines) in TRANSPORTS {
        // What waits in the line's queue is lost with a cut, over TCP.
        for queue_ms in [200, 50] {
            let queue = Duration::from_millis(queue_ms);
            let line = Quality { lost_of_million: 0, queue, ..BAD };
            let whole = catch_up(line, lines, mails, None).await;
            let pieces = catch_up(line, lines, mails, Some(cut)).await;
            let more = |whole, pieces| pieces as f64 / whole as f64 * 100.0 - 100.0;
            let sent = more(whole.carried_bytes, pieces.carried_bytes);
            let received = more(whole.received_bytes, pieces.received_bytes);
            let (before, after) = (whole.took.as_secs_f64(), pieces.took.as_secs_f64());
            println!(
                "{transport}, {queue_ms} ms of queue: {before:.1} s whole, {after:.1} s cut; \
                 {sent:.1}% more bytes sent, {received:.1}% more received"
            );
        }
    }
}

/// What a peer behind a line of 1 kB/s costs the intake of the others, beside one that is good and one that is down.
async fn slow(mails: &Arc<Vec<TestMail>>) {
    const ROUNDS: usize = 5;
    let (mut of_good, mut of_down) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut rates = [0.0; 3];
        for (at, third) in ["good", "down", "slow"].into_iter().enumerate() {
            let mut world = World::new(Quality::GOOD, 2, "").await;
            world.start(if third == "down" { 2 } else { 3 }).await;
            if third == "slow" {
                let queue = Duration::from_secs(10);
                let slow = Quality { bytes_per_s: 1000, queue, ..BAD };
                world.control.set_quality_of(world.running.cluster.nodes[2].sync.ip(), slow);
            }
            let took = feed(world.running.cluster.nodes[0].lmtp, mails).await;
            rates[at] = mails.len() as f64 / took.as_secs_f64();
            let peak = lying::peak_kib(world.running.cluster.nodes[0].pid().unwrap());
            println!("third node {third}: {:.0} messages/s, {peak} KiB", rates[at]);
        }
        let [good, down, slow] = rates;
        of_good.push(slow / good * 100.0);
        of_down.push(slow / down * 100.0);
    }
    for (than, shares) in [("good", &mut of_good), ("down", &mut of_down)] {
        shares.sort_by(f64::total_cmp);
        println!(
            "a third node at 1 kB/s: {:.1}% of the intake with it {than} (median of {ROUNDS}), {:.1}% at the worst",
            shares[ROUNDS / 2],
            shares[0],
        );
    }
}

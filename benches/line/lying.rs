//! What each lie of a member costs two honest ones: intake, replication between them, memory.

use crate::feed;
use crate::lies::{Lie, all};
use crate::member::Liar;
use crate::support::{feed as feed_in_turn, some_mails, start};
use quar_base::key::MessageId;
use quard::demo::mails::TestMail;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Each lie is measured so often, each time behind a run without one.
const ROUNDS: usize = 3;

pub async fn run(mails: &Arc<Vec<TestMail>>, only: &str) {
    let names: Vec<&str> = {
        let (running, liar, known) = scene().await;
        drop(running);
        all(&liar, known).iter().map(|lie| lie.name).collect()
    };
    println!(
        "by the same without a lie, measured just before; medians of {ROUNDS} such pairs, and the worst: \
         intake, replication; the most memory"
    );
    let (mut intake, mut both, mut peak) = (f64::MAX, f64::MAX, 0);
    for (lie, _) in names.iter().enumerate().filter(|(_, name)| name.contains(only)) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let honest = measure(mails, None).await;
            rounds.push((honest, measure(mails, Some(lie)).await));
        }
        let shares = |rate: fn(&Measured) -> f64| {
            let shares = rounds.iter().map(|(honest, told)| rate(told) / rate(honest) * 100.0);
            let mut shares: Vec<f64> = shares.collect();
            shares.sort_by(f64::total_cmp);
            shares
        };
        let (taken, had) = (shares(|it| it.intake), shares(|it| it.both));
        let memory = rounds.iter().map(|(_, told)| told.peak_kib).max().unwrap_or_default();
        let (honest, told) = &rounds[ROUNDS - 1];
        println!(
            "{:4.0}/s {:5.1}% ({:5.1}%) {:4.0}/s {:5.1}% ({:5.1}%) {memory:7} KiB  {}",
            honest.intake,
            taken[ROUNDS / 2],
            taken[0],
            honest.both,
            had[ROUNDS / 2],
            had[0],
            told.what,
        );
        intake = intake.min(taken[ROUNDS / 2]);
        both = both.min(had[ROUNDS / 2]);
        peak = peak.max(memory);
    }
    println!("the worst median: intake {intake:.1}%, replication {both:.1}%; {peak} KiB");
}

/// Of frames that a liar has ready.
const FRAMES_BYTES: usize = 64 << 20;

struct Measured {
    what: String,
    /// Messages a second acknowledged; and until both honest nodes had all.
    intake: f64,
    both: f64,
    peak_kib: u64,
}

async fn scene() -> (crate::support::Running, Liar, quar_base::key::RecordKey) {
    let mut running = start(2, "").await;
    let ids = feed_in_turn(&running.cluster.nodes[0], &some_mails(1)).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[2].stop().unwrap();
    let liar = Liar::new(&running.cluster.nodes[2], &running.cluster.nodes[0]);
    let known = ids[0].parse::<MessageId>().unwrap().key;
    (running, liar, known)
}

/// The first frames of a connection.
fn frames(lie: &Lie, liar: &Liar) -> Vec<Vec<u8>> {
    let mut bytes = 0;
    let made = (1..=lie.frames_max).map(|number| (lie.make)(liar, number));
    let few = |frame: &Vec<u8>| {
        bytes += frame.len();
        bytes <= FRAMES_BYTES
    };
    made.take_while(few).collect()
}

/// Tells all of it on one connection, and stays until that ends.
async fn tell(liar: &Liar, frames: &[Vec<u8>]) -> std::io::Result<()> {
    let mut write = liar.greet().await?;
    for frame in frames {
        write.write_all(frame).await?;
    }
    write.flush().await
}

async fn measure(mails: &Arc<Vec<TestMail>>, lie: Option<usize>) -> Measured {
    let (mut running, liar, known) = scene().await;
    let mut what = String::new();
    let telling = lie.map(|lie| {
        let lie = all(&liar, known).swap_remove(lie);
        what = lie.name.to_owned();
        // Made before, so that a liar on this machine costs it little but what it does to others.
        let frames = frames(&lie, &liar);
        tokio::spawn(async move {
            loop {
                if tell(&liar, &frames).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
    });
    let begun = Instant::now();
    let taken = feed(running.cluster.nodes[0].lmtp, mails).await;
    let wanted = mails.len() as u64;
    // What the liar added may be on its way still; each honest node has at least all honest mail.
    let agree = |all: &[quard::api::NodeStatus]| {
        all.iter().all(|it| it.wanted == 0 && it.records >= wanted)
    };
    running.cluster.wait("both have all", agree).await.unwrap();
    let both = begun.elapsed();
    let peak_kib = peak_kib(running.cluster.nodes[0].pid().unwrap());
    if let Some(telling) = telling {
        telling.abort();
    }
    let status = running.cluster.nodes[0].status().await.unwrap();
    if lie.is_some() {
        // With two copies asked for, what was answered with fewer did not reach the other in time.
        let (alone, offences) = (status.under_replicated, status.offences);
        let more = status.records - wanted;
        what = format!("{what}; {alone} answered alone; {more} records of its own; {offences:?}");
    }
    let rate = |took: Duration| mails.len() as f64 / took.as_secs_f64();
    Measured { what, intake: rate(taken), both: rate(both), peak_kib }
}

/// The most that was ever resident.
pub fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

//! What each lie of a member costs two honest ones: intake, replication between them, memory.

use crate::feed;
use crate::lies::all;
use crate::member::Liar;
use crate::support::{feed as feed_in_turn, some_mails, start};
use quar_base::key::MessageId;
use quard::demo::mails::TestMail;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub async fn run(mails: &Arc<Vec<TestMail>>) {
    let count = {
        let (running, liar, known) = scene().await;
        drop(running);
        all(&liar, known).len()
    };
    let mut honest = [measure(mails, None).await, measure(mails, None).await];
    honest.sort_by(|a, b| b.intake.total_cmp(&a.intake));
    let [best, _] = &honest;
    println!("undisturbed: {:.0} messages/s taken, {:.0}/s on both", best.intake, best.both);
    for lie in 0..count {
        let told = measure(mails, Some(lie)).await;
        println!(
            "{:5.1}% intake {:5.1}% both {:7} KiB  {}",
            told.intake / best.intake * 100.0,
            told.both / best.both * 100.0,
            told.peak_kib,
            told.what,
        );
    }
}

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

async fn measure(mails: &Arc<Vec<TestMail>>, lie: Option<usize>) -> Measured {
    let (mut running, liar, known) = scene().await;
    let mut what = String::new();
    let telling = lie.map(|lie| {
        let lie = all(&liar, known).swap_remove(lie);
        what = lie.name.to_owned();
        tokio::spawn(async move {
            loop {
                if lie.tell(&liar, u64::MAX).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
    });
    let begun = Instant::now();
    let taken = feed(running.cluster.nodes[0].lmtp, mails).await;
    let wanted = mails.len() as u64;
    // What the liar added may be on its way still; each honest node has at least all honest mail.
    let agree =
        |all: &[quard::api::NodeStatus]| all.iter().all(|it| it.wanted == 0 && it.records > wanted);
    running.cluster.wait("both have all", agree).await.unwrap();
    let both = begun.elapsed();
    let peak_kib = peak_kib(running.cluster.nodes[0].pid().unwrap());
    if let Some(telling) = telling {
        telling.abort();
    }
    let offences = running.cluster.nodes[0].status().await.unwrap().offences;
    if lie.is_some() {
        what = format!("{what} {offences:?}");
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

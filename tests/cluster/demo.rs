//! The demo on free ports: clean when left alone, and not clean when somebody tampers.

use crate::support::daemon;
use quard::demo::cluster::{Cluster, Ports};
use quard::demo::{self, BeforeCheck, Options, Report};
use std::path::{Path, PathBuf};

fn options() -> Options {
    Options {
        messages: 90,
        missed: 60,
        corpus: None,
        directory: None,
        keep: false,
        quiet: true,
        daemon: daemon(),
        ports: Ports::Free,
        copies: 2,
        sync_lines: String::new(),
    }
}

async fn run(before_check: Option<BeforeCheck>) -> Report {
    demo::run(&options(), before_check).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_damages_and_resurrects_nothing() {
    let report = run(None).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.nodes, report.messages, report.missed_while_down), (3, 150, 60));
    assert!(report.released > 0 && report.deleted > 0);
    assert!(report.heal_bytes > 0);
    assert_eq!(report.disk_bytes.len(), 3);
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.join("var/lib/quard/segments")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

/// Stops all nodes, does something to each one's files, and starts them again.
fn with_nodes_stopped(cluster: &mut Cluster, tamper: impl Fn(&Path)) -> anyhow::Result<()> {
    for node in &mut cluster.nodes {
        node.stop()?;
    }
    for node in &mut cluster.nodes {
        tamper(&node.root);
        node.start()?;
    }
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        handle.block_on(async {
            let up = |statuses: &[quard::api::NodeStatus]| statuses.len() == 3;
            cluster.wait("all nodes answer again", up).await.map(|_| ())
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_notices_damaged_bodies() {
    let tamper: BeforeCheck = Box::new(|cluster, _| {
        with_nodes_stopped(cluster, |root| {
            for segment in segments(root) {
                let mut bytes = std::fs::read(&segment).unwrap();
                // A byte in the payload of every bodies block, on every node: no peer has a copy
                // that could be taken instead.
                let mut at = 256;
                while bytes.get(at..at + 4) == Some(b"QBLK") {
                    let sealed = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
                    if bytes[at + 4] == 2 {
                        bytes[at + 48 + 20] ^= 0xff;
                    }
                    at += (48 + sealed as usize).next_multiple_of(8);
                }
                std::fs::write(&segment, bytes).unwrap();
            }
        })
    });
    let report = run(Some(tamper)).await;
    assert!(report.corrupted > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_notices_a_dropped_record() {
    let tamper: BeforeCheck = Box::new(|cluster, _| {
        with_nodes_stopped(cluster, |root| {
            let first = segments(root).into_iter().min().unwrap();
            std::fs::remove_file(first).unwrap();
        })
    });
    let report = run(Some(tamper)).await;
    assert!(report.lost > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_notices_a_deleted_mail_that_comes_back() {
    let tamper: BeforeCheck = Box::new(|cluster, expected| {
        let (_, body) = expected.deleted.first_key_value().unwrap();
        let body = body.clone();
        let address = cluster.nodes[2].lmtp;
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            handle.block_on(async {
                let mut feeder = demo::feed::Feeder::connect(address).await?;
                feeder.send("again@example.org", &["u@example.net".to_owned()], &body).await?;
                Ok(())
            })
        })
    });
    let report = run(Some(tamper)).await;
    assert!(report.resurrected > 0, "{report:?}");
}

//! A node whose clock is a year off: it harms nobody, and all is well when the clock is right again.

use crate::support::{assert_kept, feed, some_mails, start, until};
use quard::api::MessagePage;
use std::path::Path;

const YEAR_MS: i64 = 365 * 86_400_000;

/// The daemon with a clock that is off, as a program of its own.
fn skewed_daemon(directory: &Path, skew_ms: i64) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(format!("quard-skewed-by-{skew_ms}"));
    let daemon = crate::support::daemon();
    let text =
        format!("#!/bin/sh\nQUARD_TEST_CLOCK_SKEW_MS={skew_ms} exec {} \"$@\"\n", daemon.display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn live_through(skew_ms: i64) {
    let mut running = start(2, "").await;
    let mails = some_mails(40);
    let mut ids = feed(&running.cluster.nodes[0], &mails[..10]).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let healthy = running.cluster.nodes[2].daemon.clone();
    running.cluster.nodes[2].stop().unwrap();
    running.cluster.nodes[2].daemon = skewed_daemon(running.directory(), skew_ms);
    running.cluster.nodes[2].start().unwrap();
    // Both sides say whose clock is off, and by how much, to the hundred seconds.
    let seconds_off = format!("{}", skew_ms.abs() / 100_000);
    running
        .cluster
        .wait("the wrong clock is noticed", |statuses| {
            let says = |status: &quard::api::NodeStatus, what: &str| {
                let is_it =
                    |warning: &&String| warning.contains(what) && warning.contains(&seconds_off);
                status.warnings.iter().any(|warning| is_it(&warning))
            };
            says(&statuses[0], "clock of node3") && says(&statuses[2], "clock of node1")
        })
        .await
        .unwrap();
    // Mail goes on, on the node with the wrong clock too: it stamps by its peers' clocks.
    for (node, from) in [(0, 10), (1, 20), (2, 30)] {
        ids.extend(feed(&running.cluster.nodes[node], &mails[from..from + 10]).await);
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
    running.cluster.nodes[2].stop().unwrap();
    running.cluster.nodes[2].daemon = healthy;
    running.cluster.nodes[2].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_a_year_ahead_costs_no_mail() {
    live_through(YEAR_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_a_year_behind_costs_no_mail() {
    live_through(-YEAR_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_with_a_clock_a_year_ahead_keeps_its_files() {
    let mut running = start(2, "").await;
    let mails = some_mails(10);
    let ids = feed(&running.cluster.nodes[0], &mails).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    let healthy = running.cluster.nodes[0].daemon.clone();
    for node in &mut running.cluster.nodes {
        node.stop().unwrap();
    }
    running.cluster.nodes[0].daemon = skewed_daemon(running.directory(), YEAR_MS);
    running.cluster.nodes[0].start().unwrap();
    // By its clock the day is no longer kept: it is hidden, which needs nobody's word.
    until("the day is hidden", async || {
        let mut client = running.cluster.nodes[0].client().await.ok()?;
        let page: MessagePage = client.get("/v1/messages?limit=1").await.ok()?;
        page.messages.is_empty().then_some(())
    })
    .await;
    running.cluster.nodes[0].stop().unwrap();
    running.cluster.nodes[0].daemon = healthy;
    running.cluster.start().await.unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

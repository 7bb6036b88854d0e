//! Watches the roster's file: an operator who puts a newer one there need not restart the node.
//! Never takes one that the cluster's CA did not sign.

use crate::config::{Paths, load_roster};
use crate::daemon::driver::Event;
use quar_base::signing::PublicKey;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hands over the roster whenever its file changes, until the daemon stops.
pub async fn follow(
    paths: Paths,
    authority: PublicKey,
    events: mpsc::Sender<Event>,
    mut stopping: watch::Receiver<bool>,
) {
    let file = paths.roster();
    let mut seen = changed_at(&file).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopping.changed() => return,
        }
        let now = changed_at(&file).await;
        // A file that is being replaced is looked at again.
        if now.is_none() || now == seen {
            continue;
        }
        seen = now;
        match load_roster(&file, &authority) {
            Ok(signed) => {
                if events.send(Event::Roster(Box::new(signed))).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "the roster's file is not used"),
        }
    }
}

async fn changed_at(file: &Path) -> Option<SystemTime> {
    tokio::fs::metadata(file).await.ok()?.modified().ok()
}

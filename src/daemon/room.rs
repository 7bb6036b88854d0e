//! Keeps room on the disk: the reserve is made when there is room for it, and given up when there is little.
//! Never waits for other upkeep, which may take hours.

use crate::daemon::clock::Clock;
use quar_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked how much room there is.
const EVERY: Duration = Duration::from_secs(5);

/// Looks after it from the start until the daemon stops.
pub async fn keep(store: Arc<Store>, clock: Clock, mut stopping: watch::Receiver<bool>) {
    let every = clock.upkeep_every(EVERY);
    loop {
        let tended = store.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || tended.tend_reserve()).await {
            tracing::error!(%error, "looking after the disk's room ended badly; it goes on");
        }
        tokio::select! {
            _ = stopping.changed() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

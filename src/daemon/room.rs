//! Keeps room on the disk: tends the reserve, and lets the oldest days go where that is asked for.
//! Never waits for other upkeep, which may take hours; and never lets more than one day go at a time.

use crate::api::DiskStatus;
use crate::daemon::clock::Clock;
use quar_base::class::Class;
use quar_store::Store;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked how much room there is.
const EVERY: Duration = Duration::from_secs(5);
/// How often it is reckoned how long the room will last: every bucket's files are listed.
const FORECAST_EVERY: Duration = Duration::from_secs(600);

/// The room that a node has, and how it is kept.
#[derive(Clone)]
pub struct Room {
    store: Arc<Store>,
    clock: Clock,
    /// Classes whose oldest day goes when there is no room for mail.
    expire_oldest: Arc<BTreeSet<Class>>,
    forecast: Arc<Mutex<Forecast>>,
}

/// What was reckoned, and when.
#[derive(Default)]
struct Forecast {
    at: Option<Duration>,
    full_in_days: Option<u32>,
}

impl Room {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Clock, expire_oldest: BTreeSet<Class>) -> Self {
        let expire_oldest = Arc::new(expire_oldest);
        Self { store, clock, expire_oldest, forecast: Arc::default() }
    }

    /// How much room there is now, and what became of it.
    #[must_use]
    pub fn status(&self) -> DiskStatus {
        let room = self.store.room().unwrap_or_default();
        // Of other classes no day goes early: theirs went under an earlier, shorter retention.
        let early = self.store.expired_early().into_iter();
        let early = early.filter(|(class, _)| self.expire_oldest.contains(class));
        let forecast = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
        DiskStatus {
            free_bytes: room.free_bytes,
            full: !room.takes_mail,
            reserve_given_up: room.reserve_given_up,
            full_in_days: forecast.full_in_days,
            expired_early: early.map(|(class, day)| format!("{class} before {day}")).collect(),
        }
    }

    /// Looks after it from the start until the daemon stops.
    pub async fn keep(self, mut stopping: watch::Receiver<bool>) {
        let every = self.clock.upkeep_every(EVERY);
        loop {
            let room = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || room.look()).await {
                tracing::error!(%error, "looking after the disk's room ended badly; it goes on");
            }
            tokio::select! {
                _ = stopping.changed() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    fn look(&self) {
        self.store.tend_reserve();
        if !self.store.room().is_ok_and(|room| !room.takes_mail) {
            return self.reckon();
        }
        // One day a look: the system may take a while to give the room back.
        match self.store.expire_oldest(&self.expire_oldest) {
            Ok(expired) => {
                for bucket in &expired.buckets {
                    let records = expired.records;
                    tracing::warn!(%bucket, records, "the disk is full: this day went early");
                }
                if let Err(error) = self.store.forget_expired(&expired) {
                    tracing::warn!(%error, "index keys of expired days could not be removed");
                }
            }
            Err(error) => tracing::error!(%error, "the oldest day could not be let go"),
        }
    }

    fn reckon(&self) {
        let now = self.clock.since_start();
        let is_due = |at: Duration| now - at >= self.clock.upkeep_every(FORECAST_EVERY);
        let at = self.forecast.lock().unwrap_or_else(PoisonError::into_inner).at;
        if !at.is_none_or(is_due) {
            return;
        }
        match self.store.forecast(self.clock.now().day()) {
            Ok(full_in_days) => {
                let mut forecast = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
                *forecast = Forecast { at: Some(now), full_in_days };
            }
            Err(error) => tracing::warn!(%error, "how long the disk will last cannot be told"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Room;
    use crate::api::NodeStatus;
    use crate::daemon::clock::Clock;
    use crate::daemon::warnings;
    use crate::surface::tests::served;
    use quar_base::arrival::{Envelope, Headers};
    use quar_base::class::Class;
    use quar_base::time::{Day, UnixMillis};
    use quar_store::{Mail, MemoryDisk, Origin, Store};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const DAY_MS: u64 = 86_400_000;

    fn put(store: &Store, received: UnixMillis, bytes: usize) {
        let noise: Vec<u8> =
            (0..bytes).map(|at| blake3::hash(&at.to_le_bytes()).as_bytes()[0]).collect();
        let mail = Mail {
            class: Class::SPAM,
            received,
            envelope: Envelope {
                recipients: vec!["user@example.net".into()],
                ..Envelope::default()
            },
            headers: Headers::default(),
            body: store.encode_body(&noise).unwrap(),
            score_milli: 0,
            reason: String::new(),
            origin: Origin::Imported,
        };
        store.admit_mail(mail).unwrap().message.unwrap();
        store.commit();
    }

    #[test]
    fn a_disk_that_fills_within_the_week_is_told_in_the_status_and_as_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::new());
        let store = Arc::new(served::store(directory.path().join("cluster"), disk.clone()));
        let clock = Clock::start();
        let room = || Room::new(store.clone(), clock.clone(), BTreeSet::new());
        let warned = |room: &Room| {
            let disk = room.status();
            warnings::list(&NodeStatus { disk, ..warnings::tests::status(Vec::new()) })
        };
        put(&store, UnixMillis(clock.now().0 - DAY_MS), 300_000);
        store.close();
        let known = room();
        assert_eq!(known.status().full_in_days, None, "not looked at yet");
        known.look();
        assert_eq!(known.status().full_in_days, None);
        assert!(!warned(&known).iter().any(|warning| warning.contains("disk")));
        disk.set_free_bytes(1_000_000);
        // It was reckoned a moment ago.
        known.look();
        assert_eq!(known.status().full_in_days, None);
        let later = room();
        later.look();
        let days = later.status().full_in_days.unwrap();
        let wanted = format!("at the rate of the last days the disk is full in {days} days");
        assert!(warned(&later).iter().any(|warning| warning.starts_with(&wanted)), "{days}");
        assert!((2..=4).contains(&days), "{days}");
    }

    #[test]
    fn days_that_went_under_a_shorter_retention_are_told_only_where_they_may_go_early() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::new());
        let store = Arc::new(served::store(directory.path().join("cluster"), disk));
        let clock = Clock::start();
        let today = clock.now().day();
        put(&store, UnixMillis(clock.now().0 - DAY_MS), 100);
        // The floor is kept for a day that the clock comes to later, as it is when days are added to
        // the retention.
        store.set_today(Day(today.0 + 40));
        assert_eq!(store.unlink_expired().unwrap().buckets.len(), 1);
        store.set_today(today);
        let told = |classes: &[Class]| {
            let classes = classes.iter().copied().collect();
            Room::new(store.clone(), clock.clone(), classes).status().expired_early
        };
        assert_eq!(told(&[]), Vec::<String>::new());
        assert_eq!(told(&[Class::VIRUS, Class::SPAM]).len(), 2, "nobody knows why they went");
    }
}

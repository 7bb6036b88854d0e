//! The mass-delete brake: more deletions within a minute than anybody means wait until somebody says so.
//! Never holds back what a peer deleted, and never does by itself what waits.
//!
//! ```text
//! up to the limit within a minute ──────────────► done
//! beyond it, and all that come while any wait ──► wait, in memory ─► confirmed: done
//!                                                                 └► discarded, or a restart: dropped
//! ```

use crate::api::{BrakeReply, BrakeStatus, ErrorReply};
use crate::daemon::handle::{ActError, NodeHandle};
use crate::daemon::view;
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_secs(60);
/// Messages whose deletion may wait; further ones are refused.
const WAITING_MAX: usize = 100_000;
/// Confirmed deletions under way at a time.
const AT_ONCE: usize = 64;
/// Ids and errors that a reply holds at most.
const SHOWN_MAX: usize = 100;

/// Counts one node's deletions.
pub struct Brake {
    /// Deletions within a minute that are done at once; 0 for any number.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When those of the last minute were done.
    done: VecDeque<Instant>,
    waiting: BTreeMap<MessageId, RecipientSet>,
    since: Option<UnixMillis>,
}

impl Brake {
    /// A brake for so many deletions within a minute; 0 for none.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a deletion pass, or has it wait.
    ///
    /// # Errors
    /// [`ActError::Braked`] when it waits, [`ActError::BrakeFull`] when not even that.
    pub(crate) fn admit(
        &self,
        message: MessageId,
        recipients: &RecipientSet,
        at: Instant,
        now: UnixMillis,
    ) -> Result<(), ActError> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut state = self.state();
        while state.done.front().is_some_and(|done| at.saturating_duration_since(*done) >= MINUTE) {
            state.done.pop_front();
        }
        if state.waiting.is_empty() && state.done.len() < self.limit {
            state.done.push_back(at);
            return Ok(());
        }
        if state.waiting.len() >= WAITING_MAX && !state.waiting.contains_key(&message) {
            return Err(ActError::BrakeFull(WAITING_MAX));
        }
        if state.waiting.is_empty() {
            tracing::error!(limit = self.limit, "deletions wait: too many within a minute");
            state.since = Some(now);
        }
        let waiting = state.waiting.entry(message).or_insert_with(|| recipients.clone());
        if waiting.recipient_count() == recipients.recipient_count() {
            waiting.add(recipients);
        }
        Err(ActError::Braked { message, limit: self.limit })
    }

    /// What waits.
    #[must_use]
    pub fn status(&self) -> BrakeStatus {
        let state = self.state();
        BrakeStatus {
            limit_per_minute: self.limit as u64,
            waiting: state.waiting.len() as u64,
            since: state.since.map(view::rfc3339),
            first: state.waiting.keys().take(SHOWN_MAX).map(ToString::to_string).collect(),
        }
    }

    /// Takes what waits: from here on deletions pass again.
    fn take(&self) -> BTreeMap<MessageId, RecipientSet> {
        let mut state = self.state();
        state.since = None;
        state.done.clear();
        std::mem::take(&mut state.waiting)
    }

    /// Drops what waits, undone; returns of how many messages.
    pub(crate) fn discard(&self) -> usize {
        let count = self.take().len();
        tracing::warn!(count, "deletions that waited were discarded");
        count
    }
}

/// Does what waits.
///
/// *Durable when* this returns, but for the failed ones: on as many nodes as `copies` asks.
pub(crate) async fn confirm(node: &NodeHandle) -> BrakeReply {
    let mut waiting = node.brake().take().into_iter();
    tracing::warn!(count = waiting.len(), "deletions that waited were confirmed");
    let mut running = JoinSet::new();
    let mut reply = BrakeReply::default();
    loop {
        for (message, recipients) in waiting.by_ref().take(AT_ONCE.saturating_sub(running.len())) {
            let node = node.clone();
            let act = async move { node.act(message, Action::Deleted(recipients)).await };
            running.spawn(async move { (message, act.await) });
        }
        match running.join_next().await {
            None => return reply,
            Some(Ok((_, Ok(_)))) => reply.deleted += 1,
            Some(Ok((message, Err(error)))) => reply.fail(format!("{message}: {error}")),
            Some(Err(error)) => reply.fail(error.to_string()),
        }
    }
}

impl BrakeReply {
    fn fail(&mut self, error: String) {
        self.failed += 1;
        if self.errors.len() < SHOWN_MAX {
            self.errors.push(ErrorReply { kind: "failed".to_owned(), error });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Brake, MINUTE};
    use crate::daemon::handle::ActError;
    use quar_base::class::Class;
    use quar_base::coverage::RecipientSet;
    use quar_base::ids::RecordId;
    use quar_base::key::{Bucket, MessageId, RecordKey};
    use quar_base::time::{Day, UnixMillis};
    use std::time::{Duration, Instant};

    fn id(number: u8) -> MessageId {
        let bucket = Bucket { class: Class::SPAM, day: Day(20_780) };
        MessageId { bucket, key: RecordKey { second: 0, id: RecordId([number; 32]) } }
    }

    fn ask(brake: &Brake, number: u8, at: Instant) -> Result<(), ActError> {
        let all = RecipientSet::all(2).unwrap();
        brake.admit(id(number), &all, at, UnixMillis(7000))
    }

    #[test]
    fn more_than_the_limit_within_a_minute_wait_and_so_do_all_after_them() {
        let brake = Brake::new(3);
        let start = Instant::now();
        for number in 0..3 {
            assert!(ask(&brake, number, start).is_ok());
        }
        let late = start + MINUTE - Duration::from_millis(1);
        assert!(matches!(ask(&brake, 3, late), Err(ActError::Braked { limit: 3, .. })));
        // A minute later too: somebody has to look.
        assert!(ask(&brake, 4, start + 9 * MINUTE).is_err());
        let status = brake.status();
        assert_eq!((status.waiting, status.first.len()), (2, 2));
        assert!(status.since.is_some());
        assert_eq!(brake.discard(), 2);
        assert!(ask(&brake, 5, start + 9 * MINUTE).is_ok());
        assert_eq!(brake.status().since, None);
    }

    #[test]
    fn a_steady_rate_below_the_limit_never_waits() {
        let brake = Brake::new(3);
        let start = Instant::now();
        for number in 0..100 {
            assert!(ask(&brake, number, start + MINUTE / 3 * u32::from(number)).is_ok());
        }
    }

    #[test]
    fn what_waits_twice_waits_once_for_all_its_recipients() {
        let brake = Brake::new(1);
        let start = Instant::now();
        assert!(ask(&brake, 0, start).is_ok());
        for index in [0, 2, 0] {
            let one = RecipientSet::of(3, &[index]).unwrap();
            assert!(brake.admit(id(1), &one, start, UnixMillis(0)).is_err());
        }
        let waiting = brake.take();
        assert_eq!(waiting[&id(1)].indices().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let brake = Brake::new(0);
        for number in 0..50 {
            assert!(ask(&brake, number, Instant::now()).is_ok());
        }
    }
}

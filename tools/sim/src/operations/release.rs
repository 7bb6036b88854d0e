//! Releasing, as src/daemon/release.rs does: intent, mail server, outcome.
//! Never hands a message over before its intent is durable, and never one that was released before.

use super::{Waiter, some_machine, some_message};
use crate::chance::Chance;
use crate::cluster::{Cluster, Happening};
use crate::invariants;
use quar_base::action::{self, Action, ReleaseIntent, ReleaseOutcome};
use quar_base::coverage::RecipientSet;
use quar_base::ids::RecordId;
use quar_base::key::MessageId;
use quar_node::Request;

/// A message at the mail server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    message: MessageId,
    intent: RecordId,
    /// Whether each of the recipients was taken.
    taken: Vec<Taken>,
}

/// What the mail server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    Yes,
    No,
    Unknown,
}

/// Begins to release a message to some of its recipients.
pub fn begin(cluster: &mut Cluster, chance: &mut Chance) {
    let (Some(at), Some(id)) = (some_machine(cluster, chance), some_message(cluster, chance))
    else {
        return;
    };
    let Some(store) = cluster.machines[at].store() else { return };
    let Ok(message) = store.message(id) else { return };
    let count = message.arrival.recipient_count();
    let is_left = |index: &usize| !message.state.deleted.covers(count, *index);
    let whom: Vec<usize> = (0..count).filter(is_left).filter(|_| chance.percent(70)).collect();
    let was_released = |index: &usize| message.state.releases_to(*index).next().is_some();
    let Some(running) = &mut cluster.machines[at].running else { return };
    if running.releasing.contains(&id) {
        return;
    }
    if whom.is_empty() || message.state.damaged_releases > 0 || whom.iter().any(was_released) {
        return;
    }
    let Ok(bytes) = store.body(id) else { return };
    running.releasing.insert(id);
    invariants::bytes_match::served(cluster, at, id, &bytes);
    cluster.counts.operation("release");
    cluster.note(format_args!("node{} is to release {} to {whom:?}", at + 1, id.key.id.short()));
    let recipients = RecipientSet::of(count, &whom).expect("indices below the count");
    let action = Action::ReleaseIntent(ReleaseIntent { recipients, others: Vec::new() });
    cluster.request(at, Request::Act { message: id, action }, Waiter::Release(id, whom));
}

/// Whether the intent is durable or refused: what was released is known from here on.
pub fn begun(cluster: &mut Cluster, at: usize, message: MessageId) {
    if let Some(running) = &mut cluster.machines[at].running {
        running.releasing.remove(&message);
    }
}

/// The intent is durable: the mail server gets the message.
pub fn intended(
    cluster: &mut Cluster,
    at: usize,
    message: MessageId,
    whom: Vec<usize>,
    intent: RecordId,
) {
    let mut taken = Vec::new();
    for index in whom {
        let answer = match cluster.chance.below(10) {
            0 => Taken::No,
            1 => Taken::Unknown,
            _ => Taken::Yes,
        };
        if answer != Taken::No {
            invariants::release_once::handed_over(cluster, at, message, index);
        }
        taken.push(answer);
    }
    let starts = cluster.machines[at].starts;
    let delay = cluster.chance.below(3_000);
    let delivery = Delivery { message, intent, taken };
    cluster.after(delay, Happening::Delivered { machine: at, starts, delivery });
}

/// The mail server has answered: that is noted, if the daemon still runs.
pub fn over(cluster: &mut Cluster, at: usize, starts: u32, delivery: Delivery) {
    if cluster.machines[at].starts != starts {
        return;
    }
    let Delivery { message, intent, taken } = delivery;
    let text = |taken: &Taken| match taken {
        Taken::Yes => action::Delivery::Delivered("250 queued".into()),
        Taken::No => action::Delivery::Failed("550 no such user".into()),
        Taken::Unknown => action::Delivery::Unknown("connection lost".into()),
    };
    let deliveries = taken.iter().map(text).collect();
    let action = Action::ReleaseOutcome(ReleaseOutcome { intent: intent.0, deliveries });
    cluster.request(at, Request::Act { message, action }, Waiter::Outcome);
}

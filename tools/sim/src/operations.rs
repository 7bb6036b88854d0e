//! What people, mail servers and upkeep do to a cluster.
//! Never tells a node more than a surface of its daemon would.

pub mod delete;
pub mod hold;
pub mod import;
pub mod note;
pub mod put;
pub mod read;
pub mod release;
pub mod retention;
pub mod upkeep;

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::invariants;
use quar_base::key::MessageId;
use quar_node::Answer;
pub use release::Delivery;

/// Who waits for an answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A mail server or an importer, with the number of its mail.
    Put {
        /// The mail.
        mail: usize,
        /// Whether it is imported.
        is_import: bool,
        /// Whether it was handed in before: what is stored already is answered at once.
        is_again: bool,
    },
    /// An operator who holds this message.
    Hold(MessageId),
    /// Somebody who deletes for these recipients of a message.
    Delete(MessageId, Vec<usize>),
    /// Somebody who releases to these recipients.
    Release(MessageId, Vec<usize>),
    /// Whoever noted how a release ended.
    Outcome,
}

type Operate = fn(&mut Cluster, &mut Chance);

/// Operations and how often each is drawn.
const OFTEN: [(u64, Operate); 13] = [
    (40, put::put),
    (5, put::again),
    (9, delete::whole),
    (7, delete::some),
    (3, delete::both_sides),
    (7, release::begin),
    (5, hold::hold),
    (3, hold::unhold),
    (4, note::note),
    (3, import::import),
    (9, read::read),
    (6, upkeep::upkeep),
    (1, retention::change),
];

/// Does one operation.
pub fn one(cluster: &mut Cluster, chance: &mut Chance) {
    let all = OFTEN.iter().map(|(weight, _)| weight).sum();
    let mut drawn = chance.below(all);
    for (weight, operation) in OFTEN {
        if drawn < weight {
            return operation(cluster, chance);
        }
        drawn -= weight;
    }
}

/// A node answered.
pub fn answered(
    cluster: &mut Cluster,
    at: usize,
    waiter: Waiter,
    answer: Answer,
    may_be_short: bool,
) {
    if let Waiter::Release(message, _) = &waiter {
        release::begun(cluster, at, *message);
    }
    match (waiter, answer) {
        (waiter, Answer::Refused(refusal)) => {
            let name = refusal.name();
            cluster.counts.see("refused");
            cluster.note(format_args!("node{} refuses {waiter:?}: {name}", at + 1));
        }
        (Waiter::Put { mail, is_import, is_again }, Answer::Put(id)) => {
            cluster.note(format_args!("node{} took m{mail} as {}", at + 1, id.key.id.short()));
            invariants::acknowledged_is_readable::told(cluster, at, id, may_be_short, is_again);
            invariants::acknowledged_is_readable::is_of(cluster, at, id, mail);
            if is_import {
                invariants::merging::imported(cluster, at, id, mail);
            }
        }
        (Waiter::Hold(original), Answer::Put(id)) => {
            let (original, held) = (original.key.id.short(), id.key.id.short());
            cluster.note(format_args!("node{} holds {original} as {held}", at + 1));
            invariants::acknowledged_is_readable::told(cluster, at, id, may_be_short, false);
        }
        (Waiter::Delete(id, whom), Answer::Done(_)) => {
            cluster.note(format_args!("node{} deleted {} for {whom:?}", at + 1, id.key.id.short()));
            invariants::deleted_stays_deleted::told(cluster, at, id, &whom);
        }
        (Waiter::Release(id, whom), Answer::Done(intent)) => {
            release::intended(cluster, at, id, whom, intent);
        }
        (Waiter::Outcome, Answer::Done(_)) => {}
        // The very same action within a second: signatures here are no different each time.
        (Waiter::Delete(..) | Waiter::Release(..) | Waiter::Outcome, Answer::Put(_)) => {}
        (waiter, answer) => {
            cluster
                .fail("answers fit", format!("node{} answers {waiter:?} with {answer:?}", at + 1));
        }
    }
}

/// Some message, more often one of the last.
fn some_message(cluster: &Cluster, chance: &mut Chance) -> Option<MessageId> {
    let order = &cluster.ledger.order;
    let first = if chance.percent(75) { order.len().saturating_sub(30) } else { 0 };
    chance.pick(&order[first..])
}

/// Some machine that does what it is asked.
fn some_machine(cluster: &Cluster, chance: &mut Chance) -> Option<usize> {
    chance.pick(&cluster.awake())
}

#[cfg(test)]
mod tests;

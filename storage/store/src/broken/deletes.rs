//! Deletes whose records are damaged: they hold here all the same, and are made again when nobody gives them.
//! Never makes again what other deletes say.

use crate::state::Delete;
use crate::store::Store;
use quar_base::action::Action;
use quar_base::coverage::{Coverage, RecipientSet};
use quar_base::key::{MessageId, RecordKey};
use std::collections::BTreeSet;

/// Deletes that are made again at once; the others follow at the next call.
const AT_ONCE: usize = 1000;

/// A damaged delete, and what the index says of it still.
struct Lost {
    action: RecordKey,
    message: MessageId,
    recipients: RecipientSet,
}

impl Lost {
    fn name(&self) -> MessageId {
        MessageId { bucket: self.message.bucket, key: self.action }
    }
}

impl Store {
    /// Deletes whose records are damaged and whose recipients no other delete covers, by name.
    #[must_use]
    pub fn lost_deletes(&self) -> BTreeSet<MessageId> {
        self.lost().iter().map(Lost::name).collect()
    }

    /// Makes those of these deletes again that are still lost: by this node, with effect from the same second.
    /// For those that no peer has given for a while: none has them then, and shows what is deleted here.
    pub fn delete_again(&self, names: &BTreeSet<MessageId>) {
        let lost = self.lost().into_iter().filter(|lost| names.contains(&lost.name()));
        for Lost { action, message, recipients } in lost.take(AT_ONCE) {
            let second = action.instant(message.bucket.day);
            if let Err(error) = self.admit_action(message, &Action::Deleted(recipients), second) {
                tracing::warn!(%message, %error, "a damaged delete could not be made again");
            }
        }
    }

    fn lost(&self) -> Vec<Lost> {
        let state = self.state();
        let mut all = Vec::new();
        for (&bucket, held) in &state.buckets {
            if held.broken.records.is_empty() || state.floors.is_below(bucket) {
                continue;
            }
            for (&key, deletes) in &held.deletes {
                let is_damaged = |delete: &&Delete| held.broken.records.contains(&delete.action);
                let (damaged, whole): (Vec<_>, Vec<_>) = deletes.iter().partition(is_damaged);
                let mut said = Coverage::default();
                whole.iter().for_each(|delete| said.add(&delete.recipients));
                let is_said = |set: &RecipientSet| {
                    set.indices().all(|index| said.covers(set.recipient_count(), index))
                };
                let unsaid = damaged.into_iter().filter(|delete| !is_said(&delete.recipients));
                let message = MessageId { bucket, key };
                all.extend(unsaid.map(|delete| Lost {
                    action: delete.action,
                    message,
                    recipients: delete.recipients.clone(),
                }));
            }
        }
        all
    }
}

//! What a person sees of a message: its actions folded into one state.
//! Never depends on the order in which the actions were learned.

use crate::error::ReadError;
use crate::layout;
use crate::recent::Records;
use crate::store::Store;
use quar_base::action::{Action, Delivery};
use quar_base::coverage::{Coverage, RecipientSet};
use quar_base::ids::{MemberId, RecordId};
use quar_base::key::{MessageId, RecordKey};
use quar_base::record::{Kind, Record};
use quar_base::time::UnixMillis;
use quar_index::{Index, Tree};
use std::ops::ControlFlow;

/// One release of a message: what was meant and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Record id of the intent.
    pub intent: RecordId,
    /// Who released.
    pub author: MemberId,
    /// When the intent was made, to the second.
    pub at: UnixMillis,
    /// The stored recipients it was for.
    pub recipients: RecipientSet,
    /// Keyed digests of other addresses it was for.
    pub others: Vec<[u8; 16]>,
    /// How it ended for each of the recipients and then the others; `None` while no outcome is known.
    pub deliveries: Option<Vec<Delivery>>,
}

/// A message's actions, folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageState {
    /// Whom the deletes cover.
    pub deleted: Coverage,
    /// Releases, in order of their intents.
    pub releases: Vec<Release>,
    /// Actions of a kind that this version does not know.
    pub unknown_actions: usize,
    /// Releases of which nothing can be read here but that there were some.
    pub damaged_releases: usize,
}

/// A message's actions: those that can be read, and what the index says of those that cannot.
#[derive(Default)]
struct Actions {
    whole: Vec<Record>,
    damaged: Vec<(RecordKey, Kind, Option<RecipientSet>)>,
    /// Of kinds that this version does not know, where those are not read.
    unknown: usize,
}

impl MessageState {
    /// Folds actions; the result is the same for every order.
    #[must_use]
    pub fn fold(mut actions: Vec<Record>) -> Self {
        actions.sort_by_key(Record::key);
        actions.dedup_by_key(|record| record.key());
        let mut state = Self::default();
        let mut outcomes = Vec::new();
        for record in &actions {
            match Action::decode(record) {
                Ok(Some(Action::Deleted(recipients))) => state.deleted.add(&recipients),
                Ok(Some(Action::ReleaseIntent(intent))) => state.releases.push(Release {
                    intent: record.id(),
                    author: record.head().author,
                    at: record.key().instant(record.head().bucket.day),
                    recipients: intent.recipients,
                    others: intent.others,
                    deliveries: None,
                }),
                Ok(Some(Action::ReleaseOutcome(outcome))) => {
                    outcomes.push((record.head().author, outcome));
                }
                Ok(None) | Err(_) => state.unknown_actions += 1,
            }
        }
        for (author, outcome) in outcomes {
            // Only who meant to release can say how it ended; the first word counts.
            let release = state
                .releases
                .iter_mut()
                .find(|release| release.intent.0 == outcome.intent && release.author == author);
            if let Some(release) = release.filter(|release| release.deliveries.is_none()) {
                release.deliveries = Some(outcome.deliveries);
            }
        }
        state
    }

    /// Releases that mean this stored recipient and have not failed for it: delivered, unknown, or
    /// not ended yet.
    pub fn releases_to(&self, recipient: usize) -> impl Iterator<Item = &Release> {
        self.releases.iter().filter(move |release| {
            let position = release.recipients.indices().position(|index| index == recipient);
            let failed = |at: usize| {
                let delivery = release.deliveries.as_ref().and_then(|all| all.get(at));
                matches!(delivery, Some(Delivery::Failed(_)))
            };
            position.is_some_and(|at| !failed(at))
        })
    }
}

impl Store {
    /// The folded state of a message; the default state when no action is known.
    ///
    /// # Errors
    /// [`ReadError`] when an action cannot be read.
    pub fn message_state(&self, id: MessageId) -> Result<MessageState, ReadError> {
        self.state_among(&mut Records::new(self), id)
    }

    /// As [`Self::message_state`], for whoever reads many.
    pub(crate) fn state_among(
        &self,
        records: &mut Records<'_>,
        id: MessageId,
    ) -> Result<MessageState, ReadError> {
        let Actions { whole, damaged, unknown } = self.actions_among(records, id, false)?;
        let mut state = MessageState::fold(whole);
        state.unknown_actions += unknown;
        for (_, kind, deleted) in damaged {
            state.damaged_releases += usize::from(kind == Kind::RELEASE_INTENT);
            deleted.iter().for_each(|recipients| state.deleted.add(recipients));
        }
        Ok(state)
    }

    /// A message's actions that are here, in no order.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when one of them cannot be read.
    pub(crate) fn whole_actions(
        &self,
        records: &mut Records<'_>,
        id: MessageId,
    ) -> Result<Vec<Record>, ReadError> {
        let Actions { whole, damaged, .. } = self.actions_among(records, id, true)?;
        match damaged.first() {
            Some((key, ..)) => {
                let message = MessageId { key: *key, ..id };
                Err(ReadError::Damaged { what: "an action", message })
            }
            None => Ok(whole),
        }
    }

    /// One that is damaged hides neither the others nor the message: peers bring it again. Those of unknown kinds may
    /// be large and many, and are counted only, unless they are asked for.
    fn actions_among(
        &self,
        records: &mut Records<'_>,
        id: MessageId,
        with_unknown: bool,
    ) -> Result<Actions, ReadError> {
        let mut actions = Actions::default();
        for (key, kind, deleted) in self.indexed_actions(id)? {
            if !with_unknown && !Action::is_known(kind) {
                let action = MessageId { key, ..id };
                actions.unknown += usize::from(self.has_whole_record(action)?);
                continue;
            }
            match records.get(id.bucket, &key) {
                Ok(Some(record)) => actions.whole.push(record),
                // Its segment was written anew without it.
                Ok(None) | Err(ReadError::Damaged { .. }) => {
                    actions.damaged.push((key, kind, deleted));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(actions)
    }

    /// What the index says of a message's actions: key, kind, and whom a delete covers.
    fn indexed_actions(
        &self,
        id: MessageId,
    ) -> Result<Vec<(RecordKey, Kind, Option<RecipientSet>)>, ReadError> {
        let start = layout::actions_of(&id.key);
        let mut actions = Vec::new();
        self.index.scan(Tree::Bucket(id.bucket), &start, &mut |key, value| {
            if !key.starts_with(&start) {
                return ControlFlow::Break(());
            }
            if let Some((_, action)) = layout::parse_action_key(key) {
                let kind = layout::action_kind(value).unwrap_or(Kind::ARRIVAL);
                actions.push((action, kind, layout::parse_action_value(value).ok().flatten()));
            }
            ControlFlow::Continue(())
        })?;
        Ok(actions)
    }
}

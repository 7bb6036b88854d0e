//! Release: intent stored and replicated, the mail server handed the original bytes, outcome stored.
//! Never hands a message over before its intent is durable, and never repeats one by itself.
//!
//! ```text
//! visible intent for that recipient? ─yes─► refused without --again
//! intent ─► durable here and at peers ─► SMTP ─► outcome: delivered, failed or unknown
//!                                         └─ crash here: the intent alone stays: unknown
//! ```

use crate::api::{ReleaseReply, ReleaseRequest};
use crate::daemon::handle::{ActError, NodeHandle};
use crate::daemon::view;
use crate::delivery::{self, Timeouts};
use quar_base::action::{Action, Delivery, ReleaseIntent, ReleaseOutcome};
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::limits::FIELD_BYTES_MAX;
use quar_store::{IdKey, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What the replies of a release may take together, in bytes, so that its outcome fits a record.
const OUTCOME_BYTES_MAX: usize = 200 << 10;

/// Where and how messages are handed over.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of the delivery host; `None` until one is configured.
    pub host: Option<String>,
    /// What this node calls itself to the delivery host.
    pub helo: String,
    /// How long the delivery host may take.
    pub timeouts: Timeouts,
}

/// Messages whose release has begun and whose intent is not durable yet: another release of one of them would
/// not see it.
#[derive(Debug, Default)]
pub struct Beginning(Mutex<BTreeSet<MessageId>>);

/// One message's turn, until it is dropped.
struct Turn<'a> {
    beginning: &'a Beginning,
    message: MessageId,
}

impl Beginning {
    /// `None` while another release of the message begins.
    fn turn(&self, message: MessageId) -> Option<Turn<'_>> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(message);
        // Not `then_some`: a turn that was not had would be dropped, and end the other's.
        is_first.then(|| Turn { beginning: self, message })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut messages = self.beginning.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.remove(&self.message);
    }
}

/// Whom a release is for.
struct Target {
    indices: Vec<usize>,
    set: RecipientSet,
    /// Addresses of the stored recipients, then the others.
    addresses: Vec<String>,
    /// Digests of all addresses, in their order.
    digests: Vec<[u8; 16]>,
}

impl Target {
    /// Digests of the addresses that are not stored recipients'.
    fn others(&self) -> &[[u8; 16]] {
        &self.digests[self.indices.len()..]
    }
}

/// Releases a message.
///
/// # Errors
/// [`ActError`]; after an error of the outcome's store the reply still says what was delivered.
pub async fn release(
    node: &NodeHandle,
    settings: &Settings,
    id: MessageId,
    request: ReleaseRequest,
) -> Result<ReleaseReply, ActError> {
    let host = settings.host.as_deref().ok_or(ActError::NoDeliveryHost)?;
    let message = node.message(id).await?;
    let id_key = &node.store().settings().id_key;
    let target = choose(&message, &request, id_key)?;
    let turn = node.beginning_releases().turn(id);
    if !request.again {
        let Some(_) = &turn else {
            let address = target.addresses.first().cloned().unwrap_or_default();
            let earlier = "a release that begins at this moment".to_owned();
            return Err(ActError::ReleasedBefore { address, earlier });
        };
        // As it is now that no other release begins.
        check_not_released(&node.message(id).await?, &target)?;
    }
    let body = node.body(id).await?;
    let others = target.others().to_vec();
    let intent = ReleaseIntent { recipients: target.set, others };
    let intent_id = node.act(id, Action::ReleaseIntent(intent)).await?;
    drop(turn);
    tracing::info!(message = %id, release = %intent_id, recipients = target.addresses.len(), "releasing");
    let sender = &message.arrival.envelope.sender;
    let (mailboxes, places) = mailboxes(&target.addresses);
    let outcomes =
        delivery::deliver(host, &settings.helo, sender, &mailboxes, &body, &settings.timeouts)
            .await;
    let deliveries = places.into_iter().map(|place| outcomes[place].clone()).collect();
    let deliveries = bounded(deliveries);
    let outcome = ReleaseOutcome { intent: intent_id.0, deliveries: deliveries.clone() };
    if let Err(error) = node.act(id, Action::ReleaseOutcome(outcome)).await {
        tracing::error!(message = %id, release = %intent_id, %error, "the outcome of a release could not be stored; it will show as unknown");
    }
    let pairs = target.addresses.into_iter().zip(&deliveries);
    let states = pairs.map(|(address, delivery)| view::delivery_state(Some(address), delivery));
    Ok(ReleaseReply { id: id.to_string(), deliveries: states.collect() })
}

fn choose(message: &Message, request: &ReleaseRequest, id_key: &IdKey) -> Result<Target, ActError> {
    let stored = &message.arrival.envelope.recipients;
    let count = message.arrival.recipient_count();
    let is_left = |index: &usize| !message.state.deleted.covers(count, *index);
    let mut indices = view::recipient_indices(message, &request.recipients)?;
    if request.recipients.is_empty() && request.to.is_empty() {
        indices = (0..stored.len()).filter(is_left).collect();
    }
    // A stored recipient stays one when it is named as another address: its earlier releases count.
    let mut others: Vec<&String> = Vec::new();
    let mut seen = BTreeSet::new();
    for address in &request.to {
        if !seen.insert(address.to_ascii_lowercase()) {
            continue;
        }
        let known = indices.len();
        indices.extend(view::indices_of(message, address));
        if indices.len() == known {
            others.push(address);
        }
    }
    indices.sort_unstable();
    indices.dedup();
    let set = RecipientSet::of(count, &indices).expect("indices of stored recipients fit");
    let mut addresses: Vec<String> = indices.iter().map(|index| stored[*index].clone()).collect();
    addresses.extend(others.into_iter().cloned());
    if addresses.is_empty() {
        return Err(ActError::NoRecipients);
    }
    let digests = addresses.iter().map(|address| view::other_digest(id_key, address)).collect();
    Ok(Target { indices, set, addresses, digests })
}

/// The mailboxes that are meant, in any case the same one once, and for each address which is its.
fn mailboxes(addresses: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut mailboxes = Vec::new();
    let mut known = BTreeMap::new();
    let places = addresses.iter().map(|address| {
        *known.entry(address.to_ascii_lowercase()).or_insert_with(|| {
            mailboxes.push(address.clone());
            mailboxes.len() - 1
        })
    });
    let places = places.collect();
    (mailboxes, places)
}

/// Refuses what an earlier release has delivered, or may have.
fn check_not_released(message: &Message, target: &Target) -> Result<(), ActError> {
    let left_out = message.hold.as_ref().map_or(0, |hold| hold.actions_left_out);
    if left_out > 0 {
        let address = target.addresses.first().cloned().unwrap_or_default();
        let earlier = format!(
            "the held copy had no room for the {left_out} oldest actions of its original, and a release may be among them"
        );
        return Err(ActError::ReleasedBefore { address, earlier });
    }
    if message.state.damaged_releases > 0 {
        let address = target.addresses.first().cloned().unwrap_or_default();
        let earlier = "a release whose record is damaged on this node's disk".to_owned();
        return Err(ActError::ReleasedBefore { address, earlier });
    }
    for (at, index) in target.indices.iter().enumerate() {
        if let Some(earlier) = message.state.releases_to(*index).next() {
            let position = earlier.recipients.indices().position(|known| known == *index);
            let delivery =
                earlier.deliveries.as_ref().zip(position).and_then(|(all, at)| all.get(at));
            let address = target.addresses[at].clone();
            return Err(ActError::ReleasedBefore { address, earlier: in_words(delivery) });
        }
    }
    // Among the others of a release by an earlier version there may be stored recipients too.
    for (at, digest) in target.digests.iter().enumerate() {
        for earlier in &message.state.releases {
            let Some(position) = earlier.others.iter().position(|known| known == digest) else {
                continue;
            };
            let offset = earlier.recipients.indices().count();
            let delivery = earlier.deliveries.as_ref().and_then(|all| all.get(offset + position));
            if !matches!(delivery, Some(Delivery::Failed(_))) {
                let address = target.addresses[at].clone();
                return Err(ActError::ReleasedBefore { address, earlier: in_words(delivery) });
            }
        }
    }
    Ok(())
}

fn in_words(delivery: Option<&Delivery>) -> String {
    match delivery {
        Some(Delivery::Delivered(reply)) => format!("delivered: {reply}"),
        Some(Delivery::Failed(reply)) => format!("failed: {reply}"),
        Some(Delivery::Unknown(reason)) => format!("unknown: {reason}"),
        None => "a release whose outcome is not known".to_owned(),
    }
}

/// Replies cut to what a record holds: each by itself, and all of them together.
fn bounded(deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let each_bytes = OUTCOME_BYTES_MAX / deliveries.len().max(1);
    let text_bytes_max = each_bytes.min(FIELD_BYTES_MAX);
    let cut = |text: String| -> String {
        let mut end = text.len().min(text_bytes_max);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    let bound = |delivery| match delivery {
        Delivery::Delivered(reply) => Delivery::Delivered(cut(reply)),
        Delivery::Failed(reply) => Delivery::Failed(cut(reply)),
        Delivery::Unknown(reply) => Delivery::Unknown(cut(reply)),
    };
    deliveries.into_iter().map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::bounded;
    use quar_base::action::{Action, Delivery, ReleaseOutcome};
    use quar_base::class::Class;
    use quar_base::ids::{KeyId, MemberId, RecordId};
    use quar_base::key::{Bucket, RecordKey};
    use quar_base::record::{ActionHead, Head, Record};
    use quar_base::signing::Signature;
    use quar_base::time::Day;

    #[test]
    fn the_outcome_of_a_release_to_as_many_as_there_can_be_fits_a_record() {
        for (count, text_bytes) in [(1, 1024), (200, 1024), (1000, 204), (2000, 102)] {
            // A letter of two bytes that a cut may fall into.
            let reply = format!("x{}", "\u{fc}".repeat(600));
            let deliveries = bounded(vec![Delivery::Failed(reply); count]);
            let Delivery::Failed(text) = deliveries[0].clone() else {
                panic!("it failed");
            };
            let action = Action::ReleaseOutcome(ReleaseOutcome { intent: [1; 32], deliveries });
            let message = RecordKey { second: 1, id: RecordId([3; 32]) };
            let head = Head {
                kind: action.kind(),
                bucket: Bucket { class: Class::SPAM, day: Day(1) },
                second: 5,
                author: MemberId([1; 16]),
                action: Some(ActionHead { key_id: KeyId([2; 8]), message }),
            };
            Record::signed(head, &action.encode().unwrap(), |_| Signature([4; 64])).unwrap();
            assert!((text_bytes - 1..=text_bytes).contains(&text.len()), "{}", text.len());
        }
    }
}

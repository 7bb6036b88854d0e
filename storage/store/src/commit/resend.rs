//! Mail that is sent again: a mail server that heard no answer sends what is stored already.
//! Never takes what came in at another member, or more than a day ago, for the same.

use super::plan::{Coming, Plan};
use crate::layout;
use crate::store::{Settings, Store};
use quar_base::arrival::Arrival;
use quar_base::key::{Bucket, MessageId};
use quar_base::record::Record;
use quar_base::time::Day;
use quar_index::{Index, IndexError, Tree};
use std::ops::ControlFlow;

impl Store {
    /// The message that this one repeats, if it came in here within a day.
    pub(super) fn find_resend(
        &self,
        plan: &Plan,
        record: &Record,
        digest: Option<[u8; layout::RESEND_BYTES]>,
    ) -> Result<Option<MessageId>, IndexError> {
        let Some(digest) = digest else {
            return Ok(None);
        };
        let head = record.head();
        let yesterday = Day(head.bucket.day.0.saturating_sub(1));
        for bucket in [head.bucket, Bucket { day: yesterday, ..head.bucket }] {
            let item = (bucket, digest);
            let is_coming = |coming: &Coming| coming.resends.get(&item).copied();
            if let Some(earlier) = is_coming(&plan.coming).or_else(|| is_coming(&plan.before)) {
                return Ok(Some(earlier));
            }
            let tree = Tree::Bucket(bucket);
            let Some(start) = self.index.get(tree, &layout::resend_key(&digest))? else {
                continue;
            };
            let prefix = [&[layout::RECORD][..], &start].concat();
            let mut found = None;
            self.index.scan(tree, &prefix, &mut |key, _| {
                found = layout::parse_record_key(key).filter(|_| key.starts_with(&prefix));
                ControlFlow::Break(())
            })?;
            let earlier = found.map(|key| MessageId { bucket, key });
            let is_recent = |id: &MessageId| {
                let age = record.key().instant(head.bucket.day) - id.key.instant(id.bucket.day);
                age.0 <= 24 * 3600 * 1000
            };
            let is_whole = |id: &MessageId| {
                let state = self.state();
                let held = state.buckets.get(&id.bucket);
                state.is_visible(*id)
                    && held.is_some_and(|held| !held.broken.records.contains(&id.key))
            };
            if let Some(id) = earlier.filter(is_recent).filter(is_whole) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// What makes two sendings of one message the same: where it was caught, the mail server's id,
/// envelope, class and body. `None` without a queue id, or when another member caught it.
pub(crate) fn resend_digest(
    settings: &Settings,
    record: &Record,
    arrival: &Arrival,
) -> Option<[u8; layout::RESEND_BYTES]> {
    let envelope = &arrival.envelope;
    if envelope.queue_id.is_empty() || record.head().author != settings.member {
        return None;
    }
    let mut text = vec![record.head().bucket.class.0];
    text.extend_from_slice(&arrival.body_id);
    for part in [&envelope.queue_id, &envelope.sender].into_iter().chain(&envelope.recipients) {
        text.extend_from_slice(part.as_bytes());
        text.push(0);
    }
    settings.id_key.digest("resend", &text).first_chunk().copied()
}

//! Of records that are named by their keys: which are messages that may be shown, what those amount to, pages of them.
//! Never names any itself: whoever asks knows which he means.

use crate::error::ReadError;
use crate::list::{Page, Query};
use crate::recent::Records;
use crate::search::Candidates;
use crate::store::Store;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Kind;

/// Fewer keys than this are looked up one by one.
const LOOKED_UP: usize = 1_000;

/// What some messages amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Among {
    /// Messages.
    pub messages: u64,
    /// Bytes of mail.
    pub mail_bytes: u64,
    /// Whether the bytes are computed from some of the messages only.
    pub is_estimate: bool,
    /// The oldest message.
    pub oldest: Option<MessageId>,
}

impl Store {
    /// What the messages among these records of a bucket, ascending, amount to. `reads` records may still be
    /// read, the newest first; from them the bytes of the others are estimated.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read. Damaged records have no bytes.
    pub fn among(
        &self,
        bucket: Bucket,
        keys: &[RecordKey],
        reads: &mut u64,
    ) -> Result<Among, ReadError> {
        let messages = self.messages_among(bucket, keys)?;
        let mut records = Records::new(self);
        let (mut read, mut bytes) = (0, 0);
        for id in messages.iter().rev() {
            if *reads == 0 {
                break;
            }
            *reads -= 1;
            read += 1;
            match self.arrival_record(&mut records, *id) {
                Ok(record) => bytes += self.decode_arrival(*id, &record)?.body_bytes,
                Err(ReadError::NotFound(_) | ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let count = messages.len() as u64;
        let is_estimate = read < count;
        let mail_bytes = if is_estimate && read > 0 { bytes / read * count } else { bytes };
        let oldest = messages.first().copied();
        Ok(Among { messages: count, mail_bytes, is_estimate, oldest })
    }

    /// A page of the messages among the records that `keys` names of each bucket, ascending.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_among(
        &self,
        query: &Query,
        mut keys: impl FnMut(Bucket) -> Vec<RecordKey>,
    ) -> Result<Page, ReadError> {
        let mut page = Page { messages: Vec::new(), next: None, damaged: 0 };
        let mut records = Records::new(self);
        let buckets: Vec<Bucket> = self.listed_buckets(query).collect();
        for day in buckets.chunk_by(|one, other| one.day == other.day) {
            let mut candidates = Candidates::new();
            for bucket in day {
                let named = self.messages_among(*bucket, &keys(*bucket))?;
                candidates.insert(*bucket, Some(named.into_iter().collect()));
            }
            if self.list_day(query, day, &candidates, &mut records, &mut page)? {
                break;
            }
        }
        Ok(page)
    }

    /// The messages that may be shown among records of a bucket, oldest first.
    fn messages_among(
        &self,
        bucket: Bucket,
        keys: &[RecordKey],
    ) -> Result<Vec<MessageId>, ReadError> {
        let mut messages = Vec::new();
        if keys.len() < LOOKED_UP {
            for key in keys {
                if self.kind_of(bucket, key)? == Some(Kind::ARRIVAL) {
                    messages.push(MessageId { bucket, key: *key });
                }
            }
        } else {
            messages = self.arrivals_between(bucket, 0, u32::MAX)?;
            messages.retain(|id| keys.binary_search(&id.key).is_ok());
        }
        let state = self.state();
        messages.retain(|id| state.is_visible(*id));
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{NOW, Node, delete, mail};
    use crate::{Mail, Query};
    use quar_base::key::{MessageId, RecordKey};
    use quar_base::time::{Millis, UnixMillis};

    fn put_at(store: &crate::Store, at: UnixMillis, body: &[u8]) -> MessageId {
        let mail = Mail { received: at, ..mail(body, 1) };
        let id = store.admit_mail(mail).unwrap().message.unwrap();
        store.commit();
        id
    }

    #[test]
    fn actions_and_deleted_messages_do_not_count_and_bytes_are_estimated_beyond_what_may_be_read() {
        let store = Node::new(1).open();
        let at = |number: u64| NOW.plus(Millis(number * 1000));
        let ids: Vec<_> = (0..6).map(|n| put_at(&store, at(n), &[n as u8; 100])).collect();
        let action = delete(&store, ids[2], 1, &[0]);
        let mut keys: Vec<RecordKey> = ids.iter().map(|id| id.key).collect();
        keys.push(action.key());
        keys.sort();
        let bucket = ids[0].bucket;
        let all = store.among(bucket, &keys, &mut 100).unwrap();
        assert_eq!((all.messages, all.mail_bytes, all.is_estimate), (5, 500, false));
        assert_eq!(all.oldest, Some(ids[0]));
        let some = store.among(bucket, &keys, &mut 2).unwrap();
        assert_eq!((some.messages, some.mail_bytes, some.is_estimate), (5, 500, true));
    }

    #[test]
    fn pages_of_named_messages_join_newest_first() {
        let store = Node::new(1).open();
        let at = |number: u64| UnixMillis(NOW.0 - number * 40_000_000);
        let mut ids: Vec<_> = (0..9).map(|n| put_at(&store, at(n), &[n as u8; 100])).collect();
        ids.remove(4);
        let named = |bucket| {
            let mut keys: Vec<_> =
                ids.iter().filter(|id| id.bucket == bucket).map(|id| id.key).collect();
            keys.sort();
            keys
        };
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let query = Query { before, limit: 3, ..Query::default() };
            let page = store.list_among(&query, named).unwrap();
            listed.extend(page.messages.into_iter().map(|message| message.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(listed, ids);
    }
}

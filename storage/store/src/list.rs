//! Listing messages, newest first, page by page; and finding one by the start of its id.
//! Never reads a body.

use crate::error::ReadError;
use crate::layout::{self, RecordPlace};
use crate::read::Message;
use crate::recent::Records;
use crate::search::Candidates;
use crate::store::Store;
use memchr::memmem;
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Kind;
use quar_base::time::{DAY_SECONDS, Day};
use quar_index::{Index, Tree};
use std::ops::ControlFlow;

/// Keys are taken from the index in windows of this many seconds, latest window first.
const WINDOW_SECONDS: u32 = 900;

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Classes; all when empty.
    pub classes: Vec<Class>,
    /// The oldest day.
    pub from: Option<Day>,
    /// The newest day.
    pub to: Option<Day>,
    /// Part of the envelope sender, in any case.
    pub sender: Option<String>,
    /// Part of an envelope recipient, in any case.
    pub recipient: Option<String>,
    /// Words that must all stand in the subject, in any case.
    pub subject_words: Vec<String>,
    /// Only messages older than this one, in the order of the listing.
    pub before: Option<MessageId>,
    /// Most messages a page holds.
    pub limit: usize,
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Where the next page begins ([`Query::before`]); `None` when this is the last.
    pub next: Option<MessageId>,
    /// Messages among this page's whose record is damaged on disk and could not be listed.
    pub damaged: u64,
}

/// The order of listings: newest day, then newest second, then class and id.
fn position(id: &MessageId) -> (Day, RecordKey, Class) {
    (id.bucket.day, id.key, id.bucket.class)
}

/// Whether a text holds another, in any case.
fn contains(text: &str, part: &str) -> bool {
    if part.is_ascii() {
        let lower = part.to_ascii_lowercase();
        memmem::find(text.to_ascii_lowercase().as_bytes(), lower.as_bytes()).is_some()
    } else {
        text.to_lowercase().contains(&part.to_lowercase())
    }
}

impl Query {
    /// Whether the filters say yes to what an arrival holds.
    pub(crate) fn accepts(&self, arrival: &Arrival) -> bool {
        let envelope = &arrival.envelope;
        self.sender.as_ref().is_none_or(|part| contains(&envelope.sender, part))
            && self
                .recipient
                .as_ref()
                .is_none_or(|part| envelope.recipients.iter().any(|to| contains(to, part)))
            && self.subject_words.iter().all(|word| contains(&arrival.headers.subject, word))
    }

    pub(crate) fn has_filters(&self) -> bool {
        self.sender.is_some() || self.recipient.is_some() || !self.subject_words.is_empty()
    }

    fn wants_day(&self, bucket: Bucket) -> bool {
        (self.classes.is_empty() || self.classes.contains(&bucket.class))
            && self.from.is_none_or(|day| bucket.day >= day)
            && self.to.is_none_or(|day| bucket.day <= day)
            && self.before.is_none_or(|id| bucket.day <= id.bucket.day)
    }
}

impl Store {
    /// Lists messages that may be shown.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read. Damaged records are counted.
    pub fn list(&self, query: &Query) -> Result<Page, ReadError> {
        let mut page = Page { messages: Vec::new(), next: None, damaged: 0 };
        let buckets: Vec<Bucket> = self.listed_buckets(query).collect();
        let mut days: Vec<&[Bucket]> =
            buckets.chunk_by(|one, other| one.day == other.day).collect();
        let mut records = Records::new(self);
        // Twice as many days are searched each time: a page that is full at once costs one day's.
        let mut batch = 1;
        while !days.is_empty() {
            let rest = days.split_off(days.len().min(batch));
            let candidates = match query.has_filters() {
                true => self.search(query, &days.concat())?,
                false => Candidates::new(),
            };
            for day in days {
                if self.list_day(query, day, &candidates, &mut records, &mut page)? {
                    return Ok(page);
                }
            }
            (days, batch) = (rest, batch * 2);
        }
        Ok(page)
    }

    /// Messages whose id begins like this text: `class-date-time-digest`, or any part from the
    /// digest's start. At most `limit` are returned.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn find(&self, text: &str, limit: usize) -> Result<Vec<MessageId>, ReadError> {
        if let Ok(id) = text.parse::<MessageId>() {
            let known = self.index.get(Tree::Bucket(id.bucket), &layout::record_key(&id.key))?;
            return Ok(known.map(|_| id).into_iter().collect());
        }
        let mut found = Vec::new();
        for bucket in self.listed_buckets(&Query::default()) {
            let ids = self.arrivals_between(bucket, 0, u32::MAX)?;
            let matches = |id: &MessageId| {
                id.key.id.to_string().starts_with(text) || id.to_string().starts_with(text)
            };
            found.extend(ids.into_iter().filter(matches).filter(|id| self.state().is_visible(*id)));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// Buckets with messages that may be shown, newest days first.
    pub(crate) fn listed_buckets<'a>(
        &self,
        query: &'a Query,
    ) -> impl Iterator<Item = Bucket> + use<'a> {
        let state = self.state();
        let mut buckets: Vec<Bucket> =
            state.buckets.keys().copied().filter(|b| !state.floors.is_below(*b)).collect();
        buckets.sort_by_key(|bucket| std::cmp::Reverse((bucket.day, bucket.class)));
        buckets.into_iter().filter(|bucket| query.wants_day(*bucket))
    }

    /// Adds one day's messages; returns whether the page is full.
    pub(crate) fn list_day(
        &self,
        query: &Query,
        buckets: &[Bucket],
        candidates: &Candidates,
        records: &mut Records<'_>,
        page: &mut Page,
    ) -> Result<bool, ReadError> {
        let mut end = u32::try_from(DAY_SECONDS).expect("a day's seconds fit 32 bits");
        while end > 0 {
            let is_searched = |bucket| matches!(candidates.get(bucket), Some(Some(_)));
            // What a search found is all there at once; keys of the index are read window by window.
            let start = match buckets.iter().all(is_searched) {
                true => 0,
                false => end.saturating_sub(WINDOW_SECONDS),
            };
            let mut ids = Vec::new();
            for bucket in buckets {
                match candidates.get(bucket) {
                    Some(Some(found)) => {
                        let within = |id: &&MessageId| (start..end).contains(&id.key.second);
                        ids.extend(found.iter().filter(within));
                    }
                    _ => ids.extend(self.arrivals_between(*bucket, start, end)?),
                }
            }
            ids.sort_by_key(|id| std::cmp::Reverse(position(id)));
            for id in ids {
                let is_after = query.before.is_none_or(|before| position(&id) < position(&before));
                if !is_after || !self.state().is_visible(id) {
                    continue;
                }
                match self.message_among(records, id) {
                    Ok(message) if !query.accepts(&message.arrival) => {}
                    Err(ReadError::NotFound(_)) => {}
                    // What the next page lists or counts, this one does not.
                    Ok(_) | Err(ReadError::Damaged { .. })
                        if page.messages.len() >= query.limit =>
                    {
                        page.next = page.messages.last().map(|last| last.id);
                        return Ok(true);
                    }
                    Ok(message) => page.messages.push(message),
                    Err(ReadError::Damaged { .. }) => page.damaged += 1,
                    Err(error) => return Err(error),
                }
            }
            end = start;
        }
        Ok(false)
    }

    /// Arrivals of a bucket with a second from `start` up to but not including `end`.
    pub(crate) fn arrivals_between(
        &self,
        bucket: Bucket,
        start: u32,
        end: u32,
    ) -> Result<Vec<MessageId>, ReadError> {
        let mut ids = Vec::new();
        let first = layout::record_key_from_second(start);
        self.index.scan(Tree::Bucket(bucket), &first, &mut |key, value| {
            let Some(key) = layout::parse_record_key(key).filter(|key| key.second < end) else {
                return ControlFlow::Break(());
            };
            if RecordPlace::decode(value).is_some_and(|place| place.kind == Kind::ARRIVAL) {
                ids.push(MessageId { bucket, key });
            }
            ControlFlow::Continue(())
        })?;
        Ok(ids)
    }
}

//! Bodies that arrivals here need and that are not here.
//! Never knows where a body could come from.

use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// *Holds*: both maps say the same. Several arrivals of a day may need one body, which stays
/// wanted until it comes or the last of them goes.
#[derive(Default)]
pub(crate) struct Wanted {
    by_body: BTreeMap<BodyId, BTreeSet<RecordKey>>,
    by_arrival: HashMap<RecordKey, BodyId>,
}

impl Wanted {
    /// Every want: the body and the arrival that needs it, ascending.
    pub(crate) fn pairs(&self) -> Vec<(BodyId, RecordKey)> {
        let arrivals = self.by_body.iter();
        arrivals.flat_map(|(body, keys)| keys.iter().map(|key| (*body, *key))).collect()
    }

    pub(crate) fn insert(&mut self, body: BodyId, arrival: RecordKey) {
        self.by_body.entry(body).or_default().insert(arrival);
        self.by_arrival.insert(arrival, body);
    }

    /// The body is here; returns the arrivals that needed it.
    pub(crate) fn take_body(&mut self, body: &BodyId) -> BTreeSet<RecordKey> {
        let arrivals = self.by_body.remove(body).unwrap_or_default();
        for arrival in &arrivals {
            self.by_arrival.remove(arrival);
        }
        arrivals
    }

    /// The arrival is gone; returns the body that it needed.
    pub(crate) fn take_arrival(&mut self, arrival: &RecordKey) -> Option<BodyId> {
        let body = self.by_arrival.remove(arrival)?;
        if let Some(arrivals) = self.by_body.get_mut(&body) {
            arrivals.remove(arrival);
            if arrivals.is_empty() {
                self.by_body.remove(&body);
            }
        }
        Some(body)
    }

    pub(crate) fn contains(&self, body: &BodyId) -> bool {
        self.by_body.contains_key(body)
    }

    /// Whether the want of this arrival is known.
    pub(crate) fn is_needed_by(&self, arrival: &RecordKey) -> bool {
        self.by_arrival.contains_key(arrival)
    }

    /// The bodies, each once.
    pub(crate) fn bodies(&self) -> impl ExactSizeIterator<Item = &BodyId> {
        self.by_body.keys()
    }
}

impl Store {
    /// Bodies that are wanted, at most `limit`, newest days first.
    #[must_use]
    pub fn wanted(&self, limit: usize) -> Vec<(Bucket, BodyId)> {
        self.wanted_behind(None, limit)
    }

    /// Bodies to be asked for: as [`Self::wanted`], those behind `after` in the same order. None while there is no room
    /// for them: what is refused here only counts as asked for in vain, and then waits ever longer.
    #[must_use]
    pub fn wanted_after(
        &self,
        after: Option<(Bucket, BodyId)>,
        limit: usize,
    ) -> Vec<(Bucket, BodyId)> {
        let page = self.wanted_behind(after, limit);
        if page.is_empty() || self.has_room_for_mail() { page } else { Vec::new() }
    }

    fn wanted_behind(
        &self,
        after: Option<(Bucket, BodyId)>,
        limit: usize,
    ) -> Vec<(Bucket, BodyId)> {
        let place = |bucket: &Bucket| (Reverse(bucket.day), bucket.class);
        let state = self.state();
        let is_ahead = |bucket: &Bucket| after.is_none_or(|(at, _)| place(bucket) >= place(&at));
        let left = state.buckets.iter().filter(|(bucket, held)| {
            !held.wanted.by_body.is_empty() && is_ahead(bucket) && !state.floors.is_below(**bucket)
        });
        let mut left: Vec<_> = left.collect();
        left.sort_by_key(|(bucket, _)| place(bucket));
        let behind = |(bucket, held): (&Bucket, &'_ crate::state::BucketState)| {
            let from = match after {
                Some((at, body)) if at == *bucket => Bound::Excluded(body),
                _ => Bound::Unbounded,
            };
            let bodies = held.wanted.by_body.range((from, Bound::Unbounded));
            bodies.take(limit).map(|(body, _)| (*bucket, *body)).collect::<Vec<_>>()
        };
        left.into_iter().flat_map(behind).take(limit).collect()
    }

    /// Arrivals of a bucket whose body is not here, ascending.
    #[must_use]
    pub fn bodiless(&self, bucket: Bucket) -> Vec<RecordKey> {
        let state = self.state();
        let held = state.buckets.get(&bucket).map(|held| held.wanted.by_arrival.keys().copied());
        let mut keys: Vec<RecordKey> = held.into_iter().flatten().collect();
        keys.sort_unstable();
        keys
    }

    /// Whether a record here needs a body that is not here.
    #[must_use]
    pub fn is_wanted(&self, bucket: Bucket, body: &BodyId) -> bool {
        let state = self.state();
        let is_wanted = state.buckets.get(&bucket).is_some_and(|held| held.wanted.contains(body));
        is_wanted && !state.floors.is_below(bucket)
    }

    /// The messages that need a body which is not here, oldest first.
    #[must_use]
    pub fn messages_without(&self, bucket: Bucket, body: &BodyId) -> Vec<MessageId> {
        let state = self.state();
        let arrivals = state.buckets.get(&bucket).and_then(|held| held.wanted.by_body.get(body));
        arrivals.into_iter().flatten().map(|key| MessageId { bucket, key: *key }).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{NOW, Node, mail};
    use quar_base::time::{Day, Millis, UnixMillis};

    #[test]
    fn nothing_is_asked_for_while_there_is_no_room_and_all_of_it_once_there_is() {
        let origin = Node::new(1).open();
        let id = crate::tests::put(&origin, b"a body", 1);
        let (record, _) = origin.item(id.bucket, &id.key).unwrap().unwrap();
        let mut node = Node::new(2);
        let mut store = node.open();
        store.settings.min_free_bytes = 100;
        store.admit_record(record, None, NOW).unwrap();
        store.commit();
        for (free_bytes, asked) in [(99, 0), (100, 1)] {
            node.disk.set_free_bytes(free_bytes);
            assert_eq!((store.wanted(9).len(), store.wanted_after(None, 9).len()), (1, asked));
        }
    }

    #[test]
    fn pages_of_wanted_bodies_join_without_gap_newest_days_first() {
        let origin = Node::new(1).open();
        let store = Node::new(2).open();
        let mut messages = Vec::new();
        for number in 0..9u8 {
            let received = UnixMillis(NOW.0 - u64::from(number / 3) * 86_400_000);
            let received = received.plus(Millis(u64::from(number) * 1000));
            let mail = crate::Mail { received, ..mail(&[number; 40], 1) };
            messages.push(origin.admit_mail(mail).unwrap().message.unwrap());
        }
        origin.commit();
        for id in &messages {
            let (record, _) = origin.item(id.bucket, &id.key).unwrap().unwrap();
            store.admit_record(record, None, NOW).unwrap();
        }
        store.commit();
        let all = store.wanted(100);
        assert_eq!(all.len(), 9);
        assert!(all.is_sorted_by_key(|(bucket, _)| std::cmp::Reverse(bucket.day)));
        let mut pages = Vec::new();
        while pages.len() < 9 {
            pages.extend(store.wanted_after(pages.last().copied(), 2));
        }
        assert_eq!(pages, all);
        assert_eq!(store.wanted_after(pages.last().copied(), 2), []);
        let named = all.iter().flat_map(|(bucket, body)| store.messages_without(*bucket, body));
        let mut named: Vec<_> = named.collect();
        named.sort();
        messages.sort();
        assert_eq!(named, messages);
        let (bucket, body) = all[0];
        assert!(store.is_wanted(bucket, &body));
        let elsewhere = quar_base::key::Bucket { day: Day(1), ..bucket };
        assert!(!store.is_wanted(elsewhere, &body));
    }
}

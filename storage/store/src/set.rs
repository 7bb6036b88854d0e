//! The replicated set as comparisons see it: one trie per bucket, as of a cutoff.
//! Never decides what belongs to the set; it is told of records and of removals.
//!
//! ```text
//!            second <= cutoff                    later
//! records    in the tries of the view            waiting
//! removals   applied                             leaving
//! ```
//! Two views are kept, for the cutoff in force and the one before, so that two members whose clocks
//! stand on either side of a step still have one in common.

use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::{Cutoff, UnixMillis};
use quar_merkle::{DayTree, Hash, Inclusion, Trie};
use std::collections::{BTreeMap, BTreeSet};

/// How far behind a cutoff a delete by a clock that is right may be stamped: a cutoff is at most 15 s old,
/// and another member's may be older.
const AHEAD_SECONDS: u64 = 60;

/// The set as of one cutoff. Cloning shares the tries.
#[derive(Clone, Default)]
pub struct View {
    cutoff: Cutoff,
    tries: BTreeMap<Bucket, Trie>,
}

/// Which of the two kept views.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// As of the cutoff in force.
    Current,
    /// As of the cutoff before.
    Previous,
}

#[derive(Default)]
pub(crate) struct ReplicaSet {
    current: View,
    previous: View,
    /// Instant of each key and the key: what enters when the cutoff reaches it.
    waiting: BTreeSet<(UnixMillis, Bucket, RecordKey)>,
    leaving: BTreeSet<(UnixMillis, Bucket, RecordKey)>,
}

impl View {
    /// The cutoff.
    #[must_use]
    pub fn cutoff(&self) -> Cutoff {
        self.cutoff
    }

    /// Buckets that hold keys, with count and root, in order.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Bucket, u64, Hash)> {
        let filled = self.tries.iter().filter(|(_, trie)| !trie.is_empty());
        filled.map(|(bucket, trie)| (*bucket, trie.len(), trie.root())).collect()
    }

    /// A snapshot of one bucket's trie.
    #[must_use]
    pub fn trie(&self, bucket: Bucket) -> Option<Trie> {
        self.tries.get(&bucket).cloned()
    }

    /// The root over all buckets.
    #[must_use]
    pub fn state_root(&self) -> Hash {
        self.day_tree().root()
    }

    /// The way from a message's arrival to the state root; `None` when it is not in the set, or its
    /// day's keys cannot be read.
    pub(crate) fn inclusion(&self, id: MessageId) -> Option<Inclusion> {
        Inclusion::new(&self.day_tree(), id.bucket, self.tries.get(&id.bucket)?, &id.key)
    }

    fn day_tree(&self) -> DayTree {
        DayTree::from_buckets(self.buckets().into_iter())
    }

    pub(crate) fn clone_where(&self, keep: impl Fn(Bucket) -> bool) -> Self {
        let kept = self.tries.iter().filter(|(bucket, _)| keep(**bucket));
        let tries = kept.map(|(bucket, trie)| (*bucket, trie.clone())).collect();
        Self { cutoff: self.cutoff, tries }
    }

    fn insert(&mut self, bucket: Bucket, key: RecordKey) {
        self.tries.entry(bucket).or_default().insert(key);
    }

    fn remove(&mut self, bucket: Bucket, key: &RecordKey) {
        if let Some(trie) = self.tries.get_mut(&bucket) {
            trie.remove(key);
        }
    }
}

impl ReplicaSet {
    pub(crate) fn view(&self, which: Which) -> &View {
        match which {
            Which::Current => &self.current,
            Which::Previous => &self.previous,
        }
    }

    /// Takes a whole bucket as it was found at opening: the trie of its pack and the sorted keys
    /// behind that, removals already left out. Of a cutoff before there is none yet.
    pub(crate) fn load(&mut self, bucket: Bucket, packed: Option<Trie>, keys: &[RecordKey]) {
        let mut trie = match packed {
            None => Trie::from_sorted(keys.iter().copied()),
            Some(mut packed) => {
                for key in keys {
                    packed.insert(*key);
                }
                packed
            }
        };
        for key in late_keys(&trie, bucket, self.current.cutoff) {
            trie.remove(&key);
            self.waiting.insert((key.instant(bucket.day), bucket, key));
        }
        self.current.tries.insert(bucket, trie);
    }

    /// A set of one bucket's tries as of the same cutoffs. What is to enter or leave stays.
    pub(crate) fn take_bucket(&mut self, bucket: Bucket) -> Self {
        let take = |view: &mut View| View {
            cutoff: view.cutoff,
            tries: view.tries.remove(&bucket).map(|trie| (bucket, trie)).into_iter().collect(),
        };
        let (current, previous) = (take(&mut self.current), take(&mut self.previous));
        Self { current, previous, ..Self::default() }
    }

    /// Takes back what [`Self::take_bucket`] gave, and what is to enter or leave there.
    pub(crate) fn put_back(&mut self, mut apart: Self) {
        self.current.tries.append(&mut apart.current.tries);
        self.previous.tries.append(&mut apart.previous.tries);
        self.waiting.append(&mut apart.waiting);
        self.leaving.append(&mut apart.leaving);
    }

    /// Takes another form of a bucket's trie, where it says the same.
    pub(crate) fn replace(&mut self, bucket: Bucket, trie: &Trie) {
        for view in [&mut self.current, &mut self.previous] {
            if let Some(known) = view.tries.get_mut(&bucket)
                && known.root() == trie.root()
            {
                *known = trie.clone();
            }
        }
    }

    pub(crate) fn insert(&mut self, bucket: Bucket, key: RecordKey) {
        for view in [&mut self.current, &mut self.previous] {
            if key.is_settled(bucket.day, view.cutoff) {
                view.insert(bucket, key);
            }
        }
        if !key.is_settled(bucket.day, self.current.cutoff) {
            self.waiting.insert((key.instant(bucket.day), bucket, key));
        }
    }

    /// An arrival leaves; in effect from `second` of the bucket's day on.
    pub(crate) fn remove(&mut self, bucket: Bucket, key: RecordKey, second: u32) {
        let effect = removal(&key, second);
        for view in [&mut self.current, &mut self.previous] {
            if effect.is_settled(bucket.day, view.cutoff) {
                view.remove(bucket, &key);
            }
        }
        if !effect.is_settled(bucket.day, self.current.cutoff) {
            self.leaving.insert((effect.instant(bucket.day), bucket, key));
        }
    }

    /// What was to leave stays.
    pub(crate) fn stay(&mut self, bucket: Bucket, key: RecordKey) {
        self.leaving.retain(|(_, of, leaving)| (*of, *leaving) != (bucket, key));
    }

    /// Forgets all buckets for which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(Bucket) -> bool) {
        for view in [&mut self.current, &mut self.previous] {
            view.tries.retain(|bucket, _| keep(*bucket));
        }
        self.waiting.retain(|(_, bucket, _)| keep(*bucket));
        self.leaving.retain(|(_, bucket, _)| keep(*bucket));
    }

    /// Whether an arrival's removal lies ahead of every clock that is right: until then the other members
    /// have the arrival, and so must this one.
    pub(crate) fn leaves_far_ahead(&self, bucket: Bucket, key: &RecordKey, second: u32) -> bool {
        let Cutoff(seconds) = self.current.cutoff;
        removal(key, second).instant(bucket.day) > UnixMillis((seconds + AHEAD_SECONDS) * 1000)
    }

    /// Moves the cutoff; returns whether it moved. A clock that was set back moves it back: arrivals
    /// that had left by the later one are then for the caller to bring back.
    pub(crate) fn advance(&mut self, cutoff: Cutoff) -> bool {
        if cutoff == self.current.cutoff {
            return false;
        }
        if cutoff < self.current.cutoff {
            self.step_back(cutoff);
            return true;
        }
        self.previous = self.current.clone();
        self.current.cutoff = cutoff;
        for (_, bucket, key) in take_until(&mut self.waiting, cutoff) {
            self.current.insert(bucket, key);
        }
        for (_, bucket, key) in take_until(&mut self.leaving, cutoff) {
            self.current.remove(bucket, &key);
        }
        true
    }

    fn step_back(&mut self, cutoff: Cutoff) {
        self.current.cutoff = cutoff;
        for (bucket, trie) in &mut self.current.tries {
            for key in late_keys(trie, *bucket, cutoff) {
                trie.remove(&key);
                self.waiting.insert((key.instant(bucket.day), *bucket, key));
            }
        }
        self.previous = self.current.clone();
    }

    /// Keys that are here and later than a cutoff; arrivals about to leave not.
    pub(crate) fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)> {
        let leaving: BTreeSet<_> =
            self.leaving.iter().map(|(_, bucket, key)| (*bucket, *key)).collect();
        let mut keys = Vec::new();
        for (bucket, trie) in &self.current.tries {
            keys.extend(late_keys(trie, *bucket, cutoff).into_iter().map(|key| (*bucket, key)));
        }
        keys.extend(self.waiting.iter().map(|(_, bucket, key)| (*bucket, *key)));
        keys.retain(|place| !leaving.contains(place));
        keys
    }

    /// The trie of a bucket over everything known, as if the cutoff lay behind all of it.
    pub(crate) fn live_trie(&self, bucket: Bucket) -> Trie {
        let mut trie = self.current.trie(bucket).unwrap_or_default();
        let of_bucket =
            |(_, known, key): &(UnixMillis, Bucket, RecordKey)| (*known == bucket).then_some(*key);
        for key in self.waiting.iter().filter_map(of_bucket) {
            trie.insert(key);
        }
        for key in self.leaving.iter().filter_map(of_bucket) {
            trie.remove(&key);
        }
        trie
    }

    /// A record that is damaged here is as if it had never come.
    pub(crate) fn forget(&mut self, bucket: Bucket, key: RecordKey) {
        for view in [&mut self.current, &mut self.previous] {
            view.remove(bucket, &key);
        }
        self.waiting.remove(&(key.instant(bucket.day), bucket, key));
    }

    /// Takes a bucket's records anew, each with the second at which it leaves, if it does.
    pub(crate) fn reset(&mut self, bucket: Bucket, keys: &[(RecordKey, Option<u32>)]) {
        self.retain(|known| known != bucket);
        for (key, leaves_at) in keys {
            self.insert(bucket, *key);
            if let Some(second) = leaves_at {
                self.remove(bucket, *key, *second);
            }
        }
    }

    /// The root over everything known, as if the cutoff lay behind all of it.
    pub(crate) fn live_root(&self) -> Hash {
        let mut view = self.current.clone();
        for (_, bucket, key) in &self.waiting {
            view.insert(*bucket, *key);
        }
        for (_, bucket, key) in &self.leaving {
            view.remove(*bucket, key);
        }
        view.state_root()
    }

    /// Keys in the set at the cutoff in force, and later ones.
    pub(crate) fn count(&self) -> u64 {
        self.current.tries.values().map(Trie::len).sum::<u64>() + self.waiting.len() as u64
    }
}

/// The removal of an arrival as a key of its own. A delete by a clock that is behind may be stamped before
/// the arrival it is about.
pub(crate) fn removal(arrival: &RecordKey, second: u32) -> RecordKey {
    RecordKey { second: second.max(arrival.second), id: arrival.id }
}

/// Keys that a cutoff has not reached.
fn late_keys(trie: &Trie, bucket: Bucket, cutoff: Cutoff) -> Vec<RecordKey> {
    let from = UnixMillis(cutoff.0 * 1000).second_of(bucket.day);
    trie.iter_from(from).filter(|key| !key.is_settled(bucket.day, cutoff)).collect()
}

fn take_until(
    set: &mut BTreeSet<(UnixMillis, Bucket, RecordKey)>,
    cutoff: Cutoff,
) -> Vec<(UnixMillis, Bucket, RecordKey)> {
    let mut due = Vec::new();
    while let Some(first) = set.first().copied() {
        if first.0 > UnixMillis(cutoff.0 * 1000) {
            break;
        }
        set.pop_first();
        due.push(first);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::{ReplicaSet, Which};
    use proptest::prelude::{prop_assert_eq, proptest};
    use quar_base::class::Class;
    use quar_base::ids::RecordId;
    use quar_base::key::{Bucket, RecordKey};
    use quar_base::time::{Cutoff, Day};

    const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(0) };

    fn key(second: u32, id: u8) -> RecordKey {
        RecordKey { second, id: RecordId([id; 32]) }
    }

    fn current(set: &ReplicaSet) -> Vec<RecordKey> {
        set.view(Which::Current).trie(BUCKET).map(|t| t.iter().collect()).unwrap_or_default()
    }

    #[test]
    fn a_record_enters_when_the_cutoff_reaches_its_second() {
        let mut set = ReplicaSet::default();
        set.advance(Cutoff(100));
        set.insert(BUCKET, key(105, 1));
        assert_eq!(current(&set), []);
        assert_eq!(set.later_than(Cutoff(100)).len(), 1);
        let live = set.live_root();
        set.advance(Cutoff(110));
        assert_eq!(current(&set), [key(105, 1)]);
        assert_eq!(set.view(Which::Current).state_root(), live);
        assert_ne!(set.view(Which::Previous).state_root(), live);
    }

    #[test]
    fn a_removal_takes_effect_at_its_own_second() {
        let mut set = ReplicaSet::default();
        set.advance(Cutoff(100));
        set.insert(BUCKET, key(50, 1));
        set.remove(BUCKET, key(50, 1), 105);
        assert_eq!(current(&set), [key(50, 1)]);
        set.advance(Cutoff(110));
        assert_eq!(current(&set), []);
    }

    #[test]
    fn what_arrives_late_enters_both_views() {
        let mut set = ReplicaSet::default();
        set.advance(Cutoff(100));
        set.advance(Cutoff(110));
        set.insert(BUCKET, key(50, 1));
        let roots = [Which::Current, Which::Previous].map(|which| set.view(which).state_root());
        assert_eq!(roots[0], roots[1]);
    }

    proptest! {
        #[test]
        fn the_order_of_learning_does_not_matter(
            records in proptest::collection::btree_set((0u32..200, 0u8..20), 0..40),
            removed in proptest::collection::btree_set((0usize..40, 0u32..200), 0..20),
            steps in proptest::collection::vec(0usize..60, 3),
        ) {
            let records: Vec<_> = records.into_iter().map(|(second, id)| key(second, id)).collect();
            let removal = |(at, second): &(usize, u32)| records.get(*at).map(|k| (*k, *second));
            let removals: Vec<_> = removed.iter().filter_map(removal).collect();
            let mut early = ReplicaSet::default();
            early.advance(Cutoff(200));
            records.iter().for_each(|k| early.insert(BUCKET, *k));
            removals.iter().for_each(|(k, second)| early.remove(BUCKET, *k, *second));
            let mut late = ReplicaSet::default();
            for (at, k) in records.iter().enumerate() {
                if steps.contains(&at) {
                    late.advance(Cutoff(at as u64 * 5 / 10 * 10));
                }
                late.insert(BUCKET, *k);
            }
            removals.iter().for_each(|(k, second)| late.remove(BUCKET, *k, *second));
            prop_assert_eq!(early.live_root(), late.live_root());
            late.advance(Cutoff(200));
            prop_assert_eq!(current(&early), current(&late));
        }
    }
}

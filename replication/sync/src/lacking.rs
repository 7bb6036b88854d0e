//! What a peer lacks, and the lots in which that is offered to it.
//! Never offers what a comparison has not found to be lacking.

use crate::frame::{Lot, SECOND_NIBBLES, name_of, second_of, whole_name_of};
use crate::limits;
use quar_base::key::{Bucket, RecordKey};
use quar_merkle::{Prefix, Trie};
use std::collections::BTreeMap;

/// Records that a peer lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// All under these prefixes, and how many those are.
    pub(crate) ranges: Vec<(Bucket, Prefix, u64)>,
    /// These besides.
    pub(crate) keys: Vec<(Bucket, RecordKey)>,
    /// Whether the peer may have between them what is not here.
    pub(crate) has_others: bool,
}

/// Seconds of which all records are lacking.
struct Span {
    /// The first and the last of these seconds, with a record or without.
    from: u32,
    to: u32,
    /// The first and the last record, and how many there are.
    first: RecordKey,
    last: RecordKey,
    count: u64,
}

impl Lacking {
    pub(crate) fn of_keys(keys: Vec<(Bucket, RecordKey)>, has_others: bool) -> Self {
        Self { ranges: Vec::new(), keys, has_others }
    }

    pub(crate) fn count(&self) -> u64 {
        let in_ranges: u64 = self.ranges.iter().map(|(.., count)| count).sum();
        in_ranges + self.keys.len() as u64
    }

    pub(crate) fn add_keys(&mut self, bucket: Bucket, keys: impl IntoIterator<Item = RecordKey>) {
        self.keys.extend(keys.into_iter().map(|key| (bucket, key)));
    }

    /// The lots, the newest days first: spans of seconds, and names of records in seconds of which
    /// some are not lacking. `tries` is what was compared; what is in none of them goes by its name. With
    /// `by_whole_keys` no name is short: another record of that name, on the other side alone, hides nothing then.
    pub(crate) fn into_lots(self, tries: &BTreeMap<Bucket, Trie>, by_whole_keys: bool) -> Vec<Lot> {
        let mut by_bucket: BTreeMap<Bucket, (Vec<Span>, Vec<RecordKey>)> = BTreeMap::new();
        for (bucket, prefix, count) in self.ranges {
            let (spans, keys) = by_bucket.entry(bucket).or_default();
            if prefix.nibbles() <= SECOND_NIBBLES {
                let ends = tries.get(&bucket).and_then(|trie| trie.ends(&prefix));
                spans.extend(ends.map(|(first, last)| span_of(&prefix, first, last, count)));
            } else {
                let trie = tries.get(&bucket);
                keys.extend(trie.iter().flat_map(|trie| trie.iter_prefix(&prefix)));
            }
        }
        for (bucket, key) in self.keys {
            by_bucket.entry(bucket).or_default().1.push(key);
        }
        let mut lots = Vec::new();
        let nothing = Trie::new();
        for (bucket, (mut spans, mut keys)) in by_bucket {
            keys.sort_unstable();
            keys.dedup();
            let trie = tries.get(&bucket).unwrap_or(&nothing);
            let keys = if self.has_others { keys } else { take_seconds(trie, keys, &mut spans) };
            let spans = joined(trie, spans, self.has_others);
            lots_of(bucket, trie, &spans, keys, by_whole_keys, &mut lots);
        }
        lots.sort_by_key(|lot| std::cmp::Reverse(lot.bucket().day));
        lots
    }
}

/// Seconds of which all keys are lacking become spans; the other keys are left, and those of a second with more keys
/// than a lot takes.
fn take_seconds(trie: &Trie, keys: Vec<RecordKey>, spans: &mut Vec<Span>) -> Vec<RecordKey> {
    let mut left = Vec::new();
    for of_second in keys.chunk_by(|one, other| one.second == other.second) {
        let second = of_second[0].second;
        let there = trie.iter_from(second).take_while(|key| key.second == second);
        let is_all = there.take(of_second.len() + 1).eq(of_second.iter().copied());
        if is_all && of_second.len() as u64 <= limits::LOT_KEYS {
            let (first, last) = (of_second[0], of_second[of_second.len() - 1]);
            let count = of_second.len() as u64;
            spans.push(Span { from: second, to: second, first, last, count });
        } else {
            left.extend_from_slice(of_second);
        }
    }
    left
}

/// Spans that follow one another become one, up to what a lot takes. Seconds of which nothing is here
/// may lie in between, unless the peer may have something there.
fn joined(trie: &Trie, mut spans: Vec<Span>, has_others: bool) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| span.from);
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        let is_next = |before: &&mut Span| {
            let behind = before.to.saturating_add(1);
            let has_none_between =
                || trie.first_from(behind).is_none_or(|key| key.second >= span.from);
            before.count + span.count <= limits::LOT_KEYS
                && (behind == span.from || !has_others && has_none_between())
        };
        match joined.last_mut().filter(is_next) {
            Some(before) => {
                before.to = span.to;
                before.last = span.last;
                before.count += span.count;
            }
            None => joined.push(span),
        }
    }
    joined
}

/// Spans as they are filled. A record by itself goes by its name, which is shorter than a span.
fn lots_of(
    bucket: Bucket,
    trie: &Trie,
    spans: &[Span],
    mut keys: Vec<RecordKey>,
    by_whole_keys: bool,
    lots: &mut Vec<Lot>,
) {
    for span in spans {
        match span.count {
            1 => keys.push(span.first),
            count => lots.push(Lot::Span(bucket, span.first.second, span.last.second, count)),
        }
    }
    keys.sort_unstable();
    // Where two have one name, whoever has the other one could not tell that this one is lacking.
    let is_alone = |key: &RecordKey| !by_whole_keys && trie.summary(&name_of(key)).0 <= 1;
    let (alone, namesakes): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_alone);
    let mut names: Vec<Prefix> = alone.iter().map(name_of).collect();
    names.dedup();
    let whole: Vec<Prefix> = namesakes.iter().map(whole_name_of).collect();
    for names in names.chunks(limits::LOT_NAMES).chain(whole.chunks(limits::LOT_NAMES)) {
        lots.push(Lot::Names(bucket, names.to_vec()));
    }
}

fn span_of(prefix: &Prefix, first: RecordKey, last: RecordKey, count: u64) -> Span {
    let from = second_of(prefix);
    let free = u32::from(SECOND_NIBBLES - prefix.nibbles()) * 4;
    let to = from | u32::MAX.checked_shr(32 - free).unwrap_or(0);
    Span { from, to, first, last, count }
}

#[cfg(test)]
mod tests {
    use super::Lacking;
    use crate::frame::Lot;
    use crate::limits;
    use proptest::collection::btree_set;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use quar_base::class::Class;
    use quar_base::ids::RecordId;
    use quar_base::key::{Bucket, RecordKey};
    use quar_base::time::Day;
    use quar_merkle::Trie;
    use std::collections::{BTreeMap, BTreeSet};

    const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(20_000) };

    fn key(second: u32, id: [u8; 5]) -> RecordKey {
        let mut whole = [7; 32];
        whole[..5].copy_from_slice(&id);
        RecordKey { second, id: RecordId(whole) }
    }

    fn tries(keys: &BTreeSet<RecordKey>) -> BTreeMap<Bucket, Trie> {
        BTreeMap::from([(BUCKET, Trie::from_sorted(keys.iter().copied()))])
    }

    fn lots(lacking: &[RecordKey], has_others: bool, all: &BTreeSet<RecordKey>) -> Vec<Lot> {
        let keys = lacking.iter().map(|key| (BUCKET, *key)).collect();
        Lacking::of_keys(keys, has_others).into_lots(&tries(all), false)
    }

    #[test]
    fn an_hour_that_is_lacking_is_one_lot_unless_the_peer_may_have_something_in_it() {
        let all: BTreeSet<_> = (0..3000).map(|n| key(n * 7, [n as u8; 5])).collect();
        let hour: Vec<_> = all.iter().filter(|key| key.second / 3600 == 2).copied().collect();
        let (first, last) = (hour[0].second, hour[hour.len() - 1].second);
        let count = hour.len() as u64;
        assert_eq!(lots(&hour, false, &all), [Lot::Span(BUCKET, first, last, count)]);
        let named = lots(&hour, true, &all);
        assert!(named.iter().all(|lot| matches!(lot, Lot::Names(..))), "{named:?}");
        assert_eq!(named.iter().map(Lot::count).sum::<u64>(), count);
    }

    #[test]
    fn records_of_one_name_are_offered_by_whole_keys() {
        let twins = [key(5, [1, 2, 3, 4, 5]), key(5, [1, 2, 3, 4, 6])];
        let all = BTreeSet::from([twins[0], twins[1], key(6, [9; 5])]);
        for lacking in [&twins[..1], &twins[1..]] {
            let lots = lots(lacking, false, &all);
            let is_in = |key: &RecordKey| lots.iter().any(|lot| lot.contains(BUCKET, key));
            assert_eq!(lots.len(), 1);
            assert!(twins.iter().all(|twin| is_in(twin) == lacking.contains(twin)));
        }
    }

    proptest! {
        #[test]
        fn lots_hold_what_is_lacking_and_nothing_else(
            all in btree_set((0u32..300, any::<[u8; 2]>()), 1..400),
            from in 0u32..300,
            seconds in 0u32..200,
            besides in any::<[u32; 4]>(),
            has_others: bool,
        ) {
            let wide = |(second, [a, b]): (u32, [u8; 2])| key(second, [a % 4, 0, 0, 0, b]);
            let all: BTreeSet<RecordKey> = all.into_iter().map(wide).collect();
            let is_lacking = |at: usize, key: &RecordKey| {
                (from..from + seconds).contains(&key.second)
                    || besides.iter().any(|n| *n as usize % all.len() == at)
            };
            let lacking: Vec<RecordKey> = all
                .iter()
                .enumerate()
                .filter(|(at, key)| is_lacking(*at, key))
                .map(|(_, key)| *key)
                .collect();
            let lots = lots(&lacking, has_others, &all);
            for key in &all {
                let is_in = lots.iter().any(|lot| lot.contains(BUCKET, key));
                prop_assert_eq!(is_in, lacking.contains(key), "{:?} in {:?}", key, lots);
            }
            prop_assert_eq!(lots.iter().map(Lot::count).sum::<u64>(), lacking.len() as u64);
            for lot in &lots {
                let in_limits = match lot {
                    Lot::Span(.., count) => *count <= limits::LOT_KEYS && !has_others,
                    Lot::Names(_, names) => names.len() <= limits::LOT_NAMES,
                };
                prop_assert!(in_limits, "{:?}", lot);
            }
        }
    }
}

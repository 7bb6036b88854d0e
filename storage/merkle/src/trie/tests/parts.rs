//! Tries whose keys lie elsewhere: the same answers, and no key read that is not needed.

use super::{crowded_key, spread_key, trie_of};
use crate::hash::Hash;
use crate::part::{KeySource, Part, PartsError};
use crate::prefix::Prefix;
use crate::trie::Trie;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use quar_base::key::RecordKey;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Keys in memory, by part, and which parts were asked for.
struct Shelf {
    parts: Vec<Option<Vec<RecordKey>>>,
    read: Mutex<Vec<usize>>,
}

impl KeySource for Shelf {
    fn keys(&self, part: usize) -> Option<Vec<RecordKey>> {
        self.read.lock().unwrap().push(part);
        self.parts[part].clone()
    }
}

/// Puts a trie's keys on a shelf; returns its parts and the trie over them.
fn shelve(trie: &Trie, limit: u64) -> (Vec<Part>, Arc<Shelf>, Trie) {
    let parts = trie.parts(limit);
    let keys = |part: &Part| {
        let all = trie.iter();
        Some(all.filter(|key| (part.first..=part.last).contains(key)).collect())
    };
    let shelf = Arc::new(Shelf { parts: parts.iter().map(keys).collect(), read: Mutex::default() });
    let source: Arc<dyn KeySource> = shelf.clone();
    let stored = Trie::from_parts(&parts, &source).unwrap();
    (parts, shelf, stored)
}

fn mixed(count: u32) -> Vec<RecordKey> {
    (0..count).map(|i| if i % 3 == 0 { crowded_key(i) } else { spread_key(i) }).collect()
}

#[test]
fn root_and_counts_need_no_key() {
    let trie = trie_of(mixed(5000));
    let (parts, shelf, stored) = shelve(&trie, 500);
    assert!(parts.len() > 10 && parts.iter().all(|part| part.count <= 500));
    assert_eq!((stored.root(), stored.len()), (trie.root(), 5000));
    assert_eq!(stored.describe(&Prefix::ROOT), trie.describe(&Prefix::ROOT));
    assert_eq!(stored.summary(&Prefix::ROOT), trie.summary(&Prefix::ROOT));
    assert_eq!(*shelf.read.lock().unwrap(), []);
}

#[test]
fn a_change_reads_the_part_it_falls_into_and_no_other() {
    let trie = trie_of(mixed(5000));
    let (parts, shelf, mut stored) = shelve(&trie, 500);
    let snapshot = stored.clone();
    let gone = parts[3].first;
    assert!(stored.remove(&gone));
    assert_eq!(*shelf.read.lock().unwrap(), [3]);
    assert_eq!(stored.len(), 4999);
    assert_eq!(snapshot.root(), trie.root());
    stored.insert(gone);
    assert_eq!(stored.root(), trie.root());
    assert_eq!(*shelf.read.lock().unwrap(), [3]);
}

#[test]
fn the_ends_of_whole_parts_are_known_without_their_keys() {
    let trie = trie_of((0..5000).map(spread_key));
    let (parts, shelf, stored) = shelve(&trie, 500);
    assert_eq!(stored.ends(&Prefix::ROOT), trie.ends(&Prefix::ROOT));
    for part in &parts {
        let second = part.first.second;
        if trie.first_from(second) == Some(part.first) {
            assert_eq!(stored.first_from(second), Some(part.first));
        }
    }
    assert_eq!(stored.first_from(0), trie.first_from(0));
    assert_eq!(*shelf.read.lock().unwrap(), [0; 0]);
    for second in (0..86_400).step_by(321) {
        assert_eq!(stored.first_from(second), trie.first_from(second));
    }
}

#[test]
fn walking_from_a_second_on_leaves_earlier_parts_alone() {
    let trie = trie_of((0..5000).map(spread_key));
    let (parts, shelf, stored) = shelve(&trie, 500);
    assert_eq!(stored.iter_from(80_000).next(), trie.iter_from(80_000).next());
    let read = shelf.read.lock().unwrap().clone();
    assert!(read.iter().all(|part| parts[*part].last.second >= 80_000), "{read:?}");
    assert_eq!(stored.iter_from(90_000).next(), None);
    assert_eq!(*shelf.read.lock().unwrap(), read);
}

#[test]
fn parts_that_cannot_be_had_or_are_others_hold_no_keys() {
    let trie = trie_of(mixed(1000));
    let parts = trie.parts(200);
    let mut keys: Vec<Option<Vec<_>>> = vec![None; parts.len()];
    // Of another set: one key less than the hash says.
    keys[1] = Some(trie.iter().filter(|k| (parts[1].first..parts[1].last).contains(k)).collect());
    let shelf: Arc<dyn KeySource> = Arc::new(Shelf { parts: keys, read: Mutex::default() });
    let mut stored = Trie::from_parts(&parts, &shelf).unwrap();
    assert_eq!(stored.root(), trie.root());
    assert_eq!(stored.iter().count(), 0);
    assert!(!stored.contains(&parts[1].first));
    assert!(stored.insert(parts[0].first));
    assert!(!stored.remove(&parts[2].first));
    assert_eq!(stored.iter().collect::<Vec<_>>(), [parts[0].first]);
}

#[test]
fn refuses_parts_of_no_trie() {
    let trie = trie_of(mixed(1000));
    let (parts, shelf, _) = shelve(&trie, 200);
    let source: Arc<dyn KeySource> = shelf;
    let refusal = |parts: &[Part]| Trie::from_parts(parts, &source).err();
    let mut swapped = parts.clone();
    swapped.swap(1, 2);
    assert_eq!(refusal(&swapped), Some(PartsError(2)));
    let mut empty = parts.clone();
    empty[4].count = 0;
    assert_eq!(refusal(&empty), Some(PartsError(4)));
    // It reaches into the slot of the next.
    let last = parts[parts.len() - 1];
    let wide = Part { first: parts[0].first, ..last };
    let wide = Part { last: last.first, ..wide };
    let narrow = Part { first: last.last, ..last };
    assert_eq!(refusal(&[wide, narrow]), Some(PartsError(0)));
    assert_eq!(Trie::from_parts(&[], &source).unwrap().root(), Hash::EMPTY);
}

proptest! {
    #[test]
    fn a_stored_trie_answers_like_one_in_memory(
        count in 0u32..2000,
        limit in 1u64..700,
        changes in proptest::collection::vec((0u32..2500, proptest::bool::ANY), 0..40),
        nibbles in 0u8..12,
        second_limit in 1u64..2000,
    ) {
        let mut trie = trie_of(mixed(count));
        let (_, _, mut stored) = shelve(&trie, limit);
        for (at, is_insert) in changes {
            let key = if at % 3 == 0 { crowded_key(at) } else { spread_key(at) };
            prop_assert_eq!(stored.contains(&key), trie.contains(&key));
            if is_insert {
                prop_assert_eq!(stored.insert(key), trie.insert(key));
            } else {
                prop_assert_eq!(stored.remove(&key), trie.remove(&key));
            }
            let prefix = Prefix::of(&key.to_bytes(), nibbles);
            prop_assert_eq!(stored.summary(&prefix), trie.summary(&prefix));
            prop_assert_eq!(stored.describe(&prefix), trie.describe(&prefix));
        }
        prop_assert_eq!(stored.root(), trie.root());
        prop_assert_eq!(stored.len(), trie.len());
        // Cut again, from parts some of which were changed and some never read.
        let (parts, _, again) = shelve(&stored, second_limit);
        prop_assert_eq!(parts, trie.parts(second_limit));
        let all: BTreeSet<_> = again.iter().collect();
        prop_assert_eq!(all, trie.iter().collect::<BTreeSet<_>>());
        prop_assert!(again.iter().is_sorted());
    }
}

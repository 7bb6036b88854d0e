//! What holds for every set of keys and every order of changes.
//! Never checks single cases: those are one level up.

use super::{expected_hash, shape, trie_of};
use crate::prefix::Prefix;
use crate::trie::{Description, Trie};
use proptest::collection::vec;
use proptest::prelude::{
    Just, Strategy, any, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest,
};
use quar_base::ids::RecordId;
use quar_base::key::RecordKey;
use std::collections::BTreeSet;

/// Keys that crowd together: few seconds, ids that differ in one byte anywhere.
fn key() -> impl Strategy<Value = RecordKey> {
    let second = prop_oneof![6 => 0u32..3, 1 => any::<u32>()];
    let at = prop_oneof![3 => Just(0usize), 2 => Just(31), 1 => 0usize..32];
    (second, at, any::<u8>()).prop_map(|(second, at, byte)| {
        let mut id = [0; 32];
        id[at] = byte;
        let id = RecordId(id);
        RecordKey { second, id }
    })
}

fn keys() -> impl Strategy<Value = Vec<RecordKey>> {
    prop_oneof![vec(key(), 0..80), vec(key(), 0..600)]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let nibbles = prop_oneof![0u8..=12, 0u8..=72];
    (key(), nibbles).prop_map(|(key, nibbles)| Prefix::of(&key.to_bytes(), nibbles))
}

fn under(keys: &BTreeSet<RecordKey>, prefix: &Prefix) -> Vec<RecordKey> {
    let all = keys.iter().copied();
    all.filter(|key| prefix.contains(key)).collect()
}

proptest! {
    #[test]
    fn the_root_is_what_the_format_says(keys in keys()) {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        let sorted: Vec<_> = set.iter().copied().collect();
        let trie = trie_of(keys.iter().copied());
        prop_assert_eq!(trie.root(), expected_hash(&sorted));
    }

    #[test]
    fn order_and_detours_leave_no_trace(
        (keys, shuffled) in keys().prop_flat_map(|keys| {
            (Just(keys.clone()), Just(keys).prop_shuffle())
        }),
        detour in keys(),
    ) {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        let built = Trie::from_sorted(set.iter().copied());
        let mut changed = trie_of(detour.iter().copied());
        changed.rehash();
        // Some of the detour leaves before the keys come, the rest after.
        for key in detour.iter().step_by(2) {
            changed.remove(key);
        }
        for key in &shuffled {
            changed.insert(*key);
        }
        changed.rehash();
        for key in detour.iter().filter(|key| !set.contains(key)) {
            changed.remove(key);
        }
        prop_assert_eq!(shape(&changed), shape(&built));
        prop_assert_eq!(changed.root(), built.root());
        prop_assert_eq!(trie_of(keys).root(), built.root());
        prop_assert_eq!(Trie::from_sorted(shuffled.into_iter()).root(), built.root());
    }

    #[test]
    fn behaves_as_a_set(steps in vec((any::<bool>(), key()), 0..800), from in 0u32..4) {
        let (mut trie, mut set) = (Trie::new(), BTreeSet::new());
        for (insert, key) in steps {
            let (ours, theirs) = if insert {
                (trie.insert(key), set.insert(key))
            } else {
                (trie.remove(&key), set.remove(&key))
            };
            prop_assert_eq!(ours, theirs);
            prop_assert_eq!(trie.contains(&key), insert);
            prop_assert_eq!(trie.len(), set.len() as u64);
        }
        prop_assert!(trie.iter().eq(set.iter().copied()));
        prop_assert!((&trie).into_iter().all(|key| trie.contains(&key)));
        let late = set.iter().copied().filter(|key| key.second >= from);
        prop_assert_eq!(trie.first_from(from), trie.iter_from(from).next());
        prop_assert!(trie.iter_from(from).eq(late));
        prop_assert_eq!(trie.is_empty(), set.is_empty());
    }

    #[test]
    fn a_prefix_selects_exactly_its_keys(keys in keys(), prefixes in vec(prefix(), 20), from: u32) {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        let trie = Trie::from_sorted(set.iter().copied());
        for prefix in prefixes {
            let expected = under(&set, &prefix);
            prop_assert!(trie.iter_prefix(&prefix).eq(expected.iter().copied()));
            let ends = expected.first().zip(expected.last());
            prop_assert_eq!(trie.ends(&prefix), ends.map(|(first, last)| (*first, *last)));
            match trie.describe(&prefix) {
                Description::Empty => prop_assert!(expected.is_empty()),
                Description::Leaf(keys) => {
                    prop_assert!((1..=64).contains(&keys.len()));
                    prop_assert_eq!(keys, expected);
                }
                Description::Page { at, children } => {
                    prop_assert!(expected.len() > 64 && children.len() > 1);
                    prop_assert!(prefix.covers(&at));
                    prop_assert!(expected.iter().all(|key| at.contains(key)));
                    prop_assert!(children.is_sorted_by_key(|child| child.0));
                    let counted: u64 = children.iter().map(|child| child.1).sum();
                    prop_assert_eq!(counted, expected.len() as u64);
                    for (nibble, count, hash) in children {
                        let child = at.child(nibble).unwrap();
                        prop_assert_eq!(trie.summary(&child), (count, hash));
                    }
                }
            }
        }
        let late = set.iter().copied().filter(|key| key.second >= from);
        prop_assert_eq!(trie.first_from(from), trie.iter_from(from).next());
        prop_assert!(trie.iter_from(from).eq(late));
    }

    #[test]
    fn a_summary_is_the_root_of_the_keys_under_the_prefix(
        keys in keys(),
        prefixes in vec(prefix(), 20),
    ) {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        let trie = Trie::from_sorted(set.iter().copied());
        for prefix in prefixes {
            let inside = under(&set, &prefix);
            let alone = Trie::from_sorted(inside.iter().copied());
            prop_assert_eq!(trie.summary(&prefix), (alone.len(), alone.root()));
            prop_assert_eq!(alone.root(), expected_hash(&inside));
        }
        prop_assert_eq!(trie.summary(&Prefix::ROOT), (trie.len(), trie.root()));
    }

    #[test]
    fn a_snapshot_never_changes(
        keys in keys(),
        steps in vec((any::<bool>(), key()), 1..100),
        hashed: bool,
    ) {
        let original = trie_of(keys.iter().copied());
        if hashed {
            original.rehash();
        }
        let mut changed = original.clone();
        for (insert, key) in steps {
            if insert {
                changed.insert(key);
            } else {
                changed.remove(&key);
            }
        }
        let set: BTreeSet<_> = keys.iter().copied().collect();
        let sorted: Vec<_> = set.iter().copied().collect();
        prop_assert!(original.iter().eq(set.iter().copied()));
        let after: Vec<_> = changed.iter().collect();
        prop_assert_eq!(changed.root(), expected_hash(&after));
        prop_assert_eq!(original.root(), expected_hash(&sorted));
    }

    #[test]
    fn one_key_more_or_less_is_another_root(keys in keys(), extra in key()) {
        let mut trie = trie_of(keys);
        let had = trie.contains(&extra);
        let before = trie.root();
        let changed = if had {
            trie.remove(&extra)
        } else {
            trie.insert(extra)
        };
        prop_assert!(changed);
        prop_assert_ne!(trie.root(), before);
        let restored = if had {
            trie.insert(extra)
        } else {
            trie.remove(&extra)
        };
        prop_assert!(restored);
        prop_assert_eq!(trie.root(), before);
    }
}

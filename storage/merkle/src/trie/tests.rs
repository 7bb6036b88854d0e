//! The trie against a set of keys and hashes written a second time from the format's description.
//! Never reuses the trie's own hashing to check it.

use super::{Description, Trie};
use crate::hash::Hash;
use crate::node::Node;
use crate::prefix::Prefix;
use quar_base::ids::RecordId;
use quar_base::key::RecordKey;
use std::collections::BTreeSet;

mod parts;
mod properties;

/// Key `i` of a fixed list over a day.
fn spread_key(i: u32) -> RecordKey {
    let id = RecordId(*blake3::hash(&i.to_be_bytes()).as_bytes());
    RecordKey { second: i * 37 % 86_400, id }
}

/// Key `i` of a fixed list within one second.
fn crowded_key(i: u32) -> RecordKey {
    RecordKey { second: 43_200, ..spread_key(i) }
}

fn trie_of(keys: impl IntoIterator<Item = RecordKey>) -> Trie {
    let mut trie = Trie::new();
    for key in keys {
        trie.insert(key);
    }
    trie
}

fn nibble(key: &RecordKey, at: usize) -> u8 {
    key.to_bytes()[at / 2] >> (4 * (1 - at % 2)) & 15
}

fn blake3_of(parts: &[&[u8]]) -> [u8; 32] {
    *blake3::hash(&parts.concat()).as_bytes()
}

/// The hash of a set of ascending keys, from the format's description.
fn expected_hash(keys: &[RecordKey]) -> Hash {
    if keys.is_empty() {
        return Hash([0; 32]);
    }
    if keys.len() <= 64 {
        let bytes: Vec<u8> = keys.iter().flat_map(RecordKey::to_bytes).collect();
        return Hash(blake3_of(&[&[1, keys.len() as u8], &bytes]));
    }
    let agree = |at: &usize| keys.iter().all(|key| nibble(key, *at) == nibble(&keys[0], *at));
    let depth = (0..72).take_while(agree).count();
    let mut layer: Vec<[u8; 32]> = (0..16)
        .map(|slot| {
            let of_slot = keys.iter().filter(|key| nibble(key, depth) == slot);
            expected_hash(&of_slot.copied().collect::<Vec<_>>()).0
        })
        .collect();
    while layer.len() > 1 {
        layer = layer.chunks(2).map(|pair| blake3_of(&[&[2], &pair[0], &pair[1]])).collect();
    }
    let count = (keys.len() as u64).to_be_bytes();
    Hash(blake3_of(&[&[3, depth as u8], &count, &layer[0]]))
}

/// Every page and leaf, asked for one level at a time as a peer would.
fn walk(trie: &Trie, prefix: Prefix, found: &mut Vec<Description>) {
    let description = trie.describe(&prefix);
    if let Description::Page { at, children } = &description {
        for (nibble, _, _) in children {
            walk(trie, at.child(*nibble).unwrap(), found);
        }
    }
    found.push(description);
}

fn shape(trie: &Trie) -> Vec<Description> {
    let mut found = Vec::new();
    walk(trie, Prefix::ROOT, &mut found);
    found
}

fn inspect(trie: &Trie) -> Vec<(usize, bool)> {
    let mut found = Vec::new();
    trie.root.iter().for_each(|root| root.inspect(&mut found));
    found
}

#[test]
fn golden_roots() {
    for (count, spread, crowded) in [
        (
            0,
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            1,
            "7144ce265187a47c6d3af1be692785a2772d2b33f5afbe2029b935b2b5a871b1",
            "be5fa87a83636339216ea80744861be04470445f2a43eddeda002293933f6e98",
        ),
        (
            64,
            "fc6cf9348e0c244d8636c5f616b19ab32cd599eaf474b7139c4c1e0a0d8c7044",
            "7c8d773c3e1a6d43121b495f23124da84ce2873aacbc5deadfb73fc98d2ceb8d",
        ),
        (
            65,
            "198a943ee6fe25a4d4382a772597495e4cce9f7e851e9e703f604ec363337bee",
            "90ff02e75f6b5a1aab4c39d41495a79819b2f5f64342e66e0fd9645b1319f8d8",
        ),
        (
            1000,
            "b59f30c8f6e8fb4a56aac2e45e4cc71c8ec17bf58026cc510a4cefdf093a1cb2",
            "78300ed3c64df6f53cb28607115e088bcd0a39b3409024488f714915ec424297",
        ),
    ] {
        let root = trie_of((0..count).map(spread_key)).root();
        assert_eq!(root.to_string(), spread, "{count} over a day");
        let root = trie_of((0..count).map(crowded_key)).root();
        assert_eq!(root.to_string(), crowded, "{count} in a second");
    }
}

#[test]
fn a_leaf_splits_above_64_keys_and_merges_at_64() {
    let mut trie = trie_of((0..64).map(crowded_key));
    let leaf_root = trie.root();
    assert!(matches!(trie.describe(&Prefix::ROOT), Description::Leaf(keys) if keys.len() == 64));
    assert!(trie.insert(crowded_key(64)));
    let Description::Page { at, children } = trie.describe(&Prefix::ROOT) else {
        panic!("65 keys are a page");
    };
    assert_eq!(at.nibbles(), 8, "one second is 8 nibbles");
    let counted: u64 = children.iter().map(|(_, count, _)| count).sum();
    assert_eq!(counted, 65);
    assert!(trie.remove(&crowded_key(64)));
    assert_eq!(trie.root(), leaf_root);
}

#[test]
fn a_page_left_with_one_child_becomes_that_child() {
    let mut trie = trie_of((0..100).map(crowded_key));
    let before = shape(&trie);
    trie.insert(RecordKey { second: 0xffff_0000, ..crowded_key(0) });
    assert!(matches!(
        trie.describe(&Prefix::ROOT),
        Description::Page { at: Prefix::ROOT, children } if children.len() == 2
    ));
    trie.remove(&RecordKey { second: 0xffff_0000, ..crowded_key(0) });
    assert_eq!(shape(&trie), before);
}

#[test]
fn a_change_that_changes_nothing_says_so_and_dirties_nothing() {
    let mut trie = trie_of((0..200).map(spread_key));
    trie.rehash();
    let before = inspect(&trie);
    assert!(!trie.insert(spread_key(7)));
    assert!(!trie.remove(&spread_key(200)));
    assert_eq!(inspect(&trie), before);
    assert_eq!(trie.len(), 200);
}

#[test]
fn a_change_dirties_one_path_and_copies_only_that_under_a_snapshot() {
    let mut trie = trie_of((0..20_000).map(spread_key));
    trie.rehash();
    let snapshot = trie.clone();
    assert_eq!(inspect(&snapshot), inspect(&trie), "a clone shares every node");

    trie.insert(spread_key(20_000));
    let shared: BTreeSet<_> = inspect(&snapshot).into_iter().collect();
    let after = inspect(&trie);
    let own: Vec<_> = after.iter().filter(|node| !shared.contains(node)).collect();
    assert!((2..=6).contains(&own.len()), "{} nodes of a path", own.len());
    assert!(own.iter().all(|(_, hashed)| !hashed), "the path is dirty");
    assert!(inspect(&snapshot).iter().all(|(_, hashed)| *hashed));

    drop(snapshot);
    let addresses = |nodes: Vec<(usize, bool)>| -> Vec<usize> {
        nodes.into_iter().map(|(address, _)| address).collect()
    };
    trie.remove(&spread_key(20_000));
    assert_eq!(addresses(after), addresses(inspect(&trie)), "changed in place");
}

#[test]
fn a_trie_can_be_read_from_several_threads() {
    fn check<T: Send + Sync>() {}
    check::<Trie>();
    let trie = trie_of((0..5000).map(spread_key));
    let roots: Vec<Hash> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| trie.clone().root())).collect();
        let joined = readers.into_iter().map(|reader| reader.join().unwrap());
        joined.collect()
    });
    assert_eq!(roots, [trie.root(); 4]);
}

#[test]
fn starting_before_or_behind_a_crowded_second_finds_all_or_none() {
    let mut trie = trie_of((0..100).map(crowded_key));
    for (from, found) in [(0, 100), (43_200, 100), (43_201, 0), (u32::MAX, 0)] {
        assert_eq!(trie.iter_from(from).count(), found, "from {from}");
    }
    trie.insert(RecordKey { second: 0, ..crowded_key(0) });
    assert_eq!(trie.iter_from(0).count(), 101);
    assert_eq!(trie.iter_from(1).count(), 100);
}

#[test]
fn an_empty_trie_answers_everything() {
    let mut trie = Trie::new();
    assert!(trie.is_empty());
    assert_eq!(trie.root(), Hash::EMPTY);
    assert_eq!(trie.describe(&Prefix::ROOT), Description::Empty);
    assert_eq!(trie.summary(&Prefix::ROOT), (0, Hash::EMPTY));
    assert_eq!(trie.iter().chain(trie.iter_from(0)).count(), 0);
    assert!(!trie.remove(&spread_key(0)));
    assert_eq!(Trie::from_sorted([].into_iter()).root(), Hash::EMPTY);
}

#[test]
fn nodes_stay_small() {
    assert_eq!(size_of::<Option<Node>>(), 16, "16 of them make a page");
}

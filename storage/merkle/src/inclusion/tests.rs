//! Inclusions: each leads to the root that it was taken from, and nothing else does.

use super::{INCLUSION_BYTES_MAX, Inclusion, InclusionError};
use crate::day_tree::DayTree;
use crate::hash::{Domain, Hash, digest};
use crate::trie::Trie;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use quar_base::class::Class;
use quar_base::ids::RecordId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::Day;
use std::collections::BTreeSet;

fn bucket(number: u32) -> Bucket {
    Bucket { class: Class((number % 3 + 1) as u8), day: Day(20_000 + number) }
}

/// Key `i` of a fixed list; every third within one second.
fn key(i: u32) -> RecordKey {
    let id = RecordId(*blake3::hash(&i.to_be_bytes()).as_bytes());
    RecordKey { second: if i.is_multiple_of(3) { 43_200 } else { i * 37 % 86_400 }, id }
}

/// Buckets of so many keys each.
struct Set {
    tries: Vec<(Bucket, Trie)>,
    tree: DayTree,
}

impl Set {
    fn new(sizes: &[u32]) -> Self {
        let trie = |size: &u32| Trie::from_sorted((0..*size).map(key));
        let tries: Vec<_> = (0..).map(bucket).zip(sizes.iter().map(trie)).collect();
        let roots = tries.iter().map(|(bucket, trie)| (*bucket, trie.len(), trie.root()));
        let tree = DayTree::from_buckets(roots);
        Self { tries, tree }
    }

    fn inclusion(&self, number: usize, key: &RecordKey) -> Option<Inclusion> {
        let (bucket, trie) = &self.tries[number];
        Inclusion::new(&self.tree, *bucket, trie, key)
    }
}

fn bytes(inclusion: &Inclusion) -> Vec<u8> {
    let mut bytes = Vec::new();
    inclusion.encode(&mut bytes);
    bytes
}

/// The state root that bytes lead to for a key of bucket 0.
fn root_of(bytes: &[u8], key: &RecordKey) -> Result<Hash, InclusionError> {
    let (inclusion, rest) = Inclusion::decode(bytes)?;
    if !rest.is_empty() {
        return Err(InclusionError::Truncated);
    }
    inclusion.state_root(bucket(0), key)
}

#[test]
fn every_key_of_every_bucket_leads_to_the_state_root() {
    for sizes in [&[1][..], &[64], &[65], &[3000], &[5, 90, 1], &[200; 17], &[1; 100]] {
        let set = Set::new(sizes);
        for (number, (bucket, trie)) in set.tries.iter().enumerate() {
            for key in trie.iter().step_by(1 + sizes[number] as usize / 50) {
                let inclusion = set.inclusion(number, &key).unwrap();
                assert_eq!(inclusion.bucket_count(), sizes.len() as u64);
                assert_eq!(inclusion.state_root(*bucket, &key), Ok(set.tree.root()));
                let bytes = bytes(&inclusion);
                assert!(bytes.len() <= INCLUSION_BYTES_MAX);
                assert_eq!(Inclusion::decode(&bytes), Ok((inclusion, &[][..])));
            }
        }
    }
}

#[test]
fn what_is_not_in_the_set_has_no_way() {
    let set = Set::new(&[100, 0, 7]);
    assert_eq!(set.inclusion(0, &key(100)), None);
    assert_eq!(set.inclusion(1, &key(0)), None);
    let inclusion = set.inclusion(2, &key(6)).unwrap();
    // Another key of the same leaf has the same way; one that is not there has none.
    assert_eq!(inclusion.state_root(bucket(2), &key(5)), Ok(set.tree.root()));
    assert_eq!(inclusion.state_root(bucket(2), &key(7)), Err(InclusionError::KeyMissing));
    assert_ne!(inclusion.state_root(bucket(0), &key(6)), Ok(set.tree.root()));
}

#[test]
fn golden_bytes_of_one_key_beside_another_bucket() {
    let set = Set::new(&[1, 1]);
    let inclusion = set.inclusion(0, &key(0)).unwrap();
    let text: String = bytes(&inclusion).iter().map(|byte| format!("{byte:02x}")).collect();
    // One key: second 43,200 and record id. No page. Place 0 of 2, one hash.
    let expected = concat!(
        "01",
        "0000a8c0",
        "ec2bd03bf86b935fa34d71ad7ebb049f1f10f87d343e521511d8f9e6625620cd",
        "00",
        "0000000000000000",
        "0200000000000000",
        "01",
        "a37eee84b4453530101b605d1638f1c332e6e07dc43809766740709a6230bb24",
    );
    assert_eq!(text, expected);
}

#[test]
fn no_changed_bit_leads_to_the_same_root() {
    for (sizes, number) in [(&[1][..], 0), (&[300, 4, 70], 0), (&[80; 33], 0)] {
        let set = Set::new(sizes);
        let bytes = bytes(&set.inclusion(number, &key(0)).unwrap());
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_ne!(root_of(&changed, &key(0)), Ok(set.tree.root()), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(root_of(&bytes[..length], &key(0)).is_err());
        }
    }
}

/// The bytes of a leaf, pages and a place.
fn forged(leaf: &[[u8; 36]], pages: &[u8], index: u64, count: u64, siblings: &[Hash]) -> Vec<u8> {
    let mut bytes = vec![leaf.len() as u8];
    leaf.iter().for_each(|key| bytes.extend_from_slice(key));
    bytes.extend_from_slice(pages);
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.push(siblings.len() as u8);
    siblings.iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
    bytes
}

#[test]
fn no_other_hash_is_taken_of_bytes_that_a_leaf_could_have() {
    let leaf = |count: usize| 2 + 36 * count;
    let (pair, page, bucket, state) = (1 + 64, 1 + 1 + 8 + 32, 1 + 45, 1 + 8 + 32);
    let others = [pair, page, bucket, state];
    assert!((1..=64).all(|count| !others.contains(&leaf(count))));
    // And if they had: the domains differ.
    let domains = [Domain::Leaf, Domain::SlotPair, Domain::Page, Domain::Bucket];
    let hashes: BTreeSet<_> = domains.map(|domain| digest(domain, &[&[7; 73]])).into();
    assert_eq!(hashes.len(), domains.len());
}

#[test]
fn a_pair_of_the_day_tree_does_not_pass_as_a_bucket() {
    // Four buckets; the pair over the first two, presented as one of three leaves and of two.
    let set = Set::new(&[1; 4]);
    let inclusion = set.inclusion(0, &key(0)).unwrap();
    let siblings = inclusion.place.siblings.clone();
    let leaf = [key(0).to_bytes()];
    let whole = forged(&leaf, &[0], 0, 4, &siblings);
    assert_eq!(root_of(&whole, &key(0)), Ok(set.tree.root()));
    // The upper half of the way alone, from where the pair stands.
    for (index, count) in [(0, 2), (1, 2), (2, 3)] {
        let short = forged(&leaf, &[0], index, count, &siblings[1..]);
        assert_ne!(root_of(&short, &key(0)), Ok(set.tree.root()), "{index} of {count}");
    }
    // The right shape with another count, too few and too many hashes: no place at all.
    for (index, count, hashes) in [
        (0, 3, &siblings[..1]),
        (0, 4, &siblings[..1]),
        (0, 5, &siblings[..]),
        (4, 4, &siblings[..]),
        (0, 0, &[]),
        (0, 1, &siblings[..]),
        (0, (1 << 30) + 1, &siblings[..]),
        (0, u64::MAX, &siblings[..]),
    ] {
        let bytes = forged(&leaf, &[0], index, count, hashes);
        let refused = root_of(&bytes, &key(0)).expect_err("no place");
        assert!(matches!(refused, InclusionError::Place { .. }), "{refused} {index} {count}");
    }
}

#[test]
fn a_page_does_not_pass_as_a_leaf_nor_a_leaf_as_a_page() {
    // Left out at the bottom: the page's own hash stands where the leaf's should.
    let set = Set::new(&[3000]);
    let inclusion = set.inclusion(0, &key(1)).unwrap();
    assert!(inclusion.pages.len() >= 2);
    let mut cut = inclusion.clone();
    cut.pages.remove(0);
    let root = cut.state_root(bucket(0), &key(1));
    assert_ne!(root, Ok(set.tree.root()));
    // A leaf of more than 64 keys, and a page over 64 or fewer.
    let keys: Vec<_> = (0..65).map(|i| RecordKey { second: i, ..key(0) }.to_bytes()).collect();
    let refused = root_of(&forged(&keys, &[0], 0, 1, &[]), &key(0));
    assert_eq!(refused, Err(InclusionError::Leaf(65)));
    let page = |depth: u8, count: u64| [&[depth][..], &count.to_le_bytes(), &[0; 128]].concat();
    let low = [&[1][..], &page(7, 64)].concat();
    let refused = root_of(&forged(&keys[..2], &low, 0, 1, &[]), &key(0));
    assert_eq!(refused, Err(InclusionError::Page(0)));
    for (lower, upper) in [((6, 70), (6, 80)), ((5, 70), (6, 80)), ((6, 70), (5, 70))] {
        let pages = [&[2][..], &page(lower.0, lower.1), &page(upper.0, upper.1)].concat();
        let refused = root_of(&forged(&keys[..1], &pages, 0, 1, &[]), &key(0));
        assert_eq!(refused, Err(InclusionError::Page(1)), "{lower:?} {upper:?}");
    }
}

#[test]
fn refuses_leaves_that_no_trie_has() {
    let (low, high) =
        (key(1).to_bytes().min(key(2).to_bytes()), key(1).to_bytes().max(key(2).to_bytes()));
    for leaf in [&[][..], &[high, low], &[low, low]] {
        let refused = root_of(&forged(leaf, &[0], 0, 1, &[]), &key(1));
        assert_eq!(refused, Err(InclusionError::Leaf(leaf.len())));
    }
    // Keys that part above the page that they should lie under.
    let parted = [1, 0x1000_0000].map(|second| RecordKey { second, ..key(0) }.to_bytes());
    let page = [&[1, 1][..], &70_u64.to_le_bytes(), &[0; 128]].concat();
    let refused = root_of(&forged(&parted, &page, 0, 1, &[]), &key(1));
    assert_eq!(refused, Err(InclusionError::Page(0)));
}

proptest! {
    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(input: Vec<u8>) {
        if let Ok((inclusion, rest)) = Inclusion::decode(&input) {
            prop_assert_eq!([bytes(&inclusion), rest.to_vec()].concat(), input);
        }
    }

    #[test]
    fn a_set_of_any_shape_has_a_way_to_each_key(
        seconds in proptest::collection::btree_set((0u32..5000, any::<u8>()), 1..400),
        beside in 0u32..20,
        pick: prop::sample::Index,
    ) {
        let keys: Vec<_> = seconds
            .iter()
            .map(|(second, id)| RecordKey { second: *second, id: RecordId([*id; 32]) })
            .collect();
        let trie = Trie::from_sorted(keys.iter().copied());
        let others = (1..=beside).map(|number| (bucket(number), 1, Hash([number as u8; 32])));
        let own = (bucket(0), trie.len(), trie.root());
        let tree = DayTree::from_buckets(others.chain([own]));
        let key = keys[pick.index(keys.len())];
        let inclusion = Inclusion::new(&tree, bucket(0), &trie, &key).unwrap();
        prop_assert_eq!(root_of(&bytes(&inclusion), &key), Ok(tree.root()));
        prop_assert!(bytes(&inclusion).len() <= INCLUSION_BYTES_MAX);
    }
}

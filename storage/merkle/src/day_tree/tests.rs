//! The day tree against a root written a second time from the module header.
//! Never reuses the tree's own hashing to check it.

use super::{BucketHasher, DayTree};
use crate::hash::Hash;
use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_assert_ne, proptest};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use rs_merkle::{Hasher, MerkleTree};

type Entry = (Bucket, u64, Hash);

/// Entry `i` of a fixed list: classes 1 to 3, some days each.
fn entry(i: u32) -> Entry {
    let class = Class((i % 3 + 1) as u8);
    let day = Day(20_000 + i);
    let root = Hash(*blake3::hash(&i.to_be_bytes()).as_bytes());
    (Bucket { class, day }, u64::from(i) * 1000 + 1, root)
}

fn tree(entries: &[Entry]) -> DayTree {
    DayTree::from_buckets(entries.iter().copied())
}

fn first(count: u32) -> Vec<Entry> {
    (0..count).map(entry).collect()
}

/// The root written once more, from the module header alone.
fn expected_root(entries: &[Entry]) -> Hash {
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| entry.0);
    let mut layer: Vec<Vec<u8>> = sorted
        .iter()
        .map(|(bucket, count, root)| {
            let mut bytes = vec![4, bucket.class.0];
            bytes.extend(bucket.day.0.to_be_bytes());
            bytes.extend(count.to_be_bytes());
            bytes.extend(root.0);
            blake3::hash(&bytes).as_bytes().to_vec()
        })
        .collect();
    while layer.len() > 1 {
        layer = layer
            .chunks(2)
            .map(|chunk| match chunk {
                [left, right] => {
                    let bytes = [&[5], &left[..], &right[..]].concat();
                    blake3::hash(&bytes).as_bytes().to_vec()
                }
                odd => odd.concat(),
            })
            .collect();
    }
    let Some(pairs) = layer.first() else {
        return Hash([0; 32]);
    };
    let count = (entries.len() as u64).to_be_bytes();
    Hash(*blake3::hash(&[&[6], &count[..], pairs].concat()).as_bytes())
}

#[test]
fn the_root_is_what_the_header_says_for_every_shape() {
    for count in 0..70 {
        let entries = first(count);
        assert_eq!(tree(&entries).root(), expected_root(&entries), "{count}");
        assert_eq!(tree(&entries).leaf_count(), u64::from(count));
    }
}

#[test]
fn golden_state_roots() {
    for (count, root) in [
        (0, "0000000000000000000000000000000000000000000000000000000000000000"),
        (1, "25e62dc6da0b6643f08add4992256e7889df1b0f733e1f3d144c2174f407764c"),
        (2, "8b9c8daf23875e42509e52804733c0b9d98db1ec06736e8e94aa94acb4fecee0"),
        (3, "ed7b5b0ced24f9363f15505afab7a787b8028bf350199b309427424b6c58c7be"),
        (100, "69116ccea8360a54cc44c46a0d4a3b233f14b3552146ec67da930e63bcc5e0f6"),
    ] {
        assert_eq!(tree(&first(count)).root().to_string(), root, "{count}");
    }
}

#[test]
fn a_bucket_without_keys_has_no_entry() {
    let mut entries = first(3);
    let root = tree(&entries).root();
    entries.push((entry(3).0, 0, Hash::EMPTY));
    assert_eq!(tree(&entries).root(), root);
    assert_eq!(tree(&entries).leaf_count(), 3);
}

#[test]
fn of_a_bucket_given_twice_the_last_counts() {
    let (bucket, count, root) = entry(1);
    let twice = [entry(0), (bucket, count + 5, Hash::EMPTY), entry(1)];
    assert_eq!(tree(&twice).root(), tree(&first(2)).root());
    assert_ne!(root, Hash::EMPTY);
}

#[test]
fn a_pair_read_as_a_leaf_changes_the_state_root() {
    let leaves = [b"a", b"b", b"c"].map(|leaf| BucketHasher::hash(leaf));
    let three = MerkleTree::<BucketHasher>::from_leaves(&leaves);
    let pair = BucketHasher::concat_and_hash(&leaves[0], Some(&leaves[1]));
    let two = MerkleTree::<BucketHasher>::from_leaves(&[pair, leaves[2]]);
    assert_eq!(three.root(), two.root(), "rs_merkle alone does not tell them apart");
    let root = |tree| DayTree { tree, buckets: Vec::new() }.root();
    assert_ne!(root(three), root(two));
}

#[test]
fn leaves_and_pairs_hash_the_same_bytes_differently() {
    let pair = BucketHasher::concat_and_hash(&[1; 32], Some(&[2; 32]));
    let leaf = BucketHasher::hash(&[[1; 32], [2; 32]].concat());
    assert_ne!(pair, leaf);
}

proptest! {
    #[test]
    fn order_of_arrival_does_not_matter(
        (entries, shuffled) in (1u32..40).prop_flat_map(|count| {
            (Just(first(count)), Just(first(count)).prop_shuffle())
        })
    ) {
        prop_assert_eq!(tree(&entries).root(), tree(&shuffled).root());
    }

    #[test]
    fn every_field_of_every_bucket_counts(count in 1u32..40, pick: u32, field in 0..4) {
        let mut entries = first(count);
        let root = tree(&entries).root();
        let changed = &mut entries[(pick % count) as usize];
        match field {
            0 => changed.0.class.0 += 3,
            1 => changed.0.day.0 += 1000,
            2 => changed.1 += 1,
            _ => changed.2.0[31] ^= 1,
        }
        prop_assert_ne!(tree(&entries).root(), root);
    }
}

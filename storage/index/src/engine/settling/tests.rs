//! Settlings cut short between any two writes of sled, one after the other: no key comes back.
//! Never cuts off in the middle of a write; what sled makes of that is sled's affair.

use super::super::{Engine, Leaf};
use super::settle_tree;
use crate::contract::{delete, put};
use crate::front::{Front, Values};
use crate::guard::Pulse;
use crate::leaf;
use crate::{Tree, Write};
use quar_base::rng::Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

const TREE: Tree = Tree::Meta;
/// No key of a leaf.
const THE_END: &[u8] = b"~";

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u64) -> Vec<u8> {
    format!("k{number:03}").into_bytes()
}

/// The keys and values that count, of leaves by their first keys.
fn counting(leaves: &Map) -> Map {
    let ends = leaves.keys().skip(1).map(Some).chain([None]);
    let mut found = Vec::new();
    for ((first, leaf), end) in leaves.iter().zip(ends) {
        let leaf =
            Leaf { bytes: leaf.as_slice().into(), end: end.map(|end| end.as_slice().into()) };
        let entries = leaf.entries(first).map(Result::unwrap);
        found.extend(entries.map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    let count = found.len();
    let map = Map::from_iter(found);
    assert_eq!(map.len(), count, "a key counts twice");
    map
}

fn amend(mut map: Map, changes: &Values) -> Map {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
    map
}

/// The leaves as they are before a settling, between any two of its writes, and behind it.
fn images(db: &sled::Db, leaves: &Map, changes: &Values) -> Vec<Map> {
    let tree = db.open_tree("t").unwrap();
    tree.clear().unwrap();
    for (first, leaf) in leaves {
        tree.insert(first, leaf.as_slice()).unwrap();
    }
    let writes = tree.watch_prefix("");
    settle_tree(&tree, changes, &|| (), &Pulse::default()).unwrap();
    tree.insert(THE_END, "").unwrap();
    let mut images = vec![leaves.clone()];
    for write in writes.take_while(|write| write.key() != THE_END) {
        let mut next = images[images.len() - 1].clone();
        match write {
            sled::Event::Insert { key, value } => drop(next.insert(key.to_vec(), value.to_vec())),
            sled::Event::Remove { key } => drop(next.remove(key.as_ref())),
        }
        images.push(next);
    }
    images
}

fn some_changes(rng: &mut Rng) -> Values {
    let from = rng.below(40);
    let is_put = rng.below(2) == 0;
    let value = |rng: &mut Rng| vec![rng.bytes::<1>()[0]; rng.below(300) as usize];
    let numbers = from..from + 1 + rng.below(20);
    numbers.map(|number| (key(number), is_put.then(|| value(rng)))).collect()
}

#[test]
fn a_settling_cut_short_anywhere_and_again_changes_nothing_but_what_it_was_to_change() {
    let db = sled::Config::new().temporary(true).open().unwrap();
    let (mut cuts, mut stale) = (0, 0);
    for seed in 0..300u16 {
        let rng = &mut Rng::from_seed(std::array::from_fn(|at| seed.to_le_bytes()[at % 2]));
        let (mut leaves, mut map, mut changes) = (Map::new(), Map::new(), Values::new());
        for _ in 0..12 {
            changes.extend(some_changes(rng));
            map = amend(map, &changes);
            let images = images(&db, &leaves, &changes);
            for image in &images {
                assert!(amend(counting(image), &changes) == map, "seed {seed}");
            }
            assert!(counting(images.last().unwrap()) == map, "seed {seed}");
            leaves = images[rng.below(images.len() as u64) as usize].clone();
            let held = leaves.values().map(|leaf| leaf::decode(leaf).unwrap().len());
            cuts += usize::from(images.last() != Some(&leaves));
            stale += usize::from(held.sum::<usize>() > counting(&leaves).len());
            match rng.below(3) {
                // The journal brings the changes again.
                0 => {}
                // They were in no journal.
                1 => {
                    (map, changes) = (counting(&leaves), Values::new());
                }
                _ => {
                    leaves = images.last().unwrap().clone();
                    changes.clear();
                }
            }
        }
    }
    assert!(cuts > 500 && stale > 100, "{cuts} cut short, {stale} with stale entries");
}

#[test]
fn keys_deleted_long_ago_do_not_come_back_between_any_two_writes_that_remove_their_leaf() {
    let db = sled::Config::new().temporary(true).open().unwrap();
    let leaf = |numbers: std::ops::Range<u64>| {
        let entries: Map = numbers.map(|number| (key(number), vec![1; 40])).collect();
        leaf::cut(entries.iter()).remove(0).1
    };
    // Of the leaf to the right 6 to 8 are gone; the one to the left was never shortened.
    let leaves = Map::from([(Vec::new(), leaf(0..12)), (key(6), leaf(9..12))]);
    let images = images(&db, &leaves, &(9..12).map(|number| (key(number), None)).collect());
    assert_eq!(images.len(), 3);
    for image in &images {
        let came_back = counting(image).into_keys().find(|k| (key(6)..key(9)).contains(k));
        assert_eq!(came_back, None);
    }
}

fn settle(engine: &Engine, dir: &Path, writes: impl IntoIterator<Item = Write>) {
    let mut front = Front::default();
    writes.into_iter().for_each(|write| front.apply(write));
    engine.settle(&front, dir, &Pulse::default()).unwrap();
}

/// Twelve keys in one leaf, of which the six behind the first key returned are stale: they are in a
/// leaf of their own.
fn half_stale(engine: &Engine, dir: &Path) -> Vec<u8> {
    settle(engine, dir, (0..12).map(|number| put(TREE, &key(number), &[1; 40])));
    let tree = engine.tree(TREE).unwrap();
    assert_eq!(tree.len(), 1, "one leaf");
    let right: Map = (6..12).map(|number| (key(number), vec![1; 40])).collect();
    tree.insert(key(6), leaf::cut(right.iter()).remove(0).1).unwrap();
    key(6)
}

#[test]
fn keys_that_were_deleted_do_not_come_back_from_a_leaf_that_was_never_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), &Pulse::default()).unwrap().0;
    half_stale(&engine, dir.path());
    settle(&engine, dir.path(), (6..12).map(|number| delete(TREE, &key(number))));
    let back: Vec<_> = (0..12).filter(|n| engine.get(TREE, &key(*n)).unwrap().is_some()).collect();
    assert_eq!(back, [0, 1, 2, 3, 4, 5]);
    let (leaves, _) = engine.leaves(TREE, b"", 100).unwrap();
    assert_eq!(leaves.iter().flat_map(|leaf| leaf.entries(b"")).count(), 6);
    // Nor from one of which nothing was left but what was stale.
    settle(&engine, dir.path(), (0..6).map(|number| delete(TREE, &key(number))));
    assert_eq!(engine.tree(TREE).unwrap().len(), 0);
}

#[test]
fn a_leaf_stays_while_a_reader_that_walks_may_have_seen_the_stale_entries_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), &Pulse::default()).unwrap().0;
    let right = half_stale(&engine, dir.path());
    let tree = engine.tree(TREE).unwrap();
    let whole = tree.get(b"").unwrap();
    let walk = engine.trees();
    thread::scope(|scope| {
        let deletes = (6..12).map(|number| delete(TREE, &key(number)));
        let settling = scope.spawn(|| settle(&engine, dir.path(), deletes));
        while tree.get(b"").unwrap() == whole && !settling.is_finished() {
            thread::yield_now();
        }
        (0..1000).for_each(|_| thread::yield_now());
        assert!(tree.contains_key(&right).unwrap());
        drop(walk);
        settling.join().unwrap();
    });
    assert!(!tree.contains_key(&right).unwrap());
}

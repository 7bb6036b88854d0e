//! Leaves in sled as a settling that was cut short leaves them.
//! Never opens a whole index.

use super::Engine;
use crate::Tree;
use crate::contract::{bucket, delete, put};
use crate::front::Front;
use crate::guard::Pulse;
use std::collections::BTreeMap;
use std::path::Path;

const TREE: Tree = Tree::Meta;

fn open(dir: &Path) -> Engine {
    Engine::open(dir, &Pulse::default()).unwrap().0
}

fn key(number: u8) -> Vec<u8> {
    vec![b'k', number]
}

fn settle(engine: &Engine, dir: &Path, writes: impl IntoIterator<Item = crate::Write>) {
    let mut front = Front::default();
    writes.into_iter().for_each(|write| front.apply(write));
    engine.settle(&front, dir, &Pulse::default()).unwrap();
}

fn keys(engine: &Engine, start: &[u8], count: usize) -> Vec<Vec<u8>> {
    let (leaves, next) = engine.leaves(TREE, start, count).unwrap();
    let entries = leaves.iter().flat_map(|leaf| leaf.entries(start));
    let mut keys: Vec<_> = entries.map(|entry| entry.unwrap().0.to_vec()).collect();
    if let Some(next) = next {
        keys.extend(self::keys(engine, &next, count));
    }
    keys
}

#[test]
fn entries_are_found_from_every_start_and_in_any_number_of_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    settle(&engine, dir.path(), (0..200).map(|number| put(TREE, &key(number), &[number; 30])));
    let all: Vec<_> = (0..200).map(key).collect();
    for count in [1, 2, 10, 1000] {
        for start in (0..=200).step_by(7) {
            assert_eq!(keys(&engine, &key(start), count), all[usize::from(start)..]);
        }
        assert_eq!(keys(&engine, b"", count), all);
        assert!(keys(&engine, b"l", count).is_empty());
    }
}

#[test]
fn what_a_cut_left_behind_is_seen_once_and_goes_with_the_next_change() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let tree = engine.db.open_tree("m").unwrap();
    settle(&engine, dir.path(), (0..12).map(|number| put(TREE, &key(number), &[0; 30])));
    assert_eq!(tree.len(), 1, "one leaf");
    // The leaf to the right is written, the one to the left not yet shortened.
    let right = BTreeMap::from([(key(6), vec![1]), (key(8), vec![1])]);
    tree.insert(key(6), super::leaf::cut(right.iter()).remove(0).1).unwrap();
    let expected: Vec<_> = (0..6).chain([6, 8]).map(key).collect();
    assert_eq!(keys(&engine, b"", 100), expected);
    assert_eq!(keys(&engine, &key(7), 100), [key(8)]);
    assert_eq!(engine.get(TREE, &key(7)).unwrap(), None);
    assert_eq!(engine.get(TREE, &key(8)).unwrap(), Some(vec![1]));
    settle(&engine, dir.path(), [delete(TREE, &key(0))]);
    assert_eq!(keys(&engine, b"", 100), expected[1..]);
    let left = tree.get(b"").unwrap().unwrap();
    let found = super::leaf::decode(&left).unwrap();
    assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), expected[1..6]);
}

#[test]
fn leaves_that_became_empty_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let numbers = 0..100u8;
    settle(&engine, dir.path(), numbers.clone().map(|number| put(TREE, &key(number), &[0; 60])));
    let tree = engine.db.open_tree("m").unwrap();
    assert!(tree.len() > 3);
    settle(&engine, dir.path(), numbers.map(|number| delete(TREE, &key(number))));
    assert_eq!(tree.len(), 0);
    settle(&engine, dir.path(), [put(TREE, b"again", b"")]);
    assert_eq!(keys(&engine, b"", 10), [b"again"]);
}

#[test]
fn trees_come_back_when_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let [first, second] = [1, 2].map(|day| Tree::Bucket(bucket(day)));
    settle(&engine, dir.path(), [put(first, b"1", b"a"), put(second, b"2", b"b")]);
    let mut front = Front::default();
    front.drop_tree(bucket(1));
    engine.settle(&front, dir.path(), &Pulse::default()).unwrap();
    super::close(engine, dir.path()).unwrap();
    let engine = open(dir.path());
    assert_eq!(engine.buckets(), [bucket(2)]);
    assert_eq!(engine.get(first, b"1").unwrap(), None);
    assert_eq!(engine.get(second, b"2").unwrap(), Some(b"b".to_vec()));
}

#[test]
fn opening_reads_every_leaf() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    settle(&engine, dir.path(), [put(TREE, b"k", b"v")]);
    engine.db.open_tree("m").unwrap().insert(b"x", b"\x09 too short").unwrap();
    super::close(engine, dir.path()).unwrap();
    let fault = Engine::open(dir.path(), &Pulse::default()).expect_err("no leaf");
    assert!(matches!(fault, super::Fault::Strange(_)), "{fault:?}");
}

#[test]
fn where_no_thread_can_be_started_the_work_is_done_all_the_same() {
    let work = || Ok(std::thread::current().id());
    // No machine has so much address space.
    let none = || std::thread::Builder::new().stack_size(1 << 60);
    let here = std::thread::current().id();
    assert_eq!(super::on_threads(3, &none, &work).unwrap(), [here]);
    let ids = super::on_threads(3, &std::thread::Builder::new, &work).unwrap();
    assert!(ids.len() == 3 && !ids.contains(&here));
}

//! What every form of the index must do, as checks to run on each.
//! Never checks what differs between them: durability, damage, speed.

mod history;

pub use history::{History, Model, Step, apply, check_history, compare, follow};

use crate::{Index, IndexError, Tree, Write};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs every check of the contract, each on a new empty index.
///
/// # Panics
/// When the index breaks the contract.
pub fn check(make: &dyn Fn() -> Box<dyn Index>) {
    gets_what_was_put(&*make());
    keeps_trees_apart(&*make());
    scans_in_the_order_of_bytes(&*make());
    stops_a_scan_when_asked(&*make());
    lets_a_visitor_use_the_index(&*make());
    drops_one_tree_and_takes_it_up_again(&*make());
    lists_trees_from_their_first_put(&*make());
    fills_trees_known_and_unknown(&*make());
    takes_empty_and_large(&*make());
    counts_what_it_was_handed(&*make());
    shows_writes_to_other_threads(&*make());
    shows_everything_while_more_comes(&*make());
    for seed in 0..8 {
        check_history(&*make(), &History::from_seed(seed));
    }
}

/// The bucket of class spam on `day`.
#[must_use]
pub fn bucket(day: u32) -> Bucket {
    Bucket { class: Class::SPAM, day: Day(day) }
}

/// A put.
#[must_use]
pub fn put(tree: Tree, key: &[u8], value: &[u8]) -> Write {
    Write::Put { tree, key: key.to_vec(), value: value.to_vec() }
}

/// A delete.
#[must_use]
pub fn delete(tree: Tree, key: &[u8]) -> Write {
    Write::Delete { tree, key: key.to_vec() }
}

/// All entries of a tree from `start` on.
///
/// # Errors
/// What the scan answers.
pub fn entries(index: &dyn Index, tree: Tree, start: &[u8]) -> Result<Entries, IndexError> {
    let mut seen = Vec::new();
    index.scan(tree, start, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

fn all(index: &dyn Index, tree: Tree, start: &[u8]) -> Entries {
    entries(index, tree, start).expect("scan")
}

fn get(index: &dyn Index, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
    index.get(tree, key).expect("get")
}

fn write(index: &dyn Index, batch: Vec<Write>) {
    index.write(batch).expect("write");
}

fn gets_what_was_put(index: &dyn Index) {
    for tree in [Tree::Meta, Tree::Bucket(bucket(1))] {
        assert_eq!(get(index, tree, b"k"), None);
        write(index, vec![delete(tree, b"k"), put(tree, b"k", b"1"), put(tree, b"k2", b"2")]);
        assert_eq!(get(index, tree, b"k").as_deref(), Some(&b"1"[..]));
        write(index, vec![put(tree, b"k", b"one"), delete(tree, b"k2")]);
        assert_eq!(get(index, tree, b"k").as_deref(), Some(&b"one"[..]));
        assert_eq!(get(index, tree, b"k2"), None);
        // In the order given, also for one key.
        write(index, vec![put(tree, b"k", b"x"), delete(tree, b"k"), put(tree, b"j", b"y")]);
        write(index, vec![delete(tree, b"j"), put(tree, b"j", b"z")]);
        assert_eq!(all(index, tree, b""), [(b"j".to_vec(), b"z".to_vec())]);
    }
    write(index, Vec::new());
}

fn keeps_trees_apart(index: &dyn Index) {
    let other_class = Bucket { class: Class::VIRUS, day: Day(1) };
    let trees =
        [Tree::Meta, Tree::Bucket(bucket(1)), Tree::Bucket(bucket(2)), Tree::Bucket(other_class)];
    let batch = trees.iter().zip(b"0123").map(|(tree, value)| put(*tree, b"k", &[*value]));
    write(index, batch.collect());
    for (tree, value) in trees.iter().zip(b"0123") {
        assert_eq!(all(index, *tree, b""), [(b"k".to_vec(), vec![*value])], "{tree}");
    }
}

fn scans_in_the_order_of_bytes(index: &dyn Index) {
    let tree = Tree::Bucket(bucket(1));
    let mut keys: Vec<Vec<u8>> =
        (0..600u32).map(|n| (n * 7919 % 600).to_be_bytes().to_vec()).collect();
    keys.extend([b"".to_vec(), vec![0], vec![0, 0], vec![255], vec![255; 40]]);
    write(index, keys.iter().map(|key| put(tree, key, key)).collect());
    keys.sort();
    let expected: Entries = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    assert_eq!(all(index, tree, b""), expected);
    let at = 300u32.to_be_bytes();
    let from_there = expected.partition_point(|(key, _)| key.as_slice() < &at[..]);
    assert_eq!(all(index, tree, &at), expected[from_there..], "the start is part of the scan");
    let behind = [&at[..], &[0]].concat();
    assert_eq!(all(index, tree, &behind), expected[from_there + 1..], "a start between two keys");
    assert_eq!(all(index, tree, &[255; 41]), [], "a start behind all keys");
    assert_eq!(all(index, Tree::Bucket(bucket(9)), b""), [], "no such tree");
}

fn stops_a_scan_when_asked(index: &dyn Index) {
    write(index, (0..200u8).map(|n| put(Tree::Meta, &[n], b"")).collect());
    let mut seen = Vec::new();
    let visit = &mut |key: &[u8], _: &[u8]| {
        seen.push(key[0]);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    index.scan(Tree::Meta, &[5], visit).expect("scan");
    assert_eq!(seen, [5, 6, 7]);
}

fn lets_a_visitor_use_the_index(index: &dyn Index) {
    let (from, to) = (Tree::Meta, Tree::Bucket(bucket(1)));
    write(index, (0..200u8).map(|n| put(from, &[n], &[n, n])).collect());
    let visit = &mut |key: &[u8], value: &[u8]| {
        assert_eq!(get(index, from, key).as_deref(), Some(value));
        write(index, vec![put(to, key, value), delete(from, key)]);
        ControlFlow::Continue(())
    };
    index.scan(from, b"", visit).expect("scan");
    assert_eq!(all(index, from, b""), []);
    assert_eq!(all(index, to, b"").len(), 200);
}

fn drops_one_tree_and_takes_it_up_again(index: &dyn Index) {
    let trees = [Tree::Bucket(bucket(1)), Tree::Bucket(bucket(2)), Tree::Meta];
    for tree in trees {
        write(index, (0..500u16).map(|n| put(tree, &n.to_be_bytes(), b"v")).collect());
    }
    index.drop_tree(bucket(1)).expect("drop");
    assert_eq!(get(index, trees[0], &[0, 7]), None);
    assert_eq!(all(index, trees[0], b""), []);
    assert_eq!(all(index, trees[1], b"").len(), 500);
    assert_eq!(all(index, trees[2], b"").len(), 500);
    assert_eq!(index.buckets().expect("buckets"), [bucket(2)]);
    index.drop_tree(bucket(1)).expect("nothing to drop is no error");
    write(index, vec![delete(trees[0], &[0, 7]), put(trees[0], b"new", b"life")]);
    assert_eq!(all(index, trees[0], b""), [(b"new".to_vec(), b"life".to_vec())]);
    index.drop_tree(bucket(1)).expect("drop");
    assert_eq!(all(index, trees[0], b""), []);
}

fn lists_trees_from_their_first_put(index: &dyn Index) {
    let list = || index.buckets().expect("buckets");
    assert_eq!(list(), []);
    write(index, vec![put(Tree::Meta, b"k", b""), delete(Tree::Bucket(bucket(3)), b"k")]);
    assert_eq!(get(index, Tree::Bucket(bucket(4)), b"k"), None);
    assert_eq!(list(), [], "neither a delete nor a get makes a tree");
    let virus = Bucket { class: Class::VIRUS, day: Day(1) };
    for bucket in [virus, bucket(300), bucket(2)] {
        write(index, vec![put(Tree::Bucket(bucket), b"k", b"")]);
    }
    assert_eq!(list(), [bucket(2), bucket(300), virus]);
    write(index, vec![delete(Tree::Bucket(bucket(2)), b"k")]);
    assert_eq!(list(), [bucket(2), bucket(300), virus], "an empty tree is still there");
}

fn fills_trees_known_and_unknown(index: &dyn Index) {
    let entries = |from: u16, value: &[u8]| -> Entries {
        (from..from + 500).map(|n| (n.to_be_bytes().to_vec(), value.to_vec())).collect()
    };
    let tree = Tree::Bucket(bucket(1));
    index.fill(tree, Vec::new()).expect("fill");
    index.fill(tree, entries(10, b"first")).expect("fill");
    assert_eq!(index.buckets().expect("buckets"), [bucket(1)]);
    assert_eq!(all(index, tree, b""), entries(10, b"first"));
    assert_eq!(get(index, tree, &9u16.to_be_bytes()), None);
    write(index, vec![put(tree, &9u16.to_be_bytes(), b"put"), delete(tree, &10u16.to_be_bytes())]);
    index.flush().expect("flush");
    index.fill(tree, entries(260, b"second")).expect("fill");
    let mut expected = vec![(9u16.to_be_bytes().to_vec(), b"put".to_vec())];
    expected.extend_from_slice(&entries(10, b"first")[1..250]);
    expected.extend(entries(260, b"second"));
    assert_eq!(all(index, tree, b""), expected);
    index.drop_tree(bucket(1)).expect("drop");
    assert_eq!(all(index, tree, b""), []);
    index.fill(tree, entries(0, b"third")).expect("fill");
    index.flush().expect("flush");
    assert_eq!(all(index, tree, b""), entries(0, b"third"));
}

fn takes_empty_and_large(index: &dyn Index) {
    let tree = Tree::Bucket(bucket(1));
    let large: Vec<u8> = (0..1u32 << 20).map(|n| (n % 251) as u8).collect();
    let long_key = vec![7; 1000];
    write(index, vec![put(tree, b"", b""), put(tree, &[0], &large), put(tree, &long_key, b"x")]);
    assert_eq!(get(index, tree, b"").as_deref(), Some(&b""[..]));
    assert_eq!(get(index, tree, &[0]).as_deref(), Some(&large[..]));
    index.flush().expect("flush");
    write(index, vec![put(tree, &[0], &large[1..])]);
    assert_eq!(get(index, tree, &[0]).as_deref(), Some(&large[1..]));
    assert_eq!(get(index, tree, &long_key).as_deref(), Some(&b"x"[..]));
    write(index, vec![delete(tree, &[0]), delete(tree, b"")]);
    assert_eq!(all(index, tree, b""), [(long_key, b"x".to_vec())]);
    index.flush().expect("flush");
}

fn counts_what_it_was_handed(index: &dyn Index) {
    assert_eq!(index.written_bytes(), 0);
    write(index, vec![put(Tree::Meta, b"key", b"value"), delete(Tree::Meta, b"none")]);
    assert_eq!(index.written_bytes(), 3 + 5 + 4);
}

fn shows_writes_to_other_threads(index: &dyn Index) {
    let tree = Tree::Bucket(bucket(1));
    std::thread::scope(|threads| {
        for thread in 0..4u8 {
            threads.spawn(move || {
                for n in 0..100u8 {
                    write(index, vec![put(tree, &[thread, n], &[n])]);
                    assert_eq!(get(index, tree, &[thread, n]), Some(vec![n]));
                }
                index.flush().expect("flush");
            });
        }
    });
    assert_eq!(all(index, tree, b"").len(), 400);
}

fn shows_everything_while_more_comes(index: &dyn Index) {
    let tree = Tree::Bucket(bucket(1));
    let written = AtomicU32::new(0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut before = 0;
                while before < 1200 {
                    before = written.load(Ordering::Acquire);
                    let seen = all(index, tree, b"");
                    assert!(seen.is_sorted_by(|(a, _), (b, _)| a < b), "each key once");
                    let found = seen.iter().filter(|(_, value)| number_of(value) < before);
                    assert_eq!(found.count(), before as usize);
                    let Some(last) = before.checked_sub(1) else {
                        continue;
                    };
                    assert!(get(index, tree, &scattered(last)).is_some());
                    assert_eq!(index.buckets().expect("buckets"), [bucket(1)]);
                    assert!(get(index, tree, &scattered(last / 2)).is_some());
                }
            });
        }
        for number in 0..1200u32 {
            write(index, vec![put(tree, &scattered(number), &number.to_be_bytes())]);
            written.store(number + 1, Ordering::Release);
        }
    });
}

/// A key that comes neither in order nor twice.
fn scattered(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

fn number_of(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_be_bytes).expect("four bytes")
}

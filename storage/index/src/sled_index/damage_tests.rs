//! Damaged sled files, many of each kind: the caller gets an answer, whatever sled does.
//! Never asks that damage is found: what an index says is checked by the store.

use super::SledIndex;
use super::tests::copy_dir;
use crate::contract::{bucket, delete, entries, put};
use crate::{Index, IndexError, Tree};
use quar_base::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};

/// More than fits one of sled's segments, so that leaves lie scattered over several.
const ENTRIES: u32 = 4000;

fn trees() -> Vec<Tree> {
    [Tree::Meta].into_iter().chain((1..4).map(|day| Tree::Bucket(bucket(day)))).collect()
}

fn fill(index: &dyn Index, rng: &mut Rng, count: u32) -> Result<(), IndexError> {
    for number in 0..count {
        let tree = trees()[number as usize % 4];
        let value = rng.bytes::<20>();
        index.write(vec![put(tree, &rng.bytes::<16>(), &value), delete(tree, &value)])?;
    }
    // One that sled keeps in a file of its own.
    index.write(vec![put(Tree::Meta, &rng.bytes::<4>(), &vec![7; 100_000])])?;
    index.flush()
}

/// A flush after a drop, which brings everything into sled's files.
fn settle(index: &dyn Index) -> Result<(), IndexError> {
    index.drop_tree(bucket(99))?;
    index.flush()
}

/// Everything a store does with an index; the answer is only that there is one.
fn use_all(dir: &Path, rng: &mut Rng) -> Result<(), IndexError> {
    let index = SledIndex::open(dir)?;
    for tree in trees() {
        for (key, value) in entries(&index, tree, b"")? {
            assert_eq!(index.get(tree, &key)?, Some(value));
        }
    }
    fill(&index, rng, 400)?;
    index.drop_tree(bucket(2))?;
    settle(&index)
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_of(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Damages one file of the index, mostly the one that holds the entries.
fn damage(dir: &Path, rng: &mut Rng) -> String {
    let files = files_of(dir);
    let db = dir.join("db");
    let path = if rng.below(3) > 0 { &db } else { &files[rng.below(files.len() as u64) as usize] };
    let mut bytes = fs::read(path).unwrap();
    let at = rng.below(bytes.len().max(1) as u64) as usize;
    let page = at..bytes.len().min(at + 4096);
    let kind = match rng.below(7) {
        _ if bytes.is_empty() => "left empty",
        0 => {
            bytes.truncate(at);
            "cut"
        }
        1 => {
            bytes[at] ^= 1 << rng.below(8);
            "one bit"
        }
        2 => {
            (0..64).for_each(|_| {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1;
            });
            "64 bits"
        }
        3 => {
            bytes[page].fill(0);
            "zeroed page"
        }
        4 => {
            bytes[page].iter_mut().for_each(|byte| *byte = rng.bytes::<1>()[0]);
            "garbage page"
        }
        5 => {
            bytes.extend(rng.bytes::<5000>());
            "garbage behind"
        }
        _ => {
            let middle = bytes.len() / 2;
            bytes.rotate_left(middle.min(65_536));
            "moved"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{}: {kind} at {at}", path.strip_prefix(dir).unwrap().display())
}

fn seeded(number: u8) -> Rng {
    Rng::from_seed([number; 32])
}

/// Two indexes to damage: one closed in order, one as a crash leaves it.
fn originals(root: &Path) -> [PathBuf; 2] {
    let [closed, crashed] = ["closed", "crashed"].map(|name| root.join(name));
    let index = SledIndex::open(&closed).unwrap();
    for round in 0..4 {
        fill(&index, &mut seeded(round), ENTRIES / 4).unwrap();
        settle(&index).unwrap();
    }
    fill(&index, &mut seeded(9), 100).unwrap();
    copy_dir(&closed, &crashed);
    drop(index);
    drop(SledIndex::open(&closed).unwrap());
    [closed, crashed]
}

#[test]
fn damaged_files_give_an_error_or_a_readable_index() {
    let root = tempfile::tempdir().unwrap();
    let originals = originals(root.path());
    let mut rng = seeded(2);
    let (mut refused, mut read) = (0, 0);
    for round in 0..rounds() {
        let dir = root.path().join("damaged");
        copy_dir(&originals[round % 2], &dir);
        let what = damage(&dir, &mut rng);
        match use_all(&dir, &mut rng) {
            Ok(()) => read += 1,
            Err(IndexError::Damaged { detail, .. }) => {
                assert!(!detail.contains("no progress"), "{what}: {detail}");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
        // After the refusal too nobody holds it: it can be set aside.
        let aside = crate::set_aside(&dir).unwrap();
        fs::remove_dir_all(aside).unwrap();
    }
    assert!(refused > 0 && read > 0, "{refused} refused, {read} read");
}

/// `QUAR_DAMAGE_ROUNDS=5000` looks longer.
fn rounds() -> usize {
    std::env::var("QUAR_DAMAGE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

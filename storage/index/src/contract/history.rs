//! Random histories of an index, and the plain maps that say what must come of them.
//! Never knows which form of the index it drives.

use super::{Entries, all, bucket, get};
use crate::{Index, IndexError, Tree, Write};
use quar_base::key::Bucket;
use quar_base::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// One step of a [`History`].
#[derive(Debug, Clone)]
pub enum Step {
    /// [`Index::write`].
    Write(Vec<Write>),
    /// [`Index::fill`], in the order of keys.
    Fill(Tree, Vec<(Vec<u8>, Vec<u8>)>),
    /// [`Index::drop_tree`].
    DropTree(Bucket),
    /// [`Index::flush`].
    Flush,
}

/// Steps that meet on few keys in few trees, so that they overwrite each other.
#[derive(Debug, Clone)]
pub struct History(pub Vec<Step>);

impl History {
    /// The history of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::from_seed(bytes);
        let steps = 1 + rng.below(40);
        Self((0..steps).map(|_| Step::random(&mut rng)).collect())
    }
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        match rng.below(12) {
            0 => Self::DropTree(bucket(1 + rng.below(2) as u32)),
            1 | 2 => Self::Flush,
            3 => {
                let day = 1 + rng.below(2) as u32;
                let keys: BTreeSet<Vec<u8>> = (0..rng.below(40)).map(|_| random_key(rng)).collect();
                let entries = keys.into_iter().map(|key| (key, vec![day as u8; 30]));
                Self::Fill(Tree::Bucket(bucket(day)), entries.collect())
            }
            _ => {
                let writes = 1 + rng.below(24);
                Self::Write((0..writes).map(|_| random_write(rng)).collect())
            }
        }
    }
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(5)).map(|_| rng.below(4) as u8).collect()
}

fn random_write(rng: &mut Rng) -> Write {
    let tree = match rng.below(3) {
        0 => Tree::Meta,
        day => Tree::Bucket(bucket(day as u32)),
    };
    let key = random_key(rng);
    if rng.below(4) == 0 {
        return Write::Delete { tree, key };
    }
    // One in twenty is too large for sled to keep beside others.
    let length = if rng.below(20) == 0 { rng.below(40_000) } else { rng.below(40) };
    let fill = rng.below(256) as u8;
    Write::Put { tree, key, value: vec![fill; length as usize] }
}

/// What an index must hold, and what a crash could leave of it.
#[derive(Debug, Clone, Default)]
pub struct Model {
    trees: BTreeMap<Tree, BTreeMap<Vec<u8>, Vec<u8>>>,
    flushed: BTreeMap<Tree, BTreeMap<Vec<u8>, Vec<u8>>>,
    since: Vec<Step>,
}

impl Model {
    /// Takes one step.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Flush => {
                self.flushed = self.trees.clone();
                self.since.clear();
            }
            Step::DropTree(bucket) => {
                self.trees.remove(&Tree::Bucket(*bucket));
                self.since.push(step.clone());
            }
            Step::Write(batch) => self.take_all(batch),
            Step::Fill(tree, entries) => {
                let put = |(key, value): &(Vec<u8>, Vec<u8>)| Write::Put {
                    tree: *tree,
                    key: key.clone(),
                    value: value.clone(),
                };
                self.take_all(&entries.iter().map(put).collect::<Vec<_>>());
            }
        }
    }

    fn take_all(&mut self, batch: &[Write]) {
        for write in batch {
            self.take_write(write);
            self.since.push(Step::Write(vec![write.clone()]));
        }
    }

    fn take_write(&mut self, write: &Write) {
        match write {
            Write::Put { tree, key, value } => {
                self.trees.entry(*tree).or_default().insert(key.clone(), value.clone());
            }
            Write::Delete { tree, key } => {
                self.trees.get_mut(tree).and_then(|entries| entries.remove(key));
            }
        }
    }

    /// Single changes since the last flush.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.since.len()
    }

    /// What a crash leaves that keeps the first `changes` unflushed ones.
    #[must_use]
    pub fn after_crash(&self, changes: usize) -> Self {
        let mut left = Self { trees: self.flushed.clone(), ..Self::default() };
        for step in self.since.iter().take(changes) {
            left.take(step);
        }
        left
    }
}

/// Does one step on the index.
///
/// # Errors
/// What the index answers.
pub fn apply(index: &dyn Index, step: &Step) -> Result<(), IndexError> {
    match step {
        Step::Write(batch) => index.write(batch.clone()),
        Step::Fill(tree, entries) => index.fill(*tree, entries.clone()),
        Step::DropTree(bucket) => index.drop_tree(*bucket),
        Step::Flush => index.flush(),
    }
}

/// Does all steps on the index and returns what it must hold then.
///
/// # Panics
/// When a step fails.
pub fn follow(index: &dyn Index, history: &History) -> Model {
    let mut model = Model::default();
    for step in &history.0 {
        apply(index, step).expect("step");
        model.take(step);
    }
    model
}

/// Checks that the index holds what the model says.
///
/// # Panics
/// When it does not.
pub fn compare(index: &dyn Index, model: &Model) {
    let buckets: Vec<Bucket> = model
        .trees
        .keys()
        .filter_map(|tree| match tree {
            Tree::Bucket(bucket) => Some(*bucket),
            Tree::Meta => None,
        })
        .collect();
    assert_eq!(index.buckets().expect("buckets"), buckets);
    for tree in [Tree::Meta, Tree::Bucket(bucket(1)), Tree::Bucket(bucket(2))] {
        let expected = model.trees.get(&tree).cloned().unwrap_or_default();
        for (key, value) in &expected {
            assert_eq!(get(index, tree, key).as_ref(), Some(value), "{tree} {key:?}");
        }
        assert_eq!(all(index, tree, b""), expected.into_iter().collect::<Entries>(), "{tree}");
    }
}

/// Does all steps on an empty index and checks it after each.
///
/// # Panics
/// When the index does not do as a map does.
pub fn check_history(index: &dyn Index, history: &History) {
    let mut model = Model::default();
    for step in &history.0 {
        apply(index, step).expect("step");
        model.take(step);
        compare(index, &model);
    }
}

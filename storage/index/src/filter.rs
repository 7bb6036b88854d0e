//! Keys that a tree may hold, in a few bits each: most questions are for keys that are nowhere.
//! Never says no to a key that was added; it may say yes to one that was not.
//!
//! ```text
//! hash of the key ──► one block of 512 bits ──► four bits in it
//! ```
//! Full blocks are never rebuilt: behind a full part a part of twice the size begins.

use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hasher};

/// Keys that the first part is made for.
const KEYS_MIN: usize = 1024;
/// Bits for each key: one in about a hundred that were not added is taken for one that was.
const BITS_PER_KEY: usize = 10;
const WORDS: usize = 8;
const BLOCK_BITS: usize = WORDS * 64;
/// Bits that a key sets, each chosen by this many bits of its hash.
const CHOICES: [u32; 4] = [0, 9, 18, 27];

type Block = [u64; WORDS];

/// The keys of one tree.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    parts: Vec<Part>,
    /// What it was made of, until another key was added.
    made_of: Option<Census>,
}

/// A set of keys in short: two that differ agree by an accident in 2^64.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    keys: u64,
    sum: u64,
}

impl Census {
    pub(crate) fn count(&mut self, hash: u64) {
        self.keys += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

#[derive(Debug)]
struct Part {
    blocks: Vec<Block>,
    /// Keys that it is made for.
    keys: usize,
    keys_left: usize,
}

impl Part {
    fn new(keys: usize) -> Self {
        Self {
            blocks: vec![[0; WORDS]; (keys * BITS_PER_KEY).div_ceil(BLOCK_BITS)],
            keys,
            keys_left: keys,
        }
    }

    fn add(&mut self, hash: u64) {
        let place = self.place(hash);
        bits(hash).for_each(|(word, bit)| self.blocks[place][word] |= bit);
        self.keys_left -= 1;
    }

    /// The block of a hash: its upper half, scaled to the number of blocks.
    fn place(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    fn holds(&self, hash: u64) -> bool {
        let block = &self.blocks[self.place(hash)];
        bits(hash).all(|(word, bit)| block[word] & bit != 0)
    }
}

impl Filter {
    /// A filter of one part that holds all keys with these hashes, and has room for as many again.
    pub(crate) fn of(hashes: &[u64]) -> Self {
        let mut part = Part::new((hashes.len() * 2).max(KEYS_MIN));
        let mut made_of = Census::default();
        for hash in hashes {
            part.add(*hash);
            made_of.count(*hash);
        }
        Self { parts: vec![part], made_of: Some(made_of) }
    }

    /// The keys that it was made of, while it holds no other.
    pub(crate) fn made_of(&self) -> Option<Census> {
        self.made_of
    }

    /// Adds a key, known or not.
    pub(crate) fn add(&mut self, key: &[u8]) {
        let hash = hash_of(key);
        if self.parts.iter().any(|part| part.holds(hash)) {
            return;
        }
        self.made_of = None;
        if self.parts.last().is_none_or(|part| part.keys_left == 0) {
            let keys = self.parts.last().map_or(KEYS_MIN, |part| part.keys * 2);
            self.parts.push(Part::new(keys));
        }
        if let Some(part) = self.parts.last_mut() {
            part.add(hash);
        }
    }

    /// Whether a key may have been added.
    pub(crate) fn may_hold(&self, key: &[u8]) -> bool {
        let hash = hash_of(key);
        self.parts.iter().any(|part| part.holds(hash))
    }
}

/// What a filter keeps of a key.
pub(crate) fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Words of a block, and a bit in each, that a hash chooses.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    CHOICES.into_iter().map(move |shift| {
        let bit = (hash >> shift) as usize % BLOCK_BITS;
        (bit / 64, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::{Census, Filter, hash_of};

    fn key(number: u64) -> Vec<u8> {
        [&b"b"[..], &number.to_be_bytes(), &[7; 20]].concat()
    }

    #[test]
    fn holds_every_key_that_was_added_and_few_others() {
        let mut filter = Filter::default();
        assert!(!filter.may_hold(&key(0)) && !filter.may_hold(b""));
        let count = 100_000;
        (0..count).for_each(|number| filter.add(&key(number)));
        assert!((0..count).all(|number| filter.may_hold(&key(number))));
        let others = (count..2 * count).filter(|number| filter.may_hold(&key(*number))).count();
        assert!(others < 10_000, "{others} of {count} that were not added");
        let bytes: usize = filter.parts.iter().map(|part| part.blocks.len() * 64).sum();
        assert!(bytes < 400_000, "{bytes} bytes");
    }

    #[test]
    fn says_what_it_was_made_of_until_it_holds_another_key() {
        let hashes: Vec<u64> = (0..100).map(|number| hash_of(&key(number))).collect();
        let mut filter = Filter::of(&hashes);
        let mut census = Census::default();
        hashes.iter().rev().for_each(|hash| census.count(*hash));
        filter.add(&key(7));
        assert_eq!(filter.made_of(), Some(census));
        census.count(hash_of(&key(7)));
        assert_ne!(filter.made_of(), Some(census));
        (100..200).for_each(|number| filter.add(&key(number)));
        assert_eq!(filter.made_of(), None);
        assert_eq!(Filter::default().made_of(), None);
    }
}

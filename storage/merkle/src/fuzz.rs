//! What must hold of any bytes that are handed to this crate's decoders: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.

use crate::{Hash, KeySource, Part, Prefix, Trie};
use quar_base::ids::RecordId;
use quar_base::key::RecordKey;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[("prefix", prefix), ("parts", parts)];

/// A prefix on the wire.
pub fn prefix(input: &[u8]) {
    let Ok((prefix, rest)) = Prefix::decode(input) else { return };
    assert!(prefix.nibbles() <= Prefix::NIBBLES_MAX);
    let mut again = Vec::new();
    prefix.encode(&mut again);
    assert_eq!(again.len(), prefix.encoded_bytes());
    assert_eq!([&again, rest].concat(), input, "a prefix has one form");
    assert_eq!(Prefix::new(*prefix.bytes(), prefix.nibbles()), Ok(prefix));
    assert!(prefix.contains(&RecordKey::from_bytes(prefix.bytes())));
    for nibble in 0..16 {
        let child = prefix.child(nibble);
        assert!(child.is_none_or(|child| prefix.covers(&child) && !child.covers(&prefix)));
    }
}

/// The parts of a trie, as a pack's footer gives them: made up, and those of a trie of made-up keys.
pub fn parts(input: &[u8]) {
    let Some((&limit, input)) = input.split_first() else { return };
    let (chunks, _) = input.as_chunks::<9>();
    join(&chunks.iter().map(part).collect::<Vec<_>>(), input);
    cut(&keys(input), limit.into());
}

/// First key 4, last key 4, count 1.
fn part(bytes: &[u8; 9]) -> Part {
    let [a, b, c, d, e, f, g, h, count] = *bytes;
    let (first, last) = (key([a, b, c, d]), key([e, f, g, h]));
    // A footer's counts have 32 bits: these reach into the upper half of them.
    let count = u64::from(count) << (count % 25);
    Part { first, last, count, hash: Hash([count as u8; 32]) }
}

fn key([a, b, c, d]: [u8; 4]) -> RecordKey {
    let mut id = [0; 32];
    id[0] = c;
    id[31] = d;
    RecordKey { second: u32::from_be_bytes([a, b, 0, 0]), id: RecordId(id) }
}

fn keys(input: &[u8]) -> BTreeSet<RecordKey> {
    let (pairs, _) = input.as_chunks::<2>();
    pairs.iter().map(|[a, b]| key([*a, 0, *b, 0])).collect()
}

struct Keys(Vec<Vec<RecordKey>>);

impl KeySource for Keys {
    fn keys(&self, part: usize) -> Option<Vec<RecordKey>> {
        self.0.get(part).cloned()
    }
}

fn join(parts: &[Part], input: &[u8]) {
    let source: Arc<dyn KeySource> = Arc::new(Keys(vec![keys(input).into_iter().collect()]));
    let Ok(mut trie) = Trie::from_parts(parts, &source) else { return };
    assert_eq!(trie.len(), parts.iter().map(|part| part.count).sum::<u64>());
    assert!(parts.windows(2).all(|two| two[0].last < two[1].first));
    let root = trie.root();
    assert!(trie.iter().is_sorted());
    for part in parts {
        let _ = trie.contains(&part.first);
    }
    assert_eq!(trie.root(), root, "reading changes nothing");
    trie.insert(key([1, 2, 3, 4]));
    trie.remove(&key([1, 2, 3, 4]));
    trie.rehash();
}

/// A trie cut into parts and joined again is the same trie.
fn cut(keys: &BTreeSet<RecordKey>, limit: u64) {
    let trie = Trie::from_sorted(keys.iter().copied());
    let parts = trie.parts(limit);
    let within = |part: &Part| keys.range(part.first..=part.last).copied().collect();
    let source: Arc<dyn KeySource> = Arc::new(Keys(parts.iter().map(within).collect()));
    let mut again = Trie::from_parts(&parts, &source).expect("the parts are a trie's");
    assert_eq!((again.len(), again.root()), (trie.len(), trie.root()));
    assert!(again.iter().eq(keys.iter().copied()));
    for key in keys {
        assert!(again.contains(key) && again.remove(key));
    }
    assert_eq!(again.root(), Trie::new().root());
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;

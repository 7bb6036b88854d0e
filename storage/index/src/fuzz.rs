//! What must hold of any bytes that are handed to this crate's decoders: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.

use crate::leaf::{self, Entries};

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] =
    &[("leaf", leaf), ("journal", journal), ("index_format", index_format)];

/// A leaf, as sled keeps it.
pub fn leaf(input: &[u8]) {
    // Longer than any key in it: a search for it goes through to the end.
    let nowhere = vec![0; input.len() + 1];
    let Some(decoded) = leaf::decode(input) else {
        assert_eq!(leaf::find(input, &nowhere), None);
        return;
    };
    assert_eq!(leaf::find(input, &nowhere), Some(None));
    for (key, _) in &decoded {
        let first = decoded.iter().find(|(known, _)| known == key).map(|(_, value)| *value);
        assert_eq!(leaf::find(input, key), Some(first));
    }
    if decoded.is_sorted_by(|a, b| a.0 < b.0) {
        let owned = |(key, value): &(&[u8], &[u8])| (key.to_vec(), value.to_vec());
        check_cut(&decoded.iter().map(owned).collect());
    }
}

/// Entries cut into leaves anew are found in the leaf that begins at or before them.
fn check_cut(entries: &Entries) {
    let leaves = leaf::cut(entries.iter());
    let whole: Option<Vec<_>> = leaves.iter().map(|(_, leaf)| leaf::decode(leaf)).collect();
    let whole = whole.expect("what was encoded is a leaf").concat();
    assert!(whole.iter().copied().eq(entries.iter().map(|(key, value)| (&key[..], &value[..]))));
    for (key, value) in entries {
        let behind = leaves.partition_point(|(first, _)| first <= &key.as_slice());
        let (_, leaf) = &leaves[behind.checked_sub(1).expect("the first leaf has the first key")];
        assert_eq!(leaf::find(leaf, key), Some(Some(&value[..])));
    }
}

/// The journal's file: the bytes as they are, and as payloads of frames whose checks are right.
pub fn journal(input: &[u8]) {
    crate::journal::fuzz::journal(input);
}

/// The format file: the bytes as they are, and with the check that they should have.
pub fn index_format(input: &[u8]) {
    crate::home::fuzz::format_file(input);
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;

//! What must hold of any text that is handed in as a file of keys: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.

use crate::config::{id_key, key_text};
use quar_store::{EncryptionKey, IdKey, WRAPPED_BYTES};

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[("cluster_key", cluster_key), ("id_key", id_key)];

/// The file of the cluster encryption key: as it is; and one that is made of an epoch and a key, the first
/// 36 bytes, and changed by the rest.
pub fn cluster_key(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(key) = key_text::parse_file(text)
    {
        assert!(key.epoch() > 0);
        let spaced = key_text::parse_file(&text.replace('-', " ").to_ascii_lowercase());
        assert!(spaced.is_ok_and(|spaced| is_same(&spaced, &key)), "case and dashes mean nothing");
    }
    let Some((epoch, rest)) = input.split_first_chunk() else { return };
    let Some((bytes, changes)) = rest.split_first_chunk::<32>() else { return };
    let epoch = u32::from_le_bytes(*epoch).max(1);
    let key = EncryptionKey::new(epoch, *bytes);
    let text = key_text::format_file(epoch, bytes);
    let whole = key_text::parse_file(&text).expect("what is written is read");
    assert!(is_same(&whole, &key));
    let read = key_text::parse_file(&changed(&text, changes));
    assert!(read.is_err() || read.is_ok_and(|read| is_same(&read, &key)), "never another key");
}

/// The file of the id key: as it is; and one of the first 60 bytes, changed by the rest.
pub fn id_key(input: &[u8]) {
    let text = std::str::from_utf8(input).unwrap_or_default();
    if let Some(wrapped) = id_key::parse_file(text) {
        assert_eq!(id_key::parse_file(&id_key::format_file(&wrapped)), Some(wrapped));
    }
    let Some((wrapped, changes)) = input.split_first_chunk::<WRAPPED_BYTES>() else { return };
    let text = id_key::format_file(wrapped);
    assert_eq!(id_key::parse_file(&text), Some(*wrapped));
    let read = id_key::parse_file(&changed(&text, changes));
    assert!(read.is_none_or(|read| read == *wrapped), "never another key");
}

/// Changes characters of an ASCII text: the place, then what stands there.
fn changed(text: &str, changes: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) % bytes.len();
        bytes[at] = change[1] & 0x7f;
    }
    String::from_utf8(bytes).expect("it is ASCII")
}

/// Keys show nothing of themselves: they are the same when one opens what the other sealed.
fn is_same(one: &EncryptionKey, other: &EncryptionKey) -> bool {
    let wrapped = IdKey::new([3; 32]).wrap(one, [4; 12]);
    one.epoch() == other.epoch() && IdKey::unwrap(&wrapped, other).is_ok()
}

#[cfg(test)]
#[path = "../tools/fuzz/replay.rs"]
mod replay;

//! What must hold of any bytes that are handed in as the list of damaged records.
//! Never opens a store: `opening` does that, over small files of any bytes too.

use super::{HEADER, check_of, decode, encode, is_of_a_later_version};

/// The bytes as they are; as a text in front of its check; and as the names of such a text.
pub(crate) fn broken(input: &[u8]) {
    look(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    for body in [text.to_owned(), format!("{HEADER}{text}")] {
        look(format!("{body}{}", check_of(&body)).as_bytes());
    }
}

fn look(bytes: &[u8]) {
    let is_later = is_of_a_later_version(bytes);
    let Some(names) = decode(bytes) else { return };
    assert!(!is_later, "it is read, and so of this version");
    let again = encode(&names);
    // Not the same bytes: names may come in any order, and twice.
    assert_eq!(decode(again.as_bytes()), Some(names));
}

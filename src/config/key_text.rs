//! The cluster encryption key as people copy it: letters and digits that are hard to confuse, with
//! check digits. Never shows a key in an error.
//!
//! ```text
//! QCEK1-1-XXXX-XXXX- ... -XXXX-CCCCCCCC
//!       │ └─ 13 groups: 32 bytes │
//!       └─ epoch                 └─ 8 check digits: BLAKE3 over epoch and key, 5 bytes
//! ```
//! *Source*: docs/formats.md, "Encryption key text"; alphabet of Crockford's base 32.

use data_encoding::{Encoding, Specification};
use quar_store::EncryptionKey;
use std::sync::LazyLock;
use zeroize::Zeroizing;

const PREFIX: &str = "QCEK1";
const GROUP: usize = 4;
/// Characters of 32 bytes, then of 5.
const KEY_CHARACTERS: usize = 52;
const CHECK_CHARACTERS: usize = 8;
const CHARACTERS: usize = KEY_CHARACTERS + CHECK_CHARACTERS;
const CHECK_CONTEXT: &str = "quard encryption key check digits v1";

static DIGITS: LazyLock<Encoding> = LazyLock::new(|| {
    let mut form = Specification::new();
    form.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    form.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    form.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    form.encoding().expect("32 different symbols")
});

/// Text that is no encryption key. Says where, never what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It does not begin as a key does.
    #[error("no encryption key: it begins with \"{PREFIX}-\", an epoch and \"-\"")]
    Prefix,
    /// Characters are missing or too many.
    #[error(
        "an encryption key has {CHARACTERS} characters after its epoch, dashes aside, and this has \
         {found}: it was cut off, or characters were lost or doubled"
    )]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A character that no key has.
    #[error("group {group} of the encryption key has a character that no key has")]
    Character {
        /// Which group of four characters, from 1, counted after the epoch.
        group: usize,
    },
    /// The check digits are another key's.
    #[error(
        "the check digits of the encryption key do not fit: at least one character is mistyped"
    )]
    Check,
    /// A file with no key or more than one.
    #[error("{found} keys, where one is needed")]
    Count {
        /// How many lines are not empty and no comment.
        found: usize,
    },
}

/// The text form of a key. Wiped when dropped.
#[must_use]
pub fn format(epoch: u32, key: &[u8; 32]) -> Zeroizing<String> {
    let digits = Zeroizing::new(DIGITS.encode(key));
    let mut text = Zeroizing::new(String::with_capacity(96));
    text.push_str(PREFIX);
    text.push_str(&format!("-{epoch}"));
    for (at, digit) in digits.chars().enumerate() {
        if at % GROUP == 0 {
            text.push('-');
        }
        text.push(digit);
    }
    text.push('-');
    text.push_str(&check_digits(epoch, key));
    text
}

/// Reads a key from its text form; upper and lower case, and spaces for dashes, are the same.
///
/// # Errors
/// Any [`KeyTextError`].
pub fn parse(text: &str) -> Result<EncryptionKey, KeyTextError> {
    let mut parts = text
        .split(|mark: char| mark == '-' || mark.is_whitespace())
        .filter(|part| !part.is_empty());
    let prefix = parts.next().ok_or(KeyTextError::Prefix)?;
    let epoch = parts.next().and_then(parse_epoch);
    let (true, Some(epoch)) = (prefix.eq_ignore_ascii_case(PREFIX), epoch) else {
        return Err(KeyTextError::Prefix);
    };
    let mut characters = Zeroizing::new(String::with_capacity(text.len()));
    parts.for_each(|part| characters.push_str(part));
    if let Some(at) = characters.chars().position(|found| !is_digit(found)) {
        let group = at / GROUP + 1;
        return Err(KeyTextError::Character { group });
    }
    if characters.len() != CHARACTERS {
        let found = characters.len();
        return Err(KeyTextError::Length { found });
    }
    let (key, check) = characters.split_at(KEY_CHARACTERS);
    let key = key_bytes(key).ok_or(KeyTextError::Check)?;
    if DIGITS.decode(check.as_bytes()) != DIGITS.decode(check_digits(epoch, &key).as_bytes()) {
        return Err(KeyTextError::Check);
    }
    Ok(EncryptionKey::new(epoch, *key))
}

/// The file that holds a key.
#[must_use]
pub fn format_file(epoch: u32, key: &[u8; 32]) -> Zeroizing<String> {
    let key = format(epoch, key);
    let mut text = Zeroizing::new(String::with_capacity(512));
    text.push_str(
        "# Encryption key of this quard cluster. Whoever has it and a disk can read the mail.\n\
         # Keep a copy away from the machines: without it their mail cannot be read by anybody.\n",
    );
    text.push_str(&key);
    text.push('\n');
    text
}

/// Reads the file that holds a key: one key, empty lines and comments.
///
/// # Errors
/// Any [`KeyTextError`].
pub fn parse_file(text: &str) -> Result<EncryptionKey, KeyTextError> {
    let lines = text.lines().map(str::trim);
    let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (keys.next(), keys.count()) {
        (Some(key), 0) => parse(key),
        (None, _) => Err(KeyTextError::Count { found: 0 }),
        (Some(_), more) => Err(KeyTextError::Count { found: more + 1 }),
    }
}

fn parse_epoch(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let epoch = text.parse().ok().filter(|epoch| *epoch > 0);
    epoch.filter(|_| is_number && !text.starts_with('0'))
}

fn is_digit(character: char) -> bool {
    character.is_ascii_alphanumeric() && !matches!(character, 'u' | 'U')
}

/// `None` when the spare bits of the last character are set: that one is mistyped.
fn key_bytes(characters: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(DIGITS.decode(characters.as_bytes()).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&bytes);
    Some(key)
}

fn check_digits(epoch: u32, key: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(&epoch.to_le_bytes()).update(key);
    DIGITS.encode(&hasher.finalize().as_bytes()[..CHECK_CHARACTERS * 5 / 8])
}

#[cfg(test)]
mod tests {
    use super::{KeyTextError, format, format_file, parse, parse_file};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};
    use quar_store::{EncryptionKey, IdKey};

    /// Keys show nothing of themselves: they are the same when one opens what the other sealed.
    fn same(one: &EncryptionKey, other: &EncryptionKey) -> bool {
        let wrapped = IdKey::new([3; 32]).wrap(one, [4; 12]);
        one.epoch() == other.epoch() && IdKey::unwrap(&wrapped, other).is_ok()
    }

    fn error(text: &str) -> KeyTextError {
        parse(text).err().expect("this is no key")
    }

    #[test]
    fn the_form_is_the_documented_one() {
        let key: [u8; 32] = std::array::from_fn(|at| at as u8);
        assert_eq!(
            format(7, &key).as_str(),
            "QCEK1-7-000G-40R4-0M30-E209-185G-R38E-1W81-24GK-2GAH-C5RR-34D1-P70X-3RFG-S9Z9KXFD"
        );
    }

    #[test]
    fn what_people_do_to_a_text_does_not_matter() {
        let text = format(1, &[0x5a; 32]);
        let key = EncryptionKey::new(1, [0x5a; 32]);
        let spaced = text.replace('-', " ").to_lowercase();
        let confused = text.replace('0', "o").replace('1', "l").replacen("QCEKl-l", "QCEK1-1", 1);
        for text in [spaced, confused, format!("  {}\n", text.as_str())] {
            assert!(same(&parse(&text).unwrap(), &key), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_text() {
        let text = format(1, &[1; 32]);
        let end = text.len();
        assert_eq!(error(""), KeyTextError::Prefix);
        assert_eq!(error(&text[7..]), KeyTextError::Prefix);
        assert_eq!(error(&text.replace("QCEK1-1", "QCEK2-1")), KeyTextError::Prefix);
        assert_eq!(error(&text.replace("QCEK1-1", "QCEK1-0")), KeyTextError::Prefix);
        assert_eq!(error(&text.replace("QCEK1-1", "QCEK1-2")), KeyTextError::Check);
        assert_eq!(error(&text[..end - 1]), KeyTextError::Length { found: 59 });
        assert_eq!(error(&format!("{}0", text.as_str())), KeyTextError::Length { found: 61 });
        let mut wrong = text.to_string();
        wrong.replace_range(18..19, "u");
        assert_eq!(error(&wrong), KeyTextError::Character { group: 3 });
        wrong.replace_range(18..19, "é");
        assert_eq!(error(&wrong), KeyTextError::Character { group: 3 });
    }

    #[test]
    fn a_file_holds_one_key_and_comments() {
        let text = format_file(3, &[9; 32]);
        assert!(same(&parse_file(&text).unwrap(), &EncryptionKey::new(3, [9; 32])));
        let none = parse_file("# nothing\n\n").err();
        assert_eq!(none, Some(KeyTextError::Count { found: 0 }));
        let two = format!("{}{}", text.as_str(), text.as_str());
        assert_eq!(parse_file(&two).err(), Some(KeyTextError::Count { found: 2 }));
    }

    proptest! {
        #[test]
        fn every_key_reads_back(epoch in 1u32.., key in any::<[u8; 32]>()) {
            let text = format(epoch, &key);
            prop_assert!(same(&parse(&text).unwrap(), &EncryptionKey::new(epoch, key)));
        }

        #[test]
        fn one_mistyped_character_is_noticed(
            key in any::<[u8; 32]>(), at in 8usize..76, typed in "[0-9A-HJKMNP-TV-Z]",
        ) {
            let text = format(1, &key);
            prop_assume!(text.as_bytes()[at] != b'-' && text[at..=at] != typed);
            let mut mistyped = text.to_string();
            mistyped.replace_range(at..=at, &typed);
            prop_assert_eq!(error(&mistyped), KeyTextError::Check);
        }

        #[test]
        fn two_swapped_characters_are_noticed(key in any::<[u8; 32]>(), at in 8usize..75) {
            let text = format(1, &key);
            let [one, other] = [text.as_bytes()[at], text.as_bytes()[at + 1]];
            prop_assume!(one != other && one != b'-' && other != b'-');
            let mut swapped = text.to_string().into_bytes();
            swapped.swap(at, at + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            prop_assert_eq!(error(&swapped), KeyTextError::Check);
        }

        #[test]
        fn a_cut_text_is_never_a_key(key in any::<[u8; 32]>(), length in 0usize..80) {
            let text = format(1, &key);
            prop_assert!(parse(&text[..length.min(text.len() - 1)]).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,120}") {
            let _ = parse(&text);
            let _ = parse(&format!("QCEK1-1-{text}"));
        }
    }
}

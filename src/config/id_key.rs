//! The id key's file: the key of body ids, sealed under the cluster encryption key.
//! Never holds it in the clear.
//!
//! ```text
//! QIDK1-<120 hex digits: nonce, sealed key, tag>-<16 hex digits: check>
//! ```
//! *Source*: docs/formats.md, "Id key file". The check tells a damaged file from a wrong key.

use data_encoding::HEXLOWER_PERMISSIVE;
use quar_store::WRAPPED_BYTES;

const PREFIX: &str = "QIDK1-";
const CHECK_CONTEXT: &str = "quard sealed id key check v1";
const CHECK_BYTES: usize = 8;

/// The file's text.
#[must_use]
pub fn format_file(wrapped: &[u8; WRAPPED_BYTES]) -> String {
    let [sealed, check] =
        [&wrapped[..], &check(wrapped)].map(|bytes| HEXLOWER_PERMISSIVE.encode(bytes));
    format!(
        "# Key of body ids, sealed under the encryption key of this quard cluster.\n\
         {PREFIX}{sealed}-{check}\n"
    )
}

/// Reads the file's text; `None` when it was cut off, edited or damaged.
#[must_use]
pub fn parse_file(text: &str) -> Option<[u8; WRAPPED_BYTES]> {
    let lines = text.lines().map(str::trim);
    let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = keys.next().filter(|_| keys.next().is_none())?;
    let (sealed, checked) = key.strip_prefix(PREFIX)?.split_once('-')?;
    let decode = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let wrapped: [u8; WRAPPED_BYTES] = decode(sealed)?.try_into().ok()?;
    (decode(checked)? == check(&wrapped)).then_some(wrapped)
}

fn check(wrapped: &[u8; WRAPPED_BYTES]) -> [u8; CHECK_BYTES] {
    let digest = blake3::derive_key(CHECK_CONTEXT, wrapped);
    digest[..CHECK_BYTES].try_into().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::{format_file, parse_file};
    use proptest::prelude::{any, prop_assert_eq, prop_assume, proptest};
    use quar_store::WRAPPED_BYTES;

    #[test]
    fn the_form_is_the_documented_one() {
        let wrapped: [u8; WRAPPED_BYTES] = std::array::from_fn(|at| at as u8);
        let text = format_file(&wrapped);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "QIDK1-000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
             202122232425262728292a2b2c2d2e2f303132333435363738393a3b-986f38274b688248"
        );
        assert_eq!(parse_file(&text), Some(wrapped));
    }

    proptest! {
        #[test]
        fn a_cut_or_changed_file_is_not_read(
            seed in any::<[u8; 30]>(), at in 80usize..200, digit in "[0-9a-f]",
        ) {
            let wrapped: [u8; WRAPPED_BYTES] = std::array::from_fn(|at| seed[at % 30]);
            let text = format_file(&wrapped);
            let at = at.min(text.len() - 2);
            prop_assert_eq!(parse_file(&text[..at]), None);
            prop_assume!(text[at..=at] != digit);
            let mut changed = text.clone();
            changed.replace_range(at..=at, &digit);
            prop_assert_eq!(parse_file(&changed), None);
        }
    }
}

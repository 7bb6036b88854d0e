//! Maildirs: which directories are one, and what a message is called wherever it lies in it.
//! Never reads a message.
//!
//! *Source*: D. J. Bernstein, "Using maildir format"; flags follow `:2,` at the end of a name.

use std::path::Path;

/// Whether a directory is a maildir.
pub fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

/// A message's name without its flags.
pub fn unique_name(name: &[u8]) -> &[u8] {
    let flags = name.windows(3).rposition(|part| part == b":2," || part == b":1,");
    &name[..flags.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use super::unique_name;

    #[test]
    fn a_name_is_the_same_with_and_without_flags() {
        for name in ["1.M1P2.host", "1.M1P2.host:2,", "1.M1P2.host:2,FRS", "1.M1P2.host:1,x"] {
            assert_eq!(unique_name(name.as_bytes()), b"1.M1P2.host", "{name}");
        }
        assert_eq!(unique_name(b"a:b"), b"a:b");
    }
}

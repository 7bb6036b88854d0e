//! Fixed-size identifiers and their text forms.
//! Never derives an id from anything but the bytes it names.
//!
//! Every id prints as lower-case hex and parses from it; see docs/formats.md, "Ids".

use std::fmt;
use std::str::FromStr;

/// Text that is no id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {hex_digits} hex digits are needed")]
pub struct IdTextError {
    /// What was expected, in words.
    pub kind: &'static str,
    /// What was given (at most 80 characters are kept).
    pub text: String,
    /// How many hex digits the id has.
    pub hex_digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// Reads the id from exactly `BYTES` bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The first 12 hex digits, for people; never for lookups that must be exact.
            #[must_use]
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(12);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdTextError;

            fn from_str(text: &str) -> Result<Self, IdTextError> {
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| IdTextError {
                        kind: $kind,
                        text: text.chars().take(80).collect(),
                        hex_digits: $bytes * 2,
                    })
            }
        }
    };
}

id!(
    /// A node in the roster, for as long as it is a member.
    MemberId, 16, "member id"
);
id!(
    /// Which cluster. Bytes of a version 4 UUID.
    ClusterId, 16, "cluster uuid"
);
id!(
    /// BLAKE3 of a body's bytes, keyed with the cluster's id key.
    BodyId, 32, "body id"
);
id!(
    /// BLAKE3 of a record's bytes.
    RecordId, 32, "record id"
);
id!(
    /// The first 8 bytes of BLAKE3 of a certificate's public key point.
    KeyId, 8, "key id"
);

impl MemberId {
    /// The author of imported arrivals: what is imported must be the same record whichever member
    /// imports it.
    pub const IMPORT: Self = Self([0; 16]);
}

#[cfg(test)]
mod tests {
    use super::{BodyId, MemberId};

    #[test]
    fn prints_and_parses_hex() {
        let id = MemberId([0xa5; 16]);
        assert_eq!(id.to_string(), "a5".repeat(16));
        assert_eq!(id.to_string().parse::<MemberId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<MemberId>(), Ok(id));
    }

    #[test]
    fn refuses_text_of_another_length() {
        let error = "a5a5".parse::<BodyId>().expect_err("too short");
        assert_eq!(error.to_string(), "\"a5a5\" is not a body id: 64 hex digits are needed");
    }
}

//! Bearer tokens of the HTTP listener, known by their hashes, and what each may do.
//! Never holds a token itself.

use std::fmt;

/// A bearer token, known by its hash only.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpToken {
    /// For the audit trail; unique.
    pub name: String,
    /// What its holder may do.
    pub role: HttpRole,
    pub(crate) hash: blake3::Hash,
}

/// What the holder of a token may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpRole {
    /// See lists and metadata.
    Viewer,
    /// Open, release and delete messages.
    Operator,
    /// Everything.
    Admin,
}

impl HttpToken {
    /// Whether a bearer presented this token, in a time that does not tell how much of it fits.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        blake3::hash(presented.as_bytes()) == self.hash
    }

    /// What stands in the settings for a token.
    #[must_use]
    pub fn hash_text(token: &str) -> String {
        format!("blake3:{}", blake3::hash(token.as_bytes()))
    }
}

impl fmt::Debug for HttpToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpToken({}, {:?})", self.name, self.role)
    }
}

impl HttpRole {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The role as it stands in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

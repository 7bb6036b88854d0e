//! What a node is told and who it is: quard.toml, keys, certificates and roster below one root.
//! Never opens the store or a socket, and never reads a clock.
//!
//! ```text
//! paths      where everything lies, moved by --root
//! document   TOML with file, line and nearest known key in every complaint
//! written    quard.toml as written: every key optional
//! checked    quard.toml as used: every default filled in, every value allowed (checks, checker)
//! http_token bearer tokens by their hashes
//! key_text   the encryption key as people copy it, with check digits
//! id_key     the sealed id key as it stands in its file
//! identity   keys, certificates and roster, checked against each other
//! files      reading under a cap, refusing exposed secrets, durable writing
//! ```

pub mod address;
mod checked;
mod checker;
mod checks;
pub mod document;
pub(crate) mod files;
mod http_token;
pub mod id_key;
pub(crate) mod identity;
pub mod key_text;
mod paths;
mod written;

pub use checked::{
    ByteCount, Config, ConfigError, Disk, Http, ListenAddress, Lmtp, Log, LogFormat, LogLevel,
    Node, Release, Runtime, Sync, Upkeep,
};
pub use document::{Fault, Problem, Problems};
pub use http_token::{HttpRole, HttpToken};
pub(crate) use identity::load_roster;
pub use identity::{Identity, IdentityError, load_certificate, save_roster};
pub use paths::Paths;

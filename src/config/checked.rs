//! quard.toml as used: every default filled in, every value allowed.
//! Never changes after it was loaded.

use crate::config::checks;
use crate::config::document::{Document, Problems};
use crate::config::files;
use crate::config::http_token::HttpToken;
use crate::config::paths::Paths;
use crate::config::written::{KEYS, Written};
use quar_base::class::Class;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::roster::Member;
use quar_base::time::Millis;
use quar_store::Retention;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// A size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ByteCount(pub u64);

/// All settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[sync]`
    pub sync: Sync,
    /// `[lmtp]`
    pub lmtp: Lmtp,
    /// `[http]`
    pub http: Http,
    /// `[release]`
    pub release: Release,
    /// `[delete]`
    pub delete: Delete,
    /// `[retention]`: names every class that this version knows, and those the file names.
    pub retention: Retention,
    /// `[pressure]`: classes whose oldest day goes when the disk is full; mail is refused for the others.
    pub expire_oldest: BTreeSet<Class>,
    /// `[disk]`
    pub disk: Disk,
    /// `[upkeep]`
    pub upkeep: Upkeep,
    /// `[log]`
    pub log: Log,
    /// `[runtime]`
    pub runtime: Runtime,
}

/// Which node this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The name that the roster must give this node; whatever it gives when absent.
    pub name: Option<String>,
}

/// How this node speaks with its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Where it listens, over both transports.
    pub listen: SocketAddr,
    /// Whether TLS over TCP is used.
    pub tcp: bool,
    /// Whether QUIC is used. *Holds*: one of the two is.
    pub quic: bool,
    /// Copies that an acknowledgement stands for, this node's included; 1 to 15.
    pub copies: usize,
    /// How long an acknowledgement waits for them.
    pub copies_timeout: Millis,
    /// Bytes of fresh messages on their way to one peer.
    pub push_bytes_max: ByteCount,
    /// Bytes a second of what is not fresh, to all peers together and from all; `None` for any number.
    pub rate: Option<u64>,
}

/// How mail comes in by LMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lmtp {
    /// Where it listens; nowhere when empty.
    pub listen: Vec<ListenAddress>,
    /// The class of mail whose recipient names none.
    pub class: Class,
    /// Whether `user+virus@example.org` means user@example.org, class virus.
    pub class_from_extension: bool,
    /// Largest message taken.
    pub message_bytes_max: ByteCount,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket, moved below the root.
    Unix(PathBuf),
}

/// The HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens, a loopback address; nowhere when absent.
    pub listen: Option<SocketAddr>,
    /// Who may ask; nobody when empty.
    pub tokens: Vec<HttpToken>,
}

/// How messages are released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `host:port` of the delivery host; releases are refused without one.
    pub host: Option<String>,
    /// What this node calls itself to it; the node's name in the roster when absent.
    pub helo: Option<String>,
    /// For the connection.
    pub connect_timeout: Millis,
    /// For the reply to a command.
    pub reply_timeout: Millis,
    /// For taking the message's bytes, and for the reply after the last of them.
    pub data_timeout: Millis,
}

/// How this node deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Deletions within a minute that need nobody to confirm them; 0 for any number.
    pub brake_per_minute: usize,
}

/// The data directory's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that stay free: below, mail is refused.
    pub min_free: ByteCount,
    /// Bytes of the file that gives room to deletes and records when there is none; 0 for none.
    pub reserve: ByteCount,
}

/// What the node does for its store by and by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Whether closed days are packed.
    pub pack: bool,
    /// Bytes that packing reads and writes in a second.
    pub pack_bytes_per_s: u64,
    /// Bytes that the continuous check of the disk reads in a second.
    pub check_bytes_per_s: u64,
    /// Time after which the bytes of a deleted message are gone from the files.
    pub erase_after: Millis,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How.
    pub format: LogFormat,
    /// What.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what needs an eye.
    Warn,
    /// And what was done.
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Threads of the async runtime; one for each processor when absent.
    pub worker_threads: Option<NonZeroUsize>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source} (an empty file means all defaults)", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file says what it must not.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The settings are another node's.
    #[error(
        "node.name is {configured:?}, but the certificate and the roster say that this node is \
         {actual:?}: these settings or these keys belong to another node"
    )]
    OtherNode {
        /// What the settings say.
        configured: String,
        /// What the roster says.
        actual: String,
    },
}

impl Config {
    /// Reads and checks a node's settings.
    ///
    /// # Errors
    /// [`ConfigError`]; all problems of a file at once, as far as they can be seen at once.
    pub fn load(paths: &Paths) -> Result<Self, ConfigError> {
        let file = paths.config_file();
        match files::read_text(&file) {
            Ok(text) => Ok(Self::parse(&text, &file, paths)?),
            Err(source) => Err(ConfigError::Read { file, source }),
        }
    }

    /// Checks settings that were read from `file`.
    ///
    /// # Errors
    /// [`Problems`], each with its line.
    pub fn parse(text: &str, file: &Path, paths: &Paths) -> Result<Self, Problems> {
        let document = Document { file, text };
        let written: Written = document.read(KEYS)?;
        checks::check(written, document, paths)
    }

    /// A settings file that says what each key is for and changes no default.
    #[must_use]
    pub fn default_text() -> &'static str {
        include_str!("quard.toml")
    }

    /// The same, for the node of this name.
    #[must_use]
    pub fn text_for(name: &str) -> String {
        let line = format!("name = {}", toml::Value::from(name));
        Self::default_text().replacen("#name = \"mx1\"", &line, 1)
    }

    /// Refuses settings that name another node than the roster does.
    ///
    /// # Errors
    /// [`ConfigError::OtherNode`].
    pub fn check_node(&self, member: &Member) -> Result<(), ConfigError> {
        match &self.node.name {
            Some(name) if *name != member.name => Err(ConfigError::OtherNode {
                configured: name.clone(),
                actual: member.name.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let days = |class: Class| (class, class.default_retention_days());
        Self {
            node: Node::default(),
            sync: Sync::default(),
            lmtp: Lmtp::default(),
            http: Http::default(),
            release: Release::default(),
            delete: Delete::default(),
            retention: Retention(Class::known().map(days).collect()),
            expire_oldest: BTreeSet::new(),
            disk: Disk::default(),
            upkeep: Upkeep::default(),
            log: Log::default(),
            runtime: Runtime { worker_threads: None },
        }
    }
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1027),
            tcp: true,
            quic: true,
            copies: 2,
            copies_timeout: Millis(500),
            push_bytes_max: ByteCount(8 << 20),
            rate: None,
        }
    }
}

impl Default for Delete {
    fn default() -> Self {
        Self { brake_per_minute: 1000 }
    }
}

impl Default for Lmtp {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10028);
        Self {
            listen: vec![ListenAddress::Tcp(listen)],
            class: Class::SPAM,
            class_from_extension: true,
            message_bytes_max: ByteCount(MESSAGE_BYTES_MAX as u64),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8027)),
            tokens: Vec::new(),
        }
    }
}

impl Default for Release {
    fn default() -> Self {
        Self {
            host: None,
            helo: None,
            connect_timeout: Millis(30_000),
            reply_timeout: Millis(300_000),
            data_timeout: Millis(600_000),
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { min_free: ByteCount(64 << 20), reserve: ByteCount(32 << 20) }
    }
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            pack: true,
            pack_bytes_per_s: 16_000_000,
            check_bytes_per_s: 8_000_000,
            erase_after: Millis(3_600_000),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

impl LogLevel {
    /// All levels, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level as it stands in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests;

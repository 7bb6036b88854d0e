//! What can go wrong at the store's doors, by what the caller can do about it.
//! Never carries a subject or an address.

use quar_base::action::ActionError;
use quar_base::arrival::ArrivalError;
use quar_base::class::Class;
use quar_base::ids::{BodyId, KeyId, MemberId};
use quar_base::key::MessageId;
use quar_base::record::RecordError;
use quar_base::time::Day;
use quar_index::IndexError;
use std::io;
use std::path::PathBuf;

/// Why an item was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The disk has no room for it. Transient.
    #[error("the disk is full; nothing was stored")]
    Full,
    /// A write or a sync failed: the store takes nothing until the daemon is restarted. Transient.
    #[error("the disk failed; the store takes nothing until the daemon is restarted")]
    Failed,
    /// Beyond the limit for messages.
    #[error("the message has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The day is no longer kept.
    #[error("{class} mail of {day} is no longer kept")]
    BelowFloor {
        /// The class.
        class: Class,
        /// The day.
        day: Day,
    },
    /// All recipients' copies were deleted.
    #[error("the message was deleted")]
    Covered,
    /// The stamp lies more than 48 h ahead of this node's clock. Transient.
    #[error("the record is stamped {0} ms ahead of this node's clock")]
    Ahead(u64),
    /// The bytes are no record, or its payload is none of its kind.
    #[error("not a valid record: {0}")]
    Invalid(String),
    /// The author, or the key it signed with, is in no roster this node has. Transient.
    #[error("member {author} with key {key:?} is in no roster that this node has")]
    UnknownAuthor {
        /// The member.
        author: MemberId,
        /// The key, for actions.
        key: Option<KeyId>,
    },
    /// The signature is not the author's.
    #[error("the signature is not that of member {0}")]
    Forged(MemberId),
    /// The body does not hash to the id that was expected, or does not decode.
    #[error("the body does not match its id")]
    WrongBody,
    /// No record here asks for this body.
    #[error("body {0} belongs to no message here")]
    UnwantedBody(BodyId),
}

impl Refusal {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full | Self::Failed | Self::Ahead(_) | Self::UnknownAuthor { .. })
    }

    /// A stable name for counters.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "disk-full",
            Self::Failed => "store-failed",
            Self::TooLarge { .. } => "too-large",
            Self::BelowFloor { .. } => "below-floor",
            Self::Covered => "deleted",
            Self::Ahead(_) => "future-record",
            Self::Invalid(_) => "invalid-record",
            Self::UnknownAuthor { .. } => "unknown-author",
            Self::Forged(_) => "forged-record",
            Self::WrongBody => "wrong-body",
            Self::UnwantedBody(_) => "unwanted-body",
        }
    }

    /// Whether an honest peer would never have offered this.
    #[must_use]
    pub fn is_offence(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Forged(_) | Self::WrongBody | Self::TooLarge { .. })
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<ArrivalError> for Refusal {
    fn from(error: ArrivalError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<ActionError> for Refusal {
    fn from(error: ActionError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such message: never here, deleted, or no longer kept.
    #[error("no message {0} here: it never came, was deleted, or is no longer kept")]
    NotFound(MessageId),
    /// The record is here, the body is not yet.
    #[error("the body of {0} is not on this node yet; it is being fetched")]
    BodyMissing(MessageId),
    /// The bytes on disk are damaged.
    #[error("{what} of {message} is damaged on disk")]
    Damaged {
        /// Record or body.
        what: &'static str,
        /// The message.
        message: MessageId,
    },
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk cannot be read.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Where, below the data directory.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The index cannot be opened, not even an empty one.
    #[error("index: {0}")]
    Index(#[from] IndexError),
    /// A segment of another cluster, version or key.
    #[error("{path}: {reason}")]
    Segment {
        /// The segment's file, below the data directory.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// The floors file is damaged: nothing may be offered before it is known what is no longer kept.
    #[error(
        "floors: the file is damaged; restore it from a backup, or remove it to keep every day that is still on disk"
    )]
    Floors,
}

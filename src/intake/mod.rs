//! How mail comes in: what every intake hands over, and the one door to which it hands it.
//! Never stores anything; an intake says "taken" only after the door did.

use bytes::Bytes;
use quar_base::arrival::Envelope;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::time::Day;
use std::future::Future;

pub mod lmtp;

/// One message as an intake took it, before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Under which class it is to be kept.
    pub class: Class,
    /// Who sent it to whom, and by which way.
    pub envelope: Envelope,
    /// The message, byte for byte.
    pub body: Bytes,
    /// Spam score in thousandths; 0 when unknown.
    pub score_milli: i32,
    /// Why the filter put it aside; empty when unknown.
    pub reason: String,
}

/// Why the store would not take a message, now or ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The disk has no room for it. Transient.
    #[error("the disk is full; nothing was stored")]
    Full,
    /// A write or a sync failed. Transient.
    #[error("the disk failed; nothing was stored")]
    StoreFailed,
    /// The node is going down. Transient.
    #[error("the node is shutting down; nothing was stored")]
    ShuttingDown,
    /// Beyond the limit for messages.
    #[error("the message has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Mail cannot come in under the class of this name.
    #[error("class {0} takes no mail from outside")]
    Class(String),
    /// The day it would be filed under is no longer kept.
    #[error("{class} mail of {day} is no longer kept")]
    TooOld {
        /// The class.
        class: Class,
        /// The day.
        day: Day,
    },
    /// The very same arrival was deleted before.
    #[error("the message was deleted")]
    Deleted,
    /// The store found the message itself wanting, for the cause given.
    #[error("the message cannot be stored: {0}")]
    Invalid(String),
}

impl Refusal {
    /// Whether the sender may find it taken if it tries again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full | Self::StoreFailed | Self::ShuttingDown)
    }
}

/// The one door into the store; the node's handle is one.
pub trait Door: Clone + Send + Sync + 'static {
    /// Stores a message.
    ///
    /// *Durable when* it answers with an id.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was stored.
    fn admit(&self, mail: Mail) -> impl Future<Output = Result<MessageId, Refusal>> + Send;
}

//! Why what a surface asked of the node was not done.
//! Never carries a subject; an address only where the caller named it.

use quar_base::key::MessageId;
use quar_store::{HoldError, ReadError, Refusal};

/// Why an operator's request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// There is no such message, or more than one begins like this.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store did not take the action.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No recipient of the message is called this.
    #[error("{0:?} is no recipient of this message; `quarctl show` lists them")]
    NoSuchRecipient(String),
    /// It cannot be held.
    #[error("the message cannot be held: {0}")]
    Unfit(Refusal),
    /// Nothing holds it.
    #[error("{0} is not held here; `quarctl ls --class held` lists what is")]
    NotHeld(MessageId),
    /// There is nobody to release to.
    #[error("the message has no recipient that is left; name one with --to")]
    NoRecipients,
    /// An earlier release was delivered or may have been.
    #[error(
        "{address} may already have this message ({earlier}); repeat with --again to release it all the same"
    )]
    ReleasedBefore {
        /// For whom.
        address: String,
        /// What the earlier release came to.
        earlier: String,
    },
    /// It waits: there were too many deletions within a minute.
    #[error(
        "{message} is not deleted: more than {limit} deletions came within a minute, and this one waits; `quarctl brake` shows what waits"
    )]
    Braked {
        /// Which.
        message: MessageId,
        /// Deletions within a minute that do not wait.
        limit: usize,
    },
    /// Too many wait.
    #[error("{0} deletions wait already, and this one was refused; `quarctl brake` shows them")]
    BrakeFull(usize),
    /// No delivery host is configured.
    #[error("no delivery host is configured; set host under [release] in quard.toml")]
    NoDeliveryHost,
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again on another node")]
    Stopping,
}

impl From<HoldError> for ActError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Read(error) => Self::Read(error),
            HoldError::Unfit(refusal) => Self::Unfit(refusal),
        }
    }
}

/// Why a message id named no single message.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing begins like this.
    #[error("no message {0} here: it never came, was deleted, or is no longer kept")]
    NotFound(String),
    /// More than one does.
    #[error("{0} names more than one message; give more digits")]
    Ambiguous(String),
    /// The index cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

//! What the daemon asks of the node, and what it is answered.
//! Never holds a channel: requests are named by tokens that the daemon keeps.

use quar_base::action::Action;
use quar_base::ids::RecordId;
use quar_base::key::MessageId;
use quar_store::{Mail, Refusal};

/// Names a request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A request of a surface.
#[derive(Debug)]
pub enum Request {
    /// Take a message.
    Put(Box<Mail>),
    /// Make an action of this node.
    Act {
        /// The message it is about.
        message: MessageId,
        /// What it says.
        action: Action,
    },
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message is durable, under this id.
    Put(MessageId),
    /// The action is durable, under this record id.
    Done(RecordId),
    /// It was not taken.
    Refused(Refusal),
}

//! The audit trail: one line for each action, who did what to which message, and how it ended.
//! Never an address, a subject or a token.

use super::auth::Caller;
use super::failure::Failure;
use quar_base::key::MessageId;
use std::sync::Arc;

/// An action that has begun.
pub(crate) struct Trail {
    who: Arc<str>,
    action: &'static str,
    message: String,
}

impl Trail {
    pub(crate) fn begin(caller: &Caller, action: &'static str) -> Self {
        Self { who: caller.name.clone(), action, message: String::new() }
    }

    /// Says which message it is about.
    pub(crate) fn about(&mut self, message: MessageId) {
        self.message = message.to_string();
    }

    /// Writes the line.
    pub(crate) fn end<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        let Self { who, action, message } = self;
        let outcome = result.as_ref().map_or_else(Failure::kind, |_| "done");
        tracing::info!(target: "audit", %who, action, message_id = message, outcome);
        result
    }
}

/// Writes the line of somebody who was turned away at the door.
pub(crate) fn turned_away(who: &str, why: &'static str) {
    tracing::warn!(target: "audit", who, action = "ask", outcome = why);
}

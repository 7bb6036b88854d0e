//! The mass-delete brake's JSON.
//! Never holds behaviour.

use super::ErrorReply;
use serde::{Deserialize, Serialize};

/// Deletions that wait to be confirmed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct BrakeStatus {
    /// Deletions within a minute that are done at once; 0 for any number.
    pub limit_per_minute: u64,
    /// Messages whose deletion waits.
    pub waiting: u64,
    /// Since when; `null` when none does.
    pub since: Option<String>,
    /// The first hundred of them.
    pub first: Vec<String>,
}

/// What became of deletions that waited.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct BrakeReply {
    /// Messages that were deleted.
    pub deleted: u64,
    /// Messages that were not, as nobody confirmed it.
    pub discarded: u64,
    /// Messages that could not be deleted.
    pub failed: u64,
    /// The first hundred reasons.
    pub errors: Vec<ErrorReply>,
}

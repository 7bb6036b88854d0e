//! The JSON about held messages.
//! Never holds behaviour: names and shapes only.

use quar_base::key::MessageId;
use serde::{Deserialize, Serialize};

/// What a held message says of the message that it holds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct HoldState {
    /// Id of the original, whether or not that is still here.
    pub original: String,
    /// How often it was held and let go before.
    pub round: u16,
    /// Recipients for whom the original had been deleted when it was held.
    pub deleted: Vec<String>,
    /// The original's actions that are kept: releases, deletes and those of later versions.
    pub actions: usize,
    /// Older actions for which there was no room.
    pub actions_left_out: u32,
}

/// A message is held.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct HoldReply {
    /// Id of the held message.
    pub id: String,
    /// Id of the message that was to be held.
    pub original: String,
    /// Whether it was held before.
    pub duplicate: bool,
}

impl HoldReply {
    /// The reply for these ids.
    #[must_use]
    pub fn new(held: MessageId, original: MessageId, duplicate: bool) -> Self {
        Self { id: held.to_string(), original: original.to_string(), duplicate }
    }
}

/// A message is held no more.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct UnholdReply {
    /// Ids of the held messages that were deleted: one, or more when nodes that knew of different
    /// actions held the message at once.
    pub ids: Vec<String>,
}

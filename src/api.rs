//! The JSON that the control socket and the HTTP listener speak, shared with `quarctl`.
//! Never holds behaviour: names and shapes only.
//!
//! Times are RFC 3339 in UTC; ids are in their text forms; sizes are bytes.

mod brake;
mod copies;
mod files;
mod hold;
mod proof;
mod usage;

pub use brake::{BrakeReply, BrakeStatus};
pub use copies::{BackfillStatus, CopiesStatus, HolderState, MessageCopies, duration};
pub use files::{
    BlockReply, BlocksReply, BucketsReply, CheckReply, DayReply, ErasureReply, PackReply,
    PlaceReply, PlacesReply, SegmentReply, StraysReply,
};

pub use hold::{HoldReply, HoldState, UnholdReply};
pub use proof::ProofReply;
use serde::{Deserialize, Serialize};
pub use usage::{UsageReply, UsageRow, usage_by, usage_by_name};

/// Messages on a page unless more or fewer are asked for.
pub const PAGE_DEFAULT: usize = 50;
/// Most messages on a page.
pub const PAGE_MAX: usize = 1000;

/// One message in a listing.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MessageSummary {
    /// Message id.
    pub id: String,
    /// Class.
    pub class: String,
    /// When it came in.
    pub received: String,
    /// Name of the node that caught it, or its member id when it has left the roster.
    pub node: String,
    /// Envelope sender; empty for the null sender.
    pub sender: String,
    /// Envelope recipients that still have the message.
    pub recipients: Vec<String>,
    /// `From` header.
    pub from: String,
    /// `Subject` header.
    pub subject: String,
    /// Size of the body.
    pub bytes: u64,
    /// Spam score.
    pub score: f64,
    /// Why it was put aside.
    pub reason: String,
    /// Whether any release of it was delivered.
    pub released: bool,
    /// Whether the body is on the node that answers.
    pub body_here: bool,
    /// Who has it on disk; only where that was asked for.
    #[serde(default)]
    pub copies: Option<MessageCopies>,
}

/// One page of a listing.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MessagePage {
    /// Newest first.
    pub messages: Vec<MessageSummary>,
    /// Value of `before` for the next page; `null` on the last.
    pub next: Option<String>,
    /// Messages that could not be listed because their record is damaged on this node.
    pub damaged: u64,
}

/// One recipient of a message.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RecipientState {
    /// Position in the envelope, from 0.
    pub index: usize,
    /// Address; empty for a message without an envelope.
    pub address: String,
    /// Whether it was deleted for this recipient.
    pub deleted: bool,
}

/// How one release ended for one address.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DeliveryState {
    /// The address; `null` for another address than a stored one, in a record made elsewhere.
    pub address: Option<String>,
    /// `delivered`, `failed` or `unknown`.
    pub result: String,
    /// The mail server's reply or the reason.
    pub reply: String,
}

/// One release of a message.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ReleaseState {
    /// Id of the intent.
    pub id: String,
    /// Name of the node that released.
    pub node: String,
    /// When it was meant.
    pub at: String,
    /// One entry for each address; all `unknown` while no outcome is known.
    pub deliveries: Vec<DeliveryState>,
}

/// Everything about one message but its body.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MessageDetail {
    /// As in a listing.
    #[serde(flatten)]
    pub summary: MessageSummary,
    /// All recipients.
    pub recipient_states: Vec<RecipientState>,
    /// `To` header.
    pub to: String,
    /// `Date` header, as written.
    pub date: String,
    /// `Message-ID` header.
    pub message_id: String,
    /// Body id.
    pub body_id: String,
    /// The mail server's id.
    pub queue_id: String,
    /// Address of the SMTP client.
    pub client_address: String,
    /// What the SMTP client called itself.
    pub helo: String,
    /// Releases, oldest first; of a held message those before it was held, too.
    pub releases: Vec<ReleaseState>,
    /// What a held message holds; `null` for others.
    #[serde(default)]
    pub hold: Option<HoldState>,
}

/// A message was taken.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PutReply {
    /// Its id.
    pub id: String,
    /// Whether it is an import that was here before.
    #[serde(default)]
    pub duplicate: bool,
}

/// What a delete covered.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DeleteReply {
    /// The message.
    pub id: String,
    /// Recipients that no longer have it.
    pub recipients: Vec<String>,
    /// Whether nobody has it any more.
    pub gone: bool,
}

/// What to release.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Stored recipients; all that still have the message when this and `to` are empty.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Other addresses; one that is a stored recipient's counts as that recipient.
    #[serde(default)]
    pub to: Vec<String>,
    /// Release even where an earlier release was delivered or may have been.
    #[serde(default)]
    pub again: bool,
}

/// How a release ended.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ReleaseReply {
    /// The message.
    pub id: String,
    /// One entry for each address.
    pub deliveries: Vec<DeliveryState>,
}

/// A node's view of one member.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// Name.
    pub name: String,
    /// Member id.
    pub id: String,
    /// Node number.
    pub node_number: u16,
    /// Location; empty when unknown.
    pub location: String,
    /// Whether this is the node that answers.
    pub is_self: bool,
    /// `up`, or `down` when there is no connection.
    pub state: String,
    /// `quic` or `tcp`; empty without a connection.
    pub transport: String,
    /// Whether the last comparison found equal roots.
    pub in_sync: bool,
    /// Records it said it has.
    pub records: u64,
    /// Bodies it said it wants.
    pub wanted: u64,
    /// What comparing with it came to.
    #[serde(default)]
    pub comparisons: ComparisonStatus,
    /// Its clock minus ours, in milliseconds, as far as known.
    pub clock_offset_ms: i64,
    /// Bytes queued or unacknowledged to it.
    pub queued_bytes: u64,
    /// Why it takes no mail from this node: `full` or `failed`; empty when it does.
    pub refuses: String,
    /// Its offences since this node's start, by kind.
    #[serde(default)]
    pub offences: std::collections::BTreeMap<String, u64>,
    /// Seconds for which this node does not speak with it yet, for its offences.
    #[serde(default)]
    pub kept_out_seconds: u64,
}

/// Comparisons with a peer since its connection began.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparisonStatus {
    /// Cutoffs, ten seconds apart, at which both roots were known.
    pub made: u64,
    /// Those at which they were equal.
    pub equal: u64,
    /// Payload of the frames that compare, both ways; what was missing is not in it.
    pub bytes: u64,
}

/// The state of the node that answers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Member id.
    pub member: String,
    /// Cluster uuid.
    pub cluster: String,
    /// Roster epoch.
    pub roster_epoch: u64,
    /// Version of the daemon.
    pub version: String,
    /// Seconds since 1970 up to which records count in comparisons.
    pub cutoff: u64,
    /// Root over everything at the cutoff.
    pub state_root: String,
    /// Root over everything known.
    pub live_root: String,
    /// Records in the set.
    pub records: u64,
    /// Bodies that messages here need and that are not here.
    pub wanted: u64,
    /// Those of them that no connected member has.
    pub lost: u64,
    /// Ids of messages that need a lost body, the first hundred.
    pub lost_messages: Vec<String>,
    /// Messages acknowledged with fewer copies than asked for, since the start.
    pub under_replicated: u64,
    /// What is on fewer disks than it should be now.
    #[serde(default)]
    pub copies: CopiesStatus,
    /// How far this node is with what it lacks and peers have.
    #[serde(default)]
    pub backfill: BackfillStatus,
    /// Offences of peers since the start, by kind; and records of theirs that were too old or too new.
    pub offences: std::collections::BTreeMap<String, u64>,
    /// Bytes sent to and received from peers since the start.
    pub sent_bytes: u64,
    /// See `sent_bytes`.
    pub received_bytes: u64,
    /// Deletions that wait to be confirmed.
    #[serde(default)]
    pub brake: BrakeStatus,
    /// What the node does for its store by and by.
    #[serde(default)]
    pub upkeep: UpkeepStatus,
    /// The data directory's disk.
    #[serde(default)]
    pub disk: DiskStatus,
    /// Whether a write failed and the daemon must be restarted.
    pub failed: bool,
    /// What needs an operator's eye.
    pub warnings: Vec<String>,
    /// All members, this one included.
    pub members: Vec<MemberStatus>,
}

/// How much room a node has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct DiskStatus {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Whether there is too little room for mail: it is refused for the time being.
    pub full: bool,
    /// Whether the reserve was given up and is not back yet.
    pub reserve_given_up: bool,
    /// In how many days there will be no room for mail, when that is within a week.
    pub full_in_days: Option<u32>,
    /// Classes set to `expire-oldest` of which days went before their time, for want of room or under
    /// an earlier, shorter retention, with the oldest day left.
    pub expired_early: Vec<String>,
}

/// What a node does for its store by and by, and what it found.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct UpkeepStatus {
    /// Days in their final form.
    pub packed_days: u64,
    /// Records in them.
    pub packed_records: u64,
    /// The day that is being packed, and how far that is.
    pub packing: Option<String>,
    /// Days with deleted messages whose bytes are still on disk.
    pub erasing_days: u64,
    /// These days.
    pub erasing: Vec<String>,
    /// Messages whose bytes were erased since the start.
    pub erased_messages: u64,
    /// The day that is being checked.
    pub checking: Option<String>,
    /// Bytes checked since the start.
    pub checked_bytes: u64,
    /// Days that were checked, and days of which it is not known that they ever were.
    pub checked_days: u64,
    /// See `checked_days`.
    pub unchecked_days: u64,
    /// How long ago the oldest of the last checks was, in seconds.
    pub oldest_check_s: Option<u64>,
    /// What the last checks found, whoever made them.
    pub findings: u64,
    /// The first hundred of them, in words.
    pub finding_texts: Vec<String>,
    /// Damaged records and bodies that were marked since the start, to be taken from peers.
    pub marked_items: u64,
    /// Damaged records that no peer has sent again yet.
    pub broken_records: u64,
    /// What failed last of erasing, packing and checking, until it succeeds again.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// Why a request was refused.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ErrorReply {
    /// A stable word: `not_found`, `ambiguous`, `invalid`, `unauthorized`, `forbidden`, `too_large`,
    /// `too_old`, `deleted`, `full`, `failed`, `busy`, `slow`, `stopping`, `body_missing`, `damaged`,
    /// `not_yet`, `released_before`, `no_recipients`, `refused`, `braked`.
    pub kind: String,
    /// In words, with what to do about it.
    pub error: String,
}

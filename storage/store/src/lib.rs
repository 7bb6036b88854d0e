//! The store of one node: everything between a message's bytes and the disk.
//! No clock and no entropy of its own; times and seeds are handed in. No network.
//!
//! ```text
//!   admit ──checked item──► pending ──► commit: one write and one fdatasync per touched segment
//!                                          │            then index and set, then the outcomes
//!   read ◄── index ◄───────────────────────┘
//! ```
//! Segments are the truth; the index and what is in memory can be computed from them at any time.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admit;
mod among;
mod beside;
mod broken;
mod catalog;
mod check;
mod codec;
mod commit;
mod dictionary;
mod disk;
mod erase;
mod error;
mod expiry;
mod floors;
mod fold;
mod forecast;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod hold;
mod index_home;
mod inspect;
mod last_seen;
mod layout;
mod list;
mod open;
mod pack;
mod peek;
mod pressure;
mod proof;
mod prove;
mod read;
mod recent;
mod reserve;
mod rotate;
mod seal;
mod search;
mod segment;
mod segments;
mod set;
mod state;
mod store;
mod strays;
mod usage;
mod versions;
mod wanted;

pub use admit::{Admitted, Mail, Origin, Ticket};
pub use among::Among;
pub use check::{Checked, Finding, LastCheck, Remains};
pub use codec::{Codec, CodecError, CodedBody};
pub use commit::{Outcome, Stored};
pub use dictionary::{Dictionary, DictionaryError, DictionaryId};
pub use disk::{Disk, Entry, File, MemoryDisk, RealDisk};
pub use erase::Erased;
pub use error::{OpenError, ReadError, Refusal};
pub use expiry::Expired;
pub use floors::Retention;
pub use fold::{MessageState, Release};
pub use hold::{HoldError, Holding, NewHold};
pub use index_home::{FreshSledHome, IndexHome, MemoryHome, SledHome};
pub use inspect::{BlockReport, HeaderReport, PackReport, PlaceReport, SegmentReport};
pub use last_seen::LastSeen;
pub use list::{Page, Query};
pub use open::{OpenProgress, OpenReport, Opening};
pub use pack::{PackProgress, Packed};
pub use pressure::Room;
pub use proof::{Proof, ProofError};
pub use prove::ProveError;
pub use read::Message;
pub use reserve::RESERVE_FILE;
pub use rotate::Rotated;
pub use seal::{EncryptionKey, IdKey, KeyError, WRAPPED_BYTES};
pub use set::{View, Which};
pub use store::{Counts, Settings, Store};
pub use usage::{Amounts, Usage, UsageBy};

#[cfg(test)]
mod tests;

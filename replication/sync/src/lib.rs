//! Anti-entropy between members as a pure state machine: `handle(Event) -> effects`.
//! No I/O, no clock, no tasks: time comes with the set, effects are performed by the caller.
//!
//! ```text
//! engine     one per member: greets, compares, pushes, asks for bodies
//! rounds     when a comparison begins and ends
//! descent    one comparison: which places differ, level by level
//! transfer   one peer's batches: push before bulk, within a window
//! backfill   what is lacking here: offered by peers, taken from all of them, the newest days first
//! queue budget  names that a peer took; bytes of bulk that may pass in a second
//! long       bodies that do not fit a batch, part by part
//! refusal    what a peer did not take, and why; how long it gets no mail then
//! confirmed  what each peer has on its disk, as far as it said so
//! wants      bodies that are missing here: whom to ask, how often, and what nobody has
//! frame codec  what goes over the wire, and its limits
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backfill;
mod batch;
mod budget;
mod codec;
mod confirmed;
mod descent;
mod dictionaries;
mod engine;
mod event;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod lacking;
pub mod limits;
mod long;
mod offence;
mod offered;
mod peer;
mod queue;
mod refusal;
mod repeats;
mod rounds;
mod sent;
mod transfer;
mod wants;

pub use backfill::Backfill;
pub use confirmed::Confirmed;
pub use engine::Engine;
pub use event::{CodedBody, Dictionary, Effect, Event, Item, ItemName, SetView, Snapshot, Which};
pub use offence::Offence;
pub use peer::{Comparisons, PeerStatus};
pub use refusal::RefusalReason;

#[cfg(test)]
mod tests;

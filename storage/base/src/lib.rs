//! Ids, records, limits, time and roster: the words that every other crate speaks.
//! No I/O, no clock, no randomness of its own, no async.
//!
//! ```text
//! ids  class  time  key      where something is, and when
//! record                     the frozen envelope around every replicated piece of bytes
//! arrival  action  hold      what the envelopes carry
//! coverage                   which deletes together cover a message
//! signing  roster            who said so
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
pub mod arrival;
pub mod class;
pub mod coverage;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod hold;
pub mod ids;
pub mod key;
pub mod limits;
pub mod record;
pub mod rng;
pub mod roster;
pub mod signing;
pub mod time;

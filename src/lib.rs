//! The daemon's parts, for the binary, for `quarctl` and for whole-system tests.
//! No logic of storage or replication: those are the crates below.
//!
//! ```text
//! config     as written, then checked; keys, certificates and roster of this node
//! authority  makes a cluster: CA, keys, certificates, roster
//! daemon     run: clock, connections, node task, commit thread, release
//! intake     mail in: LMTP         delivery  mail out: SMTP
//! surface    control socket and HTTP, one API
//! proof      checks what a node signed, without any node
//! demo       a real cluster on this machine, shown and checked
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod authority;
pub mod client;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod demo;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod intake;
pub mod lock;
pub mod proof;
pub mod surface;

//! One member: joins the store and the protocol. Run by the daemon and, unchanged, by a simulator.
//! No I/O of its own, no clock, no tasks: the store is called, everything else is an output.
//!
//! ```text
//! requests ─┐                         ┌─► answers (after the commit, and as many copies as asked)
//! frames ───┼─► node ─► store.admit ──┤
//! outcomes ─┘     └──► engine ────────┴─► frames to peers
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clocks;
mod copies;
mod holders;
mod node;
mod offers;
mod report;
mod request;
mod view;

pub use copies::CopyRule;
pub use holders::{Holder, Holders, Holding, UnderReplicated};
pub use node::{Input, Node, NodeSettings, Output};
pub use report::{Lost, PeerReport};
pub use request::{Answer, Request, Token};

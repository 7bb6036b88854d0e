//! A member with a valid certificate that lies to real daemons, in every way that a member can.

#![allow(clippy::unwrap_used, missing_docs)]

mod lies;
mod member;
#[path = "../cluster/support.rs"]
#[allow(dead_code)]
mod support;
mod tests;

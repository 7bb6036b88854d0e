//! Whole clusters of real daemons on free loopback ports.

#![allow(clippy::unwrap_used, missing_docs)]

mod demo;
mod kill;
mod operations;
mod support;

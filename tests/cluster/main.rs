//! Whole clusters of real daemons on free loopback ports.

#![allow(clippy::unwrap_used, missing_docs)]

mod clocks;
mod copies;
mod demo;
mod frames;
mod index;
mod input;
mod kill;
mod lines;
mod operations;
mod partition;
mod strangers;
mod support;
mod upkeep;

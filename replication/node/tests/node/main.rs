//! Several members in one process: real nodes, stores and frames; the clock, and what carries frames, are the test's.

#![allow(clippy::unwrap_used, missing_docs)]

mod backfill;
mod copies;
mod holders;
mod support;
mod welcome;

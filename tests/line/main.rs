//! Real daemons over lines that are filtered, slow, lossy and cut.

#![allow(clippy::unwrap_used, missing_docs)]

mod bad;
#[allow(dead_code)]
mod proxy;
mod stop;
#[path = "../cluster/support.rs"]
#[allow(dead_code)]
mod support;
mod transport;
mod world;

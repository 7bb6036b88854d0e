//! A whole cluster in one process: real nodes, protocol, tries and stores on fake disks, lines and clocks.
//! Never reads a clock or the system's entropy: one seed is one life, wherever and whenever it is lived.
//!
//! ```text
//! seed ─► life ─► operations, faults ─► cluster ─► machines (node, store, disk, clock)
//!                                          │  └──► lines (connections, delays, partitions)
//!                                          ▼
//!                                       ledger (what disks said) ─► invariants
//! ```

mod chance;
mod cluster;
mod faults;
pub mod histogram;
mod invariants;
mod keys;
mod ledger;
pub mod life;
mod line;
mod machine;
mod operations;
mod trace;

pub use cluster::Violation;

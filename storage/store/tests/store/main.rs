//! The store from outside: on a real disk with sled, and on a disk whose power is cut at every step.
//! Never looks at what only the crate can see; damage is done to files.
#![allow(clippy::unwrap_used)]

mod crash;
mod erasure;
mod expiry;
mod failures;
mod forecast;
mod formats;
mod history;
mod index_files;
mod keys;
mod overlap;
mod power;
mod reading;
mod real_disk;
mod refusing;
mod rewrites;
mod rot;
mod spy;
mod support;
mod world;

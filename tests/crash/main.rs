//! One real daemon whose system calls fail, whose process is killed, and whose order of calls is read.
//! Never a stand-in: a library between the daemon and libc lets calls fail and writes them down.

#![allow(clippy::unwrap_used, missing_docs)]

mod coverage;
mod expected;
mod fail_stop;
mod full_disk;
mod kills;
mod order;
mod shim;
mod support;
mod syscalls;

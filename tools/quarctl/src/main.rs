//! `quarctl`: the operator's tool. Parses, calls, shows, and maps the exit code.
//! Never works on a store that a daemon has open: then it asks the daemon.
//!
//! ```text
//! arguments ─► commands ─► backend ─► Daemon: the control socket
//!                 │           └─────► Offline: the store of a stopped node
//!                 └─► output: tables for people, JSON for programs
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod backend;
mod commands;
mod export;
mod failure;
mod import;
mod output;
mod progress;
#[cfg(test)]
mod testing;

use arguments::Arguments;
use clap::Parser;
use failure::Ending;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::standard(arguments.json);
    let result = commands::run(&arguments, &mut output).and_then(|ending| {
        output.flush()?;
        Ok(ending)
    });
    let ending = result.unwrap_or_else(|error| {
        if failure::is_broken_pipe(&error) {
            // Whoever read the output has seen enough.
            return Ending::Done;
        }
        output.complain(&error);
        failure::ending_of(&error)
    });
    ending.into()
}

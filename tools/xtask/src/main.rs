//! `cargo xtask`: reads the command line, calls one check and maps its answer to an exit code.
//! Never checks anything itself: each check has its own module.
//!
//! Exit codes: 0 all holds, 1 something does not, 2 usage.

mod finding;
mod layers;
mod rust_text;
mod tidy;
mod tree;
mod verify;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use verify::Selection;

/// Checks of this workspace. None of them writes to the tree.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must hold before a change lands: format, clippy, layers, tidy, tests
    Verify(Selection),
    /// Which crate may depend on which, and which source may read a clock
    Layers,
    /// File lengths, headers, and what may not stand in a source file
    Tidy,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was asked for holds.
fn perform(task: Task) -> Result<bool> {
    let workspace = workspace()?;
    match task {
        Task::Verify(selection) => verify::run(&workspace, &selection),
        Task::Layers => layers::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
    }
}

/// The workspace around the current directory, without what lies outside of it.
fn workspace() -> Result<Metadata> {
    MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata gives no workspace here")
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Task};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn verify_takes_steps_by_name_and_more_than_once() {
        let arguments = ["xtask", "verify", "--skip", "tests", "--skip", "clippy"];
        let parsed = Arguments::try_parse_from(arguments).expect("both are steps");
        let Task::Verify(selection) = parsed.task else {
            panic!("verify was asked for, not {:?}", parsed.task);
        };
        assert_eq!(selection.skip.len(), 2);
        assert!(Arguments::try_parse_from(["xtask", "verify", "--only", "lint"]).is_err());
    }
}

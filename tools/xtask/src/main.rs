//! `cargo xtask`: reads the command line, calls one check or bench and maps its answer to an exit code.
//! Never checks or measures anything itself: each task has its own module.
//!
//! Exit codes: 0 all holds, 1 something does not, 2 usage.

mod bench;
mod bugs;
mod finding;
mod layers;
mod rust_text;
mod tidy;
mod tree;
mod verify;

use anyhow::{Context, Result};
use bench::Bench;
use bugs::Bugs;
use cargo_metadata::{Metadata, MetadataCommand};
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use verify::Selection;

/// Checks and benches of this workspace. None of them writes to the tree.
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
    /// Plants known bugs in a copy of the tree and sees that the tests catch each
    Bugs(Bugs),
    /// Figures of a real cluster, with a rival's beside them when asked for
    #[command(subcommand)]
    Bench(Bench),
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
        Task::Bugs(bugs) => bugs::run(&workspace, &bugs),
        Task::Bench(bench) => bench::run(&workspace, &bench),
    }
}

/// The workspace around the current directory, without what lies outside of it.
fn workspace() -> Result<Metadata> {
    MetadataCommand::new().no_deps().exec().context("cargo metadata gives no workspace here")
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

    #[test]
    fn bench_takes_copies_from_one_to_three_and_no_empty_run() {
        let of = |more: &[&str]| {
            let arguments = ["xtask", "bench", "cluster"].iter().chain(more);
            Arguments::try_parse_from(arguments)
        };
        assert!(of(&[]).is_ok() && of(&["--copies", "1,3", "--rival", "--json"]).is_ok());
        for refused in [["--copies", "4"], ["--messages", "0"], ["--missed", "0"]] {
            assert!(of(&refused).is_err(), "{refused:?}");
        }
    }
}

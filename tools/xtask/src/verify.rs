//! `cargo xtask verify`: all checks in one order, each with its verdict and its time.
//! Never mends: no step writes to the tree (a failing property test alone keeps its seed there, as ever).

use crate::{layers, tidy};
use anyhow::{Context, Result, ensure};
use cargo_metadata::Metadata;
use cargo_metadata::camino::Utf8Path;
use clap::{Args, ValueEnum};
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Which steps are wanted.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only this step (may be repeated)
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Vec<Step>,
    /// All but this step (may be repeated)
    #[arg(long, value_name = "STEP")]
    pub(crate) skip: Vec<Step>,
}

/// One of the things that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// cargo fmt --all --check
    Format,
    /// cargo clippy --workspace --all-targets -- -D warnings
    Clippy,
    /// cargo xtask layers
    Layers,
    /// cargo xtask tidy
    Tidy,
    /// cargo test --workspace
    Tests,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Fails,
    /// Left out, because an earlier step failed and this one takes long.
    NotRun,
}

/// Runs the selected steps. True if all of them hold.
pub(crate) fn run(workspace: &Metadata, selection: &Selection) -> Result<bool> {
    let steps = selection.steps();
    ensure!(!steps.is_empty(), "--only and --skip leave no step");
    let outcomes = run_each(&steps, |step| {
        println!("{step}: {}", step.describe());
        let start = Instant::now();
        let holds = step.perform(workspace)?;
        let verdict = if holds { "ok" } else { "FAILED" };
        println!("{step}: {verdict} ({})\n", seconds(start.elapsed()));
        Ok(holds)
    })?;
    println!("verify: {}", summary(&outcomes));
    Ok(outcomes.iter().all(|&(_, verdict)| verdict == Verdict::Holds))
}

impl Selection {
    fn steps(&self) -> Vec<Step> {
        let all = Step::value_variants().iter().copied();
        all.filter(|step| self.only.is_empty() || self.only.contains(step))
            .filter(|step| !self.skip.contains(step))
            .collect()
    }
}

impl Step {
    /// Worth running even if the change cannot land as it is.
    fn is_cheap(self) -> bool {
        self != Self::Tests
    }

    fn describe(self) -> String {
        match self.cargo_arguments() {
            Some(arguments) => format!("cargo {}", arguments.join(" ")),
            None => format!("cargo xtask {self}"),
        }
    }

    /// What cargo is called with; nothing for a step of our own. `--locked` keeps Cargo.lock as it is.
    fn cargo_arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Format => Some(&["fmt", "--all", "--check"]),
            Self::Clippy => Some(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
            Self::Tests => Some(&["test", "--locked", "--workspace"]),
            Self::Layers | Self::Tidy => None,
        }
    }

    fn perform(self, workspace: &Metadata) -> Result<bool> {
        match (self, self.cargo_arguments()) {
            (_, Some(arguments)) => cargo(&workspace.workspace_root, arguments),
            (Self::Layers, None) => layers::run(workspace),
            (_, None) => tidy::run(workspace),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Layers => "layers",
            Self::Tidy => "tidy",
            Self::Tests => "tests",
        })
    }
}

/// Performs the steps in turn; after a failure only the cheap ones.
fn run_each(
    steps: &[Step],
    mut perform: impl FnMut(Step) -> Result<bool>,
) -> Result<Vec<(Step, Verdict)>> {
    let mut outcomes: Vec<(Step, Verdict)> = Vec::new();
    for &step in steps {
        let has_failed = outcomes.iter().any(|&(_, verdict)| verdict == Verdict::Fails);
        let verdict = if has_failed && !step.is_cheap() {
            Verdict::NotRun
        } else if perform(step).with_context(|| format!("{step} cannot be checked"))? {
            Verdict::Holds
        } else {
            Verdict::Fails
        };
        outcomes.push((step, verdict));
    }
    Ok(outcomes)
}

fn summary(outcomes: &[(Step, Verdict)]) -> String {
    let words = outcomes.iter().map(|(step, verdict)| match verdict {
        Verdict::Holds => format!("{step} ok"),
        Verdict::Fails => format!("{step} FAILED"),
        Verdict::NotRun => format!("{step} not run"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Whether cargo, called in the root of the workspace, ends well.
fn cargo(root: &Utf8Path, arguments: &[&str]) -> Result<bool> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).args(arguments);
    // What `cargo run` says about this crate makes some build scripts believe that they must run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command.status();
    Ok(status.context("cargo cannot be started")?.success())
}

#[cfg(test)]
mod tests {
    use super::{Selection, Step, Verdict, run_each, summary};
    use clap::ValueEnum;

    const ALL: [Step; 5] = [Step::Format, Step::Clippy, Step::Layers, Step::Tidy, Step::Tests];

    fn selected(only: &[Step], skip: &[Step]) -> Vec<Step> {
        let selection = Selection { only: only.to_vec(), skip: skip.to_vec() };
        selection.steps()
    }

    #[test]
    fn all_steps_are_run_in_their_order_if_none_is_named() {
        assert_eq!(selected(&[], &[]), ALL);
    }

    #[test]
    fn only_and_skip_narrow_the_steps_and_keep_their_order() {
        assert_eq!(selected(&[Step::Tidy, Step::Format], &[]), [Step::Format, Step::Tidy]);
        assert_eq!(selected(&[], &[Step::Tests]), ALL[..4]);
        assert_eq!(selected(&[Step::Tidy], &[Step::Tidy]), []);
    }

    #[test]
    fn a_failure_leaves_out_the_tests_and_nothing_else() {
        let mut performed = Vec::new();
        let outcomes = run_each(&ALL, |step| {
            performed.push(step);
            Ok(step != Step::Format)
        });
        assert_eq!(performed, ALL[..4]);
        assert_eq!(
            summary(&outcomes.expect("each step has a verdict")),
            "format FAILED, clippy ok, layers ok, tidy ok, tests not run"
        );
    }

    #[test]
    fn the_tests_are_run_if_all_else_holds() {
        let outcomes = run_each(&ALL, |_| Ok(true)).expect("each step has a verdict");
        assert_eq!(outcomes.len(), 5);
        assert!(outcomes.iter().all(|&(_, verdict)| verdict == Verdict::Holds));
    }

    #[test]
    fn a_step_that_cannot_be_performed_ends_the_run_and_is_named() {
        let error = run_each(&ALL, |_| anyhow::bail!("no git")).expect_err("it cannot go on");
        assert_eq!(format!("{error:#}"), "format cannot be checked: no git");
    }

    #[test]
    fn a_step_shows_itself_by_the_name_that_selects_it() {
        for step in Step::value_variants() {
            let value = step.to_possible_value().expect("no step is hidden");
            assert_eq!(value.get_name(), step.to_string());
        }
    }

    #[test]
    fn no_step_writes_to_the_tree() {
        for step in ALL {
            let arguments = step.cargo_arguments().unwrap_or_default();
            let is_bound = arguments.is_empty()
                || arguments.contains(&"--check")
                || arguments.contains(&"--locked");
            assert!(is_bound, "{step}");
        }
    }
}

//! `cargo xtask bugs`: plants one bug after the other in a copy of the tree, and sees whether its tests catch it.
//! Never changes the tree itself; and never counts as caught what does not build, or fails without the bug.
//!
//! ```text
//! patch files ─► copy of the tree (target/bugs/tree) ─► the tests of each pass without it
//!                    └─ per patch: apply ─► build ─► its tests must fail ─► take it back
//! ```
//! A patch file begins with two lines: `breaks: what`, and `caught-by: arguments of cargo test` or
//! `within: so many seeds of the simulator`.

use crate::tree;
use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Metadata;
use clap::Args;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where the patch files lie.
const DIRECTORIES: [&str; 2] = ["storage/store/tests/bugs", "tools/sim/bugs"];
/// The simulator's package.
const SIMULATOR: &str = "quar-sim";

/// Which bugs to plant.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bugs
  cargo xtask bugs --list
  cargo xtask bugs --only 07 --only 12
  cargo xtask bugs --only sim

The copy and what is built of it lie below target/bugs and stay for the next time.")]
pub(crate) struct Bugs {
    /// Only name the bugs and the tests that are to catch them
    #[arg(long)]
    list: bool,
    /// Only bugs whose file begins so; may be given more than once
    #[arg(long, value_name = "NN")]
    only: Vec<String>,
}

/// One patch file.
struct Bug {
    path: PathBuf,
    name: String,
    breaks: String,
    catcher: Catcher,
}

/// What is to catch a bug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Catcher {
    /// Arguments of `cargo test`.
    Tests(Vec<String>),
    /// So many seeds of the simulator, from 0 on.
    Seeds(u64),
}

impl Catcher {
    /// What is to be run, as arguments of cargo.
    fn command(&self) -> Vec<String> {
        match self {
            Self::Tests(tests) => [vec!["test".to_owned()], tests.clone()].concat(),
            Self::Seeds(seeds) => {
                let seeds = seeds.to_string();
                ["run", "-p", SIMULATOR, "--", "--seeds", &seeds].map(str::to_owned).into()
            }
        }
    }

    /// What builds that, and nothing else.
    fn build(&self) -> Vec<String> {
        match self {
            Self::Tests(_) => [self.command(), vec!["--no-run".to_owned()]].concat(),
            Self::Seeds(_) => ["build", "-p", SIMULATOR].map(str::to_owned).into(),
        }
    }
}

/// Prints what became of each bug. True if all were caught.
pub(crate) fn run(workspace: &Metadata, arguments: &Bugs) -> Result<bool> {
    let root = workspace.workspace_root.as_std_path();
    let mut bugs = read(root)?;
    bugs.retain(|bug| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| bug.name.starts_with(only))
    });
    ensure!(!bugs.is_empty(), "no patch file in {} begins like that", DIRECTORIES.join(" or "));
    if arguments.list {
        for Bug { name, breaks, catcher, .. } in &bugs {
            println!("{name}: {breaks}\n    cargo {}", catcher.command().join(" "));
        }
        return Ok(true);
    }
    let scratch = Scratch::new(root, workspace.target_directory.as_std_path())?;
    for catcher in without_bugs(&bugs) {
        let command = catcher.command().join(" ");
        say(&format!("without a bug: cargo {command}"));
        ensure!(scratch.runs(&catcher.command())?, "cargo {command} fails without any bug");
    }
    let mut missed = 0;
    for bug in &bugs {
        let start = Instant::now();
        let outcome = scratch.plant(bug)?;
        let (name, seconds) = (&bug.name, start.elapsed().as_secs());
        println!("{outcome:<10} {seconds:>4} s  {name}: {}", bug.breaks);
        missed += usize::from(outcome != CAUGHT);
    }
    println!("{} of {} bugs are caught", bugs.len() - missed, bugs.len());
    Ok(missed == 0)
}

/// What has to pass without any bug: every test, and as many seeds as any bug is given.
fn without_bugs(bugs: &[Bug]) -> BTreeSet<Catcher> {
    let is_test = |catcher: &Catcher| matches!(catcher, Catcher::Tests(_));
    let (mut suites, seeds): (BTreeSet<_>, BTreeSet<_>) =
        bugs.iter().map(|bug| bug.catcher.clone()).partition(is_test);
    suites.extend(seeds.into_iter().next_back());
    suites
}

const CAUGHT: &str = "caught";
const NOT_CAUGHT: &str = "NOT CAUGHT";
const NOT_BUILT: &str = "NOT BUILT";

fn read(root: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for directory in DIRECTORIES {
        let entries = fs::read_dir(root.join(directory));
        for entry in entries.with_context(|| format!("cannot list {directory}"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                bugs.push(parse(path)?);
            }
        }
    }
    bugs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(bugs)
}

fn parse(path: PathBuf) -> Result<Bug> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}.patch"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let tests = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let catcher = match (field("caught-by: "), field("within: ")) {
        (Some(text), None) => Some(Catcher::Tests(tests(text))),
        (None, Some(text)) => {
            text.split(' ').next().and_then(|n| n.parse().ok()).map(Catcher::Seeds)
        }
        _ => None,
    };
    let (Some(breaks), Some(catcher)) = (field("breaks: "), catcher) else {
        bail!(
            "{name}.patch does not begin with \"breaks: ...\" and either \"caught-by: ...\" or \
             \"within: N seeds\""
        );
    };
    Ok(Bug { name, breaks: breaks.to_owned(), catcher, path })
}

/// A copy of the tree, in which bugs are planted.
struct Scratch {
    tree: PathBuf,
    target: PathBuf,
}

impl Scratch {
    /// Brings the copy up to date; files that are as they were are left alone, so that little is
    /// built again.
    fn new(root: &Path, target: &Path) -> Result<Self> {
        let home = target.join("bugs");
        let scratch = Self { tree: home.join("tree"), target: home.join("target") };
        let listed = tree::listed_by_git(root)?.into_iter().map(PathBuf::from);
        let files: BTreeSet<PathBuf> = listed.filter(|file| root.join(file).is_file()).collect();
        for file in &files {
            let (from, to) = (root.join(file), scratch.tree.join(file));
            let bytes =
                fs::read(&from).with_context(|| format!("cannot read {}", file.display()))?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(to.parent().context("a file has a directory")?)?;
                fs::write(&to, bytes)?;
            }
        }
        // What is gone from the tree goes from the copy.
        for path in below(&scratch.tree)? {
            if !path.strip_prefix(&scratch.tree).is_ok_and(|file| files.contains(file)) {
                fs::remove_file(path)?;
            }
        }
        Ok(scratch)
    }

    /// Plants a bug and says what became of it.
    fn plant(&self, bug: &Bug) -> Result<&'static str> {
        self.patch(bug, &[])?;
        let outcome = match self.runs(&bug.catcher.build())? {
            false => NOT_BUILT,
            true if self.runs(&bug.catcher.command())? => NOT_CAUGHT,
            true => CAUGHT,
        };
        self.patch(bug, &["--reverse"])?;
        Ok(outcome)
    }

    fn patch(&self, bug: &Bug, more: &[&str]) -> Result<()> {
        let mut git = apply(&self.tree, &bug.path);
        let output = git.args(more).output().context("git cannot be started")?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} does not apply: {}", bug.name, why.trim());
        Ok(())
    }

    /// Runs cargo in the copy; whether that went well.
    fn runs(&self, arguments: &[String]) -> Result<bool> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).args(arguments);
        cargo.env("CARGO_TARGET_DIR", &self.target).env("RUST_BACKTRACE", "0");
        cargo.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(cargo.status().context("cargo cannot be started")?.success())
    }
}

fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

/// `git apply`, which needs no repository.
fn apply(tree: &Path, patch: &Path) -> Command {
    let mut git = Command::new("git");
    // The copy lies within the repository, whose root git would take for its own.
    git.current_dir(tree).env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    git.arg("apply").arg(patch);
    git
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::{apply, read};
    use std::path::Path;

    #[test]
    fn every_planted_bug_still_applies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bugs = read(&root).expect("the patch files can be read");
        assert!(bugs.len() >= 45, "{} bugs", bugs.len());
        for bug in bugs {
            let output = apply(&root, &bug.path).arg("--check").output();
            let output = output.expect("git can be started");
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {why}", bug.name);
        }
    }
}

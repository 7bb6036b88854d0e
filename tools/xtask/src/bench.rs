//! `cargo xtask bench cluster`: a cluster's figures, beside GlusterFS with the same mails on the same machine.
//! Never measures: `quard demo` and the rival's script do, and this runs them, joins and prints.
//!
//! ```text
//! build --release ─► write the mails for the rival ─► rival ─► quard demo, once for each --copies
//!                                            ─► a store's expiry ─► table, or one line of JSON
//! ```
//!
//! The rival goes first: what keeps it from running shows before minutes are spent.

mod figures;
mod machine;
mod outcome;
mod plot;
mod storage;
mod sync;
mod table;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Message, Metadata};
use clap::{Args, Subcommand};
use figures::Figures;
use machine::Machine;
use outcome::{DemoOutcome, ExpiryOutcome, RivalOutcome};
use serde_json::Value;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RIVAL_SCRIPT: &str = "benches/rivals/glusterfs.sh";
/// Writers of the demo, and so of the rival.
const WRITERS: u32 = 8;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Three nodes on this machine: writes, heal, expiry, disk, bytes on the wire
    Cluster(ClusterBench),
    /// One store: puts, disk, checks, an index that lived, and all of it as the store grows
    Storage(storage::StorageBench),
    /// Two members that differ: bytes and round trips to find what is missing; upkeep of the tries
    Sync(sync::SyncBench),
}

/// How to measure a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench cluster
  cargo xtask bench cluster --corpus ~/corpus --messages 5000 --missed 5000
  sudo -E env PATH=\"$PATH\" cargo xtask bench cluster --corpus ~/corpus --rival --json

Everything lies below $TMPDIR (else /tmp): let it be on the disk to measure, and leave the machine
alone meanwhile. --rival needs root and GlusterFS; see benches/rivals/glusterfs.sh --help.")]
pub(crate) struct ClusterBench {
    /// Directory of .eml files to feed, instead of generated mail
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Mails fed while all nodes are up
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Mails fed while one node is down
    #[arg(long, value_name = "M", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    missed: u32,
    /// Copies that an acknowledgement stands for; one run for each
    #[arg(long, value_name = "COPIES", value_delimiter = ',', default_values_t = [3, 2],
          value_parser = clap::value_parser!(u8).range(1..=3))]
    copies: Vec<u8>,
    /// Run GlusterFS, replica 3, with the same mails too
    #[arg(long)]
    rival: bool,
    /// Print one final JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Measures what was asked for and prints it. True: what went wrong is an error.
pub(crate) fn run(workspace: &Metadata, bench: &Bench) -> Result<bool> {
    let root = workspace.workspace_root.as_std_path();
    let cluster = match bench {
        Bench::Cluster(cluster) => cluster,
        Bench::Storage(bench) => return storage::run(root, bench).map(|()| true),
        Bench::Sync(bench) => return sync::run(root, bench).map(|()| true),
    };
    let figures = measure(workspace, cluster)?;
    if cluster.json {
        println!("{}", serde_json::to_string(&figures.as_json())?);
    } else {
        print!("{}", table::render(&figures));
    }
    Ok(true)
}

fn measure(workspace: &Metadata, bench: &ClusterBench) -> Result<Figures> {
    let root = workspace.workspace_root.as_std_path();
    let quard = build(root)?;
    let machine = Machine::read()?;
    let rival = match bench.rival {
        true => Some(run_rival(root, &quard, bench)?),
        false => None,
    };
    let mut runs = Vec::new();
    for &copies in &bench.copies {
        if runs.iter().any(|run: &DemoOutcome| run.copies == copies) {
            continue;
        }
        settle()?;
        say(&format!("quard demo, copies = {copies}"));
        let mut demo = demo_command(&quard, bench);
        demo.arg("--json").args(["--copies", &copies.to_string()]);
        let outcome = DemoOutcome::parse(&output_of(demo)?, copies)?;
        ensure!(
            outcome.missed_while_down == u64::from(bench.missed),
            "the demo fed {} mails to the others while a node was down, not {}",
            outcome.missed_while_down,
            bench.missed
        );
        runs.push(outcome);
    }
    settle()?;
    let expiry = run_expiry(root, bench)?;
    Ok(Figures {
        machine,
        mails: match &bench.corpus {
            Some(directory) => directory.display().to_string(),
            None => "generated mail".to_owned(),
        },
        fed: bench.messages.into(),
        runs,
        expiry,
        rival,
    })
}

/// Builds the daemon as it is shipped; where it lies.
fn build(root: &Path) -> Result<PathBuf> {
    say("building quard (release)");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["build", "--release", "--package", "quard", "--bin", "quard"])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let stdout = cargo.stdout.take().expect("piped above");
    let mut binary = None;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == "quard"
            && let Some(executable) = artifact.executable
        {
            binary = Some(executable.into_std_path_buf());
        }
    }
    ensure!(cargo.wait()?.success(), "cargo build --release fails");
    binary.context("cargo build --release names no binary quard")
}

fn run_expiry(root: &Path, bench: &ClusterBench) -> Result<ExpiryOutcome> {
    say("one store, a day expired");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["bench", "--package", "quar-store", "--bench", "expiry", "--"])
        .arg(bench.messages.to_string());
    if let Some(corpus) = &bench.corpus {
        cargo.arg(std::path::absolute(corpus)?);
    }
    ExpiryOutcome::parse(&output_of(cargo)?)
}

fn demo_command(quard: &Path, bench: &ClusterBench) -> Command {
    let mut command = Command::new(quard);
    command
        .arg("demo")
        .args(["--messages", &bench.messages.to_string()])
        .args(["--missed", &bench.missed.to_string()]);
    if let Some(corpus) = &bench.corpus {
        command.arg("--corpus").arg(corpus);
    }
    command
}

fn run_rival(root: &Path, quard: &Path, bench: &ClusterBench) -> Result<RivalOutcome> {
    let scratch = tempfile::tempdir().context("no scratch directory for the rival's mails")?;
    let mails = scratch.path();
    say("writing the mails in feeding order for the rival");
    let mut write = demo_command(quard, bench);
    write.arg("--write-mails").arg(mails);
    output_of(write)?;
    settle()?;
    say("GlusterFS, replica 3");
    let mut script = Command::new(root.join(RIVAL_SCRIPT));
    script
        .arg("--mails")
        .arg(mails)
        .args(["--count", &bench.messages.to_string()])
        .args(["--missed", &bench.missed.to_string()])
        .args(["--writers", &WRITERS.to_string()]);
    let outcome = RivalOutcome::parse(&output_of(script)?)?;
    ensure!(
        outcome.messages == u64::from(bench.messages) && outcome.missed == u64::from(bench.missed),
        "{RIVAL_SCRIPT} wrote {} and {} mails, not {} and {}",
        outcome.messages,
        outcome.missed,
        bench.messages,
        bench.missed
    );
    Ok(outcome)
}

/// Runs a bench of a crate; each line that it prints is an object.
fn lines_of(root: &Path, package: &str, bench: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    settle()?;
    say(&format!("{bench} {}", arguments.join(" ")));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["bench", "--package", package, "--bench", bench, "--"]);
    cargo.args(arguments);
    let text = output_of(cargo)?;
    let parse =
        |line: &str| serde_json::from_str(line).with_context(|| format!("{bench} printed: {line}"));
    let lines: Vec<Value> = text.lines().map(parse).collect::<Result<_>>()?;
    ensure!(!lines.is_empty(), "{bench} {} printed nothing", arguments.join(" "));
    Ok(lines)
}

/// What a command prints; it must succeed. What it says meanwhile goes to the terminal.
fn output_of(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{program} cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        match text.trim() {
            "" => bail!("{program}: {}", output.status),
            printed => bail!("{program}: {}; it printed: {printed}", output.status),
        }
    }
    Ok(text)
}

/// Lets what the run before left in memory reach the disk, and warns of others at work.
fn settle() -> Result<()> {
    let synced = Command::new("sync").status().context("sync cannot be started")?;
    ensure!(synced.success(), "sync fails");
    let busy = machine::busy_percent()?;
    if busy > machine::IDLE_BUSY_PERCENT_MAX {
        say(&format!("warning: the machine is {busy:.0}% busy with something else"));
    }
    Ok(())
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}

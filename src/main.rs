//! `quard`: parse, call, map the exit code.
//! No logic of its own.

use clap::{Parser, Subcommand};
use quard::config::{Config, Paths};
use quard::daemon::complaint::in_one_line;
use quard::daemon::run::run_until_stopped;
use quard::demo::{self, cluster::Ports};
use std::path::PathBuf;
use std::process::ExitCode;

/// Replicated quarantine for clusters of mail filters, with no shared filesystem.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  quard run                            run this node, as configured in /etc/quard/quard.toml
  quard --root /srv/quard run          the same with every path below /srv/quard
  quard check-config                   read configuration, keys and roster, and say what is wrong
  quard demo                           a real three-node cluster on this machine, shown and checked
  quard demo --corpus DIR --messages 5000 --json

A node is set up by quarctl: see quarctl init --help.
Exit codes: 0 done, 1 failed, 2 usage."
)]
struct Arguments {
    /// Directory below which all paths lie, instead of /
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run this node until it is told to stop (SIGTERM, SIGINT)
    Run,
    /// Read configuration, keys and roster, and say what is wrong with them
    CheckConfig,
    /// Start three nodes on 127.0.0.1, .2 and .3, feed them, kill one, and check every byte
    Demo(DemoArguments),
}

#[derive(clap::Args)]
struct DemoArguments {
    /// Mails to feed while all nodes are up
    #[arg(long, default_value_t = 2000)]
    messages: usize,
    /// Mails to feed while node 1 is down [default: half of --messages]
    #[arg(long)]
    missed: Option<usize>,
    /// Directory of .eml files to feed, instead of generated mail
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Copies that an acknowledgement stands for (1 to 3)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    copies: u8,
    /// Print one final JSON object, and nothing else
    #[arg(long)]
    json: bool,
    /// Leave the cluster running at the end, and say how to talk to it
    #[arg(long)]
    keep: bool,
    /// Where the cluster lies [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Only write the mails there in feeding order, as 000001.eml and so on, and feed nobody
    #[arg(long, value_name = "DIR")]
    write_mails: Option<PathBuf>,
    /// Use free ports instead of 1027, 10028 and 8027
    #[arg(long)]
    free_ports: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match call(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quard: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn call(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let paths = Paths::under(arguments.root.as_deref());
    match &arguments.command {
        Command::Run => {
            run_until_stopped(&paths)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig => {
            Config::load(&paths)?;
            let identity = quard::config::Identity::load(&paths)?;
            let roster = identity.roster.roster();
            println!("configuration, keys and roster (epoch {}) are in order", roster.epoch);
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(demo) => show(demo),
    }
}

fn show(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let options = demo::Options {
        messages: arguments.messages,
        missed: arguments.missed.unwrap_or(arguments.messages / 2),
        corpus: arguments.corpus.clone(),
        directory: arguments.directory.clone(),
        keep: arguments.keep,
        quiet: arguments.json,
        daemon: std::env::current_exe()?,
        ports: if arguments.free_ports { Ports::Free } else { Ports::Standard },
        copies: arguments.copies.into(),
        sync_lines: String::new(),
    };
    if let Some(directory) = &arguments.write_mails {
        demo::write_mails(&options, directory)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(demo::run(&options, None))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

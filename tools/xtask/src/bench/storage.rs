//! `cargo xtask bench storage`: one store's figures, each beside what it is held against.
//! Never measures: the bench `figures` of quar-store does, and this runs its parts, joins and prints.
//!
//! ```text
//! build ─► put ─► disk ─► fsck ─► churn ─► grow, once for each of --sizes ─► table, or one line of JSON; plot
//! ```

use super::machine::Machine;
use super::{lines_of, plot};
use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Mails of a put and of a check.
const MAILS: &str = "20000";
/// Mails of the figures of disk: those of the corpus, each once.
const DISK_MAILS: &str = "9322";
const CHURN_A_DAY: &str = "10000";

/// How to measure a store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench storage
  cargo xtask bench storage --corpus ~/corpus --json
  sudo -E env PATH=\"$PATH\" cargo xtask bench storage --corpus ~/corpus --sizes 10000,100000,1000000,10000000

Everything lies below $TMPDIR (else /tmp): let it be on the disk to measure, and leave the machine
alone meanwhile. Only root can empty the page cache; without, cold reads are warm and say so. Ten
million messages take half an hour and 6 GB.")]
pub(crate) struct StorageBench {
    /// Directory of .eml files to put, instead of generated mail
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Messages of the stores whose growth is shown
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sizes: Vec<u32>,
    /// Draw how the figures grow to this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one final JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(super) fn run(root: &Path, bench: &StorageBench) -> Result<()> {
    let machine = Machine::read()?;
    let mut parts = Vec::new();
    for part in ["put", "disk", "fsck"] {
        let count = if part == "disk" { DISK_MAILS } else { MAILS };
        parts.extend(figures(root, part, count, bench.corpus.as_deref())?);
    }
    parts.extend(figures(root, "churn", CHURN_A_DAY, None)?);
    for size in &bench.sizes {
        parts.extend(figures(root, "grow", &size.to_string(), None)?);
    }
    if let Some(path) = &bench.plot {
        plot::draw(&parts, path)?;
    }
    let mails = match &bench.corpus {
        Some(directory) => directory.display().to_string(),
        None => "generated mail".to_owned(),
    };
    if bench.json {
        println!(
            "{}",
            json!({"bench": "storage", "machine": machine, "mails": mails, "parts": parts})
        );
    } else {
        print!("machine: {machine}\nmails: {mails}\n\n{}", table(&parts));
    }
    Ok(())
}

/// Runs one part of the bench.
fn figures(root: &Path, part: &str, count: &str, corpus: Option<&Path>) -> Result<Vec<Value>> {
    let corpus = corpus.map(std::path::absolute).transpose()?;
    let corpus = corpus.as_ref().map(|corpus| corpus.to_string_lossy());
    let arguments: Vec<&str> = [part, count].into_iter().chain(corpus.as_deref()).collect();
    lines_of(root, "quar-store", "figures", &arguments)
}

/// A line for each figure, those of growth with the number of messages.
fn table(parts: &[Value]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter_map(Value::as_object) {
        let _ = writeln!(text, "{}", title(part));
        for (name, value) in
            part.iter().filter(|(name, _)| !["part", "step", "messages"].contains(&name.as_str()))
        {
            let _ = writeln!(text, "  {name:<24}{value}");
        }
    }
    text
}

fn title(part: &Map<String, Value>) -> String {
    let names = ["part", "step"].iter().filter_map(|name| part.get(*name)?.as_str());
    let names: Vec<&str> = names.collect();
    match part.get("messages") {
        Some(messages) => format!("{}, {messages} messages", names.join(" ")),
        None => names.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::table;
    use serde_json::json;

    #[test]
    fn the_table_names_each_part_and_every_figure() {
        let parts = [
            json!({"part": "put", "messages": 20, "put_s": 1.5}),
            json!({"part": "grow", "step": "opened", "messages": 10, "open_s": 0.25}),
        ];
        let text = table(&parts);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "put, 20 messages");
        assert!(lines[1].starts_with("put_s") && lines[1].ends_with("1.5"), "{text}");
        assert_eq!(lines[2], "grow opened, 10 messages");
    }
}

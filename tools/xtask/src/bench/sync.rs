//! `cargo xtask bench sync`: what members that differ tell each other, beside negentropy, and the cost of the tries.
//! Never measures: `wire` of quar-sync and `figures` of quar-store do, and this runs them, joins and prints.
//!
//! ```text
//! build ─► wire, once for each of --sizes ─► figures upkeep, once for each ─► table, or one line of JSON
//! ```

use super::lines_of;
use super::machine::Machine;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// How to measure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench sync
  cargo xtask bench sync --sizes 10000 --json

The wire is counted, not timed: it is the same on any machine. Upkeep writes below $TMPDIR (else
/tmp). A million messages take a few minutes and 2 GB of memory.")]
pub(crate) struct SyncBench {
    /// Messages that the members have
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sizes: Vec<u32>,
    /// Print one final JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(super) fn run(root: &Path, bench: &SyncBench) -> Result<()> {
    let machine = Machine::read()?;
    let (mut wire, mut upkeep) = (Vec::new(), Vec::new());
    for size in &bench.sizes {
        wire.extend(lines_of(root, "quar-sync", "wire", &[&size.to_string()])?);
    }
    for size in &bench.sizes {
        upkeep.extend(lines_of(root, "quar-store", "figures", &["upkeep", &size.to_string()])?);
    }
    if bench.json {
        let line = json!({"bench": "sync", "machine": machine, "wire": wire, "upkeep": upkeep});
        println!("{line}");
    } else {
        print!("machine: {machine}\n\n{}\n{}", table(&WIRE, &wire), table(&UPKEEP, &upkeep));
    }
    Ok(())
}

/// Names of fields and the heads of their columns.
type Columns = [(&'static str, &'static str)];

const WIRE: [(&str, &str); 12] = [
    ("messages", "messages"),
    ("classes", "classes"),
    ("case", "missing"),
    ("missing", "number"),
    ("lacks", "lacks"),
    ("greeting_bytes", "greeting B"),
    ("comparison_bytes", "comparison B"),
    ("lots_bytes", "lots B"),
    ("round_trips", "round trips"),
    ("next_cutoff_bytes", "next cutoff B"),
    ("negentropy_bytes", "negentropy B"),
    ("negentropy_round_trips", "its round trips"),
];
const UPKEEP: [(&str, &str); 6] = [
    ("messages", "messages"),
    ("inserts", "inserts"),
    ("index_bytes_per_insert", "index B an insert"),
    ("inserts_per_second", "inserts/s"),
    ("cutoff_ms", "a cutoff, ms"),
    ("cutoff_worst_ms", "worst, ms"),
];

/// As Markdown, for docs/benchmarks.md.
fn table(columns: &Columns, lines: &[Value]) -> String {
    let mut text = String::new();
    let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    let _ = writeln!(text, "| {} |", heads.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(heads.len()));
    for line in lines {
        let cells = columns.iter().map(|(field, _)| match &line[field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{UPKEEP, WIRE, table};
    use serde_json::json;

    #[test]
    fn the_table_has_a_row_for_each_case_and_a_column_for_each_figure() {
        let lines = [json!({"messages": 7, "case": "an hour", "round_trips": 2.5})];
        let text = table(&WIRE, &lines);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.matches('|').count() == WIRE.len() + 1), "{text}");
        assert!(rows[2].starts_with("| 7 | null | an hour |"), "{text}");
        assert_eq!(table(&UPKEEP, &[]).lines().count(), 2);
    }
}

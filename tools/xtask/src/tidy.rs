//! The form of the texts: lengths, headers, and what may stand in no file.
//! Never judges what rustfmt and clippy judge already, and never mends a file.

mod rust;

use crate::finding::{self, Finding};
use crate::tree::{TextFile, Tree};
use anyhow::Result;
use cargo_metadata::Metadata;

/// Where a path of somebody's machine begins. Written in two pieces, for this file is checked too.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Prints what is not tidy. True if everything is.
pub(crate) fn run(workspace: &Metadata) -> Result<bool> {
    let tree = Tree::read(workspace.workspace_root.as_std_path())?;
    Ok(finding::report(check(&tree)))
}

fn check(tree: &Tree) -> Vec<Finding> {
    let texts = tree.texts.iter().flat_map(check_text);
    texts.chain(tree.rust.iter().flat_map(rust::check)).collect()
}

/// What holds for every text.
fn check_text(file: &TextFile) -> Vec<Finding> {
    let has_style = [".rs", ".md"].iter().any(|end| file.path.ends_with(end));
    let mut findings = Vec::new();
    // Not `lines()`, which would hide a carriage return.
    for (number, line) in (1..).zip(file.text.split('\n')) {
        if has_style && line.trim_end() != line {
            findings.push(Finding::error(
                &file.path,
                number,
                "whitespace at the end of the line: take it away, or write it as an escape",
            ));
        }
        if let Some(start) = MACHINE_PATHS.iter().find(|start| begins_path(line, start)) {
            findings.push(Finding::error(
                &file.path,
                number,
                format!("a path of one machine ({start}): name it from the root of the workspace"),
            ));
        }
    }
    findings
}

/// Whether a path that begins with `start` stands in `line`. In `merkle` + `start` it does not.
fn begins_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.*}>)".contains(c))
    })
}

#[cfg(test)]
mod tests;

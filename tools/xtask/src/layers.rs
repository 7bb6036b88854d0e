//! The walls of the workspace: arrows between crates point down, and few places touch the outside.
//! Never looks beyond the crates' manifests and sources; the rules themselves are data in `table`.

mod crates;
mod sources;
mod table;

use crate::finding;
use crate::tree::Tree;
use anyhow::Result;
use cargo_metadata::Metadata;

/// Prints what breaks the layers. True if nothing does.
pub(crate) fn run(workspace: &Metadata) -> Result<bool> {
    let crates = crates::read(workspace)?;
    let mut findings = crates::check(&crates);
    let tree = Tree::read(workspace.workspace_root.as_std_path())?;
    findings.extend(sources::check(&tree, &crates::pure_folders(&crates)));
    findings.extend(sources::unused_exceptions(&tree));
    Ok(finding::report(findings))
}

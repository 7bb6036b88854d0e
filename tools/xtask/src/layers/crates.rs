//! Holds the crates' dependencies against the table.
//! Never follows a dependency out of the workspace: what libraries use is their affair.

use super::table::{OUTSIDE_WORLD, PLACES, PURE, Place, SOLE_USERS, TABLE};
use crate::finding::Finding;
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata};
use std::collections::BTreeSet;

/// A crate of the workspace as its manifest describes it.
#[derive(Debug, Clone)]
pub(super) struct Crate {
    name: String,
    /// From the root of the workspace.
    manifest: String,
    manifest_text: String,
    uses: Vec<Use>,
}

/// One line among a crate's dependencies.
#[derive(Debug, Clone)]
struct Use {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In the product, or in building it.
    Product,
    /// In tests, examples and benches only.
    Test,
}

/// The crates of the workspace.
pub(super) fn read(workspace: &Metadata) -> Result<Vec<Crate>> {
    let root = &workspace.workspace_root;
    let packages = workspace.workspace_packages().into_iter();
    packages
        .map(|package| {
            let path = &package.manifest_path;
            let uses = package.dependencies.iter().map(|dependency| Use {
                name: dependency.name.clone(),
                kind: match dependency.kind {
                    DependencyKind::Development => Kind::Test,
                    _ => Kind::Product,
                },
            });
            Ok(Crate {
                name: package.name.to_string(),
                manifest: path.strip_prefix(root).unwrap_or(path).to_string(),
                manifest_text: std::fs::read_to_string(path)
                    .with_context(|| format!("{path} cannot be read"))?,
                uses: uses.collect(),
            })
        })
        .collect()
}

/// The folders with the sources of the pure crates, each with a `/` at its end.
pub(super) fn pure_folders(crates: &[Crate]) -> Vec<String> {
    let pure = crates.iter().filter(|each| PURE.contains(&each.name.as_str()));
    pure.map(|each| each.manifest.replace("Cargo.toml", "src/")).collect()
}

/// All that breaks the table.
pub(super) fn check(crates: &[Crate]) -> Vec<Finding> {
    let members: BTreeSet<&str> = crates.iter().map(|c| c.name.as_str()).collect();
    let mut findings = unfilled_places(&members);
    for each in crates {
        let Some(place) = place_of(&each.name) else {
            findings.push(Finding::error(
                &each.manifest,
                1,
                format!("crate {} has no layer: name it in the table in {TABLE}", each.name),
            ));
            continue;
        };
        for used in &each.uses {
            let wrongs = [
                wrong_arrow(place, used, &members),
                taken_library(place, used),
                impure_library(place, used),
            ];
            let line = line_of(&each.manifest_text, &used.name);
            let wrongs = wrongs.into_iter().flatten();
            findings.extend(wrongs.map(|what| Finding::error(&each.manifest, line, what)));
        }
    }
    findings
}

fn place_of(name: &str) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.name == name)
}

/// Rows of the table for which there is no crate any more.
fn unfilled_places(members: &BTreeSet<&str>) -> Vec<Finding> {
    let gone = PLACES.iter().filter(|place| !members.contains(place.name));
    gone.map(|place| {
        let what = format!("the workspace has no crate {}: take its row out", place.name);
        Finding::error(TABLE, 1, what)
    })
    .collect()
}

/// A dependency on another crate of the workspace that the table does not have.
fn wrong_arrow(place: &Place, used: &Use, members: &BTreeSet<&str>) -> Option<String> {
    if !members.contains(used.name.as_str()) {
        return None;
    }
    // A crate without a place is reported once, at its own manifest.
    let layer = place_of(&used.name)?.layer;
    let is_allowed = place.may_use.contains(&used.name.as_str());
    match used.kind {
        Kind::Product if !is_allowed => Some(format!(
            "{} (layer {}) may not depend on {} (layer {layer}): move what is shared down, or hand it in",
            place.name, place.layer, used.name
        )),
        Kind::Test if layer > place.layer => Some(format!(
            "the tests of {} (layer {}) may not use {} (layer {layer}): move the test up",
            place.name, place.layer, used.name
        )),
        _ => None,
    }
}

/// A library that another crate keeps to itself.
fn taken_library(place: &Place, used: &Use) -> Option<String> {
    let sole = SOLE_USERS
        .iter()
        .find(|sole| sole.name != place.name && sole.libraries.contains(&used.name.as_str()))
        .filter(|sole| used.kind == Kind::Product || !sole.may_be_tested_with)?;
    Some(format!("only {} may use {}: {}", sole.name, used.name, sole.instead))
}

/// A library of the outside world in a crate that has no part in it.
fn impure_library(place: &Place, used: &Use) -> Option<String> {
    let is_impure = PURE.contains(&place.name)
        && used.kind == Kind::Product
        && OUTSIDE_WORLD.contains(&used.name.as_str());
    is_impure.then(|| {
        format!(
            "{} does no I/O and may not depend on {}: answer with an effect instead",
            place.name, used.name
        )
    })
}

/// The line, from 1, of a manifest that names the dependency; 1 if it is written in another way.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let names_it = |line: &str| {
        let rest = line.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest.lines().position(names_it).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests;

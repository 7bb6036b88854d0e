//! A cluster on disk for tests: two stopped nodes with real keys, and commands run on them.
//! Never a daemon.

use crate::arguments::Arguments;
use crate::backend::Backend;
use crate::commands;
use crate::failure::Ending;
use crate::output::tests::Written;
use clap::Parser;
use quard::authority::{PlannedMember, StaticPlan, create_cluster};
use quard::daemon::clock::{Clock, entropy};
use std::path::PathBuf;
use tempfile::TempDir;

/// Two stopped nodes of one cluster.
pub struct Nodes {
    directory: TempDir,
}

impl Nodes {
    pub fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let members = (1..=2).map(|number| PlannedMember {
            name: format!("n{number}"),
            node_number: number,
            addresses: vec![format!("127.0.0.{number}:1027")],
            location: String::new(),
        });
        let members = members.collect();
        let out = directory.path().join("out");
        let now = Clock::start().now();
        create_cluster(&StaticPlan { members }, entropy().unwrap(), now, &out).unwrap();
        Self { directory }
    }

    /// The root directory of a node, from 1.
    pub fn root(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("out/n{node}"))
    }

    /// A directory beside the nodes.
    pub fn scratch(&self) -> PathBuf {
        let path = self.directory.path().join("scratch");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn arguments(&self, node: usize, line: &[&str]) -> Arguments {
        let root = self.root(node);
        let words = ["quarctl", "--root", root.to_str().unwrap()];
        Arguments::try_parse_from(words.iter().chain(line)).unwrap()
    }

    /// The store of a node.
    pub fn open(&self, node: usize) -> anyhow::Result<Backend> {
        let arguments = self.arguments(node, &["--offline", "ls"]);
        Backend::open(&arguments, &Written::default().output(false, false))
    }

    /// Runs a command; returns what it printed and how it ended.
    pub fn run(&self, node: usize, line: &[&str]) -> anyhow::Result<(String, Ending)> {
        let arguments = self.arguments(node, line);
        let written = Written::default();
        let mut output = written.output(arguments.json, false);
        let ending = commands::run(&arguments, &mut output)?;
        Ok((written.text(), ending))
    }

    /// The same, for what prints JSON.
    pub fn json(&self, node: usize, line: &[&str]) -> serde_json::Value {
        let line = [&["--json"], line].concat();
        serde_json::from_str(&self.run(node, &line).unwrap().0).unwrap()
    }
}

//! Real daemons, and `quarctl` as a process of its own that is asked about them.
//! Never decides what a test expects.

use crate::DAEMON_ROOT;
use quard::demo::cluster::{Cluster, ClusterOptions, Ports};
use quard::demo::sink::Sink;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Three real daemons. They are this very program, started again with [`DAEMON_ROOT`] set.
pub struct Running {
    pub cluster: Cluster,
    pub sink: Sink,
    pub directory: TempDir,
}

/// What a run of `quarctl` came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Running {
    pub async fn start(sync_lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let options = ClusterOptions {
            directory: directory.path().join("cluster"),
            daemon: daemon_script(directory.path()),
            ports: Ports::Free,
            copies: 2,
            delivery_host: sink.address.to_string(),
            sync_lines: sync_lines.to_owned(),
            advertised: Vec::new(),
        };
        let now = quard::daemon::clock::Clock::start().now();
        let seed = quard::daemon::clock::entropy().unwrap();
        let mut cluster = Cluster::create(&options, seed, now).unwrap();
        cluster.start().await.unwrap();
        Self { cluster, sink, directory }
    }

    pub fn root(&self, node: usize) -> PathBuf {
        self.cluster.nodes[node - 1].root.clone()
    }

    pub fn quarctl(&self, node: usize, line: &[&str]) -> Ran {
        quarctl(&self.root(node), line)
    }

    pub fn json(&self, node: usize, line: &[&str]) -> Value {
        let ran = self.quarctl(node, &[&["--json"], line].concat());
        serde_json::from_slice(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"))
    }

    pub fn ids(&self, node: usize) -> Vec<Value> {
        let page = self.json(node, &["ls", "--all"]);
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|message| message["id"].clone()).collect()
    }

    pub fn file(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn daemon_script(directory: &Path) -> PathBuf {
    let path = directory.join("daemon");
    let own = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\n{DAEMON_ROOT}=\"$2\" exec {} --exact --nocapture is_a_daemon_when_asked_to\n",
        own.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub fn quarctl(root: &Path, line: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quarctl"));
    ran(command.arg("--root").arg(root).args(line))
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Standard output of a run that ended well.
    pub fn text(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        std::str::from_utf8(&self.out).unwrap().trim()
    }
}

pub const MAIL: &[u8] = b"From: me@x\r\nSubject: Gr\xfc\xdfe one\r\n\r\n\0bare\rand\n.\r\nno end";

//! The library between the daemon and libc: built here, told by environment variables.
//! Never loaded into this process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// What a call that fails does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Enospc,
    Eio,
    Emfile,
    Eintr,
    /// Half is read or written, and said so.
    Short,
    /// Half is written, and then there is no room.
    Torn,
    /// A sync fails, and what was written since the last one is gone.
    Drop,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Enospc, Self::Eio, Self::Emfile, Self::Eintr, Self::Short, Self::Torn, Self::Drop];

    pub fn name(self) -> &'static str {
        match self {
            Self::Enospc => "ENOSPC",
            Self::Eio => "EIO",
            Self::Emfile => "EMFILE",
            Self::Eintr => "EINTR",
            Self::Short => "SHORT",
            Self::Torn => "TORN",
            Self::Drop => "DROP",
        }
    }

    /// Whether a program that follows the manual pages shows nothing of it.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Eintr | Self::Short)
    }
}

/// Which call fails, and how.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// From 1, among those that can fail so.
    pub at: u64,
    /// `CALL:TEXT`: only this call, on paths with this text.
    pub matching: String,
}

/// What the shim is told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub fault: Option<Fault>,
    pub log: Option<PathBuf>,
}

impl Told {
    pub fn fails(kind: Kind, at: u64) -> Self {
        Self::fails_where(kind, at, ":")
    }

    pub fn fails_where(kind: Kind, at: u64, matching: &str) -> Self {
        let fault = Fault { kind, at, matching: matching.to_owned() };
        Self { fault: Some(fault), log: None }
    }

    /// Environment variables for a daemon whose data lies in `data`; what failed goes to `fired`.
    pub fn variables(&self, data: &Path, fired: &Path) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut variables = vec![("LD_PRELOAD", text(library())), ("SHIM_DIR", text(data))];
        if let Some(fault) = &self.fault {
            variables.push(("SHIM_FIRED", text(fired)));
            variables.push(("SHIM_KIND", fault.kind.name().to_owned()));
            variables.push(("SHIM_FAIL_AT", fault.at.to_string()));
            variables.push(("SHIM_MATCH", fault.matching.clone()));
        }
        variables.extend(self.log.as_ref().map(|log| ("SHIM_LOG", text(log))));
        variables
    }
}

/// The library, built once.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
        let compiled = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(compiled.expect("these tests need a C compiler, cc").success());
        (directory, library)
    });
    library
}

//! The files of the tree as the checks see them: text, and for Rust also what is code and what is test.
//! Never looks at a file that git ignores, and never writes.

use crate::rust_text::{self, Line};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Text that people write: everything else (mail samples, golden bytes, lock files) follows no style.
const EXTENSIONS: [&str; 9] =
    ["rs", "md", "toml", "sh", "service", "socket", "yml", "yaml", "conf"];

/// All texts of the tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Every text file, the Rust files included.
    pub(crate) texts: Vec<TextFile>,
    /// The Rust files once more, taken apart.
    pub(crate) rust: Vec<RustFile>,
}

/// A file as it stands on disk.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// From the root of the workspace, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A Rust file by lines.
#[derive(Debug)]
pub(crate) struct RustFile {
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
    /// The whole file is built for tests or benches only.
    pub(crate) is_test: bool,
}

impl Tree {
    /// Reads what git tracks under `root`, and what it would track if it were added.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut texts = Vec::new();
        for path in listed_by_git(root)? {
            let place = root.join(&path);
            // Git goes on listing a tracked file that was deleted but not yet committed so.
            if !is_text(&path) || !place.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&place)
                .with_context(|| format!("{path} cannot be read as UTF-8 text"))?;
            texts.push(TextFile { path, text });
        }
        Ok(Self::new(texts))
    }

    /// Takes the Rust files among `texts` apart.
    pub(crate) fn new(texts: Vec<TextFile>) -> Self {
        let mut rust: Vec<RustFile> = texts
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| RustFile {
                path: file.path.clone(),
                lines: rust_text::lines(&file.text),
                is_test: is_test_path(&file.path),
            })
            .collect();
        let modules: BTreeSet<String> = rust.iter().flat_map(test_modules).collect();
        for file in &mut rust {
            file.is_test |= modules.iter().any(|module| is_file_of_module(&file.path, module));
        }
        Self { texts, rust }
    }
}

impl RustFile {
    /// The lines with their numbers, from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        (1..).zip(&self.lines)
    }

    /// The lines that are in the product: not in a test file, not under `#[cfg(test)]`.
    pub(crate) fn outside_tests(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().filter(|(_, line)| !self.is_test && !line.in_test)
    }
}

/// Files that git tracks under `root`, and would track if they were added.
pub(crate) fn listed_by_git(root: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .output()
        .context("git cannot be started: install it")?;
    ensure!(
        output.status.success(),
        "git ls-files fails in {}: {}",
        root.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8: rename it")?;
    Ok(names.split_terminator('\0').map(ToOwned::to_owned).collect())
}

fn is_text(path: &str) -> bool {
    path.starts_with(".ci/")
        || path.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

fn is_test_path(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    parts.next() == Some("tests.rs") || parts.any(|part| part == "tests" || part == "benches")
}

/// The modules that `file` declares for tests only, as paths without `.rs`.
fn test_modules(file: &RustFile) -> Vec<String> {
    let folder = ["lib.rs", "main.rs", "mod.rs"]
        .iter()
        .find_map(|name| file.path.strip_suffix(name))
        .map_or_else(|| format!("{}/", file.path.trim_end_matches(".rs")), ToOwned::to_owned);
    file.lines
        .iter()
        .filter(|line| line.in_test)
        .filter_map(|line| declared_module(&line.code))
        .map(|name| format!("{folder}{name}"))
        .collect()
}

/// The name in `mod name;`, whatever stands before `mod`.
fn declared_module(code: &str) -> Option<&str> {
    let (before, name) = code.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    let is_name = !name.is_empty() && name.chars().all(rust_text::is_in_word);
    let starts_there = before.is_empty() || before.ends_with(' ');
    (is_name && starts_there).then_some(name)
}

fn is_file_of_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{TextFile, Tree, declared_module, is_test_path, is_text};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files
            .iter()
            .map(|&(path, text)| TextFile { path: path.to_owned(), text: text.to_owned() });
        Tree::new(files.collect())
    }

    fn test_files(tree: &Tree) -> Vec<&str> {
        let tests = tree.rust.iter().filter(|file| file.is_test);
        tests.map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn a_file_is_a_test_by_its_path() {
        for path in ["tests/cluster.rs", "a/src/x/tests.rs", "a/src/tests/trust.rs", "benches/b.rs"]
        {
            assert!(is_test_path(path), "{path}");
        }
        for path in ["src/main.rs", "src/contests.rs", "src/tests_of_mail.rs", "src/bench.rs"] {
            assert!(!is_test_path(path), "{path}");
        }
    }

    #[test]
    fn a_file_is_a_test_if_its_module_is_declared_for_tests_only() {
        let declares = "mod real;\n#[cfg(test)]\nmod damage;\n";
        let tree = tree(&[
            ("a/src/lib.rs", declares),
            ("a/src/damage.rs", ""),
            ("a/src/damage/disk.rs", ""),
            ("a/src/damage_report.rs", ""),
            ("a/src/real.rs", declares),
            ("a/src/real/damage.rs", ""),
            ("a/src/real/real.rs", ""),
        ]);
        assert_eq!(
            test_files(&tree),
            ["a/src/damage.rs", "a/src/damage/disk.rs", "a/src/real/damage.rs"]
        );
    }

    #[test]
    fn a_module_declaration_is_told_from_a_module_with_a_body() {
        assert_eq!(declared_module("mod tests;"), Some("tests"));
        assert_eq!(declared_module("    pub(crate) mod support;"), Some("support"));
        assert_eq!(declared_module("#[cfg(test)] mod damage_tests;"), Some("damage_tests"));
        assert_eq!(declared_module("mod tests {"), None);
        assert_eq!(declared_module("let a = amod b;"), None);
        assert_eq!(declared_module("use mod tests::a;"), None);
    }

    #[test]
    fn only_texts_that_people_write_are_read() {
        for path in ["src/main.rs", "README.md", "a/Cargo.toml", ".ci/run"] {
            assert!(is_text(path), "{path}");
        }
        for path in ["Cargo.lock", "LICENSE", "tests/mail.eml", "rs"] {
            assert!(!is_text(path), "{path}");
        }
    }
}

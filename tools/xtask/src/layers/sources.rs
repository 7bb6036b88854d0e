//! Holds the sources outside of tests against the table's rules about names.
//! Never understands the source: a name is found where it is written, not where it is imported as another.

use super::table::{SOURCE_RULES, Scope, SourceRule, TABLE};
use crate::finding::Finding;
use crate::rust_text::{self, Line};
use crate::tree::{RustFile, Tree};

/// All places with a name that may not stand there.
pub(super) fn check(tree: &Tree, pure_folders: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let is_pure = pure_folders.iter().any(|folder| file.path.starts_with(folder));
        let rules = SOURCE_RULES.iter().filter(|rule| holds(rule, &file.path, is_pure));
        findings.extend(rules.flat_map(|rule| check_file(rule, file)));
    }
    findings
}

/// Exceptions for which there is no file any more: what moves takes its exception along.
pub(super) fn unused_exceptions(tree: &Tree) -> Vec<Finding> {
    let exceptions = SOURCE_RULES.iter().flat_map(|rule| rule.exceptions);
    exceptions
        .filter(|(start, _)| !tree.rust.iter().any(|file| file.path.starts_with(start)))
        .map(|(start, _)| {
            let what = format!("no source under {start}: take the exception out, or move it along");
            Finding::error(TABLE, 1, what)
        })
        .collect()
}

fn holds(rule: &SourceRule, path: &str, is_pure: bool) -> bool {
    let is_in_scope = is_pure || rule.holds_in == Scope::Everywhere;
    let mut exceptions = rule.exceptions.iter();
    is_in_scope && !exceptions.any(|(start, _)| path.starts_with(start))
}

fn check_file(rule: &SourceRule, file: &RustFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.outside_tests() {
        let found = rule.names.iter().find(|name| stands_in(line, name));
        findings.extend(found.map(|name| {
            let what = format!("{name} {} here: {}", rule.what, rule.instead);
            Finding::error(&file.path, number, what)
        }));
    }
    findings
}

/// A path is a literal in the source; everything else is code.
fn stands_in(line: &Line, name: &str) -> bool {
    if name.starts_with('/') {
        line.text.contains(name)
    } else {
        rust_text::names(&line.code, name)
    }
}

#[cfg(test)]
mod tests {
    use super::{check, unused_exceptions};
    use crate::layers::table::{SOURCE_RULES, Scope};
    use crate::tree::{TextFile, Tree};

    fn tree(path: &str, text: &str) -> Tree {
        Tree::new(vec![TextFile { path: path.to_owned(), text: text.to_owned() }])
    }

    /// What is found in one file, where replication/node is pure.
    fn found(path: &str, text: &str) -> Vec<String> {
        let pure = ["replication/node/src/".to_owned()];
        let findings = check(&tree(path, text), &pure).into_iter();
        findings.map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn every_forbidden_name_is_found_where_its_rule_holds() {
        for rule in SOURCE_RULES {
            let path = match rule.holds_in {
                Scope::Everywhere => "src/x.rs",
                Scope::PureCrates => "replication/node/src/x.rs",
            };
            for name in rule.names {
                let text = match name.chars().next() {
                    Some('/') => format!("let a = open({name:?});\n"),
                    Some('.') => format!("let a = b{name};\n"),
                    _ => format!("let a = {name}();\n"),
                };
                let found = found(path, &text);
                assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
                assert!(found[0].contains(rule.what), "{found:?}");
            }
        }
    }

    #[test]
    fn an_exception_without_a_file_is_refused() {
        let of_daemon = |tree: &Tree| {
            let findings = unused_exceptions(tree).into_iter();
            findings.filter(|finding| finding.what.contains("src/daemon/")).count()
        };
        assert_eq!(of_daemon(&tree("src/daemon/clock.rs", "")), 0);
        assert_ne!(of_daemon(&tree("src/clock.rs", "")), 0);
    }

    #[test]
    fn only_the_daemon_and_the_net_read_a_clock() {
        let text = "fn a() {\n    let now = std::time::Instant::now();\n}\n";
        for path in ["src/intake/mod.rs", "storage/store/src/admit.rs", "src/api.rs"] {
            let found = found(path, text);
            assert_eq!(found.len(), 1, "{path}");
            assert!(found[0].starts_with(&format!("{path}:2: ")), "{found:?}");
        }
        for path in ["src/daemon/clock.rs", "replication/net/src/dial.rs", "tools/xtask/src/a.rs"] {
            assert_eq!(found(path, text), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_signature_may_take_entropy_and_the_file_beside_it_may_not() {
        let text = "let a = SystemRandom::new();\n";
        assert_eq!(found("storage/base/src/signing.rs", text), [""; 0]);
        assert_eq!(found("storage/base/src/roster.rs", text).len(), 1);
        let clock = "let a = SystemTime::now();\n";
        assert_eq!(found("storage/base/src/signing.rs", clock).len(), 1);
    }

    #[test]
    fn pure_crates_touch_no_files_and_the_store_may() {
        let text = "use std::fs::File;\n";
        assert_eq!(found("replication/node/src/lib.rs", text).len(), 1);
        assert_eq!(found("storage/store/src/disk/real.rs", text), [""; 0]);
        assert_eq!(found("replication/node/benches/a.rs", text), [""; 0]);
    }

    #[test]
    fn tests_comments_and_strings_may_name_what_they_like() {
        let text =
            "// Instant::now\n#[cfg(test)]\nmod tests {\n    fn a() { Instant::now(); }\n}\n";
        assert_eq!(found("src/api.rs", text), [""; 0]);
        assert_eq!(found("src/api.rs", "let a = \"Instant::now\";\n"), [""; 0]);
        assert_eq!(found("src/api/tests.rs", "let a = Instant::now();\n"), [""; 0]);
        let after = format!("{text}fn b() {{ Instant::now(); }}\n");
        assert_eq!(found("src/api.rs", &after).len(), 1);
    }
}

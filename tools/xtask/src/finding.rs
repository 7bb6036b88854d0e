//! A finding: one place in the tree that breaks a rule, and how to mend it.
//! Never decides what is a finding.

use std::fmt;

/// Whether a finding makes its check fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The check fails.
    Error,
    /// The check says so and passes.
    Warning,
}

/// One place that breaks a rule. Shown as `path:line: what, and how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// From the root of the workspace.
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) weight: Weight,
}

impl Finding {
    pub(crate) fn error(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), weight: Weight::Error }
    }

    pub(crate) fn warning(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(path, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => "",
            Weight::Warning => "warning: ",
        };
        write!(f, "{}:{}: {weight}{}", self.path, self.line, self.what)
    }
}

/// Prints all findings, by place. True if none of them is an error.
pub(crate) fn report(mut findings: Vec<Finding>) -> bool {
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    holds(&findings)
}

fn holds(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.weight == Weight::Warning)
}

#[cfg(test)]
mod tests {
    use super::{Finding, holds};

    #[test]
    fn a_finding_shows_where_and_what() {
        let finding = Finding::error("src/main.rs", 7, "too long: split it");
        assert_eq!(finding.to_string(), "src/main.rs:7: too long: split it");
        let finding = Finding::warning("src/main.rs", 7, "long: split it");
        assert_eq!(finding.to_string(), "src/main.rs:7: warning: long: split it");
    }

    #[test]
    fn warnings_do_not_fail_a_check_and_errors_do() {
        let warning = Finding::warning("a", 1, "w");
        let error = Finding::error("a", 1, "e");
        assert!(holds(&[]));
        assert!(holds(std::slice::from_ref(&warning)));
        assert!(!holds(&[warning, error]));
    }
}

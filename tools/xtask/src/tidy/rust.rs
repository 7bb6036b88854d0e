//! The form of one Rust file: its length, its header, and what may not stand in it.
//! Never looks at another file.

use crate::finding::Finding;
use crate::rust_text::{self, Line};
use crate::tree::RustFile;

const LINES_MAX: usize = 450;
const LINES_WISHED: usize = 400;
const LINE_CHARS_MAX: usize = 120;

/// Macros that stand for code which is not there, or not meant to stay.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Words that put work off.
const PUT_OFF: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// All that is not tidy in a Rust file.
pub(super) fn check(file: &RustFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(check_length(file));
    findings.extend(check_header(file));
    for (number, line) in file.numbered() {
        let whats = [long_line(line), tab(line), unfinished(line), put_off(line)];
        let whats = whats.into_iter().flatten();
        findings.extend(whats.map(|what| Finding::error(&file.path, number, what)));
    }
    findings.extend(check_unwraps(file));
    findings.extend(check_globs(file));
    findings
}

fn check_length(file: &RustFile) -> Option<Finding> {
    let count = file.lines.len();
    if count > LINES_MAX {
        let what = format!("{count} lines of at most {LINES_MAX}: split it by job");
        return Some(Finding::error(&file.path, count, what));
    }
    (count > LINES_WISHED).then(|| {
        let what = format!("{count} lines where {LINES_WISHED} are wished: split it by job");
        Finding::warning(&file.path, count, what)
    })
}

fn check_header(file: &RustFile) -> Option<Finding> {
    // Nothing after the space would be whitespace at the end of the line, which is found anyway.
    let is_header = |at: usize| {
        let line = file.lines.get(at);
        line.is_some_and(|line| line.text.starts_with("//! "))
    };
    if !is_header(0) {
        let what = "no header: say in line 1, after //!, what this file's job is";
        return Some(Finding::error(&file.path, 1, what));
    }
    (!file.is_test && !is_header(1)).then(|| {
        let what = "half a header: say in line 2, after //!, what this file never does";
        Finding::error(&file.path, 2, what)
    })
}

fn long_line(line: &Line) -> Option<String> {
    let chars = line.text.chars().count();
    let is_long = line.chars_unquoted > LINE_CHARS_MAX && !line.text.contains("://");
    is_long.then(|| format!("{chars} characters of at most {LINE_CHARS_MAX}: break the line"))
}

fn tab(line: &Line) -> Option<String> {
    let has_tab = line.text.contains('\t');
    has_tab.then(|| "a tab: write spaces, or \\t within a literal".to_owned())
}

fn unfinished(line: &Line) -> Option<String> {
    let found = UNFINISHED.iter().find(|name| rust_text::names(&line.code, name))?;
    Some(format!("{found} stands for code: write the code, or take the path away"))
}

fn put_off(line: &Line) -> Option<String> {
    let found = PUT_OFF.iter().find(|word| rust_text::names(&line.unquoted, word))?;
    Some(format!("{found} puts work off: do it, or take the note away"))
}

fn check_unwraps(file: &RustFile) -> Vec<Finding> {
    let lines = file.outside_tests();
    lines
        .filter(|(_, line)| line.code.contains(".unwrap()"))
        .map(|(number, _)| {
            let what = "unwrap outside of tests: return the error, or expect(\"the proof\")";
            Finding::error(&file.path, number, what)
        })
        .collect()
}

/// `use` items may reach over several lines.
fn check_globs(file: &RustFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_use = false;
    for (number, line) in file.outside_tests() {
        in_use |= begins_use(&line.code);
        if in_use && line.code.contains('*') {
            let what = "a glob import outside of tests: name what is used";
            findings.push(Finding::error(&file.path, number, what));
        }
        in_use &= !line.code.contains(';');
    }
    findings
}

fn begins_use(code: &str) -> bool {
    let code = code.trim_start();
    let code = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |(_, rest)| rest),
        Some(rest) => rest,
        None => code,
    };
    code.trim_start().starts_with("use ")
}

//! Tests of each rule of tidiness on samples: what it finds, at which line, and what it lets pass.
use super::check;
use crate::finding::Weight;
use crate::tree::{TextFile, Tree};

const HEADER: &str = "//! Does one thing.\n//! Never does another.\n";

/// What is found in one file, as `line: what`; warnings with their mark.
fn found(path: &str, text: &str) -> Vec<String> {
    let file = TextFile { path: path.to_owned(), text: text.to_owned() };
    let findings = check(&Tree::new(vec![file])).into_iter();
    findings.map(|finding| finding.to_string().replacen(&format!("{path}:"), "", 1)).collect()
}

/// The body, after a sound header, breaks one rule at one line, counted from the body's first.
fn refuses(body: &str, line: usize, part: &str) {
    let found = found("src/a.rs", &format!("{HEADER}{body}"));
    assert_eq!(found.len(), 1, "{body:?}: {found:?}");
    let at = format!("{}: ", line + 2);
    assert!(found[0].starts_with(&at), "{body:?}: {found:?}");
    assert!(found[0].contains(part), "{body:?}: {found:?}");
}

fn allows(body: &str) {
    allows_at("src/a.rs", body);
}

fn allows_at(path: &str, body: &str) {
    let found = found(path, &format!("{HEADER}{body}"));
    assert_eq!(found, [""; 0], "{path}: {body:?}");
}

fn of_lines(count: usize) -> String {
    format!("{HEADER}{}", "// a\n".repeat(count - 2))
}

#[test]
fn files_of_more_than_450_lines_are_refused() {
    let found = found("src/a.rs", &of_lines(451));
    assert_eq!(found, ["451: 451 lines of at most 450: split it by job"]);
}

#[test]
fn files_of_more_than_400_lines_are_warned_of() {
    for count in [401, 450] {
        let file = TextFile { path: "src/a.rs".to_owned(), text: of_lines(count) };
        let found = check(&Tree::new(vec![file]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].weight, Weight::Warning);
    }
    assert_eq!(found("src/a.rs", &of_lines(400)), [""; 0]);
}

#[test]
fn a_file_begins_with_its_job() {
    for text in ["fn a() {}\n", "\n//! A.\n", "//!\n//! A.\n", "// A.\n", ""] {
        let found = found("src/lib.rs", text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(found[0].starts_with("1: no header"), "{found:?}");
    }
}

#[test]
fn the_second_line_of_a_product_file_says_what_it_never_does() {
    for text in ["//! A.\nfn a() {}\n", "//! A.\n//!\n//! B.\n", "//! A.\n"] {
        let found = found("src/main.rs", text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(found[0].starts_with("2: half a header"), "{found:?}");
    }
    for path in ["src/a/tests.rs", "tests/cli.rs", "src/tests/a.rs"] {
        assert_eq!(found(path, "//! A.\nfn a() {}\n"), [""; 0], "{path}");
    }
}

#[test]
fn unwrap_stands_in_tests_only() {
    refuses("fn a() {\n    b().unwrap();\n}\n", 2, "unwrap");
    allows("fn a() {\n    b().unwrap_or(1);\n}\n");
    allows("/// `b().unwrap()` would panic.\nfn a() {}\n");
    allows("const A: &str = \".unwrap()\";\n");
    allows("#[cfg(test)]\nmod tests {\n    fn a() {\n        b().unwrap();\n    }\n}\n");
    for path in ["tests/a.rs", "benches/a.rs", "src/a/tests.rs"] {
        allows_at(path, "fn a() {\n    b().unwrap();\n}\n");
    }
}

#[test]
fn what_follows_a_test_item_is_no_test() {
    refuses("#[cfg(test)]\nmod tests;\nfn a() {\n    b().unwrap();\n}\n", 4, "unwrap");
}

#[test]
fn macros_for_unfinished_code_are_refused_in_tests_too() {
    refuses("fn a() {\n    todo!()\n}\n", 2, "todo!");
    refuses("fn a() {\n    unimplemented!(\"b\")\n}\n", 2, "unimplemented!");
    refuses("fn a() {\n    dbg!(b);\n}\n", 2, "dbg!");
    refuses("#[cfg(test)]\nfn a() {\n    todo!()\n}\n", 3, "todo!");
    allows("fn a() {\n    my_todo!()\n}\n");
    allows("// not todo!() but done\nfn a() {}\n");
    allows("const A: &str = \"dbg!(b)\";\n");
}

#[test]
fn words_that_put_work_off_are_refused() {
    for word in ["TODO", "FIXME", "XXX"] {
        refuses(&format!("// {word}: later\n"), 1, word);
        refuses(&format!("/// Does ({word}).\nfn a() {{}}\n"), 1, word);
        allows(&format!("const {word}S: u8 = 1;\n"));
        allows(&format!("const A: &str = \"{word}\";\n"));
    }
}

#[test]
fn globs_stand_in_tests_only() {
    refuses("use a::*;\n", 1, "glob");
    refuses("pub use a::*;\n", 1, "glob");
    refuses("pub(crate) use a::b::*;\n", 1, "glob");
    refuses("use a::{\n    b,\n    c::*,\n};\n", 3, "glob");
    refuses("fn a() {\n    use b::*;\n}\n", 2, "glob");
    allows("use a::b;\nfn c() {\n    d = e * f;\n}\n");
    allows("#[cfg(test)]\nmod tests {\n    use super::*;\n}\n");
}

#[test]
fn lines_above_120_characters_are_refused() {
    refuses(&format!("// {}\n", "é".repeat(118)), 1, "121 characters");
    allows(&format!("// {}\n", "é".repeat(117)));
    allows(&format!("const A: &str = \"{}\";\n", "a".repeat(200)));
    allows(&format!("// https://example.org/{}\n", "a".repeat(200)));
}

#[test]
fn tabs_are_refused() {
    refuses("fn a() {\n\tb();\n}\n", 2, "tab");
    allows("const A: &str = \"\\t\";\n");
}

#[test]
fn whitespace_at_the_end_of_a_line_is_refused() {
    refuses("fn a() {} \n", 1, "whitespace at the end");
    refuses("fn a() {}\r\n", 1, "whitespace at the end");
    let in_prose = found("docs/a.md", "# A\n\nb  \nc\n");
    assert_eq!(in_prose.len(), 1, "{in_prose:?}");
    assert!(in_prose[0].starts_with("3: whitespace"), "{in_prose:?}");
    assert_eq!(found("a/Cargo.toml", "a = 1 \n"), [""; 0]);
}

#[test]
fn paths_of_one_machine_are_refused_in_every_text() {
    for start in super::MACHINE_PATHS {
        refuses(&format!("// see {start}main\n"), 1, "a path of one machine");
        refuses(&format!("const A: &str = \"{start}a\";\n"), 1, "a path of one machine");
        for path in ["docs/a.md", ".ci/run", "a/Cargo.toml"] {
            let found = found(path, &format!("a\n{start}b\n"));
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert!(found[0].starts_with("2: a path of one machine"), "{found:?}");
        }
        allows(&format!("// merkle{start}a and ..{start}b\n"));
    }
}

#[test]
fn prose_has_no_headers_and_no_line_length() {
    let text = format!("# A\n\n| {} |\n", "a".repeat(300));
    assert_eq!(found("docs/a.md", &text), [""; 0]);
}

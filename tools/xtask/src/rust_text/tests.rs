//! Tests of the reading of Rust source: each token that could hide another, and the extent of test items.
use super::{lines, names};

/// The code of each line, with single spaces between its words.
fn code(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let codes: Vec<String> = lines(text).iter().map(|line| words(&line.code)).collect();
    codes.join("\n")
}

/// The numbers, from 1, of the lines in tests.
fn test_lines(text: &str) -> Vec<usize> {
    let lines = lines(text);
    let numbered = (1..).zip(&lines);
    numbered.filter(|(_, line)| line.in_test).map(|(number, _)| number).collect()
}

#[test]
fn comments_are_no_code() {
    assert_eq!(code("a // b\nc"), "a\nc");
    assert_eq!(code("a /* b /* c */ d */ e"), "a e");
    assert_eq!(code("a /* b\nc */ d"), "a\nd");
}

#[test]
fn literals_are_no_code() {
    assert_eq!(code(r#"a "b" c"#), "a c");
    assert_eq!(code(r#"a "\"b" c"#), "a c");
    assert_eq!(code("a \"b\nc\" d"), "a\nd");
    assert_eq!(code("a r#\"b\" c\"# d"), "a d");
    assert_eq!(code("a br\"b\\\" d"), "a b d");
    assert_eq!(code("a 'b' c"), "a c");
    assert_eq!(code(r"a '\'' c"), "a c");
    assert_eq!(code("a '\"' b"), "a b");
}

#[test]
fn what_looks_like_a_literal_and_is_none_stays_code() {
    assert_eq!(code("fn a<'b>(c: &'b str)"), "fn a<'b>(c: &'b str)");
    assert_eq!(code("let r#type = 1;"), "let r#type = 1;");
    assert_eq!(code("for \"a\" in b"), "for in b");
}

#[test]
fn a_comment_in_a_literal_is_none_and_the_other_way_round() {
    assert_eq!(code("a \"//\" b"), "a b");
    assert_eq!(code("a // \"\nb"), "a\nb");
}

#[test]
fn text_that_ends_within_a_token_is_taken() {
    for text in ["\"", "r#\"", "/*", "'", "'\\", "'\\n", "\"\\", "r", "b'", ""] {
        assert_eq!(lines(text).len(), usize::from(!text.is_empty()), "{text:?}");
    }
}

#[test]
fn comments_stand_in_the_unquoted_reading() {
    let lines = lines("let a = \"b\"; // c\n");
    assert_eq!(lines[0].unquoted, "let a =    ; // c");
    assert_eq!(lines[0].chars_unquoted, 14);
}

#[test]
fn a_test_item_ends_with_its_braces_and_no_earlier() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n    fn c() {}\n}\nfn d() {}\n";
    assert_eq!(test_lines(text), [2, 3, 4, 5, 6]);
}

#[test]
fn a_test_item_without_a_body_ends_with_its_semicolon() {
    let text = "#[cfg(test)]\nmod tests;\nfn a() -> [u8; 2] {\n}\n";
    assert_eq!(test_lines(text), [1, 2]);
    let text = "#[cfg(test)]\n#[allow(x)]\nconst A: [u8; 2] =\n    [0; 2];\nfn b() {}\n";
    assert_eq!(test_lines(text), [1, 2, 3, 4]);
}

#[test]
fn braces_in_literals_do_not_end_a_test_item() {
    let text =
        "#[cfg(test)]\nmod tests {\n    const A: &str = \"}\";\n    fn b() {}\n}\nfn c() {}\n";
    assert_eq!(test_lines(text), [1, 2, 3, 4, 5]);
}

#[test]
fn an_attribute_of_the_whole_file_makes_all_of_it_a_test() {
    assert_eq!(test_lines("//! A\n#![cfg(test)]\nfn a() {}\n"), [1, 2, 3]);
}

#[test]
fn a_build_for_tests_among_others_is_no_test() {
    let text = "#[cfg(any(test, feature = \"a\"))]\nfn a() {}\n";
    assert_eq!(test_lines(text), [0_usize; 0]);
    let text = "#![cfg_attr(test, allow(x))]\nfn a() {}\n";
    assert_eq!(test_lines(text), [0_usize; 0]);
    assert_eq!(test_lines("// #[cfg(test)]\nfn a() {}\n"), [0_usize; 0]);
}

#[test]
fn a_name_is_found_whole_only() {
    assert!(names("a(Instant::now())", "Instant::now"));
    assert!(names("Instant::now", "Instant::now"));
    assert!(!names("MyInstant::now()", "Instant::now"));
    assert!(!names("Instant::nowhere()", "Instant::now"));
    assert!(names("aXb X", "X"));
    assert!(names("start.elapsed()", ".elapsed()"));
}

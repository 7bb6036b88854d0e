//! Plans as administrators write them, right and wrong.
//! Never a real file.

use super::{PlannedMember, StaticPlan};
use std::path::Path;

fn complaints(text: &str) -> Vec<String> {
    let problems = StaticPlan::parse(text, Path::new("plan.toml")).expect_err("to be refused");
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_plan_is_read() {
    let text = "[[member]]\nname = \"mx1\"\nnode_number = 1\naddresses = \"127.0.0.1:1027\"\n\
                location = \"Cape Town\"\n[[member]]\nname = \"b\"\nnode_number = 65535\n\
                addresses = [\"[::1]:1\", \"b.example:2\"]\n";
    let plan = StaticPlan::parse(text, Path::new("plan.toml")).unwrap();
    let first = PlannedMember {
        name: "mx1".into(),
        node_number: 1,
        addresses: vec!["127.0.0.1:1027".into()],
        location: "Cape Town".into(),
    };
    assert_eq!(plan.members[0], first);
    assert_eq!(plan.members[1].addresses, ["[::1]:1", "b.example:2"]);
    assert_eq!((plan.members[1].node_number, plan.members[1].location.as_str()), (65535, ""));
}

#[test]
fn what_two_members_share_is_refused_with_its_line() {
    let section = |name: &str, number: &str, address: &str| {
        format!("[[member]]\nname = {name}\nnode_number = {number}\naddresses = {address}\n")
    };
    let first = section("\"a\"", "1", "\"h:1\"");
    for (second, wanted) in [
        (
            section("\"a\"", "2", "\"h:2\""),
            "plan.toml:6: member.name = \"a\" is not allowed: it must be a name that no other",
        ),
        (
            section("\"b\"", "1", "\"h:2\""),
            "plan.toml:7: member.node_number = 1 is not allowed: it must be a number that no \
             other member has; a has it",
        ),
        (
            section("\"b\"", "2", "\"h:1\""),
            "plan.toml:8: member.addresses = \"h:1\" is not allowed: it must be an address that \
             stands nowhere else",
        ),
        (section("\"b\"", "65536", "\"h:2\""), "plan.toml:7: member.node_number = 65536 is not"),
        (section("\"../b\"", "2", "\"h:2\""), "plan.toml:6: member.name = \"../b\" is not"),
        (
            section("\"authority\"", "2", "\"h:2\""),
            "plan.toml:6: member.name = \"authority\" is not",
        ),
        (section("\"b\"", "2", "\"h\""), "plan.toml:8: member.addresses = \"h\" is not"),
        (section("\"b\"", "2", "[]"), "plan.toml:8: member.addresses = 0 addresses is not"),
        (
            section("\"b\"", "\"2\"", "\"h:2\""),
            "plan.toml:7: member.node_number must be a whole number",
        ),
        (
            "[[member]]\nnane = \"b\"\n".into(),
            "plan.toml:6: unknown key \"member.nane\"; did you mean \"name\"?",
        ),
    ] {
        let found = complaints(&format!("{first}{second}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(wanted), "{found:?} does not begin {wanted:?}");
    }
    let found = complaints(&format!("{first}[[member]]\n"));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|text| text.starts_with("plan.toml:5: ") && text.contains("missing")));
    let found = complaints("");
    assert_eq!(
        found,
        ["plan.toml: member = 0 sections is not allowed: it must be 1 to 15 sections [[member]]"]
    );
}

//! Imports from end to end: counted, resumed, the same on every node.

//! Imports into the stores of stopped nodes, from trees with known times.
//! Never a daemon.

use crate::failure::Ending;
use crate::testing::Nodes;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn write(path: &Path, text: &str, age_days: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    let time = SystemTime::now() - Duration::from_secs(age_days * 86_400);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn ids(nodes: &Nodes, node: usize) -> Vec<String> {
    let page = nodes.json(node, &["ls", "--all"]);
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tree_is_imported_once_however_often_and_wherever() {
    let nodes = Nodes::create();
    let tree = nodes.scratch().join("tree");
    for number in 0..40 {
        let text = format!("Subject: {number}\r\n\r\n{}", "x".repeat(number));
        write(&tree.join(format!("{}/{number}.eml", number % 3)), &text, number as u64 % 20);
    }
    write(&tree.join("notes.txt"), "no mail", 0);
    let line = ["import", tree.to_str().unwrap(), "--recipient", "a@x"];
    let counts = nodes.json(1, &line);
    assert_eq!((&counts["stored"], &counts["skipped"]), (&40.into(), &1.into()), "{counts}");
    let again = nodes.json(1, &line);
    assert_eq!((&again["stored"], &again["duplicates"]), (&0.into(), &40.into()), "{again}");
    let elsewhere = nodes.scratch().join("moved");
    std::fs::rename(&tree, &elsewhere).unwrap();
    let line = ["import", elsewhere.to_str().unwrap(), "--recipient", "a@x"];
    nodes.json(2, &line);
    assert_eq!(ids(&nodes, 1), ids(&nodes, 2));
    let detail = nodes.json(2, &["show", &ids(&nodes, 2)[0]]);
    assert_eq!(detail["node"], "import");
}

#[test]
fn what_is_too_old_or_was_deleted_is_counted_and_left_out() {
    let nodes = Nodes::create();
    let tree = nodes.scratch().join("tree");
    write(&tree.join("new.eml"), "Subject: new\r\n\r\n", 1);
    write(&tree.join("old.eml"), "Subject: old\r\n\r\n", 100);
    let line = ["import", tree.to_str().unwrap()];
    let (text, ending) = nodes.run(1, &line).unwrap();
    assert_eq!((text.as_str(), ending), ("1 stored, 1 too old\n", Ending::Warnings));
    nodes.run(1, &["rm", &ids(&nodes, 1)[0]]).unwrap();
    let counts = nodes.json(1, &line);
    assert_eq!(counts["deleted_before"], 1);
    assert_eq!(counts["too_old_paths"][0], tree.join("old.eml").to_str().unwrap());
    let archived = nodes.json(1, &["import", tree.to_str().unwrap(), "--class", "archive"]);
    assert_eq!(archived["stored"], 2);
}

#[test]
fn an_mbox_is_imported_message_by_message() {
    let nodes = Nodes::create();
    let path = nodes.scratch().join("old");
    write(&path, "From a@x undated\nSubject: 1\n\n>From b\n\nFrom c@x undated\nSubject: 2\n\n", 1);
    let counts = nodes.json(1, &["import", path.to_str().unwrap()]);
    assert_eq!(counts["stored"], 2);
    let page = nodes.json(1, &["ls", "--sender", "a@x"]);
    let id = page["messages"][0]["id"].as_str().unwrap();
    assert_eq!(nodes.run(1, &["cat", id]).unwrap().0, "Subject: 1\n\nFrom b\n");
}

#[test]
fn a_file_from_the_future_fails_and_the_others_do_not() {
    let nodes = Nodes::create();
    let tree = nodes.scratch().join("tree");
    write(&tree.join("a.eml"), "Subject: a\r\n\r\n", 1);
    write(&tree.join("b.eml"), "Subject: b\r\n\r\n", 1);
    let time = SystemTime::now() + Duration::from_secs(4 * 86_400);
    let file = File::options().write(true).open(tree.join("b.eml")).unwrap();
    file.set_modified(time).unwrap();
    let (text, ending) = nodes.run(1, &["import", tree.to_str().unwrap()]).unwrap();
    assert_eq!((text.as_str(), ending), ("1 stored, 1 failed\n", Ending::Warnings));
    assert!(nodes.run(1, &["import", "/nowhere/at/all"]).is_err());
}

#[test]
fn an_import_into_a_full_store_ends_and_says_how_to_go_on() {
    let nodes = Nodes::create();
    let tree = nodes.scratch().join("tree");
    for number in 0..50 {
        write(&tree.join(format!("{number}.eml")), "Subject: x\r\n\r\n", 1);
    }
    let settings = nodes.root(1).join("etc/quard/quard.toml");
    std::fs::write(&settings, "[disk]\nmin_free_mb = 1048576\n").unwrap();
    let error = nodes.run(1, &["import", tree.to_str().unwrap()]).expect_err("it is full");
    assert_eq!(crate::failure::kind(&error), Some("full"));
    assert!(format!("{error:#}").contains("start it again"), "{error:#}");
    std::fs::write(&settings, "").unwrap();
    assert_eq!(nodes.json(1, &["import", tree.to_str().unwrap()])["stored"], 50);
}

//! Exports of stopped nodes: byte for byte, whole or not at all, and what is left out is named.
//! Never a daemon.

use crate::failure::Ending;
use crate::testing::Nodes;
use quar_base::class::Class;
use quard::daemon::handle::Arrived;
use quard::intake::Mail;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const BODIES: [&[u8]; 5] = [
    b"Subject: 1\r\n\r\nFrom here\r\n>From there\r\n",
    b"Subject: 2\n\nno end",
    b"",
    b"\0\xff\r\n\n\n",
    b"From the first line on\n\nFrom",
];

fn put_all(nodes: &Nodes) -> Vec<String> {
    let mut backend = nodes.open(1).unwrap();
    let classes = [Class::SPAM, Class::VIRUS];
    let mut put = |(number, body): (usize, &&[u8])| {
        let mut mail = Mail {
            class: classes[number % 2],
            envelope: quar_base::arrival::Envelope::default(),
            body: body.to_vec().into(),
            score_milli: 0,
            reason: String::new(),
        };
        mail.envelope.sender = format!("s{number}@x");
        backend.put(mail, Arrived::Now).unwrap().id
    };
    BODIES.iter().enumerate().map(&mut put).collect()
}

/// Regular files below a directory, hidden ones too.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn bodies_of(paths: &[PathBuf]) -> BTreeSet<Vec<u8>> {
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn all_bodies() -> BTreeSet<Vec<u8>> {
    BODIES.iter().map(|body| body.to_vec()).collect()
}

#[test]
fn a_tree_has_every_message_under_class_day_and_id() {
    let nodes = Nodes::create();
    let ids = put_all(&nodes);
    let root = nodes.scratch().join("a/b");
    let line = ["export", root.to_str().unwrap(), "--format", "tree"];
    let report = nodes.json(1, &line);
    assert_eq!((&report["exported"], &report["missing"]), (&5.into(), &0.into()), "{report}");
    for (id, body) in ids.iter().zip(BODIES) {
        let parsed: quar_base::key::MessageId = id.parse().unwrap();
        let directory = format!("{}/{}", parsed.bucket.class, parsed.bucket.day);
        let path = root.join(directory).join(format!("{id}.eml"));
        assert_eq!(std::fs::read(&path).unwrap(), body);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(files(&root).len(), 5);
    let error = nodes.run(1, &line).expect_err("it is not empty");
    assert!(format!("{error:#}").contains("--overwrite"), "{error:#}");
    let again = nodes.run(1, &[&line[..], &["--overwrite"]].concat()).unwrap();
    assert_eq!((again.1, files(&root).len()), (Ending::Done, 5));
}

#[test]
fn an_mbox_and_a_maildir_are_imported_byte_for_byte() {
    let nodes = Nodes::create();
    put_all(&nodes);
    for format in ["mbox", "maildir"] {
        let out = nodes.scratch().join(format);
        let line = ["export", out.to_str().unwrap(), "--format", format];
        nodes.run(1, &line).unwrap();
        let other = Nodes::create();
        let report = other.json(1, &["import", out.to_str().unwrap(), "--format", format]);
        assert_eq!(report["stored"], 5, "{format} {report}");
        let tree = other.scratch().join("tree");
        other.run(1, &["export", tree.to_str().unwrap(), "--format", "tree"]).unwrap();
        assert_eq!(bodies_of(&files(&tree)), all_bodies(), "{format}");
    }
    let maildir = files(&nodes.scratch().join("maildir"));
    assert!(maildir.iter().all(|path| path.parent().unwrap().ends_with("new")), "{maildir:?}");
}

#[test]
fn only_what_the_filters_mean_is_exported() {
    let nodes = Nodes::create();
    put_all(&nodes);
    let out = nodes.scratch().join("out");
    let line = ["export", out.to_str().unwrap(), "--format", "tree", "--class", "virus"];
    assert_eq!(nodes.json(1, &line)["exported"], 2);
    let line = ["export", out.to_str().unwrap(), "--format", "tree", "--sender", "s1@"];
    assert_eq!(nodes.json(1, &[&line[..], &["--overwrite"]].concat())["exported"], 1);
}

#[test]
fn an_mbox_that_is_there_is_kept_until_the_new_one_is_whole() {
    let nodes = Nodes::create();
    put_all(&nodes);
    let out = nodes.scratch().join("old.mbox");
    std::fs::write(&out, "old").unwrap();
    let line = ["export", out.to_str().unwrap(), "--format", "mbox"];
    let error = nodes.run(1, &line).expect_err("it is there");
    assert!(format!("{error:#}").contains("--overwrite"), "{error:#}");
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
    let left_over = nodes.scratch().join("old.mbox.new");
    std::fs::write(&left_over, "half").unwrap();
    let line = [&line[..], &["--overwrite"]].concat();
    let error = nodes.run(1, &line).expect_err("somebody else writes");
    assert!(format!("{error:#}").contains("old.mbox.new"), "{error:#}");
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
    std::fs::remove_file(&left_over).unwrap();
    nodes.run(1, &line).unwrap();
    assert!(std::fs::read(&out).unwrap().starts_with(b"From "));
    assert_eq!(files(&nodes.scratch()).len(), 1);
}

#[test]
fn a_damaged_body_is_named_and_the_rest_is_exported() {
    let nodes = Nodes::create();
    let ids = put_all(&nodes);
    let file = nodes.scratch().join("mail");
    std::fs::write(&file, "Subject: to be damaged\r\n\r\n").unwrap();
    let line = ["put", file.to_str().unwrap(), "--class", "policy"];
    let damaged = nodes.run(1, &line).unwrap().0;
    let segments = files(&nodes.root(1).join("var/lib/quard/segments/policy"));
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    // Inside of the first block, which holds the body.
    bytes[256 + 50] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let out = nodes.scratch().join("out");
    let line = ["--json", "export", out.to_str().unwrap(), "--format", "tree"];
    let (text, ending) = nodes.run(1, &line).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(ending, Ending::Warnings, "{report}");
    assert_eq!(report["exported"], ids.len());
    assert_eq!(report["missing_messages"][0]["id"], damaged.trim(), "{report}");
}

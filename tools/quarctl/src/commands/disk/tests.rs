//! `inspect`, `fsck`, `repair` and `erasure-check` on a stopped node's real files.

use super::erasure_lines;
use crate::backend::Backend;
use crate::failure::{Ending, kind};
use crate::testing::Nodes;
use quard::api::ErasureReply;
use quard::lock::DataLock;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const TEXT: &str = "Subject: whole\r\n\r\nkept";

fn data(nodes: &Nodes) -> PathBuf {
    nodes.root(1).join("var/lib/quard")
}

/// Puts a message of this text; its id.
fn put(nodes: &Nodes, text: &str) -> String {
    let file = nodes.scratch().join("mail.eml");
    fs::write(&file, text).unwrap();
    let line = ["put", file.to_str().unwrap(), "--recipient", "a@x", "--queue-id", text];
    nodes.run(1, &line).unwrap().0.trim().to_owned()
}

/// Deletes a message and ends before its bytes leave the files, as a power cut would.
fn delete_and_stop(nodes: &Nodes, id: &str) {
    assert!(nodes.open(1).unwrap().delete(id, &[]).unwrap().gone);
}

/// Where the body of a message lies: its segment's file, and its block.
fn body_of(nodes: &Nodes, id: &str) -> (PathBuf, u64) {
    let reply = nodes.json(1, &["inspect", id]);
    let places = reply["places"].as_array().unwrap();
    let body = places.iter().find(|place| place["what"] == "body").unwrap();
    (data(nodes).join(body["path"].as_str().unwrap()), body["block"].as_u64().unwrap())
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Every segment's name and bytes.
fn segments(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_healthy_store_is_told_as_it_is() {
    let nodes = Nodes::create();
    let id = put(&nodes, TEXT);
    put(&nodes, "Subject: another\r\n\r\n");
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert!(text.starts_with("1 days, ") && text.ends_with("2 bodies; all is well\n"), "{text}");
    assert_eq!(ending, Ending::Done);
    let told = nodes.json(1, &["fsck"]);
    assert_eq!((&told["records"], &told["bodies"]), (&2.into(), &2.into()));
    for none in ["findings", "strays", "damaged", "holders"] {
        assert_eq!(told[none], serde_json::json!([]), "{none}");
    }
    assert_eq!(told["opened"]["index_rebuilt"], Value::Null);
    assert_eq!(told["opened"]["index_was_empty"], false);

    let days = nodes.json(1, &["inspect"]);
    let bucket = days["days"][0]["bucket"].as_str().unwrap().to_owned();
    assert!(bucket.starts_with("spam/"), "{bucket}");
    assert_eq!(nodes.json(1, &["inspect", &bucket]), days);
    let segment = &days["days"][0]["segments"][0];
    assert_eq!((&segment["role"], &segment["error"]), (&"log".into(), &"".into()));
    let blocks = nodes.json(1, &["inspect", &format!("{bucket}/{}", segment["number"])]);
    assert_eq!(blocks["blocks"][0]["kind"], "bodies");
    let places = nodes.json(1, &["inspect", &id]);
    let what = |at: usize| places["places"][at]["what"].clone();
    assert_eq!((what(0), what(1)), ("arrival".into(), "body".into()));
    for line in [&["inspect"][..], &["inspect", &bucket], &["inspect", &id]] {
        let (text, ending) = nodes.run(1, line).unwrap();
        assert!(text.contains("segments/spam/"), "{text}");
        assert_eq!(ending, Ending::Done);
    }
    let unknown = nodes.run(1, &["inspect", &format!("{bucket}/99")]).expect_err("no such segment");
    assert_eq!(kind(&unknown), Some("not_found"));
    assert_eq!(
        kind(&nodes.run(1, &["inspect", "ffff"]).expect_err("never came")),
        Some("not_found")
    );
}

#[test]
fn a_flipped_byte_is_found_named_and_left_as_it_is() {
    let nodes = Nodes::create();
    let (damaged, whole) = (put(&nodes, "Subject: damaged\r\n\r\n"), put(&nodes, TEXT));
    let (path, block) = body_of(&nodes, &damaged);
    flip(&path, block + 60);
    let before = segments(&data(&nodes));
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert_eq!(ending, Ending::Warnings);
    assert!(text.contains(&format!("bytes {block} to ")), "{text}");
    assert!(text.contains("are damaged") && text.ends_with("; 3 findings\n"), "{text}");
    let told = nodes.json(1, &["fsck"]);
    assert_eq!(strings(&told["findings"]).len(), 3, "{told}");
    assert_eq!(strings(&told["damaged"]), [damaged.as_str()]);
    assert_eq!(told["opened"]["index_rebuilt"], Value::Null);
    let day = nodes.json(1, &["inspect"])["days"][0]["bucket"].as_str().unwrap().to_owned();
    assert_eq!(nodes.run(1, &["fsck", "--bucket", &day]).unwrap().1, Ending::Warnings);
    assert_eq!(nodes.run(1, &["fsck", "--bucket", "virus/2026-11-23"]).unwrap().1, Ending::Done);
    let is_segment = |file: &&(PathBuf, Vec<u8>)| file.0.extension().is_some_and(|e| e == "seg");
    let after = segments(&data(&nodes));
    assert!(
        before.iter().filter(is_segment).eq(after.iter().filter(is_segment)),
        "a segment was changed"
    );
    assert_eq!(nodes.run(1, &["cat", &whole]).unwrap().0, TEXT);
}

#[test]
fn an_index_that_was_damaged_is_built_anew_and_not_kept_quiet_about() {
    let nodes = Nodes::create();
    let id = put(&nodes, TEXT);
    fs::write(data(&nodes).join("index/quar-index.format"), "nothing").unwrap();
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert_eq!(ending, Ending::Warnings, "{text}");
    assert!(text.contains("the index was damaged (") && text.contains("no format file"), "{text}");
    assert!(text.contains("index.damaged-1") && text.ends_with("; all is well now\n"), "{text}");
    assert!(data(&nodes).join("index.damaged-1").is_dir());
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert_eq!(ending, Ending::Done, "what was built anew stays: {text}");

    fs::write(data(&nodes).join("index/quar-index.format"), "nothing").unwrap();
    let told = nodes.json(1, &["fsck"]);
    assert!(told["opened"]["index_rebuilt"].as_str().unwrap().contains("no format file"), "{told}");
    assert_eq!(told["opened"]["index_aside"], "index.damaged-2");
    assert_eq!(nodes.run(1, &["cat", &id]).unwrap().0, TEXT);
}

#[test]
fn an_index_that_is_gone_is_told_of_and_is_no_damage() {
    let nodes = Nodes::create();
    put(&nodes, TEXT);
    fs::remove_dir_all(data(&nodes).join("index")).unwrap();
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert!(text.starts_with("the index held nothing; it was filled from the segments"), "{text}");
    assert!(text.contains("1 records were not in the index; now they are"), "{text}");
    assert_eq!(ending, Ending::Done);
    assert!(nodes.run(1, &["fsck"]).unwrap().0.starts_with("1 days"), "it was told once");
}

#[test]
fn a_write_that_was_never_finished_is_told_of_and_is_no_damage() {
    let nodes = Nodes::create();
    put(&nodes, TEXT);
    let mail = quard::intake::Mail {
        class: quar_base::class::Class::SPAM,
        envelope: quar_base::arrival::Envelope::default(),
        body: vec![7; 5000].into(),
        score_milli: 0,
        reason: String::new(),
    };
    let arrived = quard::daemon::handle::Arrived::Now;
    let id = nodes.open(1).unwrap().put(mail, arrived).unwrap().id;
    let path = data(&nodes).join("segments/spam");
    let (path, bytes) = segments(&path).pop().unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&path, &bytes[..end - 20]).unwrap();
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert!(text.contains("1 segments end in a write that was never finished\n"), "{id}: {text}");
    assert_eq!(ending, Ending::Done, "{text}");
}

#[test]
fn a_segment_that_cannot_be_opened_is_named_once_by_opening_and_check() {
    let nodes = Nodes::create();
    let (path, _) = body_of(&nodes, &put(&nodes, TEXT));
    flip(&path, 20);
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert_eq!(ending, Ending::Warnings);
    let name = path.strip_prefix(data(&nodes)).unwrap().display().to_string();
    let named = text.lines().filter(|line| line.starts_with(&name)).count();
    assert_eq!(named, 1, "{text}");
    let told = nodes.json(1, &["fsck"]);
    assert!(strings(&told["opened"]["damaged"])[0].starts_with(&name), "{told}");
}

#[test]
fn files_that_the_store_does_not_use_are_named() {
    let nodes = Nodes::create();
    let (path, _) = body_of(&nodes, &put(&nodes, TEXT));
    fs::copy(&path, path.with_file_name("1.seg")).unwrap();
    let (text, ending) = nodes.run(1, &["fsck"]).unwrap();
    assert_eq!(ending, Ending::Warnings);
    assert!(text.contains("/1.seg: the store does not use this file\n"), "{text}");
    assert!(text.ends_with("; 1 finding\n"), "{text}");
    assert!(strings(&nodes.json(1, &["fsck"])["strays"])[0].ends_with("/1.seg"));
    let day = nodes.json(1, &["inspect"])["days"][0]["bucket"].as_str().unwrap().to_owned();
    assert_eq!(nodes.run(1, &["fsck", "--bucket", &day]).unwrap().1, Ending::Warnings);
    assert_eq!(nodes.run(1, &["fsck", "--bucket", "virus/2026-11-23"]).unwrap().1, Ending::Done);
}

#[test]
fn what_only_looks_erases_nothing_and_the_next_delete_does() {
    let nodes = Nodes::create();
    let (gone, other) =
        (put(&nodes, "Subject: gone\r\n\r\n"), put(&nodes, "Subject: other\r\n\r\n"));
    put(&nodes, TEXT);
    delete_and_stop(&nodes, &gone);
    let out = nodes.scratch().join("out");
    let out = out.to_str().unwrap();
    for line in [
        &["ls"][..],
        &["show", &other],
        &["cat", &other],
        &["du"],
        &["inspect"],
        &["fsck"],
        &["export", out, "--format", "mbox"],
        &["erasure-check", &gone],
    ] {
        nodes.run(1, line).unwrap();
        let (text, ending) = nodes.run(1, &["erasure-check", &gone]).unwrap();
        assert_eq!(ending, Ending::Warnings, "erased by {line:?}: {text}");
        assert!(text.contains("its record, in the block at "), "{text}");
        assert!(text.contains("its body, in the block at "), "{text}");
    }
    assert_eq!(strings(&nodes.json(1, &["erasure-check", &gone])["remains"]).len(), 2);
    nodes.run(1, &["rm", &other]).unwrap();
    for id in [&gone, &other] {
        let (text, ending) = nodes.run(1, &["erasure-check", id]).unwrap();
        assert_eq!(text, format!("nothing of {id} is left in this node's files\n"));
        assert_eq!(ending, Ending::Done);
        let told = nodes.json(1, &["erasure-check", id]);
        let nothing = serde_json::json!({"id": id, "deleted": true, "remains": [], "unsure": []});
        assert_eq!(told, nothing);
    }
    assert_eq!(nodes.run(1, &["fsck"]).unwrap().1, Ending::Done);
}

#[test]
fn a_repaired_store_opens_and_serves_all_that_is_whole() {
    let nodes = Nodes::create();
    let (damaged, whole) = (put(&nodes, "Subject: damaged\r\n\r\n"), put(&nodes, TEXT));
    let (path, block) = body_of(&nodes, &damaged);
    flip(&path, block + 60);
    let before = fs::read(&path).unwrap();
    let (text, ending) = nodes.run(1, &["repair"]).unwrap();
    assert_eq!(ending, Ending::Warnings, "{text}");
    let aside = text.lines().find_map(|line| line.strip_prefix("a copy of what is damaged: "));
    let aside = aside.unwrap_or_else(|| panic!("{text}"));
    let (_, end) = aside.rsplit_once('-').unwrap();
    let stretch = usize::try_from(block).unwrap()..end.parse().unwrap();
    assert_eq!(fs::read(data(&nodes).join(aside)).unwrap(), before[stretch]);
    assert!(text.contains(&format!("its body is missing: {damaged}\n")), "{text}");
    assert!(text.contains("the index is built anew over 2 records\n"), "{text}");
    assert!(
        text.contains("what is missing comes from n2, if it has it: start quard here"),
        "{text}"
    );
    assert!(data(&nodes).join("index.damaged-1").is_dir(), "the old index is gone");
    assert_eq!(fs::read(&path).unwrap()[..before.len()], before[..], "the segment was changed");

    assert_eq!(nodes.run(1, &["cat", &whole]).unwrap().0, TEXT);
    let missing = nodes.run(1, &["cat", &damaged]).expect_err("its body is damaged");
    assert_eq!(kind(&missing), Some("body_missing"), "{missing:#}");
    let listed = nodes.json(1, &["ls"]);
    assert_eq!(listed["messages"].as_array().unwrap().len(), 2, "{listed}");
    let told = nodes.json(1, &["repair"]);
    assert_eq!(strings(&told["without_body"]), [damaged.as_str()]);
    assert_eq!(strings(&told["members"]), ["n2"]);
    assert_eq!(strings(&told["aside"]), [aside]);
}

#[test]
fn a_repair_keeps_the_names_of_damaged_records_that_only_the_old_index_knew() {
    let nodes = Nodes::create();
    let (damaged, whole) = (put(&nodes, "Subject: damaged\r\n\r\n"), put(&nodes, TEXT));
    let reply = nodes.json(1, &["inspect", &damaged]);
    let arrival = &reply["places"][0];
    let path = data(&nodes).join(arrival["path"].as_str().unwrap());
    let block = arrival["block"].as_u64().unwrap();
    flip(&path, block + 60);
    let (text, ending) = nodes.run(1, &["repair"]).unwrap();
    assert!(text.contains(&format!("its record is damaged: {damaged}\n")), "{text}");
    // Without that index the last block looks like a write that was never finished.
    let name = arrival["path"].as_str().unwrap();
    assert!(text.contains(&format!("damaged: {name}: bytes {block} to ")), "{text}");
    assert!(text.contains("a copy of what is damaged: damaged/segments_spam_"), "{text}");
    assert_eq!(ending, Ending::Warnings);
    let told = nodes.json(1, &["repair"]);
    assert_eq!(strings(&told["broken_records"]), [damaged], "it is known the second time too");
    assert_eq!(nodes.run(1, &["cat", &whole]).unwrap().0, TEXT);
}

#[test]
fn a_repair_says_again_what_damaged_deletes_said() {
    let nodes = Nodes::create();
    let file = nodes.scratch().join("mail.eml");
    fs::write(&file, TEXT).unwrap();
    let line = ["put", file.to_str().unwrap(), "--recipient", "a@x", "--recipient", "b@x"];
    let id = nodes.run(1, &line).unwrap().0.trim().to_owned();
    let other = put(&nodes, "Subject: another\r\n\r\n");
    // At once: the last commit before a stop is written again, and is there twice.
    let mut node = nodes.open(1).unwrap();
    node.delete(&id, &["a@x".to_owned()]).unwrap();
    node.delete(&other, &[]).unwrap();
    drop(node);
    let shown = || strings(&nodes.json(1, &["show", &id])["recipients"]);
    assert_eq!(shown(), ["b@x"]);
    let reply = nodes.json(1, &["inspect", &id]);
    let places = reply["places"].as_array().unwrap();
    let what = |place: &&Value| place["what"].as_str().unwrap().starts_with("delete");
    let place = places.iter().find(what).unwrap_or_else(|| panic!("{reply}"));
    let path = data(&nodes).join(place["path"].as_str().unwrap());
    flip(&path, place["block"].as_u64().unwrap() + 60);
    assert_eq!(nodes.run(1, &["repair"]).unwrap().1, Ending::Warnings);
    assert_eq!(shown(), ["b@x"]);
}

#[test]
fn a_repair_of_a_whole_store_has_nothing_to_tell() {
    let nodes = Nodes::create();
    let id = put(&nodes, TEXT);
    let (text, ending) = nodes.run(1, &["repair"]).unwrap();
    assert_eq!(text, "the index is built anew over 1 records\n");
    assert_eq!(ending, Ending::Done);
    assert_eq!(nodes.run(1, &["cat", &id]).unwrap().0, TEXT);
    let told = nodes.json(1, &["fsck"]);
    assert_eq!(told["opened"]["index_was_empty"], false, "the new index was not kept: {told}");
}

#[test]
fn a_repair_puts_a_segment_aside_that_cannot_be_opened() {
    let nodes = Nodes::create();
    let (path, _) = body_of(&nodes, &put(&nodes, TEXT));
    flip(&path, 20);
    let bytes = fs::read(&path).unwrap();
    let told = nodes.json(1, &["repair"]);
    let aside = strings(&told["aside"]);
    assert_eq!(aside.len(), 1, "{told}");
    assert_eq!(fs::read(data(&nodes).join(&aside[0])).unwrap(), bytes);
    assert_eq!(nodes.run(1, &["repair"]).unwrap().1, Ending::Warnings);
    let again = put(&nodes, "Subject: later\r\n\r\n");
    assert_eq!(nodes.run(1, &["cat", &again]).unwrap().0, "Subject: later\r\n\r\n");
}

#[test]
fn a_repair_that_cannot_begin_leaves_the_index_as_it_is() {
    let nodes = Nodes::create();
    put(&nodes, TEXT);
    let daemon = DataLock::acquire(&data(&nodes)).unwrap();
    let error = format!("{:#}", nodes.run(1, &["repair"]).expect_err("the lock is held"));
    assert!(error.contains("repair is for a stopped node") && error.contains("runs"), "{error}");
    drop(daemon);
    // Found out when the store is opened, and before anything in it is touched.
    let floors = data(&nodes).join("floors");
    fs::write(&floors, "what days are kept?").unwrap();
    nodes.run(1, &["repair"]).expect_err("it is not known what is no longer kept");
    fs::remove_file(floors).unwrap();
    assert!(!data(&nodes).join("index.damaged-1").exists(), "it was set aside all the same");
    assert_eq!(nodes.run(1, &["fsck"]).unwrap().1, Ending::Done);
}

#[test]
fn a_packed_day_is_checked_and_told_as_packed() {
    let nodes = Nodes::create();
    put(&nodes, TEXT);
    let day = nodes.json(1, &["inspect"])["days"][0]["bucket"].as_str().unwrap().to_owned();
    let Backend::Offline(offline) = nodes.open(1).unwrap() else { panic!("no daemon runs") };
    let goes_on = &mut |_| std::ops::ControlFlow::Continue(());
    assert!(offline.store().pack(day.parse().unwrap(), goes_on).unwrap().is_some());
    drop(offline);
    assert_eq!(nodes.run(1, &["fsck"]).unwrap().1, Ending::Done);
    let days = nodes.json(1, &["inspect", &day]);
    let pack = &days["days"][0]["pack"];
    assert_eq!(pack["arrivals"], 1, "{days}");
    let (text, _) = nodes.run(1, &["inspect", &day]).unwrap();
    assert!(text.contains(": packed; 1 arrivals, 0 actions, 1 bodies of "), "{text}");
}

fn lines(deleted: bool, remains: &[&str], unsure: &[&str]) -> String {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let (remains, unsure) = (texts(remains), texts(unsure));
    let id = "spam-20261123-081512-77".to_owned();
    erasure_lines(&ErasureReply { id, deleted, remains, unsure }).join("\n")
}

#[test]
fn an_erasure_check_says_what_is_left_whether_that_is_sure_and_whether_it_is_deleted_at_all() {
    assert_eq!(
        lines(true, &[], &[]),
        "nothing of spam-20261123-081512-77 is left in this node's files"
    );
    assert_eq!(lines(true, &["1.seg: its record"], &[]), "1.seg: its record");
    let unsure = lines(true, &[], &["1.seg: bytes 1 to 2 are damaged"]);
    assert!(unsure.starts_with("perhaps of it: 1.seg: bytes") && unsure.contains("cannot be told"));
    assert!(lines(false, &["1.seg: its record"], &[]).contains("is not deleted for all"));
    assert!(lines(false, &[], &[]).contains("is not deleted for all"));
}

//! `inspect`, `fsck`, `repair` and `erasure-check` on nodes that run, and on what they leave when they stop.

use crate::support::{MAIL, Ran, Running};
use quard::config::Paths;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

impl Running {
    fn data(&self, node: usize) -> PathBuf {
        Paths::under(Some(&self.root(node))).data_dir()
    }

    /// Puts a message on the first node and waits until all have it; its id.
    async fn put_everywhere(&mut self, name: &str, text: &[u8]) -> String {
        let file = self.file(name, text);
        let line = ["put", file.to_str().unwrap(), "--recipient", "a@x", "--queue-id", name];
        let id = self.quarctl(1, &line).text().to_owned();
        self.cluster.wait_for_equal_roots().await.unwrap();
        id
    }

    /// Flips a byte in the block that holds this message's body on the first node.
    fn damage_body(&self, id: &str) {
        let reply = self.json(1, &["inspect", id]);
        let places = reply["places"].as_array().unwrap();
        let body = places.iter().find(|place| place["what"] == "body").unwrap();
        let path = self.data(1).join(body["path"].as_str().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(body["block"].as_u64().unwrap()).unwrap() + 60] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

fn text(ran: &Ran) -> &str {
    std::str::from_utf8(&ran.out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_a_running_nodes_disk_is_shown_and_checked() {
    let mut running = Running::start("").await;
    let id = running.put_everywhere("mail.eml", MAIL).await;
    let days = running.json(2, &["inspect"]);
    let day = days["days"][0]["bucket"].as_str().unwrap().to_owned();
    let number = days["days"][0]["segments"][0]["number"].to_string();
    for line in [&["inspect"][..], &["inspect", &day], &["inspect", &format!("{day}/{number}")]] {
        assert!(running.quarctl(2, line).text().contains(&day), "{line:?}");
    }
    assert!(running.quarctl(2, &["inspect", &id]).text().contains("arrival"));
    for what in [&format!("{day}/99"), "ffff"] {
        assert_eq!(running.quarctl(2, &["inspect", what]).code, 3, "{what}");
    }
    for line in [&["fsck"][..], &["fsck", "--bucket", &day]] {
        assert!(running.quarctl(2, line).text().ends_with("all is well"), "{line:?}");
    }
    let told = running.json(2, &["fsck"]);
    assert_eq!((&told["opened"], &told["findings"]), (&Value::Null, &serde_json::json!([])));

    let stray = running.data(2).join("segments").join(&day).join("old.seg");
    fs::write(stray, "mine").unwrap();
    let found = running.quarctl(2, &["fsck"]);
    let named = format!("segments/{day}/old.seg: the store does not use this file");
    assert!(found.code == 4 && text(&found).contains(&named), "{found:?}");
    assert_eq!(running.quarctl(2, &["fsck", "--bucket", &day]).code, 4);
    assert_eq!(running.json(2, &["fsck"])["strays"].as_array().unwrap().len(), 1);
    assert_eq!(running.quarctl(2, &["fsck", "--bucket", "virus/2026-11-23"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_a_running_node_is_named_with_who_has_the_mail_and_comes_back_from_there() {
    let mut running = Running::start("").await;
    let id = running.put_everywhere("mail.eml", MAIL).await;
    running.damage_body(&id);
    let found = running.quarctl(1, &["fsck"]);
    assert!(found.code == 4 && text(&found).contains("are damaged"), "{found:?}");
    let holders = text(&found).lines().find(|line| line.starts_with(&format!("{id} is on ")));
    let holders = holders.unwrap_or_else(|| panic!("{found:?}"));
    assert!(holders.contains("node2") && holders.contains("node3"), "{holders}");
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_eq!(running.quarctl(1, &["cat", &id]).out, MAIL);
    let told = running.json(1, &["fsck"]);
    assert!(told["findings"][0].as_str().unwrap().contains("are damaged"), "{told}");
    assert_eq!(told["damaged"], serde_json::json!([]), "it is back: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_repaired_takes_what_it_lacks_and_serves_it() {
    let mut running = Running::start("quic = false").await;
    let id = running.put_everywhere("mail.eml", MAIL).await;
    let other = running.put_everywhere("other.eml", b"Subject: other\r\n\r\n").await;
    let refused = running.quarctl(1, &["repair"]);
    assert_eq!((refused.code, refused.out.len()), (1, 0), "{refused:?}");
    assert!(refused.err.contains("repair is for a stopped node"), "{refused:?}");
    running.damage_body(&id);
    running.cluster.nodes[0].kill().unwrap();
    assert!(!running.data(1).join("index.damaged-1").exists());

    let repaired = running.quarctl(1, &["repair"]);
    assert_eq!(repaired.code, 4, "{repaired:?}");
    for wanted in [
        format!("its body is missing: {id}\n"),
        "a copy of what is damaged: damaged/segments_spam_".to_owned(),
        "of node2, node3: start quard here".to_owned(),
    ] {
        assert!(text(&repaired).contains(&wanted), "{wanted}: {repaired:?}");
    }
    assert!(running.data(1).join("index.damaged-1").is_dir());
    assert_eq!(running.quarctl(1, &["cat", &other]).out, b"Subject: other\r\n\r\n");
    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_eq!(running.quarctl(1, &["cat", &id]).out, MAIL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_is_looked_for_until_it_is_erased() {
    let mut running = Running::start("quic = false").await;
    let id = running.put_everywhere("mail.eml", MAIL).await;
    let other = running.put_everywhere("other.eml", b"Subject: other\r\n\r\n").await;
    running.quarctl(1, &["rm", &id]).text();
    let left = running.quarctl(1, &["erasure-check", &id]);
    assert!(left.code == 4 && text(&left).contains("its record, in the block at "), "{left:?}");
    assert_eq!(running.json(1, &["erasure-check", &id])["id"], id.as_str());
    running.cluster.nodes[0].kill().unwrap();
    assert_eq!(running.quarctl(1, &["ls"]).code, 0);
    assert_eq!(running.quarctl(1, &["erasure-check", &id]).code, 4, "a look erased it");
    running.quarctl(1, &["rm", &other]).text();
    for is_running in [false, true] {
        if is_running {
            running.cluster.nodes[0].start().unwrap();
            running.cluster.wait_for_equal_roots().await.unwrap();
        }
        let gone = running.quarctl(1, &["erasure-check", &id]);
        let wanted = format!("nothing of {id} is left in this node's files");
        assert_eq!(gone.text(), wanted, "running: {is_running}");
        let told = running.json(1, &["erasure-check", &id]);
        assert_eq!(told["remains"], serde_json::json!([]));
    }
    assert_eq!(running.quarctl(1, &["erasure-check", "4f3a92"]).code, 2, "not a whole id");
}

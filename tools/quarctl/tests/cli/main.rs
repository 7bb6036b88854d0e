//! `quarctl` as operators run it: its own process, against real daemons and what they leave.
//! Never looks inside: exit codes, standard output and standard error are all there is.
#![allow(clippy::unwrap_used)]

mod cluster;
mod disk;
mod support;

use quard::api::NodeStatus;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::{MAIL, Ran, Running, quarctl, ran};

/// Set in processes of this program that are to be a daemon.
const DAEMON_ROOT: &str = "QUARCTL_TEST_DAEMON_ROOT";

#[test]
fn is_a_daemon_when_asked_to() {
    if let Some(root) = std::env::var_os(DAEMON_ROOT) {
        let paths = quard::config::Paths::under(Some(root.as_ref()));
        quard::daemon::run::run_until_stopped(&paths).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_works_on_one_node_with_what_another_caught() {
    let mut running = Running::start("").await;
    let file = running.file("mail.eml", MAIL);
    let put = ["put", file.to_str().unwrap(), "--sender", "s@x", "--recipient", "a@x"];
    let id = running.quarctl(1, &put).text().to_owned();
    running.cluster.wait_for_equal_roots().await.unwrap();

    let usage = running.json(2, &["du", "--by", "sender-domain", "--recipient", "a@x"]);
    assert_eq!(
        (&usage["rows"][0]["name"], &usage["total"]["mail_bytes"]),
        (&"x".into(), &MAIL.len().into())
    );
    assert!(running.quarctl(3, &["du"]).text().starts_with("CLASS"));

    let listed = running.quarctl(2, &["ls"]);
    let short = listed.text().lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(id.contains(&short), "{listed:?}");
    assert!(!listed.out.contains(&0x1b), "colour without a terminal");
    assert_eq!(running.quarctl(2, &["cat", &short]).out, MAIL);
    assert!(running.quarctl(3, &["show", &short]).text().contains("sender      s@x"));

    let released = running.quarctl(3, &["release", &short]);
    assert!(released.text().starts_with("a@x: delivered"), "{released:?}");
    assert_eq!(running.sink.received()[0].sender, "s@x");
    let again = running.quarctl(3, &["release", &short]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("--again"), "{again:?}");
    assert_eq!(running.quarctl(3, &["release", &short, "--again"]).code, 0);
    let elsewhere = running.quarctl(2, &["release", &short, "--to", "b@x"]);
    assert!(elsewhere.text().starts_with("b@x: delivered"), "{elsewhere:?}");

    assert!(running.quarctl(2, &["rm", &short]).text().ends_with("deleted"));
    running.cluster.wait_for_equal_roots().await.unwrap();
    let gone = running.quarctl(1, &["cat", &id]);
    assert_eq!((gone.code, gone.out.len()), (3, 0), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_operator_holds_another_reads_releases_and_lets_go() {
    let mut running = Running::start("").await;
    let file = running.file("mail.eml", MAIL);
    let put = ["put", file.to_str().unwrap(), "--sender", "s@x", "--recipient", "a@x"];
    let id = running.quarctl(1, &put).text().to_owned();
    running.cluster.wait_for_equal_roots().await.unwrap();
    let told = running.quarctl(2, &["hold", &id]);
    let held = told.text().split(' ').next_back().unwrap().to_owned();
    assert!(running.quarctl(3, &["rm", &id]).text().ends_with("deleted"));
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_eq!(running.quarctl(1, &["cat", &held]).out, MAIL);
    let shown = running.quarctl(3, &["show", &held]);
    assert!(shown.text().contains(&format!("holds       {id}")), "{shown:?}");
    let released = running.quarctl(3, &["release", &held]);
    assert!(released.text().starts_with("a@x: delivered"), "{released:?}");
    assert!(running.quarctl(1, &["unhold", &held]).text().ends_with("let go"));
    running.cluster.wait_for_equal_roots().await.unwrap();
    for line in [["hold", &id], ["unhold", &id], ["cat", &held]] {
        assert_eq!(running.quarctl(2, &line).code, 3, "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_proves_is_checked_where_there_is_no_node() {
    let mut running = Running::start("").await;
    let file = running.file("mail.eml", MAIL);
    let other = running.file("other.eml", b"Subject: other\r\n\r\n");
    let id = running.quarctl(1, &["put", file.to_str().unwrap()]).text().to_owned();
    running.cluster.wait_for_equal_roots().await.unwrap();
    let proof = running.directory.path().join("proof");
    // It has just come: the node waits until it has settled.
    running.quarctl(2, &["prove", &id, "--out", proof.to_str().unwrap()]).text();

    let ca = quard::config::Paths::under(Some(&running.root(3))).authority_certificate();
    let ca = ca.to_str().unwrap();
    let nowhere = Path::new("/nowhere");
    let line = ["verify-proof", proof.to_str().unwrap(), "--ca", ca];
    let told = quarctl(nowhere, &[&line[..], &["--message", file.to_str().unwrap()]].concat());
    assert!(told.text().starts_with("node2 held this message at "), "{told:?}");
    assert!(told.text().contains(&format!("message     {id}")), "{told:?}");
    assert!(told.text().ends_with("mail.eml, byte for byte"), "{told:?}");
    let json = quarctl(nowhere, &[&["--json"], &line[..]].concat());
    let json: Value = serde_json::from_slice(&json.out).unwrap();
    assert_eq!((&json["node"], &json["message"]), (&"node2".into(), &id.as_str().into()));
    let wrong = quarctl(nowhere, &[&line[..], &["--message", other.to_str().unwrap()]].concat());
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.err.contains("about another mail"), "{wrong:?}");

    let mut bytes = std::fs::read(&proof).unwrap();
    assert_eq!(running.quarctl(2, &["prove", &id]).out.len(), bytes.len());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&proof, bytes).unwrap();
    let changed = quarctl(nowhere, &line);
    assert_eq!((changed.code, changed.out.len()), (1, 0), "{changed:?}");
    assert!(changed.err.contains("proves nothing"), "{changed:?}");
    assert_eq!(quarctl(nowhere, &["verify-proof", "/nowhere/proof", "--ca", ca]).code, 1);

    running.quarctl(1, &["rm", &id]).text();
    running.cluster.wait_for_equal_roots().await.unwrap();
    let gone = running.quarctl(2, &["prove", &id]);
    assert_eq!((gone.code, gone.out.len()), (3, 0), "{gone:?}");
    assert!(gone.err.contains("was deleted"), "{gone:?}");
}

/// `quarctl` with files of at most 100 kB, as on a disk that is full then.
fn quarctl_with_little_room(root: &Path, line: &[&str]) -> Ran {
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_quarctl"), "--root"]);
    ran(command.arg(root).args(line))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_running_node_is_whole_or_named_as_broken_off() {
    let running = Running::start("").await;
    let small = running.file("small.eml", MAIL);
    let large: Vec<u8> = MAIL.iter().copied().cycle().take(1 << 20).collect();
    let large = running.file("large.eml", &large);
    for file in [&large, &small] {
        running.quarctl(1, &["put", file.to_str().unwrap()]).text();
    }
    for format in ["mbox", "tree", "maildir"] {
        let out = running.directory.path().join(format!("out/{format}"));
        std::fs::create_dir_all(out.parent().unwrap()).unwrap();
        let line = ["export", out.to_str().unwrap(), "--format", format];
        let broken = quarctl_with_little_room(&running.root(1), &line);
        assert_eq!(broken.code, 1, "{broken:?}");
        assert!(
            broken.err.contains("broken off") && broken.err.contains("cannot write"),
            "{broken:?}"
        );
        let left: Vec<_> = files(&out).iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(left.iter().all(|bytes| bytes == MAIL), "{format}: half a file");
        assert!(!out.with_extension("new").exists());
        let whole = running.quarctl(1, &[&line[..], &["--overwrite"]].concat());
        assert!(whole.text().starts_with("2 messages"), "{whole:?}");
        let sum: u64 = files(&out).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(sum >= (1 << 20) + MAIL.len() as u64);
    }
}

/// Regular files below a path, or the path itself.
fn files(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flat_map(|entry| files(&entry.unwrap().path())).collect(),
        Err(_) if path.exists() => vec![path.to_owned()],
        Err(_) => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_import_one_tree_make_one_copy() {
    let mut running = Running::start("").await;
    let mut tree = PathBuf::new();
    for number in 0..30 {
        let text = format!("Subject: {number}\r\n\r\nbody\r\n");
        let path = running.file(&format!("tree/{}/{number}.eml", number % 4), text.as_bytes());
        let age = Duration::from_secs(number * 20_000);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        tree = path.parent().unwrap().parent().unwrap().to_owned();
    }
    let line = ["import", tree.to_str().unwrap(), "--recipient", "a@x"];
    let first = running.json(1, &line);
    assert_eq!(first["stored"], 30, "{first}");
    running.json(2, &line);
    running.json(3, &line);
    running.cluster.wait_for_equal_roots().await.unwrap();
    let ids = running.ids(1);
    assert_eq!(ids.len(), 30);
    assert_eq!((running.ids(2), running.ids(3)), (ids.clone(), ids));
    let again = running.json(2, &line);
    assert_eq!((&again["stored"], &again["duplicates"]), (&0.into(), &30.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_is_worked_on_directly_and_a_running_one_never() {
    // Over TCP the peers notice a death at once.
    let mut running = Running::start("quic = false").await;
    let file = running.file("mail.eml", MAIL);
    let id = running.quarctl(1, &["put", file.to_str().unwrap()]).text().to_owned();

    let held = running.quarctl(1, &["--offline", "ls"]);
    let pid = running.cluster.nodes[0].pid().unwrap().to_string();
    assert_eq!(held.code, 1);
    assert!(held.err.contains("the daemon runs") && held.err.contains(&pid), "{held:?}");
    let status = running.quarctl(1, &["status", "--cluster"]);
    assert!([0, 4].contains(&status.code), "{status:?}");

    running.cluster.nodes[0].kill().unwrap();
    let is_missed = |status: &NodeStatus| status.members.iter().any(|one| one.state == "down");
    let all_miss = |statuses: &[NodeStatus]| statuses.iter().all(is_missed);
    running.cluster.wait("node 1 is missed", all_miss).await.unwrap();
    let status = running.quarctl(2, &["status"]);
    assert_eq!(status.code, 4, "{status:?}");
    assert_eq!(running.quarctl(1, &["status"]).code, 1);
    let opened = running.quarctl(1, &["cat", &id]);
    assert_eq!(opened.out, MAIL, "{opened:?}");
    assert!(opened.err.contains("working on the store directly"));
    running.quarctl(1, &["rm", &id]).text();
    let other = running.quarctl(1, &["put", file.to_str().unwrap(), "--class", "virus"]);
    let other = other.text().to_owned();

    running.cluster.nodes[0].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    for node in 1..=3 {
        assert_eq!(running.ids(node), [Value::from(other.as_str())], "node {node}");
        assert_eq!(running.quarctl(node, &["show", &id]).code, 3);
    }
}

#[test]
fn a_cluster_is_made_from_a_plan_once() {
    let directory = tempfile::tempdir().unwrap();
    let plan = directory.path().join("cluster.toml");
    let member = |number: u16| {
        format!(
            "[[member]]\nname = \"mx{number}\"\nnode_number = {number}\n\
             addresses = \"mx{number}.example:1027\"\n"
        )
    };
    std::fs::write(&plan, format!("{}{}", member(1), member(2))).unwrap();
    let out = directory.path().join("out");
    let line = ["init", "--static", plan.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let made = quarctl(directory.path(), &line);
    assert!(made.text().contains("mx2"), "{made:?}");
    assert!(!made.text().contains("QCEK"), "a key is on the screen");
    assert!(out.join("mx1/etc/quard/member.key").exists());
    let twice = quarctl(directory.path(), &line);
    assert_eq!(twice.code, 1);
    std::fs::write(&plan, format!("{}{}", member(1), member(3))).unwrap();
    let extended = quarctl(directory.path(), &[&line[..], &["--extend"]].concat());
    assert!(extended.text().contains("epoch 2"), "{extended:?}");
    assert!(out.join("mx3/etc/quard/member.key").exists());
    std::fs::write(&plan, "[[member]]\nname = \"mx1\"\n").unwrap();
    let wrong = quarctl(directory.path(), &line);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("node_number"), "{wrong:?}");
}

#[test]
fn usage_and_completions_need_no_node() {
    let nowhere = Path::new("/nowhere");
    assert_eq!(quarctl(nowhere, &["ls", "--day", "yesterday"]).code, 2);
    assert_eq!(quarctl(nowhere, &["explode"]).code, 2);
    assert_eq!(quarctl(nowhere, &["import", "--help"]).code, 0);
    let script = quarctl(nowhere, &["completions", "bash"]);
    assert!(script.text().contains("release"), "{script:?}");
    let absent = quarctl(nowhere, &["--json", "ls"]);
    assert_eq!(absent.code, 1);
    let error: Value = serde_json::from_str(&absent.err).unwrap();
    assert!(error["error"].as_str().unwrap().contains("/nowhere"), "{error}");
}

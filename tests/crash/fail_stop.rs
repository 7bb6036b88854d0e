//! A store whose sync failed, seen from outside: it refuses, reads on, says so, and a restart mends it.
//! Never looks into the daemon: LMTP, HTTP, the control socket and quarctl only.

use crate::expected::{Expected, Heard, body_of, mail, send};
use crate::shim::{Kind, Told};
use crate::support::{Node, Started};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output};

/// The operator's tool, built by the cargo that built this test.
fn quarctl() -> PathBuf {
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_quard"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "quarctl"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--target-dir")
        .arg(daemon.ancestors().nth(2).unwrap())
        .status();
    assert!(built.unwrap().success(), "quarctl does not build");
    daemon.with_file_name("quarctl")
}

fn status(quarctl: &PathBuf, node: &Node) -> Output {
    Command::new(quarctl).arg("--root").arg(&node.root).arg("status").output().unwrap()
}

/// Status and body of a GET over HTTP.
fn get(node: &Node, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(node.http).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", node.http);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_sync_failed_refuses_says_so_reads_on_and_works_after_a_restart() {
    let quarctl = quarctl();
    let mut node = Node::create();
    // The third sync: that of the file's header and that of the first mail succeed.
    let told = Told::fails_where(Kind::Drop, 3, "fdatasync:/segments/");
    let started = node.start(Some(&told)).await;
    assert!(matches!(started, Started::Up), "{started:?}");
    let (mut feeder, mut expected) = (None, Expected::default());
    let first = mail(1, 2000);
    let heard = send(&node, &mut feeder, "spam", &first).await;
    expected.note(&first, &heard);
    assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
    assert!(get(&node, "/v1/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(status(&quarctl, &node).status.code(), Some(4), "one member: a warning");

    for number in 2..5 {
        let body = mail(number, 2000);
        let heard = send(&node, &mut feeder, "spam", &body).await;
        assert!(matches!(heard, Heard::Refused(451, _)), "{heard:?}");
        expected.note(&body, &heard);
    }
    assert!(node.fired().is_some_and(|fired| fired.starts_with("fdatasync")));
    let health = get(&node, "/v1/healthz");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("failed"), "{health}");
    let shown = status(&quarctl, &node);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    for part in ["failed: takes no mail", "check the disk first", "until the daemon is restarted"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let id = expected.kept.keys().next().unwrap().clone();
    let mut client = node.client().await.unwrap();
    assert_eq!(body_of(&mut client, &id).await.unwrap(), first);
    let refused = expected.clone().delete(node.client().await, &id).await;
    assert_eq!(refused, Some(503), "a delete is refused too");
    drop((client, feeder));
    assert!(node.stop().await.success());

    node.start_well().await;
    expected.check(&node, "after a restart").await;
    let heard = send(&node, &mut None, "spam", &mail(9, 100)).await;
    assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
    assert!(get(&node, "/v1/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(status(&quarctl, &node).status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_with_452_and_takes_mail_again_as_soon_as_there_is_room() {
    let mut node = Node::create();
    let told = Told::fails_where(Kind::Torn, 2, "write:/segments/");
    assert!(matches!(node.start(Some(&told)).await, Started::Up));
    let (mut feeder, mut expected) = (None, Expected::default());
    let mut codes = Vec::new();
    for number in 1..4 {
        let body = mail(number, 9000);
        let heard = send(&node, &mut feeder, "spam", &body).await;
        expected.note(&body, &heard);
        codes.push(match heard {
            Heard::Refused(code, _) => code,
            Heard::Taken(_) => 250,
            Heard::Nothing => 0,
        });
    }
    assert_eq!(codes, [452, 250, 250]);
    assert!(!node.status().await.unwrap().failed);
    node.kill();
    node.start_well().await;
    expected.check(&node, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_flushed_stops_intake_at_once_and_no_read() {
    let mut node = Node::create();
    let told = Told::fails_where(Kind::Eio, 1, "write:/index/quar-index.journal");
    assert!(matches!(node.start(Some(&told)).await, Started::Up));
    let (mut expected, body) = (Expected::default(), mail(1, 4000));
    let heard = send(&node, &mut None, "spam", &body).await;
    expected.note(&body, &heard);
    assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
    let failed = async {
        // Nothing comes in: the checkpoint alone must show it.
        while !node.status().await.unwrap().failed {
            tokio::task::yield_now().await;
        }
    };
    node.watched("the checkpoint", failed).await;
    expected.check(&node, "while it is stopped").await;
    let heard = send(&node, &mut None, "spam", &mail(2, 400)).await;
    assert!(matches!(heard, Heard::Refused(451, _)), "{heard:?}");
    node.kill();
    node.start_well().await;
    expected.note(&mail(2, 400), &heard);
    expected.check(&node, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_could_not_be_unlinked_is_unlinked_by_the_next_erasure() {
    let mut node = Node::create();
    let told = Told::fails_where(Kind::Eio, 1, "unlink:/segments/spam");
    assert!(matches!(node.start(Some(&told)).await, Started::Up));
    let (mut feeder, mut expected) = (None, Expected::default());
    for number in 1..4 {
        let body = mail(number, 4000);
        let heard = send(&node, &mut feeder, "spam", &body).await;
        expected.note(&body, &heard);
    }
    let id = expected.kept.keys().next().unwrap().clone();
    assert_eq!(expected.delete(node.client().await, &id).await, None);
    let erased = async {
        while !node.log().contains("erased bucket") {
            tokio::task::yield_now().await;
        }
    };
    node.watched("the erasure", erased).await;
    assert!(node.log().contains("erasing failed"), "{}", node.report());
    let fired = node.fired().unwrap();
    let old = fired.split_once(' ').unwrap().1;
    assert!(!std::path::Path::new(old).exists(), "{old} still holds what was deleted");
    expected.check(&node, "after the erasure").await;
    node.kill();
    node.start_well().await;
    expected.check(&node, "after a restart").await;
}

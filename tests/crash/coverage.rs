//! The shim sees every call on the store's files that the kernel sees.
//! Never compares what the C library does for itself when it lists a directory.

use crate::expected::{Expected, Heard, mail, send, start_before_a_day_expires};
use crate::shim::Told;
use crate::support::{Node, Started};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the shim calls the kernel's calls.
const NAMES: [(&str, &[&str]); 13] = [
    ("write", &["write", "pwrite64", "writev", "pwritev", "pwritev2"]),
    ("read", &["read", "pread64", "readv", "preadv", "preadv2"]),
    ("fsync", &["fsync"]),
    ("fdatasync", &["fdatasync"]),
    ("sync_file_range", &["sync_file_range"]),
    ("fallocate", &["fallocate"]),
    ("ftruncate", &["ftruncate"]),
    ("rename", &["rename", "renameat", "renameat2"]),
    ("unlink", &["unlink", "unlinkat", "rmdir"]),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("open", &["open", "openat", "openat2", "creat"]),
    ("stat", &["stat", "lstat", "newfstatat", "statx", "fstat"]),
    // The shim knows none of these: one that is made fails the comparison.
    ("other", &["copy_file_range", "sendfile", "splice", "truncate", "msync", "syncfs", "link"]),
];

type Counts = BTreeMap<&'static str, u64>;

fn name_of(call: &str) -> Option<&'static str> {
    NAMES.iter().find(|(_, calls)| calls.contains(&call)).map(|(name, _)| *name)
}

/// The number is followed by as many spaces as make five places full, and one: `71    +++ exited with 0 +++`.
fn split_pid(line: &str) -> Option<(&str, &str)> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    Some((pid, rest.trim_start()))
}

/// Lines such as `4711 pwrite64(9</var/lib/quard/x>, ...`, or in two when another thread's call came between:
/// `4711 fsync(9</var/lib/quard/x> <unfinished ...>` and `4711 <... fsync resumed>) = 0`. A call that the end of
/// the process overtook has no result (`= ?`, or no second line): it came back to nobody, so the shim says nothing.
fn counted_by_strace(trace: &str, data: &str) -> Counts {
    let mut counts = Counts::new();
    let mut unfinished = BTreeMap::new();
    for line in trace.lines() {
        let Some((pid, call)) = split_pid(line) else { continue };
        let name = if call.starts_with("<... ") {
            unfinished.remove(pid)
        } else {
            call.split_once('(').and_then(|(head, rest)| {
                let is_listing = head == "newfstatat" && rest.contains("\"\", ");
                name_of(head).filter(|_| rest.contains(data) && !is_listing)
            })
        };
        let Some(name) = name else { continue };
        if call.ends_with("<unfinished ...>") {
            unfinished.insert(pid, name);
        } else if !call.ends_with("= ?") {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

fn counted_by_shim(log: &str) -> Counts {
    let mut counts = Counts::new();
    for fields in log.lines().map(|line| line.split('\t').collect::<Vec<_>>()) {
        let name = match fields[3] {
            _ if fields[8].is_empty() => continue,
            "create" | "openmake" | "opendir" => "open",
            "rmdir" => "unlink",
            "fstat" => "stat",
            call => call,
        };
        if let Some((name, _)) = NAMES.iter().find(|(known, _)| *known == name) {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

fn has_strace() -> bool {
    let mut version = Command::new("strace");
    version.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_on_the_stores_files_goes_past_the_shim() {
    if !has_strace() {
        eprintln!("NOT CHECKED: what goes past the shim; strace is not installed");
        return;
    }
    let mut node = Node::create();
    start_before_a_day_expires(&mut node).await;
    node.kill();
    let told = Told { fault: None, log: Some(node.beside("shim.log")) };
    let trace = node.beside("trace");
    let mut command = node.command(Path::new("strace"), None);
    for (name, value) in told.variables(&node.data(), &node.beside("fired")) {
        command.arg("-E").arg(format!("{name}={value}"));
    }
    // -D: the daemon is this process's child, and strace is not.
    command.args(["-D", "-f", "-y", "-q", "-e", "trace=%file,%desc", "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_quard")).arg("--root").arg(&node.root).arg("run");
    let started = node.start_as(command).await;
    assert!(matches!(started, Started::Up), "{started:?}\n{}", node.report());
    let pid = node.pid();

    let (mut feeder, mut expected) = (None, Expected::default());
    for (at, bytes) in [600, 1 << 20, 5000].into_iter().enumerate() {
        let body = mail(at as u64, bytes);
        let heard = send(&node, &mut feeder, "spam", &body).await;
        assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
        expected.note(&body, &heard);
    }
    drop(feeder);
    let id = expected.kept.keys().next().unwrap().clone();
    assert_eq!(expected.delete(node.client().await, &id).await, None);
    let erased = async {
        while !["erased bucket", "expired bucket"].iter().all(|line| node.log().contains(line)) {
            tokio::task::yield_now().await;
        }
    };
    node.watched("the erasure and the expiry", erased).await;
    expected.check(&node, "under strace").await;
    assert!(node.stop().await.success());

    let pid = pid.to_string();
    let is_end = |line: &str| {
        split_pid(line).is_some_and(|(of, rest)| of == pid && rest.starts_with("+++ exited"))
    };
    let written = async {
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
            if text.lines().any(is_end) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let trace = node.watched("strace", written).await;
    let seen = counted_by_strace(&trace, node.data().to_str().unwrap());
    let log = std::fs::read_to_string(node.beside("shim.log")).unwrap();
    assert_eq!(seen, counted_by_shim(&log));
    for call in ["write", "read", "fsync", "fdatasync", "sync_file_range", "rename", "unlink"] {
        assert!(seen.contains_key(call), "the daemon makes no {call}: {seen:?}");
    }
    eprintln!("all of these were seen by the shim: {seen:?}");
}

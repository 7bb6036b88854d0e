//! A disk that is really full: mail is refused, deletes are taken, a killed daemon starts, and room comes back.
//! Never a pretended one: the data directory is a small file system in memory, filled to the last byte.

use crate::expected::{Expected, Heard, mail, send};
use crate::support::Node;
use quard::api::DiskStatus;
use quard::config::Paths;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: &str = "size=24m,mode=755";
const MAIL_BYTES: usize = 150_000;

/// A file system in memory over a directory; gone with this.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not mount: said aloud, since nothing is then tested.
    fn over(directory: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(directory);
        let output = mount.output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory.to_owned()));
        }
        eprintln!("NOT TESTED: a full disk; a file system in memory cannot be mounted: {output:?}");
        None
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for chunk in [1 << 20, 1 << 12] {
            while file.write_all(&vec![1; chunk]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whatever still reads there keeps it until it ends.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// A node on a small disk; its daemon is to be dropped before the disk.
fn create(more: &str) -> Option<(Small, Node)> {
    let node = Node::create();
    let small = Small::over(&node.data())?;
    let path = Paths::under(Some(&node.root)).config_file();
    let settings = std::fs::read_to_string(&path).unwrap();
    let disk = "[disk]\nmin_free_mb = 2\nreserve_mb = 4\n";
    std::fs::write(&path, format!("{settings}{disk}{more}")).unwrap();
    Some((small, node))
}

async fn disk(node: &Node) -> DiskStatus {
    node.status().await.unwrap().disk
}

/// Sends mail until it is refused; how much was taken.
async fn send_until_full(node: &Node, expected: &mut Expected, first: u64) -> u64 {
    let mut feeder = None;
    for number in first.. {
        let body = mail(number, MAIL_BYTES);
        let heard = send(node, &mut feeder, "spam", &body).await;
        expected.note(&body, &heard);
        match heard {
            Heard::Taken(_) => {}
            Heard::Refused(452, _) => return number - first,
            other => panic!("{other:?}\n{}", node.report()),
        }
    }
    unreachable!("the disk has an end")
}

/// Waits until mail is taken again.
async fn send_until_taken(node: &Node, expected: &mut Expected, number: u64) {
    let taken = async {
        let mut feeder = None;
        loop {
            let body = mail(number, 3000);
            let heard = send(node, &mut feeder, "spam", &body).await;
            expected.note(&body, &heard);
            if matches!(heard, Heard::Taken(_)) {
                return;
            }
        }
    };
    node.watched("mail with room on the disk", taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_deletes_and_restarts_work_and_mail_flows_when_there_is_room() {
    let Some((small, mut node)) = create("") else { return };
    node.start_well().await;
    let mut expected = Expected::default();
    assert!(send_until_full(&node, &mut expected, 0).await > 50);
    assert!(disk(&node).await.full);
    assert!(
        node.status().await.unwrap().warnings.iter().any(|text| text.contains("mail is refused"))
    );
    let filler = small.fill();
    let ids: Vec<String> = expected.kept.keys().take(8).cloned().collect();
    for id in &ids[..4] {
        assert_eq!(expected.delete(node.client().await, id).await, None, "{}", node.report());
    }
    for id in &ids[4..] {
        node.kill();
        node.start_well().await;
        assert!(!node.status().await.unwrap().failed, "{}", node.report());
        assert_eq!(expected.delete(node.client().await, id).await, None, "{}", node.report());
    }
    let heard = send(&node, &mut None, "spam", &mail(1000, 3000)).await;
    assert!(matches!(heard, Heard::Refused(452, _)), "{heard:?}");
    assert!(disk(&node).await.reserve_given_up);
    expected.check(&node, "on a full disk").await;
    std::fs::remove_file(filler).unwrap();
    send_until_taken(&node, &mut expected, 1001).await;
    node.kill();
    node.start_well().await;
    expected.check(&node, "after a restart").await;
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_asked_for_the_oldest_days_make_room_for_mail() {
    let Some((_small, mut node)) = create("[pressure]\nspam = \"expire-oldest\"\n") else { return };
    let (mut old, mut expected) = (Expected::default(), Expected::default());
    node.hours_behind = 44;
    node.start_well().await;
    let mut feeder = None;
    for number in 0..40 {
        let body = mail(number, MAIL_BYTES);
        let heard = send(&node, &mut feeder, "spam", &body).await;
        old.note(&body, &heard);
    }
    assert!(old.kept.len() == 40 && disk(&node).await.expired_early.is_empty());
    assert!(node.stop().await.success());
    node.hours_behind = 0;
    node.start_well().await;
    send_until_full(&node, &mut expected, 100).await;
    send_until_taken(&node, &mut expected, 500).await;
    let early = disk(&node).await.expired_early;
    assert!(early.len() == 1 && early[0].starts_with("spam before "), "{early:?}");
    assert!(node.log().contains("this day went early"), "{}", node.report());
    node.kill();
    node.start_well().await;
    assert_eq!(disk(&node).await.expired_early, early, "the floor is kept");
    expected.gone.extend(old.kept.into_keys());
    expected.check(&node, "after the oldest day went").await;
    drop(node);
}

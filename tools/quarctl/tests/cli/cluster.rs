//! What concerns the cluster as a whole: deletions that wait, messages on too few disks.

use crate::support::{Ran, Running, quarctl};
use std::time::{Duration, Instant};

impl Running {
    /// Puts so many messages on the first node; their ids.
    fn put_some(&self, count: usize) -> Vec<String> {
        let put = |number| {
            let name = format!("{number}.eml");
            let file = self.file(&name, format!("Subject: {number}\r\n\r\n").as_bytes());
            let line = ["put", file.to_str().unwrap(), "--recipient", "a@x"];
            self.quarctl(1, &line).text().to_owned()
        };
        (0..count).map(put).collect()
    }
}

/// Runs it again and again until it ends as it should.
async fn until(what: &str, mut run: impl FnMut() -> Ran, is_so: impl Fn(&Ran) -> bool) -> Ran {
    let start = Instant::now();
    loop {
        let ran = run();
        if is_so(&ran) {
            return ran;
        }
        assert!(start.elapsed() < Duration::from_secs(90), "waited in vain until {what}: {ran:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn text(ran: &Ran) -> &str {
    std::str::from_utf8(&ran.out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_beyond_the_brake_wait_until_they_are_confirmed_or_discarded() {
    let mut running = Running::start("quic = false\n[delete]\nbrake_per_minute = 2").await;
    let ids = running.put_some(7);
    assert!(running.quarctl(1, &["brake"]).text().starts_with("no deletion waits; more than 2"));
    for (number, id) in ids[..4].iter().enumerate() {
        let ran = running.quarctl(1, &["rm", id]);
        assert_eq!(ran.code, i32::from(number >= 2), "{ran:?}");
        assert_eq!(ran.err.contains("quarctl brake"), number >= 2, "{ran:?}");
    }
    let shown = running.quarctl(1, &["brake"]);
    assert!(shown.code == 4 && text(&shown).contains("2 deletions wait since "), "{shown:?}");
    assert!(ids[2..4].iter().all(|id| text(&shown).contains(id.as_str())), "{shown:?}");
    let warned = running.quarctl(1, &["status"]);
    assert!(warned.code == 4 && text(&warned).contains("quarctl brake"), "{warned:?}");
    assert_eq!(running.json(1, &["brake"])["waiting"], 2);
    assert_eq!(running.ids(1).len(), 5, "none that waits is done");

    assert_eq!(running.quarctl(1, &["brake", "confirm"]).text(), "2 deleted");
    let codes = ids[4..].iter().map(|id| running.quarctl(1, &["rm", id]).code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(running.quarctl(1, &["brake", "discard"]).text(), "1 deletions discarded");
    assert_eq!(running.quarctl(1, &["brake"]).code, 0);
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_eq!(running.ids(2), [ids[6].as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_on_too_few_disks_are_listed_shown_and_warned_of_until_they_are_on_more() {
    let mut running = Running::start("quic = false").await;
    for node in [1, 2] {
        running.cluster.nodes[node].stop().unwrap();
    }
    let id = running.put_some(1).remove(0);
    let shown = running.quarctl(1, &["show", &id]);
    assert!(shown.text().contains("1 of 3"), "{shown:?}");
    assert!(shown.text().contains("not yet: node2, node3"), "{shown:?}");
    // Younger than a round, it may just be on its way.
    let root = running.root(1);
    let list = || quarctl(&root, &["--json", "ls", "--under-replicated"]);
    until("it is listed", list, |ran| text(ran).contains(&id)).await;
    let listed = running.quarctl(1, &["ls", "--under-replicated"]);
    assert!(listed.text().contains(" 1/3 "), "{listed:?}");
    let status = || running.quarctl(1, &["status"]);
    let is_warned = |ran: &Ran| text(ran).contains("on fewer than 2 disks") && ran.code == 4;
    until("it is warned of", status, is_warned).await;
    running.cluster.nodes[1].start().unwrap();
    until("it is on another disk", list, |ran| !text(ran).contains(&id)).await;
    let shown = running.quarctl(1, &["show", &id]);
    assert!(shown.text().contains("2 of 3"), "{shown:?}");
}

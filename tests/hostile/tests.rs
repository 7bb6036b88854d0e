//! Each lie is counted by its kind and changes nothing; the others go on; memory stays within its cap.

use crate::lies::{Lie, all};
use crate::member::{Liar, frame};
use crate::support::{Running, assert_kept, feed, some_mails, start, until, until_counted};
use quar_base::key::{MessageId, RecordKey};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Resident memory that a small node takes at most, whatever a member does (docs/threats.md).
const RESIDENT_KIB_MAX: u64 = 512 << 10;
/// Frames of each lie: few enough that the liar is not kept out yet.
const FRAMES: u64 = 3;
/// The lie that takes long to refute: three times are too often.
const COSTLY: &str = "a body of 64 MiB under another's id";

/// Two honest nodes and a place for the third.
struct Scene {
    running: Running,
    liar: Liar,
    ids: Vec<String>,
    mails: Vec<quard::demo::mails::TestMail>,
}

impl Scene {
    async fn new() -> Self {
        let mut running = start(2, "").await;
        let mails = some_mails(30);
        let ids = feed(&running.cluster.nodes[0], &mails[..20]).await;
        running.cluster.wait_for_equal_roots().await.unwrap();
        running.cluster.nodes[2].stop().unwrap();
        let liar = Liar::new(&running.cluster.nodes[2], &running.cluster.nodes[0]);
        Self { running, liar, ids, mails }
    }

    fn known(&self) -> RecordKey {
        self.ids[0].parse::<MessageId>().unwrap().key
    }

    /// The two honest nodes agree, have everything, and the one that was lied to is small.
    async fn check(mut self) {
        let first = &self.running.cluster.nodes[0];
        let peak = peak_kib(first.pid().unwrap());
        assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB at the most");
        self.ids.extend(feed(first, &self.mails[20..]).await);
        self.running.cluster.wait_for_equal_roots().await.unwrap();
        self.running.cluster.nodes.truncate(2);
        assert_kept(&self.running.cluster, &self.ids, &self.mails).await;
    }
}

/// The most that was ever resident.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn tell(scene: &Scene, lie: &Lie) {
    // What is forgiven for a while needs many; everything else shows at once.
    let is_patient = ["beyond-limits", "replayed-items"];
    let frames = if is_patient.contains(&lie.counted_as) { lie.frames_max } else { FRAMES };
    eprintln!("{}", lie.name);
    let before = count(scene, lie.counted_as).await;
    // Who owes time for its last lie is not let in until that is over: it comes again.
    until(lie.name, async || {
        lie.tell(&scene.liar, frames).await.ok()?;
        is_counted(scene, lie.counted_as, before).await.then_some(())
    })
    .await;
}

/// Whether an offence of this kind is counted soon; at once, if it is none.
async fn is_counted(scene: &Scene, kind: &str, before: u64) -> bool {
    for _ in 0..150 {
        if kind.is_empty() || count(scene, kind).await > before {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

async fn count(scene: &Scene, kind: &str) -> u64 {
    let status = scene.running.cluster.nodes[0].status().await.unwrap();
    status.offences.get(kind).copied().unwrap_or(0)
}

/// Every `of`th lie, from `from` on: together they would be too many for one liar.
async fn tell_some(from: usize, of: usize) {
    let scene = Scene::new().await;
    let root = scene.running.cluster.nodes[0].status().await.unwrap().live_root;
    let lies = all(&scene.liar, scene.known());
    let mut changes_nothing = true;
    for lie in lies.iter().skip(from).step_by(of).filter(|lie| lie.name != COSTLY) {
        tell(&scene, lie).await;
        changes_nothing &= !lie.counted_as.is_empty() && lie.counted_as != "replayed-items";
    }
    if changes_nothing {
        assert_eq!(scene.running.cluster.nodes[0].status().await.unwrap().live_root, root);
    }
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_counted_by_kind_and_harm_nobody_1() {
    tell_some(0, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_counted_by_kind_and_harm_nobody_2() {
    tell_some(1, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_counted_by_kind_and_harm_nobody_3() {
    tell_some(2, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_counted_by_kind_and_harm_nobody_4() {
    tell_some(3, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_goes_on_lying_is_kept_out_and_the_others_are_not() {
    let scene = Scene::new().await;
    let lies = all(&scene.liar, scene.known());
    lies[0].tell(&scene.liar, u64::MAX).await.unwrap();
    until_counted(&scene.running.cluster.nodes[0], "too-many-offences").await;
    let mut stream = scene.liar.connect().await.unwrap();
    let _ = stream.write_all(&scene.liar.hello()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "it is spoken to");
    let status = scene.running.cluster.nodes[0].status().await.unwrap();
    let its = |number: u16| status.members.iter().find(|it| it.node_number == number).unwrap();
    assert!(its(3).offences["wrong-body"] > 0 && its(3).kept_out_seconds > 0);
    assert!(its(2).offences.is_empty() && its(2).kept_out_seconds == 0);
    let warning = status.warnings.iter().find(|text| text.contains("broke the rules too often"));
    assert!(warning.is_some_and(|text| text.starts_with(&its(3).name)), "{:?}", status.warnings);
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_lies_take_long_to_refute_is_kept_out_after_a_few() {
    let scene = Scene::new().await;
    let lies = all(&scene.liar, scene.known());
    let costly = lies.iter().find(|lie| lie.name == COSTLY).unwrap();
    costly.tell(&scene.liar, u64::MAX).await.unwrap();
    until_counted(&scene.running.cluster.nodes[0], "too-many-offences").await;
    let told = count(&scene, "wrong-body").await;
    // On a quick machine each takes less than the most that counts.
    assert!((2..=12).contains(&told), "{told} of them");
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_members_and_unfinished_handshakes_keep_nobody_out() {
    let mut scene = Scene::new().await;
    let address = scene.running.cluster.nodes[0].sync;
    // Handshakes that do not begin, and members that stop within a frame.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    until_counted(&scene.running.cluster.nodes[0], "too-many-handshakes").await;
    // Its own seats are for others by now: these come from another address.
    scene.running.cluster.nodes[1].kill().unwrap();
    scene.running.cluster.nodes[1].start().unwrap();
    scene.running.cluster.wait_for_equal_roots().await.unwrap();
    drop(idle);
    let mut stream = until("it gets in", async || scene.liar.connect().await.ok()).await;
    let half = frame(200, &[0; 1000]);
    for byte in scene.liar.hello().iter().chain(&half[..500]) {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    scene.check().await;
}

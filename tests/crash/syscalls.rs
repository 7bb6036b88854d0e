//! Every system call on the store's files fails once, each in every way in which it can.
//!
//! A small workload runs again and again; in the n-th run the n-th call that can fail so does. Then
//! the daemon is killed, starts without the shim, and must have what it acknowledged. There are two
//! workloads: a new store; and one that was killed, is opened, and has a day that expires.

use crate::expected::{Expected, Heard, body_of, mail, send, start_before_a_day_expires};
use crate::shim::{Kind, Told};
use crate::support::{Node, Started, copy_tree, number};
use bytes::Bytes;
use quar_base::time::UnixMillis;
use quard::demo::feed::Feeder;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Runs side by side: a daemon mostly waits for its disk.
const LANES: usize = 4;

/// In place of all calls, every so many, from a start that differs with the kind.
const SAMPLE_EVERY: u64 = 5;

/// What the workloads feed.
struct Mails {
    first: Vec<(&'static str, Bytes)>,
    last: Bytes,
    /// Of a day that is packed.
    packed: Bytes,
}

/// Days before today of the mail that is packed.
const PACKED_DAYS_AGO: u32 = 5;

fn mails() -> Mails {
    let first = [("spam", 900), ("spam", 5000), ("spam", 1 << 20 | 7), ("virus", 2000)];
    let first = first.iter().zip(1..).map(|(&(class, bytes), at)| (class, mail(at, bytes)));
    Mails { first: first.collect(), last: mail(100, 3000), packed: mail(102, 4000) }
}

/// A store that was killed, and what it acknowledged.
struct Killed {
    data: PathBuf,
    expected: Expected,
}

/// One lane: a node that is used again and again.
struct Lane {
    node: Node,
    mails: Arc<Mails>,
    killed: Option<Arc<Killed>>,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    /// The workload makes fewer such calls.
    NothingFailed,
    /// This call failed.
    Failed(String),
}

impl Lane {
    async fn run(&mut self, told: &Told, what: &str) -> Run {
        let killed = self.killed.clone();
        self.node.reset(killed.as_deref().map(|killed| &*killed.data));
        let mut expected = killed.map_or_else(Expected::default, |killed| killed.expected.clone());
        match self.node.start(Some(told)).await {
            Started::Up => {
                self.work(told, &mut expected, what).await;
            }
            Started::Ended(status) => {
                let fired = self.node.fired().unwrap_or_default();
                assert!(!is_harmless(told), "{what}: {fired}\n{}", self.node.report());
                assert_eq!(status.code(), Some(1), "{what}: {fired}\n{}", self.node.report());
                assert_tells_why(&self.node, what);
            }
        }
        self.node.kill();
        let Some(fired) = self.node.fired() else { return Run::NothingFailed };
        let what = format!("{what} ({fired})");
        assert!(!self.node.log().contains("panicked"), "{what}:\n{}", self.node.report());
        self.node.start_well().await;
        let check = async {
            expected.check(&self.node, &what).await;
            let (mut feeder, body) = (None, mail(101, 1500));
            let heard = send(&self.node, &mut feeder, "spam", &body).await;
            assert!(matches!(heard, Heard::Taken(_)), "{what}: {heard:?}\n{}", self.node.report());
        };
        self.node.watched(&what, check).await;
        self.node.kill();
        Run::Failed(fired)
    }

    /// Mail in, a hold and its end, a delete and its erasure, a day that is packed, checkpoints, everything read,
    /// a stop.
    async fn work(&mut self, told: &Told, expected: &mut Expected, what: &str) {
        let node = &self.node;
        let (mut feeder, mut refused) = (None, Vec::new());
        let feeding = async {
            let before: Vec<String> = expected.kept.keys().cloned().collect();
            for (class, body) in &self.mails.first {
                put(node, &mut feeder, class, body, expected, &mut refused).await;
            }
            self.hold_one(told, expected, what).await;
            self.delete_one(expected, before, what).await;
            self.pack_one(told, expected, what).await;
            put(node, &mut feeder, "spam", &self.mails.last, expected, &mut refused).await;
            self.read_all(expected, what).await;
        };
        node.watched(what, feeding).await;
        // A stop lets clients that are connected hear so, and waits for them.
        drop(feeder);
        self.judge(told, &refused, what).await;
        let status = self.node.stop().await;
        assert_eq!(status.code(), Some(0), "{what}:\n{}", self.node.report());
    }

    /// Deletes a message and waits for its erasure, or for the store to fail.
    async fn delete_one(&self, expected: &mut Expected, before: Vec<String>, what: &str) {
        let of_spam = |id: &&String| id.starts_with("spam");
        let id = before.iter().chain(expected.kept.keys()).find(of_spam).cloned();
        let Some(id) = id else { return };
        if let Some(code) = expected.delete(self.node.client().await, &id).await {
            let asked = [500, 503, 507].contains(&code);
            assert!(asked, "{what}: the delete was refused with {code}\n{}", self.node.report());
            return;
        }
        // A day whose erasing failed may be packed first, which erases too.
        while let Ok(status) = self.node.status().await
            && !status.failed
            && status.upkeep.erasing_days > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Holds two messages, and lets go of one.
    async fn hold_one(&self, told: &Told, expected: &mut Expected, what: &str) {
        let is_of_the_workload = |id: &&String| id.starts_with("virus") || id.starts_with("spam");
        let ids: Vec<String> =
            expected.kept.keys().filter(is_of_the_workload).take(2).cloned().collect();
        for (at, id) in ids.iter().enumerate() {
            match expected.hold(self.node.client().await, id).await {
                Ok(held) if at == 0 => {
                    let code = expected.unhold(self.node.client().await, &held).await;
                    self.is_a_refusal(told, code, "unhold", what);
                }
                Ok(_) => {}
                Err(code) => self.is_a_refusal(told, code.or(Some(0)), "hold", what),
            }
        }
    }

    /// Imports a mail of a day that is closed, and waits until that is packed, or the store has failed.
    async fn pack_one(&self, told: &Told, expected: &mut Expected, what: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = UnixMillis(u64::try_from(now.as_millis()).unwrap());
        let day = now.day().minus(PACKED_DAYS_AGO);
        let received = format!("{day}T08:15:12Z");
        let client = self.node.client().await;
        let code = expected.import(client, &received, &self.mails.packed).await;
        self.is_a_refusal(told, code, "import", what);
        let is_there = |body: &Bytes| *body == self.mails.packed;
        let is_acknowledged = expected.kept.values().any(is_there);
        while is_acknowledged
            && let Ok(status) = self.node.status().await
            && !status.failed
            && status.upkeep.packed_days == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A refusal, if it is one, says that the store or its disk failed, which a harmless fault does not do.
    fn is_a_refusal(&self, told: &Told, code: Option<u16>, asked: &str, what: &str) {
        let Some(code) = code else { return };
        let report = || format!("{what}: {asked} was refused with {code}\n{}", self.node.report());
        assert!([0, 500, 503, 507].contains(&code) && !is_harmless(told), "{}", report());
    }

    /// What is read is right, also while something fails; one read may be the call that failed.
    async fn read_all(&self, expected: &Expected, what: &str) {
        for (id, body) in &expected.kept {
            let mut reads = Vec::new();
            for _ in 0..2 {
                let Ok(mut client) = self.node.client().await else { continue };
                match body_of(&mut client, id).await {
                    Ok(read) => {
                        assert_eq!(read, *body, "{what}: {id} is served with other bytes");
                        reads.clear();
                        break;
                    }
                    Err(error) => reads.push(format!("{error:#}")),
                }
            }
            let report = || self.node.report();
            assert!(reads.is_empty(), "{what}: {id} is not served: {reads:?}\n{}", report());
        }
    }

    /// A store that stopped says so; a fault that a program can ride out changes nothing.
    async fn judge(&self, told: &Told, refused: &[Heard], what: &str) {
        let status = self.node.status().await.unwrap();
        let is_refused = |heard: &&Heard| matches!(heard, Heard::Refused(451, _));
        let report = || format!("{what}: {refused:?}\n{}", self.node.report());
        if is_harmless(told) {
            assert!(refused.is_empty() && !status.failed, "{}", report());
        }
        if refused.iter().any(|heard| is_refused(&heard)) {
            assert!(status.failed, "{}", report());
        }
        if status.failed {
            let warned = status.warnings.iter().any(|text| text.contains("restarted"));
            assert!(warned, "{:?}", status.warnings);
            let line = "the store takes nothing until the daemon is restarted";
            assert!(self.node.log().contains(line), "{}", report());
        }
    }
}

async fn put(
    node: &Node,
    feeder: &mut Option<Feeder>,
    class: &str,
    body: &Bytes,
    expected: &mut Expected,
    refused: &mut Vec<Heard>,
) {
    let heard = send(node, feeder, class, body).await;
    expected.note(body, &heard);
    if !matches!(heard, Heard::Taken(_)) {
        refused.push(heard);
    }
}

fn is_harmless(told: &Told) -> bool {
    told.fault.as_ref().is_some_and(|fault| fault.kind.is_harmless())
}

/// One line, with the path and what the system said.
fn assert_tells_why(node: &Node, what: &str) {
    let log = node.log();
    let last = log.lines().last().unwrap_or_default();
    let data = node.data();
    let names = last.starts_with("quard: ") && last.contains(data.to_str().unwrap());
    let says = ["os error 5", "os error 28", "os error 24", "no storage space"]
        .iter()
        .any(|text| last.contains(text));
    let advises = last.contains("then start it again");
    assert!(names && says && advises, "{what}: {}\n{last}", node.fired().unwrap_or_default());
}

/// A daemon is killed while it has blocks that no checkpoint has seen.
async fn killed_store(node: &mut Node, mails: &Mails) -> Killed {
    start_before_a_day_expires(node).await;
    let (mut feeder, mut expected, mut refused) = (None, Expected::default(), Vec::new());
    for (at, (class, body)) in mails.first.iter().enumerate() {
        let body = [body, &format!("again {at}\r\n").into_bytes()[..]].concat().into();
        put(node, &mut feeder, class, &body, &mut expected, &mut refused).await;
    }
    assert!(refused.is_empty());
    let id = expected.kept.keys().next().unwrap().clone();
    assert_eq!(expected.delete(node.client().await, &id).await, None);
    put(node, &mut feeder, "virus", &mail(50, 700), &mut expected, &mut refused).await;
    node.kill();
    let data = node.beside("killed");
    copy_tree(&node.data(), &data);
    Killed { data, expected }
}

/// Which calls of one kind are still to fail, and what came of the others.
struct Turns {
    next: AtomicU64,
    step: u64,
    /// The workload makes fewer calls than this.
    end: AtomicU64,
    failed: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

/// Runs the workload for n = 1, 2, ... until it makes fewer calls that can fail so.
async fn fail_each(kind: Kind, node: &Node, killed: Option<Arc<Killed>>, seed: u64) -> Turns {
    let (step, first) = match std::env::var("QUAR_SYSCALLS").as_deref() {
        Ok("all") => (1, 1),
        _ => (SAMPLE_EVERY, 1 + (seed + 2 * kind as u64) % SAMPLE_EVERY),
    };
    let turns = Arc::new(Turns {
        next: AtomicU64::new(first),
        step,
        end: AtomicU64::new(u64::MAX),
        failed: AtomicU64::new(0),
        complaints: Mutex::default(),
    });
    let mails = Arc::new(mails());
    let lanes = (0..LANES).map(|_| {
        let lane = || Lane { node: node.twin(), mails: mails.clone(), killed: killed.clone() };
        tokio::spawn(take_turns(kind, lane(), turns.clone()))
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    Arc::into_inner(turns).expect("all lanes have ended")
}

async fn take_turns(kind: Kind, mut lane: Lane, turns: Arc<Turns>) {
    let state = if lane.killed.is_some() { "killed" } else { "new" };
    loop {
        let at = turns.next.fetch_add(turns.step, Ordering::Relaxed);
        if at >= turns.end.load(Ordering::Relaxed) {
            return;
        }
        let what = format!("{state} {} {at}", kind.name());
        let (node, mails, killed) = (lane.node.twin(), lane.mails.clone(), lane.killed.clone());
        // A run that finds something wrong panics, and takes its lane along; the others go on.
        let run = tokio::spawn(async move {
            let run = lane.run(&Told::fails(kind, at), &what).await;
            (lane, run)
        });
        lane = match run.await {
            Ok((lane, run)) => {
                match run {
                    Run::NothingFailed => turns.end.fetch_min(at, Ordering::Relaxed),
                    Run::Failed(_) => turns.failed.fetch_add(1, Ordering::Relaxed),
                };
                lane
            }
            Err(error) => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let line = text.lines().next().unwrap_or_default().to_owned();
                turns.complaints.lock().unwrap().push(line);
                Lane { node, mails, killed }
            }
        };
    }
}

async fn fail_all(is_new: bool) {
    let seed = number("QUAR_SYSCALLS_SEED").unwrap_or(7);
    let mut node = Node::create();
    let killed = match is_new {
        true => None,
        false => Some(Arc::new(killed_store(&mut node, &mails()).await)),
    };
    let mut complaints = Vec::new();
    for kind in Kind::ALL {
        let start = Instant::now();
        let turns = fail_each(kind, &node, killed.clone(), seed).await;
        let calls = turns.end.into_inner() - 1;
        assert!(calls > 10, "{kind:?}: the workload makes {calls} such calls only");
        let state = if is_new { "new" } else { "killed" };
        let (name, failed) = (kind.name(), turns.failed.into_inner());
        let seconds = start.elapsed().as_secs();
        eprintln!("{state} store, {name}: {failed} of about {calls} calls failed, {seconds} s");
        complaints.extend(turns.complaints.into_inner().unwrap());
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_loses_nothing_whichever_system_call_fails() {
    fail_all(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_opened_after_a_kill_loses_nothing_whichever_system_call_fails() {
    fail_all(false).await;
}

/// One call, for who looks into a failure: QUAR_SYSCALL="new EIO 17".
#[tokio::test(flavor = "multi_thread")]
async fn the_one_call_that_is_asked_for() {
    let Ok(asked) = std::env::var("QUAR_SYSCALL") else { return };
    let [state, kind, at] = asked.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("QUAR_SYSCALL: {asked}");
    };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
    let mut node = Node::create();
    let killed = match state {
        "killed" => Some(Arc::new(killed_store(&mut node, &mails()).await)),
        _ => None,
    };
    let mut lane = Lane { node: node.twin(), mails: Arc::new(mails()), killed };
    let run = lane.run(&Told::fails(kind, at.parse().unwrap()), &asked).await;
    eprintln!("{run:?}\n{}", lane.node.log());
}

//! How fast a member that lacks messages gets them: real nodes, stores on a real disk, real frames, a thread a member.
//!
//!     cargo bench -p quar-node --bench heal -- MESSAGES MEMBERS...
//!
//! Prints a JSON line for each number of members and each of: heal (a member that missed so many), empty (one
//! that has nothing). With `slow` as the first word instead: how fast one member of three takes mails, 64 at a time,
//! each on two disks, with the third away and with the third on a line of 1 kB/s, in turn.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

#[path = "../tests/node/support.rs"]
mod support;

use quar_base::ids::MemberId;
use quar_base::time::{Millis, UnixMillis};
use quar_node::{Input, Node, Output, Request, Token};
use quar_store::{CodedBody, Mail, Outcome, RealDisk, SledHome, Store};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use support::{Cluster, Home, Live, START, member};

/// Messages that all members have before one of them misses others.
const BASE: usize = 20_000;
const COMMIT: usize = 64;
const TICK: Duration = Duration::from_millis(50);

fn main() {
    if std::env::args().any(|word| word == "slow") {
        return slow();
    }
    let numbers = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let numbers: Vec<usize> = numbers.collect();
    let messages = numbers.first().copied().unwrap_or(2_000);
    let members = if numbers.len() > 1 { &numbers[1..] } else { &[3][..] };
    for members in members {
        for lacking in ["heal", "empty"] {
            run(*members, messages, lacking);
        }
    }
}

fn home(directory: &Path, at: usize) -> Home {
    let path = directory.join(format!("node{at}"));
    std::fs::create_dir_all(&path).unwrap();
    Home { disk: Arc::new(RealDisk::new(&path)), index: Box::new(SledHome(path.join("index"))) }
}

fn run(members: usize, messages: usize, lacking: &str) {
    let directory = tempfile::tempdir().unwrap();
    let homes = (0..members).map(|at| home(directory.path(), at)).collect();
    let mut cluster = Cluster::new(homes, 1);
    (0..members).for_each(|at| cluster.start(at));
    let last = members - 1;
    if lacking == "heal" {
        fill(&cluster, 0..members, 0..BASE);
    }
    fill(&cluster, 0..last, BASE..BASE + messages);
    let begun = Instant::now();
    let came = heal(&mut cluster, last);
    let seconds = begun.elapsed().as_secs_f64();
    let bytes: u64 = came.iter().sum();
    let rate = messages as f64 / seconds;
    println!(
        "{{\"members\":{members},\"lacking\":\"{lacking}\",\"messages\":{messages},\
         \"seconds\":{seconds:.2},\"messages_per_second\":{rate:.0},\"bytes\":{bytes},\
         \"bytes_by_peer\":{came:?}}}"
    );
}

/// Messages of about 400 bytes over three days, on each of these members.
fn fill(cluster: &Cluster, members: Range<usize>, numbers: Range<usize>) {
    let first: &Store = cluster.store(members.start);
    let numbers: Vec<usize> = numbers.collect();
    for numbers in numbers.chunks(COMMIT) {
        for number in numbers {
            // Long ago: nothing of it is younger than the cutoff.
            let back = 60_000 + (number * 2_000) as u64 % (3 * 86_400_000);
            let text = "some text ".repeat(number % 70);
            let body = format!("Subject: mail {number}\r\n\r\n{text}");
            let mail = cluster.mail(members.start, body.as_bytes());
            let received = UnixMillis(START.0 - back);
            first.admit_mail(Mail { received, ..mail }).unwrap();
        }
        for (_, outcome) in first.commit() {
            let Outcome::Stored(stored) = outcome else { panic!("{outcome:?}") };
            for at in members.clone().skip(1) {
                let body: Option<CodedBody> = stored.body.clone();
                let record = stored.record.clone().unwrap();
                cluster.store(at).admit_record(record, body, START).unwrap();
            }
        }
        members.clone().skip(1).for_each(|at| drop(cluster.store(at).commit()));
    }
}

struct Frame {
    from: usize,
    kind: u8,
    payload: Vec<u8>,
}

/// Connects the last member to all others, and returns when it has what they have: bytes from each.
fn heal(cluster: &mut Cluster, last: usize) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..=last).map(|_| channel::<Frame>()).unzip();
    let goal = cluster.store(0).live_root();
    let begun = Instant::now();
    let lives: Vec<Live> = cluster.live.iter_mut().map(|live| live.take().unwrap()).collect();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (at, (live, frames)) in lives.into_iter().zip(receivers).enumerate() {
            let (senders, stop) = (senders.clone(), &stop);
            threads.push(scope.spawn(move || {
                let peers = (0..=last).filter(|peer| *peer != at && (at == last || *peer == last));
                let one = One { at, live, senders, begun };
                let came = one.serve(peers.collect(), &frames, stop, |store| {
                    at == last && store.counts().wanted == 0 && store.live_root() == goal
                });
                stop.fetch_or(at == last, Ordering::Relaxed);
                came
            }));
        }
        let mut came = Vec::new();
        for thread in threads {
            came = thread.join().unwrap();
        }
        came
    })
}

/// One member and its thread.
struct One {
    at: usize,
    live: Live,
    senders: Vec<Sender<Frame>>,
    begun: Instant,
}

impl One {
    fn now(&self) -> UnixMillis {
        START.plus(Millis(self.begun.elapsed().as_millis() as u64))
    }

    fn serve(
        mut self,
        peers: Vec<usize>,
        frames: &Receiver<Frame>,
        stop: &AtomicBool,
        is_done: impl Fn(&Store) -> bool,
    ) -> Vec<u64> {
        let mut came = vec![0; self.senders.len()];
        let mut outputs = Vec::new();
        for peer in peers {
            let peer: MemberId = member(peer);
            let input = Input::Connected { peer, session_key: [3; 32] };
            let now = self.now();
            self.live.node.handle(input, now, &mut outputs);
        }
        self.flush(&mut outputs);
        let mut ticked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match frames.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok(frame) => {
                    self.take(frame, &mut came, &mut outputs);
                    for frame in frames.try_iter().take(64) {
                        self.take(frame, &mut came, &mut outputs);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                let now = self.now();
                self.live.node.handle(Input::Tick, now, &mut outputs);
                if is_done(&self.live.store) {
                    break;
                }
            }
            self.flush(&mut outputs);
        }
        came
    }

    fn take(&mut self, frame: Frame, came: &mut [u64], outputs: &mut Vec<Output>) {
        let Frame { from, kind, payload } = frame;
        came[from] += payload.len() as u64;
        let (peer, now) = (member(from), self.now());
        self.live.node.handle(Input::Frame { peer, kind, payload: &payload }, now, outputs);
    }

    /// Sends what gathered; how many answers were among it.
    fn flush(&mut self, outputs: &mut Vec<Output>) -> usize {
        let mut answers = 0;
        let now = self.now();
        let Live { node, store } = &mut self.live;
        flush(node, store, now, outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send { peer, kind, payload } => {
                    let to = usize::from(peer.0[0]) - 1;
                    let _ = self.senders[to].send(Frame { from: self.at, kind, payload });
                }
                Output::Disconnect { offence, .. } | Output::Offence { offence, .. } => {
                    panic!("member {} met {offence}", self.at)
                }
                Output::Answer { .. } => answers += 1,
                _ => {}
            }
        }
        answers
    }
}

fn flush(node: &mut Node, store: &Store, now: UnixMillis, outputs: &mut Vec<Output>) {
    node.flush(now, outputs);
    if store.has_pending() {
        let outcomes = store.commit();
        node.handle(Input::Committed(outcomes), now, outputs);
        node.flush(now, outputs);
    }
}

/// Mails that wait for their answers.
const AT_ONCE: usize = 64;

fn slow() {
    let messages = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(2_000);
    for _ in 0..5 {
        let (away, crawling) = (intake(messages, false), intake(messages, true));
        println!(
            "{{\"messages\":{messages},\"away\":{away:.0},\"slow\":{crawling:.0},\"ratio\":{:.3}}}",
            crawling / away
        );
    }
}

/// Messages a second that member 0 takes while member 2 is away, or gets a kilobyte a second.
fn intake(messages: usize, is_there: bool) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let homes = (0..3).map(|at| home(directory.path(), at)).collect();
    let mut cluster = Cluster::new(homes, 2);
    (0..3).for_each(|at| cluster.start(at));
    let mails: Vec<Mail> = (0..messages)
        .map(|number| {
            let text = "some text ".repeat(number % 70);
            cluster.mail(0, format!("Subject: mail {number}\r\n\r\n{text}").as_bytes())
        })
        .collect();
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::<Frame>()).unzip();
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let third = receivers.pop().unwrap();
    let mut lives: Vec<Live> = cluster.live.iter_mut().map(|live| live.take().unwrap()).collect();
    lives.pop();
    std::thread::scope(|scope| {
        let (stop, second) = (&stop, receivers.pop().unwrap());
        let (live, own) = (lives.pop().unwrap(), senders.clone());
        scope.spawn(move || {
            One { at: 1, live, senders: own, begun }.serve(vec![0], &second, stop, |_| false)
        });
        // Of the third there is its greeting, and a line that takes a kilobyte a second.
        scope.spawn(move || {
            while let Ok(frame) = third.recv_timeout(Duration::from_millis(100)) {
                let seconds = frame.payload.len() as f64 / 1000.0;
                let until = Instant::now() + Duration::from_secs_f64(seconds);
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let peers = if is_there { vec![1, 2] } else { vec![1] };
        let one = One { at: 0, live: lives.pop().unwrap(), senders, begun };
        let seconds = one.take_mails(mails, peers, &receivers.pop().unwrap());
        stop.store(true, Ordering::Relaxed);
        messages as f64 / seconds
    })
}

impl One {
    /// Takes mails, so many at a time; seconds until all are answered.
    fn take_mails(mut self, mails: Vec<Mail>, peers: Vec<usize>, frames: &Receiver<Frame>) -> f64 {
        let mut outputs = Vec::new();
        for peer in peers {
            let input = Input::Connected { peer: member(peer), session_key: [3; 32] };
            let now = self.now();
            self.live.node.handle(input, now, &mut outputs);
        }
        self.flush(&mut outputs);
        let begun = Instant::now();
        let (mut came, mut answered, mut asked) = (vec![0; self.senders.len()], 0, 0);
        let (total, mut mails) = (mails.len(), mails.into_iter());
        let mut ticked = Instant::now();
        while answered < total {
            let now = self.now();
            while asked - answered < AT_ONCE
                && let Some(mail) = mails.next()
            {
                let (token, request) = (Token(asked as u64), Request::Put(Box::new(mail)));
                self.live.node.handle(Input::Request { token, request }, now, &mut outputs);
                asked += 1;
            }
            answered += self.flush(&mut outputs);
            if let Ok(frame) = frames.recv_timeout(Duration::from_millis(1)) {
                self.take(frame, &mut came, &mut outputs);
            }
            for frame in frames.try_iter().take(64) {
                self.take(frame, &mut came, &mut outputs);
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.live.node.handle(Input::Tick, now, &mut outputs);
            }
        }
        begun.elapsed().as_secs_f64()
    }
}

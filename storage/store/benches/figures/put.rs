//! Durable puts by waiting writers, beside the same bytes written by a plain program, and without a disk.
//! Never counts what was not acknowledged: a writer goes on when its message is durable.

use crate::machine::{cpu_seconds, idle_seconds, timed};
use crate::support::{NOW, bodies, bytes_below, open, real_mail};
use quar_base::time::UnixMillis;
use quar_store::{CodedBody, IdKey, Mail, Outcome, Store, Ticket};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const WRITERS: usize = 64;
/// Commits under way at once.
const COMMITS: usize = 2;
/// Messages that share one of the plain program's commits.
const COMMIT: usize = 64;
/// Turns; the median is shown, and the worst.
const TURNS: usize = 5;

/// Puts messages and prints the figures.
pub fn run(count: usize, corpus: Option<&Path>) {
    let messages = Arc::new(messages(count, corpus));
    let (mut put, mut plain, mut memory, mut cpu, mut idle, mut encode) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut sealed = 0;
    for _ in 0..TURNS {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let taken = put_all(directory.path(), &messages);
        put.push(taken.wall_s);
        cpu.push(taken.cpu_s);
        idle.push(taken.idle_s);
        sealed = bytes_below(&directory.path().join("segments"));
        plain.push(write_plainly(directory.path(), sealed as usize, count));
        let in_memory = tempfile::tempdir_in("/dev/shm").expect("there is a file system in memory");
        memory.push(put_all(in_memory.path(), &messages).wall_s);
        encode.push(encode_all(in_memory.path(), &messages));
    }
    let worst = put.iter().copied().fold(0.0, f64::max);
    let [put_s, plain_s, memory_s, cpu_s, idle_s, encode_s] =
        [put, plain, memory, cpu, idle, encode]
            .map(|mut times| crate::machine::percentile(&mut times, 50));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{{\"part\":\"put\",\"messages\":{count},\"writers\":{WRITERS},\"put_s\":{put_s:.3},\
         \"put_worst_s\":{worst:.3},\"plain_s\":{plain_s:.3},\"ratio_to_plain\":{:.3},\
         \"put_in_memory_s\":{memory_s:.3},\"ratio_to_memory\":{:.3},\"cpu_s\":{cpu_s:.3},\"idle_s\":{idle_s:.3},\
         \"cores\":{cores},\"cores_busy\":{:.3},\"encode_s\":{encode_s:.3},\
         \"sealed_bytes\":{sealed},\"per_second\":{:.0}}}",
        put_s / plain_s,
        put_s / memory_s,
        cpu_s / put_s,
        count as f64 / put_s,
    );
}

/// A message before the store has seen it: what an intake read of it, with a body that is no one's.
struct Message {
    body: Vec<u8>,
    mail: Mail,
}

fn messages(count: usize, corpus: Option<&Path>) -> Vec<Message> {
    let nothing = CodedBody::encode(b"", None, &IdKey::new([0; 32])).expect("it is small");
    let message = |(number, body): (usize, Vec<u8>)| {
        let received = UnixMillis(NOW.0 + number as u64 * 3_000_000 / count as u64);
        let mail = real_mail(&body, nothing.clone(), received, number);
        Message { body, mail }
    };
    bodies(count, corpus).into_iter().enumerate().map(message).collect()
}

/// Who waits for what, and what was done before anybody waited for it.
#[derive(Default)]
struct Board {
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    done: HashSet<Ticket>,
}

impl Board {
    fn wait(&mut self, ticket: Ticket) -> Option<oneshot::Receiver<()>> {
        if self.done.remove(&ticket) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        self.waiting.insert(ticket, tell);
        Some(told)
    }

    fn acknowledge(&mut self, ticket: Ticket) {
        match self.waiting.remove(&ticket) {
            Some(writer) => writer.send(()).expect("a writer waits until its message is durable"),
            None => drop(self.done.insert(ticket)),
        }
    }
}

/// What it took until all were durable.
struct Taken {
    wall_s: f64,
    /// Of this process.
    cpu_s: f64,
    /// Of the machine.
    idle_s: f64,
}

/// Writers are tasks on as many threads as there are processors, and
/// commits run on two more, as in the daemon.
fn put_all(directory: &Path, messages: &Arc<Vec<Message>>) -> Taken {
    let store = Arc::new(open(directory));
    let board = Arc::new(Mutex::new(Board::default()));
    let next = Arc::new(AtomicUsize::new(0));
    let (signal, has_work) = sync_channel(1);
    let has_work = Arc::new(Mutex::new(has_work));
    let runtime = Builder::new_multi_thread().build().expect("threads can be started");
    let committers = [(); COMMITS].map(|()| {
        let (store, board, has_work) = (store.clone(), board.clone(), has_work.clone());
        let commit = move || commit_all(&store, &board, &has_work);
        thread::Builder::new().name("commit".into()).spawn(commit).expect("a thread can be started")
    });
    let before = (cpu_seconds(), idle_seconds());
    let (ms, ()) = timed(|| {
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let (store, messages) = (store.clone(), messages.clone());
            let (board, next, signal) = (board.clone(), next.clone(), signal.clone());
            let write = async move {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= messages.len() {
                        break;
                    }
                    let ticket = admit(&store, &messages, at).await;
                    let told = locked(&board).wait(ticket);
                    // A signal that waits already says as much.
                    let _ = signal.try_send(());
                    if let Some(told) = told {
                        told.await.expect("the committer tells everybody");
                    }
                }
            };
            writers.spawn_on(write, runtime.handle());
        }
        drop(signal);
        runtime.block_on(writers.join_all());
    });
    let (cpu_s, idle_s) = (cpu_seconds() - before.0, idle_seconds() - before.1);
    for committer in committers {
        committer.join().expect("a commit does not panic");
    }
    store.close();
    Taken { wall_s: ms / 1000.0, cpu_s, idle_s }
}

/// Commits until no writer is left.
fn commit_all(store: &Store, board: &Mutex<Board>, has_work: &Mutex<Receiver<()>>) {
    let is_woken = || has_work.lock().is_ok_and(|has_work| has_work.recv().is_ok());
    while is_woken() {
        for (ticket, outcome) in store.commit() {
            assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
            locked(board).acknowledge(ticket);
        }
    }
}

fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Codes and admits a message: where that may take long, aside, as the daemon does it.
async fn admit(store: &Arc<Store>, messages: &Arc<Vec<Message>>, at: usize) -> Ticket {
    const LARGE_BYTES: usize = 256 << 10;
    let is_quick = messages[at].body.len() < LARGE_BYTES && !store.is_about_to_train();
    let coded = if is_quick {
        store.encode_body(&messages[at].body)
    } else {
        let (store, messages) = (store.clone(), messages.clone());
        let encode = move || store.encode_body(&messages[at].body);
        tokio::task::spawn_blocking(encode).await.expect("coding does not panic")
    };
    let body = coded.expect("bodies of the bench are small");
    let mail = Mail { body, ..messages[at].mail.clone() };
    store.admit_mail(mail).expect("the store takes mail").ticket
}

/// Seconds that a program takes which only writes and syncs as many bytes.
fn write_plainly(directory: &Path, bytes: usize, count: usize) -> f64 {
    let commits = count.div_ceil(COMMIT);
    let chunk: Vec<u8> = (0..bytes.div_ceil(commits)).map(|at| (at * 31) as u8).collect();
    let mut file = File::create(directory.join("plain")).expect("a file can be made");
    let (ms, ()) = timed(|| {
        for _ in 0..commits {
            file.write_all(&chunk).expect("there is room");
            file.sync_data().expect("the disk works");
        }
    });
    ms / 1000.0
}

/// Seconds that hashing and coding alone take, on all processors.
fn encode_all(directory: &Path, messages: &[Message]) -> f64 {
    let directory = directory.join("encode");
    std::fs::create_dir(&directory).expect("a directory can be made");
    let store = open(&directory);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
            store.encode_body(&message.body).expect("bodies of the bench are small");
        }
    };
    let (ms, ()) = timed(|| {
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            (0..cores).for_each(|_| drop(scope.spawn(work)));
        });
    });
    ms / 1000.0
}

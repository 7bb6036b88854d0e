//! Durable puts by waiting writers, beside the same bytes written by a plain program, and without a disk.
//! Never counts what was not acknowledged: a writer goes on when its message is durable.

use crate::machine::{cpu_seconds, timed};
use crate::support::{NOW, bodies, bytes_below, open, real_mail};
use quar_base::time::UnixMillis;
use quar_store::{CodedBody, IdKey, Mail, Outcome, Store, Ticket};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};

const WRITERS: usize = 64;
/// Messages that share one of the plain program's commits.
const COMMIT: usize = 64;
/// Turns; the median is shown, and the worst.
const TURNS: usize = 5;

/// Puts messages and prints the figures.
pub fn run(count: usize, corpus: Option<&Path>) {
    let messages = messages(count, corpus);
    let (mut put, mut plain, mut memory, mut cpu, mut encode) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut sealed = 0;
    for _ in 0..TURNS {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let before = cpu_seconds();
        put.push(put_all(directory.path(), &messages));
        cpu.push(cpu_seconds() - before);
        sealed = bytes_below(&directory.path().join("segments"));
        plain.push(write_plainly(directory.path(), sealed as usize, count));
        let in_memory = tempfile::tempdir_in("/dev/shm").expect("there is a file system in memory");
        memory.push(put_all(in_memory.path(), &messages));
        encode.push(encode_all(in_memory.path(), &messages));
    }
    let worst = put.iter().copied().fold(0.0, f64::max);
    let [put_s, plain_s, memory_s, cpu_s, encode_s] = [put, plain, memory, cpu, encode]
        .map(|mut times| crate::machine::percentile(&mut times, 50));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{{\"part\":\"put\",\"messages\":{count},\"writers\":{WRITERS},\"put_s\":{put_s:.3},\
         \"put_worst_s\":{worst:.3},\"plain_s\":{plain_s:.3},\"ratio_to_plain\":{:.3},\
         \"put_in_memory_s\":{memory_s:.3},\"ratio_to_memory\":{:.3},\"cpu_s\":{cpu_s:.3},\
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

/// Who waits for what, and what is done.
#[derive(Default)]
struct Board {
    waiting: HashMap<Ticket, Thread>,
    done: HashSet<Ticket>,
}

/// Seconds until all are durable.
fn put_all(directory: &Path, messages: &[Message]) -> f64 {
    let store = open(directory);
    let board = Mutex::new(Board::default());
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (has_work, signal) = (Mutex::new(false), Condvar::new());
    let write = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(message) = messages.get(number) else { return };
            let ticket = admit(&store, message);
            let locked = || board.lock().unwrap_or_else(PoisonError::into_inner);
            locked().waiting.insert(ticket, thread::current());
            *has_work.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.notify_one();
            while !locked().done.remove(&ticket) {
                thread::park();
            }
        }
    };
    let commit = || {
        while !is_over.load(Ordering::Acquire) {
            let mut has_work = has_work.lock().unwrap_or_else(PoisonError::into_inner);
            while !std::mem::take(&mut *has_work) && !is_over.load(Ordering::Acquire) {
                has_work = signal.wait(has_work).unwrap_or_else(PoisonError::into_inner);
            }
            drop(has_work);
            for (ticket, outcome) in store.commit() {
                assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
                acknowledge(&board, ticket);
            }
        }
    };
    let (ms, ()) = timed(|| {
        thread::scope(|scope| {
            let committer = scope.spawn(commit);
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
            writers.into_iter().for_each(|writer| writer.join().expect("no writer panics"));
            is_over.store(true, Ordering::Release);
            *has_work.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.notify_one();
            committer.join().expect("the committer does not panic");
        });
    });
    store.close();
    ms / 1000.0
}

/// The writer may have gone to sleep already, or not yet said what it waits for.
fn acknowledge(board: &Mutex<Board>, ticket: Ticket) {
    let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
    board.done.insert(ticket);
    let writer = board.waiting.remove(&ticket);
    drop(board);
    writer.iter().for_each(Thread::unpark);
}

fn admit(store: &Store, message: &Message) -> Ticket {
    let body = store.encode_body(&message.body).expect("bodies of the bench are small");
    let mail = Mail { body, ..message.mail.clone() };
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

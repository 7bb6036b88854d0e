//! A check of everything, beside reading the same files in order and decoding the same bodies.
//! Never checks with a warm page cache, unless it says so.

use crate::machine::{drop_caches, percentile, timed};
use crate::support::{NOW, bodies, open, real_mail};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use quar_base::time::{DAY_SECONDS, UnixMillis};
use quar_store::{CodedBody, IdKey, Store};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Days over which the messages lie; half of them are packed.
const DAYS: usize = 8;
const COMMIT: usize = 64;
/// Turns; the median is shown, and the worst.
const TURNS: usize = 5;

/// Fills a store, checks it and prints the figures.
pub fn run(count: usize, corpus: Option<&Path>) {
    let bodies = bodies(count, corpus);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = open(directory.path());
    let day_of = |number: usize| NOW.0 - ((number * DAYS / count) as u64 + 1) * DAY_SECONDS * 1000;
    for (number, body) in bodies.iter().enumerate() {
        let coded = store.encode_body(body).expect("bodies of the bench are small");
        let received = UnixMillis(day_of(number) + number as u64);
        store.admit_mail(real_mail(body, coded, received, number)).expect("the store takes mail");
        if number % COMMIT == COMMIT - 1 {
            store.commit();
        }
    }
    store.commit();
    for bucket in store.buckets().into_iter().take(DAYS / 2) {
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).expect("the day can be packed");
    }
    store.checkpoint().expect("the index can be flushed");
    let sealed = sealed(&bodies);
    let (mut check, mut read, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut how) = (0, "");
    for _ in 0..TURNS {
        how = drop_caches();
        let checked = timed(|| check_all(&store));
        check.push(checked.0);
        bytes = checked.1;
        drop_caches();
        read.push(timed(|| read_below(&directory.path().join("segments"))).0);
        decode.push(timed(|| decode_all(&sealed)).0);
    }
    let worst = check.iter().copied().fold(0.0, f64::max);
    let [check, read, decode] =
        [check, read, decode].map(|mut times| percentile(&mut times, 50) / 1000.0);
    let raw: usize = bodies.iter().map(Vec::len).sum();
    println!(
        "{{\"part\":\"fsck\",\"messages\":{count},\"cold\":\"{how}\",\"checked_bytes\":{bytes},\
         \"raw_bytes\":{raw},\"check_s\":{check:.3},\"check_worst_s\":{:.3},\"read_s\":{read:.3},\
         \"decode_s\":{decode:.3},\"of_the_slower\":{:.3},\"mb_per_s\":{:.1}}}",
        worst / 1000.0,
        read.max(decode) / check,
        bytes as f64 / 1e6 / check,
    );
}

/// Bytes on disk that were checked.
fn check_all(store: &Store) -> u64 {
    let bytes = AtomicU64::new(0);
    let found = Mutex::new(Vec::new());
    let step = |read| {
        bytes.fetch_add(read, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    let done = |_, _, findings| found.lock().expect("no thread panics").extend::<Vec<_>>(findings);
    store.check_all(&step, &done).expect("everything can be read");
    assert!(found.into_inner().expect("no thread panics").is_empty(), "all is well");
    bytes.into_inner()
}

/// Reads all files below a directory, one after the other.
fn read_below(directory: &Path) {
    let mut buffer = vec![0; 1 << 20];
    for entry in std::fs::read_dir(directory).expect("the directory can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_below(&path);
            continue;
        }
        let mut file = File::open(path).expect("the file can be read");
        while file.read(&mut buffer).expect("the file can be read") > 0 {}
    }
}

/// What the bodies are on disk, coded one by one and sealed with a key each of its own.
fn sealed(bodies: &[Vec<u8>]) -> Vec<(CodedBody, Vec<u8>)> {
    let id_key = id_key();
    let seal = |body: &Vec<u8>| {
        let coded = CodedBody::encode(body, None, &id_key).expect("bodies of the bench are small");
        let mut bytes = coded.bytes.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        key().seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).expect("it is short");
        (coded, bytes)
    };
    bodies.iter().map(seal).collect()
}

/// Opens, decodes and hashes all bodies on all processors.
fn decode_all(sealed: &[(CodedBody, Vec<u8>)]) {
    let next = AtomicUsize::new(0);
    let (key, id_key) = (key(), id_key());
    let work = || {
        while let Some((coded, bytes)) = sealed.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut bytes = bytes.clone();
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            key.open_in_place(nonce, Aad::empty(), &mut bytes).expect("it was sealed so");
            coded.decode(&id_key).expect("it was coded so");
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
}

fn id_key() -> IdKey {
    IdKey::new([8; 32])
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &[7; 32]).expect("32 bytes are a key"))
}

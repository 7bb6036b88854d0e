//! Measures mail-sized values inside sled against a segment file with only their places in sled.
//! Never acknowledges on sled's word: both forms are synced by our own hand at every commit.
//!
//! ```text
//! cargo bench -p quar-index --bench bodies_in_sled -- [VALUES]        release
//! cargo test  -p quar-index --bench bodies_in_sled -- [VALUES]        dev profile
//! ```
//!
//! Each form runs in a process of its own, so that its memory is its own, below $TMPDIR:
//! let that be a real disk. Values are random bytes: what the store hands down is compressed and
//! sealed. Half of them, every second one, is deleted at the end; sled is then closed and opened
//! again, and the segments are written again without them, as the store erases.

mod in_segments;
mod in_sled;

use in_segments::InSegments;
use in_sled::InSled;
use quar_base::rng::Rng;
use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const VALUES_BY_DEFAULT: usize = 20_000;
const VALUES_PER_COMMIT: usize = 64;
const VALUE_BYTES_MIN: f64 = 1_000.0;
const VALUE_BYTES_MAX: f64 = 20_000.0;
const FORMS: [&str; 3] = ["sled-default", "sled-32", "segments"];
const RUN_ONE_FORM: &str = "QUAR_BENCH_FORM";

type Answer<T> = Result<T, Box<dyn Error>>;
type Key = [u8; 32];

fn main() -> Answer<()> {
    // Cargo adds --bench.
    let count = std::env::args().skip(1).find(|text| !text.starts_with('-'));
    let values = count.map_or(Ok(VALUES_BY_DEFAULT), |text| text.parse())?;
    if let Ok(form) = std::env::var(RUN_ONE_FORM) {
        return run_form(&form, values);
    }
    let raw_bytes: u64 = lengths(values).map(|length| length as u64).sum();
    println!(
        "{values} values of {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX} bytes, {:.1} MB, \
         {VALUES_PER_COMMIT} a commit, synced at every commit",
        raw_bytes as f64 / 1e6
    );
    println!(
        "{:<28}{:>10}{:>10}{:>12}{:>10}{:>26}{:>12}",
        "", "writes/s", "disk/raw", "resident", "reads/s", "half deleted: disk/raw", "seconds"
    );
    for form in FORMS {
        let this = std::env::current_exe()?;
        let mut command = Command::new(this);
        let status = command.arg(values.to_string()).env(RUN_ONE_FORM, form).status()?;
        if !status.success() {
            return Err(format!("{form}: {status}").into());
        }
    }
    Ok(())
}

fn run_form(form: &str, values: usize) -> Answer<()> {
    let root = tempfile::tempdir()?;
    let dir = root.path();
    match form {
        "sled-default" => {
            let config = sled::Config::new();
            measure("bodies in sled", InSled::open(dir, config)?, dir, values)
        }
        "sled-32" => {
            let config = sled::Config::new().cache_capacity(32 << 20);
            measure("bodies in sled, cache 32 MB", InSled::open(dir, config)?, dir, values)
        }
        "segments" => measure("segments, places in sled", InSegments::open(dir)?, dir, values),
        _ => Err(format!("no form {form}").into()),
    }
}

/// A way to keep values.
trait Form: Sized {
    /// Durable on return.
    fn commit(&mut self, values: &[(Key, Vec<u8>)]) -> Answer<()>;
    fn get(&self, key: &Key) -> Answer<Option<Vec<u8>>>;
    /// Removes these keys and gives back what room it can. Durable on return.
    fn delete(self, keys: &[Key]) -> Answer<Self>;
}

fn measure(name: &str, mut form: impl Form, dir: &Path, values: usize) -> Answer<()> {
    let mut keys = Vec::with_capacity(values);
    let mut writing = Duration::ZERO;
    let mut source = lengths(values).zip(0..).peekable();
    let mut raw_bytes = 0;
    while source.peek().is_some() {
        let commit = source.by_ref().take(VALUES_PER_COMMIT);
        let commit: Vec<_> = commit.map(|(length, number)| value(number, length)).collect();
        keys.extend(commit.iter().map(|(key, value)| (*key, value.len() as u64)));
        raw_bytes += commit.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        let start = Instant::now();
        form.commit(&commit)?;
        writing += start.elapsed();
    }
    let resident = resident_bytes()?;
    let disk = allocated_bytes(dir)?;
    let reads = read_all(&form, &keys)?;

    let (gone, kept): (Vec<_>, Vec<_>) = keys.iter().zip(0..).partition(|(_, at)| at % 2 == 0);
    let gone: Vec<Key> = gone.into_iter().map(|((key, _), _)| *key).collect();
    let kept: Vec<_> = kept.into_iter().map(|(known, _)| *known).collect();
    let start = Instant::now();
    let form = form.delete(&gone)?;
    let deleting = start.elapsed();
    let disk_after = allocated_bytes(dir)?;
    read_all(&form, &kept)?;
    if gone.iter().any(|key| !matches!(form.get(key), Ok(None))) {
        return Err("a deleted value is still there".into());
    }
    println!(
        "{name:<28}{:>10.0}{:>9.2}x{:>9.0} MB{:>10.0}{:>25.2}x{:>12.2}",
        values as f64 / writing.as_secs_f64(),
        disk as f64 / raw_bytes as f64,
        resident as f64 / 1e6,
        values as f64 / reads.as_secs_f64(),
        disk_after as f64 / raw_bytes as f64,
        deleting.as_secs_f64(),
    );
    Ok(())
}

/// Reads every key and checks the value's head and length.
fn read_all(form: &impl Form, keys: &[(Key, u64)]) -> Answer<Duration> {
    let start = Instant::now();
    for (key, length) in keys {
        let value = form.get(key)?.ok_or("a value is lost")?;
        if value.len() as u64 != *length || !value.starts_with(key) {
            return Err("a value came back changed".into());
        }
    }
    Ok(start.elapsed())
}

/// The same lengths in every run, many short and few long as in mail.
fn lengths(values: usize) -> impl Iterator<Item = usize> {
    let mut rng = Rng::from_seed([11; 32]);
    (0..values).map(move |_| {
        let share = rng.below(1 << 20) as f64 / f64::from(1 << 20);
        (VALUE_BYTES_MIN * (VALUE_BYTES_MAX / VALUE_BYTES_MIN).powf(share)) as usize
    })
}

/// The same value for a number in every run: its key, then bytes that do not compress.
fn value(number: u64, length: usize) -> (Key, Vec<u8>) {
    let mut seed = [12; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let mut rng = Rng::from_seed(seed);
    let key: Key = rng.bytes();
    let mut value = key.to_vec();
    while value.len() < length {
        value.extend(rng.bytes::<256>());
    }
    value.truncate(length);
    (key, value)
}

fn allocated_bytes(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += allocated_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

fn resident_bytes() -> Answer<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

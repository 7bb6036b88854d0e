//! Prints what an index of random entries takes on disk and in time.
//! Never checks anything: `cargo run -p quar-index --example size -- ENTRIES BUCKETS FLUSH_EVERY`

use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::rng::Rng;
use quar_base::time::Day;
use quar_index::{Index, SledIndex, Tree, Write};
use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let entries = numbers.next().transpose()?.unwrap_or(15_000);
    let buckets = numbers.next().transpose()?.unwrap_or(4);
    let flush_every = numbers.next().transpose()?.unwrap_or(u64::MAX);
    let root = tempfile::tempdir_in(".")?;
    let dir = root.path().join("index");
    let index = SledIndex::open(&dir)?;
    let (writing, flushing, flushes) = fill(&index, entries, buckets, flush_every)?;
    let bytes = index.written_bytes();
    let open_bytes = allocated_bytes(&dir)?;
    let memory = resident_kib()?;
    drop(index);
    let opening = Instant::now();
    let index = SledIndex::open(&dir)?;
    let opening = opening.elapsed();
    let scanning = Instant::now();
    let mut seen = 0;
    for bucket in index.buckets()? {
        index.scan(Tree::Bucket(bucket), b"", &mut |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })?;
    }
    let scanning = scanning.elapsed();
    index.drop_tree(bucket(0))?;
    let dropping = Instant::now();
    index.flush()?;
    let dropping = dropping.elapsed();
    let ratio = |disk: u64| disk as f64 / bytes as f64;
    println!("{entries} entries, {bytes} bytes of keys and values, {buckets} buckets");
    println!("on disk              {open_bytes} bytes, {:.2}x", ratio(open_bytes));
    println!("resident             {memory} KiB");
    println!("write                {:.2} us an entry", micros(writing) / entries as f64);
    println!("flush                {:.0} us, {flushes} times", micros(flushing) / flushes as f64);
    println!("open, all read       {opening:?}");
    println!("scan                 {scanning:?}, {seen} entries");
    println!("drop a bucket, flush {dropping:?}");
    println!("settled, one dropped {} bytes", allocated_bytes(&dir)?);
    Ok(())
}

fn fill(
    index: &dyn Index,
    entries: u64,
    buckets: u64,
    flush_every: u64,
) -> Result<(Duration, Duration, u32), Box<dyn Error>> {
    let mut rng = Rng::from_seed([5; 32]);
    let (mut written, mut since, mut flushes) = (0, 0, 0);
    let (mut writing, mut flushing) = (Duration::ZERO, Duration::ZERO);
    while written < entries {
        let tree = Tree::Bucket(bucket(rng.below(buckets)));
        let count = (1 + rng.below(8)).min(entries - written);
        let batch = (0..count).map(|n| put(tree, written + n, &mut rng)).collect();
        written += count;
        since += count;
        let start = Instant::now();
        index.write(batch)?;
        writing += start.elapsed();
        if since >= flush_every || written == entries {
            let start = Instant::now();
            index.flush()?;
            flushing += start.elapsed();
            (since, flushes) = (0, flushes + 1);
        }
    }
    Ok((writing, flushing, flushes))
}

/// A third of the keys begin with a second that grows, the others are random.
fn put(tree: Tree, number: u64, rng: &mut Rng) -> Write {
    let mut key = Vec::new();
    if number.is_multiple_of(3) {
        key.extend((number as u32 / 10).to_be_bytes());
        let length = 32 + rng.below(17) as usize;
        key.extend(&rng.bytes::<48>()[..length]);
    } else {
        key.extend(rng.bytes::<16>());
    }
    let length = 16 + rng.below(9) as usize;
    Write::Put { tree, key, value: rng.bytes::<24>()[..length].to_vec() }
}

fn bucket(number: u64) -> Bucket {
    Bucket { class: Class::SPAM, day: Day(20_000 + number as u32) }
}

fn allocated_bytes(path: &Path) -> Result<u64, Box<dyn Error>> {
    let metadata = fs::symlink_metadata(path)?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += allocated_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

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

use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::rng::Rng;
use quar_base::time::Day;
use quar_index::{Index, SledIndex, Tree, Write};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const VALUES_BY_DEFAULT: usize = 20_000;
const VALUES_PER_COMMIT: usize = 64;
const VALUE_BYTES_MIN: f64 = 1_000.0;
const VALUE_BYTES_MAX: f64 = 20_000.0;
const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Values between two flushes of the index: it can be computed again from the segments.
const VALUES_PER_FLUSH: usize = 1_000;
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
        let status = command
            .arg(values.to_string())
            .env(RUN_ONE_FORM, form)
            .status()?;
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
            measure(
                "bodies in sled",
                BodiesInSled::open(dir, config)?,
                dir,
                values,
            )
        }
        "sled-32" => {
            let config = sled::Config::new().cache_capacity(32 << 20);
            measure(
                "bodies in sled, cache 32 MB",
                BodiesInSled::open(dir, config)?,
                dir,
                values,
            )
        }
        "segments" => measure(
            "segments, places in sled",
            Segments::open(dir)?,
            dir,
            values,
        ),
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
        let commit: Vec<_> = commit
            .map(|(length, number)| value(number, length))
            .collect();
        keys.extend(commit.iter().map(|(key, value)| (*key, value.len() as u64)));
        raw_bytes += commit
            .iter()
            .map(|(_, value)| value.len() as u64)
            .sum::<u64>();
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

/// Bodies as values of one sled tree.
struct BodiesInSled {
    dir: PathBuf,
    config: sled::Config,
    db: sled::Db,
}

impl BodiesInSled {
    fn open(dir: &Path, config: sled::Config) -> Answer<Self> {
        let config = config.path(dir).flush_every_ms(None);
        let db = config.open()?;
        let dir = dir.to_owned();
        Ok(Self { dir, config, db })
    }

    fn apply(&self, batch: sled::Batch) -> Answer<()> {
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        // sled's flush is sync_file_range, and its blob files are never synced.
        Ok(sync_files(&self.dir)?)
    }
}

impl Form for BodiesInSled {
    fn commit(&mut self, values: &[(Key, Vec<u8>)]) -> Answer<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in values {
            batch.insert(key, value.as_slice());
        }
        self.apply(batch)
    }

    fn get(&self, key: &Key) -> Answer<Option<Vec<u8>>> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    fn delete(self, keys: &[Key]) -> Answer<Self> {
        for keys in keys.chunks(VALUES_PER_COMMIT) {
            let mut batch = sled::Batch::default();
            for key in keys {
                batch.remove(key);
            }
            self.apply(batch)?;
        }
        let Self { dir, config, db } = self;
        drop(db);
        // Its threads let go of the file a little later.
        File::open(dir.join("db"))?.lock()?;
        let db = config.open()?;
        db.flush()?;
        sync_files(&dir)?;
        Ok(Self { dir, config, db })
    }
}

/// Bodies in append-only files, their places in the index.
struct Segments {
    dir: PathBuf,
    index: SledIndex,
    /// The last one is appended to.
    files: Vec<(PathBuf, File)>,
    used_bytes: u64,
    unflushed: usize,
}

const TREE: Tree = Tree::Bucket(Bucket {
    class: Class::SPAM,
    day: Day(20_000),
});

impl Segments {
    fn open(dir: &Path) -> Answer<Self> {
        let dir = dir.to_owned();
        let index = SledIndex::open(&dir.join("index"))?;
        let mut new = Self {
            dir,
            index,
            files: Vec::new(),
            used_bytes: 0,
            unflushed: 0,
        };
        new.begin_file()?;
        Ok(new)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let path = self.dir.join(format!("{:06}.seg", self.files.len()));
        let file = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&path)?;
        File::open(&self.dir)?.sync_all()?;
        self.files.push((path, file));
        self.used_bytes = 0;
        Ok(())
    }

    /// File, offset and length of a value: four, eight and four bytes.
    fn place(&self, key: &Key) -> Answer<Option<(usize, u64, usize)>> {
        let Some(place) = self.index.get(TREE, key)? else {
            return Ok(None);
        };
        let (file, rest) = place.split_first_chunk::<4>().ok_or("a short place")?;
        let (offset, rest) = rest.split_first_chunk::<8>().ok_or("a short place")?;
        let length = rest.first_chunk::<4>().ok_or("a short place")?;
        Ok(Some((
            u32::from_be_bytes(*file) as usize,
            u64::from_be_bytes(*offset),
            u32::from_be_bytes(*length) as usize,
        )))
    }

    fn flush(&mut self) -> Answer<()> {
        self.unflushed = 0;
        Ok(self.index.flush()?)
    }
}

impl Form for Segments {
    fn commit(&mut self, values: &[(Key, Vec<u8>)]) -> Answer<()> {
        if self.used_bytes >= SEGMENT_BYTES_MAX {
            self.begin_file()?;
        }
        let number = (self.files.len() - 1) as u32;
        let (mut block, mut places) = (Vec::new(), Vec::new());
        for (key, value) in values {
            let offset = self.used_bytes + block.len() as u64;
            let place = [
                &number.to_be_bytes()[..],
                &offset.to_be_bytes(),
                &(value.len() as u32).to_be_bytes(),
            ];
            places.push(Write::Put {
                tree: TREE,
                key: key.to_vec(),
                value: place.concat(),
            });
            block.extend(value);
        }
        let (_, file) = self.files.last_mut().ok_or("no file")?;
        file.write_all(&block)?;
        file.sync_data()?;
        self.used_bytes += block.len() as u64;
        self.index.write(places)?;
        self.unflushed += values.len();
        if self.unflushed >= VALUES_PER_FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Answer<Option<Vec<u8>>> {
        let Some((file, offset, length)) = self.place(key)? else {
            return Ok(None);
        };
        let mut value = vec![0; length];
        self.files[file].1.read_exact_at(&mut value, offset)?;
        Ok(Some(value))
    }

    fn delete(mut self, keys: &[Key]) -> Answer<Self> {
        let delete = |key: &Key| Write::Delete {
            tree: TREE,
            key: key.to_vec(),
        };
        self.index.write(keys.iter().map(delete).collect())?;
        let mut alive = Vec::new();
        self.index.scan(TREE, b"", &mut |key, place| {
            alive.extend(Key::try_from(key).map(|key| (place.to_vec(), key)));
            std::ops::ControlFlow::Continue(())
        })?;
        // Places sort by file and offset.
        alive.sort_unstable();
        let old: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        self.begin_file()?;
        for alive in alive.chunks(VALUES_PER_COMMIT) {
            let read = |(_, key): &(Vec<u8>, Key)| -> Answer<(Key, Vec<u8>)> {
                Ok((*key, self.get(key)?.ok_or("a value is lost")?))
            };
            let values = alive.iter().map(read).collect::<Answer<Vec<_>>>()?;
            self.commit(&values)?;
        }
        self.flush()?;
        for path in old {
            fs::remove_file(path)?;
        }
        Ok(self)
    }
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

fn sync_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_files(&entry.path())?;
        } else {
            match File::open(entry.path()).and_then(|file| file.sync_all()) {
                // sled replaces its snapshot.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    Ok(())
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
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

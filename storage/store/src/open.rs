//! Opening a store: what is on disk becomes what is in memory, and a doubtful index is built again.
//! Never trusts the index further than the segments bear it out, nor the page cache further than a sync.
//!
//! ```text
//! floors file ─► days below are unlinked
//! index       ─► keys, deletes, wants; checked against each segment's watermark
//! segments    ─► fdatasync; everything behind the watermark is replayed
//!                  torn tail: ignored    damage with blocks behind it: listed, the rest is read
//! last commit ─► written again in a fresh segment: it may never have left the page cache
//! ```

mod bucket;

use crate::admit::Item;
use crate::commit::Outcome;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::floors::{Floors, FloorsDamaged};
use crate::index_home::IndexHome;
use crate::layout::{self, Watermark};
use crate::segment::{
    BlockError, Entry, Found, HeaderError, OpenSegmentError, SEGMENTS, Segment, SegmentName,
    SegmentRole, bucket_directory,
};
use crate::state::{Block, Counted, State};
use crate::store::{Committer, Settings, Store};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::record::Record;
use quar_base::rng::Rng;
use quar_base::roster::Roster;
use quar_base::time::{Day, UnixMillis};
use quar_index::{Index, IndexError, Tree};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

/// How far opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenProgress {
    /// Segments looked at so far.
    pub segments_done: u64,
    /// Segments in all.
    pub segments_total: u64,
    /// Whether the index is being built again.
    pub is_rebuilding: bool,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Why the index was built again; `None` when it was good.
    pub rebuilt: Option<String>,
    /// Records replayed from behind the watermarks.
    pub replayed_records: u64,
    /// Segments that end in a write that was never finished.
    pub torn_tails: u64,
    /// Damaged places that have valid blocks behind them, or segments that cannot be read at all.
    pub damaged: Vec<String>,
}

/// Everything that a store is opened with.
pub struct Opening<'a> {
    /// Who the node is.
    pub settings: Settings,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Where the index is.
    pub index: &'a mut dyn IndexHome,
    /// Who may sign.
    pub roster: Arc<Roster>,
    /// The time.
    pub now: UnixMillis,
    /// 32 random bytes: keys of new segments come from them.
    pub seed: [u8; 32],
    /// Told now and then how far opening has come.
    pub progress: &'a mut dyn FnMut(OpenProgress),
}

/// The index says something that the segments do not bear out.
enum Doubt {
    Mismatch(String),
    Index(IndexError),
    Fatal(OpenError),
}

impl From<IndexError> for Doubt {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// Items of the last commit in one segment.
type LastCommit = (u64, Vec<Record>, Vec<crate::segment::BodyEntry>);

impl Store {
    /// Opens a store, empty or not.
    ///
    /// *Durable when* this returns: everything that is then visible.
    ///
    /// # Errors
    /// [`OpenError`]; the segments are then as they were.
    pub fn open(opening: Opening<'_>) -> Result<(Self, OpenReport), OpenError> {
        let Opening { settings, disk, index, roster, now, seed, progress } = opening;
        let mut report = OpenReport::default();
        let mut floors = Floors::new(settings.retention.clone(), now.day());
        match floors.load(&*disk).map_err(io_at("floors"))? {
            Ok(()) => {}
            Err(FloorsDamaged) => return Err(OpenError::Floors),
        }
        let names = list_segments(&*disk, &floors)?;
        let names = finish_rewrites(names, &settings, &*disk)?;
        let mut loader = Loader { settings: &settings, disk: &*disk, names: &names, now, progress };
        let (opened, state, last) = match loader.load_good_index(index, &floors, &mut report)? {
            Ok(loaded) => loaded,
            Err(why) => {
                tracing::warn!(%why, "the index is built again from the segments");
                report = OpenReport { rebuilt: Some(why), ..OpenReport::default() };
                index.reset().map_err(io_at("index"))?;
                let fresh = index.open()?;
                let (state, last) =
                    loader.load(&fresh, &floors, true, &mut report).map_err(fatal)?;
                (fresh, state, last)
            }
        };
        let store = Self {
            disk: disk.clone(),
            index: opened,
            roster: RwLock::new(roster),
            pending: Mutex::default(),
            committer: Mutex::new(Committer {
                writers: BTreeMap::new(),
                next_commit: 1,
                rng: Rng::from_seed(seed),
            }),
            state: RwLock::new(state),
            readers: Mutex::new(HashMap::new()),
            has_failed: AtomicBool::new(false),
            tickets: AtomicU64::new(1),
            settings,
        };
        store.write_last_commits_again(last)?;
        Ok((store, report))
    }

    /// A block that was written but perhaps never synced must not be built upon.
    fn write_last_commits_again(
        &self,
        last: BTreeMap<SegmentName, LastCommit>,
    ) -> Result<(), OpenError> {
        for (name, (_, records, entries)) in last {
            let path = name.path();
            let segment = self.segment(name).map_err(io_at(&path))?;
            let Some(segment) = segment else { continue };
            let bodies = entries.iter().filter_map(|entry| segment.body(entry).ok()).collect();
            self.submit(Item::Again { bucket: name.bucket, records, bodies });
        }
        for (_, outcome) in self.commit() {
            if let Outcome::Refused(refusal) = outcome {
                let error = io::Error::other(refusal.to_string());
                return Err(OpenError::Io { path: SEGMENTS.into(), error });
            }
        }
        Ok(())
    }

    /// Makes the index durable and moves the watermarks up to it: what lies before them is not
    /// read again at the next opening.
    ///
    /// # Errors
    /// As the index reports; the watermarks then stay where they were.
    pub fn checkpoint(&self) -> Result<(), IndexError> {
        let _committer = self.committer();
        if self.has_failed() {
            return Ok(());
        }
        self.index.flush()?;
        let mut writes = Vec::new();
        {
            let mut state = self.state_mut();
            for (bucket, held) in &mut state.buckets {
                for (number, counted) in held.segments.iter_mut().filter(|(_, c)| c.is_dirty) {
                    let name = SegmentName { bucket: *bucket, number: *number };
                    let key = layout::watermark_key(&name);
                    let value = counted.mark.encode();
                    writes.push(quar_index::Write::Put { tree: Tree::Meta, key, value });
                    counted.is_dirty = false;
                }
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.index.write(writes)?;
        self.index.flush()
    }
}

struct Loader<'a> {
    settings: &'a Settings,
    disk: &'a dyn Disk,
    names: &'a [SegmentName],
    now: UnixMillis,
    progress: &'a mut dyn FnMut(OpenProgress),
}

type Loaded = (State, BTreeMap<SegmentName, LastCommit>);

impl Loader<'_> {
    /// Opens the index that is there; the inner error says why it must be built again.
    fn load_good_index(
        &mut self,
        home: &mut dyn IndexHome,
        floors: &Floors,
        report: &mut OpenReport,
    ) -> Result<Result<(Arc<dyn Index>, State, BTreeMap<SegmentName, LastCommit>), String>, OpenError>
    {
        let index = match home.open() {
            Ok(index) => index,
            Err(error) if is_doubt(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        match self.load(&index, floors, false, report) {
            Ok((state, last)) => Ok(Ok((index, state, last))),
            Err(Doubt::Mismatch(why)) => Ok(Err(why)),
            Err(Doubt::Index(error)) => Ok(Err(error.to_string())),
            Err(Doubt::Fatal(error)) => Err(error),
        }
    }

    fn load(
        &mut self,
        index: &Arc<dyn Index>,
        floors: &Floors,
        is_rebuilding: bool,
        report: &mut OpenReport,
    ) -> Result<Loaded, Doubt> {
        let mut state = State { floors: floors.clone(), ..State::default() };
        state.set.advance(self.now.cutoff());
        self.load_watermarks(&**index, &mut state)?;
        self.load_buckets(&**index, &mut state)?;
        let mut last = BTreeMap::new();
        let total = self.names.len() as u64;
        for (done, name) in self.names.iter().enumerate() {
            let segments_done = done as u64;
            (self.progress)(OpenProgress { segments_done, segments_total: total, is_rebuilding });
            if let Some(commit) = self.replay(*name, index, &mut state, report)? {
                last.insert(*name, commit);
            }
        }
        Ok((state, last))
    }

    fn load_watermarks(&self, index: &dyn Index, state: &mut State) -> Result<(), Doubt> {
        let present: BTreeSet<&SegmentName> = self.names.iter().collect();
        let mut stale = Vec::new();
        let mut doubt = None;
        index.scan(Tree::Meta, &layout::watermark_keys(), &mut |key, value| {
            let Some(name) = layout::parse_watermark_key(key) else {
                return ControlFlow::Break(());
            };
            let Some(mark) = Watermark::decode(value) else {
                doubt = Some(format!("the watermark of {} is damaged", name.path().display()));
                return ControlFlow::Break(());
            };
            if present.contains(&name) {
                let segments = &mut state.buckets.entry(name.bucket).or_default().segments;
                segments.insert(name.number, Counted { mark, is_dirty: false });
            } else {
                stale.push(name);
            }
            ControlFlow::Continue(())
        })?;
        // A segment that is gone: its day was unlinked, or somebody took the file away.
        for name in stale {
            index.write(vec![quar_index::Write::Delete {
                tree: Tree::Meta,
                key: layout::watermark_key(&name),
            }])?;
        }
        doubt.map_or(Ok(()), |why| Err(Doubt::Mismatch(why)))
    }

    fn load_buckets(&self, index: &dyn Index, state: &mut State) -> Result<(), Doubt> {
        let present: BTreeSet<Bucket> = self.names.iter().map(|name| name.bucket).collect();
        let known: BTreeSet<Bucket> = index.buckets()?.into_iter().collect();
        for &bucket in &known {
            if present.contains(&bucket) {
                bucket::load(index, bucket, state)?;
            } else {
                index.drop_tree(bucket)?;
            }
        }
        // A segment that the index should know and whose bucket has no tree at all.
        let lost = state.buckets.iter().find(|(bucket, held)| {
            held.segments.values().any(|counted| counted.mark.keys > 0) && !known.contains(bucket)
        });
        match lost {
            Some((bucket, _)) => {
                Err(Doubt::Mismatch(format!("the index holds nothing of {bucket}")))
            }
            None => Ok(()),
        }
    }

    /// Reads what a segment holds behind its watermark.
    fn replay(
        &self,
        name: SegmentName,
        index: &Arc<dyn Index>,
        state: &mut State,
        report: &mut OpenReport,
    ) -> Result<Option<LastCommit>, Doubt> {
        let path = name.path();
        let segments = &mut state.buckets.entry(name.bucket).or_default().segments;
        let mark = segments.entry(name.number).or_default().mark;
        let keys = &self.settings.keys;
        let segment = match Segment::open(self.disk, name, self.settings.cluster, keys) {
            Ok(segment) => segment,
            Err(error) => return self.unreadable(name, error, mark, report).map(|()| None),
        };
        segment.sync().map_err(|error| Doubt::Fatal(io_at(&path)(error)))?;
        let length = segment.len().map_err(|error| Doubt::Fatal(io_at(&path)(error)))?;
        if mark.end > 0 && mark.salt != segment.salt() {
            let why = format!("the index is of another store's {}", path.display());
            return Err(Doubt::Mismatch(why));
        }
        if mark.end > length {
            let why = format!("{} lost its end behind byte {length}", path.display());
            return Err(Doubt::Mismatch(why));
        }
        state.name_segment(&name, segment.salt());
        // A rewrite was synced before it was closed: nothing in it needs writing again.
        let is_closed = segment.role() == SegmentRole::Rewrite
            && segment.replaced().map_err(|error| Doubt::Fatal(io_at(&path)(error)))?.is_some();
        let mut replay = Replay {
            name,
            index,
            state,
            settings: self.settings,
            report,
            bodies: BTreeSet::new(),
            start: mark.end.max(Segment::FIRST_BLOCK),
            last: None,
            error: None,
        };
        let start = replay.start;
        let scanned = segment.scan(start, &mut |found| replay.take(found));
        let Replay { last, error, .. } = replay;
        if let Some(error) = error {
            return Err(error.into());
        }
        match scanned {
            Err(BlockError::Io(error)) => Err(Doubt::Fatal(io_at(&path)(error))),
            Ok(_) | Err(BlockError::Damaged) => Ok(last.filter(|_| !is_closed)),
        }
    }

    fn unreadable(
        &self,
        name: SegmentName,
        error: OpenSegmentError,
        mark: Watermark,
        report: &mut OpenReport,
    ) -> Result<(), Doubt> {
        let path = name.path();
        match error {
            OpenSegmentError::Header(HeaderError::Unfinished) if mark.end > 0 => {
                Err(Doubt::Mismatch(format!("{} lost all it held", path.display())))
            }
            OpenSegmentError::Header(HeaderError::Unfinished) => {
                report.torn_tails += 1;
                Ok(())
            }
            OpenSegmentError::Io(error) => Err(Doubt::Fatal(io_at(&path)(error))),
            OpenSegmentError::Header(HeaderError::Damaged) | OpenSegmentError::Misplaced => {
                report.damaged.push(format!("{}: {error}", path.display()));
                Ok(())
            }
            // Of these nothing is damaged: it is this program, or this node, that is the wrong one.
            OpenSegmentError::Header(HeaderError::Version(_))
            | OpenSegmentError::Key(_)
            | OpenSegmentError::Cluster(_) => {
                let reason = error.to_string();
                Err(Doubt::Fatal(OpenError::Segment { path, reason }))
            }
        }
    }
}

/// Takes what a scan finds behind a watermark.
struct Replay<'a> {
    name: SegmentName,
    index: &'a Arc<dyn Index>,
    state: &'a mut State,
    settings: &'a Settings,
    report: &'a mut OpenReport,
    /// Bodies blocks found whole behind the watermark.
    bodies: BTreeSet<u32>,
    start: u64,
    last: Option<LastCommit>,
    error: Option<IndexError>,
}

impl Replay<'_> {
    fn take(&mut self, found: Found) -> Result<(), BlockError> {
        match found {
            Found::Bodies { offset } => {
                self.bodies.insert(offset);
            }
            Found::Damaged { from, to } => {
                let path = self.name.path();
                self.report.damaged.push(format!("{}: bytes {from} to {to}", path.display()));
            }
            Found::TornTail => self.report.torn_tails += 1,
            Found::Closing => {}
            Found::Entries { offset, end, commit, entries } => {
                self.take_entries(offset, end, commit, entries);
            }
        }
        Ok(())
    }

    fn take_entries(&mut self, offset: u32, end: u64, commit: u64, entries: Vec<Entry>) {
        // A body whose block did not survive is not here, whatever its entry says.
        let survives = |entry: &Entry| match entry {
            Entry::Body(body) => {
                u64::from(body.block) < self.start || self.bodies.contains(&body.block)
            }
            Entry::Record(_) => true,
        };
        let entries: Vec<Entry> = entries.into_iter().filter(survives).collect();
        let block = Block { segment: self.name, offset, end, entries: &entries };
        let settings = self.settings;
        let resend = |record: &Record, arrival: &quar_base::arrival::Arrival| {
            crate::commit::resend_digest(settings, record, arrival)
        };
        let applied = self.state.apply(&block, &**self.index, &resend);
        if let Err(error) = applied.and_then(|writes| self.index.write(writes)) {
            self.error.get_or_insert(error);
        }
        let last = self.last.get_or_insert_with(|| (commit, Vec::new(), Vec::new()));
        if last.0 != commit {
            *last = (commit, Vec::new(), Vec::new());
        }
        for entry in entries {
            match entry {
                Entry::Record(record) => {
                    self.report.replayed_records += 1;
                    last.1.push(record);
                }
                Entry::Body(body) => last.2.push(body),
            }
        }
    }
}

fn is_doubt(error: &IndexError) -> bool {
    error.needs_rebuild()
}

fn fatal(doubt: Doubt) -> OpenError {
    match doubt {
        Doubt::Fatal(error) => error,
        Doubt::Index(error) => error.into(),
        Doubt::Mismatch(why) => OpenError::Segment {
            path: SEGMENTS.into(),
            reason: format!("a fresh index disagrees: {why}"),
        },
    }
}

fn io_at(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> OpenError {
    let path = PathBuf::from(path.as_ref());
    |error| OpenError::Io { path, error }
}

/// Rewrites that a crash interrupted: a closed one unlinks what it replaces. One that was never
/// closed holds copies of what its old segment still has: it is kept as if it were a log, since a
/// damaged closing block looks the same.
fn finish_rewrites(
    names: Vec<SegmentName>,
    settings: &Settings,
    disk: &dyn Disk,
) -> Result<Vec<SegmentName>, OpenError> {
    let mut gone = BTreeSet::new();
    for name in &names {
        let opened = Segment::open(disk, *name, settings.cluster, &settings.keys);
        let Ok(segment) = opened else { continue };
        if segment.role() == SegmentRole::Log {
            continue;
        }
        let path = name.path();
        let replaced = segment.replaced().map_err(io_at(&path))?.unwrap_or_default();
        let bucket = name.bucket;
        gone.extend(replaced.into_iter().map(|number| SegmentName { bucket, number }));
    }
    for name in names.iter().filter(|name| gone.contains(name)) {
        let path = name.path();
        disk.remove(&path).map_err(io_at(&path))?;
        let directory = bucket_directory(name.bucket);
        disk.sync_dir(&directory).map_err(io_at(&directory))?;
    }
    Ok(names.into_iter().filter(|name| !gone.contains(name)).collect())
}

/// All segments above the kept floors; days below them are unlinked on the way.
fn list_segments(disk: &dyn Disk, floors: &Floors) -> Result<Vec<SegmentName>, OpenError> {
    let mut names = Vec::new();
    let list = |path: &Path| disk.list(path).map_err(io_at(path));
    let root = Path::new(SEGMENTS);
    disk.create_dir(root).map_err(io_at(root))?;
    for class in list(root)?.into_iter().filter(|entry| entry.is_dir) {
        let Ok(class_number) = class.name.parse::<Class>() else {
            continue;
        };
        for day in list(&root.join(&class.name))?.into_iter().filter(|entry| entry.is_dir) {
            let Ok(day) = day.name.parse::<Day>() else {
                continue;
            };
            let bucket = Bucket { class: class_number, day };
            let directory = bucket_directory(bucket);
            if floors.is_below_kept(bucket) {
                disk.remove_dir(&directory).map_err(io_at(&directory))?;
                continue;
            }
            let numbers = list(&directory)?.into_iter().filter(|entry| !entry.is_dir);
            names.extend(
                numbers
                    .filter_map(|entry| SegmentName::number_of(&entry.name))
                    .map(|number| SegmentName { bucket, number }),
            );
        }
    }
    Ok(names)
}

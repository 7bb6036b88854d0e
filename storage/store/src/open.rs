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

mod again;
mod bucket;
mod files;
mod rebuild;
mod replay;

use self::files::{Files, finish_rewrites, list_segments, unlink_expired};
use self::replay::{InPlace, Ready};
use crate::beside;
use crate::broken::{self, Named};
use crate::catalog::Catalog;
use crate::check;
use crate::codec;
use crate::commit::Coming;
use crate::dictionary::Dictionaries;
use crate::disk::Disk;
use crate::error::{OpenError, ReadError};
use crate::floors::{Floors, FloorsUnreadable};
use crate::index_home::IndexHome;
use crate::layout::{self, Watermark};
use crate::reserve::Reserve;
use crate::segment::{SEGMENTS, SegmentName};
use crate::segments::Segments;
use crate::state::{Counted, State};
use crate::store::{Committer, Settings, Store};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Record;
use quar_base::rng::Rng;
use quar_base::roster::Roster;
use quar_base::time::UnixMillis;
use quar_index::{Index, IndexError, Tree};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

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
    /// Whether the index held nothing of the segments that are there, as it was removed or never
    /// flushed: it was filled from them, and nothing is damaged by that.
    pub was_index_empty: bool,
    /// Records replayed from behind the watermarks.
    pub replayed_records: u64,
    /// Segments that end in a write that was never finished.
    pub torn_tails: u64,
    /// Damaged places that have valid blocks behind them, segments that cannot be read at all, a list of
    /// damaged records that is damaged, and expired days that cannot be unlinked.
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
        let loaded = floors.load(&*disk).map_err(io_at("floors"))?;
        loaded.map_err(FloorsUnreadable::into_open_error)?;
        let named = broken::load(&*disk).map_err(io_at(broken::FILE))?;
        // Before anything is written: the index, above all, does not bear that there is no room.
        let reserve = Reserve::find(disk.clone(), settings.reserve_bytes);
        let listed = list_segments(&*disk, &floors)?;
        let (key, number) = (settings.id_key.clone(), settings.node_number);
        let dictionaries = Arc::new(Dictionaries::new(key, number, codec::LEVEL));
        let (cluster, keys) = (settings.cluster, settings.keys.clone());
        let segments = Segments::new(disk.clone(), cluster, keys, dictionaries.clone());
        let segments = Arc::new(segments);
        // From here on files go: nothing of a later version was found.
        let files = finish_rewrites(listed.names, &segments, &*disk, &settings.id_key)?;
        let stuck = unlink_expired(&*disk, &listed.expired);
        let mut loader = Loader {
            settings: &settings,
            segments: &segments,
            files: &files,
            named: &named,
            now,
            progress,
            segments_done: 0,
            is_rebuilding: false,
        };
        let (opened, state, last) = match loader.load_good_index(index, &floors, &mut report)? {
            Ok(loaded) => loaded,
            Err(why) => {
                tracing::warn!(%why, "the index is built again from the segments");
                report = OpenReport { rebuilt: Some(why), ..OpenReport::default() };
                index.reset().map_err(io_at("index"))?;
                let fresh = Arc::new(Catalog::new(index.open()?, &files.packs));
                loader.is_rebuilding = true;
                let (state, last) = loader.load(&fresh, &floors, &mut report).map_err(fatal)?;
                (fresh, state, last)
            }
        };
        report.damaged.extend(files.damaged);
        report.damaged.extend(stuck);
        let store = Self {
            disk: disk.clone(),
            reserve,
            index: opened,
            roster: RwLock::new(roster),
            pending: Mutex::default(),
            committer: Mutex::new(Committer {
                writers: BTreeMap::new(),
                next_commit: 1,
                rng: Rng::from_seed(seed),
                coming: Coming::default(),
            }),
            landing: Mutex::default(),
            state: RwLock::new(state),
            segments,
            rewriter: Mutex::default(),
            headers: RwLock::default(),
            checkpoints: Mutex::default(),
            checks: Mutex::new(check::load(&*disk)),
            dictionaries,
            failure: OnceLock::new(),
            tickets: AtomicU64::new(1),
            settings,
        };
        // Days that a wrong clock hides too.
        for bucket in store.buckets() {
            store.settle_wants(bucket).map_err(unreadable(SEGMENTS))?;
        }
        report.damaged.extend(named.damage);
        store.recall_broken(named.names).map_err(unreadable(broken::FILE))?;
        store.write_last_commits_again(last)?;
        store.tend_reserve();
        Ok((store, report))
    }
}

struct Loader<'a> {
    settings: &'a Settings,
    segments: &'a Segments,
    files: &'a Files,
    /// Records that were damaged before this start.
    named: &'a Named,
    now: UnixMillis,
    progress: &'a mut dyn FnMut(OpenProgress),
    segments_done: u64,
    is_rebuilding: bool,
}

type LastCommits = BTreeMap<SegmentName, LastCommit>;
type Loaded = (State, LastCommits);
/// An index that the segments bear out, and what was loaded with it.
type Good = (Arc<Catalog>, State, LastCommits);

impl Loader<'_> {
    /// Opens the index that is there; the inner error says why it must be built again.
    fn load_good_index(
        &mut self,
        home: &mut dyn IndexHome,
        floors: &Floors,
        report: &mut OpenReport,
    ) -> Result<Result<Good, String>, OpenError> {
        let index = match home.open() {
            Ok(index) => Arc::new(Catalog::new(index, &self.files.packs)),
            Err(error) if is_doubt(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        match self.load(&index, floors, report) {
            Ok((state, last)) => Ok(Ok((index, state, last))),
            Err(Doubt::Mismatch(why)) => Ok(Err(why)),
            Err(Doubt::Index(error)) if is_doubt(&error) => Ok(Err(error.to_string())),
            // A full disk, or one that fails, says nothing against the index; and to build it again
            // takes more of what is missing.
            Err(error) => Err(fatal(error)),
        }
    }

    fn load(
        &mut self,
        index: &Arc<Catalog>,
        floors: &Floors,
        report: &mut OpenReport,
    ) -> Result<Loaded, Doubt> {
        self.segments_done = 0;
        let mut state = State { floors: floors.clone(), ..State::default() };
        state.set.advance(self.now.cutoff());
        self.load_watermarks(index.changes(), &mut state)?;
        let gone = self.load_buckets(index, &mut state)?;
        let mut last = self.replay_known(index, &mut state, report)?;
        last.append(&mut self.replay_unknown(index, &mut state, report)?);
        for (bucket, key) in gone {
            let id = MessageId { bucket, key };
            let value = index.get(Tree::Bucket(bucket), &layout::record_key(&key))?;
            if value.is_none() && state.is_missed(id) {
                report.damaged.push(format!("{id}: the segment that held this record is gone"));
                state.buckets.entry(bucket).or_default().broken.records.insert(key);
            }
        }
        Ok((state, last))
    }

    /// Replays what the index lacks of buckets that it knows, which is little.
    fn replay_known(
        &mut self,
        index: &Catalog,
        state: &mut State,
        report: &mut OpenReport,
    ) -> Result<LastCommits, Doubt> {
        let mut last = BTreeMap::new();
        let names = self.files.logs.iter().filter(|name| state.is_in_index(name.bucket));
        for name in names.copied().collect::<Vec<_>>() {
            if let Some(ready) = Ready::find(self.segments, name, state, report)? {
                let mut target = InPlace { index, tree: Tree::Bucket(name.bucket) };
                let read = ready.replay(self.settings, &mut target, state, report)?;
                ready.give_back(&read);
                last.extend(read.last.map(|commit| (name, commit)));
            }
            self.told(1);
        }
        Ok(last)
    }

    fn told(&mut self, segments: u64) {
        self.segments_done += segments;
        let Self { segments_done, is_rebuilding, .. } = *self;
        let segments_total = self.files.logs.len() as u64;
        (self.progress)(OpenProgress { segments_done, segments_total, is_rebuilding });
    }

    fn load_watermarks(&self, index: &dyn Index, state: &mut State) -> Result<(), Doubt> {
        let present: BTreeSet<&SegmentName> = self.files.logs.iter().collect();
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

    /// Returns the records that the index knows from segments that are gone.
    fn load_buckets(
        &self,
        index: &Catalog,
        state: &mut State,
    ) -> Result<Vec<(Bucket, RecordKey)>, Doubt> {
        let names: BTreeSet<SegmentName> = self.files.logs.iter().copied().collect();
        let mut gone = Vec::new();
        let logs = self.files.logs.iter().map(|name| name.bucket);
        let packed = self.files.packs.iter().map(|pack| pack.bucket());
        let present: BTreeSet<Bucket> = logs.chain(packed).collect();
        let known: BTreeSet<Bucket> = index.buckets()?.into_iter().collect();
        for &bucket in known.difference(&present) {
            index.drop_tree(bucket)?;
        }
        let mut buckets: Vec<Bucket> = known.intersection(&present).copied().collect();
        // The newest first: of those the most is to be read.
        buckets.sort_by_key(|bucket| Reverse(bucket.day));
        let apart = buckets.into_iter().map(|bucket| (bucket, state.take_bucket(bucket))).collect();
        let mut loaded = beside::all(apart, &|(bucket, mut apart): (Bucket, State)| {
            let loaded = bucket::load(index, bucket, &names, self.named, &mut apart);
            (bucket, loaded.map(|loaded| (apart, loaded)))
        });
        // What is on disk changes in the order of the buckets.
        loaded.sort_by_key(|(bucket, _)| *bucket);
        for (bucket, loaded) in loaded {
            let (apart, loaded) = loaded?;
            state.put_back(apart);
            let loaded = loaded.put_in_force(index, state)?;
            gone.extend(loaded.gone.into_iter().map(|key| (bucket, key)));
        }
        // A segment that the index should know and whose bucket has no tree at all.
        let lost = state.buckets.iter().find(|(bucket, held)| {
            held.segments.values().any(|counted| counted.mark.keys > 0) && !known.contains(bucket)
        });
        match lost {
            Some((bucket, _)) => {
                Err(Doubt::Mismatch(format!("the index holds nothing of {bucket}")))
            }
            None => Ok(gone),
        }
    }
}

fn unreadable(path: &str) -> impl FnOnce(ReadError) -> OpenError {
    move |error| match error {
        ReadError::Index(error) => error.into(),
        // As it is: what is to be done depends on what the operating system says.
        ReadError::Io(error) => io_at(path)(error),
        other => io_at(path)(io::Error::other(other.to_string())),
    }
}

fn is_doubt(error: &IndexError) -> bool {
    error.needs_rebuild()
}

fn fatal(doubt: Doubt) -> OpenError {
    match doubt {
        Doubt::Fatal(error) => error,
        Doubt::Index(IndexError::NoRoom { .. }) => {
            io_at("index")(io::ErrorKind::StorageFull.into())
        }
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

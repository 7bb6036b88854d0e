//! What the index knows nothing of is read from the segments alone, on all processors, a bucket on each.
//! Never lets processors race for what is on disk: files and index change in the order of the buckets.
//!
//! ```text
//! segments of a bucket ──► its entries and its state, in memory   (as many at once as there are processors)
//!                              └──► sorted ──► index              (one after the other)
//! ```

use super::replay::{Read, Ready, Target};
use super::{Doubt, LastCommits, Loader, OpenReport};
use crate::beside::{self, Beside};
use crate::catalog::Catalog;
use crate::segment::SegmentName;
use crate::state::State;
use crate::store::Settings;
use foldhash::fast::FixedState;
use quar_base::key::Bucket;
use quar_index::{Index, IndexError, Tree, Write};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::thread;

/// The tree of one bucket before it is in the index.
struct Apart<'a> {
    /// Has what packs have.
    index: &'a Catalog,
    tree: Tree,
    /// Keys hold hashes, which nobody can choose: no secret seed is needed.
    entries: HashMap<Vec<u8>, Vec<u8>, FixedState>,
}

impl Target for Apart<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match self.entries.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => self.index.get(self.tree, key),
        }
    }

    fn write(&mut self, writes: Vec<Write>) -> Result<(), IndexError> {
        for write in writes {
            match write {
                Write::Put { key, value, .. } => drop(self.entries.insert(key, value)),
                Write::Delete { key, .. } => drop(self.entries.remove(&key)),
            }
        }
        Ok(())
    }
}

/// A bucket that was read.
struct Built {
    tree: Tree,
    /// In the order of their keys.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    state: State,
    report: OpenReport,
    segments: Vec<(Ready, Read)>,
}

impl Loader<'_> {
    /// Replays the buckets of which the index has nothing: all of them, when it is built again.
    pub(super) fn replay_unknown(
        &mut self,
        index: &Catalog,
        state: &mut State,
        report: &mut OpenReport,
    ) -> Result<LastCommits, Doubt> {
        let mut buckets: BTreeMap<Bucket, Vec<SegmentName>> = BTreeMap::new();
        for name in self.files.logs.iter().filter(|name| !state.is_in_index(name.bucket)) {
            buckets.entry(name.bucket).or_default().push(*name);
        }
        // An index that is simply missing is built like one in doubt.
        let is_empty = state.buckets.keys().all(|bucket| !state.is_in_index(*bucket));
        report.was_index_empty = is_empty && !buckets.is_empty() && report.rebuilt.is_none();
        self.is_rebuilding |= is_empty;
        let at_once = beside::processors();
        let mut last = BTreeMap::new();
        let settings = self.settings;
        thread::scope(|scope| {
            let mut running: VecDeque<Beside<'_, Result<Built, Doubt>>> = VecDeque::new();
            let mut buckets = buckets.into_iter();
            loop {
                while running.len() <= at_once
                    && let Some((bucket, names)) = buckets.next()
                {
                    let mut apart = state.take_bucket(bucket);
                    let mut ready = Vec::new();
                    for name in names {
                        ready.extend(Ready::find(self.segments, name, &mut apart, report)?);
                    }
                    let build = move || build(settings, index, bucket, ready, apart);
                    running.push_back(Beside::start(scope, build));
                }
                let Some(first) = running.pop_front() else { return Ok::<(), Doubt>(()) };
                let built = first.end()?;
                index.fill(built.tree, built.entries)?;
                state.put_back(built.state);
                report.replayed_records += built.report.replayed_records;
                report.torn_tails += built.report.torn_tails;
                report.damaged.extend(built.report.damaged);
                for (segment, read) in built.segments {
                    segment.give_back(&read);
                    last.extend(read.last.map(|commit| (segment.name(), commit)));
                    self.told(1);
                }
            }
        })?;
        Ok(last)
    }
}

fn build(
    settings: &Settings,
    index: &Catalog,
    bucket: Bucket,
    segments: Vec<Ready>,
    mut state: State,
) -> Result<Built, Doubt> {
    let tree = Tree::Bucket(bucket);
    let mut target = Apart { index, tree, entries: HashMap::default() };
    let mut report = OpenReport::default();
    let mut read = Vec::new();
    for segment in segments {
        let found = segment.replay(settings, &mut target, &mut state, &mut report)?;
        read.push((segment, found));
    }
    let mut entries: Vec<_> = target.entries.into_iter().collect();
    entries.sort_unstable();
    Ok(Built { tree, entries, state, report, segments: read })
}

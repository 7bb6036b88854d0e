//! The store's parts and the locks around them.
//! Never holds two locks at once but in the order in which they stand in [`Store`].

use crate::admit::Submission;
use crate::catalog::Catalog;
use crate::check::Checks;
use crate::commit::Coming;
use crate::dictionary::Dictionaries;
use crate::disk::Disk;
use crate::floors::Retention;
use crate::layout::{self, Watermark};
use crate::reserve::Reserve;
use crate::seal::{EncryptionKey, IdKey};
use crate::segment::{SegmentName, SegmentWriter};
use crate::segments::Segments;
use crate::set::{View, Which, removal};
use crate::state::State;
use quar_base::class::Class;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::rng::Rng;
use quar_base::roster::Roster;
use quar_base::signing::SigningKey;
use quar_base::time::{Cutoff, Day};
use quar_index::{Index, IndexError, Tree, Write};
use quar_merkle::Hash;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU64;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError,
};

/// Who this node is and how its store behaves.
pub struct Settings {
    /// The cluster the node belongs to.
    pub cluster: ClusterId,
    /// This node's member id.
    pub member: MemberId,
    /// This node's number.
    pub node_number: u16,
    /// Signs this node's actions.
    pub signing: Arc<SigningKey>,
    /// Encryption keys, the one for new segments first.
    pub keys: Vec<EncryptionKey>,
    /// Key of body ids.
    pub id_key: IdKey,
    /// Days each class keeps.
    pub retention: Retention,
    /// Mail is refused while fewer bytes than this are free; deletes are not.
    pub min_free_bytes: u64,
    /// Bytes kept for what must be written on a full disk; 0 for none.
    pub reserve_bytes: u64,
}

/// One node's store. Shared between threads by reference.
pub struct Store {
    pub(crate) settings: Settings,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) reserve: Reserve,
    pub(crate) index: Arc<Catalog>,
    pub(crate) roster: RwLock<Arc<Roster>>,
    pub(crate) pending: Mutex<Vec<Submission>>,
    /// Held by a checkpoint.
    pub(crate) checkpoints: Mutex<()>,
    pub(crate) committer: Mutex<Committer>,
    /// Held from a commit's write until its outcomes are known: the next one is drafted meanwhile.
    pub(crate) landing: Mutex<()>,
    pub(crate) state: RwLock<State>,
    pub(crate) segments: Arc<Segments>,
    /// Held while a bucket's segments are written anew.
    pub(crate) rewriter: Mutex<()>,
    /// Held by whoever reads many headers, and alone by who writes them again.
    pub(crate) headers: RwLock<()>,
    /// When buckets were checked. No other lock is taken while it is held.
    pub(crate) checks: Mutex<Checks>,
    pub(crate) dictionaries: Arc<Dictionaries>,
    pub(crate) failure: OnceLock<Failure>,
    pub(crate) tickets: AtomicU64,
}

/// Why a store takes nothing more.
pub(crate) struct Failure {
    /// What the operating system said, when it was its doing.
    pub(crate) raw_os_error: Option<i32>,
}

/// What only the thread that drafts and writes a commit touches.
pub(crate) struct Committer {
    pub(crate) writers: BTreeMap<Bucket, SegmentWriter>,
    pub(crate) next_commit: u64,
    pub(crate) rng: Rng,
    /// Of the last commit, which may still be synced.
    pub(crate) coming: Coming,
}

/// While it is held no commit is under way.
pub(crate) struct Turn<'a> {
    committer: MutexGuard<'a, Committer>,
    _landing: MutexGuard<'a, ()>,
}

impl Deref for Turn<'_> {
    type Target = Committer;

    fn deref(&self) -> &Committer {
        &self.committer
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Committer {
        &mut self.committer
    }
}

/// How much is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records in the set.
    pub records: u64,
    /// Bodies that a record here needs and that are not here.
    pub wanted: u64,
    /// Items that wait for a commit.
    pub pending: u64,
}

const PROOF: &str = "no holder of this lock panics";

impl Store {
    /// The settings that the store was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The roster against which authors are checked.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.read().expect(PROOF).clone()
    }

    /// Checks authors against another roster from now on.
    pub fn set_roster(&self, roster: Arc<Roster>) {
        *self.roster.write().expect(PROOF) = roster;
    }

    /// Whether a write or sync has failed: nothing is taken until the store is opened again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Makes the index durable and moves the watermarks up to it: what lies before them is not
    /// read again at the next opening.
    ///
    /// # Errors
    /// As the index reports; the watermarks then stay where they were. Unless there was only no
    /// room, the store takes nothing more: an index that failed takes no changes until it is opened
    /// again.
    pub fn checkpoint(&self) -> Result<(), IndexError> {
        let _turn = self.between_checkpoints();
        let mut committer = self.committer();
        if self.has_failed() {
            return Ok(());
        }
        committer.writers.values_mut().for_each(SegmentWriter::rest);
        if let Err(error) = self.save_broken(&committer) {
            tracing::warn!(%error, "the names of damaged records could not be saved");
        }
        drop(committer);
        self.reserve.with_room(|| self.flush_index()).inspect_err(|error| {
            if !matches!(error, IndexError::NoRoom { .. }) {
                self.fail("flushing the index", error);
            }
        })
    }

    /// Commits go on while the index is flushed, which may take long.
    fn flush_index(&self) -> Result<(), IndexError> {
        // What these vouch for is in the index, if not yet on disk.
        let marks = {
            let _committer = self.committer();
            self.dirty_marks()
        };
        self.index.flush()?;
        {
            // What was written anew or expired meanwhile took its watermarks along.
            let _committer = self.committer();
            let writes = self.still_valid(&marks);
            if writes.is_empty() {
                return Ok(());
            }
            self.index.write(writes)?;
        }
        self.index.flush()?;
        let mut state = self.state_mut();
        for (name, mark) in marks {
            let held = state.buckets.get_mut(&name.bucket);
            let counted = held.and_then(|held| held.segments.get_mut(&name.number));
            if let Some(counted) = counted.filter(|counted| counted.mark == mark) {
                counted.is_dirty = false;
            }
        }
        Ok(())
    }

    /// Watermarks that the index does not have yet.
    fn dirty_marks(&self) -> Vec<(SegmentName, Watermark)> {
        let state = self.state();
        let dirty = state.buckets.iter().flat_map(|(bucket, held)| {
            let segments = held.segments.iter().filter(|(_, counted)| counted.is_dirty);
            segments.map(|(number, counted)| {
                (SegmentName { bucket: *bucket, number: *number }, counted.mark)
            })
        });
        dirty.collect()
    }

    /// Those whose segment is the same file still, and of which nothing has left it.
    fn still_valid(&self, marks: &[(SegmentName, Watermark)]) -> Vec<Write> {
        let state = self.state();
        let is_valid = |(name, mark): &&(SegmentName, Watermark)| {
            let held = state.buckets.get(&name.bucket);
            let counted = held.and_then(|held| held.segments.get(&name.number));
            counted.is_some_and(|counted| counted.mark.salt == mark.salt)
        };
        let write = |(name, mark): &(SegmentName, Watermark)| Write::Put {
            tree: Tree::Meta,
            key: layout::watermark_key(name),
            value: mark.encode(),
        };
        marks.iter().filter(is_valid).map(write).collect()
    }

    /// Gives back the room that segments have ahead. A commit after this starts new segments.
    pub fn close(&self) {
        self.committer().writers.clear();
    }

    /// How much is in the store.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let pending = self.pending().len() as u64;
        let state = self.state();
        let kept = state.buckets.iter().filter(|(bucket, _)| !state.floors.is_below(**bucket));
        let wanted = kept.map(|(_, held)| held.wanted.bodies().len() as u64).sum();
        Counts { records: state.set.count(), wanted, pending }
    }

    /// A view of the set for comparisons, days below their floors left out.
    #[must_use]
    pub fn view(&self, which: Which) -> View {
        let state = self.state();
        state.set.view(which).clone_where(|bucket| !state.floors.is_below(bucket))
    }

    /// Keys that are here and later than a cutoff, which is not later than the one in force.
    #[must_use]
    pub fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)> {
        let state = self.state();
        let mut keys = state.set.later_than(cutoff);
        keys.retain(|(bucket, _)| !state.floors.is_below(*bucket));
        keys
    }

    /// The root over everything known, as if the cutoff lay behind all of it.
    #[must_use]
    pub fn live_root(&self) -> Hash {
        self.state().set.live_root()
    }

    /// Moves the cutoff; returns whether it moved.
    pub fn advance(&self, cutoff: Cutoff) -> bool {
        let before = self.state().set.view(Which::Current).cutoff();
        if before <= cutoff {
            return before < cutoff && self.state_mut().set.advance(cutoff);
        }
        // No commit in between.
        let _committer = self.committer();
        self.state_mut().set.advance(cutoff);
        if let Err(error) = self.bring_back() {
            self.fail("reading the index", &error);
        }
        true
    }

    /// After the cutoff moved back: arrivals whose deletes have not taken effect by this one are in the set
    /// again, but for those that were erased meanwhile: nobody could be sent them.
    fn bring_back(&self) -> Result<(), IndexError> {
        let mut state = self.state_mut();
        let State { buckets, set, .. } = &mut *state;
        let now = set.view(Which::Current).cutoff();
        for (bucket, held) in buckets {
            for message in held.deletes.keys() {
                let Some(second) = held.covered_from(message) else { continue };
                if removal(message, second).is_settled(bucket.day, now) {
                    continue;
                }
                let key = layout::record_key(message);
                let is_here = !held.broken.records.contains(message)
                    && self.index.get(Tree::Bucket(*bucket), &key)?.is_some();
                if is_here {
                    set.insert(*bucket, *message);
                    set.remove(*bucket, *message, second);
                } else if set.leaves_far_ahead(*bucket, message, second) {
                    set.forget(*bucket, *message);
                }
            }
        }
        Ok(())
    }

    /// The oldest day each class shows, offers and accepts; classes that keep everything left out.
    #[must_use]
    pub fn floors(&self) -> Vec<(Class, Day)> {
        let state = self.state();
        let mut classes: Vec<Class> = Class::known().collect();
        classes.extend(state.buckets.keys().map(|bucket| bucket.class));
        classes.extend(state.floors.kept_classes());
        classes.sort();
        classes.dedup();
        state.floors.list(classes.into_iter())
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, Vec<Submission>> {
        self.pending.lock().expect(PROOF)
    }

    /// Waits until no commit is under way.
    pub(crate) fn committer(&self) -> Turn<'_> {
        let mut committer = self.drafting();
        let _landing = self.landing();
        committer.coming = Coming::default();
        Turn { committer, _landing }
    }

    /// For a commit alone: the one before it may still be synced.
    pub(crate) fn drafting(&self) -> MutexGuard<'_, Committer> {
        self.committer.lock().expect(PROOF)
    }

    /// Waits until the commit before has landed.
    pub(crate) fn landing(&self) -> MutexGuard<'_, ()> {
        self.landing.lock().expect(PROOF)
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(PROOF)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect(PROOF)
    }

    /// Until it is dropped, no checkpoint runs: what is done to the index in several steps is on disk
    /// as a whole or not at all. Taken before the committer.
    pub(crate) fn between_checkpoints(&self) -> MutexGuard<'_, ()> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is dropped, no other segments are written anew.
    pub(crate) fn rewriting(&self) -> MutexGuard<'_, ()> {
        self.rewriter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::rewriting`]; `None` while segments are written anew.
    pub(crate) fn rewriting_now(&self) -> Option<MutexGuard<'_, ()>> {
        match self.rewriter.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(alone)) => Some(alone.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Until it is dropped, no header of a segment is written again.
    pub(crate) fn reading_headers(&self) -> RwLockReadGuard<'_, ()> {
        self.headers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

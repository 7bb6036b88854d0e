//! Expiry: days below their floor disappear at once, and their bytes when the clock is believed.
//! Never unlinks on its own account: the caller says when the clock is corroborated.

use crate::floors::Floors;
use crate::segment::bucket_directory;
use crate::store::{Committer, Store};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use quar_index::Index;
use std::collections::BTreeSet;
use std::io;

/// What one expiry unlinked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Buckets whose files are gone.
    pub buckets: Vec<Bucket>,
    /// Records they held.
    pub records: u64,
}

impl Store {
    /// Tells the store which day it is: days below their floor are hidden from now on, and a day
    /// that only a wrong clock had hidden is shown again.
    pub fn set_today(&self, today: Day) {
        self.state_mut().floors.set_today(today);
    }

    /// Buckets that are hidden and still on disk.
    #[must_use]
    pub fn expired(&self) -> Vec<Bucket> {
        let state = self.state();
        state.buckets.keys().copied().filter(|bucket| state.floors.is_below(*bucket)).collect()
    }

    /// Unlinks what lies below the floors, the floor being made durable first.
    ///
    /// Call it only when the clock is corroborated. Index keys follow in [`Self::forget_expired`].
    ///
    /// *Durable when* this returns: a floor once kept never moves back.
    ///
    /// # Errors
    /// As the operating system reports, of the first day that could not be unlinked; the others are,
    /// their index keys too, and what is hidden stays hidden.
    pub fn unlink_expired(&self) -> io::Result<Expired> {
        let mut committer = self.committer();
        let expired = self.expired();
        if expired.is_empty() {
            return Ok(Expired::default());
        }
        let floors = {
            let mut state = self.state_mut();
            let mut classes: Vec<Class> = Class::known().collect();
            classes.extend(expired.iter().map(|bucket| bucket.class));
            state.floors.keep_clock_floors(classes.into_iter());
            state.floors.clone()
        };
        let (done, failed) = self.unlink(&mut committer, &floors, expired)?;
        self.told(done, failed)
    }

    /// Lets the oldest day of these classes go, before its time: the day after it becomes the kept
    /// floor. Never today. Index keys follow in [`Self::forget_expired`].
    ///
    /// A day that could not be unlinked before is tried again, and the next one goes only when that
    /// gives back nothing.
    ///
    /// *Durable when* this returns: a floor once kept never moves back, and peers offer nothing below.
    ///
    /// # Errors
    /// As the operating system reports, of the first day that could not be unlinked; the others are,
    /// their index keys too, and what is hidden stays hidden.
    pub fn expire_oldest(&self, classes: &BTreeSet<Class>) -> io::Result<Expired> {
        let mut committer = self.committer();
        let (floors, left) = {
            let state = self.state();
            let is_left = |bucket: &&Bucket| {
                classes.contains(&bucket.class) && state.floors.is_below_kept(**bucket)
            };
            let left: Vec<Bucket> = state.buckets.keys().filter(is_left).copied().collect();
            (state.floors.clone(), left)
        };
        let mut earlier = None;
        if !left.is_empty() {
            let (done, failed) = self.unlink(&mut committer, &floors, left)?;
            if !done.buckets.is_empty() {
                return self.told(done, failed);
            }
            earlier = failed;
        }
        let Some((floors, oldest)) = self.keep_above_oldest(classes) else {
            return self.told(Expired::default(), earlier);
        };
        let (done, failed) = self.unlink(&mut committer, &floors, vec![oldest])?;
        self.told(done, earlier.or(failed))
    }

    /// Moves the floor of one of these classes above its oldest day that is past and still kept;
    /// which day that is, and the floors to be made durable.
    fn keep_above_oldest(&self, classes: &BTreeSet<Class>) -> Option<(Floors, Bucket)> {
        let mut state = self.state_mut();
        let today = state.floors.today()?;
        let may_go = |bucket: &&Bucket| {
            let is_kept = !state.floors.is_below_kept(**bucket);
            classes.contains(&bucket.class) && bucket.day < today && is_kept
        };
        let oldest = state.buckets.keys().filter(may_go).min_by_key(|b| b.day).copied()?;
        state.floors.keep(oldest.class, Day(oldest.day.0 + 1));
        Some((state.floors.clone(), oldest))
    }

    /// Classes of which days went before the time that the retention gives them now, each with the
    /// oldest day that is left: let go early, or in due course under an earlier, shorter retention.
    #[must_use]
    pub fn expired_early(&self) -> Vec<(Class, Day)> {
        self.state().floors.early()
    }

    /// Unlinks these buckets: what was done, and what the first of the others failed with. One that
    /// fails keeps none of the others.
    fn unlink(
        &self,
        committer: &mut Committer,
        floors: &Floors,
        expired: Vec<Bucket>,
    ) -> io::Result<(Expired, Option<io::Error>)> {
        self.reserve.with_room(|| floors.save(&*self.disk))?;
        let (mut done, mut failed) = (Expired::default(), None);
        for bucket in expired {
            committer.writers.remove(&bucket);
            self.state_mut().begin_replacing(bucket);
            if let Err(error) = self.disk.remove_dir(&bucket_directory(bucket)) {
                tracing::warn!(%bucket, %error, "an expired day could not be unlinked");
                failed.get_or_insert(error);
                continue;
            }
            self.segments.forget_bucket(bucket);
            let mut state = self.state_mut();
            let held = state.buckets.remove(&bucket);
            state.set.retain(|known| known != bucket);
            done.records += held.map_or(0, |held| held.records);
            done.buckets.push(bucket);
        }
        Ok((done, failed))
    }

    /// What the caller is told. With an error it does not learn which days went, so their index keys
    /// go here.
    fn told(&self, done: Expired, failed: Option<io::Error>) -> io::Result<Expired> {
        let Some(error) = failed else { return Ok(done) };
        for bucket in &done.buckets {
            tracing::warn!(%bucket, "expired, though another day could not be");
        }
        if let Err(error) = self.forget_expired(&done) {
            tracing::warn!(%error, "index keys of expired days could not be removed");
        }
        Err(error)
    }

    /// Drops the index keys of unlinked buckets.
    ///
    /// # Errors
    /// As the index reports.
    pub fn forget_expired(&self, expired: &Expired) -> Result<(), quar_index::IndexError> {
        expired.buckets.iter().try_for_each(|bucket| self.index.drop_tree(*bucket))
    }
}

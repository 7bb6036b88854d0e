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
    /// As the operating system reports; hidden days stay hidden.
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
        self.unlink(&mut committer, &floors, expired)
    }

    /// Lets the oldest day of these classes go, before its time: the day after it becomes the kept
    /// floor. Never today. Index keys follow in [`Self::forget_expired`].
    ///
    /// *Durable when* this returns: a floor once kept never moves back, and peers offer nothing below.
    ///
    /// # Errors
    /// As the operating system reports; hidden days stay hidden.
    pub fn expire_oldest(&self, classes: &BTreeSet<Class>) -> io::Result<Expired> {
        let mut committer = self.committer();
        let (floors, expired) = {
            let mut state = self.state_mut();
            let today = state.floors.today();
            let may_go = |bucket: &&Bucket| {
                let is_past = today.is_some_and(|today| bucket.day < today);
                classes.contains(&bucket.class) && is_past
            };
            let Some(oldest) = state.buckets.keys().filter(may_go).min_by_key(|b| b.day).copied()
            else {
                return Ok(Expired::default());
            };
            state.floors.keep(oldest.class, Day(oldest.day.0 + 1));
            let gone = |bucket: &&Bucket| bucket.class == oldest.class && bucket.day <= oldest.day;
            (state.floors.clone(), state.buckets.keys().filter(gone).copied().collect())
        };
        self.unlink(&mut committer, &floors, expired)
    }

    /// Classes of which days went before their time, each with the oldest day that is left.
    #[must_use]
    pub fn expired_early(&self) -> Vec<(Class, Day)> {
        self.state().floors.early()
    }

    fn unlink(
        &self,
        committer: &mut Committer,
        floors: &Floors,
        expired: Vec<Bucket>,
    ) -> io::Result<Expired> {
        self.reserve.with_room(|| floors.save(&*self.disk))?;
        let mut done = Expired::default();
        for bucket in expired {
            committer.writers.remove(&bucket);
            self.disk.remove_dir(&bucket_directory(bucket))?;
            self.segments.forget_bucket(bucket);
            let mut state = self.state_mut();
            let held = state.buckets.remove(&bucket);
            done.records += held.map_or(0, |held| held.records);
            done.buckets.push(bucket);
        }
        self.state_mut().set.retain(|bucket| !done.buckets.contains(&bucket));
        Ok(done)
    }

    /// Drops the index keys of unlinked buckets.
    ///
    /// # Errors
    /// As the index reports.
    pub fn forget_expired(&self, expired: &Expired) -> Result<(), quar_index::IndexError> {
        expired.buckets.iter().try_for_each(|bucket| self.index.drop_tree(*bucket))
    }
}

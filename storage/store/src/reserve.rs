//! The reserve: a file that keeps room on the disk for what must be written when there is none left.
//! Never spent on mail: while it is given up, mail counts its bytes as taken.
//!
//! ```text
//! held ── less than a quarter of it is free, or a write finds no room ──► given up: the file is unlinked
//!   ▲                                                                         │
//!   └── room for it, for what mail leaves free, and a quarter of it more ─────┘
//! ```

use crate::disk::Disk;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Its name below the data directory.
pub const RESERVE_FILE: &str = "reserve";
/// With this part of the reserve left after it was given up, nothing more is taken: opening and
/// unlinking need a little room too.
const LAST_PART: u64 = 16;

/// One node's reserve.
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    /// 0 for no reserve.
    bytes: u64,
    is_held: Mutex<bool>,
}

impl Reserve {
    /// The reserve as it was left; one of another size is made anew when there is room.
    pub(crate) fn find(disk: Arc<dyn Disk>, bytes: u64) -> Self {
        let path = Path::new(RESERVE_FILE);
        let is_there = disk.open(path).is_ok();
        // It may have been copied without its room.
        let is_held = is_there && bytes > 0 && disk.allocate(path, bytes).is_ok();
        if is_there && bytes == 0 {
            let _ = disk.remove(path);
        }
        let reserve = Self { disk, bytes, is_held: Mutex::new(is_held) };
        reserve.make_room();
        reserve
    }

    /// Bytes that the reserve lacks.
    pub(crate) fn missing_bytes(&self) -> u64 {
        if *self.lock() { 0 } else { self.bytes }
    }

    /// Gives the reserve up while there is still room, if there is little.
    pub(crate) fn make_room(&self) {
        let is_low = self.disk.free_bytes().is_ok_and(|free| free < self.bytes / 4);
        if is_low {
            self.give_up();
        }
    }

    /// Sees to it that so many bytes can be written: with the reserve's, should that be enough.
    ///
    /// # Errors
    /// `StorageFull`, and then the reserve is as it was; or as the operating system reports.
    pub(crate) fn make_room_for(&self, bytes: u64) -> io::Result<()> {
        let free = self.disk.free_bytes()?;
        let held = self.bytes - self.missing_bytes();
        if free >= bytes {
            return Ok(());
        }
        if free.saturating_add(held) < bytes || !self.give_up() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Does what needs room: with the reserve's, should there be no other.
    ///
    /// # Errors
    /// As the work reports, the second time if there was one.
    pub(crate) fn with_room<T, E: HasNoRoom>(
        &self,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        self.make_room();
        match work() {
            Err(error) if error.has_no_room() && self.give_up() => work(),
            result => result,
        }
    }

    /// Unlinks the file; returns whether that gave room.
    pub(crate) fn give_up(&self) -> bool {
        let mut is_held = self.lock();
        if !*is_held {
            return false;
        }
        *is_held = false;
        if let Err(error) = self.disk.remove(Path::new(RESERVE_FILE)) {
            tracing::warn!(%error, "the reserve file could not be unlinked");
            return false;
        }
        // It gives its room at once; after a crash it may be there again, which is as well.
        let _ = self.disk.sync_dir(Path::new(""));
        tracing::warn!(bytes = self.bytes, "the disk is full: the reserve was given up");
        true
    }

    /// Whether so little is left that not even deletes are taken.
    pub(crate) fn is_spent(&self) -> bool {
        // As of one moment: a reserve given up between the two would be missing, and its room not seen yet.
        let is_held = self.lock();
        let missing = if *is_held { 0 } else { self.bytes };
        self.disk.free_bytes().is_ok_and(|free| free < missing / LAST_PART)
    }

    /// Makes the file again when there is room for it beside what mail leaves free.
    pub(crate) fn restore(&self, min_free_bytes: u64) {
        let mut is_held = self.lock();
        let needed = self.bytes + self.bytes / 4 + min_free_bytes;
        let has_room = self.disk.free_bytes().is_ok_and(|free| free >= needed);
        if *is_held || self.bytes == 0 || !has_room {
            return;
        }
        match self.disk.allocate(Path::new(RESERVE_FILE), self.bytes) {
            Ok(()) => {
                *is_held = true;
                tracing::info!(bytes = self.bytes, "the reserve is there");
            }
            Err(error) => tracing::warn!(%error, "the reserve could not be made"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors that may say that the disk is full.
pub(crate) trait HasNoRoom {
    /// Whether this one does.
    fn has_no_room(&self) -> bool;
}

impl HasNoRoom for io::Error {
    fn has_no_room(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl HasNoRoom for quar_index::IndexError {
    fn has_no_room(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => source.has_no_room(),
            _ => false,
        }
    }
}

impl HasNoRoom for crate::error::ReadError {
    fn has_no_room(&self) -> bool {
        match self {
            Self::Io(error) => error.has_no_room(),
            Self::Index(error) => error.has_no_room(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reserve;
    use crate::disk::{Disk, MemoryDisk};
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    fn held(free_bytes: u64) -> (MemoryDisk, Reserve) {
        let disk = MemoryDisk::new();
        let reserve = Reserve::find(Arc::new(disk.clone()), 1600);
        reserve.restore(100);
        assert_eq!(reserve.missing_bytes(), 0);
        disk.set_free_bytes(free_bytes);
        (disk, reserve)
    }

    #[test]
    fn gives_its_room_to_work_that_finds_none_and_says_so_when_even_that_is_too_little() {
        let (disk, reserve) = held(500);
        let write = |bytes: usize| disk.replace(Path::new("file"), &vec![1; bytes]);
        reserve.with_room(|| write(400)).unwrap();
        assert_eq!(reserve.missing_bytes(), 0, "there was room");
        reserve.with_room(|| write(1500)).unwrap();
        assert_eq!(reserve.missing_bytes(), 1600);
        let error = reserve.with_room(|| write(4000)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut attempts = 0;
        let broken = || {
            Err::<(), _>(io::Error::other({
                attempts += 1;
                "broken"
            }))
        };
        assert!(reserve.with_room(broken).is_err());
        assert_eq!(attempts, 1);
    }

    #[test]
    fn is_given_up_before_the_last_room_is_gone() {
        let (disk, reserve) = held(400);
        reserve.make_room();
        assert_eq!(reserve.missing_bytes(), 0);
        disk.set_free_bytes(399);
        reserve.make_room();
        assert_eq!((reserve.missing_bytes(), disk.free_bytes().unwrap()), (1600, 1999));
        for (free_bytes, is_spent) in [(99, true), (100, false)] {
            disk.set_free_bytes(free_bytes);
            assert_eq!(reserve.is_spent(), is_spent);
        }
    }

    #[test]
    fn is_made_again_only_when_it_would_not_be_given_up_again_at_once() {
        let (disk, reserve) = held(0);
        reserve.make_room();
        disk.set_free_bytes(2099);
        reserve.restore(100);
        assert_eq!(reserve.missing_bytes(), 1600);
        disk.set_free_bytes(2100);
        reserve.restore(100);
        assert_eq!((reserve.missing_bytes(), disk.free_bytes().unwrap()), (0, 500));
    }

    #[test]
    fn is_found_again_and_follows_its_setting() {
        let (disk, _) = held(5000);
        let find = |bytes| Reserve::find(Arc::new(disk.clone()), bytes);
        assert_eq!(find(1600).missing_bytes(), 0);
        assert_eq!(find(3200).missing_bytes(), 0);
        assert_eq!(disk.free_bytes().unwrap(), 3400);
        assert_eq!(find(0).missing_bytes(), 0);
        assert_eq!(disk.paths(), Vec::<std::path::PathBuf>::new());
    }
}

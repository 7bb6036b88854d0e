//! What is taken when the disk fills: mail first no more, records to the last.
//! Never decides by what a write said: how much is free is asked each time, so that what was refused
//! is taken again as soon as there is room.

use crate::error::Refusal;
use crate::segment::bucket_directory;
use crate::store::Store;
use quar_base::key::Bucket;
use std::io;

/// How much room there is, and what that means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Whether mail is taken: what stays free for the rest would stay free.
    pub takes_mail: bool,
    /// Whether the reserve was given up and is not back yet.
    pub reserve_given_up: bool,
}

impl Store {
    /// How much room there is.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn room(&self) -> io::Result<Room> {
        let free_bytes = self.disk.free_bytes()?;
        let missing = self.reserve.missing_bytes();
        let takes_mail = free_bytes >= self.settings.min_free_bytes.saturating_add(missing);
        Ok(Room { free_bytes, takes_mail, reserve_given_up: missing > 0 })
    }

    /// Called now and then: the reserve is made again when there is room for it, or given up when
    /// there is little.
    pub fn tend_reserve(&self) {
        self.reserve.make_room();
        self.reserve.restore(self.settings.min_free_bytes);
    }

    /// Whether there is room for mail and bodies, as far as the system says.
    pub(crate) fn has_room_for_mail(&self) -> bool {
        self.room().map_or(true, |room| room.takes_mail)
    }

    /// Bytes that mail may still take.
    pub(crate) fn spare_bytes(&self) -> io::Result<u64> {
        let kept = self.settings.min_free_bytes.saturating_add(self.reserve.missing_bytes());
        Ok(self.disk.free_bytes()?.saturating_sub(kept))
    }

    /// Whether a bucket can be written anew beside what is there, and mail still be taken.
    pub(crate) fn has_room_to_pack(&self, bucket: Bucket) -> bool {
        let needed = self.disk.used_bytes(&bucket_directory(bucket));
        let spare = self.spare_bytes();
        matches!((needed, spare), (Ok(needed), Ok(spare)) if needed <= spare)
    }

    /// Mail and bodies leave room for everything else.
    pub(crate) fn check_open_for_mail(&self) -> Result<(), Refusal> {
        self.check_alive()?;
        if self.has_room_for_mail() { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Records are taken while there is a reserve to write them to.
    pub(crate) fn check_open_for_records(&self) -> Result<(), Refusal> {
        self.check_alive()?;
        if self.reserve.is_spent() { Err(Refusal::Full) } else { Ok(()) }
    }

    fn check_alive(&self) -> Result<(), Refusal> {
        if self.has_failed() { Err(Refusal::Failed) } else { Ok(()) }
    }
}

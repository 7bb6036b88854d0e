//! A segment's key sealed again, under another encryption key.
//! Never touches a byte behind the header; and at no moment is there no slot that opens.
//!
//! The header is 256 bytes at the start of the file: a disk writes them as one sector, whole or not
//! at all.

use super::{Segment, SegmentHeader, unwrap_key};
use crate::disk::Disk;
use crate::seal::EncryptionKey;
use crate::segment::format::KeySlot;
use quar_base::rng::Rng;
use std::io;

impl Segment {
    /// Whether its key opens with `key` and with no other.
    pub(crate) fn is_wrapped_only_by(&self, key: &EncryptionKey) -> bool {
        self.key_epochs() == [key.epoch()]
    }

    /// Seals the key under the first of `keys`, which have one that opens it: fills the other slot,
    /// syncs, clears the old one, syncs.
    ///
    /// # Errors
    /// As the operating system reports; the segment opens with the old key, the new one or both.
    pub(crate) fn rewrap(
        &self,
        disk: &dyn Disk,
        keys: &[EncryptionKey],
        rng: &mut Rng,
    ) -> io::Result<()> {
        // Through a file of its own: what a failed sync of it lost, no other file's sync hides.
        let file = disk.open(&self.name.path())?;
        let write = |header: &SegmentHeader| -> io::Result<()> {
            file.write_at(&header.encode(), 0)?;
            file.sync_data()
        };
        let Some(key) = keys.first() else { return Ok(()) };
        let mut header = self.header.clone();
        let is_new = |slot: &Option<KeySlot>| slot.is_some_and(|slot| slot.epoch == key.epoch());
        let filled = match header.slots.iter().position(is_new) {
            Some(filled) => filled,
            None => {
                let epoch = |at: &usize| header.slots[*at].map_or(0, |slot| slot.epoch);
                let other = (0..header.slots.len()).min_by_key(epoch).unwrap_or(0);
                let opened = unwrap_key(&header, keys).map_err(io::Error::other)?;
                let wrapped = key.wrap(&opened, &header.key_purpose(), rng.bytes());
                header.slots[other] = Some(KeySlot { epoch: key.epoch(), wrapped });
                write(&header)?;
                other
            }
        };
        header.slots[1 - filled] = None;
        write(&header)
    }
}

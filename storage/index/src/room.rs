//! Whether a disk has room for what sled is about to write.
//! Never promises it: others write to the same disk.

use std::path::Path;

/// Room that settling takes in any case.
const SETTLE_BYTES: u64 = 4 << 20;
/// And for each entry, should each be in another leaf.
const ENTRY_BYTES: u64 = 1 << 10;

/// Whether so many entries can be settled; where the system does not say how much is free, yes.
pub(crate) fn has_room_to_settle(dir: &Path, entries: usize) -> bool {
    let Ok(stat) = nix::sys::statvfs::statvfs(dir) else {
        return true;
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    free >= SETTLE_BYTES + ENTRY_BYTES * entries as u64
}

#[cfg(test)]
mod tests {
    use super::has_room_to_settle;

    #[test]
    fn an_empty_change_has_room_and_one_larger_than_any_disk_has_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(has_room_to_settle(dir.path(), 0));
        assert!(!has_room_to_settle(dir.path(), 1 << 50));
        assert!(has_room_to_settle(&dir.path().join("not there"), 1 << 50));
    }
}

//! Room written ahead: it is no damage, it costs no write that fits without it, and it is given back.

use super::{NAME, Seen, append, arrival, blocks_of, entries_of, open, scan, writer};
use crate::disk::{Disk, MemoryDisk};
use quar_base::rng::Rng;

fn length(disk: &MemoryDisk) -> u64 {
    disk.open(&NAME.path()).unwrap().length().unwrap()
}

#[test]
fn a_sync_seldom_has_a_longer_file_to_make_durable() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([1; 32]);
    let mut writer = writer(&disk, rng);
    let mut lengths = std::collections::BTreeSet::new();
    for commit in 1..=1000 {
        append(&mut writer, commit, vec![arrival(rng, 900)], Vec::new());
        lengths.insert(length(&disk));
    }
    assert!(lengths.len() < 20, "{} lengths", lengths.len());
    assert!(length(&disk) <= writer.end() + (512 << 10));
}

#[test]
fn what_a_crash_leaves_ahead_is_unused_and_no_torn_tail() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([2; 32]);
    let mut writer = writer(&disk, rng);
    let written = [
        append(&mut writer, 1, vec![arrival(rng, 100)], Vec::new()),
        append(&mut writer, 2, vec![arrival(rng, 10)], Vec::new()),
    ];
    let after = disk.crash();
    let seen = scan(&open(&after));
    assert_eq!(entries_of(&seen), blocks_of(&written));
    assert_eq!(seen.last(), Some(&Seen::Unused(writer.end())));
    let last = usize::try_from(length(&after) - 1).unwrap();
    after.damage(&NAME.path(), |bytes| bytes[last] = 1);
    assert_eq!(scan(&open(&after)).last(), Some(&Seen::TornTail));
}

#[test]
fn a_segment_that_rests_or_ends_has_no_room_ahead() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([3; 32]);
    let mut writer = writer(&disk, rng);
    append(&mut writer, 1, vec![arrival(rng, 100)], Vec::new());
    writer.rest();
    assert!(length(&disk) > writer.end(), "something was just appended");
    writer.rest();
    assert_eq!(length(&disk), writer.end());
    append(&mut writer, 2, vec![arrival(rng, 100)], Vec::new());
    let end = writer.end();
    assert!(length(&disk) > end);
    drop(writer);
    assert_eq!(length(&disk), end);
}

#[test]
fn a_disk_without_room_for_zeros_takes_what_fits() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([4; 32]);
    let mut writer = writer(&disk, rng);
    disk.set_free_bytes(2000);
    let written = append(&mut writer, 1, vec![arrival(rng, 1000)], Vec::new());
    assert_eq!(length(&disk), writer.end());
    assert_eq!(entries_of(&scan(&open(&disk))), blocks_of(&[written]));
}

#[test]
fn an_end_that_was_lost_is_told_from_one_that_was_not() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([5; 32]);
    let mut writer = writer(&disk, rng);
    append(&mut writer, 1, vec![arrival(rng, 500)], Vec::new());
    let first = writer.end();
    append(&mut writer, 2, vec![arrival(rng, 500)], Vec::new());
    let second = writer.end();
    let has_end_at = |end| open(&disk).has_end_at(end).unwrap();
    assert!(has_end_at(256) && has_end_at(first) && has_end_at(second));
    let keep = usize::try_from(first).unwrap();
    disk.damage(&NAME.path(), |bytes| bytes[keep..].fill(0));
    assert!(has_end_at(first) && !has_end_at(second));
    disk.damage(&NAME.path(), |bytes| bytes.truncate(keep));
    assert!(has_end_at(first) && !has_end_at(second));
}

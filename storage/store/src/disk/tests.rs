//! One contract for both disks, and what only the memory disk can show.

use super::{Disk, MemoryDisk, RealDisk};
use quar_base::rng::Rng;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

fn check_contract(disk: &dyn Disk) {
    let directory = Path::new("a/b");
    let path = Path::new("a/b/one");
    assert_eq!(disk.list(directory).unwrap(), []);
    disk.create_dir(directory).unwrap();
    disk.create_dir(directory).unwrap();
    assert_eq!(disk.open(path).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    let file = disk.create(path).unwrap();
    assert_eq!(disk.create(path).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    file.write_at(b"hello", 3).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(directory).unwrap();
    let mut buffer = [9; 10];
    assert_eq!(disk.open(path).unwrap().read_at(&mut buffer, 0).unwrap(), 8);
    assert_eq!(&buffer, b"\0\0\0hello\x09\x09");
    assert_eq!(file.read_at(&mut buffer, 100).unwrap(), 0);
    assert_eq!(file.length().unwrap(), 8);
    disk.replace(Path::new("a/small"), b"1").unwrap();
    disk.replace(Path::new("a/small"), b"22").unwrap();
    assert_eq!(disk.read(Path::new("a/small")).unwrap(), Some(b"22".to_vec()));
    assert_eq!(disk.read(Path::new("a/none")).unwrap(), None);
    let names = |path| disk.list(Path::new(path)).unwrap().into_iter().map(|e| (e.name, e.is_dir));
    assert_eq!(names("a").collect::<Vec<_>>(), [("b".into(), true), ("small".into(), false)]);
    disk.remove(path).unwrap();
    assert!(disk.remove(path).is_err());
    disk.create(path).unwrap();
    disk.remove_dir(directory).unwrap();
    assert_eq!(names("a").collect::<Vec<_>>(), [("small".into(), false)]);
    // One that is not there, and one below nothing, are gone already.
    disk.remove_dir(directory).unwrap();
    disk.remove_dir(Path::new("none/below")).unwrap();
    assert!(disk.free_bytes().unwrap() > 0);
    let reserve = Path::new("a/reserve");
    assert_eq!(disk.used_bytes(directory).unwrap(), 0);
    for bytes in [100_000, 300_000, 200_000, 200_000] {
        disk.allocate(reserve, bytes).unwrap();
        assert_eq!(disk.open(reserve).unwrap().length().unwrap(), bytes);
        assert!(disk.used_bytes(Path::new("a")).unwrap() >= bytes);
    }
}

#[test]
fn the_memory_disk_keeps_the_contract() {
    check_contract(&MemoryDisk::new());
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&RealDisk::new(directory.path()));
}

#[test]
fn a_crash_keeps_only_synced_bytes_under_synced_names() {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("d")).unwrap();
    let both = disk.create(Path::new("d/both")).unwrap();
    both.write_at(b"kept", 0).unwrap();
    both.sync_data().unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    both.write_at(b"lost", 4).unwrap();
    let nameless = disk.create(Path::new("d/nameless")).unwrap();
    nameless.write_at(b"x", 0).unwrap();
    nameless.sync_data().unwrap();
    let after = disk.crash();
    assert_eq!(after.read(Path::new("d/both")).unwrap(), Some(b"kept".to_vec()));
    assert_eq!(after.read(Path::new("d/nameless")).unwrap(), None);
}

#[test]
fn luck_leaves_of_each_sector_and_name_what_it_once_was_and_all_that_was_synced() {
    let disk = MemoryDisk::new();
    let synced = disk.create(Path::new("synced")).unwrap();
    synced.write_at(&[1; 1500], 0).unwrap();
    synced.sync_data().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    synced.write_at(&[2; 1000], 0).unwrap();
    synced.write_at(&[3; 1000], 800).unwrap();
    disk.create(Path::new("new")).unwrap().write_at(&[4; 600], 0).unwrap();
    disk.create(Path::new("gone")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk.remove(Path::new("gone")).unwrap();
    let rng = &mut Rng::from_seed([5; 32]);
    let mut outcomes = BTreeSet::new();
    for _ in 0..400 {
        let left = disk.crash_with(rng);
        let bytes = left.read(Path::new("synced")).unwrap().unwrap();
        assert!((1500..=1800).contains(&bytes.len()));
        // Within the sector that both writes reach, the second is never there without the first.
        assert!(matches!((bytes[600], bytes[900]), (1, 1) | (2, 2) | (2, 3)));
        assert_eq!(bytes[512..800], [bytes[512]; 288]);
        let new = left.read(Path::new("new")).unwrap().unwrap();
        assert!(new.len() <= 600 && new.iter().all(|byte| [0, 4].contains(byte)));
        let is_there = left.read(Path::new("gone")).unwrap().is_some();
        let sectors = [0, 512, 1024].map(|at| bytes[at]);
        outcomes.insert((sectors, new.len(), is_there));
    }
    assert!(outcomes.len() > 20, "{}", outcomes.len());
}

#[test]
fn a_directory_that_was_removed_is_gone_when_the_one_above_is_synced() {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("a/b")).unwrap();
    disk.create(Path::new("a/b/one")).unwrap().sync_data().unwrap();
    disk.sync_dir(Path::new("a/b")).unwrap();
    disk.remove_dir(Path::new("a/b")).unwrap();
    assert_eq!(disk.crash().paths(), [Path::new("a/b/one")]);
    assert_eq!(disk.crash().list(Path::new("a")).unwrap().len(), 1);
    disk.sync_dir(Path::new("a")).unwrap();
    assert!(disk.crash().paths().is_empty());
}

#[test]
fn a_full_memory_disk_says_so() {
    let disk = MemoryDisk::new();
    disk.set_free_bytes(3);
    let file = disk.create(Path::new("f")).unwrap();
    file.write_at(b"123", 0).unwrap();
    assert_eq!(file.write_at(b"4", 3).err().map(|e| e.kind()), Some(ErrorKind::StorageFull));
    file.write_at(b"abc", 0).unwrap();
}

#[test]
fn a_memory_disk_gets_back_the_room_of_what_goes() {
    let disk = MemoryDisk::new();
    disk.set_free_bytes(100);
    disk.create_dir(Path::new("d")).unwrap();
    disk.create(Path::new("d/f")).unwrap().write_at(&[1; 60], 0).unwrap();
    let full = disk.allocate(Path::new("r"), 50).err().map(|error| error.kind());
    assert_eq!(full, Some(ErrorKind::StorageFull));
    disk.allocate(Path::new("r"), 40).unwrap();
    disk.replace(Path::new("s"), b"").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
    disk.remove(Path::new("r")).unwrap();
    disk.replace(Path::new("s"), &[1; 20]).unwrap();
    disk.replace(Path::new("s"), &[1; 10]).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 30);
    disk.remove_dir(Path::new("d")).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 90);
}

#[test]
fn what_is_allocated_on_a_real_disk_takes_up_its_room_again_after_it_was_made_sparse() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(directory.path());
    let path = Path::new("reserve");
    disk.create(path).unwrap().truncate(1 << 20).unwrap();
    assert!(disk.used_bytes(Path::new("")).unwrap() < 1 << 20);
    disk.allocate(path, 1 << 20).unwrap();
    assert!(disk.used_bytes(Path::new("")).unwrap() >= 1 << 20);
}

//! One contract for both disks, and what only the memory disk can show.

use super::{Disk, MemoryDisk, RealDisk};
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
    assert!(disk.free_bytes().unwrap() > 0);
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
fn a_full_memory_disk_says_so() {
    let disk = MemoryDisk::new();
    disk.set_free_bytes(3);
    let file = disk.create(Path::new("f")).unwrap();
    file.write_at(b"123", 0).unwrap();
    assert_eq!(file.write_at(b"4", 3).err().map(|e| e.kind()), Some(ErrorKind::StorageFull));
    file.write_at(b"abc", 0).unwrap();
}

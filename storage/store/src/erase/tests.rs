//! Mail that comes while an erasure reads the files: at every read, one after the other.
//! Never checks what is erased; `crate::tests` does.

mod failing;
mod meanwhile;
mod unfinished;

use crate::disk::{Disk, Entry, File, MemoryDisk};
use crate::index_home::{IndexHome, MemoryHome};
use crate::segment::{SegmentName, bucket_directory};
use crate::tests::{NOW, Node, delete, mail, put, roster, signing_key};
use crate::{EncryptionKey, IdKey, Opening, ReadError, Retention, Settings, Store};
use quar_base::arrival::Arrival;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::MessageId;
use quar_base::record::{Head, Kind, Record};
use quar_index::MemoryIndex;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Trap = Arc<Mutex<Option<(u64, Box<dyn FnOnce() + Send>)>>>;

/// A disk that calls back at one of its reads.
#[derive(Clone)]
struct TrapDisk {
    inner: MemoryDisk,
    trap: Trap,
}

struct TrapFile {
    inner: Arc<dyn File>,
    trap: Trap,
}

impl File for TrapFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut trap = self.trap.lock().unwrap();
        let sprung = match trap.as_mut() {
            Some((0, _)) => trap.take(),
            Some((reads, _)) => {
                *reads -= 1;
                None
            }
            None => None,
        };
        drop(trap);
        if let Some((_, call)) = sprung {
            call();
        }
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}

impl TrapDisk {
    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let trap = self.trap.clone();
        Arc::new(TrapFile { inner, trap })
    }
}

impl Disk for TrapDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(directory)
    }
    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.create_dir(directory)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(path)?))
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.replace(path, bytes)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.remove_dir(directory)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.sync_dir(directory)
    }
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.inner.allocate(path, bytes)
    }
    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.used_bytes(directory)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

fn open(disk: impl Disk + 'static) -> Store {
    open_on(disk, &mut MemoryHome(Arc::new(MemoryIndex::default())))
}

fn open_on(disk: impl Disk + 'static, index: &mut dyn IndexHome) -> Store {
    let settings = Settings {
        cluster: ClusterId([9; 16]),
        member: MemberId([1; 16]),
        node_number: 1,
        signing: signing_key(1),
        keys: vec![EncryptionKey::new(1, [7; 32])],
        id_key: IdKey::new([8; 32]),
        retention: Retention::default(),
        min_free_bytes: 0,
        reserve_bytes: 0,
    };
    let opening = Opening {
        settings,
        disk: Arc::new(disk),
        index,
        roster: roster(),
        now: NOW,
        seed: [5; 32],
        progress: &mut |_| {},
    };
    Store::open(opening).unwrap().0
}

/// The record of a mail that member 2 caught.
fn peers_record(body: &[u8]) -> Record {
    let mail = mail(body, 3);
    let arrival = Arrival {
        node_number: 2,
        body_id: mail.body.id.0,
        body_bytes: mail.body.raw_bytes.into(),
        envelope: mail.envelope,
        headers: mail.headers,
        score_milli: 0,
        reason: String::new(),
    };
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: put(&Node::new(3).open(), b"", 1).bucket,
        second: 5,
        author: MemberId([2; 16]),
        action: None,
    };
    Record::unsigned(head, &arrival.encode().unwrap()).unwrap()
}

/// What came late is here, body and all, or its body is asked for.
fn check_late(store: &Store, late: &[(MessageId, Vec<u8>)], bare: MessageId) {
    for (id, body) in late {
        assert_eq!(store.body(*id).unwrap(), *body);
    }
    match store.body(bare) {
        Ok(body) => assert_eq!(body, [1; 900]),
        Err(ReadError::BodyMissing(_)) => {
            let wanted = store.wanted(9);
            assert_eq!(wanted, [(bare.bucket, mail(&[1; 900], 1).body.id)]);
        }
        Err(error) => panic!("{error}"),
    }
    assert!(!store.message(bare).unwrap().has_body || store.wanted(9).is_empty());
}

#[test]
fn mail_that_comes_at_any_moment_of_an_erasure_is_kept() {
    for reads in 0.. {
        let disk = TrapDisk { inner: MemoryDisk::new(), trap: Trap::default() };
        let store = Arc::new(open(disk.clone()));
        let doomed = [0u8, 1, 2].map(|n| put(&store, &[n; 900], 1));
        let kept = put(&store, &[7; 900], 1);
        for id in doomed {
            delete(&store, id, 1, &[0]);
        }
        let begun = store.begin_rewriting(kept.bucket).unwrap().unwrap();
        // One put of a body that leaves opens a segment; the trap puts more into it.
        let early = put(&store, &[0; 900], 2);
        let late = Arc::new(Mutex::new(vec![(early, vec![0; 900])]));
        let bare = peers_record(&[1; 900]);
        let call = {
            let (store, late, bare) = (store.clone(), late.clone(), bare.clone());
            move || {
                let mut late = late.lock().unwrap();
                late.push((put(&store, &[2; 900], 2), vec![2; 900]));
                late.push((put(&store, &[9; 900], 2), vec![9; 900]));
                store.admit_record(bare, None, NOW).unwrap();
                assert_eq!(store.commit().len(), 1);
            }
        };
        *disk.trap.lock().unwrap() = Some((reads, Box::new(call)));
        store.rewrite_without(kept.bucket, begun).unwrap();
        let late = late.lock().unwrap();
        let has_come = late.len() > 1;
        if !has_come {
            assert!(reads > 20, "an erasure reads more than {reads} times");
            return;
        }
        let after = put(&store, &[5; 900], 1);
        for store in [&store, &Arc::new(open(disk.inner.crash()))] {
            check_late(store, &late, bare.message());
            assert_eq!(store.body(kept).unwrap(), [7; 900]);
            assert_eq!(store.body(after).unwrap(), [5; 900]);
            for id in doomed {
                assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
            }
        }
    }
}

#[test]
fn a_rewrite_that_was_undone_does_not_come_back_with_a_power_cut() {
    let mut node = Node::new(1);
    let store = node.open();
    let bucket = put(&store, b"mail", 1).bucket;
    let name = SegmentName { bucket, number: 9 };
    node.disk.create(&name.path()).unwrap();
    node.disk.sync_dir(&bucket_directory(bucket)).unwrap();
    store.undo_rewrite(name).unwrap();
    assert!(!node.crash().disk.paths().contains(&name.path()));
}

//! Erasures and packings of which one step fails, each of them in turn: mail that is taken afterwards keeps its body.

use crate::disk::{Disk, Entry, File, MemoryDisk};
use crate::index_home::IndexHome;
use crate::segment::SegmentName;
use crate::tests::{Node, delete, mail, put};
use crate::{Outcome, ReadError, Store};
use quar_base::key::{Bucket, MessageId};
use quar_index::{Index, IndexError, MemoryIndex, Tree, Visit, Write};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Body of a mail that is deleted, and of one that comes afterwards.
const AGAIN: [u8; 900] = [2; 900];

/// How many steps are still to succeed, and how many fail then; nothing fails when there is nothing.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Option<Fault>>>);

struct Fault {
    after: u64,
    failures: u64,
    has_failed: bool,
}

impl Faults {
    fn step(&self) -> io::Result<()> {
        let mut fault = self.0.lock().unwrap();
        let Some(fault) = fault.as_mut() else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        if fault.failures == 0 {
            return Ok(());
        }
        fault.failures -= 1;
        fault.has_failed = true;
        Err(io::Error::other("the medium failed"))
    }

    fn step_of_the_index(&self) -> Result<(), IndexError> {
        let (dir, action) = ("index".into(), "use it");
        self.step().map_err(|source| IndexError::Io { dir, action, source })
    }
}

/// A disk on which what a fault says fails, and nothing is done then.
#[derive(Clone)]
struct FaultyDisk(MemoryDisk, Faults);

struct FaultyFile(Arc<dyn File>, Faults);

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.step()?;
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync_data()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.truncate(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.1.step()?;
        self.0.length()
    }
}

impl FaultyDisk {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile(file, self.1.clone()))
    }
}

impl Disk for FaultyDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.1.step()?;
        self.0.list(directory)
    }
    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.1.step()?;
        self.0.create_dir(directory)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.1.step()?;
        Ok(self.file(self.0.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.1.step()?;
        Ok(self.file(self.0.open(path)?))
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.1.step()?;
        self.0.replace(path, bytes)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.1.step()?;
        self.0.read(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.1.step()?;
        self.0.remove(path)
    }
    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.1.step()?;
        self.0.remove_dir(directory)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.1.step()?;
        self.0.sync_dir(directory)
    }
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.allocate(path, bytes)
    }
    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.0.used_bytes(directory)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

/// An index of which the same is true.
struct FaultyIndex(Arc<MemoryIndex>, Faults);

impl Index for FaultyIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.1.step_of_the_index()?;
        self.0.get(tree, key)
    }
    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.1.step_of_the_index()?;
        self.0.scan(tree, start, visit)
    }
    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.1.step_of_the_index()?;
        self.0.write(batch)
    }
    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.1.step_of_the_index()?;
        self.0.drop_tree(bucket)
    }
    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.0.buckets()
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn written_bytes(&self) -> u64 {
        self.0.written_bytes()
    }
}

struct FaultyHome(Arc<MemoryIndex>, Faults);

impl IndexHome for FaultyHome {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(FaultyIndex(self.0.clone(), self.1.clone())))
    }
    fn reset(&mut self) -> io::Result<()> {
        panic!("nothing is wrong with the index");
    }
}

/// A day in two segments, each with mail that stays and mail that is deleted.
pub(super) struct Prepared {
    pub(super) node: Node,
    pub(super) kept: [MessageId; 2],
    deleted: [MessageId; 2],
}

pub(super) fn prepare() -> Prepared {
    let mut node = Node::new(1);
    let store = node.open();
    let kept = put(&store, &[3; 900], 1);
    let deleted = put(&store, &[1; 900], 1);
    // Damaged below: the body of one, the record of the other.
    put(&store, &[4; 900], 1);
    put(&store, &[5; 900], 1);
    store.checkpoint().unwrap();
    drop(store);
    let store = node.open();
    let kept = [kept, put(&store, &[6; 900], 1)];
    let deleted = [deleted, put(&store, &AGAIN, 1)];
    deleted.iter().for_each(|id| drop(delete(&store, *id, 1, &[0])));
    store.checkpoint().unwrap();
    let name = SegmentName { bucket: kept[0].bucket, number: 1 };
    let blocks = store.segments.open(name).unwrap().headers().unwrap();
    drop(store);
    let (body, record) = (blocks[4].offset as usize, blocks[7].offset as usize);
    node.disk.damage(&name.path(), |bytes| {
        bytes[body + 50] ^= 1;
        bytes[record + 50] ^= 1;
    });
    Prepared { node, kept, deleted }
}

/// Mail with the body of a deleted one comes; `None` when it is refused.
fn put_again(store: &Store) -> Option<MessageId> {
    let id = store.admit_mail(mail(&AGAIN, 2)).ok()?.message.unwrap();
    match store.commit().pop().unwrap().1 {
        Outcome::Stored(_) => Some(id),
        Outcome::Refused(_) => None,
        outcome => panic!("{outcome:?}"),
    }
}

pub(super) fn check(prepared: &Prepared, store: &Store, again: Option<MessageId>, context: &str) {
    let bodies = prepared.kept.into_iter().zip([[3; 900], [6; 900]]);
    for (id, body) in bodies.chain(again.map(|id| (id, AGAIN))) {
        let found = store.body(id).unwrap_or_else(|error| panic!("{context}: {id}: {error}"));
        assert_eq!(found, body, "{context}");
    }
    for id in prepared.deleted {
        assert!(matches!(store.body(id), Err(ReadError::NotFound(_))), "{context}");
    }
}

/// An erasure or a packing.
pub(super) type Work = fn(&Store, Bucket) -> Result<(), ReadError>;

pub(super) const ERASE: Work = |store, bucket| store.erase(bucket).map(drop);
const PACK: Work = |store, bucket| store.pack(bucket, &mut |_| ControlFlow::Continue(())).map(drop);

/// Does it with `failures` steps that fail from the step `after` on; whether any did. Afterwards all is well again.
pub(super) fn work_failing(
    node: &Node,
    (work, bucket): (Work, Bucket),
    after: u64,
    failures: u64,
) -> (Store, Result<(), ReadError>, bool) {
    let faults = Faults::default();
    let disk = FaultyDisk(node.disk.clone(), faults.clone());
    let mut home = FaultyHome(node.home.0.clone(), faults.clone());
    let store = super::open_on(disk, &mut home);
    *faults.0.lock().unwrap() = Some(Fault { after, failures, has_failed: false });
    let worked = work(&store, bucket);
    let has_failed = faults.0.lock().unwrap().take().unwrap().has_failed;
    (store, worked, has_failed)
}

/// The same, and looks at what comes of it; whether it came so far. `stored` counts the mail
/// that was taken after one that failed.
fn fail_at(prepared: &Prepared, work: Work, after: u64, failures: u64, stored: &mut u64) -> bool {
    let context = format!("{failures} failures from step {after} on");
    let bucket = prepared.kept[0].bucket;
    let mut node = prepared.node.crash();
    let (store, worked, has_failed) = work_failing(&node, (work, bucket), after, failures);
    let again = put_again(&store);
    *stored += u64::from(worked.is_err() && again.is_some());
    check(prepared, &store, again, &context);
    let mut after_cut = node.crash();
    drop(store);
    for node in [&mut node, &mut after_cut] {
        let store = node.open();
        check(prepared, &store, again, &context);
        // What stays undone is done by the next erasure.
        store.erase(bucket).unwrap();
        assert_eq!(store.erasable(), [], "{context}");
        check(prepared, &store, again, &context);
        for id in prepared.deleted {
            let remains = store.remains_of(id, &|_| ControlFlow::Continue(())).unwrap().unwrap();
            // The body is that of the mail that came again.
            assert_eq!(remains.places, [""; 0], "{context}");
        }
    }
    has_failed
}

fn check_every_step(work: Work) {
    let prepared = prepare();
    for failures in [1, 2, u64::MAX] {
        let mut stored = 0;
        let steps = (0..).find(|after| !fail_at(&prepared, work, *after, failures, &mut stored));
        let steps = steps.unwrap();
        assert!(steps > 50, "it takes more than {steps} steps");
        assert!(failures > 2 || stored > steps / 2, "after {stored} of {steps} mail is taken");
    }
}

#[test]
fn mail_that_comes_after_an_erasure_of_which_any_step_failed_keeps_its_body() {
    check_every_step(ERASE);
}

#[test]
fn mail_that_comes_after_a_packing_of_which_any_step_failed_keeps_its_body() {
    check_every_step(PACK);
}

//! Failures in the middle of a commit: every item has its outcome, and none is better than the truth.
//! Never lets the disk lie; `crash` does.

use crate::support::{DAY_MS, NOW, mail, open_memory, open_with, settings};
use quar_base::key::Bucket;
use quar_base::time::UnixMillis;
use quar_index::{Index, IndexError, MemoryIndex, Tree, Visit, Write};
use quar_store::{IndexHome, Mail, MemoryDisk, Outcome, Refusal};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// An index whose n-th operation from now on fails, and every later one.
#[derive(Default)]
struct FailingIndex {
    inner: MemoryIndex,
    /// Negative: none fails.
    left: AtomicI64,
}

impl FailingIndex {
    fn check(&self) -> Result<(), IndexError> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let detail = "it fails on purpose".into();
            let dir = "index".into();
            return Err(IndexError::Damaged { dir, detail });
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

impl Index for FailingIndex {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.check()?;
        self.inner.get(tree, key)
    }
    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.check()?;
        self.inner.scan(tree, start, visit)
    }
    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.check()?;
        self.inner.write(batch)
    }
    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.check()?;
        self.inner.drop_tree(bucket)
    }
    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        self.check()?;
        self.inner.buckets()
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.check()?;
        self.inner.flush()
    }
    fn written_bytes(&self) -> u64 {
        self.inner.written_bytes()
    }
}

struct FailingHome(Arc<FailingIndex>);

impl IndexHome for FailingHome {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        Ok(self.0.clone())
    }
    fn reset(&mut self) -> io::Result<()> {
        Err(io::Error::other("there is nothing to reset"))
    }
}

#[test]
fn whenever_the_index_fails_every_item_has_an_outcome_and_what_is_stored_is_there() {
    for operations in 0.. {
        let index = Arc::new(FailingIndex::default());
        index.left.store(-1, Ordering::Relaxed);
        let disk = MemoryDisk::new();
        let home = &mut FailingHome(index.clone());
        let (store, _) = open_with(settings(1), Arc::new(disk.clone()), home, NOW).unwrap();
        let mails = (0..4u8).map(|number| {
            let admitted = store.admit_mail(mail(&[number; 40], 1)).unwrap();
            (admitted.ticket, admitted.message.unwrap(), [number; 40])
        });
        let mails: Vec<_> = mails.collect();
        index.left.store(operations, Ordering::Relaxed);
        let outcomes = store.commit();
        assert_eq!(outcomes.len(), mails.len(), "failing at operation {operations}");
        let is_over = !store.has_failed();
        let (after, _) = open_memory(disk.crash(), Arc::new(MemoryIndex::new()), NOW);
        for (ticket, id, body) in mails {
            let (_, outcome) = outcomes.iter().find(|(one, _)| *one == ticket).unwrap();
            match outcome {
                Outcome::Stored(_) => assert_eq!(after.body(id).unwrap(), body),
                Outcome::Refused(Refusal::Failed) => assert!(!is_over),
                other => panic!("{other:?}"),
            }
        }
        if is_over {
            assert!(operations > 10);
            return;
        }
    }
}

#[test]
fn a_mail_sent_again_past_midnight_is_refused_with_the_one_it_repeats() {
    let disk = MemoryDisk::new();
    let (store, _) = open_memory(disk.clone(), Arc::new(MemoryIndex::new()), NOW);
    let midnight = NOW.0 - NOW.0 % DAY_MS;
    let sending = |received| {
        let mut mail: Mail = mail(b"body", 1);
        mail.received = UnixMillis(received);
        mail.envelope.queue_id = "4XyZ".into();
        mail
    };
    store.admit_mail(sending(midnight - 2000)).unwrap();
    store.admit_mail(sending(midnight + 2000)).unwrap();
    disk.set_free_bytes(10);
    for (_, outcome) in store.commit() {
        assert!(matches!(outcome, Outcome::Refused(Refusal::Full)), "{outcome:?}");
    }
    disk.set_free_bytes(u64::MAX);
    store.admit_mail(sending(midnight - 2000)).unwrap();
    store.admit_mail(sending(midnight + 2000)).unwrap();
    let outcomes = store.commit();
    assert!(matches!(outcomes[0].1, Outcome::Stored(_)));
    assert!(matches!(outcomes[1].1, Outcome::AlreadyHere(Some(_))));
}

#[test]
fn on_a_disk_that_is_full_deletes_are_refused_or_kept_but_never_forgotten() {
    use quar_base::action::Action;
    use quar_base::coverage::RecipientSet;
    for free in (0..900).step_by(7) {
        let disk = MemoryDisk::new();
        let (store, _) = open_memory(disk.clone(), Arc::new(MemoryIndex::new()), NOW);
        let id = crate::support::put(&store, mail(b"body", 1));
        disk.set_free_bytes(free);
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        store.admit_action(id, &action, NOW).unwrap();
        let outcomes = store.commit();
        let is_stored = matches!(outcomes[0].1, Outcome::Stored(_));
        assert!(is_stored || matches!(outcomes[0].1, Outcome::Refused(Refusal::Full)));
        assert_eq!(store.body(id).is_err(), is_stored);
        let (after, _) = open_memory(disk.crash(), Arc::new(MemoryIndex::new()), NOW);
        assert_eq!(after.body(id).is_err(), is_stored, "{free} bytes free");
    }
}

//! What happens to a day while it is written anew, at every read, one after the other: mail with a body that nobody
//! knows to be damaged, and the day's end.
//! Never looks at what comes besides; the tests above do.

use super::{TrapDisk, open, open_on};
use crate::disk::{Disk, MemoryDisk};
use crate::segment::{BlockKind, SegmentName, bucket_directory};
use crate::tests::{NOW, delete, mail, put};
use crate::{Expired, MemoryHome, Query, ReadError, Store};
use quar_base::key::{Bucket, MessageId};
use quar_base::time::Day;
use quar_index::{Index, MemoryIndex, Tree};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// Writes a day anew.
type Rewriting = fn(&Store, Bucket) -> Result<(), ReadError>;
const REWRITINGS: [Rewriting; 2] = [
    |store, bucket| store.erase(bucket).map(drop),
    |store, bucket| store.pack(bucket, &mut |_| ControlFlow::Continue(())).map(drop),
];

/// Does something at one read of a rewriting after the other; `check` is handed the store, and two opened after a
/// power cut: without its index, and with what of that was durable.
fn at_every_read<T: Send + 'static>(
    rewriting: Rewriting,
    prepare: impl Fn(&TrapDisk, &Store) -> Bucket,
    meanwhile: fn(&Store) -> T,
    check: impl Fn([&Store; 3], &TrapDisk, Bucket, T),
) {
    for reads in 0.. {
        let disk = TrapDisk { inner: MemoryDisk::new(), trap: Default::default() };
        let mut home = MemoryHome(Arc::new(MemoryIndex::default()));
        let store = Arc::new(open_on(disk.clone(), &mut home));
        let bucket = prepare(&disk, &store);
        let done = Arc::new(Mutex::new(None));
        let call = {
            let (store, done) = (store.clone(), done.clone());
            move || {
                // What is read while commits wait sees none.
                if store.committer.try_lock().is_ok() {
                    *done.lock().unwrap() = Some(meanwhile(&store));
                }
            }
        };
        *disk.trap.lock().unwrap() = Some((reads, Box::new(call)));
        let result = rewriting(&store, bucket);
        if disk.trap.lock().unwrap().take().is_some() {
            assert!(reads > 10, "no more than {reads} reads");
            return;
        }
        let Some(done) = done.lock().unwrap().take() else { continue };
        assert!(!store.has_failed(), "read {reads}: {result:?}");
        let without_index = open(disk.inner.crash());
        let mut crashed = MemoryHome(Arc::new(home.0.crash()));
        let with_index = open_on(disk.inner.crash(), &mut crashed);
        check([&store, &without_index, &with_index], &disk, bucket, done);
    }
}

/// Mail of which some is deleted, and one's body is damaged, which nothing has read yet.
fn with_damage(disk: &TrapDisk, store: &Store) -> Bucket {
    let doomed = put(store, &[1; 900], 1);
    put(store, &[4; 900], 1);
    put(store, &[7; 900], 1);
    delete(store, doomed, 1, &[0]);
    let name = SegmentName { bucket: doomed.bucket, number: 1 };
    let blocks = store.segments.open(name).unwrap().headers().unwrap();
    let bodies: Vec<_> = blocks.iter().filter(|block| block.kind == BlockKind::Bodies).collect();
    let body = bodies[1].offset as usize;
    disk.inner.damage(&name.path(), |bytes| bytes[body + 50] ^= 1);
    doomed.bucket
}

/// Mail in two segments, of each of which some is deleted.
fn in_two_segments(_: &TrapDisk, store: &Store) -> Bucket {
    let doomed = put(store, &[1; 900], 1);
    put(store, &[8; 900], 1);
    // The day's second segment.
    store.begin_rewriting(doomed.bucket).unwrap();
    store.end_rewriting(doomed.bucket);
    put(store, &[7; 900], 1);
    for id in [doomed, put(store, &[2; 900], 1)] {
        delete(store, id, 1, &[0]);
    }
    doomed.bucket
}

#[test]
fn mail_deduplicated_onto_a_body_that_turns_out_damaged_is_asked_for() {
    let again = |store: &Store| {
        let late = put(store, &[4; 900], 2);
        // While a rewriting is put in force no index is flushed.
        if let Ok(free) = store.checkpoints.try_lock() {
            drop(free);
            store.checkpoint().unwrap();
        }
        late
    };
    let all = Query { limit: 9, ..Query::default() };
    for rewriting in REWRITINGS {
        let check = |stores: [&Store; 3], _: &TrapDisk, bucket: Bucket, late: MessageId| {
            for store in stores {
                if let Ok(body) = store.body(late) {
                    assert_eq!(body, [4; 900]);
                    continue;
                }
                // Also when who had it first needs it no more.
                for message in store.list(&all).unwrap().messages {
                    if !message.has_body && message.id != late {
                        delete(store, message.id, 1, &[0]);
                    }
                }
                assert_eq!(store.wanted(9), [(bucket, mail(&[4; 900], 1).body.id)]);
            }
        };
        at_every_read(rewriting, with_damage, again, check);
    }
}

#[test]
fn a_day_that_expires_while_it_is_written_anew_is_gone() {
    let expire = |store: &Store| {
        store.set_today(Day(NOW.day().0 + 100));
        store.unlink_expired().unwrap()
    };
    for rewriting in REWRITINGS {
        let check = |stores: [&Store; 3], disk: &TrapDisk, bucket: Bucket, expired: Expired| {
            assert!(expired.records > 0);
            stores[0].forget_expired(&expired).unwrap();
            for store in stores {
                assert!(store.buckets().is_empty());
                assert_eq!(store.counts().records, 0);
                let mut keys = 0;
                let each = &mut |_: &[u8], _: &[u8]| {
                    keys += 1;
                    ControlFlow::Continue(())
                };
                store.index.scan(Tree::Bucket(bucket), &[], each).unwrap();
                assert_eq!(keys, 0);
            }
            assert!(disk.list(&bucket_directory(bucket)).unwrap().is_empty());
        };
        at_every_read(rewriting, in_two_segments, expire, check);
    }
}

#[test]
fn a_check_meanwhile_finds_nothing_and_puts_nothing_back_that_is_erased() {
    // What the check would put back is as if it had fallen out of the index.
    let check = |store: &Store| {
        for bucket in store.buckets() {
            let checked = store.check(bucket, &|_| ControlFlow::Continue(())).unwrap();
            let (_, findings) = checked.unwrap_or_default();
            store.mark_broken(&findings).unwrap();
            assert!(findings.is_empty(), "nothing is damaged: {findings:?}");
        }
    };
    let look = |stores: [&Store; 3], _: &TrapDisk, _: Bucket, (): ()| {
        for store in stores {
            for body in [[1; 900], [2; 900], [7; 900]] {
                let id = put(store, &body, 3);
                assert_eq!(store.body(id).unwrap(), body);
            }
        }
    };
    for rewriting in REWRITINGS {
        at_every_read(rewriting, in_two_segments, check, look);
    }
}

//! Two commits at once: one is drafted while the other is synced.
//! Never measures; that it pays is shown by the figures.

use crate::spy::SpyDisk;
use crate::support::{DAY_MS, NOW, list, mail, open_memory, open_with, put, settings};
use quar_base::arrival::Envelope;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_store::{Mail, MemoryDisk, Outcome, Refusal, Store};
use std::sync::Arc;
use std::thread;

type Outcomes = Vec<Outcome>;

fn spied() -> (Store, SpyDisk) {
    let disk = SpyDisk::new(MemoryDisk::new(), Arc::new(MemoryIndex::new()), [7; 32]);
    let (store, _) =
        open_with(settings(1), Arc::new(disk.clone()), &mut disk.clone(), NOW).unwrap();
    // What follows goes into a segment that is there.
    put(&store, sent("first", b"the first of the day"));
    disk.take_operations();
    (store, disk)
}

/// A mail as its mail server sends it, once or again.
fn sent(queue_id: &str, body: &[u8]) -> Mail {
    let mail = mail(body, 1);
    let envelope = Envelope { queue_id: queue_id.into(), ..mail.envelope };
    Mail { envelope, ..mail }
}

/// Gives other threads the time in which they would do what they must not.
fn let_others_run() {
    (0..5000).for_each(|_| thread::yield_now());
}

fn commit(store: &Store) -> Outcomes {
    store.commit().into_iter().map(|(_, outcome)| outcome).collect()
}

/// Commits `first`, and `second` while the first one's sync has not returned; what `meanwhile` says then.
fn overlapping<T>(
    store: &Store,
    disk: &SpyDisk,
    first: Vec<Mail>,
    second: Vec<Mail>,
    meanwhile: impl FnOnce() -> T,
) -> (Outcomes, Outcomes, T) {
    let submit = |mails: Vec<Mail>| {
        mails.into_iter().for_each(|mail| assert!(store.admit_mail(mail).is_ok()));
    };
    disk.hold_syncs(true);
    let (are_waiting, first, second, told) = thread::scope(|scope| {
        submit(first);
        let first = scope.spawn(|| commit(store));
        // Until then what is submitted may still join it.
        disk.until_a_sync_waits();
        submit(second);
        let second = scope.spawn(|| commit(store));
        while store.has_pending() {
            thread::yield_now();
        }
        let_others_run();
        let are_waiting = !first.is_finished() && !second.is_finished();
        let told = meanwhile();
        disk.hold_syncs(false);
        (are_waiting, first.join().unwrap(), second.join().unwrap(), told)
    });
    assert!(are_waiting, "no commit returns before its sync");
    (first, second, told)
}

#[test]
fn a_commit_is_drafted_while_another_is_synced_and_written_when_that_has_landed() {
    let (store, disk) = spied();
    let second =
        vec![sent("b", b"the second mail"), sent("a", b"the same mail"), sent("c", b"one")];
    let (first, second, operations) =
        overlapping(&store, &disk, vec![sent("a", b"the same mail")], second, || {
            disk.take_operations()
        });

    let Outcome::Stored(stored) = &first[0] else { panic!("{first:?}") };
    let message = stored.record.as_ref().unwrap().message();
    assert!(matches!(second[0], Outcome::Stored(_)), "{second:?}");
    assert!(matches!(second[1], Outcome::AlreadyHere(Some(id)) if id == message), "{second:?}");
    assert!(matches!(second[2], Outcome::Stored(_)), "{second:?}");
    let writes = |operations: &[String]| {
        operations.iter().filter(|operation| operation.starts_with("write of seg")).count()
    };
    // A block, and the zeros ahead.
    assert!(writes(&operations) <= 2, "nothing is written before the sync returns: {operations:?}");
    assert!(writes(&disk.take_operations()) > 0, "and then it is");
    assert_eq!(list(&store).len(), 4);
    for message in list(&store) {
        store.body(message.id).unwrap();
    }
}

#[test]
fn what_was_built_on_a_commit_that_fails_is_refused_with_it() {
    let (store, disk) = spied();
    disk.fail_sync(disk.syncs());
    let second = vec![sent("a", b"the same mail"), sent("b", b"another mail")];
    let (first, second, ()) =
        overlapping(&store, &disk, vec![sent("a", b"the same mail")], second, || ());

    for outcome in first.iter().chain(&second) {
        assert!(matches!(outcome, Outcome::Refused(Refusal::Failed)), "{first:?} {second:?}");
    }
    assert!(store.has_failed());
    assert_eq!(list(&store).len(), 1);
}

#[test]
fn a_day_is_not_unlinked_between_the_write_and_the_end_of_a_commit() {
    let (store, disk) = spied();
    let old = UnixMillis(NOW.0 - 10 * DAY_MS);
    let mails = vec![Mail { received: old, ..sent("a", b"an old mail") }];
    // Its segment is there: what is held is the end of the commit, not the beginning of a segment.
    put(&store, Mail { received: old, ..sent("b", b"an older mail") });
    disk.hold_syncs(true);
    let (is_early, outcomes, expired) = thread::scope(|scope| {
        mails.into_iter().for_each(|mail| assert!(store.admit_mail(mail).is_ok()));
        let committing = scope.spawn(|| commit(&store));
        disk.until_a_sync_waits();
        store.set_today(UnixMillis(NOW.0 + 40 * DAY_MS).day());
        let unlinking = scope.spawn(|| store.unlink_expired());
        let_others_run();
        let is_early = unlinking.is_finished();
        disk.hold_syncs(false);
        (is_early, committing.join().unwrap(), unlinking.join().unwrap())
    });

    assert!(!is_early, "a commit was under way");
    assert!(matches!(outcomes[0], Outcome::Stored(_)), "{outcomes:?}");
    assert_eq!(expired.unwrap().buckets.len(), 2);
    assert!(store.expired().is_empty() && list(&store).is_empty());
}

#[test]
fn what_is_drafted_in_pieces_is_read_and_opened_again_in_one() {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    let mails = 400;
    thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..mails / 4 {
                    let body =
                        format!("mail {number} of writer {writer}: {}", "x".repeat(number * 50));
                    store.admit_mail(sent("", body.as_bytes())).unwrap();
                    for outcome in commit(store) {
                        assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
                    }
                }
            });
        }
    });
    assert_eq!(list(&store).len(), mails);
    let bodies = |store: &Store| -> Vec<Vec<u8>> {
        list(store).into_iter().map(|message| store.body(message.id).unwrap()).collect()
    };
    let before = bodies(&store);
    drop(store);

    let (store, report) = open_memory(disk, Arc::new(MemoryIndex::new()), NOW);
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!(bodies(&store), before);
}

//! Stores of each format that ever was, checked in: this program opens them, and finds in them what was put there.
//! Never rewrites what is checked in: a format that changes gets a store of its own beside the older ones.
//!
//! ```text
//! tests/formats/N/store/         a data directory: packs, logs, rewrites, holds, two key epochs, the index
//! tests/formats/N/contents.txt   roots, and for each message its state and the hash of its body
//! ```
//! Format 1 is that of segments in version 1 (logs, rewrites) and 2 (packs).

use crate::support::{DAY_MS, NOW, copy_dir, encryption_key, mail, open_with, see, settings};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_store::{Holding, Mail, OpenReport, RealDisk, Settings, SledHome, Store};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bodies of the format's logs before there is a dictionary, and behind it.
const BEFORE_DICTIONARY: u64 = 320;
const WITH_DICTIONARY: u64 = 40;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn open(directory: &Path, epochs: &[u32]) -> (Store, OpenReport) {
    let keys = epochs.iter().map(|epoch| encryption_key(*epoch)).collect();
    let settings = Settings { keys, ..settings(1) };
    let index = &mut SledHome(directory.join("index"));
    open_with(settings, Arc::new(RealDisk::new(directory)), index, NOW).unwrap()
}

/// What is in a store, as text that outlives any type of this program.
fn contents(store: &Store) -> String {
    let seen = see(store);
    let mut text = format!("live root {}\nrecords {}\n", seen.live_root, seen.records);
    for (message, body) in seen.messages.iter().zip(seen.bodies) {
        let body = body.unwrap_or_else(|why| why);
        let recipients = message.arrival.recipient_count();
        let is_gone = |at: &usize| message.state.deleted.covers(recipients, *at);
        let gone: Vec<usize> = (0..recipients).filter(is_gone).collect();
        text.push_str(&format!("{} {recipients} {gone:?} {body}\n", message.id));
    }
    text
}

#[test]
fn a_store_of_every_format_is_opened_with_all_that_was_put_into_it() {
    let formats: Vec<PathBuf> =
        fs::read_dir(home()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!formats.is_empty(), "format 1 is checked in");
    for format in formats {
        let expected = fs::read_to_string(format.join("contents.txt")).unwrap();
        for is_index_there in [true, false] {
            let what = format!("{}, index there: {is_index_there}", format.display());
            let copy = tempfile::tempdir().unwrap();
            copy_dir(&format.join("store"), copy.path());
            if !is_index_there {
                fs::remove_dir_all(copy.path().join("index")).unwrap();
            }
            let (store, report) = open(copy.path(), &[2, 1]);
            assert_eq!(report.rebuilt, None, "{what}");
            assert_eq!(report.replayed_records == 0, is_index_there, "{what}: {report:?}");
            assert_eq!(contents(&store), expected, "{what}");
            let findings = Mutex::new(Vec::new());
            let done = |_, _, found| findings.lock().unwrap().extend::<Vec<_>>(found);
            store.check_all(&|_| ControlFlow::Continue(()), &done).unwrap();
            assert!(findings.lock().unwrap().is_empty(), "{what}: {findings:?}");
            // It goes on from there: packed and put to.
            for bucket in store.packable(NOW.day()) {
                store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap();
            }
            assert_eq!(contents(&store), expected, "{what}, packed");
            let id = crate::support::put(&store, mail(b"of this version", 1));
            assert_eq!(store.body(id).unwrap(), b"of this version", "{what}");
        }
    }
}

fn put(store: &Store, class: Class, days_ago: u64, body: &[u8], recipients: usize) -> MessageId {
    let body_of_mail = store.encode_body(body).unwrap();
    let made = mail(body, recipients);
    let received = UnixMillis(NOW.0 - days_ago * DAY_MS - 600_000);
    let admitted = store.admit_mail(Mail { class, received, body: body_of_mail, ..made }).unwrap();
    admitted.message.unwrap()
}

fn delete(store: &Store, id: MessageId, whom: RecipientSet) {
    store.admit_action(id, &Action::Deleted(whom), UnixMillis(NOW.0 - 60_000)).unwrap();
}

/// Bytes with lines that others have too, and some of their own.
fn body(number: u64, rng: &mut Rng) -> Vec<u8> {
    let shared = ["Received: from relay.example.org", "X-Mailer: a mailer", "Unsubscribe here"];
    let own = format!("Subject: number {number}\r\n\r\n{:x}\r\n", rng.below(u64::MAX));
    [shared[(number % 3) as usize], "\r\n", shared[(number % 2) as usize], "\r\n", &own]
        .concat()
        .into_bytes()
}

#[test]
#[ignore = "writes a store of the present format below $QUAR_FORMAT_DIR: run it when a format changes"]
fn writes_a_store_of_the_present_format() {
    let home = PathBuf::from(std::env::var("QUAR_FORMAT_DIR").expect("where to write it"));
    let directory = home.join("store");
    fs::create_dir_all(&directory).unwrap();
    let rng = &mut Rng::from_seed([1; 32]);
    let (store, _) = open(&directory, &[1]);
    // A packed day, without one that was deleted; one that came after it was packed.
    let packed: Vec<_> =
        (0..60).map(|number| put(&store, Class::SPAM, 5, &body(number, rng), 2)).collect();
    store.commit();
    delete(&store, packed[7], RecipientSet::all(2).unwrap());
    delete(&store, packed[8], RecipientSet::of(2, &[1]).unwrap());
    store.commit();
    store.pack(packed[0].bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    put(&store, Class::SPAM, 5, b"later than its pack", 1);
    // A day of which something was erased.
    let rewritten: Vec<_> =
        (0..9).map(|number| put(&store, Class::VIRUS, 1, &body(100 + number, rng), 1)).collect();
    store.commit();
    delete(&store, rewritten[4], RecipientSet::all(1).unwrap());
    store.commit();
    store.erase(rewritten[0].bucket).unwrap();
    let Holding::New(hold) = store.hold(rewritten[2]).unwrap() else {
        panic!("nothing holds it yet")
    };
    store.admit_hold(*hold).unwrap();
    store.commit();
    store.checkpoint().unwrap();
    store.close();
    drop(store);
    // Keys of another epoch; records and bodies against dictionaries.
    let (store, _) = open(&directory, &[2, 1]);
    for number in 0..BEFORE_DICTIONARY {
        put(&store, Class::SPAM, 0, &body(1000 + number, rng), 1 + number as usize % 3);
        store.commit();
    }
    let noise: Vec<u8> = (0..270_000).map(|_| rng.bytes::<1>()[0]).collect();
    put(&store, Class::SPAM, 0, &noise, 1);
    store.commit();
    for number in 0..WITH_DICTIONARY {
        put(&store, Class::SPAM, 0, &body(2000 + number, rng), 1);
        store.commit();
    }
    store.checkpoint().unwrap();
    fs::write(home.join("contents.txt"), contents(&store)).unwrap();
    store.close();
}

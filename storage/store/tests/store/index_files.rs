//! What may become of the index directory: damaged, old, missing in part, another store's.
//! Never touches a segment: whatever the index says, what the segments hold is what is seen.

use crate::support::rounds;
use crate::support::{
    DAY_MS, NOW, Seen, assert_same, copy_dir, files_of, mail, mail_bytes, open_dir, see,
    try_open_dir,
};
use crate::world::record_of;
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_store::Store;
use std::fs;
use std::path::{Path, PathBuf};

/// Mails, deletes and bare arrivals, some of each of them behind the last checkpoint.
fn fill(store: &Store, from: u64, count: u64) -> Vec<MessageId> {
    let rng = &mut Rng::from_seed([from as u8; 32]);
    let mut ids = Vec::new();
    for number in from..from + count {
        let mut mail = mail(&mail_bytes(number, rng), 1 + number as usize % 3);
        mail.received = UnixMillis(NOW.0 - (number % 2) * DAY_MS - 600_000 - number * 1000);
        if number % 6 == 5 {
            let record = record_of(&mail, 2);
            store.admit_record(record, None, NOW).unwrap();
            continue;
        }
        ids.push(store.admit_mail(mail).unwrap().message.unwrap());
        if number % 8 == 7 {
            store.commit();
        }
    }
    store.commit();
    // The first deletes are in effect, the last not yet.
    for (at, id) in ids.iter().enumerate().step_by(5) {
        delete(store, *id, if at < 10 { -60_000 } else { 1000 });
    }
    ids
}

fn delete(store: &Store, id: MessageId, stamp_ms: i64) {
    let count = store.message(id).unwrap().arrival.recipient_count();
    let action = Action::Deleted(RecipientSet::all(count).unwrap());
    let stamp = UnixMillis(NOW.0.saturating_add_signed(stamp_ms));
    store.admit_action(id, &action, stamp).unwrap();
    store.commit();
}

/// Two data directories with the same contents: one closed in order, one as a crash leaves it.
fn originals(root: &Path) -> ([PathBuf; 2], Seen) {
    let [closed, crashed] = ["closed", "crashed"].map(|name| root.join(name));
    fs::create_dir(&closed).unwrap();
    let (store, _) = open_dir(&closed);
    fill(&store, 0, 60);
    store.checkpoint().unwrap();
    drop(store);
    let (store, _) = open_dir(&closed);
    fill(&store, 60, 40);
    copy_dir(&closed, &crashed);
    store.checkpoint().unwrap();
    let seen = see(&store);
    drop(store);
    ([closed, crashed], seen)
}

/// Damages one file of the index, mostly the one that holds the entries.
fn damage(index: &Path, rng: &mut Rng) -> String {
    let files = files_of(index);
    let db = index.join("db");
    let path = if rng.below(2) > 0 { &db } else { &files[rng.below(files.len() as u64) as usize] };
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len().max(1) as u64;
    let at = rng.below(length) as usize;
    let page = at..bytes.len().min(at + 4096);
    let kind = match rng.below(8) {
        0 => {
            bytes.truncate(at);
            "cut"
        }
        1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << rng.below(8);
            "one bit"
        }
        2 if !bytes.is_empty() => {
            for _ in 0..64 {
                bytes[rng.below(length) as usize] ^= 1 << rng.below(8);
            }
            "64 bits"
        }
        3 => {
            bytes[page].fill(0);
            "zeroed page"
        }
        4 => {
            bytes[page].iter_mut().for_each(|byte| *byte = rng.bytes::<1>()[0]);
            "garbage page"
        }
        5 => {
            bytes.extend(rng.bytes::<5000>());
            "garbage behind"
        }
        6 => {
            bytes.clear();
            "emptied"
        }
        _ => {
            bytes = rng.bytes::<3000>().to_vec();
            "replaced"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{}: {kind} at {at}", path.strip_prefix(index).unwrap().display())
}

/// Returns whether the index was found damaged, and built again.
fn check_opens(dir: &Path, expected: &Seen, what: &str) -> bool {
    let (store, report) = try_open_dir(1, dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.damaged, Vec::<String>::new(), "{what}");
    assert_same(&see(&store), expected, &format!("{what}: {report:?}"));
    let is_found = report.rebuilt.is_some();
    // And it is an index that holds.
    store.checkpoint().unwrap();
    drop(store);
    let (store, report) = open_dir(dir);
    assert_eq!(report.replayed_records, 0, "{what}");
    assert_same(&see(&store), expected, &format!("{what}, opened again"));
    is_found
}

#[test]
fn whatever_is_damaged_in_the_index_nothing_is_lost_and_nothing_deleted_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let (originals, expected) = originals(root.path());
    let rng = &mut Rng::from_seed([3; 32]);
    let dir = root.path().join("damaged");
    let (times, mut found) = (rounds("QUAR_DAMAGE_ROUNDS", 60), 0);
    for round in 0..times {
        copy_dir(&originals[round as usize % 2], &dir);
        let mut what = damage(&dir.join("index"), rng);
        if rng.below(4) == 0 {
            what = format!("{what}, {}", damage(&dir.join("index"), rng));
        }
        found += u32::from(check_opens(&dir, &expected, &what));
    }
    // In the others it meets what sled reads no more, or what is replayed.
    eprintln!(
        "index, before it opens: damaged {times}, found and built again {found}, whole {times}"
    );
}

#[test]
fn damage_to_the_index_while_the_store_runs_shows_nothing_wrong_and_is_gone_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let (originals, expected) = originals(root.path());
    let rng = &mut Rng::from_seed([4; 32]);
    let [dir, after] = ["damaged", "after"].map(|name| root.path().join(name));
    let (times, mut found, mut refused) = (rounds("QUAR_DAMAGE_ROUNDS", 20), 0, 0);
    for round in 0..times {
        copy_dir(&originals[round as usize % 2], &dir);
        let (store, _) = open_dir(&dir);
        let what = damage(&dir.join("index"), rng);
        // What is read is right, or an error.
        for (message, body) in expected.messages.iter().zip(&expected.bodies) {
            match (store.body(message.id), body) {
                (Ok(bytes), body) => {
                    assert_eq!(Ok(blake3::hash(&bytes).to_string()), *body, "{what}");
                }
                (Err(_), Ok(_)) => refused += 1,
                (Err(_), Err(_)) => {}
            }
        }
        // A power cut as it is, and a stop that writes the index once more.
        copy_dir(&dir, &after);
        found += u32::from(check_opens(&after, &expected, &format!("{what}, cut off")));
        let flushed = store.checkpoint();
        drop(store);
        check_opens(&dir, &expected, &format!("{what}, stopped: {flushed:?}"));
    }
    eprintln!(
        "index, while it runs: damaged {times}, found at the next start and built again {found}, whole {times}; \
         {refused} reads refused"
    );
}

#[test]
fn any_file_of_the_index_may_be_missing() {
    let root = tempfile::tempdir().unwrap();
    let (originals, expected) = originals(root.path());
    let dir = root.path().join("damaged");
    for original in &originals {
        for file in files_of(&original.join("index")) {
            copy_dir(original, &dir);
            let name = file.strip_prefix(original).unwrap();
            fs::remove_file(dir.join(name)).unwrap();
            check_opens(&dir, &expected, &format!("{} removed", name.display()));
        }
    }
}

#[test]
fn an_older_copy_of_the_index_is_brought_up_to_date() {
    let root = tempfile::tempdir().unwrap();
    let [dir, old] = ["data", "old"].map(|name| root.path().join(name));
    fs::create_dir(&dir).unwrap();
    let (store, _) = open_dir(&dir);
    let early = fill(&store, 0, 10);
    store.checkpoint().unwrap();
    drop(store);
    copy_dir(&dir.join("index"), &old);
    let (store, _) = open_dir(&dir);
    fill(&store, 30, 10);
    // Since then a message that the old index shows was deleted, and the deleted erased.
    delete(&store, early[1], -60_000);
    for bucket in store.erasable() {
        store.erase(bucket).unwrap();
    }
    fill(&store, 60, 20);
    store.checkpoint().unwrap();
    let expected = see(&store);
    drop(store);
    copy_dir(&old, &dir.join("index"));
    check_opens(&dir, &expected, "an older copy");
}

#[test]
fn the_index_of_another_store_is_recognised_and_built_again() {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["one", "two"].map(|name| root.path().join(name));
    let mut seen = Vec::new();
    for (number, dir) in dirs.iter().enumerate() {
        fs::create_dir(dir).unwrap();
        let (store, _) = open_dir(dir);
        // The same days, the same segment numbers, about the same lengths.
        fill(&store, number as u64, 40);
        store.checkpoint().unwrap();
        seen.push(see(&store));
    }
    let aside = root.path().join("aside");
    copy_dir(&dirs[0].join("index"), &aside);
    copy_dir(&dirs[1].join("index"), &dirs[0].join("index"));
    copy_dir(&aside, &dirs[1].join("index"));
    for (dir, seen) in dirs.iter().zip(&seen) {
        check_opens(dir, seen, "another store's index");
    }
}

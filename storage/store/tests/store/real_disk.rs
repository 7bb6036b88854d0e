//! Three hundred mails on a real disk with sled: byte-exact after every way of opening again.
//! Never asks how long it takes.

use crate::support::{DAY_MS, NOW, assert_same, files_of, mail, mail_bytes, open_dir, see};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_store::{Outcome, ReadError, Refusal, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Puts mails of every kind, several to a commit, over two classes and three days.
fn fill(store: &Store, bodies: &[Vec<u8>]) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let mut mail = mail(body, 1 + number % 3);
        mail.received =
            UnixMillis(NOW.0 - (number as u64 % 3) * DAY_MS - 600_000 - number as u64 * 1000);
        if number % 5 == 0 {
            mail.class = Class::VIRUS;
        }
        ids.push(store.admit_mail(mail).unwrap().message.unwrap());
        if number % 7 == 6 || number + 1 == bodies.len() {
            let outcomes = store.commit();
            let stored = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Stored(_));
            assert!(outcomes.iter().all(stored), "{outcomes:?}");
        }
        if number == bodies.len() / 2 {
            store.checkpoint().unwrap();
        }
    }
    ids
}

fn check(store: &Store, ids: &[MessageId], bodies: &[Vec<u8>]) {
    for (number, (id, body)) in ids.iter().zip(bodies).enumerate() {
        if number % 10 == 9 {
            let gone = store.body(*id);
            assert!(matches!(gone, Err(ReadError::NotFound(_))), "{number}");
        } else {
            assert!(store.body(*id).unwrap() == *body, "body {number}");
        }
    }
}

#[test]
fn three_hundred_mails_are_byte_exact_after_every_way_of_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let rng = &mut Rng::from_seed([1; 32]);
    let mut bodies: Vec<Vec<u8>> = (0..300).map(|number| mail_bytes(number, rng)).collect();
    bodies[0] = Vec::new();
    bodies[1] = vec![0];
    bodies[2] = (0..30 << 17).flat_map(|n: u64| n.wrapping_mul(n).to_le_bytes()).collect();
    assert_eq!(bodies[2].len(), 30 << 20);
    let (store, _) = open_dir(dir.path());
    let ids = fill(&store, &bodies);
    for id in ids.iter().skip(9).step_by(10) {
        let count = store.message(*id).unwrap().arrival.recipient_count();
        let action = Action::Deleted(RecipientSet::all(count).unwrap());
        // Long enough ago to be in effect.
        let then = UnixMillis(NOW.0 - 60_000);
        store.admit_action(*id, &action, then).unwrap();
    }
    store.commit();
    check(&store, &ids, &bodies);
    let lived = see(&store);
    drop(store);

    let (store, report) = open_dir(dir.path());
    assert_eq!(report.rebuilt, None);
    assert!(report.replayed_records > 100, "{report:?}");
    assert_same(&see(&store), &lived, "opened again");
    store.checkpoint().unwrap();
    drop(store);

    let (store, report) = open_dir(dir.path());
    assert_eq!((report.rebuilt, report.replayed_records), (None, 0));
    assert_same(&see(&store), &lived, "opened again");
    drop(store);

    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, report) = open_dir(dir.path());
    assert!(report.replayed_records >= 330, "{report:?}");
    assert_eq!(report.damaged, Vec::<String>::new());
    assert_same(&see(&store), &lived, "opened again");
    check(&store, &ids, &bodies);

    for bucket in store.erasable() {
        store.erase(bucket).unwrap();
    }
    let erased = see(&store);
    assert_eq!(erased.live_root, lived.live_root);
    assert_eq!(erased.bodies, lived.bodies);
    drop(store);
    let (store, report) = open_dir(dir.path());
    assert_eq!(report.damaged, Vec::<String>::new());
    assert_same(&see(&store), &erased, "opened after the erasure");
    check(&store, &ids, &bodies);
}

#[test]
fn nobody_else_may_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_dir(dir.path());
    fill(&store, &[b"secret".to_vec()]);
    let segments = dir.path().join("segments");
    let files = files_of(&segments);
    assert_eq!(files.len(), 1);
    for path in files {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut above = path.parent();
        while let Some(directory) = above.filter(|path| path.starts_with(&segments)) {
            assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
            above = directory.parent();
        }
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_dir(dir.path());
    let refusal = store.encode_body(&vec![0; (64 << 20) + 1]).err();
    assert!(matches!(refusal, Some(Refusal::TooLarge { .. })), "{refusal:?}");
    assert!(store.encode_body(&vec![0; 64 << 20]).is_ok());
    assert!(files_of(&dir.path().join("segments")).is_empty());
}

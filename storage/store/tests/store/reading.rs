//! Reading: what is damaged is never served, what is whole is, and buckets do not mix.
//! Never repairs.

use crate::support::{DAY_MS, NOW, assert_same, list, mail, open_memory, put, see, used_bytes};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_index::{Index, MemoryIndex, Tree, Write};
use quar_store::{Disk, MemoryDisk, Outcome, ReadError, Refusal, Store};
use std::ops::ControlFlow;
use std::sync::Arc;

fn fresh() -> (MemoryDisk, Arc<MemoryIndex>, Store) {
    let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
    let store = open_memory(disk.clone(), index.clone(), NOW).0;
    (disk, index, store)
}

#[test]
fn damaged_bytes_are_never_served_wherever_they_lie() {
    let (disk, _, store) = fresh();
    let rng = &mut Rng::from_seed([1; 32]);
    let bodies: Vec<Vec<u8>> = (0..6).map(|_| rng.bytes::<400>().to_vec()).collect();
    let ids: Vec<MessageId> = bodies.iter().map(|body| put(&store, mail(body, 1))).collect();
    let path = disk.paths().pop().unwrap();
    let good = disk.read(&path).unwrap().unwrap();
    let (mut damaged, mut served) = (0, 0);
    for at in (256..good.len()).step_by(3) {
        disk.damage(&path, |bytes| {
            bytes.clone_from(&good);
            bytes[at] ^= 1 << rng.below(8);
        });
        for (id, body) in ids.iter().zip(&bodies) {
            match store.body(*id) {
                Ok(read) => {
                    assert!(read == *body, "byte {at}");
                    served += 1;
                }
                Err(ReadError::Damaged { message, .. }) => {
                    assert_eq!(message, *id);
                    damaged += 1;
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
            if let Ok(Some((record, coded))) = store.item(id.bucket, &id.key) {
                assert_eq!(record.key(), id.key);
                let decoded = coded.map(|coded| coded.decode(&store.settings().id_key));
                assert!(decoded.is_none_or(|read| read.as_ref() == Ok(body)));
            }
        }
    }
    assert!(damaged > 500 && served > 5 * damaged / 2, "{damaged} damaged, {served} served");
}

#[test]
fn a_damaged_body_is_not_sent_to_a_peer_and_the_others_of_its_day_are() {
    let (disk, _, store) = fresh();
    let one = put(&store, mail(b"one", 1));
    let start = used_bytes(&disk, 0);
    let two = put(&store, mail(b"two", 1));
    disk.damage(&disk.paths()[0], |bytes| bytes[start + 50] ^= 1);
    let error = store.body(two).err().map(|error| error.to_string());
    assert_eq!(error, Some(format!("the body of {two} is damaged on disk")));
    assert!(store.item(two.bucket, &two.key).unwrap().unwrap().1.is_none());
    let body = mail(b"two", 1).body.id;
    assert_eq!(store.body_for_peer(two.bucket, body).unwrap(), None);
    assert_eq!(store.body(one).unwrap(), b"one");
    assert_eq!(list(&store).len(), 2);
}

#[test]
fn damage_with_mail_behind_it_is_listed_and_the_rest_is_read() {
    let (disk, index, store) = fresh();
    let one = put(&store, mail(b"one", 1));
    let start = used_bytes(&disk, 0);
    let two = put(&store, mail(b"two", 1));
    let behind = used_bytes(&disk, 0);
    let three = put(&store, mail(b"three", 1));
    drop(store);
    disk.damage(&disk.paths()[0], |bytes| bytes[start..behind].fill(0));
    let index = Arc::new(index.crash());
    let (store, report) = open_memory(disk.clone(), index, NOW);
    let [place] = &report.damaged[..] else {
        panic!("{report:?}");
    };
    assert!(place.ends_with(&format!("00000001.seg: bytes {start} to {behind}")), "{place}");
    assert_eq!(report.torn_tails, 0);
    assert_eq!(store.body(one).unwrap(), b"one");
    assert_eq!(store.body(three).unwrap(), b"three");
    assert!(matches!(store.body(two), Err(ReadError::NotFound(_))));
    // The second is taken again when it comes again.
    assert_eq!(put(&store, mail(b"two", 1)), two);
    assert_eq!(store.body(two).unwrap(), b"two");
}

#[test]
fn a_lost_body_is_wanted_again_by_a_rebuild() {
    let (disk, _, store) = fresh();
    let one = put(&store, mail(b"one", 1));
    put(&store, mail(b"two", 1));
    drop(store);
    // The header of the first block, which holds the first body.
    disk.damage(&disk.paths()[0], |bytes| bytes[256] ^= 1);
    let (store, report) = open_memory(disk, Arc::new(MemoryIndex::new()), NOW);
    assert_eq!(report.damaged.len(), 1);
    let coded = mail(b"one", 1).body;
    assert_eq!(store.wanted(9), [(one.bucket, coded.id)]);
    assert!(matches!(store.body(one), Err(ReadError::BodyMissing(_))));
    store.admit_body(one.bucket, coded).unwrap();
    store.commit();
    assert_eq!(store.body(one).unwrap(), b"one");
}

#[test]
fn a_segment_that_lost_its_end_is_found_out_though_the_index_says_otherwise() {
    for is_cut in [true, false] {
        a_segment_lost_its_end(is_cut);
    }
}

/// Cut off, or zeros again.
fn a_segment_lost_its_end(is_cut: bool) {
    let (disk, index, store) = fresh();
    let one = put(&store, mail(b"one", 1));
    let start = used_bytes(&disk, 0);
    let two = put(&store, mail(b"two", 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.damage(&disk.paths()[0], |bytes| match is_cut {
        true => bytes.truncate(start),
        false => bytes[start..].fill(0),
    });
    let (store, report) = open_memory(disk, Arc::new(index.crash()), NOW);
    assert!(report.rebuilt.is_some(), "{report:?}");
    assert_eq!(store.body(one).unwrap(), b"one");
    assert!(matches!(store.body(two), Err(ReadError::NotFound(_))));
    assert_eq!(store.counts().records, 1);
}

#[test]
fn what_a_vanished_segment_held_leaves_the_set_so_that_peers_send_it_again() {
    let (disk, index, store) = fresh();
    let lost = put(&store, mail(b"lost", 1));
    let (record, body) = store.item(lost.bucket, &lost.key).unwrap().unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
    let kept = put(&store, mail(b"kept", 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.remove(&disk.paths()[0]).unwrap();
    let (store, _) = open_memory(disk, Arc::new(index.crash()), NOW);
    assert_eq!(store.body(kept).unwrap(), b"kept");
    assert!(matches!(store.body(lost), Err(ReadError::NotFound(_))));
    assert_eq!(store.counts().records, 1);
    store.admit_record(record, body, NOW).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Stored(_)));
    assert_eq!(store.body(lost).unwrap(), b"lost");
}

#[test]
fn commits_of_two_buckets_in_turn_keep_to_their_segments() {
    let (disk, index, store) = fresh();
    let mail_of = |number: u8| {
        let mut mail = mail(&[number; 50], 1);
        if number % 2 == 1 {
            mail.class = Class::VIRUS;
        }
        if number % 3 == 2 {
            mail.received = UnixMillis(NOW.0 - DAY_MS);
        }
        mail
    };
    let mut ids = Vec::new();
    for number in 0..24 {
        // One commit of one mail, then one of several buckets together.
        if number % 4 == 0 {
            ids.push(put(&store, mail_of(number)));
        } else {
            ids.push(store.admit_mail(mail_of(number)).unwrap().message.unwrap());
            if number % 4 == 3 {
                assert_eq!(store.commit().len(), 3);
            }
        }
    }
    assert_eq!(disk.paths().len(), 4);
    let lived = see(&store);
    drop(store);
    for index in [Arc::new(index.crash()), Arc::new(MemoryIndex::new())] {
        let (store, report) = open_memory(disk.crash(), index, NOW);
        assert_eq!(report.damaged, Vec::<String>::new());
        assert_same(&see(&store), &lived, "");
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(store.body(*id).unwrap(), [number as u8; 50]);
        }
    }
}

#[test]
fn a_body_that_two_bare_arrivals_need_is_wanted_until_the_last_of_them_goes() {
    let (disk, index, store) = fresh();
    let arrivals = [1, 2].map(|recipients| {
        let record = crate::world::record_of(&mail(b"shared", recipients), 2);
        store.admit_record(record.clone(), None, NOW).unwrap();
        store.commit();
        record.message()
    });
    let wanted = (arrivals[0].bucket, mail(b"shared", 1).body.id);
    let delete = |store: &Store, at: usize| {
        let action = Action::Deleted(RecipientSet::all(at + 1).unwrap());
        store.admit_action(arrivals[at], &action, NOW).unwrap();
        store.commit();
    };
    delete(&store, 1);
    assert_eq!(store.wanted(9), [wanted]);
    drop(store);
    let (store, _) = open_memory(disk, index, NOW);
    assert_eq!(store.wanted(9), [wanted]);
    delete(&store, 0);
    assert_eq!(store.wanted(9), []);
    let late = store.admit_body(wanted.0, mail(b"shared", 1).body).err();
    assert_eq!(late, Some(Refusal::UnwantedBody(wanted.1)));
}

#[test]
fn later_erasures_of_a_day_work_after_a_crash_that_followed_one() {
    let (disk, index, store) = fresh();
    let ids: Vec<_> = (0..4u8).map(|n| put(&store, mail(&[n; 90], 1))).collect();
    store.checkpoint().unwrap();
    let delete = |store: &Store, at: usize| {
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        store.admit_action(ids[at], &action, NOW).unwrap();
        store.commit();
        store.erase(ids[at].bucket)
    };
    assert_eq!(delete(&store, 0).unwrap().messages, 1);
    drop(store);
    // The files were unlinked, the index knows nothing of it.
    let (store, report) = open_memory(disk.crash(), Arc::new(index.crash()), NOW);
    assert_eq!(report.damaged, Vec::<String>::new());
    assert_eq!(store.erasable(), []);
    assert_eq!(delete(&store, 1).unwrap().messages, 1);
    for (at, id) in ids.iter().enumerate().skip(2) {
        assert_eq!(store.body(*id).unwrap(), [at as u8; 90]);
    }
}

#[test]
fn an_index_that_lost_any_one_entry_is_found_out() {
    let (disk, index, store) = fresh();
    let ids: Vec<_> =
        (0..6u8).map(|n| put(&store, mail(&[n; 90], 1 + usize::from(n) % 2))).collect();
    for (at, id) in ids.iter().enumerate().take(4) {
        let action = Action::Deleted(RecipientSet::of(1 + at % 2, &[0]).unwrap());
        store.admit_action(*id, &action, NOW).unwrap();
        store.commit();
    }
    store.checkpoint().unwrap();
    let lived = see(&store);
    let mut keys = Vec::new();
    for tree in [Tree::Meta, Tree::Bucket(ids[0].bucket)] {
        let each = &mut |key: &[u8], _: &[u8]| {
            keys.push((tree, key.to_vec()));
            ControlFlow::Continue(())
        };
        index.scan(tree, &[], each).unwrap();
    }
    // Ten records, six bodies, four deletes, one watermark.
    assert_eq!(keys.len(), 21);
    for (tree, key) in keys {
        let what = format!("without {:?} in {tree}", key[0] as char);
        let index = Arc::new(index.crash());
        index.write(vec![Write::Delete { tree, key }]).unwrap();
        let (store, report) = open_memory(disk.crash(), index, NOW);
        assert!(report.rebuilt.is_some() || report.replayed_records == 10, "{what}: {report:?}");
        assert_same(&see(&store), &lived, &what);
    }
}

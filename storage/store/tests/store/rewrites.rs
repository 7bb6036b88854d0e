//! Erasures and packs cut off at each of their writes and syncs, over bodies of many sectors.
//! Never leaves it to chance that a cut hits what matters: the same few steps again and again.

use crate::spy::SpyDisk;
use crate::support::{NOW, mail, open_memory, put};
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_index::MemoryIndex;
use quar_store::{Disk, MemoryDisk, Store};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Scenarios, told apart by what the disk keeps at a cut.
const SEEDS: u64 = 60;

fn noise(number: u8) -> Vec<u8> {
    let mut noise = vec![0; 3000];
    blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
    noise
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// Does `work` to a day with a deleted mail; whatever moment the power goes, the others are there.
fn check(work: impl Fn(&Store, &[MessageId])) {
    for seed in 0..SEEDS {
        let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
        let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
        let ids: Vec<_> = (0..6).map(|number| put(&store, mail(&noise(number), 1))).collect();
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        store.admit_action(ids[3], &action, NOW).unwrap();
        store.commit();
        store.checkpoint().unwrap();
        drop(store);
        let spy = SpyDisk::new(disk.crash(), Arc::new(index.crash()), seed_bytes(seed));
        let (store, _) = open_memory(spy.clone(), spy.index(), NOW);
        spy.take_images();
        work(&store, &ids);
        for image in spy.take_images() {
            let index = Arc::new(image.index.crash());
            let (store, _) = open_memory(image.disk.crash(), index, NOW);
            for (number, id) in (0..).zip(&ids).filter(|(number, _)| *number != 3) {
                let body = store.body(*id);
                let body = body.unwrap_or_else(|error| {
                    panic!("seed {seed}, before {}: mail {number}: {error}", image.before)
                });
                assert_eq!(body, noise(number));
            }
            assert!(store.body(ids[3]).is_err());
        }
    }
}

#[test]
fn a_rewrite_cut_off_anywhere_loses_nothing() {
    check(|store, ids| {
        store.erase(ids[0].bucket).unwrap();
    });
}

#[test]
fn a_pack_that_is_interrupted_and_begun_again_loses_nothing_wherever_it_is_cut_off() {
    check(|store, ids| {
        let bucket = ids[0].bucket;
        assert_eq!(store.pack(bucket, &mut |_| ControlFlow::Break(())).unwrap(), None);
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    });
}

#[test]
fn what_is_deleted_between_two_attempts_to_pack_stays_gone_wherever_they_are_cut_off() {
    check(|store, ids| {
        let bucket = ids[0].bucket;
        assert_eq!(store.pack(bucket, &mut |_| ControlFlow::Break(())).unwrap(), None);
        store.erase(bucket).unwrap();
    });
}

#[test]
fn a_pack_cut_off_anywhere_loses_nothing() {
    check(|store, ids| {
        store.pack(ids[0].bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    });
}

/// Does `work` to a day that holds a damaged record, a damaged body and a damaged delete of one recipient. From the
/// moment on at which the day's old segment is gone for good, whatever moment the power goes: what was damaged is
/// named or wanted. The delete holds at every moment.
fn check_damaged(work: impl Fn(&Store, &[MessageId])) {
    for seed in 0..SEEDS / 3 {
        let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
        let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
        let ids: Vec<_> = (0..6).map(|number| put(&store, mail(&noise(number), 2))).collect();
        let delete = |id: MessageId, whom: &[usize]| {
            let action = Action::Deleted(RecipientSet::of(2, whom).unwrap());
            let (_, record) = store.admit_action(id, &action, NOW).unwrap();
            store.commit();
            MessageId { bucket: id.bucket, key: record.key() }
        };
        delete(ids[3], &[0, 1]);
        let lost = BTreeSet::from([ids[1], delete(ids[4], &[1])]);
        store.checkpoint().unwrap();
        let mut old = None;
        for (id, what) in [(ids[1], "arrival"), (ids[2], "body"), (ids[4], "deleted")] {
            let places = store.place_reports(id).unwrap();
            let place = places.into_iter().find(|place| place.what == what).unwrap();
            disk.damage(&place.path, |bytes| bytes[place.block as usize + 60] ^= 1);
            old = Some(place.path);
        }
        let old = old.unwrap();
        drop(store);
        let spy = SpyDisk::new(disk.crash(), Arc::new(index.crash()), seed_bytes(seed));
        let (store, _) = open_memory(spy.clone(), spy.index(), NOW);
        spy.take_images();
        work(&store, &ids);
        let mut replaced = 0;
        for image in spy.take_images() {
            let (disk, index) = (image.disk.crash(), Arc::new(image.index.crash()));
            let (store, _) = open_memory(disk.clone(), index, NOW);
            let context = format!("seed {seed}, before {}", image.before);
            assert!(store.message(ids[4]).unwrap().state.deleted.covers(2, 1), "{context}");
            if disk.open(&old).is_err() {
                let named = BTreeSet::from_iter(store.broken_records());
                assert_eq!((named, store.wanted(9).len()), (lost.clone(), 1), "{context}");
                replaced += 1;
            }
        }
        assert!(replaced > 0);
    }
}

#[test]
fn what_a_rewrite_leaves_out_as_damaged_is_known_wherever_it_is_cut_off() {
    check_damaged(|store, ids| {
        store.erase(ids[0].bucket).unwrap();
    });
}

#[test]
fn what_a_pack_leaves_out_as_damaged_is_known_wherever_it_is_cut_off() {
    check_damaged(|store, ids| {
        store.pack(ids[0].bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    });
}

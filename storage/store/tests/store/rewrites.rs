//! Erasures and packs cut off at each of their writes and syncs, over bodies of many sectors.
//! Never leaves it to chance that a cut hits what matters: the same few steps again and again.

use crate::spy::SpyDisk;
use crate::support::{NOW, mail, open_memory, put};
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_index::MemoryIndex;
use quar_store::{MemoryDisk, Store};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Scenarios, told apart by what the disk keeps at a cut.
const SEEDS: u64 = 60;

fn noise(number: u8) -> Vec<u8> {
    let mut noise = vec![0; 3000];
    blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
    noise
}

/// Does `work` to a day with a deleted mail; whatever moment the power goes, the others are there.
fn check(work: impl Fn(&Store, &[MessageId])) {
    for seed in 0..SEEDS {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
        let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
        let ids: Vec<_> = (0..6).map(|number| put(&store, mail(&noise(number), 1))).collect();
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        store.admit_action(ids[3], &action, NOW).unwrap();
        store.commit();
        store.checkpoint().unwrap();
        drop(store);
        let spy = SpyDisk::new(disk.crash(), Arc::new(index.crash()), bytes);
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

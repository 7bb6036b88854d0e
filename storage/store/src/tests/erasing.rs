//! Erasure seen from outside: what is in the files afterwards, and what can still be read.

use super::{NOW, Node, delete, put};
use crate::segment::SegmentName;
use crate::{MemoryHome, ReadError};
use quar_base::time::Day;
use quar_index::MemoryIndex;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Whether any file of the node holds these bytes of a stored body's sealed form.
fn files_with(node: &Node, needle: &[u8]) -> usize {
    let paths = node.disk.paths();
    let holds = |path: &&std::path::PathBuf| {
        let bytes = crate::Disk::read(&node.disk, path).unwrap().unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    paths.iter().filter(holds).count()
}

#[test]
fn erasing_removes_a_deleted_message_from_every_file_and_keeps_the_rest() {
    let mut node = Node::new(1);
    let store = node.open();
    let kept: Vec<_> = (0..20u8).map(|n| put(&store, &[n; 700], 1)).collect();
    let noise: Vec<u8> =
        (0..30_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let secret = put(&store, &noise, 1);
    let segment = node.disk.paths().pop().unwrap();
    let bytes = crate::Disk::read(&node.disk, &segment).unwrap().unwrap();
    let sealed = bytes[bytes.len() - 10_000..bytes.len() - 9_936].to_vec();
    assert_eq!(files_with(&node, &sealed), 1);
    delete(&store, secret, 1, &[0]);
    let root = store.live_root();
    assert_eq!(store.erasable(), [secret.bucket]);
    let erased = store.erase(secret.bucket).unwrap();
    assert_eq!(erased.messages, 1);
    assert_eq!(files_with(&node, &sealed), 0);
    assert!(store.erasable().is_empty());
    let rebuilt = {
        let mut bare = node.crash();
        bare.home = MemoryHome(Arc::new(MemoryIndex::default()));
        bare
    };
    for mut after in [node.crash(), rebuilt] {
        let (store, report) = after.open_at(NOW);
        assert_eq!(report.damaged, Vec::<String>::new());
        assert_eq!(store.live_root(), root);
        for (n, id) in kept.iter().enumerate() {
            assert_eq!(store.body(*id).unwrap(), [n as u8; 700]);
        }
        assert!(store.body(secret).is_err());
        assert!(store.erasable().is_empty());
    }
    drop(store);
}

#[test]
fn a_body_that_another_message_shares_survives_the_erasure() {
    let mut node = Node::new(1);
    let store = node.open();
    let one = put(&store, &[7; 900], 1);
    let other = put(&store, &[7; 900], 2);
    delete(&store, one, 1, &[0]);
    store.erase(one.bucket).unwrap();
    assert_eq!(store.body(other).unwrap(), [7; 900]);
    drop(store);
    let store = node.crash().open();
    assert_eq!(store.body(other).unwrap(), [7; 900]);
}

#[test]
fn a_put_during_an_erasure_keeps_its_body() {
    let mut node = Node::new(1);
    let store = node.open();
    let one = put(&store, &[7; 900], 1);
    delete(&store, one, 1, &[0]);
    let doomed = store.begin_rewriting(one.bucket).unwrap().unwrap();
    let late = put(&store, &[7; 900], 2);
    store.rewrite_without(one.bucket, doomed).unwrap();
    assert_eq!(store.body(late).unwrap(), [7; 900]);
    drop(store);
    assert_eq!(node.crash().open().body(late).unwrap(), [7; 900]);
}

#[test]
fn a_damaged_body_that_should_stay_does_not_stop_an_erasure_and_is_wanted() {
    let mut node = Node::new(1);
    let store = node.open();
    let gone = put(&store, &[1; 300], 1);
    let kept = put(&store, &[2; 300], 1);
    let damaged = put(&store, &[3; 300], 1);
    let coded = store.item(damaged.bucket, &damaged.key).unwrap().unwrap().1.unwrap();
    delete(&store, gone, 1, &[0]);
    store.close();
    let name = crate::segment::SegmentName { bucket: gone.bucket, number: 1 };
    let at = store.segments.open(name).unwrap().headers().unwrap()[4].offset as usize + 50;
    node.disk.damage(&name.path(), |bytes| bytes[at] ^= 1);
    assert_eq!(store.erase(gone.bucket).unwrap().messages, 1);
    assert_eq!(store.body(kept).unwrap(), [2; 300]);
    assert_eq!(store.wanted(9), [(damaged.bucket, coded.id)]);
    assert!(matches!(store.body(damaged), Err(ReadError::BodyMissing(_))));
    let after = node.crash().open();
    assert_eq!(after.wanted(9), [(damaged.bucket, coded.id)]);
    store.admit_body(damaged.bucket, coded).unwrap();
    store.commit();
    assert_eq!(store.body(damaged).unwrap(), [3; 300]);
}

#[test]
fn a_day_from_which_much_was_erased_is_packed_once() {
    let mut node = Node::new(1);
    let store = node.open();
    let all: Vec<_> = (0..6u8).map(|n| put(&store, &[n; 300], 1)).collect();
    let bucket = all[0].bucket;
    for id in &all[..3] {
        delete(&store, *id, 1, &[0]);
    }
    assert_eq!(store.erase(bucket).unwrap().messages, 3);
    let later = Day(NOW.day().0 + 3);
    assert_eq!(store.packable(later), [bucket]);
    store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    assert_eq!(store.packable(later), []);
}

/// How a power cut leaves the last two blocks of a segment: bodies from the first offset on, records from the second.
type Cut = fn(&mut Vec<u8>, usize, usize);

#[test]
fn what_a_power_cut_left_of_a_write_is_no_longer_there_after_the_erasure() {
    let cuts: [Cut; 4] = [
        |bytes, _, records| bytes[records..].fill(0),
        |bytes, _, records| bytes.truncate(records),
        |bytes, _, records| bytes[records + 60] ^= 1,
        |bytes, bodies, records| {
            bytes[bodies..bodies + 512].fill(0);
            bytes[records..].fill(0);
        },
    ];
    for cut in cuts {
        let mut node = Node::new(1);
        let store = node.open();
        let kept = put(&store, b"kept", 1);
        let mut noise = vec![0; 3000];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
        put(&store, &noise, 1);
        store.close();
        let name = SegmentName { bucket: kept.bucket, number: 1 };
        let blocks = store.segments.open(name).unwrap().headers().unwrap();
        drop(store);
        let [.., bodies, records] = &blocks[..] else { panic!("there are four") };
        let (bodies, records) = (bodies.offset as usize, records.offset as usize);
        let file = crate::Disk::read(&node.disk, &name.path()).unwrap().unwrap();
        let sealed = file[records - 1000..records - 936].to_vec();
        node.disk.damage(&name.path(), |bytes| cut(bytes, bodies, records));
        node.home = MemoryHome(Arc::new(MemoryIndex::default()));
        let (store, report) = node.open_at(NOW);
        assert!(report.damaged.is_empty(), "{report:?}");
        let again = put(&store, &noise, 1);
        assert!(files_with(&node, &sealed) > 0);
        delete(&store, again, 1, &[0]);
        let remains = || store.remains_of(again, &|_| ControlFlow::Continue(())).unwrap().unwrap();
        let unsure = remains().unsure;
        assert!(
            !unsure.is_empty() && unsure.iter().all(|one| one.contains("cut short")),
            "{unsure:?}"
        );
        store.erase(again.bucket).unwrap();
        assert_eq!(files_with(&node, &sealed), 0);
        assert!(remains().is_gone(), "{:?}", remains());
        assert_eq!(store.body(kept).unwrap(), b"kept");
        assert_eq!(node.crash().open().body(kept).unwrap(), b"kept");
    }
}

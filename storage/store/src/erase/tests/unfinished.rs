//! What a kill leaves of an erasure: nothing of it is written again, and its room comes back.

use super::failing::{ERASE, check, prepare, work_failing};
use crate::Disk;
use crate::segment::{SegmentName, bucket_directory};
use crate::tests::{NOW, Node};
use quar_base::key::Bucket;

const SEGMENT_HEADER_BYTES: usize = 256;

/// Numbers and bytes of the bucket's rewrites, and whether each is closed.
fn rewrites(node: &Node, bucket: Bucket) -> Vec<(u32, usize, bool)> {
    let files = node.disk.list(&bucket_directory(bucket)).unwrap().into_iter();
    let numbers = files.filter_map(|file| SegmentName::number_of(&file.name));
    let read = numbers.map(|number| {
        (number, node.disk.read(&SegmentName { bucket, number }.path()).unwrap().unwrap())
    });
    let rewrites = read.filter(|(_, bytes)| bytes.get(11) == Some(&1));
    let is_closed = |bytes: &[u8]| bytes.windows(5).any(|window| window == b"QBLK\x03");
    rewrites.map(|(number, bytes)| (number, bytes.len(), is_closed(&bytes))).collect()
}

#[test]
fn a_rewrite_that_was_never_finished_is_not_written_again_and_goes_with_the_next_erasure() {
    let prepared = prepare();
    let bucket = prepared.kept[0].bucket;
    let mut seen = 0;
    for after in 0.. {
        let mut node = prepared.node.crash();
        // As a kill leaves it: nothing that comes after this step is done.
        let (store, _, has_failed) = work_failing(&node, (ERASE, bucket), after, u64::MAX);
        drop(store);
        if !has_failed {
            break;
        }
        let (number, bytes) = match rewrites(&node, bucket)[..] {
            [(number, bytes, false)] if bytes > SEGMENT_HEADER_BYTES => (number, bytes as u64),
            _ => continue,
        };
        seen += 1;
        let context = format!("cut at step {after}");
        let files = node.disk.paths();
        node.disk.set_free_bytes(bytes / 2);
        let (store, report) = node.open_at(NOW);
        assert_eq!((report.rebuilt, node.disk.paths()), (None, files), "{context}");
        check(&prepared, &store, None, &context);
        // What it was made from was synced, and stays in force.
        assert_eq!(store.state().buckets[&bucket].segments[&number].mark.keys, 0, "{context}");
        node.disk.set_free_bytes(u64::MAX);
        store.erase(bucket).unwrap();
        assert!(rewrites(&node, bucket).iter().all(|(_, _, is_closed)| *is_closed), "{context}");
        check(&prepared, &store, None, &context);
    }
    assert!(seen > 1, "{seen} erasures were cut off in a rewrite");
}

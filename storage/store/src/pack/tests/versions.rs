//! Packs and segments of later versions: refused by name, and left as they are.

use super::{LATER, fill, pack};
use crate::segment::{BlockKind, Maker, SegmentName, SegmentRole, SegmentWriter};
use crate::tests::{Node, put};
use crate::{Disk, EncryptionKey, OpenError, Store};
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::Bucket;
use quar_base::rng::Rng;
use std::path::PathBuf;

/// A pack that takes the place of everything in its bucket, with a footer of this version.
fn pack_of_version(node: &Node, store: &Store, bucket: Bucket, version: u16) -> PathBuf {
    let held = store.index.pack(bucket).expect("it is packed");
    let mut footer = held.footer().clone();
    footer.replaced = vec![held.name().number];
    let mut bytes = footer.encode();
    bytes[..2].copy_from_slice(&version.to_le_bytes());
    let name = SegmentName { bucket, number: store.next_segment_number(bucket) };
    let (cluster, member) = (ClusterId([9; 16]), MemberId([1; 16]));
    let maker = Maker { cluster, member, key: &EncryptionKey::new(1, [7; 32]) };
    let rng = &mut Rng::from_seed([7; 32]);
    let role = SegmentRole::Pack;
    let mut writer = SegmentWriter::create(&node.disk, name, role, &maker, rng).unwrap();
    let offset = writer.append_block(BlockKind::Footer, 1, bytes).unwrap();
    writer.close(0, &[offset]).unwrap();
    writer.sync().unwrap();
    name.path()
}

fn files(node: &Node) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = node.disk.read(&path).unwrap().unwrap();
        (path, bytes)
    };
    node.disk.paths().into_iter().map(read).collect()
}

fn packed() -> (Node, Store, Bucket) {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let bucket = fill(&store, 20)[0].bucket;
    pack(&store, bucket);
    put(&store, b"later than the pack", 1);
    store.close();
    (node, store, bucket)
}

fn refused(node: &mut Node) -> (PathBuf, String) {
    let before = files(node);
    let Err(OpenError::Segment { path, reason }) = node.try_open_at(LATER) else {
        panic!("it must be refused")
    };
    assert!(files(node) == before, "files were changed");
    assert!(reason.contains("upgrade to the program that wrote it"), "{reason}");
    (path, reason)
}

#[test]
fn a_footer_of_a_later_version_stops_the_opening_and_nothing_is_changed() {
    let (mut node, store, bucket) = packed();
    let path = pack_of_version(&node, &store, bucket, 2);
    drop(store);
    let (named, reason) = refused(&mut node);
    assert_eq!(named, path);
    assert!(reason.contains("footer of the pack has format version 2;"), "{reason}");
}

#[test]
fn a_segment_of_a_later_version_stops_the_opening_before_a_pack_unlinks_what_it_replaced() {
    let (mut node, store, bucket) = packed();
    let path = node.disk.paths().pop().expect("the mail that came later");
    // Of this version: an opening unlinks what it replaces.
    pack_of_version(&node, &store, bucket, 1);
    drop(store);
    node.disk.damage(&path, |bytes| {
        bytes[8] = 3;
        let check = blake3::hash(&bytes[..224]);
        bytes[224..256].copy_from_slice(check.as_bytes());
    });
    let (named, reason) = refused(&mut node);
    assert_eq!(named, path);
    assert!(reason.contains("segment has format version 3;"), "{reason}");
}

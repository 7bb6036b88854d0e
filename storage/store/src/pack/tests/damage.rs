//! Packs with damage in them: what is whole is served, what is not is named, and nothing wrong comes out.

use super::{LATER, body, fill, only_file, pack, sight};
use crate::segment::{BlockKind, Found, Segment};
use crate::tests::{Node, delete};
use crate::{ReadError, Store};
use quar_base::key::MessageId;

/// A node with one packed day, and where the blocks of its file begin and end.
fn packed() -> (Node, Vec<MessageId>, Vec<(BlockKind, u64, u64)>) {
    let mut node = Node::new(1);
    let store = node.open_at(LATER).0;
    let ids = fill(&store, 60);
    delete(&store, ids[5], 2, &[0, 1]);
    delete(&store, ids[6], 2, &[1]);
    pack(&store, ids[0].bucket);
    store.checkpoint().unwrap();
    let name = store.index.pack(ids[0].bucket).unwrap().name();
    let segment = store.segment(name).unwrap().unwrap();
    let blocks = segment.headers().unwrap().into_iter();
    let blocks = blocks.map(|header| (header.kind, header.offset, header.offset + header.stride()));
    let blocks = blocks.collect();
    drop(store);
    (node, ids, blocks)
}

/// The node with one byte of its pack changed.
fn damaged(node: &Node, bucket: quar_base::key::Bucket, at: u64) -> Node {
    let copy = node.crash();
    copy.disk.damage(&only_file(node, bucket), |bytes| bytes[at as usize] ^= 0x10);
    copy
}

fn count_whole(store: &Store, ids: &[MessageId]) -> usize {
    let is_whole = |(number, id): &(usize, &MessageId)| match store.body(**id) {
        Ok(bytes) => {
            assert_eq!(bytes, body(*number), "wrong bytes of {number}");
            true
        }
        Err(ReadError::NotFound(_) | ReadError::BodyMissing(_) | ReadError::Damaged { .. }) => {
            false
        }
        Err(error) => panic!("{error}"),
    };
    ids.iter().enumerate().filter(is_whole).count()
}

#[test]
fn any_damaged_byte_costs_no_more_than_its_block_and_tables_cost_nothing() {
    let (mut node, ids, blocks) = packed();
    let whole = sight(&node.open_at(LATER).0);
    let bucket = ids[0].bucket;
    let mut tables = 0;
    for (number, (kind, start, end)) in blocks.iter().enumerate() {
        // Magic, lengths, the header's check, payload, tag.
        for at in [start + 1, start + 9, start + 41, start + 49, start + (end - start) / 2, end - 9]
        {
            let mut node = damaged(&node, bucket, at);
            let (store, report) = node.open_at(LATER);
            let context = format!("block {number} ({kind:?}), byte {at}: {report:?}");
            assert_eq!(store.body(ids[5]).ok(), None, "deleted mail is back: {context}");
            match kind {
                BlockKind::Table | BlockKind::Footer | BlockKind::Closing => {
                    tables += 1;
                    assert_eq!(count_whole(&store, &ids), 59, "{context}");
                    assert_eq!(sight(&store).0, whole.0, "{context}");
                    // And it is packed again.
                    pack(&store, bucket);
                    assert_eq!(sight(&store), whole, "{context}");
                    assert_eq!(sight(&node.open_at(LATER).0), whole, "{context}");
                }
                _ => {
                    let found = count_whole(&store, &ids);
                    assert!(found < 59, "the only block of its kind: {context}");
                }
            }
        }
    }
    assert!(tables >= 5 * 6, "{tables}");
}

#[test]
fn a_scan_of_a_pack_finds_its_blocks_whole() {
    let (mut node, ids, blocks) = packed();
    let store = node.open_at(LATER).0;
    let name = store.index.pack(ids[0].bucket).unwrap().name();
    let segment = store.segment(name).unwrap().unwrap();
    let (mut groups, mut directories, mut records) = (0, 0, 0);
    let end = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
        match found {
            Found::Group { bodies, .. } => groups += bodies.len(),
            Found::Directory => directories += 1,
            Found::Entries { entries, .. } => records += entries.len(),
            Found::Closing => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    });
    assert_eq!(end.unwrap(), segment.length().unwrap());
    assert_eq!((groups, records), (59, 61));
    assert_eq!(directories + 3, blocks.len());
}

//! A whole segment that was damaged anywhere: what is found in it is what was written.
//! Never damages the header, without which nothing is read.

use super::super::format::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Compression};
use super::super::{Entry, Found, Segment};
use super::{NAME, forge, read_through, segments};
use crate::fuzz::{Input, id_key};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The sample as it was written.
struct Sample {
    bytes: Vec<u8>,
    headers: Vec<BlockHeader>,
    /// By offset.
    entries: BTreeMap<u32, Vec<Entry>>,
    bodies: BTreeMap<u32, Vec<u8>>,
}

impl Sample {
    fn of(bytes: Vec<u8>) -> Self {
        let segment = segments(&[(NAME, bytes.clone())]).open(NAME).expect("it is whole");
        let (mut entries, mut bodies) = (BTreeMap::new(), BTreeMap::new());
        let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
            match found {
                Found::Entries { offset, entries: items, .. } => {
                    entries.insert(offset, items);
                }
                Found::Bodies { offset, payload } => {
                    bodies.insert(offset, payload);
                }
                Found::Damaged { .. } | Found::TornTail => panic!("the sample is damaged"),
                _ => {}
            }
            Ok(())
        });
        assert_eq!(scanned.ok(), Some(bytes.len() as u64));
        let headers = segment.headers().expect("the memory disk does not fail");
        Self { bytes, headers, entries, bodies }
    }

    /// Whether a block's bytes still lie where they lay.
    fn is_intact(&self, header: &BlockHeader, damaged: &[u8]) -> bool {
        let start = header.offset as usize;
        let span = start..start + BLOCK_HEADER_BYTES + header.sealed_bytes as usize;
        damaged.get(span.clone()) == Some(&self.bytes[span])
    }
}

/// Changes, each of 6 bytes, done to a segment that was whole.
pub(crate) fn segment_damage(input: &[u8]) {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    let sample = SAMPLE.get_or_init(|| Sample::of(forge::sample()));
    let damaged = damage(&sample.bytes, &mut Input(input));
    let segment = segments(&[(NAME, damaged.clone())]).open(NAME).expect("its header is whole");
    let (mut entries, mut bodies) = (Vec::new(), Vec::new());
    let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
        match found {
            Found::Entries { offset, entries: items, .. } => {
                assert_eq!(sample.entries.get(&offset), Some(&items), "nobody wrote that");
                entries.push(offset);
            }
            Found::Bodies { offset, payload } => {
                assert_eq!(sample.bodies.get(&offset), Some(&payload), "nobody wrote that");
                bodies.push(offset);
            }
            _ => {}
        }
        Ok(())
    });
    assert!(scanned.is_ok());
    let intact = |kind: BlockKind| {
        let of_kind = sample.headers.iter().filter(move |header| header.kind == kind);
        of_kind.filter(|header| sample.is_intact(header, &damaged))
    };
    // One whole copy is enough: blocks of a dictionary come first, between and last.
    let dictionaries =
        intact(BlockKind::Dictionary).map(|header| header.offset).collect::<Vec<_>>();
    let copies = sample.headers.iter().filter(|header| header.kind == BlockKind::Dictionary);
    let has_dictionary = copies.step_by(2).any(|header| dictionaries.contains(&header.offset));
    for header in intact(BlockKind::Bodies) {
        assert!(bodies.contains(&(header.offset as u32)), "a whole block is found");
    }
    for header in intact(BlockKind::Records) {
        let is_readable = header.compression != Compression::Shared || has_dictionary;
        assert_eq!(entries.contains(&(header.offset as u32)), is_readable);
    }
    for entry in sample.entries.values().flatten() {
        let Entry::Body(body) = entry else { continue };
        let is_readable = bodies.contains(&body.block) && (body.dictionary == 0 || has_dictionary);
        let read = segment.body(body).ok().map(|coded| coded.decode(&id_key()).is_ok());
        assert_eq!(read, is_readable.then_some(true));
    }
    read_through(&segment);
}

/// Operation 1, place 2, length 1, value 2.
fn damage(whole: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let (header, blocks) = whole.split_at(Segment::FIRST_BLOCK as usize);
    let mut blocks = blocks.to_vec();
    while !input.is_empty() {
        let (operation, place, length) = (input.u8(), input.u16(), usize::from(input.u8()));
        let value = input.u16();
        let at = usize::from(place) % (blocks.len() + 1);
        let end = blocks.len().min(at + length);
        match operation % 7 {
            0 => blocks[at..].iter_mut().take(1).for_each(|byte| *byte ^= value as u8),
            1 => blocks[at..end].fill(value as u8),
            2 => blocks.truncate(at),
            3 => drop(blocks.splice(at..at, vec![value as u8; length])),
            4 => drop(blocks.drain(at..end)),
            5 => {
                let from = usize::from(value) % (blocks.len() + 1);
                let taken = blocks[from..].iter().take(length).copied().collect::<Vec<_>>();
                let end = blocks.len().min(at + taken.len());
                blocks[at..end].copy_from_slice(&taken[..end - at]);
            }
            // As a dictionary's or a segment's blocks that were swapped.
            _ => blocks.rotate_left(at - at % 8),
        }
        if blocks.len() > 3 * whole.len() {
            break;
        }
    }
    [header, &blocks].concat()
}

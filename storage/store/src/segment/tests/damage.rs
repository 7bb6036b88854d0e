//! Damage against torn tail: what is wrong is told apart, and everything around it is read.
//! Never asks which bytes are wrong, only that no wrong entry comes out.

use super::{
    BUCKET, CLUSTER, Entry, NAME, Seen, Written, append, append_random, arrival, blocks_of, body,
    dictionaries, entries_of, key, noise, open, scan, writer, writer_under,
};
use crate::disk::{Disk, MemoryDisk};
use crate::segment::format::BlockHeader;
use crate::segment::{Segment, SegmentName};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use quar_base::rng::Rng;

/// A segment of a few appends, and where each of its blocks begins; the last is the end.
struct Sample {
    disk: MemoryDisk,
    bytes: Vec<u8>,
    written: Vec<Written>,
    starts: Vec<usize>,
}

impl Sample {
    fn new(seed: u8) -> Self {
        let disk = MemoryDisk::new();
        let rng = &mut Rng::from_seed([seed; 32]);
        let mut writer = writer(&disk, rng);
        let written = (1..=4)
            .map(|commit| {
                let records = vec![arrival(rng, 40), arrival(rng, 9)];
                let bodies = vec![body(rng, 60), body(rng, 31)];
                append(&mut writer, commit, records, bodies)
            })
            .collect();
        drop(writer);
        let bytes = disk.read(&NAME.path()).unwrap().unwrap();
        let mut starts: Vec<usize> = scan(&open(&disk))
            .iter()
            .map(|one| match one {
                Seen::Entries(offset, ..) | Seen::Bodies(offset) => *offset as usize,
                other => panic!("{other:?}"),
            })
            .collect();
        starts.push(bytes.len());
        Self { disk, bytes, written, starts }
    }

    /// What a scan finds after a change of the bytes.
    fn scan_with(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Seen> {
        self.disk.damage(&NAME.path(), |bytes| {
            bytes.clone_from(&self.bytes);
            change(bytes);
        });
        scan(&open(&self.disk))
    }

    /// What a scan of the undamaged file finds in its first `count` blocks.
    fn whole(&self) -> Vec<Seen> {
        self.scan_with(|_| {})
    }

    fn blocks(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of a block that count: what aligns the next one does not.
    fn length_of(&self, block: usize) -> usize {
        let at = self.starts[block];
        let sealed = u32::from_le_bytes(self.bytes[at + 8..at + 12].try_into().unwrap());
        48 + sealed as usize
    }
}

#[test]
fn a_file_cut_anywhere_in_its_last_block_is_a_torn_tail_and_the_rest_is_read() {
    let sample = Sample::new(1);
    let whole = sample.whole();
    let last = sample.blocks() - 1;
    let start = sample.starts[last];
    for cut in start + 1..sample.bytes.len() {
        let seen = sample.scan_with(|bytes| bytes.truncate(cut));
        if cut < start + sample.length_of(last) {
            assert_eq!(seen[..last], whole[..last], "cut at {cut}");
            assert_eq!(seen[last..], [Seen::TornTail], "cut at {cut}");
        } else {
            assert_eq!(seen, whole, "cut at {cut}");
        }
    }
    assert_eq!(sample.scan_with(|bytes| bytes.truncate(start)), whole[..last]);
}

#[test]
fn a_file_cut_anywhere_gives_the_blocks_before_the_cut() {
    let sample = Sample::new(2);
    let whole = sample.whole();
    for cut in 256..sample.bytes.len() {
        let seen = sample.scan_with(|bytes| bytes.truncate(cut));
        let before = (0..sample.blocks())
            .filter(|block| sample.starts[*block] + sample.length_of(*block) <= cut)
            .count();
        assert_eq!(seen[..before], whole[..before], "cut at {cut}");
        assert!(seen.len() <= before + 1, "cut at {cut}: {seen:?}");
        assert!(seen[before..].iter().all(|one| *one == Seen::TornTail));
    }
}

#[test]
fn every_flipped_byte_is_damage_or_a_torn_tail_and_all_other_blocks_are_read() {
    let sample = Sample::new(3);
    let whole = sample.whole();
    let rng = &mut Rng::from_seed([9; 32]);
    for at in 256..sample.bytes.len() {
        let flip = 1 + rng.below(255) as u8;
        let seen = sample.scan_with(|bytes| bytes[at] ^= flip);
        let block = sample.starts.partition_point(|start| *start <= at) - 1;
        let [from, to] = [block, block + 1].map(|block| sample.starts[block]);
        let mut expected = whole.clone();
        if at >= from + sample.length_of(block) {
            // Bytes that align the next block mean nothing.
        } else if block + 1 == sample.blocks() {
            expected[block] = Seen::TornTail;
        } else {
            expected[block] = Seen::Damaged(from as u64, to as u64);
        }
        assert_eq!(seen, expected, "byte {at} ^ {flip:#04x} in block {block}");
    }
}

#[test]
fn two_damaged_neighbours_and_a_torn_tail_are_all_told() {
    let sample = Sample::new(4);
    let whole = sample.whole();
    let [two, three, four, last] = [2, 3, 4, sample.blocks() - 1].map(|block| sample.starts[block]);
    let seen = sample.scan_with(|bytes| {
        // A header, and the payload behind the next: its header is still found.
        bytes[two] ^= 1;
        bytes[three + 60] ^= 1;
        bytes.truncate(last + 20);
    });
    let mut expected = whole[..2].to_vec();
    expected.push(Seen::Damaged(two as u64, three as u64));
    expected.push(Seen::Damaged(three as u64, four as u64));
    expected.extend_from_slice(&whole[4..sample.blocks() - 1]);
    expected.push(Seen::TornTail);
    assert_eq!(seen, expected);
}

#[test]
fn swapped_blocks_are_refused() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([5; 32]);
    let mut writer = writer(&disk, rng);
    let written: Vec<_> = (1..=3)
        .map(|commit| append(&mut writer, commit, vec![arrival(rng, 100)], Vec::new()))
        .collect();
    let [one, two, three] = [0, 1, 2].map(|at: usize| written[at].blocks[0].0 as usize);
    assert_eq!(two - one, three - two);
    disk.damage(&NAME.path(), |bytes| {
        let (left, right) = bytes[one..three].split_at_mut(two - one);
        left.swap_with_slice(right);
    });
    let seen = scan(&open(&disk));
    assert_eq!(seen[0], Seen::Damaged(one as u64, three as u64));
    assert_eq!(entries_of(&seen), blocks_of(&written[2..]));
}

#[test]
fn a_block_moved_with_a_header_made_to_fit_is_refused() {
    let sample = Sample::new(6);
    let salt: [u8; 16] = sample.bytes[48..64].try_into().unwrap();
    // The salt stands in the open, so anybody can make a header that checks out.
    for (from, to) in [(1, 3), (3, 1), (1, 7), (7, 5)] {
        let [source, target] = [from, to].map(|block| sample.starts[block]);
        let length = sample.length_of(from);
        let mut header =
            BlockHeader::decode(&sample.bytes[source..], source as u64, &salt).unwrap();
        header.offset = target as u64;
        let seen = sample.scan_with(|bytes| {
            let end = (target + length).max(bytes.len());
            bytes.resize(end, 0);
            bytes.copy_within(source + 48..source + length, target + 48);
            bytes[target..target + 48].copy_from_slice(&header.encode(&salt));
        });
        check_nothing_foreign(&seen, &sample.written);
        let offsets: Vec<u32> = entries_of(&seen).iter().map(|(offset, ..)| *offset).collect();
        assert!(!offsets.contains(&(target as u32)), "{from} to {to}");
    }
}

#[test]
fn a_block_of_another_segment_is_refused_at_the_same_offset() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([7; 32]);
    let records = [arrival(rng, 100), arrival(rng, 100)];
    let name = SegmentName { bucket: BUCKET, number: 4 };
    let mut one = writer(&disk, rng);
    let mut other = writer_under(&disk, name, &key(1), rng);
    append(&mut one, 1, records[..1].to_vec(), Vec::new());
    append(&mut other, 1, records[1..].to_vec(), Vec::new());
    let foreign = disk.read(&name.path()).unwrap().unwrap();
    disk.damage(&NAME.path(), |bytes| {
        assert_eq!(bytes.len(), foreign.len());
        bytes[256..].copy_from_slice(&foreign[256..]);
    });
    assert_eq!(scan(&open(&disk)), [Seen::TornTail]);
    // And with a header made to fit: the key is another.
    let salt_at = |bytes: &[u8]| -> [u8; 16] { bytes[48..64].try_into().unwrap() };
    let header = BlockHeader::decode(&foreign[256..], 256, &salt_at(&foreign)).unwrap();
    disk.damage(&NAME.path(), |bytes| {
        let salt = salt_at(bytes);
        bytes[256..304].copy_from_slice(&header.encode(&salt));
    });
    assert_eq!(scan(&open(&disk)), [Seen::TornTail]);
}

#[test]
fn a_header_that_promises_more_than_the_file_holds_is_refused_without_reading_it() {
    let sample = Sample::new(8);
    let salt: [u8; 16] = sample.bytes[48..64].try_into().unwrap();
    let last = sample.starts[sample.blocks() - 1];
    let mut header = BlockHeader::decode(&sample.bytes[last..], last as u64, &salt).unwrap();
    header.sealed_bytes = 60 << 20;
    let seen = sample.scan_with(|bytes| {
        bytes[last..last + 48].copy_from_slice(&header.encode(&salt));
    });
    assert_eq!(seen.last(), Some(&Seen::TornTail));
    assert_eq!(seen.len(), sample.blocks());
}

/// Every entries block that was found is one that was written, at its place.
fn check_nothing_foreign(seen: &[Seen], written: &[Written]) {
    let known = blocks_of(written);
    for block in entries_of(seen) {
        assert!(known.contains(&block), "{block:?} was never written");
    }
}

/// Bodies that a damaged segment still gives are the ones that were written, or fail their id.
fn check_bodies(segment: &Segment, written: &[Written]) {
    for one in written {
        let entries = one.blocks.iter().flat_map(|(_, entries)| entries);
        let places = entries.filter_map(|entry| match entry {
            Entry::Body(body) => Some(body),
            Entry::Record(_) => None,
        });
        for (place, body) in places.zip(&one.bodies) {
            if let Ok(read) = segment.body(place) {
                assert_eq!(read, *body);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_damage_gives_a_wrong_entry_or_hides_a_whole_block(
        seed: [u8; 32],
        appends in 1u64..8,
        kind in 0u8..6,
    ) {
        let disk = MemoryDisk::new();
        let rng = &mut Rng::from_seed(seed);
        let mut writer = writer(&disk, rng);
        let written: Vec<_> = (1..=appends).map(|n| append_random(&mut writer, n, rng)).collect();
        let whole = scan(&open(&disk));
        let length = disk.read(&NAME.path()).unwrap().unwrap().len();
        let at = 256 + rng.below((length - 256 + 1) as u64) as usize;
        let end = (at + rng.below(3000) as usize).min(length);
        let garbage_bytes = rng.below(5000) as usize;
        let garbage = noise(rng, garbage_bytes);
        disk.damage(&NAME.path(), |bytes| match kind {
            0 => bytes[at..end].fill(0),
            1 => bytes[at..end].fill(0xff),
            2 => bytes.truncate(at),
            3 => bytes.extend(garbage),
            4 => {
                let count = garbage.len().min(end - at);
                bytes[at..at + count].copy_from_slice(&garbage[..count]);
            }
            _ => bytes.extend(vec![0; garbage.len()]),
        });
        let segment = Segment::open(&disk, NAME, CLUSTER, &[key(1)], &dictionaries()).unwrap();
        let seen = scan(&segment);
        check_nothing_foreign(&seen, &written);
        check_bodies(&segment, &written);
        // A tail that was never written or never finished is no damage.
        if matches!(kind, 2 | 3 | 5) {
            prop_assert!(!seen.iter().any(|one| matches!(one, Seen::Damaged(..))), "{seen:?}");
        }
        // What lies outside of the changed bytes is found.
        let (from, to) = match kind {
            2 => (at, length),
            3 | 5 => (length, length),
            _ => (at, end),
        };
        for pair in whole.windows(2) {
            let place = |one: &Seen| match one {
                Seen::Entries(offset, ..) | Seen::Bodies(offset) => *offset as usize,
                _ => length,
            };
            let (start, next) = (place(&pair[0]), place(&pair[1]));
            if next <= from || start >= to {
                prop_assert!(seen.contains(&pair[0]), "block at {start} is not found: {seen:?}");
            }
        }
        // Every damaged place lies between two whole blocks.
        for one in &seen {
            if let Seen::Damaged(from, to) = one {
                prop_assert!(from < to && *to < length as u64);
            }
        }
        prop_assert_eq!(seen.iter().filter(|one| **one == Seen::TornTail).count() <= 1, true);
    }
}

//! Dictionaries in a segment: when it takes one, and what is left when a copy is damaged.

use super::{
    NAME, action, append as append_all, blocks_of, dictionaries, entries_of, id_key, noise, open,
    scan, writer,
};
use crate::codec::CodedBody;
use crate::dictionary::{Dictionaries, Dictionary};
use crate::disk::{Disk, MemoryDisk};
use crate::segment::tests::Seen;
use crate::segment::writer::DICTIONARY_AFTER_BYTES;
use crate::segment::{BlockError, BodyEntry, Entry, SegmentWriter};
use quar_base::rng::Rng;
use std::sync::Arc;

const COMMON: &[u8] =
    b"X-Spam-Status: yes, score=9 required=5 tests=BAYES_99\r\nBuy now, dear friend\r\n";

fn dictionary(known: &Dictionaries, text: &[u8]) -> Arc<Dictionary> {
    let bytes: Arc<[u8]> = text.into();
    known.take(id_key().digest("dictionary", &bytes), 1, &bytes).unwrap()
}

fn coded(number: u32, dictionary: &Arc<Dictionary>) -> (Vec<u8>, CodedBody) {
    let body = [COMMON, &number.to_le_bytes()].concat();
    let coded = CodedBody::encode(&body, Some(dictionary.clone()), &id_key()).unwrap();
    assert!(coded.dictionary.is_some());
    (body, coded)
}

fn append(writer: &mut SegmentWriter, body: &CodedBody) -> BodyEntry {
    let blocks = writer.append(1, &[], &[body]).unwrap();
    match blocks[0].entries[0] {
        Entry::Body(place) => place,
        Entry::Record(_) => panic!("a body was appended"),
    }
}

/// Fills a segment until it may take a dictionary.
fn fill(writer: &mut SegmentWriter, rng: &mut Rng) {
    let filler = CodedBody::encode(&noise(rng, DICTIONARY_AFTER_BYTES), None, &id_key()).unwrap();
    append(writer, &filler);
}

/// Where the second copy of a dictionary begins: what lies between is a block too.
fn second_copy(disk: &MemoryDisk, first: usize) -> usize {
    let bytes = disk.read(&NAME.path()).unwrap().unwrap();
    let mut places = (first + 8..bytes.len()).step_by(8);
    places.by_ref().filter(|at| bytes[*at..].starts_with(b"QBLK")).nth(1).unwrap()
}

#[test]
fn a_small_segment_takes_no_dictionary_and_codes_without() {
    let (disk, rng) = (MemoryDisk::new(), &mut Rng::from_seed([1; 32]));
    let (body, coded) = coded(1, &dictionary(&dictionaries(), COMMON));
    let place = append(&mut writer(&disk, rng), &coded);
    assert_eq!(place.dictionary, 0);
    let read = open(&disk).body(&place).unwrap();
    assert_eq!(read.decode(&id_key()), Ok(body));
}

#[test]
fn a_larger_segment_takes_each_dictionary_once_and_spaced_out() {
    let (disk, rng) = (MemoryDisk::new(), &mut Rng::from_seed([2; 32]));
    let mut writer = writer(&disk, rng);
    let known = dictionaries();
    let (one, two) = (dictionary(&known, COMMON), dictionary(&known, &COMMON[20..]));
    fill(&mut writer, rng);
    let bodies = [coded(1, &one), coded(2, &two), coded(3, &one)];
    let mut places: Vec<_> = bodies.iter().map(|(_, body)| append(&mut writer, body)).collect();
    assert_eq!(places[0].dictionary, places[2].dictionary);
    assert_eq!(places[1].dictionary, 0, "the second one must wait for as many bytes again");
    fill(&mut writer, rng);
    places.push(append(&mut writer, &bodies[1].1));
    assert_ne!(places[3].dictionary, places[0].dictionary);
    let segment = open(&disk);
    for (place, (body, _)) in places.iter().zip(bodies.iter().chain([&bodies[1]])) {
        assert_eq!(segment.body(place).unwrap().decode(&id_key()).as_ref(), Ok(body));
    }
    let blocks = scan(&segment).into_iter().filter(|one| matches!(one, Seen::Dictionary(_)));
    assert_eq!(blocks.count(), 6, "two copies of each, and what lies between them");
}

#[test]
fn a_damaged_copy_is_replaced_by_the_other_and_two_are_damage() {
    let (disk, rng) = (MemoryDisk::new(), &mut Rng::from_seed([3; 32]));
    let mut writer = writer(&disk, rng);
    fill(&mut writer, rng);
    let (body, coded) = coded(1, &dictionary(&dictionaries(), COMMON));
    let place = append(&mut writer, &coded);
    let first = place.dictionary as usize;
    let path = NAME.path();
    // In the header and in the payload: a length that cannot be trusted, and a seal that fails.
    for at in [first + 9, first + 60] {
        let flip = |at: usize| disk.damage(&path, |bytes| bytes[at] ^= 1);
        flip(at);
        let read = open(&disk).body(&place).unwrap();
        assert_eq!(read.decode(&id_key()).as_ref(), Ok(&body));
        assert!(scan(&open(&disk)).contains(&Seen::Dictionary(place.dictionary)));
        let second = second_copy(&disk, first);
        flip(second + 60);
        let read = open(&disk).body(&place);
        assert!(matches!(read, Err(BlockError::Damaged)));
        assert!(!scan(&open(&disk)).contains(&Seen::Dictionary(place.dictionary)));
        flip(at);
        flip(second + 60);
    }
}

#[test]
fn later_records_are_coded_with_what_the_first_ones_held() {
    let (disk, rng) = (MemoryDisk::new(), &mut Rng::from_seed([4; 32]));
    let mut writer = writer(&disk, rng);
    let mut append = || append_all(&mut writer, 1, vec![action(rng), action(rng)], Vec::new());
    let written: Vec<_> = (0..400).map(|_| append()).collect();
    let seen = scan(&open(&disk));
    assert_eq!(entries_of(&seen), blocks_of(&written));
    let copies = seen.iter().filter_map(|one| match one {
        Seen::Dictionary(of) => Some(*of as usize),
        _ => None,
    });
    let copies: Vec<usize> = copies.collect();
    let [first, between, same] = copies[..] else { panic!("{copies:?}") };
    assert_eq!(first, same);
    assert!(second_copy(&disk, first) - between > 4096, "no page of a disk holds parts of both");
    let path = NAME.path();
    disk.damage(&path, |bytes| bytes[first + 60] ^= 1);
    assert_eq!(entries_of(&scan(&open(&disk))), blocks_of(&written));
    let last = written[399].blocks[0].0;
    assert_eq!(open(&disk).entries(last).unwrap(), written[399].blocks[0].1);

    // Without either copy what hangs on them is damage, and what came before is not.
    let second = second_copy(&disk, first);
    disk.damage(&path, |bytes| bytes[second + 60] ^= 1);
    assert!(matches!(open(&disk).entries(last), Err(BlockError::Damaged)));
    let seen = scan(&open(&disk));
    let whole = blocks_of(&written).into_iter().filter(|(offset, ..)| (*offset as usize) < first);
    assert_eq!(entries_of(&seen), whole.collect::<Vec<_>>());
}

//! Segments: golden bytes, round trips, and headers that must be refused.
//! Never goes through the store: what is checked here is the file alone.

mod ahead;
mod damage;
mod headers;
mod shared;

use super::format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BlockHeader, BlockKind, Compression, HeaderError,
    KeySlot, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentRole,
};
use super::{
    BodyEntry, Entry, Found, Maker, OpenSegmentError, Segment, SegmentName, SegmentWriter,
};
use crate::codec::{Codec, CodedBody};
use crate::dictionary::Dictionaries;
use crate::disk::{Disk, MemoryDisk};
use crate::seal::{EncryptionKey, IdKey, KeyError, WRAPPED_BYTES};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use quar_base::class::Class;
use quar_base::ids::{BodyId, ClusterId, KeyId, MemberId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::limits::{MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::rng::Rng;
use quar_base::signing::Signature;
use quar_base::time::Day;
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId([9; 16]);
const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(20_780) };
const NAME: SegmentName = SegmentName { bucket: BUCKET, number: 3 };

fn key(epoch: u32) -> EncryptionKey {
    EncryptionKey::new(epoch, [epoch as u8 + 6; 32])
}

fn id_key() -> IdKey {
    IdKey::new([8; 32])
}

fn dictionaries() -> Arc<Dictionaries> {
    Arc::new(Dictionaries::new(id_key(), 1, 3))
}

fn writer_under(
    disk: &MemoryDisk,
    name: SegmentName,
    key: &EncryptionKey,
    rng: &mut Rng,
) -> SegmentWriter {
    let maker = Maker { cluster: CLUSTER, member: MemberId([1; 16]), key };
    SegmentWriter::create(disk, name, SegmentRole::Log, &maker, rng).unwrap()
}

fn writer(disk: &MemoryDisk, rng: &mut Rng) -> SegmentWriter {
    writer_under(disk, NAME, &key(1), rng)
}

fn open(disk: &MemoryDisk) -> Segment {
    Segment::open(disk, NAME, CLUSTER, &[key(1)], &dictionaries()).unwrap()
}

/// Noise, which zstd leaves as it is: golden bytes do not change with its version.
fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length.div_ceil(32)).flat_map(|_| rng.bytes::<32>()).take(length).collect()
}

fn arrival(rng: &mut Rng, payload_bytes: usize) -> Record {
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: BUCKET,
        second: rng.below(86_400) as u32,
        author: MemberId([1; 16]),
        action: None,
    };
    Record::unsigned(head, &noise(rng, payload_bytes)).unwrap()
}

fn action(rng: &mut Rng) -> Record {
    let head = Head {
        kind: Kind::DELETED,
        bucket: BUCKET,
        second: rng.below(200_000) as u32,
        author: MemberId([2; 16]),
        action: Some(ActionHead {
            key_id: KeyId([3; 8]),
            message: RecordKey { second: 7, id: RecordId(rng.bytes()) },
        }),
    };
    Record::signed(head, &noise(rng, 5), |_| Signature([4; 64])).unwrap()
}

/// A body of noise or, now and then, of text that becomes shorter.
fn body(rng: &mut Rng, length: usize) -> CodedBody {
    let plain = if rng.below(3) == 0 {
        b"X-Spam: yes\r\n".repeat(length / 13 + 1)
    } else {
        noise(rng, length)
    };
    CodedBody::encode(&plain, None, &id_key()).unwrap()
}

/// What one append wrote, as a scan must give it back.
struct Written {
    commit: u64,
    records: Vec<Record>,
    bodies: Vec<CodedBody>,
    blocks: Vec<(u32, Vec<Entry>)>,
}

fn append(
    writer: &mut SegmentWriter,
    commit: u64,
    records: Vec<Record>,
    bodies: Vec<CodedBody>,
) -> Written {
    let blocks = {
        let records: Vec<_> = records.iter().collect();
        let bodies: Vec<_> = bodies.iter().collect();
        writer.append(commit, &records, &bodies).unwrap()
    };
    writer.sync().unwrap();
    let blocks = blocks.into_iter().map(|b| (b.offset, b.entries)).collect();
    Written { commit, records, bodies, blocks }
}

fn append_random(writer: &mut SegmentWriter, commit: u64, rng: &mut Rng) -> Written {
    let mut records = Vec::new();
    for _ in 0..rng.below(5) {
        let length = rng.below(400) as usize;
        records.push(arrival(rng, length));
    }
    for _ in 0..rng.below(3) {
        records.push(action(rng));
    }
    let mut bodies = Vec::new();
    for _ in 0..rng.below(4) {
        // Now and then more than fits a bodies block.
        let bound = if rng.below(10) == 0 { 200_000 } else { 900 };
        let length = rng.below(bound) as usize;
        bodies.push(body(rng, length));
    }
    append(writer, commit, records, bodies)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Entries(u32, u64, Vec<Entry>),
    Bodies(u32),
    Closing,
    Dictionary(u32),
    Damaged(u64, u64),
    TornTail,
    Unused(u64),
}

fn scan_from(segment: &Segment, start: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    segment
        .scan(start, &mut |found| {
            seen.push(match found {
                Found::Entries { offset, commit, entries, .. } => {
                    Seen::Entries(offset, commit, entries)
                }
                Found::Bodies { offset, .. } => Seen::Bodies(offset),
                Found::Closing => Seen::Closing,
                Found::Dictionary { of } => Seen::Dictionary(of),
                Found::Damaged { from, to } => Seen::Damaged(from, to),
                Found::TornTail => Seen::TornTail,
                Found::Unused { from } => Seen::Unused(from),
                Found::Group { .. } | Found::Directory => panic!("a block of a pack"),
            });
            Ok(())
        })
        .unwrap();
    seen
}

fn scan(segment: &Segment) -> Vec<Seen> {
    scan_from(segment, Segment::FIRST_BLOCK)
}

/// Entries blocks of a scan, as `Written::blocks` has them.
fn entries_of(seen: &[Seen]) -> Vec<(u32, u64, Vec<Entry>)> {
    let entries = seen.iter().filter_map(|one| match one {
        Seen::Entries(offset, commit, entries) => Some((*offset, *commit, entries.clone())),
        _ => None,
    });
    entries.collect()
}

fn blocks_of(written: &[Written]) -> Vec<(u32, u64, Vec<Entry>)> {
    let each = |one: &Written| {
        let commit = one.commit;
        let blocks = one.blocks.clone().into_iter();
        blocks.map(move |(offset, entries)| (offset, commit, entries))
    };
    written.iter().flat_map(each).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes_of_a_segment_header() {
    let mut slot = KeySlot { epoch: 0x0102_0304, wrapped: [0xaa; WRAPPED_BYTES] };
    slot.wrapped[0] = 0xab;
    let header = SegmentHeader {
        cluster: ClusterId([0xc1; 16]),
        member: MemberId([0xd2; 16]),
        bucket: BUCKET,
        number: 0x0a0b_0c0d,
        role: SegmentRole::Rewrite,
        salt: [0xe3; 16],
        slots: [None, Some(slot)],
    };
    let bytes = header.encode();
    assert_eq!(&bytes[..8], b"QUARSEG\n");
    // Version, class, role, day.
    assert_eq!(hex(&bytes[8..16]), "010001012c510000");
    assert_eq!(bytes[16..32], [0xc1; 16]);
    assert_eq!(bytes[32..48], [0xd2; 16]);
    assert_eq!(bytes[48..64], [0xe3; 16]);
    assert_eq!(bytes[64..128], [0; 64]);
    assert_eq!(hex(&bytes[128..134]), "04030201abaa");
    assert_eq!(hex(&bytes[192..196]), "0d0c0b0a");
    assert_eq!(bytes[196..224], [0; 28]);
    assert_eq!(bytes[224..], *blake3::hash(&bytes[..224]).as_bytes());
}

#[test]
fn golden_bytes_of_a_block_header() {
    let header = BlockHeader {
        kind: BlockKind::Bodies,
        compression: Compression::Zstd,
        items: 0x0102,
        sealed_bytes: 0x0304,
        plain_bytes: 0x0004_0506,
        offset: 0x0708_090a,
        commit: 0x0b0c,
    };
    assert_eq!(
        hex(&header.encode(&[5; 16])),
        "51424c4b020102010403000006050400\
         0a090807000000000c0b000000000000\
         00000000000000008ca993b78d128869"
    );
}

#[test]
fn golden_bytes_of_entries() {
    let entry = BodyEntry {
        id: BodyId([0xb1; 32]),
        raw_bytes: 0x0102,
        coded_bytes: 0x0304,
        block: 0x0506,
        start: 0x0708,
        dictionary: 0x090a,
        codec: Codec::Zstd,
    };
    let mut payload = Vec::new();
    Entry::Body(entry).encode(&mut payload);
    let digits = format!("02{}020100000403000006050000080700000a09000001", "b1".repeat(32));
    assert_eq!(hex(&payload), digits);
    let record = arrival(&mut Rng::from_seed([1; 32]), 3);
    let mut payload = Vec::new();
    Entry::Record(record.clone()).encode(&mut payload);
    assert_eq!(hex(&payload[..5]), "0128000000");
    assert_eq!(payload[5..], *record.bytes());
}

#[test]
fn golden_bytes_of_a_small_segment() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([2; 32]);
    let mut writer = writer(&disk, rng);
    let noise = noise(rng, 100);
    let plain = CodedBody {
        id: id_key().body_id(&noise),
        raw_bytes: 100,
        codec: Codec::Plain,
        dictionary: None,
        bytes: noise.into(),
    };
    let [one, two] = [arrival(rng, 64), action(rng)];
    append(&mut writer, 1, vec![one], vec![plain]);
    append(&mut writer, 2, vec![two], Vec::new());
    writer.close(3, &[1, 2]).unwrap();
    drop(writer);
    let bytes = disk.read(&NAME.path()).unwrap().unwrap();
    assert_eq!(bytes.len(), 872);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "f70924222ef088f738cf98813bec501eb8539a3d2c8fcc8cee15b2a0538a0640"
    );
}

#[test]
fn a_rewrite_says_what_it_replaces_once_it_is_closed() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([3; 32]);
    let mut writer = writer(&disk, rng);
    append_random(&mut writer, 0, rng);
    assert_eq!(open(&disk).replaced().unwrap(), None);
    writer.close(0, &[7, 4_000_000_000]).unwrap();
    drop(writer);
    assert_eq!(open(&disk).replaced().unwrap(), Some(vec![7, 4_000_000_000]));
    assert_eq!(scan(&open(&disk)).last(), Some(&Seen::Closing));
}

//! Segments: golden bytes, round trips, and headers that must be refused.
//! Never goes through the store: what is checked here is the file alone.

mod damage;

use super::format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BlockHeader, BlockKind, HeaderError, KeySlot,
    SEGMENT_HEADER_BYTES, SegmentHeader, SegmentRole,
};
use super::{
    BodyEntry, Entry, Found, Maker, OpenSegmentError, Segment, SegmentName, SegmentWriter,
};
use crate::codec::{Codec, CodedBody};
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

const CLUSTER: ClusterId = ClusterId([9; 16]);
const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(20_780) };
const NAME: SegmentName = SegmentName { bucket: BUCKET, number: 3 };

fn key(epoch: u32) -> EncryptionKey {
    EncryptionKey::new(epoch, [epoch as u8 + 6; 32])
}

fn id_key() -> IdKey {
    IdKey::new([8; 32])
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
    Segment::open(disk, NAME, CLUSTER, &[key(1)]).unwrap()
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
    CodedBody::encode(&plain, &id_key()).unwrap()
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
    Damaged(u64, u64),
    TornTail,
}

fn scan_from(segment: &Segment, start: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    segment
        .scan(start, &mut |found| {
            seen.push(match found {
                Found::Entries { offset, commit, entries, .. } => {
                    Seen::Entries(offset, commit, entries)
                }
                Found::Bodies { offset } => Seen::Bodies(offset),
                Found::Closing => Seen::Closing,
                Found::Damaged { from, to } => Seen::Damaged(from, to),
                Found::TornTail => Seen::TornTail,
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
        is_compressed: true,
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
        codec: Codec::Zstd,
    };
    let mut payload = Vec::new();
    Entry::Body(entry).encode(&mut payload);
    let digits = format!("02{}0201000004030000060500000807000001", "b1".repeat(32));
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
        bytes: noise.into(),
    };
    let [one, two] = [arrival(rng, 64), action(rng)];
    append(&mut writer, 1, vec![one], vec![plain]);
    append(&mut writer, 2, vec![two], Vec::new());
    writer.close(3, &[1, 2]).unwrap();
    let bytes = disk.read(&NAME.path()).unwrap().unwrap();
    assert_eq!(bytes.len(), 872);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "fba1a21123cff8ae3450a8875807aebb01e024d0e9488066897ca3874f31221f"
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
    assert_eq!(open(&disk).replaced().unwrap(), Some(vec![7, 4_000_000_000]));
    assert_eq!(scan(&open(&disk)).last(), Some(&Seen::Closing));
}

#[test]
fn a_header_that_does_not_fit_is_refused_by_its_cause() {
    let disk = MemoryDisk::new();
    writer(&disk, &mut Rng::from_seed([4; 32]));
    let open = |name, cluster, keys: &[EncryptionKey]| {
        Segment::open(&disk, name, cluster, keys).err().expect("it must be refused")
    };
    let stranger = ClusterId([1; 16]);
    assert!(matches!(open(NAME, stranger, &[key(1)]), OpenSegmentError::Cluster(CLUSTER)));
    let wrong = EncryptionKey::new(1, [1; 32]);
    assert!(matches!(open(NAME, CLUSTER, &[wrong]), OpenSegmentError::Key(KeyError::Wrong)));
    assert!(matches!(open(NAME, CLUSTER, &[key(2)]), OpenSegmentError::Key(KeyError::Epoch(1))));
    let moved = SegmentName { number: 4, ..NAME };
    let bytes = disk.read(&NAME.path()).unwrap().unwrap();
    let file = disk.create(&moved.path()).unwrap();
    file.write_at(&bytes, 0).unwrap();
    assert!(matches!(open(moved, CLUSTER, &[key(1)]), OpenSegmentError::Misplaced));
}

#[test]
fn a_header_of_a_later_version_a_damaged_and_an_unfinished_one_are_told_apart() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([5; 32]);
    let mut writer = writer(&disk, rng);
    append(&mut writer, 1, vec![arrival(rng, 9)], Vec::new());
    let good = disk.read(&NAME.path()).unwrap().unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        disk.damage(&NAME.path(), |bytes| {
            bytes.clone_from(&good);
            change(bytes);
        });
        match Segment::open(&disk, NAME, CLUSTER, &[key(1)]) {
            Err(OpenSegmentError::Header(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a damaged header was taken"),
        }
    };
    let later = |bytes: &mut Vec<u8>| {
        bytes[8] = 2;
        let check = blake3::hash(&bytes[..224]);
        bytes[224..256].copy_from_slice(check.as_bytes());
    };
    assert_eq!(refusal(&later), HeaderError::Version(2));
    for at in 0..SEGMENT_HEADER_BYTES {
        let error = refusal(&|bytes: &mut Vec<u8>| bytes[at] ^= 0x20);
        assert_eq!(error, HeaderError::Damaged, "byte {at}");
        let error = refusal(&|bytes: &mut Vec<u8>| bytes.truncate(at));
        assert_eq!(error, HeaderError::Unfinished, "cut at {at}");
        // A file that grew before its bytes came shows zeros.
        let error = refusal(&|bytes: &mut Vec<u8>| {
            bytes.truncate(SEGMENT_HEADER_BYTES);
            bytes[at..].fill(0);
        });
        assert_eq!(error, HeaderError::Unfinished, "zeros from {at}");
    }
}

#[test]
fn either_key_slot_opens_a_segment() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([6; 32]);
    let mut writer = writer(&disk, rng);
    let written = append_random(&mut writer, 1, rng);
    let wrapped = |header: &SegmentHeader| {
        let old = header.slots[0].unwrap();
        let plain = key(1).unwrap(&old.wrapped, &header.key_purpose()).unwrap();
        key(2).wrap(&plain, &header.key_purpose(), [7; 12])
    };
    disk.damage(&NAME.path(), |bytes| {
        let (head, _) = bytes.split_first_chunk_mut::<256>().unwrap();
        let mut header = SegmentHeader::decode(head).unwrap();
        header.slots[1] = Some(KeySlot { epoch: 2, wrapped: wrapped(&header) });
        *head = header.encode();
    });
    for keys in [vec![key(1)], vec![key(2)], vec![key(3), key(2)]] {
        let segment = Segment::open(&disk, NAME, CLUSTER, &keys).unwrap();
        assert_eq!(entries_of(&scan(&segment)), blocks_of(std::slice::from_ref(&written)));
    }
}

#[test]
fn a_body_that_fills_no_block_gets_one_of_its_own() {
    let disk = MemoryDisk::new();
    let rng = &mut Rng::from_seed([7; 32]);
    let mut writer = writer(&disk, rng);
    let bodies: Vec<_> = [10, 300_000, 10, 250_000, 20_000]
        .map(|length| CodedBody::encode(&noise(rng, length), &id_key()).unwrap())
        .into();
    let written = append(&mut writer, 1, Vec::new(), bodies);
    let blocks = scan(&open(&disk)).iter().filter(|one| matches!(one, Seen::Bodies(_))).count();
    assert_eq!(blocks, 4);
    check_bodies(&open(&disk), &written);
}

fn check_bodies(segment: &Segment, written: &Written) {
    let entries = written.blocks.iter().flat_map(|(_, entries)| entries);
    let places: Vec<BodyEntry> = entries
        .filter_map(|entry| match entry {
            Entry::Body(body) => Some(*body),
            Entry::Record(_) => None,
        })
        .collect();
    assert_eq!(places.len(), written.bodies.len());
    for (place, body) in places.iter().zip(&written.bodies) {
        assert_eq!(segment.body(place).unwrap(), *body);
    }
}

proptest! {
    #[test]
    fn what_was_appended_reads_back_by_scan_and_by_place(seed: [u8; 32], appends in 0u64..12) {
        let disk = MemoryDisk::new();
        let rng = &mut Rng::from_seed(seed);
        let mut writer = writer(&disk, rng);
        let written: Vec<_> = (1..=appends).map(|n| append_random(&mut writer, n, rng)).collect();
        let segment = open(&disk);
        let seen = scan(&segment);
        let is_whole = seen.iter().all(|one| matches!(one, Seen::Entries(..) | Seen::Bodies(_)));
        prop_assert!(is_whole, "{seen:?}");
        prop_assert_eq!(entries_of(&seen), blocks_of(&written));
        for one in &written {
            check_bodies(&segment, one);
            let mut records = Vec::new();
            for (offset, entries) in &one.blocks {
                prop_assert_eq!(&segment.entries(*offset).unwrap(), entries);
                records.extend(entries.iter().cloned().filter_map(Entry::into_record));
            }
            prop_assert_eq!(&records, &one.records);
        }
        // From any block on, a scan gives the rest.
        let whole = entries_of(&seen);
        for (at, (offset, ..)) in whole.iter().enumerate() {
            prop_assert_eq!(&entries_of(&scan_from(&segment, (*offset).into()))[..], &whole[at..]);
        }
    }

    #[test]
    fn segment_headers_decode_to_what_was_encoded(
        ids: [[u8; 16]; 3],
        class: u8,
        numbers: [u32; 2],
        is_rewrite: bool,
        epochs: [u32; 2],
        seed: [u8; 32],
    ) {
        let rng = &mut Rng::from_seed(seed);
        let slots = epochs.map(|epoch| {
            let wrapped = rng.bytes();
            (epoch != 0).then_some(KeySlot { epoch, wrapped })
        });
        let header = SegmentHeader {
            cluster: ClusterId(ids[0]),
            member: MemberId(ids[1]),
            bucket: Bucket { class: Class(class), day: Day(numbers[0]) },
            number: numbers[1],
            role: if is_rewrite { SegmentRole::Rewrite } else { SegmentRole::Log },
            salt: ids[2],
            slots,
        };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn block_headers_decode_to_what_was_encoded_at_their_own_offset_and_salt_only(
        kind in 1u8..=3,
        is_compressed: bool,
        items: u16,
        sealed_bytes in 0..=BLOCK_PAYLOAD_BYTES_MAX as u32,
        plain_bytes in 0..=BLOCK_PAYLOAD_BYTES_MAX as u32,
        offset: u64,
        commit: u64,
        salts: [[u8; 16]; 2],
    ) {
        let kind = [BlockKind::Records, BlockKind::Bodies, BlockKind::Closing][usize::from(kind) - 1];
        let header =
            BlockHeader { kind, is_compressed, items, sealed_bytes, plain_bytes, offset, commit };
        let bytes = header.encode(&salts[0]);
        prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salts[0]), Some(header));
        prop_assert_eq!(BlockHeader::decode(&bytes, offset ^ 8, &salts[0]), None);
        prop_assert_eq!(BlockHeader::decode(&bytes[1..], offset, &salts[0]), None);
        if salts[0] != salts[1] {
            prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salts[1]), None);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, offset: u64, salt: [u8; 16], seed: [u8; 32]) {
        prop_assert_eq!(BlockHeader::decode(&bytes, offset, &salt), None);
        let _ = Entry::decode_all(&bytes);
        let mut head: [u8; SEGMENT_HEADER_BYTES] = Rng::from_seed(seed).bytes();
        prop_assert_eq!(SegmentHeader::decode(&head), Err(HeaderError::Damaged));
        // Behind a right magic and check too, which is where the fields are read.
        head[..8].copy_from_slice(b"QUARSEG\n");
        let check = blake3::hash(&head[..224]);
        head[224..].copy_from_slice(check.as_bytes());
        let _ = SegmentHeader::decode(&head);
        head[8..10].copy_from_slice(&[1, 0]);
        let check = blake3::hash(&head[..224]);
        head[224..].copy_from_slice(check.as_bytes());
        let _ = SegmentHeader::decode(&head);
    }

    #[test]
    fn a_block_header_with_a_right_check_is_still_bounded(seed: [u8; 32], kind in 0u8..5, flag in 0u8..3) {
        let mut bytes: [u8; BLOCK_HEADER_BYTES] = Rng::from_seed(seed).bytes();
        bytes[..4].copy_from_slice(b"QBLK");
        bytes[4] = kind;
        bytes[5] = flag;
        bytes[16..24].copy_from_slice(&256u64.to_le_bytes());
        let salt = [1; 16];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&salt).update(&bytes[..40]);
        bytes[40..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        if let Some(header) = BlockHeader::decode(&bytes, 256, &salt) {
            prop_assert!(header.sealed_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
            prop_assert!(header.plain_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
            prop_assert!((1..=3).contains(&kind) && flag < 2);
        }
    }

    #[test]
    fn changed_entries_never_panic_and_never_pass_a_limit(
        seed: [u8; 32],
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cut: usize,
    ) {
        let rng = &mut Rng::from_seed(seed);
        let entry = BodyEntry {
            id: BodyId(rng.bytes()),
            raw_bytes: 5,
            coded_bytes: 6,
            block: 7,
            start: 8,
            codec: Codec::Plain,
        };
        let mut payload = Vec::new();
        for entry in [Entry::Body(entry), Entry::Record(arrival(rng, 20)), Entry::Record(action(rng))] {
            entry.encode(&mut payload);
        }
        prop_assert_eq!(Entry::decode_all(&payload).unwrap().len(), 3);
        let whole = payload.clone();
        for (at, value) in changes {
            let at = at % payload.len();
            payload[at] = value;
        }
        for entry in Entry::decode_all(&payload).into_iter().flatten() {
            match entry {
                Entry::Body(body) => prop_assert!(body.coded_bytes as usize <= MESSAGE_BYTES_MAX),
                Entry::Record(record) => prop_assert!(record.bytes().len() <= RECORD_BYTES_MAX),
            }
        }
        let cut = cut % whole.len();
        let ends = [0, 50, 50 + 5 + 57];
        prop_assert_eq!(Entry::decode_all(&whole[..cut]).is_ok(), ends.contains(&cut));
    }
}

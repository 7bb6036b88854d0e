//! One frame of each kind, byte by byte: docs/formats.md, "Frames".

use super::super::harness::{action, record};
use super::Frame;
use crate::frame::{
    AckFrame, BucketsFrame, FloorsFrame, FreshFrame, Hello, Lot, PartFrame, TakeFrame, Told,
    WantedKeys, name_of, whole_name_of,
};
use crate::{CodedBody, Dictionary, Item, RefusalReason};
use quar_base::class::Class;
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::Day;
use quar_merkle::Prefix;

/// Day 20,000 is the varint `a09c01`.
const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(20_000) };

fn prefix(nibbles: &[u8]) -> Prefix {
    nibbles.iter().fold(Prefix::ROOT, |prefix, nibble| prefix.child(*nibble).unwrap())
}

fn coded(id: [u8; 32]) -> CodedBody {
    CodedBody {
        id: BodyId(id),
        raw_bytes: 300,
        codec: 1,
        dictionary: None,
        bytes: b"zz"[..].into(),
    }
}

fn hello() -> Frame {
    Frame::Hello(Hello {
        clock_ms: 0x0102_0304_0506,
        cutoff_steps: 7,
        current_root: [0xaa; 16],
        previous_root: [0xbb; 16],
        digest: [0xcc; 8],
        records: 1000,
        wanted: 2,
    })
}

fn flight() -> Frame {
    Frame::Flight(vec![
        Told::Days((Class::VIRUS, 657), vec![(BUCKET, 0x0102_0304)]),
        Told::Empty(BUCKET, prefix(&[])),
        Told::Leaf(BUCKET, prefix(&[0xa]), vec![0x1111_1111, 0x2222_2222]),
        Told::Page(
            BUCKET,
            prefix(&[0xa]),
            prefix(&[0xa, 0xb]),
            vec![(0, 0x3333_3333), (15, 0x4444_4444)],
        ),
    ])
}

fn batch() -> Frame {
    let arrival = record(Class::SPAM, 20_000, 5, b"arrival");
    let with_body = Some(coded([0; 32]));
    Frame::Batch(
        129,
        vec![
            Item::Record(action(9, b"deleted"), None),
            Item::Record(arrival, with_body),
            Item::Body(BUCKET, coded([0x55; 32])),
        ],
    )
}

fn ack() -> Frame {
    let refused = vec![(0, RefusalReason::Full), (258, RefusalReason::Other)];
    Frame::Ack(AckFrame { sequence: 129, refused })
}

fn goldens() -> Vec<(Frame, u8, String)> {
    let buckets = BucketsFrame {
        cutoff_steps: 7,
        round: 3,
        first_single: Day(19_969),
        days: vec![(BUCKET, 0x0102_0304)],
        months: vec![((Class::VIRUS, 655), 0x0506_0708)],
    };
    let floors = vec![(Class::SPAM, Day(19_970)), (Class::VIRUS, Day(5))];
    let shorts = vec![0x0102_0304_0506_0708, 1];
    let wanted = vec![WantedKeys {
        bucket: BUCKET,
        prefix: prefix(&[0xa, 0xb, 0xc]),
        shorts: vec![0x1111_1111],
        has_others: true,
    }];
    let bodies = vec![(BUCKET, BodyId([0x55; 32]))];
    let span = Lot::Span(BUCKET, 300, 500, 300);
    let key = RecordKey { second: 0x0102_0304, id: RecordId([0x66; 32]) };
    let keys = Lot::Names(BUCKET, vec![name_of(&key)]);
    let whole = Lot::Names(BUCKET, vec![whole_name_of(&key)]);
    let frames = vec![
        hello(),
        Frame::Floors(FloorsFrame { roster_epoch: 300, floors }),
        Frame::Roster("signed".into()),
        Frame::Buckets(buckets),
        flight(),
        Frame::WantKeys(wanted),
        Frame::Fresh(FreshFrame { cutoff_steps: 7, shorts }),
        batch(),
        ack(),
        Frame::WantBodies(bodies.clone()),
        Frame::BodyPart(PartFrame { sequence: 129, left: 4, bytes: b"last".to_vec() }),
        Frame::NotHere(bodies.clone()),
        Frame::Dictionary(Dictionary { id: [0xd1; 16], generation: 2, bytes: b"line"[..].into() }),
        Frame::Offer(vec![span, keys, whole.clone()]),
        Frame::Take(TakeFrame { number: 129, lot: whole }),
        Frame::LotSent(129),
        Frame::Leave(129),
        Frame::Hurry(bodies),
    ];
    assert_eq!(frames.len(), HEX.len());
    frames
        .into_iter()
        .zip(HEX)
        .map(|(frame, (kind, parts))| (frame, *kind, parts.concat()))
        .collect()
}

/// Kind and payload, field by field.
const HEX: &[(u8, &[&str])] = &[
    (
        1,
        &[
            "04",
            "060504030201",
            "07000000",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "cccccccccccccccc",
            "e803000000000000",
            "02000000",
        ],
    ),
    (2, &["ac02", "02", "01829c01", "0305"]),
    (3, &["06", "7369676e6564"]),
    (4, &["07000000", "03000000", "819c01", "01", "0001a09c0104030201", "01", "038f0508070605"]),
    (
        5,
        &[
            "01000000",
            "01",
            "04",
            "00",
            "039105",
            "01",
            "0001a09c0104030201",
            "01",
            "0001a09c01",
            "00",
            "02",
            "01",
            "01a0",
            "02",
            "1111111122222222",
            "04",
            "01",
            "01a0",
            "02ab",
            "0180",
            "3333333344444444",
        ],
    ),
    (6, &["01", "0001a09c01", "03abc0", "01", "01", "11111111"]),
    (7, &["07000000", "02", "0807060504030201", "0100000000000000"]),
    (
        8,
        &[
            "8101",
            "03",
            "01",
            "9801",
            "01011000204e000009000000010101010101010101010101010101010100000000000000000000000003030303030303030303030303030303030303030303030303030303030303030700000064656c65746564000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000bbebf46",
            "02",
            "2c",
            "01010100204e0000050000000001010101010101010101010101010101070000006172726976616ceb9ddde2",
            "ac02",
            "01",
            "02",
            "7a7a",
            "03",
            "01a09c01",
            "5555555555555555555555555555555555555555555555555555555555555555",
            "ac02",
            "01",
            "02",
            "7a7a",
        ],
    ),
    (9, &["8101", "02", "000001", "020106"]),
    (10, &["01", "01a09c01", "5555555555555555555555555555555555555555555555555555555555555555"]),
    (11, &["8101", "04", "6c617374"]),
    (12, &["01", "01a09c01", "5555555555555555555555555555555555555555555555555555555555555555"]),
    (13, &["d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1", "02000000", "04", "6c696e65"]),
    (
        14,
        &[
            "03",
            "00",
            "0001a09c01",
            "ac02",
            "c801",
            "ac02",
            "01",
            "01",
            "01",
            "84868808",
            "66666666",
            "02",
            "01",
            "01",
            "84868808",
            "6666666666666666666666666666666666666666666666666666666666666666",
        ],
    ),
    (
        15,
        &[
            "8101",
            "02",
            "0001a09c01",
            "01",
            "84868808",
            "6666666666666666666666666666666666666666666666666666666666666666",
        ],
    ),
    (16, &["8101"]),
    (17, &["8101"]),
    (18, &["01", "01a09c01", "5555555555555555555555555555555555555555555555555555555555555555"]),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_kind_of_frame_has_the_bytes_of_the_formats() {
    for (frame, kind, expected) in goldens() {
        assert_eq!(frame.kind(), kind);
        assert_eq!(hex(&frame.encode()), expected, "kind {kind}");
        assert_eq!(Frame::decode(kind, &frame.encode()), Ok(frame), "kind {kind}");
        assert!(is_in_corpus(kind, &expected), "kind {kind}: the fuzz corpus has another frame");
    }
}

/// Whether the inputs that fuzzing begins with hold this payload, where they hold one of its kind.
fn is_in_corpus(kind: u8, expected: &str) -> bool {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/fuzz/corpus");
    let mut held = std::fs::read_dir(corpus).unwrap().filter_map(|target| {
        std::fs::read(target.unwrap().path().join(format!("golden-{kind}"))).ok()
    });
    held.all(|bytes| hex(&bytes) == expected)
}

//! The journal read back: whole, torn at every byte, damaged at every byte.
//! Never opens an index.

use super::{FILE, HEAD_BYTES, Journal, OpenError, head, read_frames};
use crate::codec::encode_write;
use crate::contract::{bucket, put};
use crate::{Tree, Write};
use std::fs;

fn frame(number: u8) -> (Write, Vec<u8>) {
    let write = put(Tree::Bucket(bucket(1)), &[number], &[number; 30]);
    let mut payload = Vec::new();
    encode_write(&write, &mut payload);
    (write, payload)
}

fn three_frames() -> (Vec<Write>, Vec<usize>, Vec<u8>) {
    let (mut writes, mut ends, mut bytes) = (Vec::new(), vec![0], Vec::new());
    for number in 1..=3 {
        let (write, payload) = frame(number);
        writes.push(write);
        bytes.extend(head(&payload));
        bytes.extend(payload);
        ends.push(bytes.len());
    }
    (writes, ends, bytes)
}

#[test]
fn a_frame_has_these_bytes() {
    let head = head(b"\x01\x00\x00");
    assert_eq!(head[..8], *b"\x03\0\0\0\0\0\0\0");
    assert_eq!(head[8..16], *b"\xe6\x83\x09\x33\x3b\xbf\xc2\xc7");
    assert_eq!(head[16..], *b"\x0c\x31\x27\x67\x18\x97\xa3\xd0");
}

#[test]
fn reads_back_what_was_appended_over_several_openings() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for number in 0..4 {
        let (mut journal, writes) = Journal::open(dir.path()).unwrap();
        assert_eq!(writes, expected);
        let (write, payload) = frame(number);
        journal.append(&payload).unwrap();
        expected.push(write);
    }
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.clear().unwrap();
    journal.append(&frame(9).1).unwrap();
    assert_eq!(Journal::open(dir.path()).unwrap().1, [frame(9).0]);
}

#[test]
fn a_torn_end_is_cut_off_and_written_over() {
    let (writes, ends, bytes) = three_frames();
    for length in 0..=bytes.len() {
        let whole = ends.iter().rposition(|end| *end <= length).unwrap();
        assert_eq!(
            read_frames(&bytes[..length]),
            Some((writes[..whole].to_vec(), ends[whole])),
            "{length} bytes"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), &bytes[..bytes.len() - 1]).unwrap();
    let (mut journal, found) = Journal::open(dir.path()).unwrap();
    assert_eq!(found, writes[..2]);
    journal.append(&frame(7).1).unwrap();
    let found = Journal::open(dir.path()).unwrap().1;
    assert_eq!(found, [writes[0].clone(), writes[1].clone(), frame(7).0]);
}

#[test]
fn room_that_was_never_written_is_a_torn_end() {
    let (writes, ends, bytes) = three_frames();
    for written in [0, ends[1], ends[3]] {
        let grown = [&bytes[..written], &[0; 5000]].concat();
        let whole = ends.iter().position(|end| *end == written).unwrap();
        assert_eq!(read_frames(&grown), Some((writes[..whole].to_vec(), written)));
    }
}

#[test]
fn a_flipped_bit_before_the_last_frame_is_damage() {
    let (writes, ends, bytes) = three_frames();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = read_frames(&flipped);
        if bit / 8 < ends[2] + HEAD_BYTES - 8 {
            assert_eq!(found, None, "bit {bit}");
        } else {
            assert_eq!(found, Some((writes[..2].to_vec(), ends[2])), "bit {bit}");
        }
    }
}

#[test]
fn an_index_that_lost_its_journal_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("db"), b"").unwrap();
    let error = Journal::open(dir.path()).expect_err("lost");
    assert!(matches!(error, OpenError::Damaged(_)), "{error:?}");
}

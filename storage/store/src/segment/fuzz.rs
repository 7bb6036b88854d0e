//! What must hold of any bytes that are handed in as a segment or as a part of one.
//! Never built into the product; segments lie on the memory disk, under keys that everybody knows.

mod damage;
mod forge;

pub(crate) use damage::segment_damage;
pub(crate) use forge::{Forge, Form, PLAIN, Piece, SHARED, ZSTD, put, role, segments};

use super::entries::Entry;
use super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_PAYLOAD_BYTES_MAX, BlockHeader,
    BlockKind, Compression, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentRole,
};
use super::{BlockError, Found, Segment, SegmentName};
use crate::fuzz::{BUCKET, Input, id_key};
use crate::pack::group_entries;
use quar_base::limits::MESSAGE_BYTES_MAX;

pub(super) const NAME: SegmentName = SegmentName { bucket: BUCKET, number: 1 };
/// Where a block header's check begins, and a segment header's.
const BLOCK_CHECK_AT: usize = BLOCK_HEADER_BYTES - 8;
const SEGMENT_CHECK_AT: usize = SEGMENT_HEADER_BYTES - 32;

/// A segment's header: the bytes as they are, and with the check that they should have.
pub(crate) fn segment_header(input: &[u8]) {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = input.len().min(bytes.len());
    bytes[..length].copy_from_slice(&input[..length]);
    check_segment_header(&bytes);
    let check = blake3::hash(&bytes[..SEGMENT_CHECK_AT]);
    bytes[SEGMENT_CHECK_AT..].copy_from_slice(check.as_bytes());
    check_segment_header(&bytes);
}

fn check_segment_header(bytes: &[u8; SEGMENT_HEADER_BYTES]) {
    let Ok(header) = SegmentHeader::decode(bytes) else { return };
    assert!(header.slots.iter().flatten().all(|slot| slot.epoch > 0));
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header.clone()));
    let name = SegmentName { bucket: header.bucket, number: header.number };
    let segments = segments(&[(name, bytes.to_vec())]);
    if let Ok(segment) = segments.open(name) {
        assert_eq!((segment.role(), segment.salt()), (header.role, header.short_salt()));
        assert!(!segment.key_epochs().is_empty());
    }
}

/// A block's header, at an offset of 8 bytes: as it is, and with the check that it should have.
pub(crate) fn block_header(input: &[u8]) {
    let Some((offset, input)) = input.split_first_chunk() else { return };
    let offset = u64::from_le_bytes(*offset);
    let salt = [3; 16];
    check_block_header(input, offset, &salt);
    if input.len() >= BLOCK_HEADER_BYTES {
        let mut bytes = input.to_vec();
        set_block_check(&mut bytes, &salt);
        check_block_header(&bytes, offset, &salt);
    }
}

/// Gives the header at the start of `bytes` the check that it should have.
fn set_block_check(bytes: &mut [u8], salt: &[u8; 16]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(&bytes[..BLOCK_CHECK_AT]);
    let check = hasher.finalize();
    bytes[BLOCK_CHECK_AT..BLOCK_HEADER_BYTES].copy_from_slice(&check.as_bytes()[..8]);
}

fn check_block_header(bytes: &[u8], offset: u64, salt: &[u8; 16]) {
    let Some(header) = BlockHeader::decode(bytes, offset, salt) else { return };
    assert_eq!(header.offset, offset);
    assert!(header.sealed_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
    assert!(header.plain_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX);
    assert!(header.compression != Compression::Shared || header.kind == BlockKind::Records);
    assert!(header.stride().is_multiple_of(BLOCK_ALIGNMENT));
    assert_eq!(BlockHeader::decode(&header.encode(salt), offset, salt), Some(header));
}

/// The entries of a records block: as they are, and with the records' checks that they should have.
pub(crate) fn entries(input: &[u8]) {
    check_entries(input);
    check_entries(&forge::with_record_checks(input.to_vec()));
}

fn check_entries(payload: &[u8]) {
    let Ok(entries) = Entry::decode_all(payload) else { return };
    let mut again = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut again));
    assert_eq!(again, payload, "entries have one form");
    for (entry, span) in entries.iter().zip(Entry::spans(payload)) {
        let bytes = &payload[span.expect("they were decoded")];
        assert_eq!(Entry::is_record(bytes), entry.body_id().is_none());
        assert_eq!(Entry::decode_one(bytes).as_ref(), Ok(entry));
        if let Entry::Body(body) = entry {
            assert!(body.raw_bytes as usize <= MESSAGE_BYTES_MAX);
            assert!(body.coded_bytes as usize <= MESSAGE_BYTES_MAX);
        }
    }
}

/// A group's payload, its number of bodies in the first two bytes.
pub(crate) fn group(input: &[u8]) {
    let Some((items, payload)) = input.split_first_chunk() else { return };
    let items = usize::from(u16::from_le_bytes(*items));
    let mut forge = Forge::new(NAME, SegmentRole::Pack);
    let offset = forge.push(BlockKind::Group, Compression::None, items as u16, payload);
    let (lengths, behind) = payload.split_at(payload.len().min(4 * items));
    let wanted = lengths.as_chunks::<4>().0.iter().map(|length| u32::from_le_bytes(*length));
    let is_whole =
        lengths.len() == 4 * items && wanted.map(u64::from).sum::<u64>() == behind.len() as u64;
    let segment = segments(&[(NAME, forge.bytes())]).open(NAME).expect("its header is whole");
    let mut groups = 0;
    let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
        let Found::Group { payload: opened, bodies, .. } = found else { return Ok(()) };
        groups += 1;
        assert_eq!((&opened[..], bodies.len()), (payload, items));
        let entries = group_entries(&id_key(), offset, &opened, &bodies);
        assert_eq!(entries.len(), items);
        for (entry, span) in entries.iter().zip(bodies) {
            let coded = segment.body(entry)?;
            assert_eq!(coded.decode(&id_key()).as_deref(), Ok(&opened[span]));
        }
        Ok(())
    });
    assert!(scanned.is_ok());
    assert_eq!(groups, usize::from(is_whole));
}

/// Any bytes behind a header that is whole. Where one says that a block begins, its header gets the
/// offset and the check that it should have.
pub(crate) fn segment_bytes(input: &[u8]) {
    let forge = Forge::new(NAME, SegmentRole::Log);
    let mut bytes = forge.bytes();
    bytes.extend_from_slice(input);
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(block) = bytes.get_mut(at..).filter(|rest| rest.len() >= BLOCK_HEADER_BYTES) {
        if block.starts_with(&BLOCK_MAGIC) {
            block[16..24].copy_from_slice(&(at as u64).to_le_bytes());
            set_block_check(block, forge.salt());
        }
        at += BLOCK_ALIGNMENT as usize;
    }
    read_through(&segments(&[(NAME, bytes)]).open(NAME).expect("its header is whole"));
}

/// Blocks that are sealed as they should be, whatever they hold.
pub(crate) fn segment_blocks(input: &[u8]) {
    let mut input = Input(input);
    let role = forge::role(input.u8());
    let mut forge = Forge::new(NAME, role);
    let mut pieces = Vec::new();
    while !input.is_empty() {
        pieces.push(forge.push_piece(&mut input));
    }
    let segment = segments(&[(NAME, forge.bytes())]).open(NAME).expect("its header is whole");
    let headers = segment.headers().expect("the memory disk does not fail");
    let offsets = pieces.iter().map(|piece| u64::from(piece.offset));
    assert!(headers.iter().map(|header| header.offset).eq(offsets));
    for Piece { offset, kind, plain } in &pieces {
        if let Some(plain) = plain {
            assert_eq!(segment.block(*offset, *kind).ok().as_ref(), Some(plain));
        }
    }
    read_through(&segment);
}

/// Everything that can be asked of a segment; the disk does not fail, so damage is all that there is.
pub(super) fn read_through(segment: &Segment) {
    const NO_FAILURE: &str = "the memory disk does not fail";
    let length = segment.length().expect(NO_FAILURE);
    let mut reached = Segment::FIRST_BLOCK;
    let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
        reached = check_found(segment, found, reached, length)?;
        Ok(())
    });
    let end = scanned.expect(NO_FAILURE);
    assert!(end >= reached || end == Segment::FIRST_BLOCK);
    assert!(segment.has_end_at(end).is_ok());
    let headers = segment.headers().expect(NO_FAILURE);
    for header in &headers {
        let offset = header.offset as u32;
        let opened = segment.payload(header);
        assert!(!matches!(opened, Err(BlockError::Io(_))));
        if let Ok(payload) = opened {
            assert_eq!(payload.len(), header.plain_bytes as usize);
            assert_eq!(segment.block(offset, header.kind).ok(), Some(payload));
        }
        let _ = (segment.entries(offset), segment.bodies_block(offset));
    }
    let is_closed = segment.is_closed().expect(NO_FAILURE);
    let footer = segment.footer().expect(NO_FAILURE);
    assert!(is_closed || footer.is_none());
    segment.replaced().expect(NO_FAILURE);
    segment.group_bytes().expect(NO_FAILURE);
}

/// What was found lies behind what was found before it; returns where it ends, if it says so.
fn check_found(
    segment: &Segment,
    found: Found,
    reached: u64,
    length: u64,
) -> Result<u64, BlockError> {
    match found {
        Found::Entries { offset, end, entries, .. } => {
            assert!(reached <= u64::from(offset) && u64::from(offset) < end);
            for entry in &entries {
                let Entry::Body(body) = entry else { continue };
                if let Ok(coded) = segment.body(body)
                    && let Ok(plain) = coded.decode(&id_key())
                {
                    assert_eq!(plain.len(), body.raw_bytes as usize);
                }
            }
            assert_eq!(segment.entries(offset)?, entries);
            Ok(end)
        }
        Found::Group { offset, end, .. } => {
            assert!(reached <= u64::from(offset) && u64::from(offset) < end);
            Ok(end)
        }
        Found::Bodies { offset, payload } => {
            assert!(reached <= u64::from(offset));
            assert_eq!(segment.bodies_block(offset)?, payload);
            Ok(u64::from(offset) + 1)
        }
        Found::Damaged { from, to } => {
            assert!(reached <= from && from < to && to < length);
            Ok(to)
        }
        Found::Unused { from } => {
            assert!(reached <= from && from < length);
            Ok(from)
        }
        Found::Directory | Found::Dictionary { .. } | Found::Closing | Found::TornTail => {
            Ok(reached)
        }
    }
}

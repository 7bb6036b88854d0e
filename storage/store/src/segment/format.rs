//! Byte layouts of segment headers and block headers.
//! Never touches a disk, and reads no length that it has not bounded.

use crate::seal::WRAPPED_BYTES;
use crate::versions::SEGMENTS;
use quar_base::class::Class;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::Bucket;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::time::Day;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 256;
pub(crate) const BLOCK_HEADER_BYTES: usize = 48;
pub(crate) const BLOCK_ALIGNMENT: u64 = 8;
/// A block holds at most one message beyond its usual size.
pub(crate) const BLOCK_PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (1 << 20);
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"QBLK";

const SEGMENT_MAGIC: [u8; 8] = *b"QUARSEG\n";
const SLOT_BYTES: usize = 4 + WRAPPED_BYTES;
const SLOTS_AT: usize = 64;
const SEGMENT_CHECK_AT: usize = SEGMENT_HEADER_BYTES - 32;
const BLOCK_CHECK_AT: usize = BLOCK_HEADER_BYTES - 8;

/// A segment key sealed under one key epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeySlot {
    pub(crate) epoch: u32,
    pub(crate) wrapped: [u8; WRAPPED_BYTES],
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) bucket: Bucket,
    pub(crate) number: u32,
    pub(crate) role: SegmentRole,
    /// Random; binds every block to this file.
    pub(crate) salt: [u8; 16],
    pub(crate) slots: [Option<KeySlot>; 2],
}

/// What a segment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentRole {
    /// Commits as they came.
    Log = 0,
    /// What is left of older segments; valid only with its closing block.
    Rewrite = 1,
    /// A closed day, or a part of one; in force with the footer that names it.
    Pack = 2,
}

impl SegmentRole {
    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Rewrite => "rewrite",
            Self::Pack => "pack",
        }
    }

    /// The version that the role came with, in which it is written: an earlier program must not take it for
    /// something else.
    pub(crate) fn version(self) -> u16 {
        match self {
            Self::Log | Self::Rewrite => 1,
            Self::Pack => 2,
        }
    }

    /// The role of a number in a segment of this format; each format takes up those before it.
    fn from_number(number: u8, version: u16) -> Option<Self> {
        let role = match number {
            0 => Self::Log,
            1 => Self::Rewrite,
            2 => Self::Pack,
            _ => return None,
        };
        (role.version() <= version).then_some(role)
    }
}

/// Why a segment's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("segment header is damaged")]
    Damaged,
    /// There is no whole header and nothing behind it: the file was being made.
    #[error("segment was never finished and holds nothing")]
    Unfinished,
    #[error(
        "segment has format version {0}; this program reads versions 1 to {newest}, and nothing was changed: \
         upgrade to the program that wrote it, or a later one",
        newest = SEGMENTS.newest()
    )]
    Version(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockKind {
    /// Entries: records, and where bodies lie.
    Records = 1,
    /// Coded bodies, one after the other.
    Bodies = 2,
    /// Numbers of the segments that this one replaces: the last block of a rewrite.
    Closing = 3,
    /// A dictionary, after the offset of its first copy.
    Dictionary = 4,
    /// Plain bodies that are like each other, behind their lengths.
    Group = 5,
    /// Index entries of a pack, ascending.
    Table = 6,
    /// What a pack holds, where its tables are, and which segments it replaces.
    Footer = 7,
}

/// What the payload is, once opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    /// Plain bytes.
    None = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Offset of a dictionary in the segment, then one zstd frame against it.
    Shared = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) kind: BlockKind,
    pub(crate) compression: Compression,
    pub(crate) items: u16,
    /// Bytes on disk behind the header, tag included.
    pub(crate) sealed_bytes: u32,
    /// Bytes after opening and decompressing.
    pub(crate) plain_bytes: u32,
    /// Where the block begins in its file.
    pub(crate) offset: u64,
    /// Commit that wrote it; blocks of one commit become valid together.
    pub(crate) commit: u64,
}

impl SegmentHeader {
    /// What a segment's wrapped key is bound to.
    pub(crate) fn key_purpose(&self) -> Vec<u8> {
        [&b"quard segment key v1"[..], &self.salt].concat()
    }

    /// The first bytes of the salt: enough to tell one segment from another.
    pub(crate) fn short_salt(&self) -> [u8; 8] {
        field(&self.salt, 0)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&self.role.version().to_le_bytes());
        bytes[10] = self.bucket.class.0;
        bytes[11] = self.role as u8;
        bytes[12..16].copy_from_slice(&self.bucket.day.0.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0);
        bytes[32..48].copy_from_slice(&self.member.0);
        bytes[48..64].copy_from_slice(&self.salt);
        for (slot, at) in self.slots.iter().zip([SLOTS_AT, SLOTS_AT + SLOT_BYTES]) {
            if let Some(slot) = slot {
                bytes[at..at + 4].copy_from_slice(&slot.epoch.to_le_bytes());
                bytes[at + 4..at + SLOT_BYTES].copy_from_slice(&slot.wrapped);
            }
        }
        let number_at = SLOTS_AT + 2 * SLOT_BYTES;
        bytes[number_at..number_at + 4].copy_from_slice(&self.number.to_le_bytes());
        let check = blake3::hash(&bytes[..SEGMENT_CHECK_AT]);
        bytes[SEGMENT_CHECK_AT..].copy_from_slice(check.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let check = blake3::hash(&bytes[..SEGMENT_CHECK_AT]);
        if bytes[..8] != SEGMENT_MAGIC || bytes[SEGMENT_CHECK_AT..] != check.as_bytes()[..] {
            return Err(HeaderError::Damaged);
        }
        let version = u16::from_le_bytes(field(bytes, 8));
        if !SEGMENTS.reads(version) {
            return Err(HeaderError::Version(version));
        }
        let role = SegmentRole::from_number(bytes[11], version).ok_or(HeaderError::Damaged)?;
        let slot = |at: usize| {
            let epoch = u32::from_le_bytes(field(bytes, at));
            (epoch != 0).then(|| KeySlot { epoch, wrapped: field(bytes, at + 4) })
        };
        let header = Self {
            bucket: Bucket {
                class: Class(bytes[10]),
                day: Day(u32::from_le_bytes(field(bytes, 12))),
            },
            cluster: ClusterId(field(bytes, 16)),
            member: MemberId(field(bytes, 32)),
            role,
            salt: field(bytes, 48),
            slots: [slot(SLOTS_AT), slot(SLOTS_AT + SLOT_BYTES)],
            number: u32::from_le_bytes(field(bytes, SLOTS_AT + 2 * SLOT_BYTES)),
        };
        Ok(SEGMENTS.forward(header, version))
    }
}

impl BlockHeader {
    /// Bytes from this block's start to the next one's.
    pub(crate) fn stride(&self) -> u64 {
        (BLOCK_HEADER_BYTES as u64 + u64::from(self.sealed_bytes)).next_multiple_of(BLOCK_ALIGNMENT)
    }

    pub(crate) fn encode(&self, salt: &[u8; 16]) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = self.compression as u8;
        bytes[6..8].copy_from_slice(&self.items.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sealed_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.plain_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.commit.to_le_bytes());
        let check = block_check(&bytes, salt);
        bytes[BLOCK_CHECK_AT..].copy_from_slice(&check);
        bytes
    }

    /// Reads the header of the block at `offset`; `None` when there is no whole and right one.
    pub(crate) fn decode(bytes: &[u8], offset: u64, salt: &[u8; 16]) -> Option<Self> {
        let bytes: &[u8; BLOCK_HEADER_BYTES] = bytes.get(..BLOCK_HEADER_BYTES)?.try_into().ok()?;
        if bytes[..4] != BLOCK_MAGIC || bytes[BLOCK_CHECK_AT..] != block_check(bytes, salt) {
            return None;
        }
        let kind = match bytes[4] {
            1 => BlockKind::Records,
            2 => BlockKind::Bodies,
            3 => BlockKind::Closing,
            4 => BlockKind::Dictionary,
            5 => BlockKind::Group,
            6 => BlockKind::Table,
            7 => BlockKind::Footer,
            _ => return None,
        };
        let compression = match bytes[5] {
            0 => Compression::None,
            1 => Compression::Zstd,
            2 if kind == BlockKind::Records => Compression::Shared,
            _ => return None,
        };
        let header = Self {
            kind,
            compression,
            items: u16::from_le_bytes(field(bytes, 6)),
            sealed_bytes: u32::from_le_bytes(field(bytes, 8)),
            plain_bytes: u32::from_le_bytes(field(bytes, 12)),
            offset: u64::from_le_bytes(field(bytes, 16)),
            commit: u64::from_le_bytes(field(bytes, 24)),
        };
        let is_bounded = header.sealed_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX
            && header.plain_bytes as usize <= BLOCK_PAYLOAD_BYTES_MAX;
        (header.offset == offset && is_bounded).then_some(header)
    }
}

fn block_check(bytes: &[u8; BLOCK_HEADER_BYTES], salt: &[u8; 16]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(&bytes[..BLOCK_CHECK_AT]);
    field(hasher.finalize().as_bytes(), 0)
}

/// The `N` bytes at `at` of a fixed-size header.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("fields lie inside of fixed-size headers")
}

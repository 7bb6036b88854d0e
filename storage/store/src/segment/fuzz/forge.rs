//! Makes segments out of any bytes: whole headers, and blocks that open whatever they hold.
//! Never asks whether a writer would make such a block.

use super::super::format::{
    BLOCK_ALIGNMENT, BlockHeader, BlockKind, Compression, KeySlot, SegmentHeader, SegmentRole,
};
use super::super::{Entry, SegmentName, bucket_directory};
use super::NAME;
use crate::codec::{LEVEL, compress};
use crate::dictionary::{Dictionaries, Dictionary, DictionaryId};
use crate::disk::{Disk, MemoryDisk};
use crate::fuzz::{CLUSTER, Input, MEMBER, encryption_key, id_key};
use crate::seal::{BlockCipher, TAG_BYTES};
use crate::segments::Segments;
use quar_base::key::Bucket;
use std::sync::Arc;

/// How a block's payload is packed.
pub(crate) type Form = Compression;
pub(crate) const PLAIN: Form = Compression::None;
pub(crate) const ZSTD: Form = Compression::Zstd;
pub(crate) const SHARED: Form = Compression::Shared;

const KINDS: [BlockKind; 7] = [
    BlockKind::Records,
    BlockKind::Bodies,
    BlockKind::Closing,
    BlockKind::Dictionary,
    BlockKind::Group,
    BlockKind::Table,
    BlockKind::Footer,
];
/// Bits of a piece's first byte, above its kind.
const IS_ZSTD: u8 = 8;
const IS_SHARED: u8 = 16;
const AS_GIVEN: u8 = 32;
const CHECKED: u8 = 64;
const WRONG_LENGTH: u8 = 128;

/// The role of a number.
pub(crate) fn role(number: u8) -> SegmentRole {
    [SegmentRole::Log, SegmentRole::Rewrite, SegmentRole::Pack][usize::from(number % 3)]
}

/// Segments with these bytes on a disk of their own.
pub(crate) fn segments(files: &[(SegmentName, Vec<u8>)]) -> Segments {
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        put(&disk, *name, bytes);
    }
    let dictionaries = Arc::new(Dictionaries::new(id_key(), 1, LEVEL));
    Segments::new(Arc::new(disk), CLUSTER, vec![encryption_key()], dictionaries)
}

/// Puts a segment's file on a disk.
pub(crate) fn put(disk: &MemoryDisk, name: SegmentName, bytes: &[u8]) {
    let made = disk.create_dir(&bucket_directory(name.bucket));
    made.and_then(|()| disk.replace(&name.path(), bytes)).expect("the memory disk has room");
}

/// A segment that is being made.
pub(crate) struct Forge {
    header: SegmentHeader,
    cipher: BlockCipher,
    bytes: Vec<u8>,
    commit: u64,
    /// What the last of their kind held, with its offset.
    bodies: u32,
    dictionary: (u32, Vec<u8>),
}

/// A block that was made.
pub(crate) struct Piece {
    pub(crate) offset: u32,
    pub(crate) kind: BlockKind,
    /// What it must open to, where that is known.
    pub(crate) plain: Option<Vec<u8>>,
}

impl Forge {
    /// A header and nothing behind it.
    pub(crate) fn new(name: SegmentName, role: SegmentRole) -> Self {
        let key = [name.number as u8; 32];
        let mut header = SegmentHeader {
            cluster: CLUSTER,
            member: MEMBER,
            bucket: name.bucket,
            number: name.number,
            role,
            salt: [name.number as u8 ^ 0x55; 16],
            slots: [None, None],
        };
        let wrapped = encryption_key().wrap(&key, &header.key_purpose(), [2; 12]);
        header.slots[1] = Some(KeySlot { epoch: encryption_key().epoch(), wrapped });
        let bytes = header.encode().to_vec();
        let (bodies, dictionary) = (0, (0, Vec::new()));
        Self { header, cipher: BlockCipher::new(&key), bytes, commit: 1, bodies, dictionary }
    }

    pub(crate) fn salt(&self) -> &[u8; 16] {
        &self.header.salt
    }

    /// The file as it stands.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Where the next block begins.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("inputs are small")
    }

    /// Begins another commit.
    pub(crate) fn next_commit(&mut self) {
        self.commit += 1;
    }

    /// Adds a block; returns its offset.
    pub(crate) fn push(
        &mut self,
        kind: BlockKind,
        compression: Compression,
        items: u16,
        plain: &[u8],
    ) -> u32 {
        let packed = match compression {
            Compression::None => None,
            Compression::Zstd => compress(plain, None),
            Compression::Shared => {
                let (offset, bytes) = &self.dictionary;
                let bytes: Arc<[u8]> = bytes.as_slice().into();
                let dictionary = Dictionary::new(DictionaryId::default(), 0, bytes, LEVEL);
                let frame = compress(plain, Some(&dictionary));
                frame.map(|frame| [&offset.to_le_bytes(), &frame[..]].concat())
            }
        };
        match packed {
            Some(packed) => self.seal(kind, compression, items, packed, plain.len()),
            None => self.seal(kind, Compression::None, items, plain.to_vec(), plain.len()),
        }
    }

    fn seal(
        &mut self,
        kind: BlockKind,
        compression: Compression,
        items: u16,
        mut payload: Vec<u8>,
        plain_bytes: usize,
    ) -> u32 {
        let offset = self.end();
        let header = BlockHeader {
            kind,
            compression,
            items,
            sealed_bytes: (payload.len() + TAG_BYTES) as u32,
            plain_bytes: plain_bytes as u32,
            offset: offset.into(),
            commit: self.commit,
        };
        let head = header.encode(&self.header.salt);
        self.cipher.seal(offset.into(), &head, &mut payload);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(&payload);
        let padded = self.bytes.len().next_multiple_of(BLOCK_ALIGNMENT as usize);
        self.bytes.resize(padded, 0);
        offset
    }

    /// Adds the two copies of a dictionary, and what lies between them; returns the first one's offset.
    pub(crate) fn push_dictionary(&mut self, bytes: &[u8]) -> u32 {
        let first = self.end();
        let copy = [&first.to_le_bytes(), bytes].concat();
        self.push(BlockKind::Dictionary, Compression::Zstd, 1, &copy);
        let between = [&self.end().to_le_bytes()[..], &[0xa5; 40]].concat();
        self.push(BlockKind::Dictionary, Compression::None, 1, &between);
        self.push(BlockKind::Dictionary, Compression::Zstd, 1, &copy);
        self.dictionary = (first, bytes.to_vec());
        first
    }

    /// Adds a block as the input says: kind and form 1, items 1, length 2, payload.
    pub(crate) fn push_piece(&mut self, input: &mut Input<'_>) -> Piece {
        let form = input.u8();
        let items = u16::from(input.u8());
        let length = input.u16();
        let payload = input.take(length.into()).to_vec();
        let kind = KINDS[usize::from(form & 7) % KINDS.len()];
        let compression = match (form & IS_ZSTD != 0, form & IS_SHARED != 0) {
            (_, true) if kind == BlockKind::Records => Compression::Shared,
            (true, _) => Compression::Zstd,
            _ => Compression::None,
        };
        self.commit += u64::from(kind == BlockKind::Bodies);
        let payload = match kind {
            BlockKind::Records if form & CHECKED != 0 => self.with_places(payload),
            BlockKind::Dictionary if form & CHECKED != 0 => {
                [&self.end().to_le_bytes(), &payload[..]].concat()
            }
            _ => payload,
        };
        if form & AS_GIVEN != 0 && compression != Compression::None {
            // A frame that the library did not make; its length is anyone's guess.
            let plain_bytes = usize::from(items) << 4;
            let offset = self.seal(kind, compression, items, payload, plain_bytes);
            return Piece { offset, kind, plain: None };
        }
        if form & WRONG_LENGTH != 0 {
            let plain_bytes = payload.len() + 1;
            let offset = self.seal(kind, Compression::None, items, payload, plain_bytes);
            return Piece { offset, kind, plain: None };
        }
        let offset = self.push(kind, compression, items, &payload);
        match kind {
            BlockKind::Bodies => self.bodies = offset,
            BlockKind::Dictionary => {
                self.dictionary = (offset, payload.get(4..).unwrap_or_default().to_vec());
            }
            _ => {}
        }
        // Of a block coded against a dictionary that is no dictionary of that place, nothing is known.
        let is_known = compression != Compression::Shared;
        Piece { offset, kind, plain: is_known.then_some(payload) }
    }

    /// Entries with the records' checks that they should have, and bodies in the last bodies block
    /// where they name none; dictionary 1 stands for the last one.
    fn with_places(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let spans: Vec<_> = Entry::spans(&payload).map_while(Result::ok).collect();
        for span in spans {
            let entry = &mut payload[span];
            if Entry::is_record(entry) && entry.len() > 5 + 12 {
                // A record lies in its own bucket's segments, an arrival within its day: nothing else is
                // admitted.
                let Bucket { class, day } = self.header.bucket;
                entry[5 + 1] = class.0;
                entry[5 + 4..5 + 8].copy_from_slice(&day.0.to_le_bytes());
                // The second's two upper bytes: below 65,536 is below a day's end.
                entry[5 + 10..5 + 12].fill(0);
            } else if !Entry::is_record(entry) {
                for (at, stands_for, place) in [(41, 0, self.bodies), (49, 1, self.dictionary.0)] {
                    if entry[at..at + 4] == u32::to_le_bytes(stands_for) {
                        entry[at..at + 4].copy_from_slice(&place.to_le_bytes());
                    }
                }
            }
        }
        with_record_checks(payload)
    }
}

/// Entries whose records have the check bytes that they should have.
pub(crate) fn with_record_checks(mut payload: Vec<u8>) -> Vec<u8> {
    let spans: Vec<_> = Entry::spans(&payload).map_while(Result::ok).collect();
    for span in spans {
        let entry = &mut payload[span];
        if Entry::is_record(entry) && entry.len() >= 5 + 4 {
            let end = entry.len() - 4;
            let check = blake3::hash(&entry[5..end]);
            entry[end..].copy_from_slice(&check.as_bytes()[..4]);
        }
    }
    payload
}

/// The same segment for every run: bodies, a dictionary, records with and without it, a closing block.
pub(super) fn sample() -> Vec<u8> {
    let mut forge = Forge::new(NAME, SegmentRole::Rewrite);
    crate::fuzz::sample::fill(&mut forge);
    forge.bytes()
}

//! Reads a segment: its header, one block, or everything from an offset on.
//! Never takes damage for an end: the end is where no valid block follows.

mod rewrap;

use super::entries::{EntriesError, Entry};
use super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, BlockKind, Compression,
    HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentRole,
};
use super::{BodyEntry, SegmentName};
use crate::codec::{CodedBody, decompress};
use crate::dictionary::{Dictionaries, Dictionary};
use crate::disk::{Disk, File};
use crate::seal::{BlockCipher, EncryptionKey, KeyError};
use quar_base::ids::{ClusterId, MemberId};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// How much is read at once while looking for the next valid header.
const SEARCH_BYTES: usize = 1 << 20;
/// Blocks that a dictionary takes: two copies, and what lies between.
const DICTIONARY_BLOCKS: usize = 3;

pub(crate) struct Segment {
    name: SegmentName,
    pub(super) file: Arc<dyn File>,
    header: SegmentHeader,
    cipher: BlockCipher,
    dictionaries: Arc<Dictionaries>,
}

/// Why a segment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenSegmentError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("segment belongs to cluster {0}")]
    Cluster(ClusterId),
    #[error("segment header names another place than where the file lies")]
    Misplaced,
}

impl OpenSegmentError {
    /// Whether nothing was ever whole there.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
            Self::Header(error) => *error == HeaderError::Unfinished,
            Self::Misplaced | Self::Key(_) | Self::Cluster(_) => false,
        }
    }

    /// Whether the file itself is damaged or gone, and not this node the wrong one to open it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
            Self::Header(HeaderError::Damaged | HeaderError::Unfinished) | Self::Misplaced => true,
            Self::Header(HeaderError::Version(_)) | Self::Key(_) | Self::Cluster(_) => false,
        }
    }
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("block is damaged")]
    Damaged,
}

impl From<EntriesError> for BlockError {
    fn from(_: EntriesError) -> Self {
        Self::Damaged
    }
}

/// What a scan finds, in file order.
#[derive(Debug)]
pub(crate) enum Found {
    /// A whole records block.
    Entries { offset: u32, end: u64, commit: u64, entries: Vec<Entry> },
    /// A whole bodies block.
    Bodies { offset: u32, payload: Vec<u8> },
    /// A whole group of bodies: where each begins and ends in the payload.
    Group { offset: u32, end: u64, payload: Vec<u8>, bodies: Vec<Range<usize>> },
    /// A whole table or footer of a pack: it says nothing that the rest does not.
    Directory,
    /// A copy of the dictionary whose first copy was written at `of`.
    Dictionary { of: u32 },
    /// The last block of a rewrite.
    Closing,
    /// Bytes that are no valid block, with a valid block behind them.
    Damaged { from: u64, to: u64 },
    /// Bytes at the end with no valid block behind them: a write that was never finished.
    TornTail,
    /// Zeros up to the end: room that was written ahead.
    Unused { from: u64 },
}

impl Segment {
    pub(crate) fn open(
        disk: &dyn Disk,
        name: SegmentName,
        cluster: ClusterId,
        keys: &[EncryptionKey],
        dictionaries: &Arc<Dictionaries>,
    ) -> Result<Self, OpenSegmentError> {
        let file = disk.open(&name.path())?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        file.read_at(&mut bytes, 0)?;
        let header = match SegmentHeader::decode(&bytes) {
            Err(HeaderError::Damaged) if file.length()? <= Self::FIRST_BLOCK => {
                return Err(HeaderError::Unfinished.into());
            }
            decoded => decoded?,
        };
        if header.cluster != cluster {
            return Err(OpenSegmentError::Cluster(header.cluster));
        }
        if header.bucket != name.bucket || header.number != name.number {
            return Err(OpenSegmentError::Misplaced);
        }
        let key = unwrap_key(&header, keys)?;
        let dictionaries = dictionaries.clone();
        Ok(Self { name, file, header, cipher: BlockCipher::new(&key), dictionaries })
    }

    pub(crate) fn role(&self) -> SegmentRole {
        self.header.role
    }

    /// The member that wrote it.
    pub(crate) fn member(&self) -> MemberId {
        self.header.member
    }

    /// Epochs of the encryption keys that open it.
    pub(crate) fn key_epochs(&self) -> Vec<u32> {
        self.header.slots.iter().flatten().map(|slot| slot.epoch).collect()
    }

    /// What tells this file from any other.
    pub(crate) fn salt(&self) -> [u8; 8] {
        self.header.short_salt()
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Where the first block begins.
    pub(crate) const FIRST_BLOCK: u64 = SEGMENT_HEADER_BYTES as u64;

    /// The entries of the records block at `offset`.
    pub(crate) fn entries(&self, offset: u32) -> Result<Vec<Entry>, BlockError> {
        let header = self.header_at(offset.into())?.ok_or(BlockError::Damaged)?;
        if header.kind != BlockKind::Records {
            return Err(BlockError::Damaged);
        }
        Ok(Entry::decode_all(&self.payload(&header)?)?)
    }

    /// One coded body out of its bodies block. Its id is not checked here but when it is decoded.
    pub(crate) fn body(&self, entry: &BodyEntry) -> Result<CodedBody, BlockError> {
        self.body_in(&self.bodies_block(entry.block)?, entry)
    }

    /// The payload of the block of bodies at `offset`.
    pub(crate) fn bodies_block(&self, offset: u32) -> Result<Vec<u8>, BlockError> {
        let holds_bodies =
            |header: &BlockHeader| matches!(header.kind, BlockKind::Bodies | BlockKind::Group);
        let header = self.header_at(offset.into())?.filter(holds_bodies);
        self.payload(&header.ok_or(BlockError::Damaged)?)
    }

    /// One coded body out of its block's payload.
    pub(crate) fn body_in(
        &self,
        payload: &[u8],
        entry: &BodyEntry,
    ) -> Result<CodedBody, BlockError> {
        let start = entry.start as usize;
        let coded = payload
            .get(start..start.saturating_add(entry.coded_bytes as usize))
            .ok_or(BlockError::Damaged)?;
        let dictionary = match entry.dictionary {
            0 => None,
            offset => Some(self.dictionary(offset)?),
        };
        Ok(CodedBody {
            id: entry.id,
            raw_bytes: entry.raw_bytes,
            codec: entry.codec,
            dictionary,
            bytes: coded.into(),
        })
    }

    fn dictionary(&self, offset: u32) -> Result<Arc<Dictionary>, BlockError> {
        let place = (self.name, offset);
        if let Some(loaded) = self.dictionaries.at(place) {
            return Ok(loaded);
        }
        let mut at = u64::from(offset);
        let mut copy = self.dictionary_at(at, offset);
        // The second copy is among the next few blocks.
        for _ in 0..DICTIONARY_BLOCKS {
            let Err(BlockError::Damaged) = copy else { break };
            at = self.next_valid(at + BLOCK_ALIGNMENT)?.ok_or(BlockError::Damaged)?;
            copy = self.dictionary_at(at, offset);
        }
        Ok(self.dictionaries.keep_at(place, copy?))
    }

    /// The copy at `at` of the dictionary whose first copy was written at `of`.
    fn dictionary_at(&self, at: u64, of: u32) -> Result<Vec<u8>, BlockError> {
        let header = self.header_at(at)?.ok_or(BlockError::Damaged)?;
        if header.kind != BlockKind::Dictionary {
            return Err(BlockError::Damaged);
        }
        let payload = self.payload(&header)?;
        match payload.split_first_chunk::<4>() {
            Some((first, bytes)) if *first == of.to_le_bytes() => Ok(bytes.to_vec()),
            _ => Err(BlockError::Damaged),
        }
    }

    /// Numbers of the segments that a rewrite replaces; `None` when it was never closed.
    ///
    /// Reads headers only, up to the last block.
    pub(crate) fn replaced(&self) -> io::Result<Option<Vec<u32>>> {
        let mut at = Self::FIRST_BLOCK;
        loop {
            match self.header_at(at) {
                Ok(Some(header)) if header.kind == BlockKind::Closing => {
                    return match self.payload(&header) {
                        Ok(payload) => Ok(Some(numbers(&payload))),
                        Err(BlockError::Io(error)) => Err(error),
                        Err(BlockError::Damaged) => Ok(None),
                    };
                }
                Ok(Some(header)) => at += header.stride(),
                Ok(None) | Err(BlockError::Damaged) => return Ok(None),
                Err(BlockError::Io(error)) => return Err(error),
            }
        }
    }

    /// Visits everything from `start` on. Payloads are opened and so authenticated.
    pub(crate) fn scan(
        &self,
        start: u64,
        visit: &mut dyn FnMut(Found) -> Result<(), BlockError>,
    ) -> Result<u64, BlockError> {
        self.scan_until(start, self.file.length()?, visit)
    }

    /// As [`Self::scan`], up to where a block ends or the file does.
    pub(crate) fn scan_until(
        &self,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(Found) -> Result<(), BlockError>,
    ) -> Result<u64, BlockError> {
        let length = end.min(self.file.length()?);
        let mut at = start;
        while at < length {
            match self.block_at(at)? {
                Some((found, next)) => {
                    visit(found)?;
                    at = next;
                }
                None => match self.next_valid(at + BLOCK_ALIGNMENT)? {
                    Some(next) => {
                        visit(Found::Damaged { from: at, to: next })?;
                        at = next;
                    }
                    None => {
                        let is_unused = self.is_zero(at, self.file.length()?)?;
                        visit(if is_unused {
                            Found::Unused { from: at }
                        } else {
                            Found::TornTail
                        })?;
                        return Ok(at);
                    }
                },
            }
        }
        Ok(at)
    }

    fn block_at(&self, at: u64) -> Result<Option<(Found, u64)>, BlockError> {
        let Some(header) = self.header_at(at)? else {
            return Ok(None);
        };
        let payload = match self.payload(&header) {
            Ok(payload) => payload,
            Err(BlockError::Damaged) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(offset) = u32::try_from(at) else {
            return Ok(None);
        };
        let (commit, end) = (header.commit, at + header.stride());
        let found = match header.kind {
            BlockKind::Bodies => Found::Bodies { offset, payload },
            BlockKind::Group => match group_bodies(&payload, header.items.into()) {
                Some(bodies) => Found::Group { offset, end, payload, bodies },
                None => return Ok(None),
            },
            BlockKind::Table | BlockKind::Footer => Found::Directory,
            BlockKind::Closing => Found::Closing,
            BlockKind::Dictionary => match payload.first_chunk() {
                Some(of) => Found::Dictionary { of: u32::from_le_bytes(*of) },
                None => return Ok(None),
            },
            BlockKind::Records => match Entry::decode_all(&payload) {
                Ok(entries) => Found::Entries { offset, end, commit, entries },
                Err(EntriesError) => return Ok(None),
            },
        };
        Ok(Some((found, end)))
    }

    pub(crate) fn header_at(&self, offset: u64) -> Result<Option<BlockHeader>, BlockError> {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let count = self.file.read_at(&mut bytes, offset)?;
        Ok(BlockHeader::decode(&bytes[..count], offset, &self.header.salt))
    }

    pub(crate) fn payload(&self, header: &BlockHeader) -> Result<Vec<u8>, BlockError> {
        let start = header.offset + BLOCK_HEADER_BYTES as u64;
        let available = self.file.length()?.saturating_sub(start);
        if u64::from(header.sealed_bytes) > available {
            return Err(BlockError::Damaged);
        }
        let mut payload = vec![0; header.sealed_bytes as usize];
        let count = self.file.read_at(&mut payload, start)?;
        payload.truncate(count);
        let head = header.encode(&self.header.salt);
        self.cipher.open(header.offset, &head, &mut payload).map_err(|_| BlockError::Damaged)?;
        let limit = header.plain_bytes as usize;
        let damaged = |_| BlockError::Damaged;
        match header.compression {
            Compression::None => {}
            Compression::Zstd => payload = decompress(&payload, limit, None).map_err(damaged)?,
            Compression::Shared => {
                let (offset, frame) = payload.split_first_chunk().ok_or(BlockError::Damaged)?;
                let dictionary = self.dictionary(u32::from_le_bytes(*offset))?;
                payload = decompress(frame, limit, Some(&dictionary)).map_err(damaged)?;
            }
        }
        if payload.len() == header.plain_bytes as usize {
            Ok(payload)
        } else {
            Err(BlockError::Damaged)
        }
    }

    /// Whether the file holds nothing but zeros there.
    fn is_zero(&self, from: u64, to: u64) -> io::Result<bool> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut at = from;
        while at < to {
            let wanted =
                usize::try_from(to - at).map_or(SEARCH_BYTES, |left| left.min(SEARCH_BYTES));
            let count = self.file.read_at(&mut window[..wanted], at)?;
            if window[..count].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if count < wanted {
                break;
            }
            at += count as u64;
        }
        Ok(true)
    }

    /// Whether blocks may end at this offset: a block's last bytes are its tag, and never all zero.
    pub(crate) fn has_end_at(&self, end: u64) -> io::Result<bool> {
        let is_within = end <= self.file.length()?;
        Ok(is_within
            && (end <= Self::FIRST_BLOCK || !self.is_zero(end - BLOCK_HEADER_BYTES as u64, end)?))
    }

    /// Gives back room that was written ahead.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    /// The first offset from `from` on where a block header is valid.
    fn next_valid(&self, from: u64) -> Result<Option<u64>, BlockError> {
        let length = self.file.length()?;
        let mut window = vec![0; SEARCH_BYTES];
        let mut at = from.next_multiple_of(BLOCK_ALIGNMENT);
        while at < length {
            let count = self.file.read_at(&mut window, at)?;
            let step = BLOCK_ALIGNMENT as usize;
            for (index, chunk) in window[..count].chunks(step).enumerate() {
                let offset = at + (index * step) as u64;
                if chunk.starts_with(&BLOCK_MAGIC) && self.header_at(offset)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            at += count.max(step) as u64;
        }
        Ok(None)
    }
}

/// Where the bodies of a group lie: their lengths come first, and they fill the rest.
fn group_bodies(payload: &[u8], items: usize) -> Option<Vec<Range<usize>>> {
    let (lengths, _) = payload.split_at_checked(4 * items)?;
    let mut start = lengths.len();
    let mut bodies = Vec::with_capacity(items);
    for length in numbers(lengths) {
        let end = start.checked_add(length as usize)?;
        bodies.push(start..end);
        start = end;
    }
    (start == payload.len()).then_some(bodies)
}

pub(super) fn numbers(payload: &[u8]) -> Vec<u32> {
    let (chunks, _) = payload.as_chunks::<4>();
    chunks.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
}

fn unwrap_key(header: &SegmentHeader, keys: &[EncryptionKey]) -> Result<[u8; 32], KeyError> {
    let mut missing = KeyError::Wrong;
    for slot in header.slots.iter().flatten() {
        match keys.iter().find(|key| key.epoch() == slot.epoch) {
            Some(key) => return key.unwrap(&slot.wrapped, &header.key_purpose()),
            None => missing = KeyError::Epoch(slot.epoch),
        }
    }
    Err(missing)
}

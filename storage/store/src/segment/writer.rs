//! Appends the blocks of a commit to a segment that this run of the process made.
//! Never acknowledges: bytes are durable only after [`SegmentWriter::sync`] returned.

use super::entries::Entry;
use super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BlockHeader, BlockKind,
    Compression, KeySlot, SegmentHeader, SegmentRole,
};
use super::{BodyEntry, SegmentName, bucket_directory};
use crate::codec::{CodedBody, LEVEL, compress, compress_well};
use crate::dictionary::{Dictionary, DictionaryId};
use crate::disk::{Disk, File};
use crate::seal::{BlockCipher, EncryptionKey, TAG_BYTES};
use quar_base::ids::{ClusterId, MemberId};
use quar_base::record::Record;
use quar_base::rng::Rng;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// Coded bytes after which a bodies block is closed: one read opens no more than this and one body.
const BODIES_BLOCK_BYTES: usize = 256 << 10;
/// Entries after which a records block is closed.
const RECORDS_BLOCK_ENTRIES: usize = 4096;
/// Plain bytes after which a records block is closed.
const RECORDS_BLOCK_BYTES: usize = 1 << 20;
/// Coded bytes of bodies that a segment takes in before it takes a dictionary, and before each
/// further one: what a dictionary costs stays small beside what it is for.
pub(crate) const DICTIONARY_AFTER_BYTES: usize = 256 << 10;
/// Plain bytes of the first records blocks, against which a segment's later ones are coded.
const SHARED_RECORDS_BYTES: usize = 32 << 10;
/// What a disk loses at once, at most, when it loses a page.
const PAGE_BYTES: usize = 4096;

/// Most zeros that a log segment has written ahead of its end.
const AHEAD_BYTES_MAX: u64 = 512 << 10;

pub(crate) struct SegmentWriter {
    name: SegmentName,
    file: Arc<dyn File>,
    header: SegmentHeader,
    cipher: BlockCipher,
    end: u64,
    ahead: Ahead,
    /// Dictionaries that the segment holds, with the offset of their first copies.
    dictionaries: Vec<(DictionaryId, u32)>,
    /// Coded bytes of bodies since the last dictionary.
    bytes_since_dictionary: usize,
    shared_records: SharedRecords,
}

/// Zeros written ahead of a segment's end: a sync of bytes that replace them needs no new length of
/// the file, which costs a file system a third of its time (docs/benchmarks.md, "Syncs").
#[derive(Default)]
struct Ahead {
    /// Where they end.
    until: u64,
    /// Bytes appended since there were none: no more zeros than that, so that a segment with little
    /// to take costs little.
    appended: u64,
    /// Nothing was appended since the last [`SegmentWriter::rest`].
    is_resting: bool,
}

/// What the records blocks of a segment have in common.
enum SharedRecords {
    /// What the first ones held.
    Gathering(Vec<u8>),
    /// That as a dictionary, and the offset of its first copy.
    Dictionary(Dictionary, u32),
}

/// A records block that was appended: its offset and its entries.
pub(crate) struct RecordsBlock {
    pub(crate) offset: u32,
    pub(crate) entries: Vec<Entry>,
}

/// Who makes a segment, and under which key.
pub(crate) struct Maker<'a> {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) key: &'a EncryptionKey,
}

impl SegmentWriter {
    /// Makes a new segment: header written and synced, name durable.
    pub(crate) fn create(
        disk: &dyn Disk,
        name: SegmentName,
        role: SegmentRole,
        maker: &Maker<'_>,
        rng: &mut Rng,
    ) -> io::Result<Self> {
        let key: [u8; 32] = rng.bytes();
        let mut header = SegmentHeader {
            cluster: maker.cluster,
            member: maker.member,
            bucket: name.bucket,
            number: name.number,
            role,
            salt: rng.bytes(),
            slots: [None, None],
        };
        let wrapped = maker.key.wrap(&key, &header.key_purpose(), rng.bytes());
        header.slots[0] = Some(KeySlot { epoch: maker.key.epoch(), wrapped });
        let directory = bucket_directory(name.bucket);
        disk.create_dir(&directory)?;
        let file = disk.create(&name.path())?;
        let bytes = header.encode();
        if let Err(error) = file.write_at(&bytes, 0) {
            // On a full disk every attempt would leave one behind.
            let _ = disk.remove(&name.path());
            return Err(error);
        }
        file.sync_data()?;
        disk.sync_dir(&directory)?;
        let end = bytes.len() as u64;
        let cipher = BlockCipher::new(&key);
        Ok(Self {
            name,
            file,
            header,
            cipher,
            end,
            ahead: Ahead::default(),
            dictionaries: Vec::new(),
            bytes_since_dictionary: 0,
            shared_records: SharedRecords::Gathering(Vec::new()),
        })
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What tells this file from any other.
    pub(crate) fn salt(&self) -> [u8; 8] {
        self.header.short_salt()
    }

    /// Writes bodies, then the records block that says where they lie, in one write.
    ///
    /// Bodies whose dictionary the segment does not hold, and is too small to take, are coded
    /// without one.
    ///
    /// After an error the segment's tail is undefined: the caller starts another segment.
    pub(crate) fn append(
        &mut self,
        commit: u64,
        records: &[&Record],
        bodies: &[&CodedBody],
    ) -> io::Result<Vec<RecordsBlock>> {
        let mut draft = Draft { writer: self, commit, bytes: Vec::new() };
        let bodies = draft.settle_dictionaries(bodies)?;
        let bodies = draft.push_bodies(&bodies);
        let blocks = draft.push_records(&bodies, records);
        let bytes = draft.bytes;
        self.write(&bytes)?;
        Ok(blocks)
    }

    /// Ends a rewrite: from the next sync on it stands for the segments it replaces.
    pub(crate) fn close(&mut self, commit: u64, replaced: &[u32]) -> io::Result<()> {
        let mut draft = Draft { writer: self, commit, bytes: Vec::new() };
        let payload = replaced.iter().flat_map(|number| number.to_le_bytes()).collect();
        draft.push_block(BlockKind::Closing, replaced.len(), payload);
        let bytes = draft.bytes;
        self.write(&bytes)
    }

    /// Writes one block of a pack; returns its offset.
    pub(crate) fn append_block(
        &mut self,
        kind: BlockKind,
        items: usize,
        payload: Vec<u8>,
    ) -> io::Result<u32> {
        let offset = self.end;
        if offset + (payload.len() as u64) > u64::from(u32::MAX) - BLOCK_PAYLOAD_BYTES_MAX as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut draft = Draft { writer: self, commit: 0, bytes: Vec::new() };
        draft.push_block(kind, items, payload);
        let bytes = draft.bytes;
        self.write(&bytes)?;
        Ok(offset_in_file(offset))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_at(bytes, self.end) {
            // What was written of it only takes up room.
            let _ = self.file.truncate(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        self.ahead.appended += bytes.len() as u64;
        self.ahead.is_resting = false;
        if self.header.role == SegmentRole::Log && self.end > self.ahead.until {
            let length = self.ahead.appended.min(AHEAD_BYTES_MAX);
            let zeros = vec![0; usize::try_from(length).expect("half a mebibyte")];
            // Where there is no room for them, the file grows with every write as files do.
            if self.file.write_at(&zeros, self.end).is_ok() {
                self.ahead.until = self.end + length;
            }
        }
        Ok(())
    }

    /// Called now and then: gives back the room written ahead if nothing was appended meanwhile.
    pub(crate) fn rest(&mut self) {
        if self.ahead.is_resting {
            self.give_back();
        }
        self.ahead.is_resting = true;
    }

    fn give_back(&mut self) {
        if self.ahead.until > self.end {
            // It is given back when the segment is opened next if this fails.
            let _ = self.file.truncate(self.end);
        }
        self.ahead = Ahead::default();
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The bytes of one append, while they are put together.
struct Draft<'a> {
    writer: &'a mut SegmentWriter,
    commit: u64,
    bytes: Vec<u8>,
}

impl Draft<'_> {
    fn next_offset(&self) -> u64 {
        self.writer.end + self.bytes.len() as u64
    }

    /// The bodies as they are to be written, each with the place of its dictionary or 0.
    fn settle_dictionaries<'b>(
        &mut self,
        bodies: &[&'b CodedBody],
    ) -> io::Result<Vec<(Cow<'b, CodedBody>, u32)>> {
        let mut settled = Vec::with_capacity(bodies.len());
        for &body in bodies {
            let place = body.dictionary.as_deref().and_then(|needed| self.dictionary(needed));
            let body = match (&body.dictionary, place) {
                (Some(_), None) => Cow::Owned(body.without_dictionary().map_err(io::Error::other)?),
                _ => Cow::Borrowed(body),
            };
            self.writer.bytes_since_dictionary += body.bytes.len();
            settled.push((body, place.unwrap_or(0)));
        }
        Ok(settled)
    }

    /// Where a dictionary lies in this segment; `None` when it does not and should not yet.
    fn dictionary(&mut self, needed: &Dictionary) -> Option<u32> {
        let held = self.writer.dictionaries.iter().find(|(id, _)| *id == needed.id());
        if let Some((_, offset)) = held {
            return Some(*offset);
        }
        if self.writer.bytes_since_dictionary < DICTIONARY_AFTER_BYTES {
            return None;
        }
        let offset = self.push_dictionary(needed.bytes());
        self.writer.dictionaries.push((needed.id(), offset));
        self.writer.bytes_since_dictionary = 0;
        Some(offset)
    }

    /// Writes a dictionary, twice: all that is coded with it hangs on it. Between the copies lies
    /// noise, so that no one page of the disk takes both.
    fn push_dictionary(&mut self, bytes: &[u8]) -> u32 {
        let offset = offset_in_file(self.next_offset());
        let payload = [&offset.to_le_bytes()[..], bytes].concat();
        self.push_block(BlockKind::Dictionary, 1, payload.clone());
        let between = offset_in_file(self.next_offset());
        let mut noise = vec![0; PAGE_BYTES];
        blake3::Hasher::new().update(&payload).finalize_xof().fill(&mut noise);
        // As a dictionary of which there is one copy, and with which nothing is coded.
        self.push_block(BlockKind::Dictionary, 1, [&between.to_le_bytes(), &noise[..]].concat());
        self.push_block(BlockKind::Dictionary, 1, payload);
        offset
    }

    /// Once enough records were written, they become what later ones are coded with.
    fn settle_shared_records(&mut self) {
        if let SharedRecords::Gathering(gathered) = &self.writer.shared_records
            && gathered.len() >= SHARED_RECORDS_BYTES
        {
            let bytes: Arc<[u8]> = gathered[gathered.len() - SHARED_RECORDS_BYTES..].into();
            let offset = self.push_dictionary(&bytes);
            let dictionary = Dictionary::new(DictionaryId::default(), 0, bytes, LEVEL);
            self.writer.shared_records = SharedRecords::Dictionary(dictionary, offset);
        }
    }

    fn push_bodies(&mut self, bodies: &[(Cow<'_, CodedBody>, u32)]) -> Vec<BodyEntry> {
        let mut entries = Vec::with_capacity(bodies.len());
        let mut rest = bodies;
        while !rest.is_empty() {
            let block = offset_in_file(self.next_offset());
            let mut payload = Vec::new();
            let mut taken = 0;
            while let Some((body, dictionary)) = rest.get(taken) {
                if taken > 0 && payload.len() + body.bytes.len() > BODIES_BLOCK_BYTES {
                    break;
                }
                entries.push(BodyEntry {
                    id: body.id,
                    raw_bytes: body.raw_bytes,
                    coded_bytes: offset_in_file(body.bytes.len() as u64),
                    block,
                    start: offset_in_file(payload.len() as u64),
                    dictionary: *dictionary,
                    codec: body.codec,
                });
                payload.extend_from_slice(&body.bytes);
                taken += 1;
            }
            self.push_block(BlockKind::Bodies, taken, payload);
            rest = &rest[taken..];
        }
        entries
    }

    fn push_records(&mut self, bodies: &[BodyEntry], records: &[&Record]) -> Vec<RecordsBlock> {
        let bodies = bodies.iter().copied().map(Entry::Body);
        let records = records.iter().map(|record| Entry::Record((*record).clone()));
        let mut rest = bodies.chain(records).peekable();
        let mut blocks = Vec::new();
        while rest.peek().is_some() {
            self.settle_shared_records();
            let offset = offset_in_file(self.next_offset());
            let mut payload = Vec::new();
            let mut entries = Vec::new();
            while entries.len() < RECORDS_BLOCK_ENTRIES && payload.len() < RECORDS_BLOCK_BYTES {
                let Some(entry) = rest.next() else { break };
                entry.encode(&mut payload);
                entries.push(entry);
            }
            self.push_block(BlockKind::Records, entries.len(), payload.clone());
            if let SharedRecords::Gathering(gathered) = &mut self.writer.shared_records {
                gathered.extend(payload);
            }
            blocks.push(RecordsBlock { offset, entries });
        }
        blocks
    }

    fn compressed(&self, kind: BlockKind, plain: Vec<u8>) -> (Compression, Vec<u8>) {
        let packed = match (kind, &self.writer.shared_records) {
            (BlockKind::Bodies | BlockKind::Closing, _) => None,
            _ if self.writer.header.role == SegmentRole::Pack => {
                compress_well(&plain).map(|frame| (Compression::Zstd, frame))
            }
            (BlockKind::Records, SharedRecords::Dictionary(dictionary, offset)) => {
                let frame = compress(&plain, Some(dictionary));
                frame.map(|frame| {
                    (Compression::Shared, [&offset.to_le_bytes(), &frame[..]].concat())
                })
            }
            _ => compress(&plain, None).map(|frame| (Compression::Zstd, frame)),
        };
        let is_shorter = |(_, packed): &(Compression, Vec<u8>)| packed.len() < plain.len();
        packed.filter(is_shorter).unwrap_or((Compression::None, plain))
    }

    fn push_block(&mut self, kind: BlockKind, items: usize, plain: Vec<u8>) {
        let offset = self.next_offset();
        let plain_bytes = offset_in_file(plain.len() as u64);
        let (compression, mut payload) = self.compressed(kind, plain);
        let header = BlockHeader {
            kind,
            compression,
            items: u16::try_from(items).unwrap_or(u16::MAX),
            sealed_bytes: offset_in_file((payload.len() + TAG_BYTES) as u64),
            plain_bytes,
            offset,
            commit: self.commit,
        };
        let head = header.encode(&self.writer.header.salt);
        self.writer.cipher.seal(offset, &head, &mut payload);
        self.bytes.reserve(BLOCK_HEADER_BYTES + payload.len() + BLOCK_ALIGNMENT as usize);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(&payload);
        let padded = self.bytes.len().next_multiple_of(BLOCK_ALIGNMENT as usize);
        self.bytes.resize(padded, 0);
    }
}

/// Offsets and lengths in a segment fit 32 bits: a segment is rolled at 256 MiB.
fn offset_in_file(offset: u64) -> u32 {
    u32::try_from(offset).expect("a segment is rolled long before 4 GiB")
}

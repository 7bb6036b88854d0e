//! Puts together and seals the blocks of one append.
//! Never writes: what is drafted is on no disk.

use super::super::entries::Entry;
use super::super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Compression, SegmentRole,
};
use super::super::{BodyEntry, SegmentName};
use super::{
    BODIES_BLOCK_BYTES, DICTIONARY_AFTER_BYTES, PAGE_BYTES, RECORDS_BLOCK_BYTES,
    RECORDS_BLOCK_ENTRIES, RecordsBlock, SHARED_RECORDS_BYTES, SegmentWriter, SharedRecords,
    offset_in_file,
};
use crate::codec::{CodedBody, LEVEL, compress, compress_well};
use crate::dictionary::{Dictionary, DictionaryId};
use crate::seal::TAG_BYTES;
use quar_base::record::Record;
use std::borrow::{Borrow, Cow};
use std::io;
use std::sync::Arc;

/// The sealed bodies of a commit, before its records are known and before anything is written.
pub(crate) struct Drafted {
    pub(super) segment: SegmentName,
    pub(super) bytes: Vec<u8>,
    pub(super) bodies: Vec<BodyEntry>,
}

/// The bytes of one append, while they are put together.
pub(super) struct Draft<'a> {
    pub(super) writer: &'a mut SegmentWriter,
    pub(super) commit: u64,
    pub(super) bytes: Vec<u8>,
}

impl Draft<'_> {
    fn next_offset(&self) -> u64 {
        self.writer.end + self.bytes.len() as u64
    }

    /// The bodies as they are to be written, each with the place of its dictionary or 0.
    pub(super) fn settle_dictionaries<'b>(
        &mut self,
        bodies: &'b [impl Borrow<CodedBody>],
    ) -> io::Result<Vec<(Cow<'b, CodedBody>, u32)>> {
        let mut settled = Vec::with_capacity(bodies.len());
        for body in bodies {
            let body: &CodedBody = body.borrow();
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

    pub(super) fn push_bodies(&mut self, bodies: &[(Cow<'_, CodedBody>, u32)]) -> Vec<BodyEntry> {
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

    pub(super) fn push_records(
        &mut self,
        bodies: &[BodyEntry],
        records: &[&Record],
    ) -> Vec<RecordsBlock> {
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

    pub(super) fn push_block(&mut self, kind: BlockKind, items: usize, plain: Vec<u8>) {
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

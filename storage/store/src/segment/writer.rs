//! Appends the blocks of a commit to a segment that this run of the process made.
//! Never acknowledges: bytes are durable only after [`SegmentWriter::sync`] returned.

mod draft;

use self::draft::Draft;
pub(crate) use self::draft::Drafted;
use super::entries::Entry;
use super::format::{BLOCK_PAYLOAD_BYTES_MAX, BlockKind, KeySlot, SegmentHeader, SegmentRole};
use super::{SegmentName, bucket_directory};
use crate::codec::CodedBody;
use crate::dictionary::{Dictionary, DictionaryId};
use crate::disk::{Disk, File};
use crate::seal::{BlockCipher, EncryptionKey};
use quar_base::ids::{ClusterId, MemberId};
use quar_base::record::Record;
use quar_base::rng::Rng;
use std::borrow::Borrow;
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
        bodies: &[impl Borrow<CodedBody>],
    ) -> io::Result<Vec<RecordsBlock>> {
        let mut drafted = None;
        self.draft(&mut drafted, commit, bodies)?;
        self.append_drafted(drafted, commit, records)
    }

    /// Seals those of these bodies that are not in the draft yet. A draft for another segment is begun anew.
    ///
    /// After an error, as after one of [`Self::append_drafted`], the caller starts another segment.
    pub(crate) fn draft(
        &mut self,
        drafted: &mut Option<Drafted>,
        commit: u64,
        bodies: &[impl Borrow<CodedBody>],
    ) -> io::Result<()> {
        let segment = self.name;
        let begun = drafted.take().filter(|begun| begun.segment == segment);
        let mut begun = begun.unwrap_or(Drafted { segment, bytes: vec![], bodies: vec![] });
        let mut draft = Draft { writer: self, commit, bytes: begun.bytes };
        let bodies = draft.settle_dictionaries(&bodies[begun.bodies.len()..])?;
        begun.bodies.extend(draft.push_bodies(&bodies));
        begun.bytes = draft.bytes;
        *drafted = Some(begun);
        Ok(())
    }

    /// Writes what was drafted, and behind it records, in one write.
    pub(crate) fn append_drafted(
        &mut self,
        drafted: Option<Drafted>,
        commit: u64,
        records: &[&Record],
    ) -> io::Result<Vec<RecordsBlock>> {
        let (bytes, bodies) =
            drafted.map(|drafted| (drafted.bytes, drafted.bodies)).unwrap_or_default();
        let mut draft = Draft { writer: self, commit, bytes };
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

    /// For a sync while more is appended.
    pub(crate) fn file(&self) -> Arc<dyn File> {
        self.file.clone()
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

/// Offsets and lengths in a segment fit 32 bits: a segment is rolled at 256 MiB.
fn offset_in_file(offset: u64) -> u32 {
    u32::try_from(offset).expect("a segment is rolled long before 4 GiB")
}

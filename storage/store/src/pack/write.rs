//! Writes the segments of a pack: groups of bodies, then records, tables and footer.
//! Never puts anything in force: the footer does, and its sync is the caller's last step.

use super::footer::{Footer, Member, PackCounts, TableEntry, TablePart};
use super::table::{TABLE_ENTRIES_MAX, push_entry};
use crate::codec::Codec;
use crate::layout::{self, BodyPlace};
use crate::segment::{BlockKind, BlockPlace, Maker, SegmentName, SegmentRole, SegmentWriter};
use crate::store::Store;
use quar_base::key::Bucket;
use quar_base::limits::SEGMENT_BYTES_MAX;
use quar_merkle::{Hash, Part};
use std::io;

/// Plain bytes of a group: one read opens no more than this, or one body.
pub(super) const GROUP_BYTES: usize = 1 << 20;
/// Bodies of a group.
pub(super) const GROUP_BODIES_MAX: usize = 4096;

/// The segments of a pack that is being written.
pub(super) struct PackWriter<'a> {
    store: &'a Store,
    bucket: Bucket,
    current: Option<SegmentWriter>,
    members: Vec<Member>,
    made: Vec<SegmentName>,
    group: Group,
    /// Bytes written since they were last asked for.
    written: u64,
    /// Whether the bodies are all written.
    is_at_records: bool,
}

/// Bodies that wait for their block.
#[derive(Default)]
struct Group {
    /// Index keys of the bodies, with their lengths.
    bodies: Vec<(Vec<u8>, u32)>,
    plain: Vec<u8>,
}

impl<'a> PackWriter<'a> {
    pub(super) fn new(store: &'a Store, bucket: Bucket) -> Self {
        let (members, made, group) = Default::default();
        let (current, written, is_at_records) = (None, 0, false);
        Self { store, bucket, current, members, made, group, written, is_at_records }
    }

    /// Takes up a segment of an earlier packing as it is.
    pub(super) fn keep(&mut self, member: Member) {
        self.members.push(member);
    }

    /// Adds a body under its index key; returns the places of those that were written by that.
    pub(super) fn push_body(
        &mut self,
        key: Vec<u8>,
        plain: &[u8],
    ) -> io::Result<Vec<(Vec<u8>, BodyPlace)>> {
        let length = u32::try_from(plain.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let is_full = self.group.plain.len() + plain.len() > GROUP_BYTES
            || self.group.bodies.len() >= GROUP_BODIES_MAX;
        let written = if is_full { self.end_group()? } else { Vec::new() };
        self.group.bodies.push((key, length));
        self.group.plain.extend_from_slice(plain);
        Ok(written)
    }

    /// Writes the bodies that wait.
    pub(super) fn end_group(&mut self) -> io::Result<Vec<(Vec<u8>, BodyPlace)>> {
        let Group { bodies, plain } = std::mem::take(&mut self.group);
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        if self.current.as_ref().is_some_and(|writer| writer.end() >= SEGMENT_BYTES_MAX) {
            self.end_segment()?;
        }
        let lengths = bodies.iter().flat_map(|(_, length)| length.to_le_bytes());
        let mut payload: Vec<u8> = lengths.collect();
        let mut start = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        payload.extend(plain);
        let (segment, offset) = self.append(BlockKind::Group, bodies.len(), payload)?;
        let mut places = Vec::with_capacity(bodies.len());
        for (key, length) in bodies {
            let place = BodyPlace {
                block: BlockPlace { segment, offset },
                start,
                coded_bytes: length,
                raw_bytes: length,
                dictionary: 0,
                codec: Codec::Plain,
            };
            places.push((key, place));
            start += length;
        }
        Ok(places)
    }

    /// Writes a block; returns the segment's number and the offset.
    pub(super) fn append(
        &mut self,
        kind: BlockKind,
        items: usize,
        payload: Vec<u8>,
    ) -> io::Result<(u32, u32)> {
        if self.current.is_none() {
            self.current = Some(self.create()?);
        }
        let writer = self.current.as_mut().expect("it was just made");
        let before = writer.end();
        let offset = writer.append_block(kind, items, payload)?;
        self.written += writer.end() - before;
        Ok((writer.name().number, offset))
    }

    /// Closes the segment with its bodies: what is in it stays, whatever becomes of the rest.
    pub(super) fn end_segment(&mut self) -> io::Result<()> {
        if let Some(mut writer) = self.current.take() {
            writer.sync()?;
            // It has no footer.
            writer.close(0, &[0])?;
            writer.sync()?;
            self.members.push(member_of(&writer));
        }
        Ok(())
    }

    /// Bytes written since the last call.
    pub(super) fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Starts the segment of records and tables: that of the last bodies, unless it is full.
    pub(super) fn begin_records(&mut self) -> io::Result<()> {
        self.is_at_records = true;
        if self.current.as_ref().is_some_and(|writer| writer.end() >= SEGMENT_BYTES_MAX) {
            self.end_segment()?;
        }
        Ok(())
    }

    /// Writes the footer and makes it durable: from here on the pack is in force on disk. Returns
    /// its name, footer and the length of its files.
    pub(super) fn finish(
        &mut self,
        counts: PackCounts,
        root: Hash,
        tables: Tables,
        replaced: Vec<u32>,
    ) -> io::Result<(SegmentName, Footer, u64)> {
        if self.current.is_none() {
            self.current = Some(self.create()?);
        }
        let mut writer = self.current.take().expect("it was just made");
        writer.sync()?;
        self.members.push(member_of(&writer));
        let digest = *tables.digest.finalize().as_bytes();
        let members = std::mem::take(&mut self.members);
        let footer = Footer { counts, root, digest, members, replaced, tables: tables.entries };
        let offset = writer.append_block(BlockKind::Footer, 1, footer.encode())?;
        writer.sync()?;
        writer.close(0, &[offset])?;
        writer.sync()?;
        let before: u64 = footer.members.iter().rev().skip(1).map(|member| member.end).sum();
        Ok((writer.name(), footer, before + writer.end()))
    }

    /// Leaves the segments with bodies to the next packing, whole and durable, after an interruption. One with records
    /// is taken back: a record that is deleted until then must not stay.
    pub(super) fn leave(mut self) -> io::Result<()> {
        self.group = Group::default();
        if self.is_at_records {
            if let Some(writer) = self.current.take() {
                self.store.take_back(writer.name());
            }
            return Ok(());
        }
        let ended = self.end_segment();
        if ended.is_err() {
            self.undo();
        }
        ended
    }

    /// Takes back what was written, after an error.
    pub(super) fn undo(self) {
        drop(self.current);
        self.made.into_iter().for_each(|name| self.store.undo_closed(name));
    }

    fn create(&mut self) -> io::Result<SegmentWriter> {
        let settings = &self.store.settings;
        let key = settings.keys.first().expect("a store is opened with a key");
        let maker = Maker { cluster: settings.cluster, member: settings.member, key };
        let mut committer = self.store.committer();
        let number = self.store.next_rewrite_number(self.bucket)?;
        let name = SegmentName { bucket: self.bucket, number };
        self.made.push(name);
        let disk = &*self.store.disk;
        SegmentWriter::create(disk, name, SegmentRole::Pack, &maker, &mut committer.rng)
    }
}

fn member_of(writer: &SegmentWriter) -> Member {
    Member { number: writer.name().number, salt: writer.salt(), end: writer.end() }
}

/// The tables of a pack, as they are written: entries come in the order of their keys.
#[derive(Default)]
pub(super) struct Tables {
    entries: Vec<TableEntry>,
    digest: blake3::Hasher,
    payload: Vec<u8>,
    first: Vec<u8>,
    items: usize,
}

impl Tables {
    /// Adds an entry; `part` when it is the first of a part of the trie, which is a block.
    pub(super) fn push(
        &mut self,
        writer: &mut PackWriter<'_>,
        key: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        if self.items >= TABLE_ENTRIES_MAX || self.first.first() != key.first() {
            self.end_block(writer, None)?;
        }
        self.add(key, value);
        Ok(())
    }

    /// Writes the record keys of one part of the trie as a block.
    pub(super) fn push_part(
        &mut self,
        writer: &mut PackWriter<'_>,
        part: &Part,
        entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> io::Result<()> {
        self.end_block(writer, None)?;
        entries.for_each(|(key, value)| self.add(&key, &value));
        let count = u32::try_from(part.count).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.end_block(writer, Some(TablePart { last: part.last, count, hash: part.hash }))
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        if self.items == 0 {
            self.first = key.to_vec();
        }
        let before = self.payload.len();
        push_entry(&mut self.payload, key, value);
        self.digest.update(&self.payload[before..]);
        self.items += 1;
    }

    pub(super) fn end_block(
        &mut self,
        writer: &mut PackWriter<'_>,
        part: Option<TablePart>,
    ) -> io::Result<()> {
        if self.items > 0 {
            let payload = std::mem::take(&mut self.payload);
            let (_, offset) = writer.append(BlockKind::Table, self.items, payload)?;
            let first = std::mem::take(&mut self.first);
            debug_assert!(part.is_none() || layout::parse_record_key(&first).is_some());
            self.entries.push(TableEntry { first, offset, part });
            self.items = 0;
        }
        Ok(())
    }
}

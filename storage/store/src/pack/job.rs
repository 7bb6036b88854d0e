//! One packing from its beginning to its end: what goes into the pack, in which order, and what goes away for it.
//! Never holds more than a batch of bodies in memory.

use super::footer::PackCounts;
use super::loaded::Pack;
use super::similar::Sketches;
use super::source::Blocks;
use super::write::{PackWriter, Tables};
use super::{PackProgress, Packed};
use crate::erase::Begun;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{BlockKind, BlockPlace, Entry};
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{Kind, Record};
use quar_index::{Index, Tree};
use quar_merkle::Trie;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Coded bytes of bodies that are ordered together.
const BATCH_BYTES: u64 = 32 << 20;
/// Bodies that are ordered together.
const BATCH_BODIES: usize = 32 << 10;
/// Keys of a part of the trie, which is a table block.
const PART_KEYS: u64 = 1024;
/// Plain bytes of a records block.
const RECORDS_BYTES: usize = 256 << 10;

/// What is to be packed.
pub(super) struct Contents {
    pub(super) begun: Begun,
    /// Records that stay, ascending.
    records: Vec<(RecordKey, RecordPlace)>,
    /// Index keys and places of the bodies that stay.
    pub(super) bodies: Vec<(Vec<u8>, BodyPlace)>,
}

/// What should be in a pack and is damaged on disk.
#[derive(Default)]
pub(super) struct Damaged {
    pub(super) records: Vec<RecordKey>,
    /// Index keys.
    pub(super) bodies: HashSet<Vec<u8>>,
    /// Arrivals that need these bodies.
    pub(super) arrivals: Vec<(BodyId, RecordKey)>,
}

/// A pack that is durable and not yet in force in memory.
pub(super) struct Written {
    pub(super) pack: Arc<Pack>,
    pub(super) trie: Trie,
    pub(super) bytes: u64,
    pub(super) damaged: Damaged,
}

/// What goes on while a pack is written.
pub(super) struct Progress<'a> {
    pub(super) so_far: PackProgress,
    step: &'a mut dyn FnMut(PackProgress) -> ControlFlow<()>,
}

impl Progress<'_> {
    pub(super) fn report(&mut self) -> ControlFlow<()> {
        let report = self.so_far;
        self.so_far.bytes = 0;
        (self.step)(report)
    }
}

impl Store {
    /// As [`Store::pack`], by whoever holds the right to rewrite.
    pub(crate) fn pack_alone(
        &self,
        bucket: Bucket,
        step: &mut dyn FnMut(PackProgress) -> ControlFlow<()>,
    ) -> Result<Option<Packed>, ReadError> {
        let Some(begun) = self.begin_rewriting(bucket)? else {
            return Ok(Some(Packed::default()));
        };
        let mut writer = PackWriter::new(self, bucket);
        let result = self.contents(bucket, begun).and_then(|mut contents| {
            let written = self.write_pack(bucket, &mut contents, &mut writer, step)?;
            Ok(written.map(|written| (written, contents.begun)))
        });
        let result = match result {
            Ok(Some((written, begun))) => {
                self.put_pack_in_force(bucket, &written, &begun).map(Some)
            }
            Ok(None) => writer.leave().map(|()| None).map_err(ReadError::from),
            Err(error) => {
                writer.undo();
                self.take_back_leftovers(bucket);
                Err(error)
            }
        };
        self.end_rewriting(bucket);
        result
    }

    fn contents(&self, bucket: Bucket, begun: Begun) -> Result<Contents, ReadError> {
        let tree = Tree::Bucket(bucket);
        let segments: BTreeSet<u32> = begun.segments.iter().copied().collect();
        let mut records = Vec::new();
        self.index.scan(tree, &[layout::RECORD], &mut |key, value| {
            let Some(key) = layout::parse_record_key(key) else {
                return ControlFlow::Break(());
            };
            let place = RecordPlace::decode(value);
            let place = place.filter(|place| segments.contains(&place.block.segment));
            records
                .extend(place.filter(|_| !begun.records.contains(&key)).map(|place| (key, place)));
            ControlFlow::Continue(())
        })?;
        let doomed = self.doomed_bodies(bucket, &records)?;
        let mut bodies = Vec::new();
        self.index.scan(tree, &[layout::BODY], &mut |key, value| {
            if key.first() != Some(&layout::BODY) {
                return ControlFlow::Break(());
            }
            let place = BodyPlace::decode(value);
            let place = place.filter(|place| segments.contains(&place.block.segment));
            bodies
                .extend(place.filter(|_| !doomed.contains(key)).map(|place| (key.to_vec(), place)));
            ControlFlow::Continue(())
        })?;
        Ok(Contents { begun, records, bodies })
    }

    /// Index keys of the bodies that only deleted messages use.
    fn doomed_bodies(
        &self,
        bucket: Bucket,
        records: &[(RecordKey, RecordPlace)],
    ) -> Result<HashSet<Vec<u8>>, ReadError> {
        let leaving = self.state().buckets.get(&bucket).map(|held| held.leaving.clone());
        // By what the index knows of an id: another one may have that in common.
        let leaving = leaving.iter().flatten();
        let mut bodies: HashSet<Vec<u8>> = leaving.map(layout::body_key).collect();
        let arrivals = records.iter().filter(|(_, place)| place.kind == Kind::ARRIVAL);
        let mut blocks = Blocks::new(self, bucket);
        for (key, place) in arrivals {
            if bodies.is_empty() {
                break;
            }
            let record = blocks.record(key, place)?;
            if let Some(arrival) = record.and_then(|record| Arrival::decode(record.payload()).ok())
            {
                bodies.remove(&layout::body_key(&arrival.body())[..]);
            }
        }
        Ok(bodies)
    }

    fn write_pack(
        &self,
        bucket: Bucket,
        contents: &mut Contents,
        writer: &mut PackWriter<'_>,
        step: &mut dyn FnMut(PackProgress) -> ControlFlow<()>,
    ) -> Result<Option<Written>, ReadError> {
        let mut progress = Progress { so_far: PackProgress::default(), step };
        let Some(mut kept) = self.take_up_leftovers(bucket, contents, &mut progress)? else {
            return Ok(None);
        };
        let taken: BTreeSet<u32> = kept.iter().map(|member| member.number).collect();
        kept.extend(self.kept_members(bucket, contents, &taken)?);
        let kept_numbers: BTreeSet<u32> = kept.iter().map(|member| member.number).collect();
        kept.into_iter().for_each(|member| writer.keep(member));
        let (mut places, mut moving): (Vec<_>, Vec<_>) = contents
            .bodies
            .iter()
            .cloned()
            .partition(|(_, place)| kept_numbers.contains(&place.block.segment));
        moving.sort_by_key(|(_, place)| (place.block, place.start));
        progress.so_far.bodies_total = moving.len() as u64;
        let mut damaged = Damaged::default();
        for batch in batches(&moving) {
            let (places, damaged) = (&mut places, &mut damaged);
            if self.write_bodies(bucket, batch, writer, places, damaged, &mut progress)?.is_break()
            {
                return Ok(None);
            }
        }
        places.sort_by(|(one, _), (other, _)| one.cmp(other));
        writer.begin_records()?;
        let written = self.write_records(bucket, contents, writer, &mut damaged, &mut progress)?;
        let Some(written) = written else { return Ok(None) };
        let trie = Trie::from_sorted(written.iter().map(|(key, _)| *key));
        let tables = self.write_tables(bucket, &places, &written, &damaged, &trie, writer)?;
        let actions =
            written.iter().filter(|(_, place)| place.kind != Kind::ARRIVAL).count() as u64;
        let counts = PackCounts {
            arrivals: written.len() as u64 - actions,
            actions,
            bodies: places.len() as u64,
            body_bytes: places.iter().map(|(_, place)| u64::from(place.raw_bytes)).sum(),
        };
        // From the footer on nothing else says them.
        self.name_damaged(bucket, &damaged.records, &contents.begun.segments)?;
        let segments = contents.begun.segments.iter().copied();
        let replaced = segments.filter(|number| !kept_numbers.contains(number)).collect();
        let (name, footer, bytes) = writer.finish(counts, trie.root(), tables, replaced)?;
        let pack = Pack::new(name, footer, self.segments.clone(), self.settings.id_key.clone());
        let pack = pack.ok_or_else(|| io::Error::other("the pack's parts do not give its root"))?;
        Ok(Some(Written { pack, trie, bytes, damaged }))
    }

    /// Writes a batch of bodies, similar ones together; those that are damaged are named.
    fn write_bodies(
        &self,
        bucket: Bucket,
        batch: &[(Vec<u8>, BodyPlace)],
        writer: &mut PackWriter<'_>,
        places: &mut Vec<(Vec<u8>, BodyPlace)>,
        damaged: &mut Damaged,
        progress: &mut Progress<'_>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut sketches = Sketches::default();
        let mut bodies = Vec::with_capacity(batch.len());
        let mut block = None;
        for (key, place) in batch {
            match self.whole_body(bucket, key, place, &mut block)? {
                Some((coded, plain)) => {
                    sketches.add(&plain);
                    progress.so_far.bytes += coded.bytes.len() as u64;
                    bodies.push((key, coded));
                }
                None => drop(damaged.bodies.insert(key.clone())),
            }
        }
        for at in sketches.into_order() {
            let (key, coded) = &bodies[at];
            // It was whole a moment ago, and lies in memory.
            let plain = self.plain_of(key, coded);
            let plain = plain.ok_or_else(|| io::Error::other("a body in memory changed"))?;
            places.extend(writer.push_body((*key).clone(), &plain)?);
            progress.so_far.bodies_done += 1;
            progress.so_far.bytes += writer.take_written();
            if progress.so_far.bytes >= super::write::GROUP_BYTES as u64
                && progress.report().is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        places.extend(writer.end_group()?);
        progress.so_far.bytes += writer.take_written();
        Ok(progress.report())
    }

    /// Writes the records in order, those that are damaged left out; `None` when it is not to go on.
    fn write_records(
        &self,
        bucket: Bucket,
        contents: &Contents,
        writer: &mut PackWriter<'_>,
        damaged: &mut Damaged,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Vec<(RecordKey, RecordPlace)>>, ReadError> {
        let mut written = Vec::with_capacity(contents.records.len());
        let mut blocks = Blocks::new(self, bucket);
        let mut payload = Vec::new();
        let mut items: Vec<(RecordKey, Kind)> = Vec::new();
        for (at, (key, place)) in contents.records.iter().enumerate() {
            match blocks.record(key, place)? {
                Some(record) => {
                    damaged.note(record);
                    Entry::Record(record.clone()).encode(&mut payload);
                    items.push((*key, place.kind));
                }
                None => damaged.records.push(*key),
            }
            let is_last = at + 1 == contents.records.len();
            let is_full = payload.len() >= RECORDS_BYTES || items.len() >= usize::from(u16::MAX);
            if items.is_empty() || !is_full && !is_last {
                continue;
            }
            let bytes = std::mem::take(&mut payload);
            let (segment, offset) = writer.append(BlockKind::Records, items.len(), bytes)?;
            let block = BlockPlace { segment, offset };
            for (number, (key, kind)) in (0..).zip(items.drain(..)) {
                written.push((key, RecordPlace { block, number, kind }));
            }
            progress.so_far.bytes += writer.take_written();
            if progress.report().is_break() {
                return Ok(None);
            }
        }
        Ok(Some(written))
    }

    fn write_tables(
        &self,
        bucket: Bucket,
        bodies: &[(Vec<u8>, BodyPlace)],
        records: &[(RecordKey, RecordPlace)],
        damaged: &Damaged,
        trie: &Trie,
        writer: &mut PackWriter<'_>,
    ) -> Result<Tables, ReadError> {
        let is_packed =
            |key: &RecordKey| records.binary_search_by_key(key, |(key, _)| *key).is_ok();
        let mut lost: BTreeSet<RecordKey> = damaged.records.iter().copied().collect();
        let mut wanted = BTreeSet::from_iter(damaged.arrivals.iter().copied());
        if let Some(held) = self.state().buckets.get(&bucket) {
            lost.extend(&held.broken.records);
            wanted.extend(held.wanted.pairs().into_iter().filter(|(_, key)| is_packed(key)));
        }
        let mut tables = Tables::default();
        let mut trouble = Ok(());
        self.index.scan(Tree::Bucket(bucket), &[layout::ACTION], &mut |key, value| {
            let Some((_, action)) = layout::parse_action_key(key) else {
                return ControlFlow::Break(());
            };
            // What a damaged action said is said here too: it holds all the same.
            if is_packed(&action) || lost.contains(&action) {
                trouble = tables.push(writer, key, value);
            }
            if trouble.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        trouble?;
        for (key, place) in bodies {
            tables.push(writer, key, &place.encode())?;
        }
        let mut rest = records.iter();
        for part in trie.parts(PART_KEYS) {
            let count = usize::try_from(part.count).unwrap_or(usize::MAX);
            let entry =
                |(key, place): &(RecordKey, RecordPlace)| (layout::record_key(key), place.encode());
            tables.push_part(writer, &part, rest.by_ref().take(count).map(entry))?;
        }
        for (body, arrival) in wanted {
            tables.push(writer, &layout::wanted_key(&body, &arrival), &[])?;
        }
        tables.end_block(writer, None)?;
        Ok(tables)
    }
}

impl Damaged {
    /// Remembers an arrival that needs a damaged body.
    fn note(&mut self, record: &Record) {
        if !self.bodies.is_empty()
            && record.head().kind == Kind::ARRIVAL
            && let Ok(arrival) = Arrival::decode(record.payload())
            && self.bodies.contains(&layout::body_key(&arrival.body())[..])
        {
            self.arrivals.push((arrival.body(), record.key()));
        }
    }
}

/// Runs of bodies that are ordered together.
fn batches(mut bodies: &[(Vec<u8>, BodyPlace)]) -> impl Iterator<Item = &[(Vec<u8>, BodyPlace)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, place): &&(Vec<u8>, BodyPlace)| {
            bytes += u64::from(place.coded_bytes);
            bytes <= BATCH_BYTES
        };
        let count = bodies.iter().take(BATCH_BODIES).take_while(fits).count();
        let (batch, rest) = bodies.split_at(count.max(1).min(bodies.len()));
        bodies = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

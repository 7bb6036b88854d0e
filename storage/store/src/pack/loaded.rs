//! A pack that is in force: its tables, read block by block as they are asked for.
//! Never fails for damage: tables that cannot be read are computed again from the bodies and records.

use super::footer::{Footer, TableEntry};
use super::recover::{Entries, recover};
use super::table::{TABLE_ENTRIES_MAX, TableBlock, push_entry};
use crate::layout;
use crate::seal::IdKey;
use crate::segment::{BlockError, BlockKind, SegmentName};
use crate::segments::Segments;
use quar_base::key::{Bucket, RecordKey};
use quar_merkle::{KeySource, Trie};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Table blocks that are kept as they were read, the last used longest.
const BLOCKS_KEPT: usize = 4;

/// The pack of a bucket.
pub(crate) struct Pack {
    name: SegmentName,
    footer: Footer,
    replaced: BTreeSet<u32>,
    segments: Arc<Segments>,
    id_key: IdKey,
    blocks: Mutex<VecDeque<(u32, Arc<TableBlock>)>>,
    /// What the tables should say, once one of them was found damaged.
    recovered: OnceLock<Entries>,
    /// Whether tables, or what leads to them, are damaged.
    is_due: AtomicBool,
}

/// Entries from a key on to the end of their block.
pub(crate) struct TablePage {
    block: Arc<TableBlock>,
    next: usize,
    /// Where the entries behind them begin.
    pub(crate) behind: Option<Vec<u8>>,
}

impl TablePage {
    /// The entry that comes next.
    pub(crate) fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.block.entry(self.next)
    }

    /// Passes over the entry that comes next.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (self.next..self.block.len()).filter_map(|number| self.block.entry(number))
    }
}

impl Pack {
    /// `None` when the footer's parts do not give its root.
    pub(crate) fn new(
        name: SegmentName,
        footer: Footer,
        segments: Arc<Segments>,
        id_key: IdKey,
    ) -> Option<Arc<Self>> {
        let replaced = footer.replaced.iter().copied().collect();
        let (blocks, recovered) = (Mutex::default(), OnceLock::new());
        let (root, is_due) = (footer.root, AtomicBool::new(false));
        let pack =
            Arc::new(Self { name, footer, replaced, segments, id_key, blocks, recovered, is_due });
        (pack.trie()?.root() == root).then_some(pack)
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    pub(crate) fn bucket(&self) -> Bucket {
        self.name.bucket
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) fn records(&self) -> u64 {
        self.footer.counts.arrivals.saturating_add(self.footer.counts.actions)
    }

    /// Names of the segments that the pack is made of.
    pub(crate) fn members(&self) -> impl Iterator<Item = SegmentName> {
        let bucket = self.name.bucket;
        self.footer.members.iter().map(move |member| SegmentName { bucket, number: member.number })
    }

    /// The trie over the pack's keys, which are read when they are needed.
    pub(crate) fn trie(self: &Arc<Self>) -> Option<Trie> {
        let source: Arc<dyn KeySource> = Arc::new(Keys(self.clone()));
        Trie::from_parts(&self.footer.parts(), &source).ok()
    }

    /// Whether an index entry names a segment that the pack replaced.
    pub(crate) fn is_stale(&self, key: &[u8], value: &[u8]) -> bool {
        matches!(key.first(), Some(&(layout::RECORD | layout::BODY)))
            && layout::segment_of(value).is_some_and(|number| self.has_replaced(number))
    }

    /// Whether the pack stands for what this segment held.
    pub(crate) fn has_replaced(&self, number: u32) -> bool {
        self.replaced.contains(&number)
    }

    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(at) = self.table_for(key) else {
            return Ok(None);
        };
        match self.block(at)? {
            Some(block) => Ok(block.get(key).map(<[u8]>::to_vec)),
            None => Ok(self.recovered()?.get(key).cloned()),
        }
    }

    /// The entries from `start` on to the end of their block; `None` when nothing follows.
    pub(crate) fn page(&self, start: &[u8]) -> io::Result<Option<TablePage>> {
        let tables = &self.footer.tables;
        let at = self.table_for(start).unwrap_or(0);
        if at >= tables.len() {
            return Ok(None);
        }
        let next_table = tables.get(at + 1).map(|next| next.first.clone());
        if let Some(block) = self.block(at)? {
            let next = block.position(start);
            return Ok(Some(TablePage { block, next, behind: next_table }));
        }
        // A block that is whole says more than what can be computed again: only this one's place is
        // filled.
        let is_here = |key: &[u8]| next_table.as_deref().is_none_or(|next| key < next);
        let rest = self.recovered()?.range(start.to_vec()..);
        let mut payload = Vec::new();
        let within = rest.take_while(|(key, _)| is_here(key));
        let mut last = None;
        for (key, value) in within.take(TABLE_ENTRIES_MAX) {
            push_entry(&mut payload, key, value);
            last = Some(key);
        }
        let more = last.and_then(|last| {
            let behind = (Bound::Excluded(last.clone()), Bound::Unbounded);
            self.recovered.get()?.range::<Vec<u8>, _>(behind).next().map(|(key, _)| key.clone())
        });
        let behind = more.filter(|key| is_here(key)).or(next_table);
        let block = TableBlock::decode(payload).map(Arc::new);
        Ok(block.map(|block| TablePage { block, next: 0, behind }))
    }

    /// Visits every entry that begins with this tag.
    pub(crate) fn visit(&self, tag: u8, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut next = Some(vec![tag]);
        while let Some(start) = next.take_if(|start| start.first() == Some(&tag)) {
            let Some(page) = self.page(&start)? else { break };
            let tagged = page.entries().filter(|(key, _)| key.first() == Some(&tag));
            tagged.for_each(|(key, value)| visit(key, value));
            next = page.behind;
        }
        Ok(())
    }

    /// Whether every table can be read, and they say what the footer's digest is of.
    pub(crate) fn are_tables_whole(&self) -> io::Result<bool> {
        let Some(segment) = self.segments.get(self.name)? else {
            return Ok(false);
        };
        let mut digest = blake3::Hasher::new();
        for table in &self.footer.tables {
            match segment.block(table.offset, BlockKind::Table) {
                Ok(payload) => digest.update(&payload),
                Err(BlockError::Damaged) => return Ok(false),
                Err(BlockError::Io(error)) => return Err(error),
            };
        }
        Ok(*digest.finalize().as_bytes() == self.footer.digest)
    }

    /// Has the day packed again, as tables are damaged, or the footer or closing block that leads to them.
    pub(crate) fn write_tables_again(&self) {
        self.is_due.store(true, Ordering::Relaxed);
    }

    /// Whether tables, or what leads to them, were found damaged.
    pub(crate) fn has_damaged_tables(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// The number of the table block in which a key would be.
    fn table_for(&self, key: &[u8]) -> Option<usize> {
        let behind = self.footer.tables.partition_point(|table| table.first.as_slice() <= key);
        behind.checked_sub(1)
    }

    /// A table block; `None` when it is damaged.
    fn block(&self, at: usize) -> io::Result<Option<Arc<TableBlock>>> {
        let TableEntry { offset, first, .. } = &self.footer.tables[at];
        if let Some(block) = self.kept(*offset) {
            return Ok(Some(block));
        }
        let Some(segment) = self.segments.get(self.name)? else {
            return Ok(None);
        };
        let payload = match segment.block(*offset, BlockKind::Table) {
            Ok(payload) => payload,
            Err(BlockError::Damaged) => return Ok(None),
            Err(BlockError::Io(error)) => return Err(error),
        };
        let block = TableBlock::decode(payload).map(Arc::new);
        let block = block.filter(|block| block.entry(0).is_some_and(|(key, _)| key == first));
        if let Some(block) = &block {
            let mut blocks = self.blocks.lock().expect("no holder of this lock panics");
            blocks.push_back((*offset, block.clone()));
            if blocks.len() > BLOCKS_KEPT {
                blocks.pop_front();
            }
        }
        Ok(block)
    }

    fn kept(&self, offset: u32) -> Option<Arc<TableBlock>> {
        let mut blocks = self.blocks.lock().expect("no holder of this lock panics");
        let at = blocks.iter().position(|(known, _)| *known == offset)?;
        let found = blocks.remove(at)?;
        let block = found.1.clone();
        blocks.push_back(found);
        Some(block)
    }

    fn recovered(&self) -> io::Result<&Entries> {
        if let Some(entries) = self.recovered.get() {
            return Ok(entries);
        }
        let path = self.name.path();
        self.write_tables_again();
        tracing::warn!(path = %path.display(), "tables of a pack are damaged: read anew from its blocks");
        let entries = recover(&self.segments, &self.id_key, self.members())?;
        Ok(self.recovered.get_or_init(|| entries))
    }
}

/// A pack as the source of its trie's keys.
struct Keys(Arc<Pack>);

impl KeySource for Keys {
    fn keys(&self, part: usize) -> Option<Vec<RecordKey>> {
        let pack = &self.0;
        let mut with_parts = pack.footer.tables.iter().filter(|table| table.part.is_some());
        let table = with_parts.nth(part)?;
        let last = layout::record_key(&table.part?.last);
        let mut keys = Vec::new();
        let mut next = Some(table.first.clone());
        while let Some(start) = next.take_if(|start| *start <= last) {
            let Some(page) = pack.page(&start).ok()? else { break };
            let within = page.entries().filter(|(key, _)| *key <= last.as_slice());
            keys.extend(within.filter_map(|(key, _)| layout::parse_record_key(key)));
            next = page.behind;
        }
        Some(keys)
    }
}

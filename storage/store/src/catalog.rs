//! The index as the store reads it: what changed lately, and behind that the tables of packs.
//! Never decides which pack is in force; it is told.
//!
//! ```text
//! get, scan ──► index (open days, changes to packed ones) ──► tables of the bucket's pack
//! write     ──► index
//! ```

use crate::pack::{Pack, TablePage};
use quar_base::key::Bucket;
use quar_index::{Index, IndexError, Tree, Visit, Write};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};

/// An index with packs behind it.
pub(crate) struct Catalog {
    changes: Arc<dyn Index>,
    packs: RwLock<BTreeMap<Bucket, Arc<Pack>>>,
}

const PROOF: &str = "no holder of this lock panics";

impl Catalog {
    pub(crate) fn new(changes: Arc<dyn Index>, packs: &[Arc<Pack>]) -> Self {
        let packs = packs.iter().map(|pack| (pack.bucket(), pack.clone())).collect();
        Self { changes, packs: RwLock::new(packs) }
    }

    /// What is not in a pack.
    pub(crate) fn changes(&self) -> &dyn Index {
        &*self.changes
    }

    /// The pack of a bucket.
    pub(crate) fn pack(&self, bucket: Bucket) -> Option<Arc<Pack>> {
        self.packs.read().expect(PROOF).get(&bucket).cloned()
    }

    pub(crate) fn packs(&self) -> Vec<Arc<Pack>> {
        self.packs.read().expect(PROOF).values().cloned().collect()
    }

    /// From here on the pack stands behind its bucket's changes.
    pub(crate) fn put_in_force(&self, pack: Arc<Pack>) {
        self.packs.write().expect(PROOF).insert(pack.bucket(), pack);
    }

    fn pack_of(&self, tree: Tree) -> Option<Arc<Pack>> {
        match tree {
            Tree::Meta => None,
            Tree::Bucket(bucket) => self.pack(bucket),
        }
    }
}

fn unreadable(pack: &Pack, source: io::Error) -> IndexError {
    IndexError::Io { dir: pack.name().path(), action: "read a table of the pack", source }
}

/// The entries of a pack, one by one.
struct Cursor<'a> {
    pack: &'a Pack,
    page: Option<TablePage>,
    /// Where the entries behind the page begin.
    behind: Option<Vec<u8>>,
}

impl<'a> Cursor<'a> {
    fn new(pack: &'a Pack, start: &[u8]) -> Self {
        Self { pack, page: None, behind: Some(start.to_vec()) }
    }

    /// Brings the next entry to the page's front, if there is one.
    fn load(&mut self) -> Result<(), IndexError> {
        while self.peek().is_none()
            && let Some(start) = self.behind.take()
        {
            let page = self.pack.page(&start).map_err(|error| unreadable(self.pack, error))?;
            self.behind = page.as_ref().and_then(|page| page.behind.clone());
            self.page = page;
        }
        Ok(())
    }

    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.page.as_ref().and_then(TablePage::peek)
    }

    fn skip(&mut self) {
        if let Some(page) = &mut self.page {
            page.skip();
        }
    }

    /// Passes over the entry of this key, which no entry that is left precedes; what it was.
    fn take(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.peek().filter(|(next, _)| *next == key).map(|(_, value)| value.to_vec());
        if value.is_some() {
            self.skip();
        }
        value
    }
}

impl Index for Catalog {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let changed = self.changes.get(tree, key)?;
        let Some(pack) = self.pack_of(tree) else {
            return Ok(changed);
        };
        match changed.filter(|value| !pack.is_stale(key, value)) {
            Some(value) => Ok(Some(value)),
            None => pack.get(key).map_err(|error| unreadable(&pack, error)),
        }
    }

    fn scan(&self, tree: Tree, start: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let Some(pack) = self.pack_of(tree) else {
            return self.changes.scan(tree, start, visit);
        };
        let mut cursor = Cursor::new(&pack, start);
        let mut end = Ok(ControlFlow::Continue(()));
        self.changes.scan(tree, start, &mut |key, value| {
            end = visit_below(&mut cursor, Some(key), visit);
            if !matches!(end, Ok(ControlFlow::Continue(()))) {
                return ControlFlow::Break(());
            }
            let packed = cursor.take(key);
            let value = if pack.is_stale(key, value) { packed.as_deref() } else { Some(value) };
            let flow = value.map_or(ControlFlow::Continue(()), |value| visit(key, value));
            end = Ok(flow);
            flow
        })?;
        match end? {
            ControlFlow::Break(()) => Ok(()),
            ControlFlow::Continue(()) => visit_below(&mut cursor, None, visit).map(drop),
        }
    }

    fn write(&self, batch: Vec<Write>) -> Result<(), IndexError> {
        self.changes.write(batch)
    }

    fn fill(&self, tree: Tree, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), IndexError> {
        self.changes.fill(tree, entries)
    }

    fn drop_tree(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.packs.write().expect(PROOF).remove(&bucket);
        self.changes.drop_tree(bucket)
    }

    fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        let mut buckets = self.changes.buckets()?;
        buckets.extend(self.packs.read().expect(PROOF).keys());
        buckets.sort();
        buckets.dedup();
        Ok(buckets)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.changes.flush()
    }

    fn written_bytes(&self) -> u64 {
        self.changes.written_bytes()
    }
}

/// Visits the pack's entries below a key; whether to go on.
fn visit_below(
    cursor: &mut Cursor<'_>,
    bound: Option<&[u8]>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, IndexError> {
    loop {
        cursor.load()?;
        let next = cursor.peek().filter(|(key, _)| bound.is_none_or(|bound| *key < bound));
        let Some((key, value)) = next else {
            return Ok(ControlFlow::Continue(()));
        };
        if visit(key, value).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        cursor.skip();
    }
}

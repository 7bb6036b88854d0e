//! Which messages of whole days a filter may mean: their records read block by block, on all processors.
//! Never shows a message: what it finds is looked up again, so that stale and deleted ones drop out.
//!
//! ```text
//! segments of the days ──► records blocks opened ──► bytes of each record searched ──► those left decoded
//! ```
//! A bucket with a block that cannot be read is left to the index, which knows what is missing.

use crate::beside;
use crate::error::ReadError;
use crate::list::Query;
use crate::segment::{BlockError, BlockHeader, BlockKind, Entry, Segment, SegmentName};
use crate::store::Store;
use memchr::memmem::Finder;
use quar_base::arrival::Arrival;
use quar_base::key::{Bucket, MessageId};
use quar_base::record::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a filter finds in some buckets; none for a bucket that could not be read through.
pub(crate) type Candidates = BTreeMap<Bucket, Option<BTreeSet<MessageId>>>;

/// A segment, and where the last block of it that counts ends.
pub(crate) struct Part {
    pub(crate) name: SegmentName,
    pub(crate) end: u64,
}

/// Texts that the bytes of a record must hold. In lower case, as those bytes are made before.
struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// Text beyond ASCII has letters whose lower case is of another length: it is left to the
    /// comparison of whole fields.
    fn of(query: &Query) -> Self {
        let texts = query.sender.iter().chain(&query.recipient).chain(&query.subject_words);
        let texts = texts.filter(|text| text.is_ascii()).map(|text| text.to_ascii_lowercase());
        Self(texts.map(|text| Finder::new(text.as_bytes()).into_owned()).collect())
    }

    fn may_be_in(&self, lower: &[u8]) -> bool {
        self.0.iter().all(|needle| needle.find(lower).is_some())
    }
}

impl Store {
    /// Messages of these buckets that a filter may mean.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read; damage leaves a bucket to the index.
    pub(crate) fn search(
        &self,
        query: &Query,
        buckets: &[Bucket],
    ) -> Result<Candidates, ReadError> {
        let needles = Needles::of(query);
        let mut parts = Vec::new();
        for bucket in buckets {
            parts.extend(self.parts_of(*bucket));
        }
        let found = Mutex::new(buckets.iter().map(|b| (*b, Some(BTreeSet::new()))).collect());
        beside::try_each(parts, &|part: Part| {
            let ids = self.search_part(query, &needles, &part)?;
            let mut found: MutexGuard<'_, Candidates> =
                found.lock().unwrap_or_else(PoisonError::into_inner);
            let known = found.entry(part.name.bucket).or_default();
            *known = match (known.take(), ids) {
                (Some(mut known), Some(ids)) => {
                    known.extend(ids);
                    Some(known)
                }
                _ => None,
            };
            Ok::<(), ReadError>(())
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn parts_of(&self, bucket: Bucket) -> Vec<Part> {
        let mut parts = BTreeMap::new();
        if let Some(held) = self.state().buckets.get(&bucket) {
            let ends = held.segments.iter().filter(|(_, counted)| counted.mark.end > 0);
            parts.extend(ends.map(|(number, counted)| (*number, counted.mark.end)));
        }
        if let Some(pack) = self.index.pack(bucket) {
            parts.extend(pack.members().map(|name| (name.number, u64::MAX)));
        }
        let part = |(number, end)| Part { name: SegmentName { bucket, number }, end };
        parts.into_iter().map(part).collect()
    }

    /// `None` when the segment is gone, or something in it is damaged.
    fn search_part(
        &self,
        query: &Query,
        needles: &Needles,
        part: &Part,
    ) -> Result<Option<Vec<MessageId>>, ReadError> {
        let Some(segment) = self.segment(part.name)? else {
            return Ok(None);
        };
        let mut found = Vec::new();
        let mut lower = Vec::new();
        let end = part.end.min(segment.length()?);
        let blocks = segment.each_block(end, BlockKind::Records, &mut |_, payload| {
            lower.clear();
            lower.extend_from_slice(&payload);
            lower.make_ascii_lowercase();
            for bytes in Entry::spans(&payload) {
                let bytes = bytes?;
                if !needles.may_be_in(&lower[bytes.clone()]) {
                    continue;
                }
                let Some(record) = Entry::decode_one(&payload[bytes])?.into_record() else {
                    continue;
                };
                if record.head().kind == Kind::ARRIVAL
                    && let Ok(arrival) = Arrival::decode(record.payload())
                    && query.accepts(&arrival)
                {
                    found.push(record.message());
                }
            }
            Ok(())
        });
        match blocks {
            Ok(()) => Ok(Some(found)),
            Err(BlockError::Io(error)) => Err(error.into()),
            Err(BlockError::Damaged) => Ok(None),
        }
    }
}

/// Takes a block's header and its payload.
pub(crate) type EachBlock<'a> = dyn FnMut(&BlockHeader, Vec<u8>) -> Result<(), BlockError> + 'a;

impl Segment {
    /// Opens every block of a kind up to `end`, where a block ends.
    pub(crate) fn each_block(
        &self,
        end: u64,
        kind: BlockKind,
        visit: &mut EachBlock<'_>,
    ) -> Result<(), BlockError> {
        let mut at = Self::FIRST_BLOCK;
        while at < end {
            let header = self.header_at(at)?.ok_or(BlockError::Damaged)?;
            if header.kind == kind {
                visit(&header, self.payload(&header)?)?;
            }
            at += header.stride();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

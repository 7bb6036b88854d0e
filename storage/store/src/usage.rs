//! What messages take up: how many, bytes of mail, bytes on disk; by class, day or sender's domain.
//! Never reads a body: lengths stand in records, in the index and in headers of blocks.
//!
//! ```text
//! records blocks of a day ──► arrivals that are shown: row, body's length, the record's share of its block
//! index, bodies of a day  ──► the body's share of its block, once for all messages of the day that have it
//! ```
//! A share is by length: of a group of bodies that are compressed together, by their plain length.
//! What belongs to no message that is shown (tables, dictionaries, deleted mail) is in no row.

use crate::beside;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace};
use crate::list::Query;
use crate::recent::Records;
use crate::search::Part;
use crate::segment::{BlockError, BlockHeader, BlockKind, Entry, SegmentName};
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{Kind, Record};
use quar_index::{Index, Tree};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// First bytes of a body's id, as the index has them.
type BodyPrefix = [u8; 16];

/// What messages are put together by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageBy {
    /// Their class.
    Class,
    /// The UTC day on which they came.
    Day,
    /// The domain of the envelope sender: `<>` for the null sender, `-` for one without a domain.
    SenderDomain,
}

/// What some messages take up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Amounts {
    /// Messages.
    pub messages: u64,
    /// Bytes of mail, as it came.
    pub mail_bytes: u64,
    /// Bytes of blocks of records and bodies on disk, of each block the part that is theirs.
    pub disk_bytes: u64,
}

/// What the messages that a filter means take up.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// By class, day or domain.
    pub rows: BTreeMap<String, Amounts>,
    /// Messages whose body is not on this node: in the rows with nothing on disk for it.
    pub missing_bodies: u64,
    /// Messages whose record is damaged: in no row.
    pub damaged: u64,
    /// Length of the days' segment files, everything counted and room ahead, too; `None` when only
    /// some messages of the days were meant.
    pub file_bytes: Option<u64>,
}

/// A message of the bucket that is being counted.
struct Seen {
    row: usize,
    body: BodyPrefix,
    body_bytes: u64,
    /// Of its arrival and its actions.
    record_bytes: u64,
}

/// What is known of one bucket so far.
#[derive(Default)]
struct Tally {
    messages: HashMap<RecordKey, Seen>,
    names: HashMap<String, usize>,
    /// Of actions, whose message may come later.
    actions: HashMap<RecordKey, (RecordKey, u64)>,
    damaged: u64,
}

impl Usage {
    /// All rows together.
    #[must_use]
    pub fn total(&self) -> Amounts {
        self.rows.values().fold(Amounts::default(), |mut total, row| {
            total.add(row);
            total
        })
    }

    fn add(&mut self, other: Self) {
        for (name, amounts) in other.rows {
            self.rows.entry(name).or_default().add(&amounts);
        }
        self.missing_bodies += other.missing_bodies;
        self.damaged += other.damaged;
        if let (Some(sum), Some(bytes)) = (&mut self.file_bytes, other.file_bytes) {
            *sum += bytes;
        }
    }
}

impl Amounts {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.mail_bytes += other.mail_bytes;
        self.disk_bytes += other.disk_bytes;
    }
}

impl Tally {
    fn row(&mut self, name: String) -> usize {
        let next = self.names.len();
        *self.names.entry(name).or_insert(next)
    }
}

impl Store {
    /// Counts the messages that a query means, its page aside, on all processors, a day on each.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read. What is damaged is counted.
    pub fn usage(&self, query: &Query, by: UsageBy) -> Result<Usage, ReadError> {
        let query = Query { before: None, ..query.clone() };
        let buckets: Vec<Bucket> = self.listed_buckets(&query).collect();
        let file_bytes = (!query.has_filters()).then_some(0);
        let whole = Mutex::new(Usage { file_bytes, ..Usage::default() });
        beside::try_each(buckets, &|bucket| {
            let usage = self.usage_of(bucket, &query, by)?;
            whole.lock().unwrap_or_else(PoisonError::into_inner).add(usage);
            Ok::<(), ReadError>(())
        })?;
        Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn usage_of(&self, bucket: Bucket, query: &Query, by: UsageBy) -> Result<Usage, ReadError> {
        let mut tally = Tally::default();
        let mut is_whole = true;
        let mut file_bytes = 0;
        for part in self.parts_of(bucket) {
            file_bytes += self.segment(part.name)?.map_or(Ok(0), |segment| segment.length())?;
            is_whole &= self.tally_part(&part, query, by, &mut tally)?;
        }
        if !is_whole {
            self.tally_listed(bucket, query, by, &mut tally)?;
        }
        for (message, bytes) in std::mem::take(&mut tally.actions).into_values() {
            if let Some(seen) = tally.messages.get_mut(&message) {
                seen.record_bytes += bytes;
            }
        }
        let bodies = self.body_shares(bucket, &tally)?;
        let mut usage = rows_of(&tally, &bodies);
        usage.file_bytes = Some(file_bytes);
        Ok(usage)
    }

    /// Takes all records of a segment; whether it could be read to its end.
    fn tally_part(
        &self,
        part: &Part,
        query: &Query,
        by: UsageBy,
        tally: &mut Tally,
    ) -> Result<bool, ReadError> {
        let Some(segment) = self.segment(part.name)? else {
            return Ok(false);
        };
        let bucket = part.name.bucket;
        let end = part.end.min(segment.length()?);
        let blocks = segment.each_block(end, BlockKind::Records, &mut |header, payload| {
            for span in Entry::spans(&payload) {
                let bytes = &payload[span?];
                let Some(record) = Entry::decode_one(bytes)?.into_record() else {
                    continue;
                };
                let bytes = share(header, bytes.len() as u64, payload.len() as u64);
                let message = record.message();
                if record.head().kind != Kind::ARRIVAL {
                    tally.actions.insert(record.key(), (message.key, bytes));
                } else if self.state().is_visible(message) {
                    take_arrival(tally, bucket, &record, bytes, query, by);
                }
            }
            Ok(())
        });
        match blocks {
            Ok(()) => Ok(true),
            Err(BlockError::Io(error)) => Err(error.into()),
            Err(BlockError::Damaged) => Ok(false),
        }
    }

    /// Takes what the segments did not give, or not legibly: the index knows what is missing.
    fn tally_listed(
        &self,
        bucket: Bucket,
        query: &Query,
        by: UsageBy,
        tally: &mut Tally,
    ) -> Result<(), ReadError> {
        let mut records = Records::new(self);
        for id in self.arrivals_between(bucket, 0, u32::MAX)? {
            if tally.messages.contains_key(&id.key) {
                continue;
            }
            match self.arrival_record(&mut records, id) {
                Ok(record) => {
                    let bytes = record.bytes().len() as u64;
                    take_arrival(tally, bucket, &record, bytes, query, by);
                }
                Err(ReadError::NotFound(_)) => {}
                Err(ReadError::Damaged { .. }) => tally.damaged += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes on disk of the bodies that the messages need and that are here.
    fn body_shares(
        &self,
        bucket: Bucket,
        tally: &Tally,
    ) -> Result<HashMap<BodyPrefix, u64>, ReadError> {
        let needed: std::collections::HashSet<_> =
            tally.messages.values().map(|seen| seen.body).collect();
        let mut places = Vec::new();
        self.index.scan(Tree::Bucket(bucket), &[layout::BODY], &mut |key, value| {
            let Some(prefix) = key.strip_prefix(&[layout::BODY]) else {
                return ControlFlow::Break(());
            };
            let prefix = BodyPrefix::try_from(prefix).ok().filter(|one| needed.contains(one));
            places.extend(prefix.zip(BodyPlace::decode(value)));
            ControlFlow::Continue(())
        })?;
        places.sort_unstable_by_key(|(_, place)| place.block);
        let mut shares = HashMap::with_capacity(places.len());
        let mut last: Option<(_, Option<BlockHeader>)> = None;
        for (prefix, place) in places {
            let header = match last {
                Some((block, header)) if block == place.block => header,
                _ => self.header_of(bucket, &place)?,
            };
            last = Some((place.block, header));
            let coded = u64::from(place.coded_bytes);
            let bytes = header.map_or(coded, |header| share(&header, coded, content(&header)));
            shares.insert(prefix, bytes);
        }
        Ok(shares)
    }

    /// The header of a body's block; `None` for one that is damaged, or has moved since.
    fn header_of(
        &self,
        bucket: Bucket,
        place: &BodyPlace,
    ) -> Result<Option<BlockHeader>, ReadError> {
        let name = SegmentName { bucket, number: place.block.segment };
        let Some(segment) = self.segment(name)? else {
            return Ok(None);
        };
        match segment.header_at(place.block.offset.into()) {
            Ok(header) => Ok(header),
            Err(BlockError::Io(error)) => Err(error.into()),
            Err(BlockError::Damaged) => Ok(None),
        }
    }
}

fn take_arrival(
    tally: &mut Tally,
    bucket: Bucket,
    record: &Record,
    record_bytes: u64,
    query: &Query,
    by: UsageBy,
) {
    let Ok(arrival) = Arrival::decode(record.payload()) else {
        return;
    };
    if !query.accepts(&arrival) {
        return;
    }
    let row = tally.row(match by {
        UsageBy::Class => bucket.class.to_string(),
        UsageBy::Day => bucket.day.to_string(),
        UsageBy::SenderDomain => domain(&arrival.envelope.sender),
    });
    let (body, _) = arrival.body_id.split_first_chunk().expect("a body id has 32 bytes");
    let body_bytes = arrival.body_bytes;
    let seen = Seen { row, body: *body, body_bytes, record_bytes };
    tally.messages.entry(record.key()).or_insert(seen);
}

fn domain(sender: &str) -> String {
    match sender.rsplit_once('@') {
        Some((_, domain)) => domain.to_ascii_lowercase(),
        None if sender.is_empty() => "<>".to_owned(),
        None => "-".to_owned(),
    }
}

/// A body that several messages share counts for the first of them, by key.
fn rows_of(tally: &Tally, bodies: &HashMap<BodyPrefix, u64>) -> Usage {
    let mut rows = vec![Amounts::default(); tally.names.len()];
    let mut usage = Usage { damaged: tally.damaged, ..Usage::default() };
    let mut first: HashMap<&BodyPrefix, (&RecordKey, usize)> = HashMap::new();
    for (key, seen) in &tally.messages {
        let row = &mut rows[seen.row];
        row.messages += 1;
        row.mail_bytes += seen.body_bytes;
        row.disk_bytes += seen.record_bytes;
        usage.missing_bodies += u64::from(!bodies.contains_key(&seen.body));
        let owner = first.entry(&seen.body).or_insert((key, seen.row));
        *owner = (*owner).min((key, seen.row));
    }
    for (body, (_, row)) in first {
        rows[row].disk_bytes += bodies.get(body).copied().unwrap_or(0);
    }
    usage.rows = tally.names.iter().map(|(name, at)| (name.clone(), rows[*at])).collect();
    usage
}

/// Bytes of bodies in a block, as it was before it was sealed.
fn content(header: &BlockHeader) -> u64 {
    let lengths = if header.kind == BlockKind::Group { 4 * u64::from(header.items) } else { 0 };
    u64::from(header.plain_bytes).saturating_sub(lengths)
}

/// The part of a block on disk, header and tag included, that so many bytes of its content are.
fn share(header: &BlockHeader, bytes: u64, content: u64) -> u64 {
    match content {
        0 => header.stride() / u64::from(header.items).max(1),
        content => header.stride() * bytes / content,
    }
}

#[cfg(test)]
mod tests;

//! What lies on disk, told as it is: segments, their blocks, packs, and where one message's items are.
//! Never judges it: whether it is as it should be is for `check`.

use crate::error::ReadError;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::segment::{BlockError, BlockKind, Found, OpenSegmentError, Segment, SegmentName};
use crate::store::Store;
use quar_base::arrival::Arrival;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, IndexError, Tree};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Below the data directory.
    pub path: PathBuf,
    /// Its number in its bucket.
    pub number: u32,
    /// Length of the file in bytes, zeros written ahead included.
    pub bytes: u64,
    /// What its header says, or why it cannot be opened.
    pub header: Result<HeaderReport, String>,
    /// Whether the bucket's pack is made of it.
    pub is_in_pack: bool,
}

/// What a segment's header says, and what its blocks' headers add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderReport {
    /// `log`, `rewrite` or `pack`.
    pub role: &'static str,
    /// Version of the format.
    pub version: u16,
    /// Epochs of the encryption keys that open it.
    pub key_epochs: Vec<u32>,
    /// The member that wrote it.
    pub member: MemberId,
    /// Blocks.
    pub blocks: u64,
    /// Bytes up to the end of the last block.
    pub used_bytes: u64,
}

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReport {
    /// Where it begins in the file.
    pub offset: u64,
    /// `records`, `bodies`, `dictionary`, `group`, `table`, `footer`, `closing`; of bytes that are no
    /// block `damaged`, `torn` or `unused`.
    pub kind: &'static str,
    /// Bytes up to the next.
    pub bytes: u64,
    /// Items in it.
    pub items: u64,
    /// Bytes once it is opened.
    pub plain_bytes: u64,
    /// The commit that wrote it.
    pub commit: u64,
}

/// The footer of a bucket's pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// The segment with the footer.
    pub number: u32,
    /// Arrivals.
    pub arrivals: u64,
    /// Actions.
    pub actions: u64,
    /// Bodies.
    pub bodies: u64,
    /// Bytes of the bodies, as they came.
    pub body_bytes: u64,
    /// Root of the trie over its records, in hex.
    pub root: String,
    /// Blocks of its tables.
    pub tables: u64,
    /// Segments that it is made of.
    pub members: Vec<u32>,
    /// Segments that it replaced.
    pub replaced: Vec<u32>,
}

/// Where an item of a message lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceReport {
    /// `arrival`, `body`, `deleted`, `release intent`, `release outcome`, `record of kind N`.
    pub what: String,
    /// Its id, in hex.
    pub id: String,
    /// The segment, below the data directory.
    pub path: PathBuf,
    /// Where its block begins in the file.
    pub block: u64,
    /// Of a record its number among the block's records, of a body its first byte in the opened block.
    pub at: u64,
    /// Of a body: bytes as coded.
    pub coded_bytes: Option<u64>,
    /// Of a body: bytes as it came.
    pub raw_bytes: Option<u64>,
    /// Of a body: where the dictionary that it is coded with begins in the file.
    pub dictionary: Option<u64>,
}

impl Store {
    /// The segments of a bucket.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read.
    pub fn segment_reports(&self, bucket: Bucket) -> Result<Vec<SegmentReport>, ReadError> {
        let mut numbers: Vec<u32> = Vec::new();
        if let Some(held) = self.state().buckets.get(&bucket) {
            numbers.extend(held.segments.keys());
        }
        let members: Vec<u32> = self.members_of(bucket);
        let report = |number| {
            let name = SegmentName { bucket, number };
            let (bytes, header) = match self.segments.open(name) {
                Ok(segment) => (segment.length()?, Ok(header_of(&segment)?)),
                // A commit that failed took the number and left nothing.
                Err(OpenSegmentError::Io(error))
                    if error.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Ok(None);
                }
                Err(error) => (self.disk.open(&name.path())?.length()?, Err(error.to_string())),
            };
            let is_in_pack = members.contains(&number);
            Ok(Some(SegmentReport { path: name.path(), number, bytes, header, is_in_pack }))
        };
        numbers.into_iter().filter_map(|number| report(number).transpose()).collect()
    }

    fn members_of(&self, bucket: Bucket) -> Vec<u32> {
        let pack = self.index.pack(bucket);
        pack.map(|pack| pack.members().map(|name| name.number).collect()).unwrap_or_default()
    }

    /// What the footer of a bucket's pack says; `None` for one that is not packed.
    #[must_use]
    pub fn pack_report(&self, bucket: Bucket) -> Option<PackReport> {
        let pack = self.index.pack(bucket)?;
        let footer = pack.footer();
        Some(PackReport {
            number: pack.name().number,
            arrivals: footer.counts.arrivals,
            actions: footer.counts.actions,
            bodies: footer.counts.bodies,
            body_bytes: footer.counts.body_bytes,
            root: footer.root.to_string(),
            tables: footer.tables.len() as u64,
            members: footer.members.iter().map(|member| member.number).collect(),
            replaced: footer.replaced.clone(),
        })
    }

    /// The blocks of a segment in their order, each opened; `None` when there is no such segment.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read or the segment's header is damaged.
    pub fn block_reports(
        &self,
        bucket: Bucket,
        number: u32,
    ) -> Result<Option<Vec<BlockReport>>, ReadError> {
        let Some(segment) = self.segment(SegmentName { bucket, number })? else {
            return Ok(None);
        };
        let mut reports = Vec::new();
        let mut at = Segment::FIRST_BLOCK;
        let length = segment.length()?;
        let scanned = segment.scan(at, &mut |found| {
            let (kind, from, to) = match found {
                Found::Damaged { from, to } => ("damaged", from, to),
                Found::TornTail => ("torn", at, length),
                Found::Unused { from } => ("unused", from, length),
                _ => {
                    let header = segment.header_at(at)?.ok_or(BlockError::Damaged)?;
                    reports.push(BlockReport {
                        offset: at,
                        kind: name_of(header.kind),
                        bytes: header.stride(),
                        items: header.items.into(),
                        plain_bytes: header.plain_bytes.into(),
                        commit: header.commit,
                    });
                    at += header.stride();
                    return Ok(());
                }
            };
            let (items, plain_bytes, commit) = (0, 0, 0);
            let bytes = to - from;
            reports.push(BlockReport { offset: from, kind, bytes, items, plain_bytes, commit });
            at = to;
            Ok(())
        });
        match scanned {
            Ok(_) | Err(BlockError::Damaged) => Ok(Some(reports)),
            Err(BlockError::Io(error)) => Err(error.into()),
        }
    }

    /// Where a message's items lie, as the index says: its arrival, its body, its actions. Empty when
    /// nothing of it is known.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read.
    pub fn place_reports(&self, id: MessageId) -> Result<Vec<PlaceReport>, ReadError> {
        let mut reports = Vec::new();
        reports.extend(self.record_report(id.bucket, &id.key)?);
        if !reports.is_empty()
            && let Ok(Some(record)) = self.record(id.bucket, &id.key)
            && let Ok(arrival) = Arrival::decode(record.payload())
        {
            reports.extend(self.body_report(id.bucket, &arrival)?);
        }
        let mut actions = Vec::new();
        let start = layout::actions_of(&id.key);
        self.index.scan(Tree::Bucket(id.bucket), &start, &mut |key, _| {
            if !key.starts_with(&start) {
                return ControlFlow::Break(());
            }
            actions.extend(layout::parse_action_key(key).map(|(_, action)| action));
            ControlFlow::Continue(())
        })?;
        for action in actions {
            reports.extend(self.record_report(id.bucket, &action)?);
        }
        Ok(reports)
    }

    fn record_report(
        &self,
        bucket: Bucket,
        key: &RecordKey,
    ) -> Result<Option<PlaceReport>, IndexError> {
        let value = self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?;
        let place = value.and_then(|value| RecordPlace::decode(&value));
        Ok(place.map(|place| PlaceReport {
            what: match place.kind {
                Kind::ARRIVAL => "arrival".to_owned(),
                Kind::DELETED => "deleted".to_owned(),
                Kind::RELEASE_INTENT => "release intent".to_owned(),
                Kind::RELEASE_OUTCOME => "release outcome".to_owned(),
                Kind(number) => format!("record of kind {number}"),
            },
            id: key.id.to_string(),
            path: SegmentName { bucket, number: place.block.segment }.path(),
            block: place.block.offset.into(),
            at: place.number.into(),
            coded_bytes: None,
            raw_bytes: None,
            dictionary: None,
        }))
    }

    fn body_report(
        &self,
        bucket: Bucket,
        arrival: &Arrival,
    ) -> Result<Option<PlaceReport>, IndexError> {
        let body = arrival.body();
        let value = self.index.get(Tree::Bucket(bucket), &layout::body_key(&body))?;
        let place = value.and_then(|value| BodyPlace::decode(&value));
        Ok(place.map(|place| PlaceReport {
            what: "body".to_owned(),
            id: body.to_string(),
            path: SegmentName { bucket, number: place.block.segment }.path(),
            block: place.block.offset.into(),
            at: place.start.into(),
            coded_bytes: Some(place.coded_bytes.into()),
            raw_bytes: Some(place.raw_bytes.into()),
            dictionary: (place.dictionary > 0).then_some(place.dictionary.into()),
        }))
    }
}

fn header_of(segment: &Segment) -> Result<HeaderReport, ReadError> {
    let headers = segment.headers()?;
    let end = headers.last().map(|header| header.offset + header.stride());
    Ok(HeaderReport {
        role: segment.role().name(),
        version: segment.role().version(),
        key_epochs: segment.key_epochs(),
        member: segment.member(),
        blocks: headers.len() as u64,
        used_bytes: end.unwrap_or(Segment::FIRST_BLOCK),
    })
}

fn name_of(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Records => "records",
        BlockKind::Bodies => "bodies",
        BlockKind::Closing => "closing",
        BlockKind::Dictionary => "dictionary",
        BlockKind::Group => "group",
        BlockKind::Table => "table",
        BlockKind::Footer => "footer",
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::bucket_directory;
    use crate::tests::{Node, delete, put};
    use crate::{Disk, Store};
    use quar_base::key::Bucket;
    use std::ops::ControlFlow;

    fn kinds(store: &Store, bucket: Bucket, number: u32) -> Vec<&'static str> {
        let blocks = store.block_reports(bucket, number).unwrap().unwrap();
        blocks.iter().map(|block| block.kind).collect()
    }

    #[test]
    fn tells_what_lies_where_before_and_after_packing() {
        let mut node = Node::new(1);
        let store = node.open();
        let id = put(&store, b"first", 2);
        put(&store, b"second", 2);
        delete(&store, id, 2, &[0]);
        let bucket = id.bucket;
        let segments = store.segment_reports(bucket).unwrap();
        let header = segments[0].header.as_ref().unwrap();
        assert_eq!((segments.len(), segments[0].number, header.role), (1, 1, "log"));
        assert_eq!((header.version, &header.key_epochs[..], header.blocks), (1, &[1][..], 5));
        let blocks = ["bodies", "records", "bodies", "records", "records", "unused"];
        assert_eq!(kinds(&store, bucket, 1), blocks);
        assert_eq!(store.block_reports(bucket, 9).unwrap(), None);
        assert_eq!(store.pack_report(bucket), None);
        let places = store.place_reports(id).unwrap();
        let what: Vec<&str> = places.iter().map(|place| place.what.as_str()).collect();
        assert_eq!(what, ["arrival", "body", "deleted"]);
        assert_eq!((places[1].raw_bytes, places[1].block), (Some(5), 256));
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap();
        let pack = store.pack_report(bucket).unwrap();
        assert_eq!((pack.arrivals, pack.actions, pack.bodies, pack.body_bytes), (2, 1, 2, 11));
        assert_eq!(pack.replaced, [1]);
        let segments = store.segment_reports(bucket).unwrap();
        assert!(segments.iter().all(|segment| segment.is_in_pack), "{segments:?}");
        let all: Vec<_> = pack.members.iter().flat_map(|n| kinds(&store, bucket, *n)).collect();
        assert!(all.contains(&"group") && all.contains(&"table") && all.contains(&"footer"));
        assert!(store.place_reports(id).unwrap().iter().all(|place| place.block >= 256));
    }

    #[test]
    fn tells_of_damage_and_goes_on_behind_it() {
        let mut node = Node::new(1);
        let store = node.open();
        let bucket = put(&store, b"first", 1).bucket;
        put(&store, b"second", 1);
        let directory = bucket_directory(bucket);
        let path = directory.join(&node.disk.list(&directory).unwrap()[0].name);
        node.disk.damage(&path, |bytes| bytes[256 + 50] ^= 1);
        assert_eq!(kinds(&store, bucket, 1)[..3], ["damaged", "records", "bodies"]);
        node.disk.damage(&path, |bytes| bytes[20] ^= 1);
        let segments = store.segment_reports(bucket).unwrap();
        assert!(segments[0].header.is_err() && segments[0].bytes > 256, "{segments:?}");
    }
}

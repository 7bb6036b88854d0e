//! The JSON about what lies on disk: days, segments, blocks, places, checks.
//! Never holds behaviour: names, shapes, and how they follow from what the store reports.

use quar_base::key::{Bucket, MessageId};
use quar_store::{
    BlockReport, Checked, Finding, PackReport, PlaceReport, ReadError, Remains, SegmentReport,
    Store,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The days that are on disk.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct BucketsReply {
    /// As CLASS/YYYY-MM-DD, in order.
    pub buckets: Vec<String>,
}

/// Files among the segments that the store does not use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StraysReply {
    /// Their paths, below the data directory; of a directory that is strange as a whole its own.
    pub strays: Vec<String>,
}

impl StraysReply {
    /// As the store names them.
    ///
    /// # Errors
    /// [`ReadError`] when a directory cannot be listed.
    pub fn of(store: &Store) -> Result<Self, ReadError> {
        let strays = store.strays()?;
        Ok(Self { strays: strays.iter().map(|path| path.display().to_string()).collect() })
    }
}

/// What a check of one day found.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CheckReply {
    /// The day, as CLASS/YYYY-MM-DD.
    pub bucket: String,
    /// Segments read.
    pub segments: u64,
    /// Blocks opened.
    pub blocks: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Records read.
    pub records: u64,
    /// Bodies decoded and hashed.
    pub bodies: u64,
    /// What is wrong, in words; nothing when all is well.
    pub findings: Vec<String>,
    /// Messages and actions whose record or body is damaged, by their ids, as far as they are known.
    #[serde(default)]
    pub damaged: Vec<String>,
}

impl CheckReply {
    /// Of a check by the store.
    #[must_use]
    pub fn new(bucket: Bucket, checked: &Checked, findings: &[Finding]) -> Self {
        let Checked { segments, blocks, bytes, records, bodies } = *checked;
        let damaged = damaged_of(findings).iter().map(ToString::to_string).collect();
        let findings = findings.iter().map(ToString::to_string).collect();
        let bucket = bucket.to_string();
        Self { bucket, segments, blocks, bytes, records, bodies, findings, damaged }
    }
}

/// Whose record or body is damaged, each once.
fn damaged_of(findings: &[Finding]) -> BTreeSet<MessageId> {
    let ids = |finding: &Finding| match finding {
        Finding::LostRecord { record } => vec![*record],
        Finding::LostBody { messages, .. } | Finding::NotWanted { messages } => messages.clone(),
        _ => Vec::new(),
    };
    findings.iter().flat_map(ids).collect()
}

/// What is left of a deleted message on disk.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ErasureReply {
    /// The message.
    pub id: String,
    /// Whether it is deleted for all its recipients, as far as this node knows.
    #[serde(default)]
    pub deleted: bool,
    /// Where something of it lies, in words; nothing when it is erased.
    pub remains: Vec<String>,
    /// What may be of it and may be of other messages, in words: damaged stretches, bodies that no record names.
    #[serde(default)]
    pub unsure: Vec<String>,
}

/// One day's files.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct DayReply {
    /// The day, as CLASS/YYYY-MM-DD.
    pub bucket: String,
    /// Its segments, in order of their numbers.
    pub segments: Vec<SegmentReply>,
    /// Its pack, when it is packed.
    pub pack: Option<PackReply>,
}

/// A segment.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct SegmentReply {
    /// Below the data directory.
    pub path: String,
    /// Its number.
    pub number: u32,
    /// `log`, `rewrite`, `pack`; empty when its header cannot be used.
    pub role: String,
    /// Version of its format; 0 when its header cannot be used.
    pub version: u16,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes up to the end of its last block.
    pub used_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Epochs of the encryption keys that open it.
    pub key_epochs: Vec<u32>,
    /// The member that wrote it.
    pub member: String,
    /// Whether the day's pack is made of it.
    pub is_in_pack: bool,
    /// Why its header cannot be used; empty when it can.
    pub error: String,
}

/// The footer of a pack.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PackReply {
    /// Number of the segment with the footer.
    pub segment: u32,
    /// Arrivals.
    pub arrivals: u64,
    /// Actions.
    pub actions: u64,
    /// Bodies.
    pub bodies: u64,
    /// Bytes of the bodies, as they came.
    pub body_bytes: u64,
    /// Blocks of its tables.
    pub tables: u64,
    /// Root of the trie over its records, in hex.
    pub root: String,
    /// Segments that it is made of.
    pub members: Vec<u32>,
    /// Segments that it replaced.
    pub replaced: Vec<u32>,
}

/// The blocks of a segment.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct BlocksReply {
    /// In the order of the file.
    pub blocks: Vec<BlockReply>,
}

/// A block.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct BlockReply {
    /// Where it begins in the file.
    pub offset: u64,
    /// `records`, `bodies`, `dictionary`, `group`, `table`, `footer`, `closing`; of bytes that are no
    /// block `damaged`, `torn` or `unused`.
    pub kind: String,
    /// Bytes up to the next.
    pub bytes: u64,
    /// Items in it.
    pub items: u64,
    /// Bytes once it is opened.
    pub plain_bytes: u64,
    /// The commit that wrote it.
    pub commit: u64,
}

/// Where a message's items lie.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PlacesReply {
    /// The message.
    pub id: String,
    /// Arrival, body, actions.
    pub places: Vec<PlaceReply>,
}

/// Where an item lies.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PlaceReply {
    /// `arrival`, `body`, `deleted`, `release intent`, `release outcome`, `record of kind N`.
    pub what: String,
    /// Its id.
    pub id: String,
    /// The segment, below the data directory.
    pub path: String,
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

impl ErasureReply {
    /// As the store reports it.
    #[must_use]
    pub fn new(id: MessageId, remains: Remains) -> Self {
        let Remains { is_deleted: deleted, places: remains, unsure } = remains;
        Self { id: id.to_string(), deleted, remains, unsure }
    }
}

impl DayReply {
    /// As the store reports a day.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read.
    pub fn of(store: &Store, bucket: Bucket) -> Result<Self, ReadError> {
        let segments = store.segment_reports(bucket)?.into_iter().map(SegmentReply::from).collect();
        let pack = store.pack_report(bucket).map(PackReply::from);
        Ok(Self { bucket: bucket.to_string(), segments, pack })
    }
}

impl From<SegmentReport> for SegmentReply {
    fn from(report: SegmentReport) -> Self {
        let SegmentReport { path, number, bytes, header, is_in_pack } = report;
        let path = path.display().to_string();
        let plain = Self { path, number, bytes, is_in_pack, ..Self::default() };
        match header {
            Err(error) => Self { error, ..plain },
            Ok(header) => Self {
                role: header.role.to_owned(),
                version: header.version,
                used_bytes: header.used_bytes,
                blocks: header.blocks,
                key_epochs: header.key_epochs,
                member: header.member.to_string(),
                ..plain
            },
        }
    }
}

impl From<PackReport> for PackReply {
    fn from(report: PackReport) -> Self {
        let PackReport {
            number,
            arrivals,
            actions,
            bodies,
            body_bytes,
            root,
            tables,
            members,
            replaced,
        } = report;
        let segment = number;
        Self { segment, arrivals, actions, bodies, body_bytes, tables, root, members, replaced }
    }
}

impl BlocksReply {
    /// As the store reports a segment's blocks.
    #[must_use]
    pub fn new(reports: Vec<BlockReport>) -> Self {
        let reply = |report| {
            let BlockReport { offset, kind, bytes, items, plain_bytes, commit } = report;
            BlockReply { offset, kind: kind.to_owned(), bytes, items, plain_bytes, commit }
        };
        Self { blocks: reports.into_iter().map(reply).collect() }
    }
}

impl PlacesReply {
    /// As the store reports a message's places.
    #[must_use]
    pub fn new(id: MessageId, reports: Vec<PlaceReport>) -> Self {
        let reply = |report: PlaceReport| PlaceReply {
            what: report.what,
            id: report.id,
            path: report.path.display().to_string(),
            block: report.block,
            at: report.at,
            coded_bytes: report.coded_bytes,
            raw_bytes: report.raw_bytes,
            dictionary: report.dictionary,
        };
        Self { id: id.to_string(), places: reports.into_iter().map(reply).collect() }
    }
}

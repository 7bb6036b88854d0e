//! One segment: an append-only file of sealed blocks of one bucket.
//! Never rewrites a byte; what is wrong in it is reported, not repaired.
//!
//! ```text
//! header | block | block | ...      each block: header (own checksum) + payload (sealed, bound to its place)
//! ```
//! Byte tables: docs/formats.md, "Segment", "Block" and "Entries".

mod entries;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod packed;
mod reader;
mod writer;

pub(crate) use entries::{BodyEntry, Entry};
pub(crate) use format::{BlockHeader, BlockKind, HeaderError, SegmentHeader, SegmentRole};
pub(crate) use reader::{BlockError, Found, OpenSegmentError, Segment};
pub(crate) use writer::{Drafted, Maker, RecordsBlock, SegmentWriter};

use quar_base::key::Bucket;
use std::path::PathBuf;

/// Directory of all segments, below the data directory.
pub(crate) const SEGMENTS: &str = "segments";
/// So much of a segment is read between two questions whether to go on: a slow disk must not keep a stop waiting.
pub(crate) const STRIDE_BYTES: u64 = 1 << 20;

/// A segment's name: its bucket and its number within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SegmentName {
    pub(crate) bucket: Bucket,
    pub(crate) number: u32,
}

/// A place in a segment: the block at a byte offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// The directory of a bucket's segments.
pub(crate) fn bucket_directory(bucket: Bucket) -> PathBuf {
    [SEGMENTS, &bucket.class.to_string(), &bucket.day.to_string()].iter().collect()
}

impl SegmentName {
    pub(crate) fn path(&self) -> PathBuf {
        bucket_directory(self.bucket).join(format!("{:08}.seg", self.number))
    }

    /// The number in a file name; `None` for files that are no segments.
    pub(crate) fn number_of(file_name: &str) -> Option<u32> {
        let digits = file_name.strip_suffix(".seg")?;
        let is_plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| digits.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests;

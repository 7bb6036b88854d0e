//! What a check finds, in words that name file, place and message.
//! Never says what to do: whoever asked for the check does.

use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId};
use std::path::PathBuf;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A segment that cannot be opened.
    Segment {
        /// Its file, below the data directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Bytes that are no valid block, with valid ones behind them.
    Block {
        /// The segment's file, below the data directory.
        path: PathBuf,
        /// The first byte.
        from: u64,
        /// The first byte behind them.
        to: u64,
    },
    /// A body that does not decode to its id.
    Body {
        /// The segment's file, below the data directory.
        path: PathBuf,
        /// Offset of its block.
        block: u32,
        /// Its id, as the entry beside it says.
        body: BodyId,
    },
    /// Tables of a pack that are damaged or say something else than its blocks.
    Tables {
        /// The pack's file, below the data directory.
        path: PathBuf,
    },
    /// A record that the index names and that is not whole where it says.
    LostRecord {
        /// The bucket and the record's key.
        record: MessageId,
    },
    /// A body that the index names and that is not whole where it says.
    LostBody {
        /// The bucket.
        bucket: Bucket,
        /// Its key in the index.
        key: Vec<u8>,
        /// The messages that need it, as far as their records are whole.
        messages: Vec<MessageId>,
    },
    /// Records, bodies or actions that are whole in a segment and that the index does not know.
    NotIndexed {
        /// The bucket.
        bucket: Bucket,
        /// How many.
        items: u64,
        /// The index entries that are missing, at most [`Self::ENTRIES_MAX`] of them.
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Messages whose bodies are not here and that nothing asks for.
    NotWanted {
        /// The messages.
        messages: Vec<MessageId>,
    },
    /// The trie says something else than the records.
    Trie {
        /// The bucket.
        bucket: Bucket,
    },
}

impl Finding {
    /// Most index entries that one finding holds; the next check has the others.
    pub const ENTRIES_MAX: usize = 1 << 16;
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = |path: &PathBuf| path.display().to_string();
        match self {
            Self::Segment { path: file, why } => write!(f, "{}: {why}", path(file)),
            Self::Block { path: file, from, to } => {
                write!(f, "{}: bytes {from} to {to} are damaged", path(file))
            }
            Self::Body { path: file, block, body } => {
                write!(f, "{}: body {body} in the block at {block} is damaged", path(file))
            }
            Self::Tables { path: file } => {
                write!(
                    f,
                    "{}: tables of the pack are damaged; its blocks say what they should",
                    path(file)
                )
            }
            Self::LostRecord { record } => write!(f, "record {record} is damaged on disk"),
            Self::LostBody { bucket, messages, .. } => {
                let ids: Vec<String> = messages.iter().map(ToString::to_string).collect();
                write!(f, "{bucket}: a body is damaged on disk, needed by {}", ids.join(", "))
            }
            Self::NotIndexed { bucket, items, .. } => {
                write!(f, "{bucket}: {items} items are missing from the index")
            }
            Self::NotWanted { messages } => {
                let ids: Vec<String> = messages.iter().map(ToString::to_string).collect();
                write!(f, "bodies are missing and not asked for, needed by {}", ids.join(", "))
            }
            Self::Trie { bucket } => write!(f, "{bucket}: the trie says other than the records"),
        }
    }
}

//! What reads a pack's segments beyond their blocks: where they end, and what their last block points to.
//! Never takes a segment for closed whose last block is not whole.

use super::format::{BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BlockHeader, BlockKind};
use super::reader::{BlockError, Segment, numbers};
use crate::seal::TAG_BYTES;
use std::io;

/// Bytes of a pack's last block: header, the footer's offset, tag, up to a multiple of 8.
const CLOSING_BYTES: u64 =
    (BLOCK_HEADER_BYTES as u64 + 4 + TAG_BYTES as u64).next_multiple_of(BLOCK_ALIGNMENT);
impl Segment {
    /// The payload of the block of this kind at `offset`.
    pub(crate) fn block(&self, offset: u32, kind: BlockKind) -> Result<Vec<u8>, BlockError> {
        let header = self.header_at(offset.into())?.filter(|header| header.kind == kind);
        self.payload(&header.ok_or(BlockError::Damaged)?)
    }

    /// Whether the segment's last block is a pack's closing block: all before it was synced.
    pub(crate) fn is_closed(&self) -> io::Result<bool> {
        match self.closing() {
            Ok(_) => Ok(true),
            Err(BlockError::Damaged) => Ok(false),
            Err(BlockError::Io(error)) => Err(error),
        }
    }

    /// Whether the closing block points to a footer, be that whole or damaged.
    pub(crate) fn has_footer(&self) -> io::Result<bool> {
        match self.closing() {
            Ok(numbers) => Ok(numbers != [0]),
            Err(BlockError::Damaged) => Ok(false),
            Err(BlockError::Io(error)) => Err(error),
        }
    }

    /// The numbers in a pack's closing block.
    fn closing(&self) -> Result<Vec<u32>, BlockError> {
        let at = self.file.length()?.checked_sub(CLOSING_BYTES).ok_or(BlockError::Damaged)?;
        let at = u32::try_from(at).map_err(|_| BlockError::Damaged)?;
        Ok(numbers(&self.block(at, BlockKind::Closing)?))
    }

    /// Length of the file.
    pub(crate) fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    /// The footer of a pack, which its last block points to; `None` when it was never closed, or
    /// is damaged: the pack then counts for no more than the blocks in it.
    pub(crate) fn footer(&self) -> io::Result<Option<Vec<u8>>> {
        let read = |numbers: Vec<u32>| match numbers[..] {
            [footer] => self.block(footer, BlockKind::Footer),
            _ => Err(BlockError::Damaged),
        };
        match self.closing().and_then(read) {
            Ok(payload) => Ok(Some(payload)),
            Err(BlockError::Damaged) => Ok(None),
            Err(BlockError::Io(error)) => Err(error),
        }
    }

    /// Headers of all blocks, up to the first that is none.
    pub(crate) fn headers(&self) -> io::Result<Vec<BlockHeader>> {
        let mut headers = Vec::new();
        let mut at = Self::FIRST_BLOCK;
        loop {
            match self.header_at(at) {
                Ok(Some(header)) => {
                    at += header.stride();
                    headers.push(header);
                }
                Ok(None) | Err(BlockError::Damaged) => return Ok(headers),
                Err(BlockError::Io(error)) => return Err(error),
            }
        }
    }

    /// Plain bytes of the bodies in groups. Reads headers only.
    pub(crate) fn group_bytes(&self) -> io::Result<u64> {
        let headers = self.headers()?.into_iter().filter(|header| header.kind == BlockKind::Group);
        let bytes = |header: BlockHeader| {
            u64::from(header.plain_bytes).saturating_sub(4 * u64::from(header.items))
        };
        Ok(headers.map(bytes).sum())
    }
}

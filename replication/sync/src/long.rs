//! Long bodies: in parts ahead of the batch that names them, a few parts on their way at a time.
//! Never holds more than one body of a peer, nor a byte of one that is longer than a message.
//!
//! ```text
//! sender     parts ─► one acknowledged ─► next part ... last part and batch ─► acknowledged ─► next body
//!            (between two of them: whatever else there is to send)
//! receiver   parts gather ─► the batch takes them ─► offered
//! ```

use crate::codec::Malformed;
use crate::event::{CodedBody, Item};
use crate::frame::PartFrame;
use crate::limits;
use crate::offence::Offence;
use std::collections::{BTreeSet, VecDeque};

/// The body of an item, if it is too long to travel within a batch.
pub(crate) fn long_body(item: &Item) -> Option<&CodedBody> {
    item.body().filter(|body| body.bytes.len() > limits::PART_BYTES)
}

/// An item with a long body that is to be sent.
pub(crate) struct LongItem {
    pub(crate) item: Item,
    /// Whether it is counted among the fresh ones.
    pub(crate) is_fresh: bool,
    /// Bytes of the body that were sent.
    pub(crate) sent: usize,
}

impl LongItem {
    /// The next part of the body, with the number of bytes that are left with it.
    fn next_part(&mut self) -> Option<(usize, Vec<u8>)> {
        let body = long_body(&self.item)?;
        let rest = body.bytes.get(self.sent..).filter(|rest| !rest.is_empty())?;
        let part = &rest[..rest.len().min(limits::PART_BYTES)];
        self.sent += part.len();
        Some((rest.len(), part.to_vec()))
    }

    fn left(&self) -> usize {
        long_body(&self.item).map_or(0, |body| body.bytes.len() - self.sent)
    }
}

/// Items with long bodies, in the order in which they are sent.
#[derive(Default)]
pub(crate) struct LongItems {
    pub(crate) queue: VecDeque<LongItem>,
    /// Parts that the peer has not acknowledged.
    parts: BTreeSet<u64>,
    /// The batch that the peer must acknowledge before the next body is begun.
    batch: Option<u64>,
}

impl LongItems {
    /// A fresh one goes ahead of those that were read, but for one that is begun.
    pub(crate) fn push(&mut self, item: Item, is_fresh: bool) {
        let begun = usize::from(self.is_begun());
        let read = self.queue.iter().skip(begun).position(|long| is_fresh && !long.is_fresh);
        let at = read.map_or(self.queue.len(), |read| begun + read);
        self.queue.insert(at, LongItem { item, is_fresh, sent: 0 });
    }

    /// Whether another part may be on its way.
    pub(crate) fn has_room(&self) -> bool {
        self.batch.is_none() && self.parts.len() < limits::PARTS_OUTSTANDING
    }

    /// A part was sent, and a batch with the item if it was the last one.
    pub(crate) fn sent(&mut self, part: u64, batch: Option<u64>) {
        self.parts.insert(part);
        self.batch = batch;
    }

    /// The peer has a part or a batch.
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        self.parts.remove(&sequence);
        self.batch.take_if(|batch| *batch == sequence);
    }

    /// Whether items that were read from the disk wait.
    pub(crate) fn has_loaded(&self) -> bool {
        self.queue.iter().any(|long| !long.is_fresh)
    }

    /// Whether the peer has a part of the item in front.
    pub(crate) fn is_begun(&self) -> bool {
        self.queue.front().is_some_and(|long| long.sent > 0)
    }

    /// Bytes of loaded items that are left to be sent.
    pub(crate) fn loaded_bytes(&self) -> usize {
        self.queue.iter().filter(|long| !long.is_fresh).map(LongItem::left).sum()
    }

    /// The next part, as frame `sequence`; with the last one, the item itself.
    pub(crate) fn next(&mut self, sequence: u64) -> Option<(PartFrame, Option<LongItem>)> {
        let front = self.queue.front_mut()?;
        let (left, bytes) = front.next_part()?;
        let is_last = front.left() == 0;
        let item = if is_last { self.queue.pop_front() } else { None };
        Some((PartFrame { sequence, left, bytes }, item))
    }

    /// Takes out what is not begun.
    pub(crate) fn take_waiting(&mut self) -> Vec<LongItem> {
        let begun = usize::from(self.is_begun());
        self.queue.drain(begun..).collect()
    }
}

/// A long body that comes in.
#[derive(Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    /// Bytes that are still to come.
    left: usize,
    /// The batch that took the last body, until it is decided.
    undecided: Option<u64>,
}

impl Assembly {
    /// Takes a part; the first one tells how long the body is.
    pub(crate) fn add(&mut self, part: &PartFrame) -> Result<(), Offence> {
        let is_first = self.bytes.is_empty();
        if is_first && part.left <= limits::PART_BYTES {
            return Err(Offence::Malformed);
        }
        if is_first && self.undecided.is_some() || !is_first && part.left != self.left {
            return Err(Offence::OutOfTurn);
        }
        self.bytes.extend_from_slice(&part.bytes);
        self.left = part.left - part.bytes.len();
        Ok(())
    }

    /// The whole body, for the batch that names it.
    pub(crate) fn finish(&mut self, sequence: u64, length: usize) -> Result<Vec<u8>, Malformed> {
        if self.left > 0 || self.bytes.len() != length {
            return Err(Malformed);
        }
        self.undecided = Some(sequence);
        Ok(std::mem::take(&mut self.bytes))
    }

    /// A batch is decided.
    pub(crate) fn decided(&mut self, sequence: u64) {
        if self.undecided == Some(sequence) {
            self.undecided = None;
        }
    }
}

//! Moving items to one peer: fresh ones first, then what a comparison found, within a window.
//! Never holds more bytes for a peer than the window and the push budget allow.
//!
//! ```text
//! fresh (items) ──────────────────┐
//! found by comparison (names) ──┬─ load ─► batch ─► sent, unacknowledged ─► ack: confirmed
//! bodies asked for (names) ─────┘    └─► not here: said so
//! ```

use crate::batch;
use crate::event::{Effect, Item, ItemName};
use crate::frame::{self, kind};
use crate::limits;
use crate::offence::Offence;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::Bucket;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One batch that the peer has not acknowledged.
struct Sent {
    names: Vec<ItemName>,
    bytes: usize,
}

/// The sending side of one connection.
pub(crate) struct Transfer {
    peer: MemberId,
    push: VecDeque<Item>,
    push_bytes: usize,
    bulk: VecDeque<ItemName>,
    /// Bodies that the peer asked for: each is sent, or said not to be here.
    asked: VecDeque<(Bucket, BodyId)>,
    /// Whether the next load is of bodies that were asked for, should both queues hold something.
    is_turn_of_asked: bool,
    /// Bodies that were asked for and are being read.
    reading: BTreeSet<(Bucket, BodyId)>,
    /// Read, and waiting for room in the window.
    loaded: VecDeque<Item>,
    is_loading: bool,
    /// Whether a comparison's findings are in the bulk queue.
    has_findings: bool,
    sent: BTreeMap<u64, Sent>,
    sent_bytes: usize,
    next_sequence: u64,
    push_bytes_max: usize,
}

impl Transfer {
    pub(crate) fn new(peer: MemberId, push_bytes_max: usize) -> Self {
        Self {
            peer,
            push: VecDeque::new(),
            push_bytes: 0,
            bulk: VecDeque::new(),
            asked: VecDeque::new(),
            is_turn_of_asked: true,
            reading: BTreeSet::new(),
            loaded: VecDeque::new(),
            is_loading: false,
            has_findings: false,
            sent: BTreeMap::new(),
            sent_bytes: 0,
            next_sequence: 1,
            push_bytes_max,
        }
    }

    /// Bytes queued for pushing or not acknowledged yet.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.push_bytes + self.sent_bytes
    }

    /// Queues a fresh item; beyond the budget it is left to anti-entropy.
    pub(crate) fn push(&mut self, item: &Item) -> bool {
        let bytes = item.wire_bytes();
        if self.push_bytes + bytes > self.push_bytes_max && !self.push.is_empty() {
            return false;
        }
        self.push_bytes += bytes;
        self.push.push_back(item.clone());
        true
    }

    /// Queues what a comparison found.
    pub(crate) fn findings(&mut self, names: impl IntoIterator<Item = ItemName>) {
        self.bulk(names);
        self.has_findings = true;
    }

    /// Queues what the peer is to get.
    pub(crate) fn bulk(&mut self, names: impl IntoIterator<Item = ItemName>) {
        let room = limits::BULK_KEYS.saturating_sub(self.bulk.len());
        self.bulk.extend(names.into_iter().take(room));
    }

    /// Whether nothing that an earlier comparison found still waits to be sent.
    pub(crate) fn is_done_with_findings(&self) -> bool {
        !self.has_findings || (self.bulk.is_empty() && self.loaded.is_empty() && !self.is_loading)
    }

    /// Whether the peer asks for more than it can be waiting for.
    pub(crate) fn is_overasked(&self) -> bool {
        self.bulk.len() > limits::ASKED
    }

    /// Queues bodies that the peer asks for.
    pub(crate) fn ask(&mut self, bodies: Vec<(Bucket, BodyId)>) -> Result<(), Offence> {
        self.asked.extend(bodies);
        if self.asked.len() + self.reading.len() > limits::WANT_OUTSTANDING {
            return Err(Offence::TooMuch);
        }
        Ok(())
    }

    /// Sends what the window allows: fresh items first.
    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect>) {
        while self.has_room() && !self.push.is_empty() {
            let items = take_batch(&mut self.push);
            let bytes: usize = items.iter().map(Item::wire_bytes).sum();
            self.push_bytes = self.push_bytes.saturating_sub(bytes);
            self.send(&items, effects);
        }
        while self.has_room() && !self.loaded.is_empty() {
            let items = take_batch(&mut self.loaded);
            self.send(&items, effects);
        }
        if self.has_room() && self.loaded.is_empty() && !self.is_loading {
            self.load(effects);
        }
    }

    /// Has the next names read: of what a comparison found, and of what was asked for, in turn.
    fn load(&mut self, effects: &mut Vec<Effect>) {
        let is_asked = !self.asked.is_empty() && (self.is_turn_of_asked || self.bulk.is_empty());
        self.is_turn_of_asked = !is_asked;
        let names: Vec<ItemName> = if is_asked {
            let count = self.asked.len().min(limits::LOAD_ITEMS);
            self.reading = self.asked.drain(..count).collect();
            self.reading.iter().map(|(bucket, id)| ItemName::Body(*bucket, *id)).collect()
        } else {
            let count = self.bulk.len().min(limits::LOAD_ITEMS);
            self.bulk.drain(..count).collect()
        };
        if !names.is_empty() {
            self.is_loading = true;
            effects.push(Effect::Load { peer: self.peer, names });
        }
    }

    /// Items that were asked for have been read; `rest` was not, for want of memory.
    pub(crate) fn take_loaded(
        &mut self,
        items: Vec<Item>,
        rest: Vec<ItemName>,
        effects: &mut Vec<Effect>,
    ) {
        self.is_loading = false;
        for name in items.iter().map(Item::name).chain(rest.iter().copied()) {
            if let ItemName::Body(bucket, id) = name {
                self.reading.remove(&(bucket, id));
            }
        }
        self.loaded.extend(items);
        for name in rest.into_iter().rev() {
            match name {
                ItemName::Record(..) => self.bulk.push_front(name),
                ItemName::Body(bucket, id) => self.asked.push_front((bucket, id)),
            }
        }
        let missing: Vec<_> = std::mem::take(&mut self.reading).into_iter().collect();
        if !missing.is_empty() {
            let payload = frame::encode_bodies(&missing);
            effects.push(Effect::Send { peer: self.peer, kind: kind::NOT_HERE, payload });
        }
    }

    /// The peer has a batch on its disk, but for the refused positions.
    pub(crate) fn acknowledged(
        &mut self,
        sequence: u64,
        refused: &[u16],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let sent = self.sent.remove(&sequence).ok_or(Offence::BogusAck)?;
        if refused.iter().any(|position| usize::from(*position) >= sent.names.len()) {
            return Err(Offence::BogusAck);
        }
        self.sent_bytes -= sent.bytes;
        for (position, name) in sent.names.into_iter().enumerate() {
            if !refused.iter().any(|refused| usize::from(*refused) == position) {
                effects.push(Effect::Confirmed { peer: self.peer, name });
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.sent_bytes < limits::WINDOW_BYTES
    }

    fn send(&mut self, items: &[Item], effects: &mut Vec<Effect>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut payload = Vec::new();
        crate::codec::put_varint(&mut payload, sequence);
        let mut bytes = 0;
        for item in items {
            self.send_parts(item, effects);
            batch::encode_item(&mut payload, item);
            bytes += item.wire_bytes();
        }
        self.sent_bytes += bytes;
        let names = items.iter().map(Item::name).collect();
        self.sent.insert(sequence, Sent { names, bytes });
        effects.push(Effect::Send { peer: self.peer, kind: kind::BATCH, payload });
    }

    /// A body that is too long for a frame travels ahead of its batch.
    fn send_parts(&self, item: &Item, effects: &mut Vec<Effect>) {
        let body = match item {
            Item::Record(_, Some(body)) | Item::Body(_, body) => body,
            Item::Record(_, None) => return,
        };
        if body.bytes.len() > limits::PART_BYTES {
            for part in body.bytes.chunks(limits::PART_BYTES) {
                let payload = part.to_vec();
                effects.push(Effect::Send { peer: self.peer, kind: kind::BODY_PART, payload });
            }
        }
    }
}

/// The next items that fit one frame. A long body goes in a batch of its own: its parts precede it.
fn take_batch(queue: &mut VecDeque<Item>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut bytes = 0;
    while bytes < limits::BATCH_BYTES && items.len() < limits::BATCH_ITEMS {
        let next_is_long = queue.front().is_some_and(has_long_body);
        if next_is_long && !items.is_empty() {
            break;
        }
        let Some(item) = queue.pop_front() else { break };
        bytes += item.wire_bytes();
        items.push(item);
        if next_is_long {
            break;
        }
    }
    items
}

fn has_long_body(item: &Item) -> bool {
    match item {
        Item::Record(_, Some(body)) | Item::Body(_, body) => body.bytes.len() > limits::PART_BYTES,
        Item::Record(_, None) => false,
    }
}

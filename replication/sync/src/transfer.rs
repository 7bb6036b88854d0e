//! Moving items to one peer: fresh ones first, then what it took and asked for, within window and budget.
//! Never holds more bytes for a peer than the window and the push budget allow.
//!
//! ```text
//! fresh (items) ──────────────────┐  (long bodies part by part, the rest in between)
//! lots it took (names) ─────────┬─ load ─► batch ─► sent, unacknowledged ─► ack: confirmed
//! bodies asked for (names) ─────┘    └─► not here: said so
//! ```

use crate::batch::{self, take_batch};
use crate::budget::Budget;
use crate::dictionaries::Dictionaries;
use crate::event::{Effect, Item, ItemName, SetView};
use crate::frame::{self, AckFrame, Lot, TakeFrame, kind};
use crate::limits;
use crate::long::{LongItems, long_body};
use crate::offence::Offence;
use crate::queue::{Portion, Queue};
use crate::refusal::{Hold, RefusalReason, Refused};
use crate::repeats::Repeats;
use crate::sent::{Sent, SentItem};
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::Bucket;
use quar_base::time::UnixMillis;
use quar_merkle::Prefix;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The sending side of one connection.
pub(crate) struct Transfer {
    peer: MemberId,
    push: VecDeque<Item>,
    push_bytes: usize,
    /// Records that the peer took.
    bulk: Queue,
    /// What of them is being read.
    portion: Portion,
    /// Lots of which everything is read, and waits to be sent.
    read_lots: Vec<u64>,
    /// Bodies that the peer asked for: each is sent, or said not to be here.
    asked: VecDeque<(Bucket, BodyId)>,
    /// Whether the next load is of bodies that were asked for, should both queues hold something.
    is_turn_of_asked: bool,
    /// Bodies of those somebody waits for; they go before everything, whatever the budget says.
    hurried: BTreeSet<(Bucket, BodyId)>,
    /// Bodies that were asked for and are being read.
    reading: BTreeSet<(Bucket, BodyId)>,
    /// Read, and waiting for room in the window.
    loaded: VecDeque<Item>,
    is_loading: bool,
    /// Items whose bodies do not fit a batch, fresh and loaded.
    long: LongItems,
    sent: BTreeMap<u64, Sent>,
    sent_bytes: usize,
    next_sequence: u64,
    /// Dictionaries that the peer was sent and still remembers.
    dictionaries: Dictionaries,
    push_bytes_max: usize,
    /// Whether the peer has room for mail.
    hold: Hold,
    /// Batches with mail that are not acknowledged.
    mail_batches: usize,
    pub(crate) refused: Refused,
    /// What the peer took.
    repeats: Repeats,
}

impl Transfer {
    pub(crate) fn new(peer: MemberId, push_bytes_max: usize) -> Self {
        Self {
            peer,
            push: VecDeque::new(),
            push_bytes: 0,
            bulk: Queue::default(),
            portion: Portion::default(),
            read_lots: Vec::new(),
            asked: VecDeque::new(),
            is_turn_of_asked: true,
            hurried: BTreeSet::new(),
            reading: BTreeSet::new(),
            loaded: VecDeque::new(),
            is_loading: false,
            long: LongItems::default(),
            sent: BTreeMap::new(),
            sent_bytes: 0,
            next_sequence: 1,
            dictionaries: Dictionaries::default(),
            push_bytes_max,
            hold: Hold::new(),
            mail_batches: 0,
            refused: Refused::default(),
            repeats: Repeats::default(),
        }
    }

    /// Bytes queued for pushing or not acknowledged yet.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.push_bytes + self.sent_bytes + self.long.loaded_bytes()
    }

    /// Why the peer takes no mail; `None` when it does.
    pub(crate) fn refuses(&self) -> Option<RefusalReason> {
        self.hold.reason()
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: UnixMillis) {
        self.hold.tick(now);
    }

    /// Queues a fresh item; beyond the budget, or with mail that the peer has no room for, it is
    /// left to anti-entropy.
    pub(crate) fn push(&mut self, item: &Item) -> bool {
        let is_probe = self.hold.is_probing() && self.mail_batches == 0;
        let may_push_mail =
            self.hold.reason().is_none() || (is_probe && !self.push.iter().any(Item::is_mail));
        if item.is_mail() && !may_push_mail {
            return false;
        }
        let bytes = item.wire_bytes();
        if self.push_bytes + bytes > self.push_bytes_max && self.push_bytes > 0 {
            return false;
        }
        self.push_bytes += bytes;
        match long_body(item) {
            Some(_) => self.long.push(item.clone(), true),
            None => self.push.push_back(item.clone()),
        }
        true
    }

    /// The peer takes a lot: what of it is here is queued. `false`: that is nothing.
    pub(crate) fn take(&mut self, frame: &TakeFrame, set: &dyn SetView) -> Result<bool, Offence> {
        let bucket = frame.lot.bucket();
        let keys = match &frame.lot {
            Lot::Names(_, names) => {
                let named = |name: &Prefix| set.keys_named(bucket, name, limits::NAMESAKES);
                names.iter().flat_map(named).collect()
            }
            Lot::Span(_, from, to, _) => {
                set.keys_between(bucket, *from, *to, limits::LOT_KEYS as usize)
            }
        };
        let is_here = !keys.is_empty();
        let names = keys.into_iter().map(|key| ItemName::Record(bucket, key));
        let names: Vec<_> = names.filter(|name| !self.refused.has(name)).collect();
        names.iter().try_for_each(|name| self.repeats.comes(name))?;
        self.bulk.push(frame.number, names)?;
        Ok(is_here)
    }

    /// The peer takes the rest of a lot from somebody else. `false`: it was sent.
    pub(crate) fn leave(&mut self, lot: u64) -> bool {
        self.bulk.leave(lot)
    }

    /// Of bodies that the peer asked for, it waits for these. `false`: none of them is to be sent.
    pub(crate) fn hurry(&mut self, bodies: &[(Bucket, BodyId)]) -> bool {
        let mut is_any = false;
        for body in bodies {
            if let Some(at) = self.asked.iter().position(|asked| asked == body) {
                self.asked.remove(at);
                self.asked.push_front(*body);
                self.hurried.insert(*body);
                self.is_turn_of_asked = true;
                is_any = true;
            }
        }
        is_any
    }

    /// Whether something that the peer took is still to be sent.
    pub(crate) fn is_sending_lots(&self) -> bool {
        !self.bulk.is_empty() || !self.portion.names.is_empty() || !self.read_lots.is_empty()
    }

    /// Queues bodies that the peer asks for.
    pub(crate) fn ask(&mut self, bodies: Vec<(Bucket, BodyId)>) -> Result<(), Offence> {
        for (bucket, id) in &bodies {
            self.repeats.comes(&ItemName::Body(*bucket, *id))?;
        }
        self.asked.extend(bodies);
        self.hold.asked();
        if self.asked.len() + self.reading.len() > limits::WANT_OUTSTANDING {
            return Err(Offence::TooMuch);
        }
        Ok(())
    }

    /// Sends what the window allows: fresh items first, bulk within the budget.
    pub(crate) fn flush(&mut self, budget: &mut Budget, effects: &mut Vec<Effect>) {
        while self.has_room() && !self.push.is_empty() {
            let items = take_batch(&mut self.push, &self.dictionaries, usize::MAX);
            self.push_bytes -= items.iter().map(Item::wire_bytes).sum::<usize>();
            self.send(&items, effects);
        }
        while self.send_long(budget, effects) {}
        while self.has_room()
            && self.may_send_loaded()
            && let Some(first) = self.loaded.front()
            && (!budget.is_spent() || self.is_hurried(first))
        {
            let items = take_batch(&mut self.loaded, &self.dictionaries, budget.room());
            for item in &items {
                budget.spend(item.wire_bytes());
                self.sent_hurried(item);
            }
            self.send(&items, effects);
        }
        let is_idle = self.loaded.is_empty()
            && !self.is_loading
            && self.long.loaded_bytes() < limits::LOAD_BYTES;
        if is_idle && !self.long.has_loaded() {
            self.tell_sent_lots(effects);
        }
        let may_load = is_idle || !self.is_loading && self.hurried_in_front() > 0;
        if self.has_room() && may_load && self.may_send_loaded() {
            self.load(is_idle, effects);
        }
    }

    fn is_hurried(&self, item: &Item) -> bool {
        matches!(item.name(), ItemName::Body(bucket, id) if self.hurried.contains(&(bucket, id)))
    }

    /// Bodies that somebody waits for and that are the next to be read.
    fn hurried_in_front(&self) -> usize {
        self.asked.iter().take_while(|body| self.hurried.contains(*body)).count()
    }

    fn sent_hurried(&mut self, item: &Item) {
        if let ItemName::Body(bucket, id) = item.name() {
            self.hurried.remove(&(bucket, id));
        }
    }

    fn tell_sent_lots(&mut self, effects: &mut Vec<Effect>) {
        for lot in std::mem::take(&mut self.read_lots) {
            let payload = frame::encode_lot_number(lot);
            effects.push(Effect::Send { peer: self.peer, kind: kind::LOT_SENT, payload });
        }
    }

    /// A peer that had no room gets one batch, and more when it took that.
    fn may_send_loaded(&self) -> bool {
        !self.hold.is_probing() || self.mail_batches == 0
    }

    /// Has the next names read: of lots that the peer took, and of bodies that it asked for, in turn; while
    /// others wait to be sent, only bodies that somebody waits for.
    fn load(&mut self, is_idle: bool, effects: &mut Vec<Effect>) {
        let with_mail = !self.hold.is_held();
        let may_ask = with_mail && !self.asked.is_empty();
        let is_asked = may_ask && (self.is_turn_of_asked || self.bulk.is_empty());
        if !is_idle && !is_asked {
            return;
        }
        self.is_turn_of_asked = !is_asked;
        let names: Vec<ItemName> = if is_asked {
            let most = if is_idle { self.asked.len() } else { self.hurried_in_front() };
            let count = most.min(limits::LOAD_ITEMS);
            self.reading = self.asked.drain(..count).collect();
            self.reading.iter().map(|(bucket, id)| ItemName::Body(*bucket, *id)).collect()
        } else {
            self.portion = self.bulk.take(limits::LOAD_ITEMS);
            self.portion.names.clone()
        };
        if names.is_empty() {
            // Lots of which nothing is here any more.
            self.read_lots.extend(self.portion.ended(0));
            self.portion = Portion::default();
            return self.tell_sent_lots(effects);
        }
        self.is_loading = true;
        effects.push(Effect::Load { peer: self.peer, names, with_mail });
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
        for item in items {
            let is_hurried = self.is_hurried(&item);
            match long_body(&item) {
                Some(_) => self.long.push(item, false),
                None if is_hurried => self.loaded.push_front(item),
                None => self.loaded.push_back(item),
            }
        }
        let portion = std::mem::take(&mut self.portion);
        let read = portion.names.len().saturating_sub(rest.len());
        if !portion.names.is_empty() {
            self.bulk.put_back(&portion, read);
            self.read_lots.extend(portion.ended(read));
        }
        for name in rest.into_iter().rev() {
            if let ItemName::Body(bucket, id) = name {
                self.asked.push_front((bucket, id));
            }
        }
        let missing: Vec<_> = std::mem::take(&mut self.reading).into_iter().collect();
        self.hurried.retain(|body| !missing.contains(body));
        self.set_mail_aside();
        if !missing.is_empty() {
            let payload = frame::encode_bodies(&missing);
            effects.push(Effect::Send { peer: self.peer, kind: kind::NOT_HERE, payload });
        }
    }

    /// While the peer has no room: bodies wait, and records are found again by a later round.
    fn set_mail_aside(&mut self) {
        if !self.hold.is_held() {
            return;
        }
        let (fresh, long): (Vec<_>, Vec<_>) =
            self.long.take_waiting().into_iter().partition(|long| long.is_fresh);
        let long = long.into_iter().map(|long| long.item);
        for item in std::mem::take(&mut self.loaded).into_iter().chain(long) {
            match item.name() {
                ItemName::Body(bucket, id) => self.asked.push_back((bucket, id)),
                ItemName::Record(..) if item.is_mail() => {}
                ItemName::Record(..) => self.loaded.push_back(item),
            }
        }
        let (mail, actions) = std::mem::take(&mut self.push).into_iter().partition(Item::is_mail);
        self.push = actions;
        let mail: VecDeque<Item> = mail;
        let gone = mail.iter().chain(fresh.iter().map(|long| &long.item));
        self.push_bytes -= gone.map(Item::wire_bytes).sum::<usize>();
    }

    /// The peer has a batch on its disk, but for the refused positions.
    pub(crate) fn acknowledged(
        &mut self,
        ack: &AckFrame,
        now: UnixMillis,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Offence> {
        let sent = self.sent.remove(&ack.sequence).ok_or(Offence::BogusAck)?;
        if ack.refused.last().is_some_and(|(last, _)| usize::from(*last) >= sent.items.len()) {
            return Err(Offence::BogusAck);
        }
        self.sent_bytes -= sent.bytes;
        self.long.acknowledged(ack.sequence);
        self.mail_batches -= usize::from(sent.has_mail());
        let mut refused = ack.refused.iter().peekable();
        let mut has_taken_mail = false;
        for (position, item) in sent.items.into_iter().enumerate() {
            let SentItem { name, is_mail, is_whole } = item;
            match refused.next_if(|(at, _)| usize::from(*at) == position) {
                Some((_, reason)) if reason.is_final() => self.refused.add(name),
                Some(_) => {}
                None => {
                    has_taken_mail |= is_mail;
                    self.repeats.took(&name);
                    effects.push(Effect::Confirmed { peer: self.peer, name, is_whole });
                }
            }
        }
        let no_room = ack.refused.iter().map(|(_, reason)| *reason);
        if let Some(reason) = no_room.min().filter(|reason| reason.is_of_the_peer()) {
            if self.hold.reason().is_none() {
                effects.push(Effect::HeldBack { peer: self.peer, reason });
            }
            self.hold.refused(reason, now);
            self.set_mail_aside();
        } else if has_taken_mail {
            self.hold.taken();
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.sent_bytes < limits::WINDOW_BYTES
    }

    fn send(&mut self, items: &[Item], effects: &mut Vec<Effect>) -> u64 {
        items.iter().for_each(|item| self.send_dictionary(item, effects));
        let payload = batch::encode_batch(self.next_sequence, items);
        let items = items.iter().map(SentItem::from).collect();
        self.send_numbered(kind::BATCH, payload, items, effects)
    }

    /// A dictionary that the peer does not know travels ahead of the batch.
    fn send_dictionary(&mut self, item: &Item, effects: &mut Vec<Effect>) {
        let needed = item.body().and_then(|body| body.dictionary.as_ref());
        if let Some(needed) = needed.filter(|needed| self.dictionaries.get(&needed.id).is_none()) {
            self.dictionaries.add(needed.clone());
            let payload = needed.encode();
            effects.push(Effect::Send { peer: self.peer, kind: kind::DICTIONARY, payload });
        }
    }

    /// Sends a frame that the peer acknowledges by its number, the next one.
    fn send_numbered(
        &mut self,
        kind: u8,
        payload: Vec<u8>,
        items: Vec<SentItem>,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let sent = Sent { items, bytes: payload.len() };
        self.sent_bytes += sent.bytes;
        self.mail_batches += usize::from(sent.has_mail());
        self.sent.insert(sequence, sent);
        effects.push(Effect::Send { peer: self.peer, kind, payload });
        sequence
    }

    /// Sends a part of a long body, if it is time for one.
    fn send_long(&mut self, budget: &mut Budget, effects: &mut Vec<Effect>) -> bool {
        let is_due =
            self.long.queue.front().is_some_and(|long| {
                long.is_fresh || !budget.is_spent() || self.is_hurried(&long.item)
            });
        let may_begin = is_due && !self.hold.is_held() && self.may_send_loaded();
        let may_go_on = self.long.is_begun() || may_begin;
        if !self.long.has_room() || !self.has_room() || !may_go_on {
            return false;
        }
        let is_fresh = self.long.queue.front().is_some_and(|long| long.is_fresh);
        let Some((part, item)) = self.long.next(self.next_sequence) else { return false };
        let (part, nothing) = (part.encode(), Vec::new());
        if !is_fresh {
            budget.spend(part.len());
        }
        let part = self.send_numbered(kind::BODY_PART, part, nothing, effects);
        let batch = item.map(|long| {
            self.sent_hurried(&long.item);
            if long.is_fresh {
                self.push_bytes -= long.item.wire_bytes();
            }
            self.send(&[long.item], effects)
        });
        self.long.sent(part, batch);
        true
    }
}

//! What the oracle knows: every mail handed in, and what each machine said to be durable.
//! Never asks a store what to expect of it: outcomes and answers are taken at their word. One thing it cannot know, and
//! reads: a body that a failed sync left.

use crate::keys::ID_KEY;
use quar_base::action::Action;
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::record::{Kind, Record};
use quar_base::time::{Day, UnixMillis};
use quar_store::{Outcome, Store, Stored};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A mail as it was handed in, to whichever machine.
#[derive(Clone)]
pub struct Mail {
    /// Its class.
    pub class: Class,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// How many recipients it has.
    pub recipients: usize,
}

/// A message: an arrival that some machine made durable.
#[derive(Clone, Debug)]
pub struct Message {
    /// Number of the mail.
    pub mail: usize,
    /// Its body.
    pub body: BodyId,
}

/// Everything that was ever said to be durable anywhere.
#[derive(Default)]
pub struct Ledger {
    /// Every mail, by its number.
    pub mails: Vec<Mail>,
    /// Every message.
    pub messages: BTreeMap<MessageId, Message>,
    /// Messages in the order in which they came to be known.
    pub order: Vec<MessageId>,
    /// Every record.
    pub records: BTreeMap<(Bucket, RecordKey), Record>,
    /// When the latest of each message's records is stamped.
    pub latest: BTreeMap<MessageId, UnixMillis>,
    /// Deletes that were ever asked for, united for each message.
    pub asked: BTreeMap<MessageId, Covered>,
    /// Machines whose disks ever held each message, arrival and body, as far as they knew.
    pub stored: BTreeMap<MessageId, BTreeSet<usize>>,
    /// Messages that a mail server or an operator was told are durable.
    pub acknowledged: BTreeSet<MessageId>,
}

/// Recipients of a message that deletes cover: how many it has, and one bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    count: usize,
    bits: u64,
}

/// What one machine's disk holds, by its own word.
#[derive(Clone, Default)]
pub struct Holdings {
    /// Arrivals.
    pub arrivals: BTreeSet<MessageId>,
    /// Bodies.
    pub bodies: BTreeSet<(Bucket, BodyId)>,
    /// Deletes, united for each message.
    pub deletes: BTreeMap<MessageId, Covered>,
    /// Actions, deletes too.
    pub actions: BTreeSet<(Bucket, RecordKey)>,
    /// Days that were unlinked.
    pub unlinked: BTreeSet<Bucket>,
    /// The oldest day of each class that was not let go.
    pub kept: BTreeMap<Class, Day>,
    /// Days in which something was damaged: what lies there is not counted on until peers mended it.
    pub damaged: BTreeSet<Bucket>,
    /// Bodies that were here when their day was damaged: any of them may be whole, and serve another message.
    pub doubted: BTreeSet<(Bucket, BodyId)>,
    /// Whether a sync failed: more may be here than anybody was told, and serve another message.
    pub has_more: bool,
}

impl Covered {
    fn of(set: &RecipientSet) -> Self {
        let bits = set.indices().map(|index| 1 << index).sum();
        Self { count: set.recipient_count(), bits }
    }

    /// Whether nobody is left.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.bits.count_ones() as usize == self.count
    }

    fn unite(&mut self, other: Self) {
        self.bits |= other.bits;
    }
}

impl Holdings {
    /// Whether arrival and body are here.
    #[must_use]
    pub fn has_whole(&self, id: MessageId, message: &Message) -> bool {
        self.arrivals.contains(&id) && self.bodies.contains(&(id.bucket, message.body))
    }

    /// Whether the deletes that are here cover the message.
    #[must_use]
    pub fn covers(&self, id: MessageId) -> bool {
        self.deletes.get(&id).is_some_and(|covered| covered.is_all())
    }

    /// Whether the deletes that are here cover one of its recipients.
    #[must_use]
    pub fn covers_one(&self, id: MessageId, index: usize) -> bool {
        self.deletes.get(&id).is_some_and(|covered| covered.bits >> index & 1 == 1)
    }

    /// Whether what is here of a message is in doubt: its day was damaged or unlinked.
    #[must_use]
    pub fn is_uncertain(&self, id: MessageId) -> bool {
        self.damaged.contains(&id.bucket) || self.unlinked.contains(&id.bucket)
    }

    /// Another machine's too, but for what was damaged.
    pub fn unite(&mut self, other: &Self) {
        let is_whole = |bucket: &Bucket| !other.damaged.contains(bucket);
        self.arrivals.extend(other.arrivals.iter().filter(|id| is_whole(&id.bucket)));
        self.bodies.extend(other.bodies.iter().filter(|(bucket, _)| is_whole(bucket)));
        self.actions.extend(other.actions.iter().filter(|(bucket, _)| is_whole(bucket)));
        for (id, covered) in other.deletes.iter().filter(|(id, _)| is_whole(&id.bucket)) {
            self.deletes.entry(*id).and_modify(|mine| mine.unite(*covered)).or_insert(*covered);
        }
    }

    /// The day's files are gone.
    pub fn unlink(&mut self, bucket: Bucket) {
        self.forget(bucket);
        self.doubted.retain(|(known, _)| *known != bucket);
        self.unlinked.insert(bucket);
    }

    /// Something in the day's files is damaged: nobody knows what.
    pub fn damage(&mut self, bucket: Bucket) {
        self.doubted.extend(self.bodies.iter().filter(|(known, _)| *known == bucket));
        self.forget(bucket);
        self.damaged.insert(bucket);
    }

    /// Nothing of this day is counted on any more.
    fn forget(&mut self, bucket: Bucket) {
        self.arrivals.retain(|id| id.bucket != bucket);
        self.bodies.retain(|(known, _)| *known != bucket);
        self.deletes.retain(|id, _| id.bucket != bucket);
        self.actions.retain(|(known, _)| *known != bucket);
    }

    /// What only deleted messages needed may have been erased.
    pub fn erase(&mut self, bucket: Bucket, ledger: &Ledger) {
        let kept = self.arrivals.iter().filter(|id| id.bucket == bucket && !self.covers(**id));
        let used: BTreeSet<BodyId> = kept.map(|id| ledger.messages[id].body).collect();
        self.bodies.retain(|(known, body)| *known != bucket || used.contains(body));
    }
}

impl Ledger {
    /// A commit of a machine's store said this of its disk.
    pub fn learn(&mut self, at: usize, holdings: &mut Holdings, store: &Store, outcome: &Outcome) {
        let Outcome::Stored(stored) = outcome else { return };
        let Stored { bucket, record, body } = &**stored;
        if let Some(body) = body {
            holdings.bodies.insert((*bucket, body.id));
            for id in holdings.arrivals.iter().filter(|id| id.bucket == *bucket) {
                if self.messages[id].body == body.id {
                    self.stored.entry(*id).or_default().insert(at);
                }
            }
        }
        let Some(record) = record else { return };
        self.take(record);
        if record.head().kind == Kind::ARRIVAL {
            let id = record.message();
            holdings.arrivals.insert(id);
            let message = &self.messages[&id];
            let may_be_whole = holdings.doubted.contains(&(id.bucket, message.body));
            let is_more = holdings.has_more && store.body(id).is_ok();
            if may_be_whole || is_more || holdings.has_whole(id, message) {
                self.stored.entry(id).or_default().insert(at);
            }
        } else {
            holdings.actions.insert((*bucket, record.key()));
        }
        if let Ok(Some(Action::Deleted(set))) = Action::decode(record) {
            let covered = Covered::of(&set);
            let all = holdings.deletes.entry(record.message()).or_insert(covered);
            all.unite(covered);
        }
    }

    /// One of a message's records may be stamped so.
    pub fn stamped(&mut self, id: MessageId, stamp: UnixMillis) {
        let latest = self.latest.entry(id).or_insert(stamp);
        *latest = stamp.max(*latest);
    }

    fn take(&mut self, record: &Record) {
        let key = (record.head().bucket, record.key());
        let stamp = record.key().instant(record.head().bucket.day);
        self.stamped(record.message(), stamp);
        self.records.entry(key).or_insert_with(|| record.clone());
        if record.head().kind != Kind::ARRIVAL || self.messages.contains_key(&record.message()) {
            return;
        }
        let arrival = Arrival::decode(record.payload()).expect("every machine makes valid ones");
        let mail = arrival.envelope.queue_id.strip_prefix('m').and_then(|n| n.parse().ok());
        let mail: usize = mail.expect("every mail has its number for a queue id");
        let message = Message { mail, body: arrival.body() };
        self.messages.insert(record.message(), message);
        self.order.push(record.message());
    }

    /// Somebody asks to delete a message for these recipients.
    pub fn ask(&mut self, id: MessageId, set: &RecipientSet) {
        let covered = Covered::of(set);
        self.asked.entry(id).or_insert(covered).unite(covered);
    }

    /// Whether deletes that were asked for cover the message, should all of them be on some disk: one that was
    /// refused, for a sync that failed, may be there all the same.
    #[must_use]
    pub fn may_be_deleted(&self, id: MessageId) -> bool {
        self.asked.get(&id).is_some_and(|covered| covered.is_all())
    }

    /// The bytes of a message as they were handed in.
    #[must_use]
    pub fn bytes(&self, id: MessageId) -> &[u8] {
        &self.mails[self.messages[&id].mail].bytes
    }

    /// The body id that bytes have.
    #[must_use]
    pub fn body_id(bytes: &[u8]) -> BodyId {
        BodyId(*blake3::keyed_hash(&ID_KEY, bytes).as_bytes())
    }
}

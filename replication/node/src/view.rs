//! The store's set as the protocol sees it, and items between the two crates' shapes.
//! Never keeps anything: made anew for each batch of events.

use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Kind;
use quar_base::roster::SignedRoster;
use quar_base::time::{Cutoff, Day, UnixMillis};
use quar_merkle::{Hash, Prefix};
use quar_store::{Codec, CodedBody, Refusal, Store, Stored};
use quar_sync::{Item, ItemName, RefusalReason, SetView, Snapshot, Which};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// The store's set at this moment. Roots are computed when first asked for.
pub(crate) struct StoreView<'a> {
    pub(crate) store: &'a Store,
    pub(crate) roster: &'a SignedRoster,
    pub(crate) now: UnixMillis,
    views: [OnceCell<quar_store::View>; 2],
}

impl<'a> StoreView<'a> {
    pub(crate) fn new(store: &'a Store, roster: &'a SignedRoster, now: UnixMillis) -> Self {
        Self { store, roster, now, views: [OnceCell::new(), OnceCell::new()] }
    }

    fn view(&self, which: Which) -> &quar_store::View {
        let (at, which) = match which {
            Which::Current => (0, quar_store::Which::Current),
            Which::Previous => (1, quar_store::Which::Previous),
        };
        self.views[at].get_or_init(|| self.store.view(which))
    }
}

impl SetView for StoreView<'_> {
    fn now(&self) -> UnixMillis {
        self.now
    }

    fn cutoff(&self, which: Which) -> Cutoff {
        self.view(which).cutoff()
    }

    fn state_root(&self, which: Which) -> Hash {
        self.view(which).state_root()
    }

    fn snapshot(&self, which: Which) -> Snapshot {
        let view = self.view(which);
        let mut tries = BTreeMap::new();
        for (bucket, _, _) in view.buckets() {
            tries.extend(view.trie(bucket).map(|trie| (bucket, trie)));
        }
        Snapshot { cutoff: view.cutoff(), tries }
    }

    fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)> {
        self.store.later_than(cutoff)
    }

    fn keys_named(&self, bucket: Bucket, prefix: &Prefix, limit: usize) -> Vec<RecordKey> {
        self.store.keys_named(bucket, prefix, limit)
    }

    fn keys_between(&self, bucket: Bucket, from: u32, to: u32, limit: usize) -> Vec<RecordKey> {
        self.store.keys_between(bucket, from, to, limit)
    }

    fn counts(&self) -> (u64, u64) {
        let counts = self.store.counts();
        (counts.records, counts.wanted)
    }

    fn wanted_after(&self, after: Option<(Bucket, BodyId)>, limit: usize) -> Vec<(Bucket, BodyId)> {
        self.store.wanted_after(after, limit)
    }

    fn is_wanted(&self, bucket: Bucket, body: &BodyId) -> bool {
        self.store.is_wanted(bucket, body)
    }

    fn floors(&self) -> Vec<(Class, Day)> {
        self.store.floors()
    }

    fn roster(&self) -> (u64, &str) {
        (self.roster.roster().epoch, self.roster.text())
    }
}

/// What was made durable, as the protocol pushes it.
pub(crate) fn item_of(stored: &Stored) -> Option<Item> {
    match (&stored.record, &stored.body) {
        (Some(record), body) => Some(Item::Record(record.clone(), body.as_ref().map(to_wire))),
        (None, Some(body)) => Some(Item::Body(stored.bucket, to_wire(body))),
        (None, None) => None,
    }
}

/// Reads items for a peer, until a load's bytes are reached; the names of the rest come back.
/// Without `with_mail`, arrivals and bodies are left out.
pub(crate) fn load_all(
    store: &Store,
    names: Vec<ItemName>,
    with_mail: bool,
) -> (Vec<Item>, Vec<ItemName>) {
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut names = names.into_iter();
    while bytes < quar_sync::limits::LOAD_BYTES {
        let Some(name) = names.next() else { break };
        let may_read = with_mail || is_action(store, name);
        if let Some(item) = may_read.then(|| load(store, name)).flatten() {
            bytes += item.wire_bytes();
            items.push(item);
        }
    }
    (items, names.collect())
}

fn is_action(store: &Store, name: ItemName) -> bool {
    match name {
        ItemName::Record(bucket, key) => {
            let kind = store.kind_of(bucket, &key).ok().flatten();
            kind.is_some_and(|kind| kind != Kind::ARRIVAL)
        }
        ItemName::Body(..) => false,
    }
}

/// Why the protocol says that an item was not taken.
pub(crate) fn reason_of(refusal: &Refusal) -> RefusalReason {
    match refusal {
        Refusal::Full => RefusalReason::Full,
        Refusal::Failed => RefusalReason::Failed,
        Refusal::BelowFloor { .. } => RefusalReason::BelowFloor,
        Refusal::Covered => RefusalReason::Covered,
        Refusal::TooLarge { .. }
        | Refusal::Invalid(_)
        | Refusal::Forged(_)
        | Refusal::WrongBody => RefusalReason::Invalid,
        Refusal::Ahead(_) | Refusal::UnknownAuthor { .. } | Refusal::UnwantedBody(_) => {
            RefusalReason::Other
        }
    }
}

/// Reads an item for a peer; `None` when it is not here, or not any more.
fn load(store: &Store, name: ItemName) -> Option<Item> {
    match name {
        ItemName::Record(bucket, key) => {
            let (record, body) = store.item(bucket, &key).ok()??;
            Some(Item::Record(record, body.as_ref().map(to_wire)))
        }
        ItemName::Body(bucket, id) => {
            let body = store.body_for_peer(bucket, id).ok()??;
            Some(Item::Body(bucket, to_wire(&body)))
        }
    }
}

/// Hands a peer's item to the store.
pub(crate) fn admit(
    store: &Store,
    item: Item,
    now: UnixMillis,
) -> Result<quar_store::Ticket, Refusal> {
    let admitted = match item {
        Item::Record(record, body) => {
            // The id of a body that came with its record is the one the record names.
            let body = match body {
                Some(body) if record.head().kind == Kind::ARRIVAL => {
                    let id = Arrival::decode(record.payload())?.body();
                    Some(from_wire(store, quar_sync::CodedBody { id, ..body })?)
                }
                Some(_) => return Err(Refusal::Invalid("an action has no body".into())),
                None => None,
            };
            store.admit_record(record, body, now)
        }
        Item::Body(bucket, body) => store.admit_body(bucket, from_wire(store, body)?),
    };
    admitted.map(|admitted| admitted.ticket)
}

fn to_wire(body: &CodedBody) -> quar_sync::CodedBody {
    let CodedBody { id, raw_bytes, codec, dictionary, bytes } = body.clone();
    let dictionary = dictionary.map(|dictionary| quar_sync::Dictionary {
        id: dictionary.id(),
        generation: dictionary.generation(),
        bytes: dictionary.bytes().clone(),
    });
    quar_sync::CodedBody { id, raw_bytes, codec: codec as u8, dictionary, bytes }
}

fn from_wire(store: &Store, body: quar_sync::CodedBody) -> Result<CodedBody, Refusal> {
    let quar_sync::CodedBody { id, raw_bytes, codec, dictionary, bytes } = body;
    let codec = Codec::from_number(codec).ok_or(Refusal::WrongBody)?;
    let take = |dictionary: quar_sync::Dictionary| {
        let quar_sync::Dictionary { id, generation, bytes } = dictionary;
        store.dictionary(id, generation, &bytes).map_err(|_| Refusal::WrongBody)
    };
    let dictionary = dictionary.map(take).transpose()?;
    Ok(CodedBody { id, raw_bytes, codec, dictionary, bytes })
}

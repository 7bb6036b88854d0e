//! Members whose stores are maps, and the wire between two of them.

use super::{DAY, NOW};
use crate::{
    CodedBody, Effect, Engine, Event, Item, ItemName, Offence, RefusalReason, SetView, Snapshot,
    Which,
};
use quar_base::class::Class;
use quar_base::ids::{BodyId, KeyId, MemberId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::signing::Signature;
use quar_base::time::{Cutoff, Day, UnixMillis};
use quar_merkle::{DayTree, Hash};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A member whose store is a map.
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) engine: Engine,
    pub(super) records: BTreeMap<(Bucket, RecordKey), Record>,
    pub(super) now: UnixMillis,
    /// The cutoff before this one, where it is not a step before.
    pub(super) previous: Option<Cutoff>,
    pub(super) roster: (u64, String),
    pub(super) adopted: Option<String>,
    pub(super) confirmed: BTreeSet<ItemName>,
    pub(super) offences: Vec<Offence>,
    pub(super) bodies: BTreeMap<(Bucket, BodyId), CodedBody>,
    pub(super) wanted: BTreeSet<(Bucket, BodyId)>,
    pub(super) floors: Vec<(Class, Day)>,
    /// What it does not take, and why.
    pub(super) refuse: Option<fn(&Item) -> Option<RefusalReason>>,
    /// Items that came in, refused ones included.
    pub(super) offered: usize,
    pub(super) held_back: Vec<RefusalReason>,
    pub(super) loads: usize,
    /// Bodies that came with records.
    pub(super) came_with: Vec<CodedBody>,
}

pub(super) fn record(class: Class, day: u32, second: u32, text: &[u8]) -> Record {
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: Bucket { class, day: Day(day) },
        second,
        author: MemberId([1; 16]),
        action: None,
    };
    Record::unsigned(head, text).unwrap()
}

/// An action on some message.
pub(super) fn action(second: u32, text: &[u8]) -> Record {
    let message = RecordKey { second: 0, id: RecordId([3; 32]) };
    let head = Head {
        kind: Kind::DELETED,
        bucket: Bucket { class: Class::SPAM, day: Day(DAY) },
        second,
        author: MemberId([1; 16]),
        action: Some(ActionHead { key_id: KeyId([0; 8]), message }),
    };
    Record::signed(head, text, |_| Signature([0; 64])).unwrap()
}

impl Member {
    pub(super) fn new(number: u8) -> Self {
        Self {
            id: MemberId([number; 16]),
            engine: Engine::new(MemberId([number; 16]), 1 << 20),
            records: BTreeMap::new(),
            now: NOW,
            previous: None,
            roster: (1, "roster 1".into()),
            adopted: None,
            confirmed: BTreeSet::new(),
            offences: Vec::new(),
            bodies: BTreeMap::new(),
            wanted: BTreeSet::new(),
            floors: Vec::new(),
            refuse: None,
            offered: 0,
            held_back: Vec::new(),
            loads: 0,
            came_with: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, record: Record) {
        self.records.insert((record.head().bucket, record.key()), record);
    }

    pub(super) fn keys(&self) -> BTreeSet<(Bucket, RecordKey)> {
        self.records.keys().copied().collect()
    }

    pub(super) fn view(&self) -> MapView<'_> {
        MapView(self)
    }

    /// Takes an event and everything that it leads to here; returns the frames to send.
    pub(super) fn take(&mut self, event: Event<'_>) -> Vec<(MemberId, u8, Vec<u8>)> {
        let mut effects = Vec::new();
        let mut engine = std::mem::replace(&mut self.engine, Engine::new(self.id, 0));
        engine.handle(event, &self.view(), &mut effects);
        engine.flush(&mut effects);
        let mut frames = Vec::new();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let mut more = Vec::new();
            match effect {
                Effect::Send { peer, kind, payload } => frames.push((peer, kind, payload)),
                Effect::Offer { peer, sequence, items } => {
                    let mut refused = Vec::new();
                    for (at, item) in (0..).zip(items) {
                        self.offered += 1;
                        if let Some(reason) = self.refuse.and_then(|refuse| refuse(&item)) {
                            refused.push((at, reason));
                            continue;
                        }
                        match item {
                            Item::Record(record, body) => {
                                self.came_with.extend(body);
                                self.add(record);
                            }
                            Item::Body(bucket, body) => {
                                self.wanted.remove(&(bucket, body.id));
                                self.bodies.insert((bucket, body.id), body);
                            }
                        }
                    }
                    let stored = Event::Stored { peer, sequence, refused };
                    engine.handle(stored, &self.view(), &mut more);
                }
                Effect::Load { peer, names, with_mail } => {
                    self.loads += 1;
                    let load = |name: ItemName| match name {
                        ItemName::Record(bucket, key) => {
                            let record = self.records.get(&(bucket, key))?;
                            Some(Item::Record(record.clone(), None))
                        }
                        ItemName::Body(bucket, id) => {
                            let body = self.bodies.get(&(bucket, id))?;
                            Some(Item::Body(bucket, body.clone()))
                        }
                    };
                    let items = names.into_iter().filter_map(load);
                    let items = items.filter(|item| with_mail || !item.is_mail()).collect();
                    let loaded = Event::Loaded { peer, items, rest: Vec::new() };
                    engine.handle(loaded, &self.view(), &mut more);
                }
                Effect::Confirmed { name, .. } => drop(self.confirmed.insert(name)),
                Effect::AdoptRoster { text, .. } => self.adopted = Some(text),
                Effect::Disconnect { offence, .. } => self.offences.push(offence),
                Effect::HeldBack { reason, .. } => self.held_back.push(reason),
                Effect::PeerClock { .. } => {}
            }
            engine.flush(&mut more);
            effects.extend(more);
        }
        self.engine = engine;
        frames
    }
}

pub(super) struct MapView<'a>(pub(super) &'a Member);

impl SetView for MapView<'_> {
    fn now(&self) -> UnixMillis {
        self.0.now
    }

    fn cutoff(&self, which: Which) -> Cutoff {
        match which {
            Which::Current => self.0.now.cutoff(),
            Which::Previous => self.0.previous.unwrap_or(self.0.now.cutoff().previous()),
        }
    }

    fn state_root(&self, which: Which) -> Hash {
        let tries = self.snapshot(which).tries.into_iter();
        DayTree::from_buckets(tries.map(|(bucket, trie)| (bucket, trie.len(), trie.root()))).root()
    }

    fn snapshot(&self, which: Which) -> Snapshot {
        let cutoff = self.cutoff(which);
        let mut tries: BTreeMap<Bucket, quar_merkle::Trie> = BTreeMap::new();
        for (bucket, key) in self.0.records.keys().filter(|(b, key)| key.is_settled(b.day, cutoff))
        {
            tries.entry(*bucket).or_default().insert(*key);
        }
        Snapshot { cutoff, tries }
    }

    fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)> {
        self.0.records.keys().filter(|(b, key)| !key.is_settled(b.day, cutoff)).copied().collect()
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.records.len() as u64, self.0.wanted.len() as u64)
    }

    fn wanted_after(&self, after: Option<(Bucket, BodyId)>, limit: usize) -> Vec<(Bucket, BodyId)> {
        let behind = self.0.wanted.iter().filter(|body| after.is_none_or(|after| **body > after));
        behind.take(limit).copied().collect()
    }

    fn is_wanted(&self, bucket: Bucket, body: &BodyId) -> bool {
        self.0.wanted.contains(&(bucket, *body))
    }

    fn floors(&self) -> Vec<(Class, Day)> {
        self.0.floors.clone()
    }

    fn roster(&self) -> (u64, &str) {
        (self.0.roster.0, &self.0.roster.1)
    }
}

/// Two members and the wire between them.
pub(super) struct Pair {
    pub(super) members: [Member; 2],
    pub(super) wire: VecDeque<(usize, u8, Vec<u8>)>,
    pub(super) bytes: BTreeMap<u8, usize>,
    /// Every so many frames, one is lost, and with it the connection.
    pub(super) cut_after: Option<usize>,
    pub(super) carried: usize,
}

impl Pair {
    pub(super) fn new(one: Member, other: Member) -> Self {
        let members = [one, other];
        Self { members, wire: VecDeque::new(), bytes: BTreeMap::new(), cut_after: None, carried: 0 }
    }

    pub(super) fn give(&mut self, to: usize, event: Event<'_>) {
        for (_, kind, payload) in self.members[to].take(event) {
            *self.bytes.entry(kind).or_default() += payload.len();
            self.wire.push_back((1 - to, kind, payload));
        }
    }

    pub(super) fn connect(&mut self) {
        self.wire.clear();
        for at in 0..2 {
            let peer = self.members[1 - at].id;
            self.give(at, Event::Disconnected { peer });
            self.give(at, Event::Connected { peer, session_key: [9; 32] });
        }
    }

    /// Carries frames until none is left.
    pub(super) fn run(&mut self) {
        while let Some((to, kind, payload)) = self.wire.pop_front() {
            self.carried += 1;
            if self.cut_after.is_some_and(|after| self.carried == after) {
                self.cut_after = None;
                self.connect();
                continue;
            }
            let peer = self.members[1 - to].id;
            self.give(to, Event::Frame { peer, kind, payload: &payload });
            assert!(self.carried < 100_000, "the two never come to an end");
        }
    }

    /// Time passes on both sides, and what follows is carried.
    pub(super) fn tick(&mut self) {
        for at in 0..2 {
            self.members[at].now = UnixMillis(self.members[at].now.0 + 10_000);
            self.give(at, Event::Tick);
        }
        self.run();
    }

    pub(super) fn agree(&self) -> bool {
        self.members[0].keys() == self.members[1].keys()
    }

    pub(super) fn comparison_bytes(&self) -> usize {
        (4..=6).filter_map(|kind| self.bytes.get(&kind)).sum()
    }
}

//! Two members, each an engine over tries, and the wire between them, on which frames are counted.

use crate::world::{NOW, World};
use quar_base::class::Class;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::{CUTOFF_STEP_MS, Cutoff, Day, Millis, UnixMillis};
use quar_merkle::{DayTree, Hash, Trie};
use quar_sync::{Effect, Engine, Event, Item, ItemName, SetView, Snapshot, Which};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The set of a member. What came in enters it when the next cutoff comes.
struct Set {
    tries: BTreeMap<Bucket, Trie>,
    now: UnixMillis,
}

struct Side {
    id: MemberId,
    engine: Engine,
    set: Set,
}

/// A frame on its way, and how many went before it, each because of the one before.
struct Sent {
    to: usize,
    kind: u8,
    payload: Vec<u8>,
    half_trips: usize,
}

pub struct Pair<'a> {
    world: &'a World,
    sides: [Side; 2],
    /// Numbers of the messages that one side lacks.
    missing: HashMap<(Bucket, RecordKey), usize>,
    wire: VecDeque<Sent>,
    /// Bytes of payload by kind of frame, both ways.
    bytes: BTreeMap<u8, usize>,
    /// Frames that followed from one another until all that is missing was known.
    pub half_trips: usize,
}

impl<'a> Pair<'a> {
    pub fn new(world: &'a World, missing: &[usize], lacking: usize) -> Self {
        let sides = [0, 1].map(|at| {
            let mut tries = world.tries.clone();
            if at == lacking {
                for number in missing {
                    let (bucket, key) = world.place(*number);
                    tries.entry(bucket).or_default().remove(&key);
                }
            }
            tries.values().for_each(Trie::rehash);
            let id = MemberId([at as u8 + 1; 16]);
            Side { id, engine: Engine::new(id, 8 << 20), set: Set { tries, now: NOW } }
        });
        let missing = missing.iter().map(|number| (world.place(*number), *number)).collect();
        let (wire, bytes) = (VecDeque::new(), BTreeMap::new());
        Self { world, sides, missing, wire, bytes, half_trips: 0 }
    }

    pub fn connect(&mut self) {
        for at in 0..2 {
            let peer = self.sides[1 - at].id;
            self.give(at, Event::Connected { peer, session_key: [9; 32] }, 0);
        }
    }

    /// The cutoff moves on both sides.
    pub fn tick(&mut self) {
        for at in 0..2 {
            let now = self.sides[at].set.now;
            self.sides[at].set.now = now.plus(Millis(CUTOFF_STEP_MS));
            self.give(at, Event::Tick, 0);
        }
        self.run();
    }

    /// Carries frames until none is left.
    pub fn run(&mut self) {
        while let Some(Sent { to, kind, payload, half_trips }) = self.wire.pop_front() {
            let peer = self.sides[1 - to].id;
            self.give(to, Event::Frame { peer, kind, payload: &payload }, half_trips);
        }
    }

    pub fn agree(&self) -> bool {
        let [one, other] = &self.sides;
        one.set.state_root(Which::Current) == other.set.state_root(Which::Current)
    }

    pub fn bytes_of(&self, kinds: &[u8]) -> usize {
        kinds.iter().filter_map(|kind| self.bytes.get(kind)).sum()
    }

    fn give(&mut self, to: usize, event: Event<'_>, half_trips: usize) {
        let mut effects = Vec::new();
        let Side { engine, set, .. } = &mut self.sides[to];
        engine.handle(event, set, &mut effects);
        engine.flush(&mut effects);
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let mut more = Vec::new();
            if let Some(event) = self.perform(to, effect, half_trips) {
                let Side { engine, set, .. } = &mut self.sides[to];
                engine.handle(event, set, &mut more);
                engine.flush(&mut more);
            }
            effects.extend(more);
        }
    }

    /// Performs an effect; what happens next, if anything.
    fn perform(&mut self, at: usize, effect: Effect, half_trips: usize) -> Option<Event<'static>> {
        match effect {
            Effect::Send { kind, payload, .. } => {
                *self.bytes.entry(kind).or_default() += payload.len();
                let half_trips = half_trips + 1;
                // Greeting and comparison; what they find missing is on its way from then on.
                if [1, 4, 5, 6].contains(&kind) {
                    self.half_trips = self.half_trips.max(half_trips);
                }
                self.wire.push_back(Sent { to: 1 - at, kind, payload, half_trips });
                None
            }
            Effect::Offer { peer, sequence, items } => {
                for item in items {
                    let ItemName::Record(bucket, key) = item.name() else { continue };
                    self.sides[at].set.tries.entry(bucket).or_default().insert(key);
                }
                Some(Event::Stored { peer, sequence, refused: Vec::new() })
            }
            Effect::Load { peer, names, .. } => {
                let load = |name: ItemName| match name {
                    ItemName::Record(bucket, key) => {
                        let number = self.missing.get(&(bucket, key)).expect("it was missing");
                        Item::Record(self.world.record(*number), None)
                    }
                    ItemName::Body(..) => unreachable!("nobody wants a body here"),
                };
                let items = names.into_iter().map(load).collect();
                Some(Event::Loaded { peer, items, rest: Vec::new() })
            }
            Effect::Disconnect { offence, .. } => panic!("an honest member commits {offence:?}"),
            Effect::Confirmed { .. }
            | Effect::PeerClock { .. }
            | Effect::AdoptRoster { .. }
            | Effect::HeldBack { .. } => None,
        }
    }
}

impl SetView for Set {
    fn now(&self) -> UnixMillis {
        self.now
    }

    fn cutoff(&self, which: Which) -> Cutoff {
        match which {
            Which::Current => self.now.cutoff(),
            Which::Previous => self.now.cutoff().previous(),
        }
    }

    fn state_root(&self, _: Which) -> Hash {
        let tries = self.tries.iter().map(|(bucket, trie)| (*bucket, trie.len(), trie.root()));
        DayTree::from_buckets(tries).root()
    }

    fn snapshot(&self, which: Which) -> Snapshot {
        Snapshot { cutoff: self.cutoff(which), tries: self.tries.clone() }
    }

    fn later_than(&self, _: Cutoff) -> Vec<(Bucket, RecordKey)> {
        Vec::new()
    }

    fn counts(&self) -> (u64, u64) {
        (self.tries.values().map(Trie::len).sum(), 0)
    }

    fn wanted_after(&self, _: Option<(Bucket, BodyId)>, _: usize) -> Vec<(Bucket, BodyId)> {
        Vec::new()
    }

    fn is_wanted(&self, _: Bucket, _: &BodyId) -> bool {
        false
    }

    fn floors(&self) -> Vec<(Class, Day)> {
        Vec::new()
    }

    fn roster(&self) -> (u64, &str) {
        (1, "")
    }
}

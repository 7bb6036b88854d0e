//! One connection of an engine whose peer sends whatever it likes.
//! Never answers for the peer: loads and outcomes are the node's own.

use crate::limits::{BATCH_BYTES, BATCH_ITEMS, LOAD_ITEMS, PUSH_BYTES, WINDOW_BYTES};
use crate::{Effect, Engine, Event, Item, ItemName, SetView, Snapshot, Which};
use quar_base::class::Class;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::limits::FRAME_BYTES_MAX;
use quar_base::record::{Head, Kind, Record};
use quar_base::time::{Cutoff, Day, UnixMillis};
use quar_merkle::{DayTree, Hash, Trie};
use std::collections::{BTreeMap, VecDeque};

/// 2026-11-23 08:00:00 UTC.
const NOW: UnixMillis = UnixMillis(1_795_420_800_000);
const DAY: u32 = 20_780;
const ME: MemberId = MemberId([5; 16]);
/// Effects that one step may lead to: no frame makes more work than this.
const EFFECTS_MAX: usize = 10_000;

/// A set that stays as it is, and a clock that goes on.
struct Fixed {
    now: UnixMillis,
    records: BTreeMap<(Bucket, RecordKey), Record>,
    tries: BTreeMap<Bucket, Trie>,
    wanted: Vec<(Bucket, BodyId)>,
}

impl Fixed {
    fn new() -> Self {
        let (mut records, mut tries) = (BTreeMap::new(), BTreeMap::<Bucket, Trie>::new());
        for number in 0..400u32 {
            let bucket =
                Bucket { class: Class(1 + (number % 2) as u8), day: Day(DAY - number % 40) };
            let head =
                Head { kind: Kind::ARRIVAL, bucket, second: number * 70, author: ME, action: None };
            let record = Record::unsigned(head, &number.to_le_bytes()).expect("a small record");
            tries.entry(bucket).or_default().insert(record.key());
            records.insert((bucket, record.key()), record);
        }
        let bucket = Bucket { class: Class::SPAM, day: Day(DAY) };
        let wanted = [1, 2, 3].map(|number| (bucket, BodyId([number; 32]))).to_vec();
        Self { now: NOW, records, tries, wanted }
    }

    fn load(&self, name: ItemName) -> Option<Item> {
        match name {
            ItemName::Record(bucket, key) => {
                self.records.get(&(bucket, key)).map(|record| Item::Record(record.clone(), None))
            }
            ItemName::Body(..) => None,
        }
    }
}

impl SetView for Fixed {
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
        let tries = self.tries.iter();
        DayTree::from_buckets(tries.map(|(bucket, trie)| (*bucket, trie.len(), trie.root()))).root()
    }

    fn snapshot(&self, which: Which) -> Snapshot {
        Snapshot { cutoff: self.cutoff(which), tries: self.tries.clone() }
    }

    fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)> {
        let late = self.records.keys().filter(|(b, key)| !key.is_settled(b.day, cutoff));
        late.copied().collect()
    }

    fn counts(&self) -> (u64, u64) {
        (self.records.len() as u64, self.wanted.len() as u64)
    }

    fn wanted_after(&self, after: Option<(Bucket, BodyId)>, limit: usize) -> Vec<(Bucket, BodyId)> {
        let behind = self.wanted.iter().filter(|body| after.is_none_or(|after| **body > after));
        behind.take(limit).copied().collect()
    }

    fn is_wanted(&self, bucket: Bucket, body: &BodyId) -> bool {
        self.wanted.contains(&(bucket, *body))
    }

    fn floors(&self) -> Vec<(Class, Day)> {
        vec![(Class::SPAM, Day(DAY - 60))]
    }

    fn roster(&self) -> (u64, &str) {
        (3, "roster 3")
    }
}

/// Steps of the input, each a tag, a length (u16, little-endian) and bytes: tags below 200 are frames of
/// that kind.
fn steps(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([tag, low, high], rest) = input.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, behind) = rest.split_at(length);
        input = behind;
        Some((*tag, bytes))
    })
}

pub(super) fn run(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    // The lower member begins rounds.
    let peer = if first % 2 == 0 { MemberId([1; 16]) } else { MemberId([9; 16]) };
    let mut set = Fixed::new();
    let mut engine = Engine::new(ME, PUSH_BYTES);
    take(&mut engine, &set, Event::Connected { peer, session_key: [9; 32] });
    for (tag, bytes) in steps(input) {
        let event = match tag {
            kind @ ..200 => Event::Frame { peer, kind, payload: bytes },
            200..220 => {
                set.now = UnixMillis(set.now.0 + 1000 * (1 + bytes.len() as u64));
                Event::Tick
            }
            220..240 => match set.records.values().nth(bytes.len()) {
                Some(record) => Event::Committed(Item::Record(record.clone(), None)),
                None => Event::Tick,
            },
            _ => Event::Fetch { bucket: set.wanted[0].0, body: set.wanted[0].1 },
        };
        if !take(&mut engine, &set, event) {
            assert_eq!(engine.peers().count(), 0, "whoever breaks the protocol is gone");
            return;
        }
        let queued = engine.status(peer).queued_bytes as usize;
        assert!(queued <= PUSH_BYTES + WINDOW_BYTES + BATCH_BYTES, "{queued} bytes are queued");
    }
}

/// Whether the connection goes on.
fn take(engine: &mut Engine, set: &Fixed, event: Event<'_>) -> bool {
    let (mut effects, mut count) = (Vec::new(), 0);
    engine.handle(event, set, &mut effects);
    engine.flush(&mut effects);
    let mut waiting = VecDeque::from(effects);
    let mut goes_on = true;
    while let Some(effect) = waiting.pop_front() {
        count += 1;
        assert!(count <= EFFECTS_MAX, "one step leads to no end of effects");
        let answer = match effect {
            Effect::Send { payload, .. } => {
                assert!(payload.len() <= FRAME_BYTES_MAX);
                continue;
            }
            Effect::Offer { peer, sequence, items } => {
                assert!(items.len() <= BATCH_ITEMS);
                Event::Stored { peer, sequence, refused: Vec::new() }
            }
            Effect::Load { peer, names, .. } => {
                assert!(names.len() <= LOAD_ITEMS);
                let items = names.into_iter().filter_map(|name| set.load(name)).collect();
                Event::Loaded { peer, items, rest: Vec::new() }
            }
            Effect::Disconnect { .. } => {
                goes_on = false;
                continue;
            }
            _ => continue,
        };
        let mut more = Vec::new();
        engine.handle(answer, set, &mut more);
        engine.flush(&mut more);
        waiting.extend(more);
    }
    goes_on
}

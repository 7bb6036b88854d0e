//! The messages that both members would have if they had never been apart.

use quar_base::class::Class;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{Head, Kind, Record};
use quar_base::rng::Rng;
use quar_base::time::{DAY_SECONDS, Day, UnixMillis};
use quar_merkle::Trie;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-11-13.
const FIRST_DAY: u32 = 20_770;
const DAYS: u64 = 10;
/// The hour and the day that are missing.
const HOUR: u64 = (4 * 24 + 13) * 3600;
const MISSING_DAY: u64 = 6 * DAY_SECONDS;

/// An hour after the last message: all have settled.
pub const NOW: UnixMillis = UnixMillis(((FIRST_DAY as u64 + DAYS) * DAY_SECONDS + 3600) * 1000);

/// What one member lacks.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    InSync,
    Hour,
    Day,
    /// So many, at any time.
    Scattered(usize),
    HourAnd(usize),
}

impl Case {
    pub fn name(self) -> String {
        match self {
            Self::InSync => "in sync".to_owned(),
            Self::Hour => "an hour".to_owned(),
            Self::Day => "a day".to_owned(),
            Self::Scattered(count) => format!("{count} scattered"),
            Self::HourAnd(count) => format!("an hour and {count} scattered"),
        }
    }
}

pub struct World {
    /// Bucket and key of each message, and the second of the ten days at which it came.
    messages: Vec<(Bucket, RecordKey, u64)>,
    classes: u64,
    /// Of all messages.
    pub tries: BTreeMap<Bucket, Trie>,
}

impl World {
    pub fn new(count: usize, classes: u64) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        let messages: Vec<_> = (0..count)
            .map(|number| {
                let at = rng.below(DAYS * DAY_SECONDS);
                let bucket = bucket(at, 1 + rng.below(classes) as u8);
                (bucket, record(number, bucket, at).key(), at)
            })
            .collect();
        let mut keys: BTreeMap<Bucket, Vec<RecordKey>> = BTreeMap::new();
        for (bucket, key, _) in &messages {
            keys.entry(*bucket).or_default().push(*key);
        }
        let trie = |(bucket, keys): (Bucket, Vec<RecordKey>)| {
            (bucket, Trie::from_sorted(keys.into_iter()))
        };
        let tries = keys.into_iter().map(trie).collect();
        Self { messages, classes, tries }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn classes(&self) -> u64 {
        self.classes
    }

    /// Numbers of the messages that one side lacks, ascending.
    pub fn missing(&self, case: Case) -> Vec<usize> {
        let between = |from: u64, seconds: u64| {
            let is_inside = move |at: u64| (from..from + seconds).contains(&at);
            (0..self.len()).filter(move |number| is_inside(self.messages[*number].2))
        };
        let numbers: BTreeSet<usize> = match case {
            Case::InSync => BTreeSet::new(),
            Case::Hour => between(HOUR, 3600).collect(),
            Case::Day => between(MISSING_DAY, DAY_SECONDS).collect(),
            Case::Scattered(count) => self.scattered(count),
            Case::HourAnd(count) => between(HOUR, 3600).chain(self.scattered(count)).collect(),
        };
        numbers.into_iter().collect()
    }

    fn scattered(&self, count: usize) -> BTreeSet<usize> {
        let mut rng = Rng::from_seed([9; 32]);
        let mut numbers = BTreeSet::new();
        while numbers.len() < count.min(self.len()) {
            numbers.insert(rng.below(self.len() as u64) as usize);
        }
        numbers
    }

    pub fn place(&self, number: usize) -> (Bucket, RecordKey) {
        let (bucket, key, _) = self.messages[number];
        (bucket, key)
    }

    pub fn record(&self, number: usize) -> Record {
        let (bucket, _, at) = self.messages[number];
        record(number, bucket, at)
    }

    /// Second since 1970 and record id of each message but the missing ones.
    pub fn items(&self, missing: &[usize]) -> impl Iterator<Item = (u64, [u8; 32])> {
        let is_there = move |number: &usize| missing.binary_search(number).is_err();
        let start = u64::from(FIRST_DAY) * DAY_SECONDS;
        (0..self.len()).filter(is_there).map(move |number| {
            let (_, key, at) = self.messages[number];
            (start + at, key.id.0)
        })
    }
}

fn bucket(at: u64, class: u8) -> Bucket {
    Bucket { class: Class(class), day: Day(FIRST_DAY + (at / DAY_SECONDS) as u32) }
}

/// An arrival of 300 bytes, about what one takes.
fn record(number: usize, bucket: Bucket, at: u64) -> Record {
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket,
        second: (at % DAY_SECONDS) as u32,
        author: MemberId([1; 16]),
        action: None,
    };
    let mut payload = vec![0x2e; 263];
    payload[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Record::unsigned(head, &payload).expect("it is small")
}

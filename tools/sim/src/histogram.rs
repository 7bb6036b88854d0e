//! What lives contained, counted.
//! Never judges.

use std::collections::BTreeMap;

/// Counts of one life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each thing was seen.
    pub seen: BTreeMap<&'static str, u64>,
    /// Operations, by name.
    pub operations: BTreeMap<&'static str, u64>,
    /// Faults, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rounds until all was equal.
    pub rounds: u64,
    /// Machines.
    pub machines: u64,
}

/// Counts of many lives.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Lives.
    pub lives: u64,
    /// In how many lives something was, and how often in all.
    pub seen: BTreeMap<(&'static str, &'static str), (u64, u64)>,
    operations: Vec<u64>,
    fault_kinds: Vec<u64>,
    rounds: Vec<u64>,
    machines: Vec<u64>,
    milliseconds: Vec<u64>,
}

/// Some of the values of a number that each life has.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least.
    pub least: u64,
    /// The one in the middle.
    pub median: u64,
    /// Of a hundred lives the one with the most but one.
    pub most_of_99: u64,
    /// The most.
    pub most: u64,
}

impl Counts {
    /// Something was seen.
    pub fn see(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Something was seen so many times.
    pub fn add(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.seen.entry(what).or_default() += times;
        }
    }

    /// An operation.
    pub fn operation(&mut self, name: &'static str) {
        *self.operations.entry(name).or_default() += 1;
    }

    /// A fault.
    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

impl Histogram {
    /// Takes in one life.
    pub fn add(&mut self, counts: &Counts, milliseconds: u64) {
        self.lives += 1;
        let groups =
            [("operation", &counts.operations), ("fault", &counts.faults), ("seen", &counts.seen)];
        for (group, all) in groups {
            for (name, times) in all {
                let (lives, total) = self.seen.entry((group, name)).or_default();
                *lives += 1;
                *total += times;
            }
        }
        self.operations.push(counts.operations.values().sum());
        self.fault_kinds.push(counts.faults.len() as u64);
        self.rounds.push(counts.rounds);
        self.machines.push(counts.machines);
        self.milliseconds.push(milliseconds);
    }

    /// Numbers that each life has, by name.
    #[must_use]
    pub fn spreads(&self) -> [(&'static str, Spread); 5] {
        [
            ("members at the start", Spread::of(&self.machines)),
            ("operations", Spread::of(&self.operations)),
            ("kinds of fault", Spread::of(&self.fault_kinds)),
            ("rounds until equal", Spread::of(&self.rounds)),
            ("milliseconds", Spread::of(&self.milliseconds)),
        ]
    }
}

impl Spread {
    fn of(values: &[u64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| {
            sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0)
        };
        Self { least: at(0), median: at(50), most_of_99: at(99), most: at(100) }
    }
}

//! One comparison of two sets: which places differ, level by level.
//! Never moves a record: it finds what the peer lacks, and asks for what is lacking here.
//!
//! ```text
//! initiator   BUCKETS: newest days singly, older ones by month
//! responder   FLIGHT: the days of months that differ; its first page of each bucket that differs
//! initiator   FLIGHT: its own pages one level deeper, wherever the two still differ ... alternating
//! either      an empty FLIGHT ends the round
//! ```
//! What a page, a leaf or an "empty" of the peer shows to be missing there is offered, in lots (`lacking`);
//! keys of a leaf that are missing here are asked after by their short forms.

use crate::event::Snapshot;
use crate::frame::{BucketsFrame, Month, Told, WantedKeys};
use crate::lacking::Lacking;
use crate::limits;
use crate::offence::Offence;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::Day;
use quar_merkle::{DayTree, Description, Hash, LEAF_KEYS_MAX, Prefix, Trie, short_of_key};
use std::collections::{BTreeMap, BTreeSet};

/// One side of a running round.
pub(crate) struct Descent {
    set: Snapshot,
    round: u32,
    key: [u8; 32],
    first_single: Day,
    /// Whether what is lacking goes by whole keys in this round.
    by_whole_keys: bool,
    flights: u32,
    /// Places that the peer has told of: an honest one tells of each once.
    told: BTreeSet<(Bucket, Prefix)>,
    months_told: BTreeSet<Month>,
    /// Keys that this round may still find: no more than there are.
    findings_left: u64,
}

/// What a flight leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The answer; empty when nothing is left to compare.
    pub(crate) told: Vec<Told>,
    /// What the peer lacks.
    pub(crate) lacking_there: Lacking,
    /// Keys that are lacking here, by short forms under a prefix.
    pub(crate) missing_here: Vec<WantedKeys>,
}

impl Descent {
    pub(crate) fn new(
        set: Snapshot,
        session_key: &[u8; 32],
        round: u32,
        first_single: Day,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(session_key);
        hasher.update(b"quard round").update(&round.to_le_bytes());
        let findings_left = set.tries.values().map(Trie::len).sum();
        Self {
            set,
            round,
            key: *hasher.finalize().as_bytes(),
            first_single,
            by_whole_keys: round % limits::WHOLE_KEYS_EVERY == limits::WHOLE_KEYS_EVERY - 1,
            flights: 0,
            told: BTreeSet::new(),
            months_told: BTreeSet::new(),
            findings_left,
        }
    }

    /// The oldest day that a node lists singly.
    pub(crate) fn first_single(set: &Snapshot) -> Day {
        let newest = set.tries.keys().map(|bucket| bucket.day).max().unwrap_or(Day(0));
        newest.minus(limits::SINGLE_DAYS - 1)
    }

    /// Its number, the same on both sides.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// What is compared.
    pub(crate) fn tries(&self) -> &BTreeMap<Bucket, Trie> {
        &self.set.tries
    }

    pub(crate) fn is_by_whole_keys(&self) -> bool {
        self.by_whole_keys
    }

    /// Flights of the peer that were answered, its buckets included.
    pub(crate) fn flights(&self) -> u32 {
        self.flights
    }

    /// The initiator's first frame.
    pub(crate) fn buckets(&self, cutoff_steps: u32, round: u32) -> BucketsFrame {
        let days = self.filled().filter(|(bucket, _)| bucket.day >= self.first_single);
        let days = days.map(|(bucket, trie)| (*bucket, self.short(&trie.root()))).collect();
        let months = self.months().into_iter().map(|(month, hash)| (month, self.short(&hash)));
        let months = months.collect();
        BucketsFrame { cutoff_steps, round, first_single: self.first_single, days, months }
    }

    /// The responder's answer to the initiator's buckets.
    pub(crate) fn answer_buckets(&mut self, theirs: &BucketsFrame) -> Found {
        self.flights += 1;
        let mut found = Found::default();
        self.compare_days(&theirs.days, |bucket| bucket.day >= theirs.first_single, &mut found);
        let mine = self.months();
        let told: BTreeMap<Month, u32> = theirs.months.iter().copied().collect();
        let all: BTreeSet<Month> = mine.keys().chain(told.keys()).copied().collect();
        for month in all {
            let hash = mine.get(&month).map(|hash| self.short(hash));
            if hash != told.get(&month).copied() {
                found.told.push(Told::Days(month, self.days_of(month)));
            }
        }
        found
    }

    /// The answer to a flight.
    ///
    /// # Errors
    /// [`Offence`] for a peer that tells of one place twice, or of places within places so that
    /// more keys would be missing there than there are.
    pub(crate) fn answer(&mut self, told: &[Told]) -> Result<Found, Offence> {
        self.flights += 1;
        let mut found = Found::default();
        for one in told {
            if !self.is_first_told(one) {
                return Err(Offence::OutOfTurn);
            }
            match one {
                Told::Days(month, days) => {
                    let month = *month;
                    let first_single = self.first_single;
                    let belongs =
                        |bucket: &Bucket| bucket.day < first_single && month_of(*bucket) == month;
                    self.compare_days(days, belongs, &mut found);
                }
                Told::Empty(bucket, prefix) => self.offer_all(*bucket, prefix, &mut found),
                Told::Leaf(bucket, prefix, shorts) => {
                    self.compare_leaf(*bucket, prefix, shorts, &mut found);
                }
                Told::Page(bucket, prefix, at, children) => {
                    self.compare_page(*bucket, prefix, at, children, &mut found);
                }
            }
            if found.lacking_there.count() > self.findings_left {
                return Err(Offence::TooMuch);
            }
        }
        self.findings_left -= found.lacking_there.count();
        Ok(found)
    }

    fn is_first_told(&mut self, one: &Told) -> bool {
        match one {
            Told::Days(month, _) => self.months_told.insert(*month),
            Told::Empty(bucket, prefix)
            | Told::Leaf(bucket, prefix, _)
            | Told::Page(bucket, prefix, ..) => self.told.insert((*bucket, *prefix)),
        }
    }

    /// Keys under a prefix whose short forms were asked for.
    pub(crate) fn keys_asked_for(&self, want: &WantedKeys) -> Vec<(Bucket, RecordKey)> {
        let WantedKeys { bucket, prefix, shorts, .. } = want;
        let Some(trie) = self.set.tries.get(bucket) else {
            return Vec::new();
        };
        // Asked for are keys of leaves that were told of.
        if trie.summary(prefix).0 > limits::WANT_KEYS as u64 {
            return Vec::new();
        }
        let wanted: BTreeSet<u32> = shorts.iter().copied().collect();
        let asked = |key: &RecordKey| wanted.contains(&short_of_key(&self.key, key));
        trie.iter_prefix(prefix).filter(asked).map(|key| (*bucket, key)).collect()
    }

    fn filled(&self) -> impl Iterator<Item = (&Bucket, &Trie)> {
        self.set.tries.iter().filter(|(_, trie)| !trie.is_empty())
    }

    /// Hashes of the months before the first day that is listed singly.
    fn months(&self) -> BTreeMap<Month, Hash> {
        let mut months: BTreeMap<Month, Vec<(Bucket, u64, Hash)>> = BTreeMap::new();
        for (bucket, trie) in self.filled().filter(|(bucket, _)| bucket.day < self.first_single) {
            months.entry(month_of(*bucket)).or_default().push((*bucket, trie.len(), trie.root()));
        }
        let root = |days: Vec<_>| DayTree::from_buckets(days.into_iter()).root();
        months.into_iter().map(|(month, days)| (month, root(days))).collect()
    }

    fn days_of(&self, month: Month) -> Vec<(Bucket, u32)> {
        let inside = |bucket: &Bucket| bucket.day < self.first_single && month_of(*bucket) == month;
        let days = self.filled().filter(|(bucket, _)| inside(bucket));
        days.map(|(bucket, trie)| (*bucket, self.short(&trie.root()))).collect()
    }

    fn compare_days(
        &self,
        theirs: &[(Bucket, u32)],
        belongs: impl Fn(&Bucket) -> bool,
        found: &mut Found,
    ) {
        let told: BTreeMap<Bucket, u32> =
            theirs.iter().copied().filter(|(b, _)| belongs(b)).collect();
        let mine = self.filled().map(|(bucket, _)| *bucket).filter(|bucket| belongs(bucket));
        let all: BTreeSet<Bucket> = mine.chain(told.keys().copied()).collect();
        for bucket in all {
            let trie = self.set.tries.get(&bucket).filter(|trie| !trie.is_empty());
            match (trie, told.get(&bucket)) {
                (None, _) => found.told.push(Told::Empty(bucket, Prefix::ROOT)),
                (Some(_), None) => self.offer_all(bucket, &Prefix::ROOT, found),
                (Some(trie), Some(hash)) if self.short(&trie.root()) != *hash => {
                    found.told.push(self.tell(bucket, trie, &Prefix::ROOT));
                }
                (Some(_), Some(_)) => {}
            }
        }
    }

    fn compare_leaf(&self, bucket: Bucket, prefix: &Prefix, shorts: &[u32], found: &mut Found) {
        let nothing = Trie::new();
        let trie = self.set.tries.get(&bucket).unwrap_or(&nothing);
        match trie.summary(prefix).0 {
            // Shorter than all of its keys.
            0 => {
                found.lacking_there.has_others = true;
                return found.told.push(Told::Empty(bucket, *prefix));
            }
            // Against so few there, most of this is whole ranges.
            count if count > LEAF_KEYS_MAX as u64 => {
                return found.told.push(self.tell(bucket, trie, prefix));
            }
            _ => {}
        }
        let mut theirs: BTreeSet<u32> = shorts.iter().copied().collect();
        let mut lacking = trie.iter_prefix(prefix).collect::<Vec<_>>();
        lacking.retain(|key| !theirs.remove(&short_of_key(&self.key, key)));
        let has_others = !lacking.is_empty();
        found.lacking_there.add_keys(bucket, lacking);
        if !theirs.is_empty() {
            found.lacking_there.has_others = true;
            let shorts = theirs.into_iter().collect();
            found.missing_here.push(WantedKeys { bucket, prefix: *prefix, shorts, has_others });
        }
    }

    fn compare_page(
        &self,
        bucket: Bucket,
        prefix: &Prefix,
        at: &Prefix,
        children: &[(u8, u32)],
        found: &mut Found,
    ) {
        let empty = Trie::new();
        let trie = self.set.tries.get(&bucket).unwrap_or(&empty);
        // All that the peer has under `prefix` lies under `at`.
        self.offer_outside(bucket, trie, prefix, at, found);
        for nibble in 0..16 {
            let Some(child) = at.child(nibble) else {
                continue;
            };
            let theirs = children.iter().find(|(known, _)| *known == nibble).map(|(_, hash)| *hash);
            let (count, hash) = trie.summary(&child);
            match (count, theirs) {
                (0, None) => {}
                (_, None) => self.offer_all(bucket, &child, found),
                (0, Some(_)) => {
                    found.lacking_there.has_others = true;
                    found.told.push(Told::Empty(bucket, child));
                }
                (_, Some(short)) if short == self.short(&hash) => {}
                (_, Some(_)) => found.told.push(self.tell(bucket, trie, &child)),
            }
        }
    }

    fn offer_all(&self, bucket: Bucket, prefix: &Prefix, found: &mut Found) {
        if let Some(trie) = self.set.tries.get(&bucket) {
            offer_under(bucket, trie, prefix, found);
        }
    }

    /// What is under a prefix and not under another one within it.
    fn offer_outside(
        &self,
        bucket: Bucket,
        trie: &Trie,
        prefix: &Prefix,
        within: &Prefix,
        found: &mut Found,
    ) {
        if within.covers(prefix) {
            return;
        }
        if !prefix.covers(within) {
            return offer_under(bucket, trie, prefix, found);
        }
        match trie.describe(prefix) {
            Description::Empty => {}
            Description::Leaf(keys) => {
                let outside = keys.into_iter().filter(|key| !within.contains(key));
                found.lacking_there.add_keys(bucket, outside);
            }
            Description::Page { at, children } => {
                for child in children.iter().filter_map(|(nibble, ..)| at.child(*nibble)) {
                    self.offer_outside(bucket, trie, &child, within, found);
                }
            }
        }
    }

    fn tell(&self, bucket: Bucket, trie: &Trie, prefix: &Prefix) -> Told {
        match trie.describe(prefix) {
            Description::Empty => Told::Empty(bucket, *prefix),
            Description::Leaf(keys) => {
                let shorts = keys.iter().map(|key| short_of_key(&self.key, key)).collect();
                Told::Leaf(bucket, *prefix, shorts)
            }
            Description::Page { at, children } => {
                let children = children.iter().map(|(nibble, _, hash)| (*nibble, self.short(hash)));
                Told::Page(bucket, *prefix, at, children.collect())
            }
        }
    }

    fn short(&self, hash: &Hash) -> u32 {
        hash.keyed_short(&self.key)
    }
}

/// Cuts what is under a prefix into ranges.
fn offer_under(bucket: Bucket, trie: &Trie, prefix: &Prefix, found: &mut Found) {
    let (count, _) = trie.summary(prefix);
    if count == 0 {
        return;
    }
    if count <= limits::LOT_KEYS {
        return found.lacking_there.ranges.push((bucket, *prefix, count));
    }
    if let Description::Page { at, children } = trie.describe(prefix) {
        for child in children.iter().filter_map(|(nibble, ..)| at.child(*nibble)) {
            offer_under(bucket, trie, &child, found);
        }
    }
}

fn month_of(bucket: Bucket) -> Month {
    let (year, month, _) = bucket.day.civil();
    (bucket.class, (year - 1970) * 12 + month - 1)
}

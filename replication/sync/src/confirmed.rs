//! What a peer has on its disk, as far as it said so: acknowledgements, and comparisons that came to an end.
//! Never a list of all messages: tries are shared with the set, and only what came since is kept key by key.
//!
//! ```text
//! acknowledged with its body ─► since ── compared at a later cutoff ─► dropped: the tries say it
//! roots equal, no body wanted ────────► the set's tries
//! a round ends, no body wanted ───────► the set's tries without what the peer lacks
//! lacking there, whenever it is found ─► out of both
//! ```
//! It outlives connections, and is forgotten when this node restarts (docs/decisions/0010).

use crate::engine::Engine;
use crate::event::{Effect, ItemName, SetView, Snapshot, Which};
use crate::lacking::Lacking;
use crate::limits;
use crate::peer::Peer;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::UnixMillis;
use quar_merkle::Trie;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one peer has confirmed. Cloning shares the tries.
#[derive(Clone, Debug, Default)]
pub struct Confirmed {
    tries: BTreeMap<Bucket, Trie>,
    /// Acknowledged and not in the tries, by instant.
    since: Arc<BTreeSet<(UnixMillis, Bucket, RecordKey)>>,
    is_compared: bool,
    heard_at: Option<UnixMillis>,
}

impl Confirmed {
    /// Whether the peer has a message, with its body.
    #[must_use]
    pub fn has(&self, bucket: Bucket, key: &RecordKey) -> bool {
        self.tries.get(&bucket).is_some_and(|trie| trie.contains(key))
            || self.since.contains(&(key.instant(bucket.day), bucket, *key))
    }

    /// What the peer has of a bucket.
    #[must_use]
    pub fn trie(&self, bucket: Bucket) -> Trie {
        let mut trie = self.tries.get(&bucket).cloned().unwrap_or_default();
        for (_, _, key) in self.since.iter().filter(|(_, known, _)| *known == bucket) {
            trie.insert(*key);
        }
        trie
    }

    /// Whether the peer was compared with since this node started: what it had before is not known.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        self.is_compared
    }

    /// When the peer said something last; `None` when it has not since this node started.
    #[must_use]
    pub fn heard_at(&self) -> Option<UnixMillis> {
        self.heard_at
    }

    pub(crate) fn heard(&mut self, now: UnixMillis) {
        self.heard_at = Some(now);
    }

    /// The peer acknowledged a message together with its body.
    pub(crate) fn acknowledged(&mut self, bucket: Bucket, key: RecordKey) {
        Arc::make_mut(&mut self.since).insert((key.instant(bucket.day), bucket, key));
        if self.since.len() > limits::ACKNOWLEDGED_KEPT {
            for (_, bucket, key) in std::mem::take(&mut self.since).iter() {
                self.tries.entry(*bucket).or_default().insert(*key);
            }
        }
    }

    /// The peer has all that is in this set, bodies too.
    pub(crate) fn agreed(&mut self, set: Snapshot) {
        let is_later =
            |(_, bucket, key): &(_, Bucket, RecordKey)| !key.is_settled(bucket.day, set.cutoff);
        Arc::make_mut(&mut self.since).retain(is_later);
        self.compared(set.tries);
    }

    /// The peer has all that is in these, bodies too, and more perhaps.
    pub(crate) fn compared(&mut self, tries: BTreeMap<Bucket, Trie>) {
        self.tries = tries;
        self.is_compared = true;
    }

    /// The peer lacks very many of a bucket: none of it counts, which says less than is so.
    pub(crate) fn forget_bucket(&mut self, bucket: Bucket) {
        self.tries.remove(&bucket);
        Arc::make_mut(&mut self.since).retain(|(_, known, _)| *known != bucket);
    }

    /// The peer lacks these keys of a bucket.
    pub(crate) fn lacks(&mut self, bucket: Bucket, keys: &[RecordKey]) {
        remove(&mut self.tries, bucket, keys);
        if !self.since.is_empty() {
            let since = Arc::make_mut(&mut self.since);
            for key in keys {
                since.remove(&(key.instant(bucket.day), bucket, *key));
            }
        }
    }

    /// Shares with the set again where both say the same; days that are gone are forgotten.
    pub(crate) fn share(&mut self, set: &Snapshot) {
        self.tries.retain(|bucket, trie| match set.tries.get(bucket) {
            None => false,
            Some(mine) => {
                if mine.root() == trie.root() || mine.is_within(trie) {
                    trie.clone_from(mine);
                }
                true
            }
        });
    }

    /// A peer that says it has fewer records than it confirmed is another disk, or an older state of it.
    pub(crate) fn is_more_than(&self, records: u64) -> bool {
        self.tries.values().map(Trie::len).sum::<u64>() > records
    }

    /// Nothing of what the peer confirmed counts any more.
    pub(crate) fn forget(&mut self) {
        *self = Self { heard_at: self.heard_at, ..Self::default() };
    }
}

impl Engine {
    /// What each peer has confirmed, those that are not connected included.
    pub fn confirmed(&self) -> impl Iterator<Item = (MemberId, &Confirmed)> {
        self.confirmed.iter().map(|(id, confirmed)| (*id, confirmed))
    }

    /// What members that have left had does not count.
    pub fn keep_members(&mut self, is_member: impl Fn(MemberId) -> bool) {
        self.confirmed.retain(|id, _| is_member(*id));
    }

    /// The peer greeted, the first time on this connection or again.
    pub(crate) fn confirm_by_hello(&mut self, id: MemberId, is_first: bool, set: &dyn SetView) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(hello) = &peer.hello else { return };
        let confirmed = self.confirmed.entry(id).or_default();
        confirmed.heard(set.now());
        if is_first && confirmed.is_more_than(hello.records) {
            confirmed.forget();
        }
        // What a round found to be there has its bodies too, now that none is wanted.
        let compared = peer.found_there.take().filter(|_| hello.wanted == 0);
        if let Some(tries) = compared {
            confirmed.compared(tries);
        }
    }

    /// Roots were equal.
    pub(crate) fn confirm_by_root(&mut self, id: MemberId, which: Which, set: &dyn SetView) {
        let wanted = self.peers.get(&id).and_then(|peer| peer.hello).map(|hello| hello.wanted);
        if wanted == Some(0) {
            self.confirmed.entry(id).or_default().agreed(set.snapshot(which));
        }
    }

    /// The peer acknowledged what these effects name.
    pub(crate) fn confirm_by_acknowledgement(&mut self, id: MemberId, effects: &[Effect]) {
        let confirmed = self.confirmed.entry(id).or_default();
        for effect in effects {
            if let Effect::Confirmed {
                name: ItemName::Record(bucket, key), is_whole: true, ..
            } = effect
            {
                confirmed.acknowledged(*bucket, *key);
            }
        }
    }

    /// A round found that the peer lacks these.
    pub(crate) fn found_lacking(&mut self, id: MemberId, lacking: &Lacking) {
        let Some(round) = self.peers.get_mut(&id).and_then(|peer| peer.round.as_mut()) else {
            return;
        };
        let mut found: BTreeMap<Bucket, (u64, Vec<RecordKey>)> = BTreeMap::new();
        for (bucket, _, count) in &lacking.ranges {
            found.entry(*bucket).or_default().0 += count;
        }
        for (bucket, key) in &lacking.keys {
            let (count, keys) = found.entry(*bucket).or_default();
            *count += 1;
            keys.push(*key);
        }
        // Of much that is lacking the keys are not even looked at.
        for (bucket, prefix, _) in &lacking.ranges {
            let trie = round.descent.tries().get(bucket);
            let (count, keys) = found.entry(*bucket).or_default();
            if *count <= limits::LACKING_KEPT {
                keys.extend(trie.iter().flat_map(|trie| trie.iter_prefix(prefix)));
            }
        }
        let confirmed = self.confirmed.entry(id).or_default();
        for (bucket, (count, keys)) in found {
            // Fewer keys than there are: some of them cannot be read.
            if keys.len() as u64 != count {
                confirmed.forget_bucket(bucket);
                round.there.remove(&bucket);
                continue;
            }
            confirmed.lacks(bucket, &keys);
            remove(&mut round.there, bucket, &keys);
        }
    }

    /// At each cutoff.
    pub(crate) fn share_confirmed(&mut self, set: &dyn SetView) {
        let current = set.snapshot(Which::Current);
        self.confirmed.values_mut().for_each(|confirmed| confirmed.share(&current));
    }
}

impl Peer {
    /// The round is over: what it did not find lacking is there. An initiator whose first answer is empty has
    /// compared nothing.
    pub(crate) fn end_round(&mut self) {
        let ended = self.round.take().filter(|round| round.descent.flights() > 0);
        self.found_there = ended.map(|round| round.there);
    }
}

/// Takes keys out of a bucket's trie.
pub(crate) fn remove(tries: &mut BTreeMap<Bucket, Trie>, bucket: Bucket, keys: &[RecordKey]) {
    if let Some(trie) = tries.get_mut(&bucket) {
        for key in keys {
            trie.remove(key);
        }
    }
}

//! Which members have a message on their disks: of one message, of those on too few, of all together.
//! Never counts what a member has not confirmed, nor a message here whose body is missing or damaged.
//!
//! ```text
//! members ─► this one: its record is here, its body is not wanted
//!        └─► each peer: Confirmed says so ─► fewer than `target`: under-replicated
//! ```

use crate::node::Node;
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::UnixMillis;
use quar_merkle::Trie;
use quar_store::{Page, Query, ReadError, Store, View, Which};
use quar_sync::Confirmed;
use std::ops::ControlFlow;

/// Records that are read for one answer's bytes.
const READS: u64 = 20_000;

/// What is known of one member and one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It is on its disk.
    Has,
    /// It has not confirmed it.
    NotYet,
    /// It may have it: it was not compared with since this node started.
    Unknown,
}

/// One member and one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub member: MemberId,
    /// Whether it has it.
    pub holding: Holding,
    /// When it said something last; `None` for this node, and for one that has not since this node started.
    pub heard_at: Option<UnixMillis>,
}

/// What every member has confirmed, at one moment. Cheap: tries are shared.
#[derive(Clone, Debug)]
pub struct Holders {
    me: MemberId,
    /// Disks on which each message should be.
    target: usize,
    peers: Vec<(MemberId, Confirmed)>,
}

/// Messages that are on fewer disks than they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderReplicated {
    /// How many.
    pub messages: u64,
    /// Bytes of mail.
    pub mail_bytes: u64,
    /// Whether the bytes are computed from some of the messages only.
    pub is_estimate: bool,
    /// The oldest.
    pub oldest: Option<MessageId>,
}

impl Node {
    /// What every member has confirmed until now.
    #[must_use]
    pub fn holders(&self) -> Holders {
        let roster = self.roster.roster();
        let me = self.store.settings().member;
        let confirmed = |id| self.engine.confirmed().find(|(known, _)| *known == id);
        let peers = roster.members.iter().map(|member| member.id).filter(|id| *id != me);
        let peers =
            peers.map(|id| (id, confirmed(id).map(|(_, it)| it.clone()).unwrap_or_default()));
        Holders { me, target: self.target.min(roster.members.len()), peers: peers.collect() }
    }
}

impl Holders {
    /// What a node without peers knows.
    #[must_use]
    pub fn alone(store: &Store) -> Self {
        Self { me: store.settings().member, target: 1, peers: Vec::new() }
    }

    /// Disks on which each message should be.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// Peers that were not compared with since this node started.
    pub fn unknown(&self) -> impl Iterator<Item = MemberId> {
        self.peers.iter().filter(|(_, confirmed)| !confirmed.is_compared()).map(|(id, _)| *id)
    }

    /// Each member, this one first, and whether it has a message.
    #[must_use]
    pub fn of(&self, message: MessageId, has_body: bool) -> Vec<Holder> {
        let own = if has_body { Holding::Has } else { Holding::NotYet };
        let own = Holder { member: self.me, holding: own, heard_at: None };
        let peer = |(member, confirmed): &(MemberId, Confirmed)| {
            let holding = match confirmed.has(message.bucket, &message.key) {
                true => Holding::Has,
                false if confirmed.is_compared() => Holding::NotYet,
                false => Holding::Unknown,
            };
            Holder { member: *member, holding, heard_at: confirmed.heard_at() }
        };
        std::iter::once(own).chain(self.peers.iter().map(peer)).collect()
    }

    /// A page of the messages on too few disks.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the disk cannot be read.
    pub fn list_under_replicated(&self, store: &Store, query: &Query) -> Result<Page, ReadError> {
        let view = store.view(Which::Previous);
        store.list_among(query, |bucket| self.under_in(store, &view, bucket))
    }

    /// What is on too few disks, of all that is older than half a minute.
    ///
    /// # Errors
    /// As [`Self::list_under_replicated`].
    pub fn under_replicated(&self, store: &Store) -> Result<UnderReplicated, ReadError> {
        let view = store.view(Which::Previous);
        let mut under = UnderReplicated::default();
        let mut reads = READS;
        let mut buckets: Vec<Bucket> = view.buckets().iter().map(|(bucket, ..)| *bucket).collect();
        buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.day));
        for bucket in buckets {
            let keys = self.under_in(store, &view, bucket);
            if keys.is_empty() {
                continue;
            }
            let among = store.among(bucket, &keys, &mut reads)?;
            under.messages += among.messages;
            under.mail_bytes += among.mail_bytes;
            under.is_estimate |= among.is_estimate;
            let at = |id: &MessageId| id.key.instant(id.bucket.day);
            under.oldest = under.oldest.into_iter().chain(among.oldest).min_by_key(at);
        }
        Ok(under)
    }

    /// Records of a bucket that too few members have, ascending: of the set as it was a step ago, so
    /// that what is just on its way is not among them.
    fn under_in(&self, store: &Store, view: &View, bucket: Bucket) -> Vec<RecordKey> {
        let Some(mine) = view.trie(bucket) else { return Vec::new() };
        let peers: Vec<Trie> = self.peers.iter().map(|(_, it)| it.trie(bucket)).collect();
        let peers: Vec<&Trie> = peers.iter().collect();
        let mut keys = Vec::new();
        let _ = mine.in_fewer_than(self.target.saturating_sub(1), &peers, &mut |key| {
            keys.push(key);
            ControlFlow::Continue(())
        });
        // What is here without its body needs one copy more elsewhere.
        let bodiless = store.bodiless(bucket);
        let has = |key: &RecordKey| peers.iter().filter(|peer| peer.contains(key)).count();
        let under = |key: &RecordKey| mine.contains(key) && has(key) < self.target;
        keys.extend(bodiless.into_iter().filter(under));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

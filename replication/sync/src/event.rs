//! What happens to the protocol, what it answers, and the items that travel.
//! Never holds a socket, a clock or a store.

use crate::offence::Offence;
use crate::refusal::RefusalReason;
use quar_base::class::Class;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{Kind, Record};
use quar_base::time::{Cutoff, Day, UnixMillis};
use quar_merkle::{Hash, Prefix, Trie};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What bodies are coded against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary {
    /// Keyed hash of the bytes.
    pub id: [u8; 16],
    /// How late it is among the cluster's dictionaries.
    pub generation: u32,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// A body as it travels: coded, with the length it decodes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedBody {
    /// Keyed hash of the plain bytes.
    pub id: BodyId,
    /// Length of the plain bytes.
    pub raw_bytes: u32,
    /// Number of the codec (docs/formats.md, "Coded bodies").
    pub codec: u8,
    /// What the body was coded against.
    pub dictionary: Option<Dictionary>,
    /// The coded bytes.
    pub bytes: Arc<[u8]>,
}

/// A record, a body, or a record with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record, with the body it names if that comes along.
    Record(Record, Option<CodedBody>),
    /// A body that was wanted.
    Body(Bucket, CodedBody),
}

/// Names a record or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemName {
    /// A record.
    Record(Bucket, RecordKey),
    /// A body.
    Body(Bucket, BodyId),
}

impl Item {
    /// The body in it.
    #[must_use]
    pub fn body(&self) -> Option<&CodedBody> {
        match self {
            Self::Record(_, body) => body.as_ref(),
            Self::Body(_, body) => Some(body),
        }
    }

    /// The item's name.
    #[must_use]
    pub fn name(&self) -> ItemName {
        match self {
            Self::Record(record, _) => ItemName::Record(record.head().bucket, record.key()),
            Self::Body(bucket, body) => ItemName::Body(*bucket, body.id),
        }
    }

    /// Whether it is an arrival or a body: what a full disk has no room for.
    #[must_use]
    pub fn is_mail(&self) -> bool {
        match self {
            Self::Record(record, _) => record.head().kind == Kind::ARRIVAL,
            Self::Body(..) => true,
        }
    }

    /// Whether it is all there is to have: an action, or an arrival together with its body.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Record(record, body) => body.is_some() || record.head().kind != Kind::ARRIVAL,
            Self::Body(..) => false,
        }
    }

    /// Bytes that the item takes in a batch, a little more than less.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        let body = |body: &CodedBody| body.bytes.len() + 64;
        match self {
            Self::Record(record, coded) => {
                record.bytes().len() + 8 + coded.as_ref().map_or(0, body)
            }
            Self::Body(_, coded) => body(coded) + 8,
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Time passes.
    Tick,
    /// A connection was made.
    Connected {
        /// With whom.
        peer: MemberId,
        /// A secret of the connection that both sides have.
        session_key: [u8; 32],
    },
    /// A connection ended.
    Disconnected {
        /// With whom.
        peer: MemberId,
    },
    /// A frame came in.
    Frame {
        /// From whom.
        peer: MemberId,
        /// Its kind.
        kind: u8,
        /// Its payload.
        payload: &'a [u8],
    },
    /// An item was made durable here first: it is pushed to every peer.
    Committed(Item),
    /// A batch of a peer is decided: durable here, but for the positions that were refused.
    Stored {
        /// The peer.
        peer: MemberId,
        /// The batch's number.
        sequence: u64,
        /// Positions that were refused, and why.
        refused: Vec<(u16, RefusalReason)>,
    },
    /// Items that were asked for by [`Effect::Load`]; what is not here any more is left out.
    Loaded {
        /// For whom.
        peer: MemberId,
        /// The items.
        items: Vec<Item>,
        /// Names that were not read: [`crate::limits::LOAD_BYTES`] were reached.
        rest: Vec<ItemName>,
    },
    /// A reader waits for a body: it is asked for before its turn.
    Fetch {
        /// Its bucket.
        bucket: Bucket,
        /// The body.
        body: BodyId,
    },
}

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame.
    Send {
        /// To whom.
        peer: MemberId,
        /// Its kind.
        kind: u8,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Admit these items; then answer with [`Event::Stored`].
    Offer {
        /// Who offers.
        peer: MemberId,
        /// The batch's number.
        sequence: u64,
        /// The items, in order.
        items: Vec<Item>,
    },
    /// Read these and answer with [`Event::Loaded`].
    Load {
        /// For whom.
        peer: MemberId,
        /// What.
        names: Vec<ItemName>,
        /// Whether arrivals and bodies are read too; the peer has no room for them otherwise.
        with_mail: bool,
    },
    /// The peer takes no mail for now: nobody should wait for it to have some.
    HeldBack {
        /// Who.
        peer: MemberId,
        /// Why.
        reason: RefusalReason,
    },
    /// The peer has this on its disk.
    Confirmed {
        /// Who.
        peer: MemberId,
        /// What.
        name: ItemName,
        /// Whether that is all of it: an arrival was sent together with its body.
        is_whole: bool,
    },
    /// The peer's clock stands this far ahead of ours.
    PeerClock {
        /// Whose.
        peer: MemberId,
        /// Its time minus ours.
        offset_ms: i64,
    },
    /// The peer has a roster of a higher epoch: check it and adopt it.
    AdoptRoster {
        /// Who sent it.
        peer: MemberId,
        /// The signed text.
        text: String,
    },
    /// End the connection: the peer broke the protocol.
    Disconnect {
        /// Whose.
        peer: MemberId,
        /// How.
        offence: Offence,
    },
}

/// Which of the two kept views of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// At the cutoff in force.
    Current,
    /// At the cutoff before.
    Previous,
}

/// The set as of one cutoff; cloning shares the tries.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The cutoff.
    pub cutoff: Cutoff,
    /// Tries of buckets that are kept; empty ones may be among them.
    pub tries: BTreeMap<Bucket, Trie>,
}

/// The set as the protocol sees it.
pub trait SetView {
    /// The time.
    fn now(&self) -> UnixMillis;
    /// The cutoff of a view.
    fn cutoff(&self, which: Which) -> Cutoff;
    /// The root over all buckets of a view.
    fn state_root(&self, which: Which) -> Hash;
    /// A view that later changes do not touch.
    fn snapshot(&self, which: Which) -> Snapshot;
    /// Records here that are later than a cutoff, which is one of the two kept ones.
    fn later_than(&self, cutoff: Cutoff) -> Vec<(Bucket, RecordKey)>;
    /// Records here of which the keys begin with a prefix of 16 nibbles or more, those that are later than
    /// the cutoff included, at most `limit`.
    fn keys_named(&self, bucket: Bucket, prefix: &Prefix, limit: usize) -> Vec<RecordKey> {
        let snapshot = self.snapshot(Which::Current);
        let settled = snapshot.tries.get(&bucket).into_iter();
        let settled = settled.flat_map(|trie| trie.iter_prefix(prefix));
        let later = self.later_than(snapshot.cutoff).into_iter();
        let later = later.filter(|(own, _)| *own == bucket).map(|(_, key)| key);
        settled.chain(later.filter(|key| prefix.contains(key))).take(limit).collect()
    }
    /// Records of the current view of these seconds, the first and the last one included, in ascending
    /// order, at most `limit`.
    fn keys_between(&self, bucket: Bucket, from: u32, to: u32, limit: usize) -> Vec<RecordKey> {
        let snapshot = self.snapshot(Which::Current);
        let trie = snapshot.tries.get(&bucket).into_iter();
        let keys = trie.flat_map(|trie| trie.iter_from(from));
        keys.take_while(|key| key.second <= to).take(limit).collect()
    }
    /// Numbers of records and of wanted bodies.
    fn counts(&self) -> (u64, u64);
    /// Bodies that are wanted here and would be taken now, behind `after` in an order that stays, at most `limit`.
    fn wanted_after(&self, after: Option<(Bucket, BodyId)>, limit: usize) -> Vec<(Bucket, BodyId)>;
    /// Whether a body is wanted here.
    fn is_wanted(&self, bucket: Bucket, body: &BodyId) -> bool;
    /// The oldest day each class accepts; classes that keep everything left out.
    fn floors(&self) -> Vec<(Class, Day)>;
    /// The roster's epoch and its signed text.
    fn roster(&self) -> (u64, &str);
}

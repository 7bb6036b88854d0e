//! What a status shows of the peers and of bodies that none of them has.
//! Never changes anything.

use crate::node::Node;
use crate::view::StoreView;
use quar_base::ids::MemberId;
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_sync::{Backfill, Comparisons, RefusalReason};

/// Messages without a body that are named in a status.
const LOST_NAMED: usize = 100;

/// A peer as a status shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerReport {
    /// Whether the last comparison found equal roots.
    pub in_sync: bool,
    /// Records it said it has.
    pub records: u64,
    /// Bodies it said it wants.
    pub wanted: u64,
    /// What comparing with it came to, since its connection began.
    pub comparisons: Comparisons,
    /// Its clock minus ours.
    pub clock_offset_ms: i64,
    /// Bytes queued or unacknowledged.
    pub queued_bytes: u64,
    /// Why it takes no mail, as far as is known: `full` or `failed`; empty when it does.
    pub refuses: &'static str,
}

/// Bodies that are wanted here and that no connected peer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many; no more than [`quar_sync::limits::WANTS_KNOWN`] are counted.
    pub bodies: u64,
    /// Messages that need them, the first hundred.
    pub messages: Vec<MessageId>,
}

impl Node {
    /// What is known of a peer.
    #[must_use]
    pub fn peer_report(&self, peer: MemberId) -> PeerReport {
        let status = self.engine.status(peer);
        PeerReport {
            in_sync: status.in_sync,
            records: status.records,
            wanted: status.wanted,
            comparisons: status.comparisons,
            clock_offset_ms: self.clocks.offset_ms(peer).unwrap_or(0),
            queued_bytes: status.queued_bytes,
            refuses: status.refuses.map_or("", RefusalReason::name),
        }
    }

    /// Grows when a peer brought a mail that was found right or another member's action, or has what it was sent.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.offers.welcome() + self.confirmed
    }

    /// Batches that brought neither, and the items in them.
    #[must_use]
    pub fn unwelcome(&self) -> (u64, u64) {
        self.offers.unwelcome()
    }

    /// How far this node is with what it lacks and peers have.
    #[must_use]
    pub fn backfill(&self) -> Backfill {
        self.engine.backfill()
    }

    /// Whether every connected peer has said not to have a message's body.
    #[must_use]
    pub fn is_denied(&self, message: MessageId) -> bool {
        let known = self.store.message(message);
        known.is_ok_and(|known| self.engine.is_denied(message.bucket, known.arrival.body()))
    }

    /// Bodies that every connected peer has said not to have.
    #[must_use]
    pub fn lost(&self, now: UnixMillis) -> Lost {
        let lost = self.engine.lost(&StoreView::new(&self.store, &self.roster, now));
        let messages =
            lost.iter().flat_map(|(bucket, id)| self.store.messages_without(*bucket, id));
        Lost { bodies: lost.len() as u64, messages: messages.take(LOST_NAMED).collect() }
    }
}

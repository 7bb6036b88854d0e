//! Why a peer did not take an item, and how long it is sent no mail because of that.
//! Never holds back deletes and other actions: only what takes room.
//!
//! ```text
//! open ─► refused for want of room ─► held, 5 s at first ─► probing: one batch ─► taken: open
//!                                       ▲    └ it asks for bodies ┘   └─► refused: held twice as long
//! ```

use crate::event::ItemName;
use crate::limits;
use quar_base::time::{Millis, UnixMillis};
use std::collections::BTreeSet;

/// Why an item was not taken, as an acknowledgement says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// The disk has no room for mail; deletes are taken.
    Full,
    /// A write failed: nothing is taken until the daemon is restarted.
    Failed,
    /// The day is no longer kept.
    BelowFloor,
    /// The message was deleted.
    Covered,
    /// It is not valid, or not what it says.
    Invalid,
    /// For now, or for a reason that needs no other reaction.
    Other,
}

impl RefusalReason {
    const ALL: [Self; 6] =
        [Self::Full, Self::Failed, Self::BelowFloor, Self::Covered, Self::Invalid, Self::Other];

    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// A stable word for a status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
            Self::BelowFloor => "below-floor",
            Self::Covered => "covered",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }

    /// Whether the peer takes no mail at all for a while.
    pub(crate) fn is_of_the_peer(self) -> bool {
        matches!(self, Self::Full | Self::Failed)
    }

    /// Whether the peer would refuse the very same record again, as long as its clock goes on. A floor that a wrong
    /// clock raised comes down again; of days below a floor that stays the peer tells, and they are not compared.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Covered | Self::Invalid)
    }
}

/// Records that a peer would refuse again: they are not sent again on its connection, unless its clock is set back: the
/// time of the delete that covers one may be to come then.
#[derive(Default)]
pub(crate) struct Refused {
    names: BTreeSet<ItemName>,
    /// What the peer's cutoff was last.
    cutoff_steps: u32,
}

impl Refused {
    pub(crate) fn add(&mut self, name: ItemName) {
        if self.names.len() >= limits::REFUSED_KEPT {
            self.names.clear();
        }
        if matches!(name, ItemName::Record(..)) {
            self.names.insert(name);
        }
    }

    pub(crate) fn has(&self, name: &ItemName) -> bool {
        self.names.contains(name)
    }

    pub(crate) fn peer_is_at(&mut self, cutoff_steps: u32) {
        if cutoff_steps < self.cutoff_steps {
            self.names.clear();
        }
        self.cutoff_steps = cutoff_steps;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Held(UnixMillis),
    Probing,
}

/// Whether a peer is sent mail.
#[derive(Debug)]
pub(crate) struct Hold {
    state: State,
    pause_ms: u64,
    reason: RefusalReason,
}

impl Hold {
    pub(crate) fn new() -> Self {
        let pause_ms = limits::HOLD_MS;
        Self { state: State::Open, pause_ms, reason: RefusalReason::Full }
    }

    /// Why the peer is held back from; `None` when it is not.
    pub(crate) fn reason(&self) -> Option<RefusalReason> {
        (self.state != State::Open).then_some(self.reason)
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.state == State::Probing
    }

    /// The peer refused mail. Several batches that were on their way count once.
    pub(crate) fn refused(&mut self, reason: RefusalReason, now: UnixMillis) {
        if !self.is_held() {
            self.state = State::Held(now.plus(Millis(self.pause_ms)));
            self.pause_ms = (self.pause_ms * 2).min(limits::HOLD_MS_MAX);
        }
        self.reason = reason;
    }

    /// The peer took mail.
    pub(crate) fn taken(&mut self) {
        if self.is_probing() {
            *self = Self::new();
        }
    }

    /// The peer asks for bodies, as none does that has no room: somebody may wait for one.
    pub(crate) fn asked(&mut self) {
        if self.is_held() && self.reason == RefusalReason::Full {
            self.state = State::Probing;
        }
    }

    /// Lets one batch try when the pause is over; a clock that was set back makes no pause longer.
    pub(crate) fn tick(&mut self, now: UnixMillis) {
        if let State::Held(until) = self.state
            && (now >= until || (until - now).0 > limits::HOLD_MS_MAX)
        {
            self.state = State::Probing;
        }
    }
}

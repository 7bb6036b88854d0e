//! The network: connections between machines, each a reliable and ordered stream in each direction.
//! Never looks into a frame.
//!
//! ```text
//! node ─► queue of its direction ── delay, partition, stalled reader ──► node
//! cut      what was sent last is lost; each end learns of it in its own time
//! ```
//! A stream loses nothing in the middle: what a network loses shows as a connection that ends. Whoever dials
//! again while the old connection stands, replaces it.

use quar_base::ids::MemberId;
use quar_base::time::UnixMillis;
use std::collections::{BTreeMap, VecDeque};

/// A connection on which nothing comes for so long ends, in milliseconds.
pub const IDLE_MS: u64 = 20_000;

/// One frame on its way.
pub struct Sent {
    /// When it arrives.
    pub at: UnixMillis,
    /// Its kind.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// One connection.
pub struct Connection {
    /// Both machines.
    pub ends: [usize; 2],
    /// Whom each end took the other for.
    pub members: [MemberId; 2],
    /// Frames from the first end to the second, and back.
    pub queues: [VecDeque<Sent>; 2],
    /// Whether it was cut: nothing more is sent on it.
    pub is_cut: bool,
}

/// Two machines and what lies between them.
#[derive(Default)]
pub struct Pair {
    /// The connection that was made last, while it stands.
    pub live: Option<u64>,
    /// Whether nothing gets through from the first to the second, and back.
    pub blocked: [bool; 2],
    /// Longest delay of each direction beside the usual one, in milliseconds.
    pub delay_ms: [u64; 2],
    /// Frames that are still to come twice.
    pub duplicates: u32,
    /// Frames that are still to overtake the one before.
    pub reorders: u32,
    /// Whether frames came twice or mixed up on the connection that stands.
    pub is_wrong: bool,
    /// Since when nothing comes through in one direction.
    pub silent_since: Option<UnixMillis>,
}

/// All of them.
#[derive(Default)]
pub struct Lines {
    /// Connections by number.
    pub connections: BTreeMap<u64, Connection>,
    /// Pairs, the lower machine first.
    pub pairs: BTreeMap<(usize, usize), Pair>,
    /// Number of the last connection.
    pub last_number: u64,
}

impl Lines {
    /// Lines between so many machines.
    #[must_use]
    pub fn new(machines: usize) -> Self {
        let mut lines = Self::default();
        for one in 0..machines {
            for other in one + 1..machines {
                lines.pairs.insert((one, other), Pair::default());
            }
        }
        lines
    }

    /// The pair of two machines.
    pub fn pair(&mut self, one: usize, other: usize) -> &mut Pair {
        let key = (one.min(other), one.max(other));
        self.pairs.get_mut(&key).expect("all pairs are made at the start")
    }
}

impl Connection {
    /// 0 for what the first end sends, 1 for what the second sends.
    #[must_use]
    pub fn direction_from(&self, machine: usize) -> usize {
        usize::from(self.ends[0] != machine)
    }
}

//! The whole cluster: machines, lines and what is to happen when, in true time.
//! Never decides what is right: invariants do.
//!
//! ```text
//! agenda (time, order) ─► tick, frames, commit over, delivery over ─► node ─► outputs ─► agenda
//! ```

mod driver;
mod network;
mod power;
mod upkeep;

use crate::chance::Chance;
use crate::histogram::Counts;
use crate::keys::Authority;
use crate::ledger::{Holdings, Ledger};
use crate::line::Lines;
use crate::machine::Machine;
use crate::operations::Delivery;
use crate::trace::Trace;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::roster::{Member, SignedRoster};
use quar_base::time::{Day, Millis, UnixMillis};
use quar_store::Retention;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How often a node is told the time while much happens.
pub const BUSY_TICK_MS: u64 = 250;
/// How often while nothing happens but time.
pub const IDLE_TICK_MS: u64 = 45 * 60_000;
/// How often it is then looked after who is connected.
const IDLE_LOOK_MS: u64 = 5 * 60_000;

/// Something that is to happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A machine's timer.
    Tick { machine: usize, pace: u32 },
    /// Frames of a connection arrive, at one end.
    Arrive { connection: u64, direction: usize },
    /// One end learns that a connection has ended.
    Gone { connection: u64, machine: usize },
    /// A commit is over.
    Committed { machine: usize, starts: u32 },
    /// A mail server took a released message, or not.
    Delivered { machine: usize, starts: u32, delivery: Delivery },
    /// It is looked after who is connected.
    Lines { pace: u32 },
}

/// What broke a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// The cluster.
pub struct Cluster {
    /// True time.
    pub now: UnixMillis,
    /// All machines, members or not.
    pub machines: Vec<Machine>,
    /// What lies between them.
    pub lines: Lines,
    /// What the oracle knows.
    pub ledger: Ledger,
    /// Signs rosters.
    pub authority: Authority,
    /// What the cluster's own course draws.
    pub chance: Chance,
    /// What happened.
    pub trace: Trace,
    /// The first statement that did not hold.
    pub violation: Option<Violation>,
    /// What the life contained.
    pub counts: Counts,
    /// Releases that a mail server took, or may have: message, recipient, machine and which of its disks.
    pub delivered: BTreeMap<(MessageId, usize, usize, u32), u32>,
    /// Records that removed members made while everybody knew that they are removed, with their authors.
    pub outlawed: BTreeSet<((Bucket, RecordKey), MemberId)>,
    /// Epoch of the last roster.
    pub epoch: u64,
    /// Members that were removed, as the last roster lists them.
    pub past: Vec<Member>,
    /// Mails that were handed in.
    pub handed_in: BTreeSet<usize>,
    /// Under which id each imported mail was taken.
    pub imports: BTreeMap<usize, MessageId>,
    /// Bodies that a machine lacks and another has, and for how many fault-free rounds.
    pub lacking: BTreeMap<(usize, (Bucket, BodyId)), u64>,
    agenda: BinaryHeap<Reverse<(UnixMillis, u64, Happening)>>,
    order: u64,
    tick_ms: u64,
    pace: u32,
}

impl Cluster {
    /// So many machines, all of them members, none started.
    #[must_use]
    pub fn new(
        machines: usize,
        start: UnixMillis,
        retention: &Retention,
        chance: Chance,
        trace: Trace,
    ) -> Self {
        let authority = Authority::new();
        let listed = (0..machines).map(|n| crate::keys::Identity::new(n, 0).listed()).collect();
        let roster = authority.roster(1, listed, Vec::new());
        let make = |number| Machine::new(number, roster.clone(), retention.clone());
        Self {
            now: start,
            machines: (0..machines).map(make).collect(),
            lines: Lines::new(machines),
            ledger: Ledger::default(),
            authority,
            chance,
            trace,
            violation: None,
            counts: Counts::default(),
            delivered: BTreeMap::new(),
            outlawed: BTreeSet::new(),
            epoch: 1,
            past: Vec::new(),
            handed_in: BTreeSet::new(),
            imports: BTreeMap::new(),
            lacking: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            order: 0,
            tick_ms: BUSY_TICK_MS,
            pace: 0,
        }
    }

    /// Writes a line into the trace.
    pub fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    /// A statement does not hold. The first one counts.
    pub fn fail(&mut self, invariant: &'static str, what: String) {
        if self.violation.is_none() {
            self.note(format_args!("VIOLATION of {invariant}: {what}"));
            self.violation = Some(Violation { invariant, what });
        }
    }

    /// Something is to happen after so long.
    pub fn after(&mut self, delay_ms: u64, happening: Happening) {
        self.at(self.now.plus(Millis(delay_ms)), happening);
    }

    fn at(&mut self, at: UnixMillis, happening: Happening) {
        self.order += 1;
        self.agenda.push(Reverse((at, self.order, happening)));
    }

    /// Lets time pass, with ticks as close as they are while much happens.
    pub fn run(&mut self, length_ms: u64) {
        self.set_tick(BUSY_TICK_MS);
        self.run_until(self.now.plus(Millis(length_ms)));
    }

    /// Lets much time pass in which nothing is asked.
    pub fn sleep(&mut self, length_ms: u64) {
        self.set_tick(IDLE_TICK_MS);
        self.run_until(self.now.plus(Millis(length_ms)));
        self.set_tick(BUSY_TICK_MS);
    }

    fn set_tick(&mut self, tick_ms: u64) {
        if self.tick_ms == tick_ms && self.pace > 0 {
            return;
        }
        self.tick_ms = tick_ms;
        self.pace += 1;
        let pace = self.pace;
        for machine in 0..self.machines.len() {
            let first = self.chance.between(1, BUSY_TICK_MS);
            self.after(first, Happening::Tick { machine, pace });
        }
        self.after(1, Happening::Lines { pace });
    }

    fn run_until(&mut self, end: UnixMillis) {
        while let Some(Reverse((at, _, _))) = self.agenda.peek() {
            if *at > end || self.violation.is_some() {
                break;
            }
            let Some(Reverse((at, _, happening))) = self.agenda.pop() else { break };
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { machine, pace } if pace == self.pace => {
                self.after(self.tick_ms, Happening::Tick { machine, pace });
                self.tick(machine);
            }
            Happening::Lines { pace } if pace == self.pace => {
                self.after(self.tick_ms.min(IDLE_LOOK_MS), Happening::Lines { pace });
                self.look_at_lines();
            }
            Happening::Tick { .. } | Happening::Lines { .. } => {}
            Happening::Arrive { connection, direction } => self.arrive(connection, direction),
            Happening::Gone { connection, machine } => self.gone(connection, machine),
            Happening::Committed { machine, starts } => self.committed(machine, starts),
            Happening::Delivered { machine, starts, delivery } => {
                crate::operations::release::over(self, machine, starts, delivery);
            }
        }
    }

    /// What the disks of these machines hold together.
    #[must_use]
    pub fn united(&self, machines: &[usize]) -> Holdings {
        let mut union = Holdings::default();
        machines.iter().for_each(|at| union.unite(&self.machines[*at].holdings));
        union
    }

    /// Whether a machine may keep a day no longer, whatever its clock believes.
    #[must_use]
    pub fn may_be_expired(&self, at: usize, bucket: Bucket) -> bool {
        let machine = &self.machines[at];
        let believed = machine.running.as_ref().map(|r| r.node.time(machine.clock(self.now)).day());
        let latest = believed.unwrap_or(Day(0)).max(self.now.plus(Millis(3_700_000)).day());
        let days = machine.kept_days(bucket.class);
        let is_just_set = (self.now - machine.clock_set_at).0 < 10_000;
        machine.holdings.unlinked.contains(&bucket)
            || (is_just_set && self.is_below_floor(at, bucket))
            || machine.holdings.kept.get(&bucket.class).is_some_and(|day| bucket.day < *day)
            || days.is_some_and(|days| bucket.day.0 + days < latest.0)
    }

    /// Whether a machine says that it keeps a day no longer.
    #[must_use]
    pub fn is_below_floor(&self, at: usize, bucket: Bucket) -> bool {
        let floors = self.machines[at].store().map(|store| store.floors()).unwrap_or_default();
        floors.iter().any(|(class, day)| *class == bucket.class && bucket.day < *day)
    }

    /// Whether a message, or an action on it, is stamped later than the cutoff at the end of a round.
    #[must_use]
    pub fn is_ahead(&self, id: MessageId) -> bool {
        let own = id.key.instant(id.bucket.day);
        let latest = self.ledger.latest.get(&id).map_or(own, |latest| own.max(*latest));
        latest.0 + 9_000 > self.now.0
    }

    /// Whether some clock is off by more than a node believes.
    #[must_use]
    pub fn is_a_clock_wrong(&self) -> bool {
        self.machines.iter().any(|machine| machine.clock_ms.unsigned_abs() > 3_600_000)
    }

    /// The roster of the highest epoch that a member has.
    #[must_use]
    pub fn newest_roster(&self) -> SignedRoster {
        let rosters = self.machines.iter().map(|machine| &machine.roster);
        let newest = rosters.max_by_key(|signed| signed.roster().epoch);
        newest.expect("a cluster has machines").clone()
    }

    /// Hands an input to a machine's node.
    pub fn ask_node(
        &mut self,
        at: usize,
        inputs: impl FnOnce(&mut quar_node::Node, UnixMillis, &mut Vec<quar_node::Output>),
    ) {
        self.feed(at, inputs);
    }

    /// Machines on which a node runs.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        self.those(|machine| machine.running.is_some())
    }

    /// Machines on which a node runs that does what it is asked.
    #[must_use]
    pub fn awake(&self) -> Vec<usize> {
        self.those(Machine::is_awake)
    }

    /// Machines that the roster has.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        self.those(|machine| machine.is_member)
    }

    fn those(&self, which: impl Fn(&Machine) -> bool) -> Vec<usize> {
        (0..self.machines.len()).filter(|at| which(&self.machines[*at])).collect()
    }
}

//! One machine: disk, clock, keys, and the node that runs on it or does not.
//! Never decides when something happens to it: the cluster does.

pub mod disk;

use crate::chance::Chance;
use crate::keys::{CLUSTER, Identity, encryption_key, id_key};
use crate::ledger::Holdings;
use crate::operations::Waiter;
use disk::WatchedDisk;
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId};
use quar_base::roster::SignedRoster;
use quar_base::signing::PublicKey;
use quar_base::time::{Millis, UnixMillis};
use quar_index::MemoryIndex;
use quar_node::{CopyRule, Node, NodeSettings, Token};
use quar_store::{MemoryDisk, MemoryHome, Opening, Outcome, Retention, Settings, Store, Ticket};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Mail is refused while fewer bytes than this are free.
pub const MIN_FREE_BYTES: u64 = 4 << 10;
/// Bytes of the reserve.
pub const RESERVE_BYTES: u64 = 32 << 10;
/// Fresh items that wait for one peer, in bytes.
pub const PUSH_BYTES: u64 = 256 << 10;

/// A machine.
pub struct Machine {
    /// Who it is in the cluster.
    pub identity: Identity,
    /// How often it was set up.
    pub generation: u8,
    /// Its disk.
    pub disk: WatchedDisk,
    /// Its index.
    pub index: Arc<MemoryIndex>,
    /// The roster on its disk.
    pub roster: SignedRoster,
    /// Days that it keeps, as configured.
    pub retention: Retention,
    /// Its clock minus the true time.
    pub clock_ms: i64,
    /// When its clock was last set wrong or right.
    pub clock_set_at: UnixMillis,
    /// Days in which a commit may be torn: its sync failed, and the power went before the next start. What is torn in
    /// the middle looks damaged, since nobody can tell that it was never acknowledged.
    pub torn: BTreeSet<Bucket>,
    /// How often its disk became another one.
    pub disks: u32,
    /// The node, while one runs.
    pub running: Option<Running>,
    /// Counts starts: what was under way for an earlier one is stale.
    pub starts: u32,
    /// What its disk holds, by its own word.
    pub holdings: Holdings,
    /// Until when it does nothing.
    pub stalled_until: Option<UnixMillis>,
    /// Longest time that a commit takes, in milliseconds.
    pub commit_ms_max: u64,
    /// Connections: the peer's machine and the number.
    pub peers: BTreeMap<usize, u64>,
    /// Bytes that its disk is short of; `None` for room enough.
    pub room_bytes: Option<u64>,
    /// Whether the roster has it, as the operator knows.
    pub is_member: bool,
}

/// A running node and what drives it.
pub struct Running {
    /// The node.
    pub node: Node,
    /// Its store.
    pub store: Arc<Store>,
    /// When the index was flushed last.
    pub checkpoint_at: UnixMillis,
    /// When it was looked after the disk's room.
    pub room_at: UnixMillis,
    /// When there was upkeep.
    pub upkeep_at: UnixMillis,
    /// When each bucket was checked.
    pub checked: BTreeMap<Bucket, UnixMillis>,
    /// When something deleted was first seen in each bucket.
    pub erasable_since: BTreeMap<Bucket, UnixMillis>,
    /// When each damaged delete was first seen.
    pub lost_since: BTreeMap<MessageId, UnixMillis>,
    /// Outcomes of a commit of which the node was not told yet.
    pub committing: Option<Vec<(Ticket, Outcome)>>,
    /// Messages of which a release begins.
    pub releasing: BTreeSet<MessageId>,
    /// Who waits for an answer.
    pub waiters: BTreeMap<Token, Waiter>,
    /// Number of the next request.
    pub next_token: u64,
    /// Answers that were given for fewer copies than asked for, as last counted.
    pub under_replicated: u64,
}

impl Machine {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(number: usize, roster: SignedRoster, retention: Retention) -> Self {
        Self {
            identity: Identity::new(number, 0),
            generation: 0,
            disk: WatchedDisk::new(MemoryDisk::new()),
            index: Arc::new(MemoryIndex::new()),
            roster,
            retention,
            clock_ms: 0,
            clock_set_at: UnixMillis(0),
            torn: BTreeSet::new(),
            disks: 0,
            running: None,
            starts: 0,
            holdings: Holdings::default(),
            stalled_until: None,
            commit_ms_max: 0,
            peers: BTreeMap::new(),
            room_bytes: None,
            is_member: true,
        }
    }

    /// What its clock says.
    #[must_use]
    pub fn clock(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add_signed(self.clock_ms))
    }

    /// Whether a node runs and does something.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.running.is_some() && self.stalled_until.is_none()
    }

    /// Its store, while a node runs.
    #[must_use]
    pub fn store(&self) -> Option<Arc<Store>> {
        self.running.as_ref().map(|running| running.store.clone())
    }

    /// Days that it keeps of a class: as the node that runs was told, or as configured.
    #[must_use]
    pub fn kept_days(&self, class: Class) -> Option<u32> {
        let running = self.running.as_ref().map(|running| &running.store.settings().retention);
        running.unwrap_or(&self.retention).days(class)
    }

    /// Whether the node that runs was told another retention than is configured.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let running = self.running.as_ref().map(|running| &running.store.settings().retention);
        running.is_some_and(|running| *running != self.retention)
    }

    /// Settings of its store.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            cluster: CLUSTER,
            member: self.identity.member,
            node_number: self.identity.node_number,
            signing: self.identity.signing.clone(),
            keys: vec![encryption_key()],
            id_key: id_key(),
            retention: self.retention.clone(),
            min_free_bytes: MIN_FREE_BYTES,
            reserve_bytes: RESERVE_BYTES,
        }
    }

    /// Starts the node.
    ///
    /// # Errors
    /// What the store says when it does not open.
    pub fn start(
        &mut self,
        now: UnixMillis,
        authority: PublicKey,
        chance: &mut Chance,
    ) -> Result<quar_store::OpenReport, String> {
        self.disk.memory().set_free_bytes(self.room_bytes.unwrap_or(u64::MAX / 2));
        let mut home = MemoryHome(self.index.clone());
        let opening = Opening {
            settings: self.settings(),
            disk: Arc::new(self.disk.clone()),
            index: &mut home,
            roster: Arc::new(self.roster.roster().clone()),
            now: self.clock(now),
            seed: chance.bytes(),
            progress: &mut |_| {},
        };
        let opened = Store::open(opening);
        self.index = home.0;
        let (store, report) = opened.map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let settings = NodeSettings {
            member: self.identity.member,
            copies: CopyRule { copies: 2, timeout: Millis(500) },
            push_bytes_max: PUSH_BYTES,
        };
        let last_seen = store.last_seen().map_err(|error| error.to_string())?;
        let roster = self.roster.clone();
        let node = Node::new(&settings, store.clone(), roster, authority, last_seen);
        self.starts += 1;
        self.stalled_until = None;
        self.running = Some(Running {
            node,
            store,
            checkpoint_at: now,
            room_at: now,
            upkeep_at: now,
            checked: BTreeMap::new(),
            erasable_since: BTreeMap::new(),
            lost_since: BTreeMap::new(),
            committing: None,
            releasing: BTreeSet::new(),
            waiters: BTreeMap::new(),
            next_token: 1,
            under_replicated: 0,
        });
        Ok(report)
    }
}

//! Connections to peers: one is kept per peer, the same on both sides, with a reader and a writer task.
//! Never looks into a frame: bytes go to the node task and come from it.
//!
//! ```text
//! dial loop per peer ─┐                             ┌─► reader ──Event::Frames──► node task
//! accept loop ────────┴─► settle ─► one link per peer ──┤
//!                                                   └─◄ writer ◄──Outlet──────── node task
//! ```
//! Both sides may dial, over two transports. Which connection stays is the *lower* member's choice:
//! it speaks first, and only on the one that it chose. The higher member holds what it dialed or
//! accepted until it is spoken to. So both ends agree, whatever crossed on the way.

mod bans;
mod carry;
mod dialing;
mod pace;

pub use carry::{Outlet, rest};

use crate::daemon::clock::Clock;
use crate::daemon::driver::Event;
use bans::Bans;
use pace::Paces;
use quar_base::ids::MemberId;
use quar_base::roster::Roster;
use quar_net::{CloseReason, Closer, Connection, Endpoint, Frame, NetError, Transport};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A connection this young stays when another one comes: both ends dialed at once.
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// A connection waits no longer than this for what its peer did before: the other side would doubt it.
const REST_MAX: Duration = Duration::from_secs(3);
/// How long the higher member waits for the lower one to speak on a new connection.
const CHOICE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections of one peer that wait for that.
const CANDIDATES_MAX: usize = 4;
/// How long the last frames may take on their way out when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// One live connection.
struct Link {
    number: u64,
    transport: Transport,
    made: Duration,
    closer: Closer,
}

/// All connections of this node.
pub struct Links {
    me: MemberId,
    endpoint: Endpoint,
    roster: RwLock<Arc<Roster>>,
    roster_changed: watch::Sender<u64>,
    events: mpsc::Sender<Event>,
    live: Mutex<HashMap<MemberId, Link>>,
    candidates: Mutex<HashMap<MemberId, usize>>,
    numbers: AtomicU64,
    clock: Clock,
    bans: Bans,
    paces: Paces,
    writers: Mutex<JoinSet<()>>,
    is_stopping: AtomicBool,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

const PROOF: &str = "no holder of this lock panics";

impl Links {
    /// Takes over a bound endpoint.
    pub fn new(
        me: MemberId,
        endpoint: Endpoint,
        roster: Arc<Roster>,
        events: mpsc::Sender<Event>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            me,
            endpoint,
            roster: RwLock::new(roster),
            roster_changed: watch::channel(0).0,
            events,
            live: Mutex::default(),
            candidates: Mutex::default(),
            numbers: AtomicU64::new(1),
            clock,
            bans: Bans::default(),
            paces: Paces::default(),
            writers: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        })
    }

    /// Starts accepting, and dialing every peer of the roster.
    pub fn start(self: &Arc<Self>) {
        let links = self.clone();
        tokio::spawn(async move { links.accept_all().await });
        self.dial_new_peers(&[]);
    }

    /// Takes another roster: removed members are cut off at once, new ones are dialed, and those
    /// that are not connected are tried at their present addresses without a pause.
    pub fn set_roster(self: &Arc<Self>, roster: Arc<Roster>) {
        let old: Vec<MemberId> = self.roster().members.iter().map(|member| member.id).collect();
        let epoch = roster.epoch;
        *self.roster.write().expect(PROOF) = roster.clone();
        self.live().retain(|peer, link| {
            let stays = roster.member(*peer).is_some();
            if !stays {
                link.closer.close(CloseReason::Removed);
            }
            stays
        });
        self.roster_changed.send_replace(epoch);
        self.dial_new_peers(&old);
    }

    /// Cuts a connection: the peer broke a rule. Who does that again and again is kept out for a while.
    pub fn cut(&self, peer: MemberId, number: u64) {
        if let Some(link) = self.live().get(&peer).filter(|link| link.number == number) {
            link.closer.close(CloseReason::Offence);
        }
        self.bans.broke_off(peer, self.clock.since_start());
    }

    /// A peer offered something that no honest peer offers, which took so long to find out. Whether its
    /// connection must end for it.
    pub fn is_enough(&self, peer: MemberId, cost: Duration) -> bool {
        self.bans.offended(peer, cost, self.clock.since_start())
    }

    /// How long a peer is still kept out; nothing for one that is not.
    pub fn kept_out(&self, peer: MemberId) -> Duration {
        self.bans.left(peer, self.clock.since_start())
    }

    /// A peer's frames cost so much and brought no mail. How long nothing more is to be read from it.
    pub fn rest_after(&self, peer: MemberId, cost: Duration) -> Duration {
        self.paces.rest_after(peer, cost, self.clock.since_start())
    }

    /// The transport of the connection with a peer; `None` without one.
    pub fn transport(&self, peer: MemberId) -> Option<Transport> {
        self.live().get(&peer).map(|link| link.transport)
    }

    /// Bytes of frames sent and received since the start, headers included.
    pub fn traffic(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent_bytes), read(&self.received_bytes))
    }

    /// Says goodbye to all peers, once they have what was handed to the writers before.
    pub async fn shutdown(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let mut writers = std::mem::take(&mut *self.writers.lock().expect(PROOF));
        // Who takes nothing any more finds the rest out at the next comparison.
        let _ = timeout(FAREWELL, async { while writers.join_next().await.is_some() {} }).await;
        self.endpoint.shutdown().await;
    }

    fn roster(&self) -> Arc<Roster> {
        self.roster.read().expect(PROOF).clone()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<MemberId, Link>> {
        self.live.lock().expect(PROOF)
    }

    fn dial_new_peers(self: &Arc<Self>, known: &[MemberId]) {
        for member in &self.roster().members {
            if member.id != self.me && !known.contains(&member.id) {
                let (links, peer) = (self.clone(), member.id);
                tokio::spawn(async move { links.keep_dialing(peer).await });
            }
        }
    }

    async fn accept_all(self: Arc<Self>) {
        while let Some(accepted) = self.endpoint.accept().await {
            match accepted {
                Ok(connection) => {
                    let links = self.clone();
                    tokio::spawn(async move { links.settle(connection).await });
                }
                Err(rejected) => {
                    let why = rejected.why.kind();
                    tracing::warn!(from = %rejected.from, why, "refused a connection: {}", rejected.why);
                    let is_crowd = matches!(rejected.why, NetError::TooManyHandshakes { .. });
                    if is_crowd || !rejected.why.is_transient() {
                        let _ = self.events.send(Event::Rejected { why, peer: None }).await;
                    }
                }
            }
        }
    }

    /// Makes a new connection the one with its peer, or drops it. Returns when that is known.
    async fn settle(self: &Arc<Self>, connection: Connection) {
        let peer = connection.peer;
        if self.bans.is_banned(peer, self.clock.since_start()) {
            return connection.close(CloseReason::Offence);
        }
        // Who comes again and again costs a greeting each time, and waits for that like for anything else.
        let rest = self.rest_after(peer, Duration::ZERO);
        if rest > REST_MAX {
            return connection.close(CloseReason::Duplicate);
        }
        tokio::time::sleep(rest).await;
        if self.me < peer {
            if self.prefers(&connection) {
                self.adopt(connection, None).await;
            } else {
                connection.close(CloseReason::Duplicate);
            }
            return;
        }
        if !self.take_seat(peer) {
            return connection.close(CloseReason::Duplicate);
        }
        self.follow(connection).await;
        if let Some(taken) = self.candidates.lock().expect(PROOF).get_mut(&peer) {
            *taken -= 1;
        }
    }

    fn take_seat(&self, peer: MemberId) -> bool {
        let mut candidates = self.candidates.lock().expect(PROOF);
        let taken = candidates.entry(peer).or_default();
        let has_room = *taken < CANDIDATES_MAX;
        *taken += usize::from(has_room);
        has_room
    }

    /// The lower member's choice. Who dials has no connection or a bad one, unless both just did.
    fn prefers(&self, connection: &Connection) -> bool {
        let live = self.live();
        let Some(old) = live.get(&connection.peer) else { return true };
        let is_young = self.clock.since_start().saturating_sub(old.made) < SIMULTANEOUS;
        let is_better = old.transport == Transport::Tcp && connection.transport == Transport::Quic;
        !is_young || is_better || !old.closer.is_open()
    }

    /// The higher member's part: it takes the connection on which it is spoken to.
    async fn follow(self: &Arc<Self>, mut connection: Connection) {
        match timeout(CHOICE_PATIENCE, connection.receiver.next()).await {
            Ok(Ok(Some(first))) => self.adopt(connection, Some(first)).await,
            Ok(Ok(None)) => {}
            Ok(Err(why)) => {
                if is_offence(&why) {
                    self.bans.broke_off(connection.peer, self.clock.since_start());
                    let (why, peer) = (why.kind(), Some(connection.peer));
                    let _ = self.events.send(Event::Rejected { why, peer }).await;
                }
            }
            Err(_) => connection.close(CloseReason::Duplicate),
        }
    }

    /// Gives a connection its two tasks, in place of the one there was.
    async fn adopt(self: &Arc<Self>, connection: Connection, first: Option<Frame>) {
        let (peer, transport) = (connection.peer, connection.transport);
        if self.is_stopping.load(Ordering::Relaxed) {
            return connection.close(CloseReason::Shutdown);
        }
        let closer = connection.closer();
        let number = {
            let mut live = self.live();
            // It may have been removed since the handshake; whoever removes it cuts what is live after that.
            if self.roster().member(peer).is_none() {
                return connection.close(CloseReason::Removed);
            }
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let made = self.clock.since_start();
            let link = Link { number, transport, made, closer: closer.clone() };
            if let Some(old) = live.insert(peer, link) {
                old.closer.close(CloseReason::Duplicate);
            }
            number
        };
        tracing::info!(%peer, %transport, "connected");
        let (outlet, queue) = Outlet::new();
        let session_key = connection.session_key;
        let waiting = outlet.waiting();
        let connected = Event::Connected { peer, number, session_key, outlet };
        if self.events.send(connected).await.is_err() {
            return;
        }
        let Connection { sender, receiver, .. } = connection;
        let writer = self.clone();
        let mut writers = self.writers.lock().expect(PROOF);
        while writers.try_join_next().is_some() {}
        writers.spawn(async move {
            if let Err(error) = writer.write_all(sender, queue, waiting).await {
                tracing::debug!(%peer, %error, "writing ended");
            }
            closer.close(CloseReason::Done);
        });
        drop(writers);
        let reader = self.clone();
        tokio::spawn(async move {
            let why = reader.read_all(peer, number, receiver, first).await;
            reader.ended(peer, number, why).await;
        });
    }

    async fn ended(&self, peer: MemberId, number: u64, why: Option<NetError>) {
        {
            let mut live = self.live();
            if live.get(&peer).is_some_and(|link| link.number == number) {
                live.remove(&peer);
            }
        }
        if let Some(why) = &why {
            tracing::info!(%peer, %why, "disconnected");
        }
        let offence = why.filter(is_offence).map(|why| why.kind());
        if offence.is_some() {
            self.bans.broke_off(peer, self.clock.since_start());
        }
        let _ = self.events.send(Event::Disconnected { peer, number, offence }).await;
    }
}

/// Whether only a peer that does not keep the rules ends a connection or a dial so. What this side
/// closed is none; a stream that ends cleanly within a frame is one: no broken line does that.
fn is_offence(why: &NetError) -> bool {
    match why {
        NetError::Closed { .. } => false,
        NetError::Truncated { .. } => true,
        _ => !why.is_transient(),
    }
}

#[cfg(test)]
pub(crate) mod tests;

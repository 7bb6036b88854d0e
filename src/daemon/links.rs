//! Connections to peers: dialed, accepted, one kept per peer, each with a reader and a writer task.
//! Never looks into a frame: bytes go to the node task and come from it.
//!
//! ```text
//! dial loop per peer ─┐                       ┌─► reader ──Event::Frames──► node task
//! accept loop ────────┴─► one link per peer ──┤
//!                                             └─◄ writer ◄──Outgoing────── node task
//! ```

use crate::daemon::clock::Clock;
use crate::daemon::driver::Event;
use quar_base::ids::MemberId;
use quar_base::roster::Roster;
use quar_net::{CloseReason, Closer, Connection, Endpoint, Frame, NetError, Preference, Transport};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Pause between dials of a peer that does not answer: the first, and the longest.
const DIAL_PAUSE_FIRST: Duration = Duration::from_millis(100);
const DIAL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The higher member waits this much before it dials, so that usually only the lower one does.
const DIAL_COURTESY: Duration = Duration::from_millis(300);
/// Frames a reader hands over at once.
const FRAMES_PER_EVENT: usize = 64;
/// Two connections made within this time were dialed from both ends at once.
const SIMULTANEOUS: Duration = Duration::from_secs(2);

/// One frame on its way out: kind and payload.
pub type Outgoing = (u8, Vec<u8>);

/// One live connection.
struct Link {
    number: u64,
    transport: Transport,
    dialer: MemberId,
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
    numbers: AtomicU64,
    clock: Clock,
    preference: Preference,
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
        preference: Preference,
    ) -> Arc<Self> {
        Arc::new(Self {
            me,
            endpoint,
            roster: RwLock::new(roster),
            roster_changed: watch::channel(0).0,
            events,
            live: Mutex::default(),
            numbers: AtomicU64::new(1),
            clock,
            preference,
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

    /// Takes another roster: removed members are cut off at once, new ones are dialed.
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

    /// Cuts a connection: the peer broke a rule.
    pub fn cut(&self, peer: MemberId, number: u64) {
        if let Some(link) = self.live().get(&peer).filter(|link| link.number == number) {
            link.closer.close(CloseReason::Offence);
        }
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

    /// Says goodbye to all peers.
    pub async fn shutdown(&self) {
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
                Ok(connection) => self.adopt(connection).await,
                Err(rejected) => {
                    let why = rejected.why.kind();
                    tracing::warn!(from = %rejected.from, why, "refused a connection: {}", rejected.why);
                    if !rejected.why.is_transient() {
                        let _ = self.events.send(Event::Rejected { why }).await;
                    }
                }
            }
        }
    }

    /// Dials whenever there is no connection, for as long as the peer is in the roster.
    async fn keep_dialing(self: Arc<Self>, peer: MemberId) {
        let mut pause = DIAL_PAUSE_FIRST;
        if self.me > peer {
            tokio::time::sleep(DIAL_COURTESY).await;
        }
        while let Some(member) = self.roster().member(peer).cloned() {
            if self.live().contains_key(&peer) {
                tokio::time::sleep(DIAL_COURTESY).await;
                pause = DIAL_PAUSE_FIRST;
                continue;
            }
            match self.endpoint.dial(&member.addresses, peer, self.preference).await {
                Ok(connection) => self.adopt(connection).await,
                Err(error) => {
                    tracing::debug!(peer = %member.name, %error, "dial failed");
                    if is_offence(&error) {
                        let _ = self.events.send(Event::Rejected { why: error.kind() }).await;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(DIAL_PAUSE_MAX);
                }
            }
        }
    }

    /// Keeps one connection per peer and gives it its two tasks.
    async fn adopt(self: &Arc<Self>, connection: Connection) {
        let peer = connection.peer;
        let dialer = if connection.dialed { self.me } else { peer };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let link = Link {
            number,
            transport: connection.transport,
            dialer,
            made: self.clock.since_start(),
            closer: connection.closer(),
        };
        {
            let mut live = self.live();
            if let Some(old) = live.get(&peer) {
                let is_simultaneous = link.made.saturating_sub(old.made) < SIMULTANEOUS;
                let old_wins = is_simultaneous && old.dialer < dialer && old.closer.is_open();
                if old_wins {
                    link.closer.close(CloseReason::Duplicate);
                    return;
                }
                old.closer.close(CloseReason::Duplicate);
            }
            live.insert(peer, link);
        }
        tracing::info!(%peer, transport = %connection.transport, "connected");
        let (outgoing, queue) = mpsc::unbounded_channel();
        let session_key = connection.session_key;
        let closer = connection.closer();
        let connected = Event::Connected { peer, number, session_key, outgoing };
        if self.events.send(connected).await.is_err() {
            return;
        }
        let Connection { sender, receiver, .. } = connection;
        let writer = self.clone();
        tokio::spawn(async move {
            if let Err(error) = writer.write_all(sender, queue).await {
                tracing::debug!(%peer, %error, "writing ended");
            }
            closer.close(CloseReason::Done);
        });
        let reader = self.clone();
        tokio::spawn(async move {
            let why = reader.read_all(peer, number, receiver).await;
            reader.ended(peer, number, why).await;
        });
    }

    async fn write_all(
        &self,
        mut sender: quar_net::FrameSender,
        mut queue: mpsc::UnboundedReceiver<Outgoing>,
    ) -> Result<(), NetError> {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, FRAMES_PER_EVENT).await > 0 {
            for (kind, payload) in batch.drain(..) {
                let bytes = payload.len() + quar_net::FRAME_HEADER_BYTES;
                self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                sender.send(kind, &[&payload]).await?;
            }
            sender.flush().await?;
        }
        sender.finish().await
    }

    async fn read_all(
        &self,
        peer: MemberId,
        number: u64,
        mut receiver: quar_net::FrameReceiver,
    ) -> Option<NetError> {
        loop {
            let first = match receiver.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(error),
            };
            let mut frames: Vec<Frame> = vec![first];
            while frames.len() < FRAMES_PER_EVENT {
                let Some(frame) = receiver.try_next_buffered() else { break };
                frames.push(frame);
            }
            let size = |frame: &Frame| frame.payload.len() + quar_net::FRAME_HEADER_BYTES;
            let bytes: usize = frames.iter().map(size).sum();
            self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if self.events.send(Event::Frames { peer, number, frames }).await.is_err() {
                return None;
            }
        }
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

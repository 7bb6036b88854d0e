//! The node task: turns what happens into events for the node, and performs what it answers.
//! Never decides; and the only place from which the node is called.
//!
//! ```text
//! surfaces ──Request──┐
//! links ──Frames──────┼─► all that is ready ─► Node::handle ... Node::flush ─► outputs
//! commit thread ──────┤                                                         │
//! timer ──────────────┘        send, commit, answer, save roster ◄──────────────┘
//! ```

mod frames;
mod offences;
mod status;

use crate::daemon::clock::Clock;
use crate::daemon::handle::Request;
use crate::daemon::links::{Links, Outlet};
use crate::daemon::room::Room;
use crate::daemon::upkeep::Upkeep;
use offences::Offences;
use quar_base::ids::MemberId;
use quar_base::roster::SignedRoster;
use quar_net::Frame;
use quar_node::{Answer, Input, Node, Output, Token};
use quar_store::{LastSeen, Outcome, Store, Ticket};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Things taken at once.
const BATCH: usize = 256;
/// Commits under way at once: one is drafted while another is synced.
const COMMITS: usize = 2;
/// Times that the rest of the runtime has its turn before a flush, as long as that brings more.
const GATHER_ROUNDS: usize = 3;
/// How often the node is told the time.
const TICK: Duration = Duration::from_millis(100);
/// How long a stop waits for peers to have what was pushed to them.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How often the index is flushed and its watermarks move.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// What a connection costs its peer beside the greeting: the handshake, and what is sent on it at first.
const CONNECTION_COST: Duration = Duration::from_millis(20);

/// Something that happened.
pub enum Event {
    /// A connection was made.
    Connected {
        /// With whom.
        peer: MemberId,
        /// Number of the connection.
        number: u64,
        /// Secret of the connection.
        session_key: [u8; 32],
        /// Where its frames go.
        outlet: Outlet,
    },
    /// Frames came in.
    Frames {
        /// From whom.
        peer: MemberId,
        /// On which connection.
        number: u64,
        /// In order.
        frames: Vec<Frame>,
        /// Held until they are handled: a peer has a few at a time.
        turn: OwnedSemaphorePermit,
    },
    /// A connection ended.
    Disconnected {
        /// With whom.
        peer: MemberId,
        /// Which one.
        number: u64,
        /// Kind of the peer's offence, when it committed one.
        offence: Option<&'static str>,
    },
    /// A connection was refused, by this side or by the peer.
    Rejected {
        /// Kind of the reason.
        why: &'static str,
        /// Whose it was, where the certificate told.
        peer: Option<MemberId>,
    },
    /// A commit ended.
    Committed(Vec<(Ticket, Outcome)>),
    /// A surface asks.
    Request(Request),
    /// The roster's file was changed.
    Roster(Box<SignedRoster>),
    /// The daemon stops: the answer comes when everything that waits is answered, and the peers
    /// have it too, as far as they take it in time.
    Stop(oneshot::Sender<()>),
}

/// Makes an adopted roster durable.
pub type SaveRoster = Box<dyn Fn(&SignedRoster) -> anyhow::Result<()> + Send>;

/// One live connection, as the node task knows it.
struct Peer {
    number: u64,
    outlet: Outlet,
    /// Its end is under way: nothing more is taken from it or sent.
    is_cut: bool,
}

/// Who waits for an answer.
enum Waiter {
    Put(oneshot::Sender<Result<quar_base::key::MessageId, quar_store::Refusal>>),
    Act(oneshot::Sender<Result<quar_base::ids::RecordId, quar_store::Refusal>>),
}

/// The node task's state.
pub struct Driver {
    node: Node,
    store: Arc<Store>,
    links: Arc<Links>,
    clock: Clock,
    commits: std::sync::mpsc::Sender<()>,
    /// Commits under way.
    committing: usize,
    peers: HashMap<MemberId, Peer>,
    waiters: HashMap<Token, Waiter>,
    next_token: u64,
    offences: Offences,
    save_roster: SaveRoster,
    upkeep: Upkeep,
    room: Room,
    last_checkpoint: Duration,
    stopping: Option<Stopping>,
}

/// A stop that was asked for.
struct Stopping {
    done: oneshot::Sender<()>,
    deadline: Duration,
}

/// What the driver is made from.
pub struct Parts {
    /// The node.
    pub node: Node,
    /// Its store.
    pub store: Arc<Store>,
    /// Its connections.
    pub links: Arc<Links>,
    /// The clock.
    pub clock: Clock,
    /// Makes an adopted roster durable.
    pub save_roster: SaveRoster,
    /// Asked for the status.
    pub upkeep: Upkeep,
    /// How much room there is.
    pub room: Room,
}

impl Driver {
    /// Starts the commit threads.
    pub fn new(parts: Parts, events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let Parts { node, store, links, clock, save_roster, upkeep, room } = parts;
        let (commits, wakes) = std::sync::mpsc::channel();
        let wakes = Arc::new(Mutex::new(wakes));
        for _ in 0..COMMITS {
            let (wakes, store, events) = (wakes.clone(), store.clone(), events.clone());
            let is_woken = move || wakes.lock().is_ok_and(|wakes| wakes.recv().is_ok());
            std::thread::Builder::new().name("commit".into()).spawn(move || {
                while is_woken() {
                    if events.blocking_send(Event::Committed(store.commit())).is_err() {
                        break;
                    }
                }
            })?;
        }
        Ok(Self {
            node,
            store,
            links,
            clock,
            commits,
            committing: 0,
            peers: HashMap::new(),
            waiters: HashMap::new(),
            next_token: 1,
            offences: Offences::default(),
            save_roster,
            upkeep,
            room,
            last_checkpoint: Duration::ZERO,
            stopping: None,
        })
    }

    /// Runs until everybody who could send an event is gone, or a stop was asked for.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut outputs = Vec::new();
        loop {
            tokio::select! {
                count = events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = timer.tick() => self.tick(&mut outputs),
            }
            let mut rounds = 0..GATHER_ROUNDS;
            loop {
                for event in batch.drain(..) {
                    self.take(event, &mut outputs);
                }
                if rounds.next().is_none() {
                    break;
                }
                // Whoever is ready to add something to this commit and to these frames does so now.
                tokio::task::yield_now().await;
                while batch.len() < BATCH
                    && let Ok(event) = events.try_recv()
                {
                    batch.push(event);
                }
                if batch.is_empty() {
                    break;
                }
            }
            self.node.flush(self.clock.now(), &mut outputs);
            self.perform_all(&mut outputs);
            if self.committing < COMMITS && self.store.has_pending() {
                self.committing += usize::from(self.commits.send(()).is_ok());
            }
            if let Some(stopping) = self.stopping.take() {
                if self.is_drained() || self.clock.since_start() > stopping.deadline {
                    return self.stop(stopping.done);
                }
                self.stopping = Some(stopping);
            }
        }
    }

    /// Whether nothing waits to become durable, and each peer has what it is to have by now.
    fn is_drained(&self) -> bool {
        let has_all = |peer: &MemberId| self.node.peer_report(*peer).queued_bytes == 0;
        self.committing == 0 && !self.store.has_pending() && self.peers.keys().all(has_all)
    }

    fn tick(&mut self, outputs: &mut Vec<Output>) {
        self.node.handle(Input::Tick, self.clock.now(), outputs);
        let running = self.clock.since_start();
        if running - self.last_checkpoint >= self.clock.upkeep_every(CHECKPOINT_EVERY) {
            self.last_checkpoint = running;
            let (store, now) = (self.store.clone(), self.node.last_seen(self.clock.now()));
            tokio::task::spawn_blocking(move || checkpoint(&store, now));
        }
    }

    fn take(&mut self, event: Event, outputs: &mut Vec<Output>) {
        let now = self.clock.now();
        match event {
            Event::Connected { peer, number, session_key, outlet } => {
                if self.peers.get(&peer).is_some_and(|newer| newer.number > number) {
                    return;
                }
                // What gathered is of the connection that there was: on the new one the greeting comes first.
                self.perform_all(outputs);
                if self.peers.insert(peer, Peer { number, outlet, is_cut: false }).is_some() {
                    self.node.handle(Input::Disconnected { peer }, now, outputs);
                }
                let begun = self.clock.since_start();
                self.node.handle(Input::Connected { peer, session_key }, now, outputs);
                let cost = CONNECTION_COST + (self.clock.since_start() - begun);
                self.links.rest_after(peer, cost);
            }
            Event::Frames { peer, number, frames, turn } => {
                self.take_frames(peer, number, &frames, turn, outputs);
            }
            Event::Disconnected { peer, number, offence } => {
                if let Some(offence) = offence {
                    self.offences.count(offence, Some(peer));
                }
                if self.is_live(peer, number) {
                    self.perform_all(outputs);
                    self.peers.remove(&peer);
                    self.node.handle(Input::Disconnected { peer }, now, outputs);
                }
            }
            Event::Rejected { why, peer } => self.offences.count(why, peer),
            Event::Committed(outcomes) => {
                self.committing -= 1;
                self.node.handle(Input::Committed(outcomes), now, outputs);
            }
            Event::Request(request) => self.ask(request, outputs),
            Event::Roster(signed) => {
                if signed.roster().epoch > self.store.roster().epoch {
                    self.adopt_roster(&signed);
                }
            }
            Event::Stop(done) => {
                let deadline = self.clock.since_start() + DRAIN_MAX;
                self.stopping = Some(Stopping { done, deadline });
            }
        }
    }

    fn ask(&mut self, request: Request, outputs: &mut Vec<Output>) {
        let now = self.clock.now();
        let token = Token(self.next_token);
        self.next_token += 1;
        let (waiter, request) = match request {
            Request::Put { mail, reply } => (Waiter::Put(reply), quar_node::Request::Put(mail)),
            Request::Hold { hold, reply } => (Waiter::Put(reply), quar_node::Request::Hold(hold)),
            Request::Act { message, action, reply } => {
                (Waiter::Act(reply), quar_node::Request::Act { message, action })
            }
            Request::Status { reply } => {
                let _ = reply.send(self.status());
                return;
            }
            Request::Holders { reply } => {
                let _ = reply.send(self.node.holders());
                return;
            }
            Request::Fetch { message, asks, reply } => {
                if asks {
                    self.node.handle(Input::Fetch(message), now, outputs);
                }
                let _ = reply.send(self.node.is_denied(message));
                return;
            }
        };
        self.waiters.insert(token, waiter);
        self.node.handle(Input::Request { token, request }, now, outputs);
    }

    fn perform_all(&mut self, outputs: &mut Vec<Output>) {
        for output in outputs.drain(..) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { peer, kind, payload } => {
                let link = self.peers.get(&peer).filter(|link| !link.is_cut);
                if link.is_some_and(|link| !link.outlet.send(kind, payload)) {
                    self.end_link(peer, "answers-unread");
                }
            }
            Output::Disconnect { peer, offence } => {
                self.end_link(peer, offence);
                self.peers.remove(&peer);
            }
            Output::Offence { peer, offence } => self.offend(peer, offence, Duration::ZERO),
            Output::Answer { token, answer } => self.answer(token, answer),
            Output::AdoptRoster(signed) => self.adopt_roster(&signed),
            Output::Unlink => self.unlink(),
        }
    }

    /// Cuts the connection with a peer. Its reader tells of the end, and then the node is told.
    fn end_link(&mut self, peer: MemberId, offence: &'static str) {
        self.offences.count(offence, Some(peer));
        tracing::warn!(%peer, offence, "disconnecting a peer that broke the protocol");
        if let Some(link) = self.peers.get_mut(&peer) {
            link.is_cut = true;
            self.links.cut(peer, link.number);
        }
    }

    fn answer(&mut self, token: Token, answer: Answer) {
        match (self.waiters.remove(&token), answer) {
            (Some(Waiter::Put(reply)), Answer::Put(id)) => drop(reply.send(Ok(id))),
            (Some(Waiter::Put(reply)), Answer::Refused(refusal)) => drop(reply.send(Err(refusal))),
            (Some(Waiter::Act(reply)), Answer::Done(id)) => drop(reply.send(Ok(id))),
            (Some(Waiter::Act(reply)), Answer::Refused(refusal)) => drop(reply.send(Err(refusal))),
            _ => {}
        }
    }

    fn adopt_roster(&mut self, signed: &SignedRoster) {
        if let Err(error) = (self.save_roster)(signed) {
            tracing::error!(%error, "a newer roster could not be saved; it is not used");
            return;
        }
        let roster = Arc::new(signed.roster().clone());
        tracing::info!(epoch = roster.epoch, "adopted a newer roster");
        self.store.set_roster(roster.clone());
        self.node.set_roster(signed.clone());
        self.links.set_roster(roster);
    }

    fn unlink(&self) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || match store.unlink_expired() {
            Ok(expired) => {
                for bucket in &expired.buckets {
                    tracing::info!(%bucket, "expired");
                }
                if let Err(error) = store.forget_expired(&expired) {
                    tracing::warn!(%error, "index keys of expired days could not be removed");
                }
            }
            Err(error) => tracing::error!(%error, "expired days could not be unlinked"),
        });
    }

    /// Nothing new is taken; what waits for its commit is committed and answered.
    fn stop(mut self, done: oneshot::Sender<()>) {
        let outcomes = self.store.commit();
        let mut outputs = Vec::new();
        self.node.handle(Input::Committed(outcomes), self.clock.now(), &mut outputs);
        self.node.handle(Input::Stop, self.clock.now(), &mut outputs);
        self.perform_all(&mut outputs);
        checkpoint(&self.store, self.node.last_seen(self.clock.now()));
        self.store.close();
        let _ = done.send(());
    }

    fn is_live(&self, peer: MemberId, number: u64) -> bool {
        self.peers.get(&peer).is_some_and(|live| live.number == number)
    }
}

/// Makes the index durable, and the time until which the node ran.
fn checkpoint(store: &Store, now: LastSeen) {
    if let Err(error) = store.checkpoint() {
        tracing::warn!(%error, "the index could not be flushed; it will be replayed");
    }
    if let Err(error) = store.save_last_seen(now) {
        tracing::warn!(%error, "the time could not be saved; expired days wait after a restart");
    }
}

#[cfg(test)]
mod tests;

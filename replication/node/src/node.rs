//! The node: what happens goes in, what is to be done comes out.
//! Never answers a request before its record is durable here.

use crate::clocks::Clocks;
use crate::copies::{Copies, CopyRule, Peer};
use crate::offers::{BatchId, Decided, Offers};
use crate::request::{Answer, Request, Token, received};
use crate::view::{StoreView, admit, item_of, load_all, reason_of};
use quar_base::ids::MemberId;
use quar_base::key::MessageId;
use quar_base::roster::SignedRoster;
use quar_base::time::{Day, UnixMillis};
use quar_store::{LastSeen, Outcome, Refusal, Store, Ticket};
use quar_sync::{Effect, Engine, Event, Item, ItemName};
use std::collections::HashMap;
use std::sync::Arc;

/// Loads for one peer in one flush.
const LOADS_AT_ONCE: usize = 4;

/// How a node behaves.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Who it is.
    pub member: MemberId,
    /// What an acknowledgement stands for.
    pub copies: CopyRule,
    /// Fresh items that wait for one peer, in bytes.
    pub push_bytes_max: u64,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time passes. Expected a few times a second.
    Tick,
    /// A surface asks.
    Request {
        /// Under which the answer comes.
        token: Token,
        /// What.
        request: Request,
    },
    /// A commit ended.
    Committed(Vec<(Ticket, Outcome)>),
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
    /// A reader waits for the body of this message.
    Fetch(MessageId),
    /// The node stops: what waits for peers is answered with what is durable here.
    Stop,
}

/// Something to be done.
#[derive(Debug)]
pub enum Output {
    /// Send a frame.
    Send {
        /// To whom.
        peer: MemberId,
        /// Its kind.
        kind: u8,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// End a connection: the peer broke the protocol.
    Disconnect {
        /// Whose.
        peer: MemberId,
        /// Kind of the offence.
        offence: &'static str,
    },
    /// A peer offered what no honest peer offers; it was refused.
    Offence {
        /// Who.
        peer: MemberId,
        /// Kind of the offence.
        offence: &'static str,
    },
    /// A request is answered.
    Answer {
        /// Which.
        token: Token,
        /// How.
        answer: Answer,
    },
    /// A peer has a newer roster, signed by the CA: save it, then use it.
    AdoptRoster(SignedRoster),
    /// Bytes of expired days may be unlinked.
    Unlink,
}

/// One member.
pub struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) roster: SignedRoster,
    authority: quar_base::signing::PublicKey,
    pub(crate) engine: Engine,
    copies: Copies,
    pub(crate) offers: Offers,
    pub(crate) clocks: Clocks,
    requests: HashMap<Ticket, Token>,
    /// Disks on which each message should be.
    pub(crate) target: usize,
    today: Day,
    pub(crate) confirmed: u64,
}

impl Node {
    /// A node over an open store. `authority` is the CA's key, `last_seen` the time at which this
    /// node was last known to run.
    #[must_use]
    pub fn new(
        settings: &NodeSettings,
        store: Arc<Store>,
        roster: SignedRoster,
        authority: quar_base::signing::PublicKey,
        last_seen: Option<LastSeen>,
    ) -> Self {
        let push_bytes_max = usize::try_from(settings.push_bytes_max).unwrap_or(usize::MAX);
        let members = roster.roster().members.len();
        Self {
            store,
            roster,
            authority,
            engine: Engine::new(settings.member, push_bytes_max),
            copies: Copies::new(settings.copies),
            offers: Offers::default(),
            clocks: Clocks::since(last_seen, members),
            requests: HashMap::new(),
            target: settings.copies.copies,
            today: Day(0),
            confirmed: 0,
        }
    }

    /// At most so many bytes a second of what is not fresh go out to all peers together, and come in
    /// from all; `None` for any number.
    pub fn limit_bulk(&mut self, bytes_per_s: Option<u64>) {
        self.engine.limit_bulk(bytes_per_s);
    }

    /// Takes one input. Frames that gather are sent by [`Self::flush`].
    pub fn handle(&mut self, input: Input<'_>, now: UnixMillis, outputs: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(now, outputs),
            Input::Request { token, request } => self.ask(token, request, now, outputs),
            Input::Committed(outcomes) => {
                for (ticket, outcome) in outcomes {
                    self.committed(ticket, outcome, now, outputs);
                }
            }
            Input::Connected { peer, session_key } => {
                self.offers.forget(peer);
                self.engine_event(Event::Connected { peer, session_key }, now, outputs);
            }
            Input::Disconnected { peer } => {
                self.engine_event(Event::Disconnected { peer }, now, outputs);
                self.peer_left(peer, outputs);
            }
            Input::Frame { peer, kind, payload } => {
                self.engine_event(Event::Frame { peer, kind, payload }, now, outputs);
            }
            Input::Fetch(message) => self.fetch(message, now, outputs),
            Input::Stop => {
                for (token, answer) in self.copies.peers_changed(&[]) {
                    outputs.push(Output::Answer { token, answer });
                }
            }
        }
    }

    /// Sends what has gathered. Call it after a number of inputs.
    pub fn flush(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        // What was read is sent at once, and a little more is read.
        for _ in 0..LOADS_AT_ONCE {
            let mut effects = Vec::new();
            self.engine.flush(&mut effects);
            if effects.is_empty() {
                break;
            }
            self.perform(effects, now, outputs);
        }
    }

    /// Uses a roster that has been saved.
    pub fn set_roster(&mut self, roster: SignedRoster) {
        self.engine.keep_members(|id| roster.roster().member(id).is_some());
        self.clocks.set_members(roster.roster().members.len());
        self.roster = roster;
    }

    /// What this node believes the time to be: its clock, corrected by its peers' and its own past.
    #[must_use]
    pub fn time(&self, now: UnixMillis) -> UnixMillis {
        self.clocks.stamp_time(now)
    }

    /// What is to be saved now and then, and handed to [`Self::new`] at the next start.
    #[must_use]
    pub fn last_seen(&self, now: UnixMillis) -> LastSeen {
        self.clocks.last_seen(now)
    }

    /// Messages answered with fewer copies than asked for.
    #[must_use]
    pub fn under_replicated(&self) -> u64 {
        self.copies.under_replicated()
    }

    /// Records of peers that were refused because they are too old or too far ahead, by kind: a wrong
    /// clock does that too.
    pub fn out_of_time(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.offers.out_of_time()
    }

    fn tick(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        self.clocks.tick(now);
        self.store.advance(self.clocks.cutoff_time(now).cutoff());
        self.follow_clocks(now);
        if !self.store.expired().is_empty() && self.clocks.is_corroborated(now) {
            outputs.push(Output::Unlink);
        }
        self.engine_event(Event::Tick, now, outputs);
        for (token, answer) in self.copies.tick(&self.peers(), now) {
            outputs.push(Output::Answer { token, answer });
        }
    }

    /// Days are kept by the time with which records are stamped, at every moment.
    fn follow_clocks(&mut self, now: UnixMillis) {
        let today = self.clocks.stamp_time(now).day();
        if today != self.today {
            self.today = today;
            self.store.set_today(today);
        }
    }

    fn ask(&mut self, token: Token, request: Request, now: UnixMillis, outputs: &mut Vec<Output>) {
        let stamp = self.clocks.stamp_time(now);
        let admitted = match request {
            Request::Put(mut mail) => received(mail.origin, mail.received, stamp).and_then(|at| {
                mail.received = at;
                self.store.admit_mail(*mail)
            }),
            Request::Hold(hold) => self.store.admit_hold(*hold),
            Request::Act { message, action } => {
                self.store.admit_action(message, &action, stamp).map(|(admitted, _)| admitted)
            }
        };
        match admitted {
            Ok(admitted) => {
                self.requests.insert(admitted.ticket, token);
            }
            Err(refusal) => {
                outputs.push(Output::Answer { token, answer: Answer::Refused(refusal) });
            }
        }
    }

    fn committed(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) {
        let Some(token) = self.requests.remove(&ticket) else {
            return self.offer_decided(ticket, outcome, now, outputs);
        };
        let answer = match outcome {
            Outcome::Refused(refusal) => Some((token, Answer::Refused(refusal))),
            // Only what a peer has is taken without its body.
            Outcome::WithoutBody => Some((token, Answer::Refused(Refusal::Full))),
            Outcome::AlreadyHere(message) => message
                .filter(|id| !self.copies.joins((id.bucket, id.key), token))
                .map(|id| (token, Answer::Put(id))),
            Outcome::Stored(stored) => {
                let item = item_of(&stored);
                if let Some(item) = item {
                    self.engine_event(Event::Committed(item), now, outputs);
                }
                stored.record.as_ref().and_then(|record| {
                    let answer = match record.head().action {
                        None => Answer::Put(record.message()),
                        Some(_) => Answer::Done(record.id()),
                    };
                    let place = (stored.bucket, record.key());
                    self.copies.stored(place, token, answer, &self.peers(), now)
                })
            }
        };
        if let Some((token, answer)) = answer {
            outputs.push(Output::Answer { token, answer });
        }
    }

    fn offer_decided(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) {
        let refusal = match outcome {
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::WithoutBody => Some(Refusal::Full),
            Outcome::Stored(_) | Outcome::AlreadyHere(_) => None,
        };
        if let Some(decided) = self.offers.decide(ticket, refusal) {
            self.tell(decided, now, outputs);
        }
    }

    /// A batch is decided: the peer is told, and what no honest peer offers is counted.
    fn tell(&mut self, decided: Decided, now: UnixMillis, outputs: &mut Vec<Output>) {
        let BatchId { peer, sequence } = decided.batch;
        for (_, refusal) in &decided.refused {
            if refusal.is_offence() {
                outputs.push(Output::Offence { peer, offence: refusal.name() });
            } else {
                self.offers.count_out_of_time(refusal);
            }
        }
        let refused =
            decided.refused.iter().map(|(at, refusal)| (*at, reason_of(refusal))).collect();
        self.engine_event(Event::Stored { peer, sequence, refused }, now, outputs);
    }

    fn fetch(&mut self, message: MessageId, now: UnixMillis, outputs: &mut Vec<Output>) {
        if let Ok(known) = self.store.message(message) {
            let (bucket, body) = (message.bucket, known.arrival.body());
            self.engine_event(Event::Fetch { bucket, body }, now, outputs);
        }
    }

    fn peer_left(&mut self, peer: MemberId, outputs: &mut Vec<Output>) {
        self.offers.forget(peer);
        self.answer_for_fewer(outputs);
    }

    /// There are fewer peers to wait for: what only waited for others is answered.
    fn answer_for_fewer(&mut self, outputs: &mut Vec<Output>) {
        for (token, answer) in self.copies.peers_changed(&self.peers()) {
            outputs.push(Output::Answer { token, answer });
        }
    }

    fn peers(&self) -> Vec<Peer> {
        self.engine.peers().map(|(id, takes_mail)| Peer { id, takes_mail }).collect()
    }

    fn engine_event(&mut self, event: Event<'_>, now: UnixMillis, outputs: &mut Vec<Output>) {
        let mut effects = Vec::new();
        let view = StoreView::new(&self.store, &self.roster, now);
        self.engine.handle(event, &view, &mut effects);
        self.perform(effects, now, outputs);
    }

    fn perform(&mut self, effects: Vec<Effect>, now: UnixMillis, outputs: &mut Vec<Output>) {
        for effect in effects {
            match effect {
                Effect::Send { peer, kind, payload } => {
                    outputs.push(Output::Send { peer, kind, payload });
                }
                Effect::Offer { peer, sequence, items } => {
                    self.offered(BatchId { peer, sequence }, items, now, outputs);
                }
                Effect::Load { peer, names, with_mail } => {
                    let (items, rest) = load_all(&self.store, names, with_mail);
                    self.engine_event(Event::Loaded { peer, items, rest }, now, outputs);
                }
                Effect::Confirmed { peer, name, is_whole } => {
                    self.confirmed += 1;
                    // An arrival whose body was not there to be sent is no copy.
                    if let (true, ItemName::Record(bucket, key)) = (is_whole, name) {
                        let peers = self.peers();
                        for (token, answer) in self.copies.confirmed(peer, (bucket, key), &peers) {
                            outputs.push(Output::Answer { token, answer });
                        }
                    }
                }
                Effect::HeldBack { peer, reason } => {
                    tracing::warn!(%peer, reason = reason.name(), "a peer takes no mail for now");
                    self.answer_for_fewer(outputs);
                }
                Effect::PeerClock { peer, offset_ms } => {
                    self.clocks.heard(peer, offset_ms, now);
                    self.follow_clocks(now);
                }
                Effect::AdoptRoster { peer, text } => self.adopt(peer, &text, outputs),
                Effect::Disconnect { peer, offence } => {
                    outputs.push(Output::Disconnect { peer, offence: offence.name() });
                    self.peer_left(peer, outputs);
                }
            }
        }
    }

    fn offered(
        &mut self,
        batch: BatchId,
        items: Vec<Item>,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) {
        let stamp = self.clocks.stamp_time(now);
        let admitted = self.offers.admit(batch.peer, items, |item| admit(&self.store, item, stamp));
        if let Some(decided) = self.offers.begin(batch, admitted) {
            self.tell(decided, now, outputs);
        }
    }

    fn adopt(&mut self, peer: MemberId, text: &str, outputs: &mut Vec<Output>) {
        match SignedRoster::parse(text, &self.authority) {
            Ok(signed) => {
                let (old, new) = (self.roster.roster(), signed.roster());
                if new.cluster == old.cluster && new.epoch > old.epoch {
                    outputs.push(Output::AdoptRoster(signed));
                }
            }
            Err(_) => outputs.push(Output::Offence { peer, offence: "forged-roster" }),
        }
    }
}

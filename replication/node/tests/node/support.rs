//! Members of one cluster and the wires between them; nothing passes but by the test's will.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use quar_base::action::Action;
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::MessageId;
use quar_base::roster::{Member, Roster, SignedRoster};
use quar_base::signing::SigningKey;
use quar_base::time::{Millis, UnixMillis};
use quar_index::MemoryIndex;
use quar_node::{Answer, CopyRule, Input, Node, NodeSettings, Output, Request, Token};
use quar_store::{
    Disk, EncryptionKey, IdKey, IndexHome, Mail, MemoryDisk, MemoryHome, Opening, Origin,
    Retention, Settings, Store,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// 2026-11-23 08:00:00 UTC.
pub const START: UnixMillis = UnixMillis(1_795_420_800_000);

/// The kind of frames with records and bodies.
const BATCH: u8 = 8;

/// What outlives a member's restart.
pub struct Home {
    pub disk: Arc<dyn Disk>,
    pub index: Box<dyn IndexHome>,
}

impl Home {
    pub fn in_memory() -> Self {
        let index = Box::new(MemoryHome(Arc::new(MemoryIndex::default())));
        Self { disk: Arc::new(MemoryDisk::new()), index }
    }
}

pub struct Live {
    pub node: Node,
    pub store: Arc<Store>,
}

/// Frames on their way: from whom, kind, payload.
type Wire = VecDeque<(usize, u8, Vec<u8>)>;

pub struct Cluster {
    pub live: Vec<Option<Live>>,
    pub homes: Vec<Home>,
    pub now: UnixMillis,
    keys: Vec<Arc<SigningKey>>,
    roster: SignedRoster,
    authority: SigningKey,
    copies: usize,
    pub rate: Option<u64>,
    links: BTreeSet<(usize, usize)>,
    /// By whom they go to.
    wires: Vec<Wire>,
    pub answers: BTreeMap<Token, Answer>,
    next_token: u64,
    /// Bytes of batches that came from one member to another.
    pub batch_bytes: BTreeMap<(usize, usize), u64>,
    /// Between these nothing is carried, and it waits.
    pub stalled: BTreeSet<(usize, usize)>,
    pub offences: Vec<&'static str>,
}

pub fn member(at: usize) -> MemberId {
    MemberId([at as u8 + 1; 16])
}

fn signing_key() -> SigningKey {
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    SigningKey::from_pkcs8(pkcs8.unwrap().as_ref()).unwrap()
}

impl Cluster {
    /// Members that are not started; each 250 stands for `copies` disks.
    pub fn new(homes: Vec<Home>, copies: usize) -> Self {
        let keys: Vec<_> = homes.iter().map(|_| Arc::new(signing_key())).collect();
        let members = keys.iter().enumerate().map(|(at, key)| Member {
            id: member(at),
            node_number: at as u16,
            name: format!("node{at}"),
            location: String::new(),
            addresses: vec!["127.0.0.1:1027".into()],
            public_key: key.public(),
        });
        let members = members.collect();
        let roster =
            Roster { cluster: ClusterId([9; 16]), epoch: 1, members, past_members: Vec::new() };
        let authority = signing_key();
        Self {
            live: homes.iter().map(|_| None).collect(),
            wires: homes.iter().map(|_| Wire::new()).collect(),
            batch_bytes: BTreeMap::new(),
            stalled: BTreeSet::new(),
            homes,
            now: START,
            keys,
            roster: SignedRoster::sign(roster, &authority).unwrap(),
            authority,
            copies,
            rate: None,
            links: BTreeSet::new(),
            answers: BTreeMap::new(),
            next_token: 1,
            offences: Vec::new(),
        }
    }

    /// Members in memory, started and connected.
    pub fn started(count: usize, copies: usize) -> Self {
        let mut cluster = Self::new((0..count).map(|_| Home::in_memory()).collect(), copies);
        (0..count).for_each(|at| cluster.start(at));
        cluster.connect_all();
        cluster
    }

    pub fn start(&mut self, at: usize) {
        let home = &mut self.homes[at];
        let settings = Settings {
            cluster: ClusterId([9; 16]),
            member: member(at),
            node_number: at as u16,
            signing: self.keys[at].clone(),
            keys: vec![EncryptionKey::new(1, [7; 32])],
            id_key: IdKey::new([8; 32]),
            retention: Retention::default(),
            min_free_bytes: 0,
            reserve_bytes: 0,
        };
        let opening = Opening {
            settings,
            disk: home.disk.clone(),
            index: &mut *home.index,
            roster: Arc::new(self.roster.roster().clone()),
            now: self.now,
            seed: [at as u8; 32],
            progress: &mut |_| {},
        };
        let (store, _) = Store::open(opening).unwrap();
        let store = Arc::new(store);
        let settings = NodeSettings {
            member: member(at),
            copies: CopyRule { copies: self.copies, timeout: Millis(500) },
            push_bytes_max: 8 << 20,
        };
        let (roster, authority) = (self.roster.clone(), self.authority.public());
        let mut node = Node::new(&settings, store.clone(), roster, authority, None);
        node.limit_bulk(self.rate);
        self.live[at] = Some(Live { node, store });
        self.give(at, Input::Tick);
    }

    /// The member is gone from one moment to the next; what it was sent is lost.
    pub fn kill(&mut self, at: usize) {
        for other in 0..self.live.len() {
            self.disconnect(at, other);
        }
        self.live[at] = None;
    }

    pub fn store(&self, at: usize) -> &Arc<Store> {
        &self.live[at].as_ref().unwrap().store
    }

    pub fn node(&self, at: usize) -> &Node {
        &self.live[at].as_ref().unwrap().node
    }

    pub fn connect_all(&mut self) {
        for one in 0..self.live.len() {
            for other in one + 1..self.live.len() {
                self.connect(one, other);
            }
        }
    }

    pub fn connect(&mut self, one: usize, other: usize) {
        let is_live = |at: usize| self.live[at].is_some();
        if is_live(one) && is_live(other) && self.links.insert((one.min(other), one.max(other))) {
            for (to, from) in [(one, other), (other, one)] {
                let session_key = [3; 32];
                self.give(to, Input::Connected { peer: member(from), session_key });
            }
        }
    }

    pub fn disconnect(&mut self, one: usize, other: usize) {
        if !self.links.remove(&(one.min(other), one.max(other))) {
            return;
        }
        for (to, from) in [(one, other), (other, one)] {
            self.wires[to].retain(|(sender, ..)| *sender != from);
            self.give(to, Input::Disconnected { peer: member(from) });
        }
    }

    /// Hands a member something and performs what it answers, commits included.
    pub fn give(&mut self, at: usize, input: Input<'_>) {
        let mut outputs = Vec::new();
        let Some(live) = &mut self.live[at] else { return };
        live.node.handle(input, self.now, &mut outputs);
        self.settle(at, outputs);
    }

    fn settle(&mut self, at: usize, mut outputs: Vec<Output>) {
        let Some(live) = &mut self.live[at] else { return };
        loop {
            live.node.flush(self.now, &mut outputs);
            if !live.store.has_pending() {
                break;
            }
            let outcomes = live.store.commit();
            live.node.handle(Input::Committed(outcomes), self.now, &mut outputs);
        }
        for output in outputs {
            match output {
                Output::Send { peer, kind, payload } => {
                    let to = usize::from(peer.0[0]) - 1;
                    if self.links.contains(&(at.min(to), at.max(to))) {
                        self.wires[to].push_back((at, kind, payload));
                    }
                }
                Output::Answer { token, answer } => drop(self.answers.insert(token, answer)),
                Output::Disconnect { peer, offence } => {
                    self.offences.push(offence);
                    self.disconnect(at, usize::from(peer.0[0]) - 1);
                }
                Output::Offence { offence, .. } => self.offences.push(offence),
                Output::AdoptRoster(_) | Output::Unlink => {}
            }
        }
    }

    /// Carries frames, at most so many, in turn over the members; whether any are left.
    pub fn carry(&mut self, most: usize) -> bool {
        let mut carried = 0;
        loop {
            let before = carried;
            for to in 0..self.wires.len() {
                if carried == most {
                    return true;
                }
                let stalled = &self.stalled;
                let moves = |(from, ..): &(usize, u8, Vec<u8>)| !stalled.contains(&(*from, to));
                let Some(at) = self.wires[to].iter().position(moves) else { continue };
                if let Some((from, kind, payload)) = self.wires[to].remove(at) {
                    carried += 1;
                    if kind == BATCH {
                        *self.batch_bytes.entry((from, to)).or_default() += payload.len() as u64;
                    }
                    self.give(to, Input::Frame { peer: member(from), kind, payload: &payload });
                }
            }
            if carried == before {
                return false;
            }
        }
    }

    /// What batches are on their way to a member are lost, as if the disk there took no time and no notice.
    pub fn drop_batches(&mut self, to: usize) {
        self.wires[to].retain(|(_, kind, _)| *kind != BATCH);
    }

    pub fn run(&mut self) {
        assert!(!self.carry(1_000_000), "the members never come to an end");
    }

    /// Time passes in steps of a second, and everything that follows happens.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.plus(Millis(1000));
            (0..self.live.len()).for_each(|at| self.give(at, Input::Tick));
            self.run();
        }
    }

    fn ask(&mut self, at: usize, request: Request) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.give(at, Input::Request { token, request });
        token
    }

    /// Puts a mail and carries on until it is answered.
    pub fn put(&mut self, at: usize, body: &[u8]) -> MessageId {
        let token = self.offer(at, body);
        self.run();
        while !self.answers.contains_key(&token) {
            self.pass(1);
        }
        match self.answers.remove(&token) {
            Some(Answer::Put(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Puts a mail.
    pub fn offer(&mut self, at: usize, body: &[u8]) -> Token {
        let mail = self.mail(at, body);
        self.ask(at, Request::Put(Box::new(mail)))
    }

    pub fn import(&mut self, at: usize, body: &[u8], received: UnixMillis) -> MessageId {
        let mail = Mail { received, origin: Origin::Imported, ..self.mail(at, body) };
        let token = self.ask(at, Request::Put(Box::new(mail)));
        self.run();
        match self.answers.remove(&token) {
            Some(Answer::Put(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn mail(&self, at: usize, body: &[u8]) -> Mail {
        Mail {
            class: Class::SPAM,
            received: self.now,
            envelope: Envelope {
                recipients: vec!["user@example.net".into()],
                ..Envelope::default()
            },
            headers: Headers::default(),
            body: self.store(at).encode_body(body).unwrap(),
            score_milli: 0,
            reason: String::new(),
            origin: Origin::Caught,
        }
    }

    /// Bytes of batches that a member was sent.
    pub fn came_to(&self, to: usize) -> u64 {
        let to_it = self.batch_bytes.iter().filter(|((_, member), _)| *member == to);
        to_it.map(|(_, bytes)| bytes).sum()
    }

    pub fn delete(&mut self, at: usize, message: MessageId) {
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        self.ask(at, Request::Act { message, action });
        self.run();
    }
}

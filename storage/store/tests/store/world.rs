//! A small world of messages, what happens to them, and what must then be true of a store.
//! Never asks the store what to expect of it.
//!
//! The world is a fixed handful of messages that share few bodies, half of them caught here and
//! half by another member. Steps put, offer, delete and erase them in any order, a delete before
//! its arrival among them.

use crate::support::{DAY_MS, NOW, id_key, mail, signing_key};
use quar_base::action::Action;
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, MessageId};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::time::{Millis, UnixMillis};
use quar_store::{CodedBody, Mail, Outcome, ReadError, Refusal, Store, Ticket};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub const MESSAGES: usize = 12;
const BODIES: usize = 5;

/// What may happen to a store.
#[derive(Clone, Debug)]
pub enum Step {
    /// The mail server hands a message in, or a peer offers its record with the body.
    Arrive(usize),
    /// A peer offers the record alone.
    ArriveBare(usize),
    /// A peer sends the body of a message.
    Body(usize),
    /// This node deletes for some of the recipients, one bit each.
    Delete(usize, u8),
    /// A peer did.
    PeerDeletes(usize, u8),
    /// Everything submitted so far is committed.
    Commit,
    /// The index is flushed and the watermarks move.
    Checkpoint,
    /// Deleted messages are erased from the files.
    Erase,
    /// Every day is packed, or as far as it comes in so many steps.
    Pack(Option<u8>),
    /// Seconds go by.
    Tick(u8),
}

pub struct Item {
    pub id: MessageId,
    pub bytes: Vec<u8>,
    pub recipients: usize,
    record: Record,
    coded: CodedBody,
    /// For what this node caught.
    mail: Option<Mail>,
}

/// What was acknowledged of each message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub arrived: bool,
    pub deleted: u8,
}

#[derive(Clone)]
pub struct Known {
    pub fates: Vec<Fate>,
    pub bodies: BTreeSet<(Bucket, BodyId)>,
    /// Messages that a submission not yet acknowledged is about.
    pub in_flight: BTreeSet<usize>,
}

pub struct World {
    pub items: Vec<Item>,
    pub known: Known,
    pub now: UnixMillis,
    submitted: Vec<(Ticket, Submitted)>,
}

#[derive(Clone, Copy, Debug)]
enum Submitted {
    Arrival(usize, bool),
    Body(usize),
    Delete(usize, u8),
}

impl World {
    pub fn new() -> Self {
        let items: Vec<Item> = (0..MESSAGES).map(Item::new).collect();
        Self {
            known: Known {
                fates: vec![Fate::default(); MESSAGES],
                bodies: BTreeSet::new(),
                in_flight: BTreeSet::new(),
            },
            now: NOW,
            submitted: Vec::new(),
            items,
        }
    }

    pub fn is_covered(&self, at: usize) -> bool {
        self.known.fates[at].deleted.count_ones() as usize == self.items[at].recipients
    }

    fn is_visible(&self, at: usize) -> bool {
        self.known.fates[at].arrived && !self.is_covered(at)
    }

    fn is_body_here(&self, at: usize) -> bool {
        self.known.bodies.contains(&self.items[at].body_place())
    }

    /// Does one step. What it needs committed first is committed.
    pub fn take(&mut self, store: &Store, step: &Step) {
        match *step {
            Step::Arrive(at) => self.arrive(store, at, true),
            Step::ArriveBare(at) => self.arrive(store, at, false),
            Step::Body(at) => self.send_body(store, at),
            Step::Delete(at, whom) => self.delete(store, at, whom, false),
            Step::PeerDeletes(at, whom) => self.delete(store, at, whom, true),
            Step::Commit => self.commit(store),
            Step::Checkpoint => store.checkpoint().unwrap(),
            Step::Erase => self.erase(store),
            Step::Pack(steps) => self.pack(store, steps),
            Step::Tick(seconds) => {
                self.now = self.now.plus(Millis(u64::from(seconds) * 1000));
                store.advance(self.now.cutoff());
            }
        }
    }

    /// Does one step and then shows what had been acknowledged before it.
    pub fn take_with(&mut self, store: &Store, step: &Step, show: &mut dyn FnMut(&Self, &Known)) {
        if matches!(step, Step::Erase | Step::Pack(_)) {
            self.take_with(store, &Step::Commit, show);
        }
        let before = self.known.clone();
        self.take(store, step);
        show(self, &before);
    }

    fn note(&mut self, ticket: Ticket, what: Submitted) {
        let at = match what {
            Submitted::Arrival(at, _) | Submitted::Body(at) | Submitted::Delete(at, _) => at,
        };
        self.known.in_flight.insert(at);
        self.submitted.push((ticket, what));
    }

    fn arrive(&mut self, store: &Store, at: usize, with_body: bool) {
        let item = &self.items[at];
        let admitted = match item.mail.clone().filter(|_| with_body) {
            Some(mail) => store.admit_mail(mail),
            None => {
                let body = with_body.then(|| item.coded.clone());
                store.admit_record(item.record.clone(), body, self.now)
            }
        };
        let admitted = admitted.unwrap();
        assert_eq!(admitted.message, Some(item.id));
        self.note(admitted.ticket, Submitted::Arrival(at, with_body));
    }

    fn send_body(&mut self, store: &Store, at: usize) {
        let item = &self.items[at];
        match store.admit_body(item.id.bucket, item.coded.clone()) {
            Ok(admitted) => self.note(admitted.ticket, Submitted::Body(at)),
            Err(refusal) => assert_eq!(refusal, Refusal::UnwantedBody(item.coded.id)),
        }
    }

    fn delete(&mut self, store: &Store, at: usize, whom: u8, by_peer: bool) {
        let item = &self.items[at];
        let whom = whom & ((1 << item.recipients) - 1);
        let indices: Vec<usize> = (0..item.recipients).filter(|n| whom >> n & 1 == 1).collect();
        let action = Action::Deleted(RecipientSet::of(item.recipients, &indices).unwrap());
        let admitted = if by_peer {
            let record = peers_action(item.id, &action, self.now);
            store.admit_record(record, None, self.now).unwrap()
        } else {
            store.admit_action(item.id, &action, self.now).unwrap().0
        };
        assert_eq!(admitted.message, Some(item.id));
        self.note(admitted.ticket, Submitted::Delete(at, whom));
    }

    fn erase(&mut self, store: &Store) {
        self.commit(store);
        // An erasure comes long after the deletes took effect.
        self.take(store, &Step::Tick(120));
        for bucket in store.erasable() {
            store.erase(bucket).unwrap();
            self.forget_unused_bodies(bucket);
        }
        assert_eq!(store.erasable(), []);
    }

    /// What only deleted messages used is gone with them.
    fn forget_unused_bodies(&mut self, bucket: Bucket) {
        let used: BTreeSet<_> = (0..MESSAGES)
            .filter(|at| self.is_visible(*at))
            .map(|at| self.items[at].body_place())
            .collect();
        let stays = |place: &(Bucket, BodyId)| place.0 != bucket || used.contains(place);
        self.known.bodies.retain(stays);
    }

    fn pack(&mut self, store: &Store, steps: Option<u8>) {
        self.commit(store);
        self.take(store, &Step::Tick(120));
        let buckets: BTreeSet<Bucket> = self.items.iter().map(|item| item.id.bucket).collect();
        for bucket in buckets {
            let mut left = steps;
            let packed = store.pack(bucket, &mut |_| match &mut left {
                Some(0) => ControlFlow::Break(()),
                Some(steps) => {
                    *steps -= 1;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Continue(()),
            });
            if packed.unwrap().is_some() {
                self.forget_unused_bodies(bucket);
            }
        }
    }

    fn commit(&mut self, store: &Store) {
        let covered: Vec<bool> = (0..MESSAGES).map(|at| self.is_covered(at)).collect();
        let outcomes = store.commit();
        assert_eq!(outcomes.len(), self.submitted.len(), "every item has an outcome");
        for (ticket, what) in std::mem::take(&mut self.submitted) {
            let (_, outcome) = outcomes.iter().find(|(one, _)| *one == ticket).unwrap();
            match what {
                Submitted::Arrival(at, with_body) => {
                    let is_refused = matches!(outcome, Outcome::Refused(Refusal::Covered));
                    assert_eq!(is_refused, covered[at], "{outcome:?} of {what:?}");
                    if is_refused {
                        continue;
                    }
                    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?} of {what:?}");
                    self.known.fates[at].arrived = true;
                    if with_body {
                        self.known.bodies.insert(self.items[at].body_place());
                    }
                }
                Submitted::Body(at) => {
                    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                    self.known.bodies.insert(self.items[at].body_place());
                }
                Submitted::Delete(at, whom) => {
                    assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
                    self.known.fates[at].deleted |= whom;
                }
            }
        }
        self.known.in_flight.clear();
    }

    /// Holds the store against all that was acknowledged; nothing may be under way.
    pub fn check(&self, store: &Store) {
        assert!(self.known.in_flight.is_empty());
        let mut visible = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for (at, item) in self.items.iter().enumerate() {
            if !self.is_visible(at) {
                let missing = store.message(item.id);
                assert!(matches!(missing, Err(ReadError::NotFound(_))), "{at}: {missing:?}");
                continue;
            }
            visible.insert(item.id);
            let message = store.message(item.id).unwrap();
            assert_eq!(message.has_body, self.is_body_here(at), "message {at}");
            for recipient in 0..item.recipients {
                let is_deleted = self.known.fates[at].deleted >> recipient & 1 == 1;
                let covers = message.state.deleted.covers(item.recipients, recipient);
                assert_eq!(covers, is_deleted, "recipient {recipient} of message {at}");
            }
            match store.body(item.id) {
                Ok(body) => assert!(body == item.bytes && message.has_body, "body of {at}"),
                Err(ReadError::BodyMissing(_)) => assert!(!message.has_body, "body of {at}"),
                Err(error) => panic!("body of {at}: {error}"),
            }
            if !self.is_body_here(at) {
                wanted.insert(item.body_place());
            }
        }
        let listed: Vec<MessageId> = crate::support::list(store).iter().map(|m| m.id).collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), visible);
        assert_eq!(listed.len(), visible.len());
        let in_store: BTreeSet<_> = store.wanted(usize::MAX).into_iter().collect();
        assert_eq!(in_store, wanted, "wanted bodies");
    }

    /// Holds a store found after a crash against what was acknowledged before it. What was under
    /// way may be there or not, but never in part.
    pub fn check_after_crash(&self, known: &Known, store: &Store) {
        for (at, item) in self.items.iter().enumerate() {
            let fate = &known.fates[at];
            let is_covered = fate.deleted.count_ones() as usize == item.recipients;
            let may_change = known.in_flight.contains(&at);
            match store.body(item.id) {
                Ok(body) => {
                    assert!(!is_covered, "deleted message {at} is back");
                    assert!(fate.arrived || may_change, "message {at} came from nowhere");
                    assert_eq!(body, item.bytes, "body of {at}");
                }
                Err(ReadError::BodyMissing(_)) => {
                    let had_body = known.bodies.contains(&item.body_place());
                    assert!(!is_covered && (!fate.arrived || !had_body), "body of {at} is lost");
                }
                Err(ReadError::NotFound(_)) => {
                    assert!(!fate.arrived || is_covered || may_change, "message {at} is lost");
                }
                Err(error) => panic!("message {at}: {error}"),
            }
        }
    }
}

impl Item {
    fn new(number: usize) -> Self {
        let bytes =
            format!("Subject: body {}\r\n\r\n", number % BODIES).repeat(number % BODIES * 9);
        let bytes = bytes.into_bytes();
        let recipients = 1 + number % 3;
        let mut mail = mail(&bytes, recipients);
        mail.received = UnixMillis(NOW.0 - 20_000 + 7_000 * number as u64);
        if number % 4 == 3 {
            mail.received.0 -= DAY_MS;
        }
        if number % 6 == 5 {
            mail.class = Class::VIRUS;
        }
        // The same bodies and envelopes, told apart by the second and this.
        mail.envelope.helo = format!("mx{number}.example.org");
        let is_own = number.is_multiple_of(2);
        let member = if is_own { 1 } else { 2 };
        let record = record_of(&mail, member);
        Self {
            id: record.message(),
            record,
            coded: CodedBody::encode(&bytes, None, &id_key()).unwrap(),
            bytes,
            recipients,
            mail: is_own.then_some(mail),
        }
    }

    fn body_place(&self) -> (Bucket, BodyId) {
        (self.id.bucket, self.coded.id)
    }
}

/// The arrival record that a member makes of a mail.
pub fn record_of(mail: &Mail, member: u8) -> Record {
    let arrival = Arrival {
        node_number: member.into(),
        body_id: mail.body.id.0,
        body_bytes: mail.body.raw_bytes.into(),
        envelope: mail.envelope.clone(),
        headers: mail.headers.clone(),
        score_milli: mail.score_milli,
        reason: mail.reason.clone(),
    };
    let day = mail.received.day();
    let head = Head {
        kind: Kind::ARRIVAL,
        bucket: Bucket { class: mail.class, day },
        second: mail.received.second_of(day),
        author: MemberId([member; 16]),
        action: None,
    };
    Record::unsigned(head, &arrival.encode().unwrap()).unwrap()
}

/// An action of member 2.
pub fn peers_action(message: MessageId, action: &Action, now: UnixMillis) -> Record {
    let signing = signing_key(2);
    let head = Head {
        kind: action.kind(),
        bucket: message.bucket,
        second: now.second_of(message.bucket.day),
        author: MemberId([2; 16]),
        action: Some(ActionHead { key_id: signing.public().key_id(), message: message.key }),
    };
    Record::signed(head, &action.encode().unwrap(), |text| signing.sign(text)).unwrap()
}

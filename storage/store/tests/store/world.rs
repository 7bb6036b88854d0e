//! A small world of messages, what happens to them, and what must then be true of a store.
//! Never asks the store what to expect of it.
//!
//! The world is a fixed handful of messages that share few bodies, half of them caught here and
//! half by another member. Steps put, offer, delete and erase them in any order, a delete before
//! its arrival among them.

mod holds;
mod verdict;

use crate::support::{DAY_MS, NOW, id_key, mail, signing_key};
use quar_base::action::Action;
use quar_base::arrival::Arrival;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, MessageId};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::time::{Day, Millis, UnixMillis};
use quar_store::{CodedBody, Mail, Outcome, Refusal, Store, Ticket};
use std::collections::{BTreeMap, BTreeSet};
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
    /// A message is held, if it can be.
    Hold(usize),
    /// A message's hold is let go.
    Unhold(usize),
    /// Everything submitted so far is committed.
    Commit,
    /// The index is flushed and the watermarks move.
    Checkpoint,
    /// Deleted messages are erased from the files.
    Erase,
    /// Every day is packed, or as far as it comes in so many steps.
    Pack(Option<u8>),
    /// The oldest day before today goes, in each class that keeps no older ones.
    Expire,
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

#[derive(Clone, Default)]
pub struct Known {
    pub fates: Vec<Fate>,
    pub bodies: BTreeSet<(Bucket, BodyId)>,
    /// Messages that a submission not yet acknowledged is about.
    pub in_flight: BTreeSet<usize>,
    holds: BTreeMap<MessageId, holds::Held>,
    /// Holds that something not yet acknowledged is about, and the message that each is of.
    holds_in_flight: BTreeMap<MessageId, usize>,
    /// Days that are gone.
    expired: BTreeSet<Bucket>,
    /// Days that are going.
    expiring: BTreeSet<Bucket>,
    /// What is not yet acknowledged.
    submitted: Vec<(Ticket, Submitted)>,
}

pub struct World {
    pub items: Vec<Item>,
    pub known: Known,
    pub now: UnixMillis,
    /// Messages whose fate a power cut left open.
    uncertain: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Submitted {
    Arrival(usize, bool),
    Body(usize),
    Delete(usize, u8, bool),
    Hold(usize, MessageId),
    Unhold(usize, MessageId),
}

impl World {
    pub fn new() -> Self {
        let items: Vec<Item> = (0..MESSAGES).map(Item::new).collect();
        let known = Known { fates: vec![Fate::default(); MESSAGES], ..Known::default() };
        Self { known, now: NOW, uncertain: BTreeSet::new(), items }
    }

    pub fn is_covered(&self, at: usize) -> bool {
        self.known.fates[at].deleted.count_ones() as usize == self.items[at].recipients
    }

    fn is_visible(&self, at: usize) -> bool {
        self.known.fates[at].arrived && !self.is_covered(at) && !self.is_expired(at)
    }

    fn is_expired(&self, at: usize) -> bool {
        self.known.expired.contains(&self.items[at].id.bucket)
    }

    /// Whether a message is stamped so late that its deletes take effect a minute after a cutoff.
    fn is_ahead(&self, at: usize) -> bool {
        let id = self.items[at].id;
        id.key.instant(id.bucket.day) > self.now.plus(Millis(40_000))
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
            Step::Hold(at) => self.hold(store, at),
            Step::Unhold(at) => self.unhold(store, at),
            Step::Commit => self.commit(store),
            Step::Checkpoint => store.checkpoint().unwrap(),
            Step::Erase => self.erase(store),
            Step::Pack(steps) => self.pack(store, steps),
            Step::Expire => self.expire(store),
            Step::Tick(seconds) => {
                self.now = self.now.plus(Millis(u64::from(seconds) * 1000));
                store.advance(self.now.cutoff());
            }
        }
    }

    /// Does one step and then shows what had been acknowledged before it.
    pub fn take_with(&mut self, store: &Store, step: &Step, show: &mut dyn FnMut(&Self, &Known)) {
        if matches!(step, Step::Erase | Step::Pack(_) | Step::Expire) {
            self.take_with(store, &Step::Commit, show);
        }
        let mut before = self.known.clone();
        if matches!(step, Step::Expire) {
            before.expiring = self.expiring().1;
        }
        self.take(store, step);
        show(self, &before);
    }

    fn note(&mut self, at: usize, ticket: Ticket, what: Submitted) {
        self.known.in_flight.insert(at);
        self.known.submitted.push((ticket, what));
    }

    fn arrive(&mut self, store: &Store, at: usize, with_body: bool) {
        let item = &self.items[at];
        if self.is_expired(at) {
            let refused = store.admit_record(item.record.clone(), None, self.now).err();
            assert!(matches!(refused, Some(Refusal::BelowFloor { .. })), "{refused:?}");
            return;
        }
        let admitted = match item.mail.clone().filter(|_| with_body) {
            Some(mail) => store.admit_mail(mail),
            None => {
                let body = with_body.then(|| item.coded.clone());
                store.admit_record(item.record.clone(), body, self.now)
            }
        };
        let admitted = admitted.unwrap();
        assert_eq!(admitted.message, Some(item.id));
        self.note(at, admitted.ticket, Submitted::Arrival(at, with_body));
    }

    fn send_body(&mut self, store: &Store, at: usize) {
        let item = &self.items[at];
        if self.is_expired(at) {
            return;
        }
        match store.admit_body(item.id.bucket, item.coded.clone()) {
            Ok(admitted) => self.note(at, admitted.ticket, Submitted::Body(at)),
            Err(refusal) => assert_eq!(refusal, Refusal::UnwantedBody(item.coded.id)),
        }
    }

    fn delete(&mut self, store: &Store, at: usize, whom: u8, by_peer: bool) {
        let item = &self.items[at];
        if self.is_expired(at) {
            return;
        }
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
        self.note(at, admitted.ticket, Submitted::Delete(at, whom, by_peer));
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

    /// The day as it must be for the next days to go, and those days; none when all have gone.
    fn expiring(&self) -> (Option<Day>, BTreeSet<Bucket>) {
        let gone_on = |bucket: Bucket| {
            let days = bucket.class.default_retention_days().unwrap();
            Day(bucket.day.0 + days + 1)
        };
        let here: BTreeSet<Bucket> = self.items.iter().map(|item| item.id.bucket).collect();
        let here: BTreeSet<Bucket> = here.difference(&self.known.expired).copied().collect();
        let old = here.iter().filter(|bucket| bucket.day < NOW.day());
        let today = old.map(|bucket| gone_on(*bucket)).min();
        let going =
            here.iter().copied().filter(|bucket| today.is_some_and(|t| gone_on(*bucket) <= t));
        (today, going.collect())
    }

    fn expire(&mut self, store: &Store) {
        self.commit(store);
        let (Some(today), buckets) = self.expiring() else { return };
        self.now = UnixMillis(u64::from(today.0) * DAY_MS);
        store.set_today(today);
        store.advance(self.now.cutoff());
        let expired = store.unlink_expired().unwrap();
        store.forget_expired(&expired).unwrap();
        self.known.bodies.retain(|(bucket, _)| !buckets.contains(bucket));
        self.known.expired.extend(buckets);
    }

    /// After a power cut: what had been acknowledged is known, and what was under way is done again.
    pub fn resume(&mut self, known: &Known, store: &Store) {
        self.known = known.clone();
        // What only deleted messages used may be gone.
        let used: BTreeSet<_> = (0..MESSAGES)
            .filter(|at| self.is_visible(*at))
            .map(|at| self.items[at].body_place())
            .collect();
        self.known.bodies.retain(|place| used.contains(place));
        self.uncertain = std::mem::take(&mut self.known.in_flight);
        self.let_go_meanwhile(store);
        for (_, what) in std::mem::take(&mut self.known.submitted) {
            match what {
                Submitted::Arrival(at, with_body) => self.arrive(store, at, with_body),
                Submitted::Body(at) => self.send_body(store, at),
                Submitted::Delete(at, whom, by_peer) => self.delete(store, at, whom, by_peer),
                Submitted::Hold(at, _) => self.hold(store, at),
                Submitted::Unhold(at, _) => self.unhold(store, at),
            }
        }
        if !std::mem::take(&mut self.known.expiring).is_empty() {
            self.expire(store);
        }
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
        let items = self.items.iter().map(|item| item.id.bucket);
        let holds = self.known.holds.keys().map(|held| held.bucket);
        let buckets: BTreeSet<Bucket> = items.chain(holds).collect();
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
        let submitted = std::mem::take(&mut self.known.submitted);
        assert_eq!(outcomes.len(), submitted.len(), "every item has an outcome");
        for (ticket, what) in submitted {
            let (_, outcome) = outcomes.iter().find(|(one, _)| *one == ticket).unwrap();
            match what {
                Submitted::Arrival(at, with_body) => {
                    let is_refused = matches!(outcome, Outcome::Refused(Refusal::Covered));
                    let is_uncertain = self.uncertain.contains(&at);
                    // Its record alone, until the second at which it is deleted.
                    let is_leaving = covered[at]
                        && self.is_ahead(at)
                        && match outcome {
                            Outcome::Stored(stored) => stored.body.is_none(),
                            outcome => matches!(outcome, Outcome::AlreadyHere(_)),
                        };
                    let is_right = is_refused == covered[at] || is_leaving || is_uncertain;
                    assert!(is_right, "{outcome:?} of {what:?}");
                    if is_refused || is_leaving {
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
                Submitted::Delete(at, whom, _) => {
                    let is_known = matches!(outcome, Outcome::AlreadyHere(_));
                    let is_stored = matches!(outcome, Outcome::Stored(_));
                    assert!(is_stored || is_known && self.uncertain.contains(&at), "{outcome:?}");
                    self.known.fates[at].deleted |= whom;
                }
                Submitted::Hold(..) | Submitted::Unhold(..) => self.hold_committed(what, outcome),
            }
        }
        self.known.in_flight.clear();
        self.known.holds_in_flight.clear();
        self.uncertain.clear();
    }
}

impl Item {
    fn new(number: usize) -> Self {
        let body = number / 2 % BODIES;
        let bytes = format!("Subject: body {body}\r\n\r\n").repeat(body * 9);
        let mut bytes = bytes.into_bytes();
        if body > 1 {
            // A write of many sectors.
            let mut noise = vec![0; 700 * body];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            bytes.extend(noise);
        }
        let recipients = 1 + number % 3;
        let mut mail = mail(&bytes, recipients);
        mail.received = UnixMillis(NOW.0 - 20_000 + 7_000 * number as u64);
        // More than half of them today, the others on the days before.
        mail.received.0 -= [0, 0, 1, 0, 2, 0, 3, 4][number % 8] * DAY_MS;
        if number % 6 == 5 {
            mail.class = Class::VIRUS;
        }
        // The same bodies and envelopes, told apart by the second and this.
        mail.envelope.helo = format!("mx{number}.example.org");
        mail.envelope.queue_id = format!("4bQ{number}");
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

//! The store as a whole: what is acknowledged stays, what is deleted does not come back.

mod damaged;
mod dictionaries;
mod erasing;
mod misnamed;
mod unknown;

use crate::{
    EncryptionKey, IdKey, Mail, MemoryDisk, MemoryHome, OpenError, OpenReport, Opening, Origin,
    Outcome, Query, ReadError, Refusal, Retention, Settings, Store, Which,
};
use quar_base::action::Action;
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::MessageId;
use quar_base::record::Record;
use quar_base::roster::{Member, Roster};
use quar_base::signing::SigningKey;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use std::path::Path;
use std::sync::Arc;

/// 2026-11-23 08:00:00 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_420_800_000);

/// Nodes of one cluster, each with a disk and an index in memory.
pub(crate) struct Node {
    pub(crate) number: u8,
    pub(crate) disk: MemoryDisk,
    pub(crate) home: MemoryHome,
    pub(crate) retention: Retention,
}

pub(crate) fn signing_key(number: u8) -> Arc<SigningKey> {
    // Keys are random, but the same for a node during one run.
    static KEYS: std::sync::OnceLock<Vec<Arc<SigningKey>>> = std::sync::OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let generate = |_| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
            Arc::new(SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap())
        };
        (0..4).map(generate).collect()
    });
    keys[usize::from(number)].clone()
}

pub(crate) fn roster() -> Arc<Roster> {
    let members = (1..=3u8)
        .map(|number| Member {
            id: MemberId([number; 16]),
            node_number: number.into(),
            name: format!("node{number}"),
            location: String::new(),
            addresses: vec!["127.0.0.1:1027".into()],
            public_key: signing_key(number).public(),
        })
        .collect();
    Arc::new(Roster { cluster: ClusterId([9; 16]), epoch: 1, members, past_members: Vec::new() })
}

impl Node {
    pub(crate) fn new(number: u8) -> Self {
        let home = MemoryHome(Arc::new(MemoryIndex::default()));
        Self { number, disk: MemoryDisk::new(), home, retention: Retention::default() }
    }

    pub(crate) fn open_at(&mut self, now: UnixMillis) -> (Store, OpenReport) {
        self.try_open_at(now).unwrap()
    }

    pub(crate) fn try_open_at(
        &mut self,
        now: UnixMillis,
    ) -> Result<(Store, OpenReport), OpenError> {
        let settings = Settings {
            cluster: ClusterId([9; 16]),
            member: MemberId([self.number; 16]),
            node_number: self.number.into(),
            signing: signing_key(self.number),
            keys: vec![EncryptionKey::new(1, [7; 32])],
            id_key: IdKey::new([8; 32]),
            retention: self.retention.clone(),
            min_free_bytes: 0,
            reserve_bytes: 0,
        };
        Store::open(Opening {
            settings,
            disk: Arc::new(self.disk.clone()),
            index: &mut self.home,
            roster: roster(),
            now,
            seed: [self.number; 32],
            progress: &mut |_| {},
        })
    }

    pub(crate) fn open(&mut self) -> Store {
        self.open_at(NOW).0
    }

    /// What is left of the node after its power was cut.
    pub(crate) fn crash(&self) -> Self {
        Self {
            number: self.number,
            disk: self.disk.crash(),
            home: MemoryHome(Arc::new(self.home.0.crash())),
            retention: self.retention.clone(),
        }
    }
}

pub(crate) fn mail(body: &[u8], recipients: usize) -> Mail {
    Mail {
        class: Class::SPAM,
        received: NOW,
        envelope: Envelope {
            sender: "sender@example.org".into(),
            recipients: (0..recipients).map(|n| format!("user{n}@example.net")).collect(),
            ..Envelope::default()
        },
        headers: Headers { subject: "Cheap Offer".into(), ..Headers::default() },
        body: crate::CodedBody::encode(body, None, &IdKey::new([8; 32])).unwrap(),
        score_milli: 9000,
        reason: "test".into(),
        origin: Origin::Caught,
    }
}

pub(crate) fn put(store: &Store, body: &[u8], recipients: usize) -> MessageId {
    let admitted = store.admit_mail(mail(body, recipients)).unwrap();
    let outcomes = store.commit();
    let outcome = outcomes.iter().find(|(ticket, _)| *ticket == admitted.ticket).unwrap();
    assert!(matches!(outcome.1, Outcome::Stored(_)), "{outcome:?}");
    admitted.message.unwrap()
}

pub(crate) fn delete(store: &Store, id: MessageId, count: usize, whom: &[usize]) -> Record {
    let action = Action::Deleted(RecipientSet::of(count, whom).unwrap());
    let (_, record) = store.admit_action(id, &action, NOW).unwrap();
    store.commit();
    record
}

fn outcome_of_record(store: &Store, record: Record) -> Outcome {
    store.admit_record(record, None, NOW).unwrap();
    store.commit().pop().unwrap().1
}

#[test]
fn a_stored_message_reads_back_byte_exact() {
    let store = Node::new(1).open();
    let id = put(&store, b"Subject: x\r\n\r\n\0\xff bare\nlines\r", 1);
    assert_eq!(store.body(id).unwrap(), b"Subject: x\r\n\r\n\0\xff bare\nlines\r");
    assert!(store.message(id).unwrap().has_body);
}

#[test]
fn an_acknowledged_message_survives_a_power_cut_with_and_without_its_index() {
    let mut node = Node::new(1);
    let store = node.open();
    let ids: Vec<_> = (0..50u8).map(|n| put(&store, &[n; 500], 1)).collect();
    let root = store.live_root();
    for keep_index in [true, false] {
        let mut after = node.crash();
        if !keep_index {
            after.home = MemoryHome(Arc::new(MemoryIndex::default()));
        }
        let store = after.open();
        assert_eq!(store.live_root(), root);
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(store.body(*id).unwrap(), [n as u8; 500]);
        }
    }
}

#[test]
fn nothing_is_visible_or_acknowledged_when_the_sync_fails() {
    let mut node = Node::new(1);
    let store = node.open();
    let kept = put(&store, b"kept", 1);
    node.disk.set_fail_syncs(true);
    let lost = store.admit_mail(mail(b"lost", 1)).unwrap();
    let outcomes = store.commit();
    assert!(matches!(outcomes[0].1, Outcome::Refused(Refusal::Failed)), "{outcomes:?}");
    assert!(matches!(store.body(lost.message.unwrap()), Err(ReadError::NotFound(_))));
    node.disk.set_fail_syncs(false);
    assert_eq!(store.admit_mail(mail(b"more", 1)).err(), Some(Refusal::Failed));
    let store = node.crash().open();
    assert_eq!(store.body(kept).unwrap(), b"kept");
}

#[test]
fn a_full_disk_refuses_mail_and_recovers_without_a_restart() {
    let mut node = Node::new(1);
    let store = node.open();
    let first = put(&store, b"first", 1);
    node.disk.set_free_bytes(10);
    let second: Vec<u8> = (0..4000u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    store.admit_mail(mail(&second, 1)).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Refused(Refusal::Full)));
    node.disk.set_free_bytes(u64::MAX);
    let third = put(&store, b"third", 1);
    let store = node.crash().open();
    assert_eq!(store.body(first).unwrap(), b"first");
    assert_eq!(store.body(third).unwrap(), b"third");
}

#[test]
fn a_deleted_message_is_gone_and_refused_when_offered_again() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, b"spam", 1);
    let (record, body) = store.item(id.bucket, &id.key).unwrap().unwrap();
    delete(&store, id, 1, &[0]);
    for store in [store, node.crash().open()] {
        assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
        let admitted = store.admit_record(record.clone(), body.clone(), NOW).unwrap();
        let (ticket, outcome) = store.commit().pop().unwrap();
        assert_eq!(ticket, admitted.ticket);
        assert!(matches!(outcome, Outcome::Refused(Refusal::Covered)), "{outcome:?}");
        assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
    }
}

#[test]
fn deletes_that_came_first_refuse_the_arrival() {
    let origin = Node::new(1).open();
    let id = put(&origin, b"spam", 2);
    let arrival = origin.item(id.bucket, &id.key).unwrap().unwrap();
    let one = delete(&origin, id, 2, &[0]);
    let other = delete(&origin, id, 2, &[1]);
    let store = Node::new(2).open();
    for record in [other, one] {
        assert!(matches!(outcome_of_record(&store, record), Outcome::Stored(_)));
    }
    store.admit_record(arrival.0, arrival.1, NOW).unwrap();
    assert!(matches!(store.commit()[0].1, Outcome::Refused(Refusal::Covered)));
    assert_eq!(store.live_root(), origin.live_root());
}

#[test]
fn a_message_stays_while_one_recipient_is_not_covered() {
    let store = Node::new(1).open();
    let id = put(&store, b"mail", 3);
    delete(&store, id, 3, &[0, 2]);
    assert_eq!(store.body(id).unwrap(), b"mail");
    assert!(store.message(id).unwrap().state.deleted.covers(3, 2));
    delete(&store, id, 3, &[1]);
    assert!(store.body(id).is_err());
}

#[test]
fn equal_bodies_of_a_day_are_stored_once() {
    let node = &mut Node::new(1);
    let store = node.open();
    let noise: Vec<u8> =
        (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let size = |node: &Node| -> usize {
        let paths = node.disk.paths();
        let lengths =
            paths.iter().map(|p| crate::Disk::read(&node.disk, p).unwrap().unwrap().len());
        lengths.sum()
    };
    put(&store, &noise, 1);
    let once = size(node);
    put(&store, &noise, 2);
    assert!(size(node) - once < 2000, "{} more bytes", size(node) - once);
}

#[test]
fn a_message_whose_body_another_has_is_reported_with_its_body_for_peers() {
    let store = Node::new(1).open();
    for queue_id in ["1", "2"] {
        let mut mail = mail(b"the same body", 1);
        mail.envelope.queue_id = queue_id.into();
        store.admit_mail(mail).unwrap();
        let outcomes = store.commit();
        let has_body =
            |outcome: &Outcome| matches!(outcome, Outcome::Stored(stored) if stored.body.is_some());
        assert!(outcomes.iter().all(|(_, outcome)| has_body(outcome)), "{outcomes:?}");
    }
}

#[test]
fn a_message_sent_again_after_a_lost_reply_is_one_message() {
    let mut node = Node::new(1);
    let store = node.open();
    let sending = || {
        let mut sending = mail(b"body", 2);
        sending.envelope.queue_id = "4XyZ".into();
        sending
    };
    let first = store.admit_mail(sending()).unwrap().message.unwrap();
    store.commit();
    let store = node.crash().open();
    let mut later = sending();
    later.received = NOW.plus(quar_base::time::Millis(3_600_000));
    store.admit_mail(later).unwrap();
    let outcome = store.commit().pop().unwrap().1;
    assert!(matches!(outcome, Outcome::AlreadyHere(Some(id)) if id == first), "{outcome:?}");
    let mut other = sending();
    other.envelope.queue_id = "4XyY".into();
    store.admit_mail(other).unwrap();
    assert!(matches!(store.commit().pop().unwrap().1, Outcome::Stored(_)));
}

#[test]
fn a_record_without_its_body_wants_it_until_it_comes() {
    let origin = Node::new(1).open();
    let id = put(&origin, b"the body", 1);
    let (record, body) = origin.item(id.bucket, &id.key).unwrap().unwrap();
    let mut node = Node::new(2);
    let store = node.open();
    assert!(matches!(outcome_of_record(&store, record), Outcome::Stored(_)));
    let store = {
        drop(store);
        node.crash().open()
    };
    let body = body.unwrap();
    assert_eq!(store.wanted(9), [(id.bucket, body.id)]);
    assert!(matches!(store.body(id), Err(ReadError::BodyMissing(_))));
    let wrong = crate::CodedBody { bytes: b"other bytes"[..].into(), ..body.clone() };
    assert_eq!(store.admit_body(id.bucket, wrong).err(), Some(Refusal::WrongBody));
    store.admit_body(id.bucket, body).unwrap();
    store.commit();
    assert_eq!(store.wanted(9), []);
    assert_eq!(store.body(id).unwrap(), b"the body");
}

#[test]
fn refuses_forged_unknown_and_future_records() {
    let origin = Node::new(1).open();
    let id = put(&origin, b"x", 1);
    let record = delete(&origin, id, 1, &[0]);
    let store = Node::new(2).open();
    let forged = Record::signed(*record.head(), record.payload(), |text| signing_key(2).sign(text));
    let refusal = store.admit_record(forged.unwrap(), None, NOW).err();
    assert_eq!(refusal, Some(Refusal::Forged(MemberId([1; 16]))));
    let mut stranger = *record.head();
    stranger.author = MemberId([77; 16]);
    let record_of = Record::signed(stranger, record.payload(), |text| signing_key(2).sign(text));
    let refusal = store.admit_record(record_of.unwrap(), None, NOW).err();
    assert!(matches!(refusal, Some(Refusal::UnknownAuthor { .. })), "{refusal:?}");
    let early = UnixMillis(NOW.0 - 49 * 3_600_000);
    let refusal = store.admit_record(record, None, early).err();
    assert!(matches!(refusal, Some(Refusal::Ahead(_))), "{refusal:?}");
    assert!(!store.has_pending());
}

#[test]
fn expired_days_vanish_at_once_and_do_not_come_back() {
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, b"old", 1);
    let (record, body) = store.item(id.bucket, &id.key).unwrap().unwrap();
    let later = UnixMillis(NOW.0 + 31 * 86_400_000);
    store.set_today(later.day());
    assert!(matches!(store.body(id), Err(ReadError::NotFound(_))));
    assert!(store.view(Which::Current).buckets().is_empty());
    store.set_today(NOW.day());
    assert_eq!(store.body(id).unwrap(), b"old");
    store.set_today(later.day());
    assert_eq!(store.unlink_expired().unwrap().records, 1);
    assert!(node.disk.paths().iter().all(|path| path == Path::new("floors")));
    store.set_today(NOW.day());
    let refusal = store.admit_record(record, body, NOW).err();
    assert!(matches!(refusal, Some(Refusal::BelowFloor { .. })), "{refusal:?}");
}

#[test]
fn lists_newest_first_page_by_page() {
    let store = Node::new(1).open();
    let mut ids = Vec::new();
    for n in 0..25u64 {
        let body = format!("mail {n}");
        let mut one = mail(body.as_bytes(), 1);
        one.received = UnixMillis(NOW.0 - n * 7_200_000);
        ids.push(store.admit_mail(one).unwrap().message.unwrap());
    }
    store.commit();
    let mut query = Query { limit: 10, ..Query::default() };
    let mut listed = Vec::new();
    loop {
        let page = store.list(&query).unwrap();
        listed.extend(page.messages.iter().map(|message| message.id));
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let nobody = Query { recipient: Some("nobody".into()), limit: 10, ..Query::default() };
    assert!(store.list(&nobody).unwrap().messages.is_empty());
    let words = Query { subject_words: vec!["OFFER".into()], limit: 3, ..Query::default() };
    assert_eq!(store.list(&words).unwrap().messages.len(), 3);
}

#[test]
fn finds_a_message_by_the_start_of_its_digest() {
    let store = Node::new(1).open();
    let id = put(&store, b"x", 1);
    assert_eq!(store.find(&id.key.id.short(), 2).unwrap(), [id]);
    assert_eq!(store.find(&id.to_string(), 2).unwrap(), [id]);
    assert!(store.find("ffff0000ffff", 2).unwrap().is_empty());
}

#[test]
fn an_old_copy_of_the_index_is_brought_up_to_date() {
    let mut node = Node::new(1);
    let store = node.open();
    put(&store, b"one", 1);
    store.checkpoint().unwrap();
    let old = node.home.0.crash();
    let two = put(&store, b"two", 1);
    store.checkpoint().unwrap();
    let root = store.live_root();
    let mut after = node.crash();
    after.home = MemoryHome(Arc::new(old));
    let (store, report) = after.open_at(NOW);
    assert_eq!(report.rebuilt, None);
    assert_eq!(store.body(two).unwrap(), b"two");
    assert_eq!(store.live_root(), root);
}

#[test]
fn an_index_that_lost_entries_is_rebuilt() {
    use quar_index::{Index, Tree, Write};
    let mut node = Node::new(1);
    let store = node.open();
    let id = put(&store, b"one", 1);
    let root = store.live_root();
    store.checkpoint().unwrap();
    let key = crate::layout::record_key(&id.key);
    node.home.0.write(vec![Write::Delete { tree: Tree::Bucket(id.bucket), key }]).unwrap();
    node.home.0.flush().unwrap();
    drop(store);
    let (store, report) = node.open_at(NOW);
    assert!(report.rebuilt.is_some());
    assert_eq!(store.live_root(), root);
    assert_eq!(store.body(id).unwrap(), b"one");
}

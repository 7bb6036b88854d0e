//! Opening stores for tests, mail to put into them, and all that can be seen of one.
//! Never decides what is right.

use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::ids::{BodyId, ClusterId, MemberId};
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::rng::Rng;
use quar_base::roster::{Member, Roster};
use quar_base::signing::SigningKey;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_merkle::Hash;
use quar_store::{
    CodedBody, Disk, EncryptionKey, IdKey, IndexHome, Mail, MemoryDisk, MemoryHome, Message,
    OpenError, OpenReport, Opening, Origin, Outcome, Query, RealDisk, Retention, Settings,
    SledHome, Store, Which,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// 2026-11-23 08:00:00 UTC.
pub const NOW: UnixMillis = UnixMillis(1_795_420_800_000);
pub const DAY_MS: u64 = 86_400_000;
pub const CLUSTER: ClusterId = ClusterId([9; 16]);

pub fn id_key() -> IdKey {
    IdKey::new([8; 32])
}

pub fn encryption_key(epoch: u32) -> EncryptionKey {
    EncryptionKey::new(epoch, [epoch as u8 + 6; 32])
}

/// Random keys, the same for a member during one run.
pub fn signing_key(member: u8) -> Arc<SigningKey> {
    static KEYS: OnceLock<Vec<Arc<SigningKey>>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let generate = |_| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
            Arc::new(SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap())
        };
        (0..4).map(generate).collect()
    });
    keys[usize::from(member)].clone()
}

fn roster() -> Arc<Roster> {
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
    Arc::new(Roster { cluster: CLUSTER, epoch: 1, members, past_members: Vec::new() })
}

pub fn settings(member: u8) -> Settings {
    Settings {
        cluster: CLUSTER,
        member: MemberId([member; 16]),
        node_number: member.into(),
        signing: signing_key(member),
        keys: vec![encryption_key(1)],
        id_key: id_key(),
        retention: Retention::default(),
        min_free_bytes: 0,
        reserve_bytes: 0,
    }
}

pub fn open_with(
    settings: Settings,
    disk: Arc<dyn Disk>,
    index: &mut dyn IndexHome,
    now: UnixMillis,
) -> Result<(Store, OpenReport), OpenError> {
    // No two openings may make the same segment keys.
    static OPENINGS: AtomicU64 = AtomicU64::new(1);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&OPENINGS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Store::open(Opening {
        settings,
        disk,
        index,
        roster: roster(),
        now,
        seed,
        progress: &mut |_| {},
    })
}

/// Opens member 1's store on a disk in memory.
pub fn open_memory(
    disk: impl Disk + 'static,
    index: Arc<MemoryIndex>,
    now: UnixMillis,
) -> (Store, OpenReport) {
    open_with(settings(1), Arc::new(disk), &mut MemoryHome(index), now).unwrap()
}

/// Opens a member's store in a directory, with its index below it.
pub fn try_open_dir(member: u8, dir: &Path) -> Result<(Store, OpenReport), OpenError> {
    let home = &mut SledHome(dir.join("index"));
    open_with(settings(member), Arc::new(RealDisk::new(dir)), home, NOW)
}

pub fn open_dir(dir: &Path) -> (Store, OpenReport) {
    try_open_dir(1, dir).unwrap()
}

pub fn mail(body: &[u8], recipients: usize) -> Mail {
    Mail {
        class: Class::SPAM,
        received: NOW,
        envelope: Envelope {
            sender: "sender@example.org".into(),
            recipients: (0..recipients).map(|n| format!("user{n}@example.net")).collect(),
            ..Envelope::default()
        },
        headers: Headers { subject: "Cheap Offer".into(), ..Headers::default() },
        body: CodedBody::encode(body, None, &id_key()).unwrap(),
        score_milli: 9000,
        reason: "test".into(),
        origin: Origin::Caught,
    }
}

/// Puts one mail and has it committed.
pub fn put(store: &Store, mail: Mail) -> MessageId {
    let admitted = store.admit_mail(mail).unwrap();
    let outcomes = store.commit();
    let stored = outcomes.iter().any(|(ticket, outcome)| {
        *ticket == admitted.ticket && matches!(outcome, Outcome::Stored(_))
    });
    assert!(stored, "{outcomes:?}");
    admitted.message.unwrap()
}

/// Bytes of a mail that some program would stumble over.
pub fn mail_bytes(number: u64, rng: &mut Rng) -> Vec<u8> {
    let header = format!("Received: from mx{number}.example.org\r\nSubject: number {number}\r\n");
    let mut bytes = header.into_bytes();
    let length = rng.below(1 << (number % 17)) as usize;
    match number % 8 {
        0 => bytes.extend(std::iter::repeat_n(0, length)),
        1 => bytes.extend(b"\rbare\rreturns\r".repeat(length / 14 + 1)),
        2 => bytes.extend(b"X-8bit: \xe4\xf6\xfc\xff\xfe\r\n\r\n\x80".repeat(length / 18 + 1)),
        3 => bytes.extend(b"\r\n\r\n.\r\n..\r\nFrom me\n\n".repeat(length / 20 + 1)),
        4 => bytes = vec![number as u8; usize::from(number > 100)],
        5 => bytes.extend(std::iter::repeat_n(b'x', 100_000 + length)),
        _ => bytes.extend((0..length).map(|_| rng.bytes::<1>()[0])),
    }
    bytes
}

/// All that can be seen of a store from outside.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub live_root: Hash,
    pub state_root: Hash,
    pub records: u64,
    pub waiting: BTreeSet<(Bucket, RecordKey)>,
    pub wanted: BTreeSet<(Bucket, BodyId)>,
    pub erasable: Vec<Bucket>,
    pub messages: Vec<Message>,
    /// Hash of each message's body, or why there is none.
    pub bodies: Vec<Result<String, String>>,
}

/// Compares part by part: what differs is shown, and not all the rest.
#[track_caller]
pub fn assert_same(found: &Seen, expected: &Seen, what: &str) {
    let ids = |seen: &Seen| -> Vec<MessageId> { seen.messages.iter().map(|m| m.id).collect() };
    assert_eq!(ids(found), ids(expected), "messages; {what}");
    for (one, other) in found.messages.iter().zip(&expected.messages) {
        assert_eq!(one, other, "{what}");
    }
    for (at, pair) in found.bodies.iter().zip(&expected.bodies).enumerate() {
        assert_eq!(pair.0, pair.1, "body of {}; {what}", found.messages[at].id);
    }
    assert_eq!(found.wanted, expected.wanted, "wanted; {what}");
    assert_eq!(found.erasable, expected.erasable, "erasable; {what}");
    assert_eq!(found.live_root, expected.live_root, "live root; {what}");
    assert_eq!(found.waiting, expected.waiting, "waiting; {what}");
    assert_eq!(found.state_root, expected.state_root, "state root; {what}");
    assert_eq!(found, expected, "{what}");
}

pub fn see(store: &Store) -> Seen {
    let messages = list(store);
    let read = |message: &Message| match store.body(message.id) {
        Ok(body) => Ok(blake3::hash(&body).to_string()),
        Err(error) => Err(error.to_string()),
    };
    let counts = store.counts();
    let wanted: BTreeSet<_> = store.wanted(usize::MAX).into_iter().collect();
    assert_eq!(counts.wanted, wanted.len() as u64);
    Seen {
        live_root: store.live_root(),
        state_root: store.view(Which::Current).state_root(),
        records: counts.records,
        waiting: store.later_than(store.view(Which::Current).cutoff()).into_iter().collect(),
        wanted,
        erasable: store.erasable(),
        bodies: messages.iter().map(read).collect(),
        messages,
    }
}

/// All messages, page by page.
pub fn list(store: &Store) -> Vec<Message> {
    let mut query = Query { limit: 37, ..Query::default() };
    let mut messages = Vec::new();
    loop {
        let page = store.list(&query).unwrap();
        assert_eq!(page.damaged, 0);
        messages.extend(page.messages);
        query.before = page.next;
        if page.next.is_none() {
            return messages;
        }
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    let _absent = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// All files below a directory, in order.
pub fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// How often a test looks: this many times, or as a variable of the environment says.
pub fn rounds(variable: &str, usual: u32) -> u32 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Where the blocks of a segment end; room written ahead lies behind.
pub fn used_bytes(disk: &MemoryDisk, number: usize) -> usize {
    let bytes = disk.read(&disk.paths()[number]).unwrap().unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    used.next_multiple_of(8)
}

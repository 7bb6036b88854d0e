//! What must hold of a store that is opened over any segments and small files.
//! Never built into the product; disk and index are in memory, the time is always the same.

use super::{BUCKET, CLUSTER, Input, MEMBER, encryption_key, id_key};
use crate::disk::{Disk, MemoryDisk};
use crate::index_home::MemoryHome;
use crate::list::Query;
use crate::open::Opening;
use crate::segment::SegmentName;
use crate::segment::fuzz::{Forge, put, role};
use crate::store::{Settings, Store};
use crate::usage::UsageBy;
use quar_base::ids::ClusterId;
use quar_base::key::MessageId;
use quar_base::roster::{Member, Roster};
use quar_base::signing::SigningKey;
use quar_base::time::{Millis, UnixMillis};
use quar_index::MemoryIndex;
use quar_merkle::Hash;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A private key that everybody knows.
const SIGNING_KEY: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420\
    24896e65b60da74314af1b04712b39521336ea81b02116e6ebf9253d16986fd3a14403420004\
    8cc7d6ca2839dafc50b00a71972e6d9e02d364c3a012b15763839316fcbf58884dbfbfaf7c63\
    23de6f30dc2571ce93d43a692861a785dd8dc2fa54dbf93682be";
const FILES_MAX: usize = 4;

/// Time at which the node was last seen: length 1, bytes. Then segments: role 1, number 1, bytes cut
/// off at the end 1, blocks 1, the blocks.
pub(crate) fn opening(input: &[u8]) {
    let mut input = Input(input);
    let disk = MemoryDisk::new();
    let length = input.u8();
    let last_seen = input.take(length.into());
    disk.replace(Path::new("last-seen"), last_seen).expect("the memory disk has room");
    for _ in 0..FILES_MAX {
        if !input.is_empty() {
            segment(&disk, &mut input);
        }
    }
    let mut home = MemoryHome(Arc::default());
    let Some(store) = open(&disk, &mut home) else { return };
    check_last_seen(&store, last_seen);
    let seen = read(&store);
    store.checkpoint().expect("the index in memory does not fail");
    drop(store);
    // What was there is there after a stop, and after the power went, with an index and without.
    let after_stop = open(&disk, &mut home).expect("it was opened before");
    assert_eq!(read(&after_stop), seen, "after a stop");
    drop(after_stop);
    let mut fresh = MemoryHome(Arc::new(MemoryIndex::default()));
    let after_crash = open(&disk.crash(), &mut fresh).expect("it was opened before");
    assert_eq!(read(&after_crash), seen, "after a crash, without an index");
}

fn segment(disk: &MemoryDisk, input: &mut Input<'_>) {
    let (role, number) = (role(input.u8()), u32::from(input.u8() % 4) + 1);
    let (cut, pieces) = (usize::from(input.u8()), input.u8());
    let name = SegmentName { bucket: BUCKET, number };
    let mut forge = Forge::new(name, role);
    for _ in 0..pieces % 16 {
        forge.push_piece(input);
    }
    let mut bytes = forge.bytes();
    bytes.truncate(bytes.len() - cut.min(bytes.len()));
    put(disk, name, &bytes);
}

fn check_last_seen(store: &Store, bytes: &[u8]) {
    let found = store.last_seen().expect("the memory disk does not fail");
    if let Some(found) = found {
        assert!(bytes.ends_with(b"\n"));
        store.save_last_seen(found).expect("the memory disk has room");
        assert_eq!(store.last_seen().ok(), Some(Some(found)));
    }
}

fn open(disk: &MemoryDisk, home: &mut MemoryHome) -> Option<Store> {
    let signing = signing_key();
    let member = Member {
        id: MEMBER,
        node_number: 1,
        name: "node1".to_owned(),
        location: String::new(),
        addresses: vec!["192.0.2.1:1027".to_owned()],
        public_key: signing.public(),
    };
    let (members, past_members) = (vec![member], Vec::new());
    let cluster: ClusterId = CLUSTER;
    let settings = Settings {
        cluster,
        member: MEMBER,
        node_number: 1,
        signing,
        keys: vec![encryption_key()],
        id_key: id_key(),
        retention: Default::default(),
        min_free_bytes: 0,
        reserve_bytes: 0,
    };
    let opened = Store::open(Opening {
        settings,
        disk: Arc::new(disk.clone()),
        index: home,
        roster: Arc::new(Roster { cluster, epoch: 1, members, past_members }),
        now: now(),
        seed: [5; 32],
        progress: &mut |_| {},
    });
    opened.ok().map(|(store, _)| store)
}

fn signing_key() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    let read = || {
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let der: Option<Vec<u8>> = SIGNING_KEY.as_bytes().chunks(2).map(digits).collect();
        Arc::new(SigningKey::from_pkcs8(&der.expect("hex digits")).expect("it is a key"))
    };
    KEY.get_or_init(read).clone()
}

/// Two days after the bucket's.
fn now() -> UnixMillis {
    BUCKET.day.start().plus(Millis(2 * 86_400_000))
}

/// What a store shows.
#[derive(PartialEq, Debug)]
struct Seen {
    root: Hash,
    records: u64,
    messages: Vec<(MessageId, Option<Vec<u8>>)>,
}

/// Reads all that a store shows; checks that it finds nothing wrong with what it shows.
fn read(store: &Store) -> Seen {
    let query = Query { limit: 1000, ..Query::default() };
    let page = store.list(&query).expect("the memory disk does not fail");
    assert!(page.next.is_none());
    let read = |id: MessageId| {
        let state = store.message_state(id);
        assert!(state.is_ok(), "{state:?}");
        (id, store.body(id).ok())
    };
    let messages: Vec<_> = page.messages.iter().map(|message| read(message.id)).collect();
    let usage = store.usage(&query, UsageBy::Class).expect("the memory disk does not fail");
    // It counts arrival by arrival, also in a block that opens and is no list of entries: nobody writes
    // such a block.
    assert!(usage.total().messages >= messages.len() as u64);
    for bucket in store.buckets() {
        let checked = store.check(bucket, &|_| ControlFlow::Continue(()));
        assert!(checked.is_ok(), "{checked:?}");
    }
    Seen { root: store.live_root(), records: store.counts().records, messages }
}

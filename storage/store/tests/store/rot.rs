//! Bit rot: bits flipped and bytes zeroed in every kind of structure of the segments; `beside` has the small files.
//! Never believes a message that is not byte for byte what was put; the index's own files are for `index_files`.
//!
//! ```text
//! one store: a packed day, a day with a rewrite and dictionaries, today
//!   └─ round: one place damaged ─► while the store runs, and before it is opened
//!        every message whole or an error; none lost but what lay in the damaged block
//!        found by opening or check ─► taken again from a peer, packed again ─► whole
//! ```
//! Found, while it runs: a check lists the file. Found, before it is opened: the opening reports it, or a check
//! does. Healed: all that the peer has is here byte for byte, and again after an opening without the index; and
//! a damaged table, footer or closing block of a pack is in no file any more.

mod beside;

use crate::support::{DAY_MS, NOW, mail, open_memory, open_with, put, rounds, settings};
use quar_base::action::Action;
use quar_base::coverage::RecipientSet;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_store::{
    BlockReport, Disk, Finding, MemoryDisk, MemoryHome, OpenError, OpenReport, Store, Which,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;

const HEADER_BYTES: usize = 256;
const BLOCK_HEADER_BYTES: usize = 48;
/// Zeros between blocks, and room written ahead: nothing depends on them.
const UNUSED: &str = "bytes that nothing reads";
/// What only a pack has, and its blocks say again.
const OF_A_PACK: [&str; 3] = ["table", "footer", "closing"];
const WORDS: [&str; 8] =
    ["invoice", "offer", "meeting", "please", "account", "parcel", "winner", "regards"];

/// A whole store, and what must be seen of it.
struct Whole {
    disk: MemoryDisk,
    index: Arc<MemoryIndex>,
    messages: BTreeMap<MessageId, Vec<u8>>,
    /// Must stay so, unless the delete's own block is damaged: then until a peer brings it.
    deleted: BTreeSet<MessageId>,
    /// The blocks that each message hangs on.
    places: BTreeMap<MessageId, BTreeSet<(PathBuf, u64)>>,
    blocks: BTreeMap<PathBuf, Vec<BlockReport>>,
    /// Has all that the store has.
    peer: Store,
}

fn body(number: u64, rng: &mut Rng) -> Vec<u8> {
    let mut text = format!("Subject: number {number}\r\n\r\n");
    for _ in 0..60 + rng.below(60) {
        text.push_str(WORDS[rng.below(WORDS.len() as u64) as usize]);
        text.push_str(&format!(" {:x}\r\n", rng.below(1 << 40)));
    }
    text.into_bytes()
}

fn every_key(store: &Store) -> Vec<(Bucket, RecordKey)> {
    let view = store.view(Which::Current);
    let keys = |bucket| view.trie(bucket).unwrap_or_default().iter().collect::<Vec<_>>();
    let buckets = view.buckets().into_iter();
    buckets
        .flat_map(|(bucket, ..)| keys(bucket).into_iter().map(move |key| (bucket, key)))
        .collect()
}

impl Whole {
    fn new() -> Self {
        let (disk, index) = (MemoryDisk::new(), Arc::new(MemoryIndex::new()));
        let (store, _) = open_memory(disk.clone(), index.clone(), NOW);
        let rng = &mut Rng::from_seed([11; 32]);
        let (mut messages, mut deleted) = (BTreeMap::new(), BTreeSet::new());
        // Days before today, and mails of each.
        for (days, count) in [(2, 60), (1, 420), (0, 30)] {
            let mut ids = Vec::new();
            for number in 0..count {
                let bytes = body(number, rng);
                let mut mail = mail(&bytes, 1);
                mail.body = store.encode_body(&bytes).unwrap();
                mail.received = UnixMillis(NOW.0 - days * DAY_MS - 3_600_000 + number * 1000);
                ids.push(put(&store, mail));
                messages.insert(ids[number as usize], bytes);
            }
            for id in ids.into_iter().skip(2).step_by(17) {
                let action = Action::Deleted(RecipientSet::all(1).unwrap());
                store.admit_action(id, &action, UnixMillis(NOW.0 - 600_000)).unwrap();
                messages.remove(&id);
                deleted.insert(id);
            }
            store.commit();
        }
        let [packed, rewritten] = [2, 1].map(|days| UnixMillis(NOW.0 - days * DAY_MS).day());
        for bucket in store.buckets() {
            if bucket.day == packed {
                store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
            } else if bucket.day == rewritten {
                store.erase(bucket).unwrap();
            }
        }
        store.set_today(UnixMillis(NOW.0 + DAY_MS).day());
        store.checkpoint().unwrap();
        store.checkpoint().unwrap();
        store.close();
        let (peer, _) = open_with(
            settings(2),
            Arc::new(MemoryDisk::new()),
            &mut MemoryHome(Arc::default()),
            NOW,
        )
        .unwrap();
        for (bucket, key) in every_key(&store) {
            let (record, body) = store.item(bucket, &key).unwrap().unwrap();
            peer.admit_record(record, body, NOW).unwrap();
        }
        peer.commit();
        assert_eq!(peer.live_root(), store.live_root());
        let place = |id: &MessageId| {
            let mut places = BTreeSet::new();
            for report in store.place_reports(*id).unwrap() {
                places.insert((report.path.clone(), report.block));
            }
            (*id, places)
        };
        let places = messages.keys().chain(&deleted).map(place).collect();
        let mut blocks = BTreeMap::new();
        for bucket in store.buckets() {
            for segment in store.segment_reports(bucket).unwrap() {
                let of_segment = store.block_reports(bucket, segment.number).unwrap().unwrap();
                blocks.insert(segment.path, of_segment);
            }
        }
        drop(store);
        Self { disk, index, messages, deleted, places, blocks, peer }
    }

    fn open(&self, disk: &MemoryDisk) -> Result<(Store, OpenReport), OpenError> {
        let home = &mut MemoryHome(Arc::new(self.index.crash()));
        open_with(settings(1), Arc::new(disk.clone()), home, NOW)
    }
}

/// One damaged place.
struct Rot {
    path: PathBuf,
    changed: Range<usize>,
    bytes: Vec<u8>,
    what: &'static str,
    /// Blocks that the change meets.
    blocks: BTreeSet<(PathBuf, u64)>,
}

impl Rot {
    fn random(whole: &Whole, rng: &mut Rng) -> Option<Self> {
        let segments: Vec<&PathBuf> = whole.blocks.keys().collect();
        let (path, at) = match rng.below(8) {
            0 => one_of(&segments, rng, |path| ((*path).clone(), HEADER_BYTES as u64)),
            1 => one_of(&segments, rng, |path| {
                ((*path).clone(), whole.disk.read(path).unwrap().unwrap().len() as u64)
            }),
            _ => {
                let kinds: BTreeSet<&str> =
                    whole.blocks.values().flatten().map(|b| b.kind).collect();
                let kind = one_of(&kinds.into_iter().collect::<Vec<_>>(), rng, |kind| *kind);
                let of_kind = |(path, blocks): (&PathBuf, &Vec<BlockReport>)| {
                    let found: Vec<_> = blocks.iter().filter(|block| block.kind == kind).collect();
                    found.into_iter().map(|block| (path.clone(), block.clone())).collect::<Vec<_>>()
                };
                let blocks: Vec<_> = whole.blocks.iter().flat_map(of_kind).collect();
                let (path, block) = one_of(&blocks, rng, Clone::clone);
                // Its header, anywhere in it, or its end.
                let from = [0, 0, block.bytes.saturating_sub(24)][rng.below(3) as usize];
                let bytes = [48, block.bytes, 24][rng.below(3) as usize].min(block.bytes - from);
                return Self::at(whole, path, block.offset + from + rng.below(bytes), rng);
            }
        };
        Self::at(whole, path, rng.below(at.max(1)), rng)
    }

    fn at(whole: &Whole, path: PathBuf, at: u64, rng: &mut Rng) -> Option<Self> {
        let mut bytes = whole.disk.read(&path).unwrap().unwrap();
        let blocks = &whole.blocks[&path];
        let at = at as usize;
        let before = bytes.clone();
        let run = [0, 0, 0, 16, 512, 4096][rng.below(6) as usize];
        let start = at / run.max(1) * run.max(1);
        match run {
            0 => *bytes.get_mut(at)? ^= 1 << rng.below(8),
            _ => bytes.iter_mut().skip(start).take(run).for_each(|byte| *byte = 0),
        }
        let differs = |at: &usize| bytes[*at] != before[*at];
        let first = (0..bytes.len()).find(differs)?;
        let changed = first..(0..bytes.len()).rfind(differs)? + 1;
        let met = |block: &&BlockReport| {
            let start = block.offset as usize;
            let is_block = block.kind != "unused";
            is_block && (start..start + read_bytes(&before[start..])).any(|at| differs(&at))
        };
        let met: Vec<&BlockReport> = blocks.iter().filter(met).collect();
        let is_in_header = changed.start < HEADER_BYTES;
        let what = match (is_in_header, met.first()) {
            (true, _) => "segment header",
            (false, Some(block)) => block.kind,
            (false, None) => UNUSED,
        };
        let names = match is_in_header {
            true => blocks.iter().collect(),
            false => met,
        };
        let blocks = names.iter().map(|block| (path.clone(), block.offset)).collect();
        Some(Self { path, changed, bytes, what, blocks })
    }

    fn apply(&self, disk: &MemoryDisk) {
        disk.damage(&self.path, |bytes| bytes.clone_from(&self.bytes));
    }

    fn text(&self) -> String {
        format!("{} {:?} of {} {:?}", self.what, self.changed, self.path.display(), self.blocks)
    }
}

/// Bytes of the block that begins here without the zeros behind it, up to where the next one begins.
fn read_bytes(block: &[u8]) -> usize {
    let sealed = u32::from_le_bytes(block[8..12].try_into().unwrap());
    BLOCK_HEADER_BYTES + sealed as usize
}

fn one_of<T, R>(all: &[T], rng: &mut Rng, take: impl Fn(&T) -> R) -> R {
    take(&all[rng.below(all.len() as u64) as usize])
}

fn check_all(store: &Store) -> Vec<Finding> {
    let go_on = |_| ControlFlow::Continue(());
    let found = |bucket| store.check(bucket, &go_on).unwrap().unwrap().1;
    store.buckets().into_iter().flat_map(found).collect()
}

/// Everything is whole or an error, and only what lay in damaged blocks is an error. Returns how
/// many messages cannot be read.
fn look(whole: &Whole, rot: &Rot, store: &Store, is_running: bool) -> usize {
    let mut unreadable = 0;
    for (id, bytes) in &whole.messages {
        match store.body(*id) {
            Ok(body) => assert!(body == *bytes, "{id}: wrong bytes; {}", rot.text()),
            Err(error) => {
                unreadable += 1;
                // A running store reads a pack through its tables.
                let is_table = is_running && ["table", "footer"].contains(&rot.what);
                let is_hit = whole.places[id].iter().any(|place| rot.blocks.contains(place));
                assert!(is_hit || is_table, "{id}: {error}; {}", rot.text());
            }
        }
    }
    for id in &whole.deleted {
        let is_hit = whole.places[id].iter().any(|place| rot.blocks.contains(place));
        assert!(store.body(*id).is_err() || is_hit, "{id} is back; {}", rot.text());
    }
    unreadable
}

/// Takes from the peer what is missing and packs what is due, as replication and upkeep do, until nothing is.
fn heal(whole: &Whole, rot: &Rot, disk: &MemoryDisk, store: &Store) {
    for _ in 0..3 {
        store.mark_broken(&check_all(store)).unwrap();
        take_what_is_missing(whole, rot, store);
        for bucket in store.packable(NOW.day()) {
            store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap();
        }
    }
    is_healed(whole, rot, store);
    // A rewrite is closed too, and goes when its day is packed.
    let is_packed = |(bucket, ..): &(Bucket, u64, u64)| {
        rot.path.ancestors().any(|above| above.ends_with(bucket.day.to_string()))
    };
    let is_of_pack = OF_A_PACK.contains(&rot.what) && store.packed().iter().any(is_packed);
    let left = if is_of_pack { check_all(store) } else { Vec::new() };
    assert!(left.is_empty(), "not written anew: {left:?}; {}", rot.text());
    store.close();
    // Without the index: of a body whose entry lay in the damaged block only the index knew the place.
    let home = &mut MemoryHome(Arc::default());
    let (store, _) = open_with(settings(1), Arc::new(disk.crash()), home, NOW).unwrap();
    assert!(!is_of_pack || !store.packed().is_empty(), "no pack any more: {}", rot.text());
    assert!(!is_of_pack || store.wanted(usize::MAX).is_empty(), "{}", rot.text());
    take_what_is_missing(whole, rot, &store);
    is_healed(whole, rot, &store);
}

fn take_what_is_missing(whole: &Whole, rot: &Rot, store: &Store) {
    let here: BTreeSet<_> = every_key(store).into_iter().collect();
    for (bucket, key) in every_key(&whole.peer) {
        if !here.contains(&(bucket, key)) {
            let (record, body) = whole.peer.item(bucket, &key).unwrap().unwrap();
            let admitted = store.admit_record(record, body, NOW);
            assert!(admitted.is_ok(), "{:?}; {}", admitted.err(), rot.text());
        }
    }
    store.commit();
    for (bucket, body) in store.wanted(usize::MAX) {
        let body = whole.peer.body_for_peer(bucket, body).unwrap().unwrap();
        store.admit_body(bucket, body).unwrap();
    }
    store.commit();
}

fn is_healed(whole: &Whole, rot: &Rot, store: &Store) {
    assert_eq!(store.live_root(), whole.peer.live_root(), "{}", rot.text());
    assert_eq!(store.broken_records(), [], "{}", rot.text());
    for (id, bytes) in &whole.messages {
        let body = store.body(*id);
        let body =
            body.unwrap_or_else(|error| panic!("{id} is not healed: {error}; {}", rot.text()));
        assert!(body == *bytes, "{id}: wrong bytes; {}", rot.text());
    }
    for id in &whole.deleted {
        assert!(store.body(*id).is_err(), "{id} is still back; {}", rot.text());
    }
}

/// What became of one kind of structure.
#[derive(Default)]
struct Count {
    damaged: usize,
    found: usize,
    healed: usize,
    refused_reads: usize,
}

/// By kind of structure and by when it was damaged.
type Tally = BTreeMap<(&'static str, &'static str), Count>;

fn count(tally: &mut Tally, rot: &Rot, when: &'static str, is_found: bool, refused_reads: usize) {
    assert!(is_found || rot.what == UNUSED, "not found, {when}: {}", rot.text());
    assert!(is_found || refused_reads == 0, "refused and not found, {when}: {}", rot.text());
    let count = tally.entry((rot.what, when)).or_default();
    count.damaged += 1;
    count.found += usize::from(is_found);
    count.refused_reads += refused_reads;
    // Healing asserts it.
    count.healed += 1;
}

fn while_it_runs(whole: &Whole, rot: &Rot, tally: &mut Tally) {
    let disk = whole.disk.crash();
    let (store, _) = whole.open(&disk).unwrap();
    rot.apply(&disk);
    let refused_reads = look(whole, rot, &store, true);
    let is_found = !check_all(&store).is_empty();
    heal(whole, rot, &disk, &store);
    count(tally, rot, "while it runs", is_found, refused_reads);
}

fn before_it_opens(whole: &Whole, rot: &Rot, tally: &mut Tally) {
    let disk = whole.disk.crash();
    rot.apply(&disk);
    let (store, report) =
        whole.open(&disk).unwrap_or_else(|error| panic!("{error}; {}", rot.text()));
    let refused_reads = look(whole, rot, &store, false);
    // With nothing behind it, damage looks like a write that was never finished.
    let is_told = report.rebuilt.is_some() || !report.damaged.is_empty() || report.torn_tails > 0;
    let is_found = is_told || !check_all(&store).is_empty();
    heal(whole, rot, &disk, &store);
    count(tally, rot, "before it opens", is_found, refused_reads);
}

#[test]
fn rotten_bits_are_found_never_served_and_healed() {
    let whole = Whole::new();
    let kinds: BTreeSet<&str> = whole.blocks.values().flatten().map(|block| block.kind).collect();
    for kind in ["records", "bodies", "dictionary", "group", "table", "footer", "closing"] {
        assert!(kinds.contains(kind), "{kind} is missing among {kinds:?}");
    }
    let rng = &mut Rng::from_seed([12; 32]);
    let mut tally = Tally::new();
    for _ in 0..rounds("QUAR_ROT_ROUNDS", 40) {
        if let Some(rot) = Rot::random(&whole, rng) {
            while_it_runs(&whole, &rot, &mut tally);
            before_it_opens(&whole, &rot, &mut tally);
        }
    }
    for ((what, when), count) in tally {
        let Count { damaged, found, healed, refused_reads } = count;
        eprintln!(
            "{what}, {when}: damaged {damaged}, found {found}, healed {healed}; {refused_reads} reads refused"
        );
    }
}

//! What must hold of any bytes that are handed in as a pack's footer or tables.
//! Never built into the product; packs lie on the memory disk.

use super::footer::{Footer, Member, PackCounts, TableEntry, TablePart};
use super::loaded::Pack;
use super::recover::Entries;
use super::table::{TableBlock, push_entry};
use crate::fuzz::{BUCKET, Input, id_key};
use crate::layout;
use crate::segment::fuzz::{Forge, PLAIN, ZSTD, segments};
use crate::segment::{BlockKind, SegmentName, SegmentRole};
use quar_base::key::RecordKey;
use quar_merkle::{Hash, KeySource, Trie};
use std::sync::Arc;

const NAME: SegmentName = SegmentName { bucket: BUCKET, number: 3 };
const NO_ROOT: Hash = Hash([0; 32]);
const NO_FAILURE: &str = "the memory disk does not fail";

/// A table block's payload.
pub(crate) fn table(input: &[u8]) {
    let Some(block) = TableBlock::decode(input.to_vec()) else { return };
    let mut again = Vec::new();
    for number in 0..block.len() {
        let (key, value) = block.entry(number).expect("below the length");
        assert_eq!((block.position(key), block.get(key)), (number, Some(value)));
        let between = [key, b"\0"].concat();
        assert_eq!(block.position(&between), number + 1, "nothing lies between");
        push_entry(&mut again, key, value);
    }
    assert_eq!(again, input, "a table has one form");
    assert_eq!(block.entry(block.len()), None);
}

/// A footer's payload; what it says of its tables is then looked for where there are none.
pub(crate) fn footer(input: &[u8]) {
    let Ok(footer) = Footer::decode(input) else { return };
    assert_eq!(footer.encode(), input, "a footer has one form");
    assert!(footer.tables.is_sorted_by(|a, b| a.first < b.first));
    let segments = Arc::new(segments(&[(NAME, Forge::new(NAME, SegmentRole::Pack).bytes())]));
    let mut rooted = footer.clone();
    for _ in 0..2 {
        if let Some(pack) = Pack::new(NAME, rooted.clone(), segments.clone(), id_key()) {
            assert_eq!(pack.footer(), &rooted);
            assert_eq!(pack.trie().map(|trie| trie.root()), Some(rooted.root));
            pack.records();
            assert_eq!(pack.members().count(), rooted.members.len());
            assert_eq!(pack.are_tables_whole().ok(), Some(is_digest_of_nothing(&rooted)));
            query(&pack, &Entries::new());
        }
        rooted.root = root_of(&rooted).unwrap_or(NO_ROOT);
    }
}

fn is_digest_of_nothing(footer: &Footer) -> bool {
    footer.tables.is_empty() && footer.digest == *blake3::hash(b"").as_bytes()
}

/// The root that a footer's parts give, if they give any.
fn root_of(footer: &Footer) -> Option<Hash> {
    struct Nowhere;
    impl KeySource for Nowhere {
        fn keys(&self, _: usize) -> Option<Vec<RecordKey>> {
            None
        }
    }
    let source: Arc<dyn KeySource> = Arc::new(Nowhere);
    Trie::from_parts(&footer.parts(), &source).ok().map(|trie| trie.root())
}

/// Everything that can be asked of a pack, whose tables or blocks give these entries and no others.
fn query(pack: &Arc<Pack>, entries: &Entries) {
    for (key, value) in entries {
        assert_eq!(pack.get(key).expect(NO_FAILURE).as_ref(), Some(value));
    }
    let mut listed = Vec::new();
    for tag in [layout::ACTION, layout::BODY, layout::RECORD, layout::WANTED] {
        let visited =
            pack.visit(tag, &mut |key, value| listed.push((key.to_vec(), value.to_vec())));
        visited.expect(NO_FAILURE);
    }
    assert!(listed.is_sorted_by(|a, b| a.0 < b.0));
    assert!(listed.iter().all(|(key, value)| entries.get(key) == Some(value)));
    let known = |key: &Vec<u8>| [b'a', b'b', b'r', b'w'].contains(key.first().unwrap_or(&0));
    assert_eq!(entries.keys().filter(|key| known(key)).count(), listed.len());
    let trie = pack.trie().expect("its root was checked");
    for key in trie.iter() {
        assert!(entries.contains_key(&layout::record_key(&key)));
    }
}

/// A number of blocks of any kind; then tables, each behind a length of 2; then what the footer says.
pub(crate) fn pack(input: &[u8]) {
    let mut input = Input(input);
    let mut forge = Forge::new(NAME, SegmentRole::Pack);
    for _ in 0..input.u8() % 4 {
        forge.push_piece(&mut input);
    }
    let flags = input.u8();
    let (mut tables, mut entries) = (Vec::new(), Some(Entries::new()));
    let mut digest = blake3::Hasher::new();
    while !input.is_empty() {
        let length = input.u16();
        let payload = input.take(length.into());
        let offset = forge.push(BlockKind::Table, ZSTD, 1, payload);
        digest.update(payload);
        let block = TableBlock::decode(payload.to_vec());
        let (Some(block), true) = (block, tables.len() < 20) else { return };
        let Some((first, _)) = block.entry(0) else { return };
        let first = first.to_vec();
        let part = (flags & 1 == 0).then(|| part_of(&block)).flatten();
        tables.push(TableEntry { first, offset, part });
        entries = entries.and_then(|entries| with_table(entries, &block));
    }
    let counts = PackCounts { arrivals: 1, actions: 1, ..PackCounts::default() };
    let members = vec![Member { number: NAME.number, salt: *b"salt    ", end: 256 }];
    let digest = *digest.finalize().as_bytes();
    let root = NO_ROOT;
    let mut footer = Footer { counts, root, digest, members, replaced: vec![1], tables };
    let Some(root) = root_of(&footer) else { return };
    footer.root = root;
    let encoded = footer.encode();
    let is_ascending = footer.tables.is_sorted_by(|a, b| a.first < b.first);
    assert_eq!(Footer::decode(&encoded).is_ok(), is_ascending);
    let offset = forge.push(BlockKind::Footer, ZSTD, 1, &encoded);
    forge.push(BlockKind::Closing, PLAIN, 1, &offset.to_le_bytes());
    let mut bytes = forge.bytes();
    let is_damaged = flags & 2 != 0;
    if let (true, Some(table)) = (is_damaged, footer.tables.last()) {
        bytes[table.offset as usize + 50] ^= 1;
    }
    let segments = Arc::new(segments(&[(NAME, bytes)]));
    let Some(pack) = Pack::new(NAME, footer, segments.clone(), id_key()) else { return };
    let segment = segments.open(NAME).expect("its header is whole");
    assert!(segment.is_closed().expect(NO_FAILURE));
    let whole = !is_damaged || pack.footer().tables.is_empty();
    assert_eq!(pack.are_tables_whole().expect(NO_FAILURE), whole);
    match entries.filter(|_| whole && is_ascending) {
        Some(entries) => query(&pack, &entries),
        // What is then found is what its blocks say, or nothing.
        None => ask_anything(&pack),
    }
}

/// What a table's keys are a part of, if all of them are record keys.
fn part_of(block: &TableBlock) -> Option<TablePart> {
    let keys = (0..block.len()).map(|number| layout::parse_record_key(block.entry(number)?.0));
    let keys: Vec<RecordKey> = keys.collect::<Option<_>>()?;
    let count = u32::try_from(keys.len()).ok()?;
    let hash = Trie::from_sorted(keys.iter().copied()).root();
    keys.last().map(|last| TablePart { last: *last, count, hash })
}

/// Adds a table's entries; `None` when they do not follow those before.
fn with_table(mut entries: Entries, block: &TableBlock) -> Option<Entries> {
    for number in 0..block.len() {
        let (key, value) = block.entry(number)?;
        let follows = entries.last_key_value().is_none_or(|(last, _)| last.as_slice() < key);
        follows.then(|| entries.insert(key.to_vec(), value.to_vec()))?;
    }
    Some(entries)
}

fn ask_anything(pack: &Arc<Pack>) {
    for table in &pack.footer().tables {
        pack.get(&table.first).expect(NO_FAILURE);
    }
    if pack.footer().tables.is_sorted_by(|a, b| a.first < b.first) {
        for tag in 0..=255 {
            pack.visit(tag, &mut |_, _| {}).expect(NO_FAILURE);
        }
    }
    pack.trie().expect("its root was checked").iter().count();
}

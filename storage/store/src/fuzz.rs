//! What must hold of any bytes that are handed to this crate's decoders: one function for each fuzz target.
//! Never built into the product; tools/fuzz calls it with made-up bytes, the tests with the corpus.
//!
//! A decoder refuses or gives a value. A value keeps the limits of docs/formats.md, and encoding it
//! gives what it was decoded from. Where a check or a seal stands before a decoder, a target makes
//! the check right: nobody guesses a hash, and behind it stands what a decoder must bear.

pub(crate) mod opening;
pub(crate) mod sample;

use crate::codec::{Codec, CodedBody, LEVEL};
use crate::dictionary::{Dictionaries, Dictionary};
use crate::disk::{Disk, MemoryDisk};
use crate::floors::{Floors, Retention};
use crate::layout::{self, BodyPlace, RecordPlace, Watermark};
use crate::seal::{EncryptionKey, IdKey, KeyError, WRAPPED_BYTES};
use quar_base::class::Class;
use quar_base::ids::{ClusterId, MemberId};
use quar_base::key::Bucket;
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::record::Kind;
use quar_base::time::Day;
use std::path::Path;
use std::sync::Arc;

/// A target: takes any bytes, and panics when what must hold does not.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("layout", layout),
    ("wrapped_key", wrapped_key),
    ("floors", floors),
    ("broken", broken),
    ("coded_body", coded_body),
    ("dictionary", dictionary),
    ("segment_header", segment_header),
    ("block_header", block_header),
    ("entries", entries),
    ("group", group),
    ("segment_bytes", segment_bytes),
    ("segment_blocks", segment_blocks),
    ("segment_damage", segment_damage),
    ("table", table),
    ("footer", footer),
    ("pack", pack),
    ("opening", opening),
    ("proof", proof),
];

pub(crate) const CLUSTER: ClusterId = ClusterId([9; 16]);
pub(crate) const MEMBER: MemberId = MemberId([1; 16]);
pub(crate) const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(20_780) };

/// The key that everything is sealed under.
pub(crate) fn encryption_key() -> EncryptionKey {
    EncryptionKey::new(1, [7; 32])
}

/// The key of body ids.
pub(crate) fn id_key() -> IdKey {
    IdKey::new([8; 32])
}

/// Takes an input apart from its front; gives zeros and nothing once it is used up.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

/// An entry of the index: the length of its key in the first byte, then key and value.
pub fn layout(input: &[u8]) {
    let mut input = Input(input);
    let length = input.u8();
    let (key, value) = (input.take(length.into()), input.0);
    if let Some(record) = layout::parse_record_key(key) {
        assert_eq!(layout::record_key(&record), key);
        assert!(key > layout::record_key_from_second(record.second).as_slice());
    }
    if let Some((message, action)) = layout::parse_action_key(key) {
        assert_eq!(layout::action_key(&message, &action), key);
        assert!(key.starts_with(&layout::actions_of(&message)));
    }
    if let Some((body, arrival)) = layout::parse_wanted_key(key) {
        assert_eq!(layout::wanted_key(&body, &arrival), key);
    }
    if let Some(segment) = layout::parse_watermark_key(key) {
        assert_eq!(layout::watermark_key(&segment), key);
        // As the opening does with the name of a damaged one.
        let _ = segment.path();
    }
    layout::digest_of_key(key);
    if let Some(place) = RecordPlace::decode(value) {
        assert_eq!(place.encode(), value);
        assert_eq!(layout::segment_of(value), Some(place.block.segment));
    }
    if let Some(place) = BodyPlace::decode(value) {
        assert_eq!(place.encode(), value);
        assert_eq!(layout::segment_of(value), Some(place.block.segment));
        let entry = place.entry(Default::default());
        assert_eq!(BodyPlace::new(place.block.segment, &entry), place);
    }
    if let Some(mark) = Watermark::decode(value) {
        assert_eq!(mark.encode(), value);
    }
    if let Ok(Some(recipients)) = layout::parse_action_value(value) {
        assert_eq!(layout::action_value(Kind::DELETED, Some(&recipients)), value);
    }
}

/// A wrapped key: the bytes as they are; and a key wrapped, then changed in one place.
pub fn wrapped_key(input: &[u8]) {
    let key = encryption_key();
    let genuine = key.wrap(&[5; 32], b"purpose", [2; 12]);
    if let Some(wrapped) = input.first_chunk::<WRAPPED_BYTES>() {
        let is_genuine = *wrapped == genuine;
        assert_eq!(key.unwrap(wrapped, b"purpose").is_ok(), is_genuine);
        assert!(IdKey::unwrap(wrapped, &key).is_err(), "another purpose");
    }
    let mut input = Input(input);
    let (at, flip) = (usize::from(input.u8()) % WRAPPED_BYTES, input.u8());
    let (mut plain, mut nonce) = ([0; 32], [0; 12]);
    plain.iter_mut().chain(&mut nonce).for_each(|byte| *byte = input.u8());
    let purpose = input.0;
    let mut wrapped = key.wrap(&plain, purpose, nonce);
    assert_eq!(key.unwrap(&wrapped, purpose), Ok(plain));
    assert_eq!(key.unwrap(&wrapped, &[purpose, b"x"].concat()), Err(KeyError::Wrong));
    wrapped[at] ^= flip;
    assert_eq!(key.unwrap(&wrapped, purpose).is_ok(), flip == 0);
}

/// The file of floors: the bytes as they are, and with the check that it should have.
pub fn floors(input: &[u8]) {
    check_floors(input);
    let check = blake3::hash(input).to_hex();
    check_floors(&[input, b"check ", &check.as_bytes()[..16], b"\n"].concat());
}

fn check_floors(bytes: &[u8]) {
    const NO_FAILURE: &str = "the memory disk does not fail";
    let disk = MemoryDisk::new();
    disk.replace(Path::new("floors"), bytes).expect(NO_FAILURE);
    let mut floors = Floors::new(Retention::default(), BUCKET.day);
    let unread = floors.clone();
    if floors.load(&disk).expect(NO_FAILURE).is_err() {
        assert_eq!(floors, unread, "what is damaged says nothing");
        return;
    }
    let classes = || (0..=255).map(Class);
    for (_, day) in floors.list(classes()) {
        assert!(day.is_representable());
    }
    floors.save(&disk).expect(NO_FAILURE);
    let mut again = Floors::new(Retention::default(), BUCKET.day);
    assert_eq!(again.load(&disk).expect(NO_FAILURE), Ok(()));
    assert_eq!(again, floors);
    let before = floors.list(classes());
    floors.keep_clock_floors(classes());
    let after = floors.list(classes());
    assert!(before.iter().all(|(class, day)| after.iter().any(|(c, d)| c == class && d >= day)));
}

/// A coded body: codec 1, plain length 4, length of a dictionary 2, dictionary, coded bytes.
pub fn coded_body(input: &[u8]) {
    let mut input = Input(input);
    let Some(codec) = Codec::from_number(input.u8()) else { return };
    let raw_bytes = input.u32();
    let length = input.u16();
    let known = (length > 0).then(|| made(input.take(length.into())));
    let mut coded = CodedBody {
        id: Default::default(),
        raw_bytes,
        codec,
        dictionary: known,
        bytes: input.0.into(),
    };
    // Nobody knows a body of that id.
    assert!(coded.decode(&id_key()).is_err());
    // Lengths beyond the limit are refused before anything is allocated for them.
    if raw_bytes as usize > MESSAGE_BYTES_MAX {
        return;
    }
    let Ok(plain) = coded.plain_bytes() else { return };
    assert_eq!(plain.len(), raw_bytes as usize);
    coded.id = id_key().body_id(&plain);
    assert_eq!(coded.decode(&id_key()).as_ref(), Ok(&plain));
    let bare = coded.without_dictionary().expect("it was decoded before");
    assert_eq!((bare.decode(&id_key()).as_ref(), &bare.dictionary), (Ok(&plain), &None));
    let sent = coded.clone().for_wire(coded.dictionary.clone());
    assert_eq!(sent.decode(&id_key()), Ok(plain));
}

/// A body that is coded against any bytes: their length in the first two.
pub fn dictionary(input: &[u8]) {
    let mut input = Input(input);
    let length = input.u16();
    let dictionary = made(input.take(length.into()));
    let body = input.0;
    let coded = CodedBody::encode(body, Some(dictionary.clone()), &id_key()).expect("it is small");
    assert!(coded.bytes.len() <= body.len());
    assert_eq!(coded.decode(&id_key()).as_deref(), Ok(body));
    // As it would be read: another one of the same bytes, from the segment.
    let again = coded.dictionary.as_ref().map(|known| made(known.bytes()));
    let read = CodedBody { dictionary: again, ..coded };
    assert_eq!(read.decode(&id_key()).as_deref(), Ok(body));
    let dictionaries = Dictionaries::new(id_key(), 1, LEVEL);
    let (id, bytes) = (dictionary.id(), dictionary.bytes());
    assert_eq!(dictionaries.take(id, 1, bytes).as_ref(), Ok(&dictionary));
    let longer: Arc<[u8]> = [&bytes[..], b"x"].concat().into();
    assert!(Dictionaries::new(id_key(), 1, LEVEL).take(id, 1, &longer).is_err());
}

fn made(bytes: &[u8]) -> Arc<Dictionary> {
    let id = id_key().digest("dictionary", bytes);
    Arc::new(Dictionary::new(id, 0, bytes.into(), LEVEL))
}

/// A segment's header.
pub fn segment_header(input: &[u8]) {
    crate::segment::fuzz::segment_header(input);
}

/// A block's header.
pub fn block_header(input: &[u8]) {
    crate::segment::fuzz::block_header(input);
}

/// The payload of a records block.
pub fn entries(input: &[u8]) {
    crate::segment::fuzz::entries(input);
}

/// The payload of a group block.
pub fn group(input: &[u8]) {
    crate::segment::fuzz::group(input);
}

/// Any bytes behind a segment's header.
pub fn segment_bytes(input: &[u8]) {
    crate::segment::fuzz::segment_bytes(input);
}

/// A segment of blocks that open, whatever they hold.
pub fn segment_blocks(input: &[u8]) {
    crate::segment::fuzz::segment_blocks(input);
}

/// A whole segment that was damaged.
pub fn segment_damage(input: &[u8]) {
    crate::segment::fuzz::segment_damage(input);
}

/// The payload of a table block.
pub fn table(input: &[u8]) {
    crate::pack::fuzz::table(input);
}

/// The list of damaged records.
pub fn broken(input: &[u8]) {
    crate::broken::saved::fuzz::broken(input);
}

/// A pack's footer.
pub fn footer(input: &[u8]) {
    crate::pack::fuzz::footer(input);
}

/// A pack whose blocks open, whatever they hold.
pub fn pack(input: &[u8]) {
    crate::pack::fuzz::pack(input);
}

/// A store that is opened over segments and small files of any bytes.
pub fn opening(input: &[u8]) {
    opening::opening(input);
}

/// A proof that a message was here.
pub fn proof(input: &[u8]) {
    crate::proof::fuzz::proof(input);
}

#[cfg(test)]
#[path = "../../../tools/fuzz/replay.rs"]
mod replay;

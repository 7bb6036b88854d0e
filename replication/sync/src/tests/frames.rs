//! Every frame's bytes: they read back as what was written, and nothing else reads at all.

mod golden;

use super::harness::{action, record};
use crate::batch::{decode_batch, encode_batch};
use crate::codec::Malformed;
use crate::dictionaries::Dictionaries;
use crate::frame::{
    AckFrame, BucketsFrame, FlightFrame, FloorsFrame, FreshFrame, Hello, Lot, PartFrame, TakeFrame,
    Told, WantedKeys, decode_bodies, decode_lot_number, decode_offer, decode_roster,
    decode_want_keys, encode_bodies, encode_lot_number, encode_offers, encode_roster,
    encode_want_keys, kind, name_of, whole_name_of,
};
use crate::long::Assembly;
use crate::{CodedBody, Dictionary, Item, RefusalReason};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use quar_base::class::Class;
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::limits::MESSAGE_BYTES_MAX;
use quar_base::time::Day;
use quar_merkle::Prefix;

/// A frame of any kind.
#[derive(Clone, Debug, PartialEq)]
enum Frame {
    Hello(Hello),
    Floors(FloorsFrame),
    Roster(String),
    Buckets(BucketsFrame),
    Flight(Vec<Told>),
    WantKeys(Vec<WantedKeys>),
    Fresh(FreshFrame),
    Batch(u64, Vec<Item>),
    Ack(AckFrame),
    WantBodies(Vec<(Bucket, BodyId)>),
    BodyPart(PartFrame),
    NotHere(Vec<(Bucket, BodyId)>),
    Dictionary(Dictionary),
    Offer(Vec<Lot>),
    Take(TakeFrame),
    LotSent(u64),
    Leave(u64),
    Hurry(Vec<(Bucket, BodyId)>),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Floors(_) => kind::FLOORS,
            Self::Roster(_) => kind::ROSTER,
            Self::Buckets(_) => kind::BUCKETS,
            Self::Flight(_) => kind::FLIGHT,
            Self::WantKeys(_) => kind::WANT_KEYS,
            Self::Fresh(_) => kind::FRESH,
            Self::Batch(..) => kind::BATCH,
            Self::Ack(_) => kind::ACK,
            Self::WantBodies(_) => kind::WANT_BODIES,
            Self::BodyPart(_) => kind::BODY_PART,
            Self::NotHere(_) => kind::NOT_HERE,
            Self::Dictionary(_) => kind::DICTIONARY,
            Self::Offer(_) => kind::OFFER,
            Self::Take(_) => kind::TAKE,
            Self::LotSent(_) => kind::LOT_SENT,
            Self::Leave(_) => kind::LEAVE,
            Self::Hurry(_) => kind::HURRY,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.encode(),
            Self::Floors(floors) => floors.encode(),
            Self::Roster(text) => encode_roster(text),
            Self::Buckets(buckets) => buckets.encode(),
            Self::Flight(told) => FlightFrame::encode_all(1, told).remove(0),
            Self::WantKeys(wants) => encode_want_keys(wants),
            Self::Fresh(fresh) => fresh.encode(),
            Self::Batch(sequence, items) => encode_batch(*sequence, items),
            Self::Ack(ack) => ack.encode(),
            Self::BodyPart(part) => part.encode(),
            Self::Dictionary(dictionary) => dictionary.encode(),
            Self::WantBodies(bodies) | Self::NotHere(bodies) | Self::Hurry(bodies) => {
                encode_bodies(bodies)
            }
            Self::Offer(lots) => encode_offers(lots).remove(0),
            Self::Take(take) => take.encode(),
            Self::LotSent(number) | Self::Leave(number) => encode_lot_number(*number),
        }
    }

    fn decode(frame_kind: u8, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(match frame_kind {
            kind::HELLO => Self::Hello(Hello::decode(payload)?.ok_or(Malformed)?),
            kind::FLOORS => Self::Floors(FloorsFrame::decode(payload)?),
            kind::ROSTER => Self::Roster(decode_roster(payload)?.to_owned()),
            kind::BUCKETS => Self::Buckets(BucketsFrame::decode(payload)?),
            kind::FLIGHT => {
                let flight = FlightFrame::decode(payload)?;
                assert!(flight.is_last);
                Self::Flight(flight.told)
            }
            kind::WANT_KEYS => Self::WantKeys(decode_want_keys(payload)?),
            kind::FRESH => Self::Fresh(FreshFrame::decode(payload)?),
            kind::BATCH => {
                let (sequence, items) =
                    decode_batch(payload, &mut Assembly::default(), &Dictionaries::default())?;
                Self::Batch(sequence, items)
            }
            kind::ACK => Self::Ack(AckFrame::decode(payload)?),
            kind::WANT_BODIES => Self::WantBodies(decode_bodies(payload)?),
            kind::BODY_PART => Self::BodyPart(PartFrame::decode(payload)?),
            kind::NOT_HERE => Self::NotHere(decode_bodies(payload)?),
            kind::DICTIONARY => Self::Dictionary(Dictionary::decode(payload)?),
            kind::OFFER => Self::Offer(decode_offer(payload)?),
            kind::TAKE => Self::Take(TakeFrame::decode(payload)?),
            kind::LOT_SENT => Self::LotSent(decode_lot_number(payload)?),
            kind::LEAVE => Self::Leave(decode_lot_number(payload)?),
            kind::HURRY => Self::Hurry(decode_bodies(payload)?),
            other => panic!("kind {other}"),
        })
    }
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (any::<u8>(), 0u32..=2_932_896)
        .prop_map(|(class, day)| Bucket { class: Class(class), day: Day(day) })
}

fn prefix() -> impl Strategy<Value = Prefix> {
    vec(0u8..16, 0..=72).prop_map(|nibbles| {
        nibbles.into_iter().fold(Prefix::ROOT, |prefix, nibble| prefix.child(nibble).unwrap())
    })
}

fn told() -> impl Strategy<Value = Told> {
    let days = vec((bucket(), any::<u32>()), 0..=31);
    let children = proptest::collection::btree_map(0u8..16, any::<u32>(), 0..=16);
    prop_oneof![
        (any::<u8>(), any::<u32>(), days)
            .prop_map(|(class, month, days)| Told::Days((Class(class), month), days)),
        (bucket(), prefix()).prop_map(|(bucket, prefix)| Told::Empty(bucket, prefix)),
        (bucket(), prefix(), vec(any::<u32>(), 0..=64))
            .prop_map(|(bucket, prefix, shorts)| Told::Leaf(bucket, prefix, shorts)),
        (bucket(), vec(0u8..16, 0..72), any::<proptest::sample::Index>(), children).prop_map(
            |(bucket, nibbles, cut, children)| {
                let longer = |prefix: Prefix, nibble: &u8| prefix.child(*nibble).unwrap();
                let at = nibbles.iter().fold(Prefix::ROOT, longer);
                let above = nibbles.iter().take(cut.index(73)).fold(Prefix::ROOT, longer);
                Told::Page(bucket, above, at, children.into_iter().collect())
            }
        ),
    ]
}

fn coded(id: BodyId) -> impl Strategy<Value = CodedBody> {
    (0..=MESSAGE_BYTES_MAX as u32, 0u8..0x80, vec(any::<u8>(), 0..60)).prop_map(
        move |(raw_bytes, codec, bytes)| CodedBody {
            id,
            raw_bytes,
            codec,
            dictionary: None,
            bytes: bytes.into(),
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    let text = || vec(any::<u8>(), 0..60);
    let arrival = (bucket(), 0u32..86_400, text())
        .prop_map(|(bucket, second, text)| record(bucket.class, bucket.day.0, second, &text));
    let deleted = (any::<u32>(), text()).prop_map(|(second, text)| action(second, &text));
    let records = prop_oneof![arrival, deleted];
    prop_oneof![
        // A record names its body, whose id does not travel.
        (records, proptest::option::of(coded(BodyId::default())))
            .prop_map(|(record, body)| Item::Record(record, body)),
        (bucket(), any::<[u8; 32]>()).prop_flat_map(|(bucket, id)| {
            coded(BodyId(id)).prop_map(move |body| Item::Body(bucket, body))
        }),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<(Bucket, BodyId)>> {
    vec((bucket(), any::<[u8; 32]>().prop_map(BodyId)), 0..30)
}

fn ack() -> impl Strategy<Value = Frame> {
    use RefusalReason as Reason;
    let reasons = [
        Reason::Full,
        Reason::Failed,
        Reason::BelowFloor,
        Reason::Covered,
        Reason::Invalid,
        Reason::Other,
    ];
    let reason = proptest::sample::select(reasons.to_vec());
    let refused = proptest::collection::btree_map(any::<u16>(), reason, 0..40);
    (any::<u64>(), refused).prop_map(|(sequence, refused)| {
        Frame::Ack(AckFrame { sequence, refused: refused.into_iter().collect() })
    })
}

fn hello() -> impl Strategy<Value = Frame> {
    let numbers = (0u64..1 << 48, any::<u32>(), any::<u64>(), any::<u32>());
    let digests = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 8]>());
    (numbers, digests).prop_map(|((clock_ms, cutoff_steps, records, wanted), digests)| {
        let (current_root, previous_root, digest) = digests;
        Frame::Hello(Hello {
            clock_ms,
            cutoff_steps,
            current_root,
            previous_root,
            digest,
            records,
            wanted,
        })
    })
}

fn lot() -> impl Strategy<Value = Lot> {
    let keys = proptest::collection::btree_set((any::<u32>(), any::<[u8; 32]>()), 1..8);
    let key = |(second, id)| RecordKey { second, id: RecordId(id) };
    let span = |(bucket, one, other, count): (_, u32, u32, _)| {
        Lot::Span(bucket, one.min(other), one.max(other), count)
    };
    prop_oneof![
        (bucket(), any::<u32>(), any::<u32>(), 1..=4096u64).prop_map(span),
        (bucket(), keys, any::<bool>()).prop_map(move |(bucket, keys, is_whole)| {
            let keys = keys.into_iter().map(key);
            let names: std::collections::BTreeSet<Prefix> = match is_whole {
                true => keys.map(|key| whole_name_of(&key)).collect(),
                false => keys.map(|key| name_of(&key)).collect(),
            };
            Lot::Names(bucket, names.into_iter().collect())
        }),
    ]
}

fn buckets() -> impl Strategy<Value = Frame> {
    let days = vec((bucket(), any::<u32>()), 0..40);
    let months = vec(((any::<u8>().prop_map(Class), any::<u32>()), any::<u32>()), 0..20);
    (any::<[u32; 3]>(), days, months).prop_map(|(numbers, days, months)| {
        let [cutoff_steps, round, first_single] = numbers;
        let first_single = Day(first_single);
        Frame::Buckets(BucketsFrame { cutoff_steps, round, first_single, days, months })
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let floors = vec(bucket().prop_map(|bucket| (bucket.class, bucket.day)), 0..20);
    let wanted = (bucket(), prefix(), vec(any::<u32>(), 0..=64), any::<bool>());
    let wanted = wanted.prop_map(|(bucket, prefix, shorts, has_others)| WantedKeys {
        bucket,
        prefix,
        shorts,
        has_others,
    });
    prop_oneof![
        hello(),
        (any::<u64>(), floors)
            .prop_map(|(roster_epoch, floors)| Frame::Floors(FloorsFrame { roster_epoch, floors })),
        any::<String>().prop_map(Frame::Roster),
        buckets(),
        vec(told(), 0..8).prop_map(Frame::Flight),
        vec(wanted, 0..8).prop_map(Frame::WantKeys),
        (any::<u32>(), vec(any::<u64>(), 0..40))
            .prop_map(|(cutoff_steps, shorts)| Frame::Fresh(FreshFrame { cutoff_steps, shorts })),
        (any::<u64>(), vec(item(), 0..6)).prop_map(|(number, items)| Frame::Batch(number, items)),
        ack(),
        bodies().prop_map(Frame::WantBodies),
        bodies().prop_map(Frame::NotHere),
        (any::<[u8; 16]>(), any::<u32>(), vec(any::<u8>(), 0..60)).prop_map(
            |(id, generation, bytes)| {
                Frame::Dictionary(Dictionary { id, generation, bytes: bytes.into() })
            }
        ),
        vec(lot(), 1..8).prop_map(Frame::Offer),
        (any::<u64>(), lot()).prop_map(|(number, lot)| Frame::Take(TakeFrame { number, lot })),
        any::<u64>().prop_map(Frame::LotSent),
        any::<u64>().prop_map(Frame::Leave),
        bodies().prop_map(Frame::Hurry),
        (any::<u64>(), vec(any::<u8>(), 1..60)).prop_map(|(sequence, bytes)| {
            Frame::BodyPart(PartFrame { sequence, left: bytes.len(), bytes })
        }),
    ]
}

proptest! {
    #[test]
    fn a_frame_reads_back_as_what_was_written(frame in frame()) {
        prop_assert_eq!(Frame::decode(frame.kind(), &frame.encode()), Ok(frame));
    }

    #[test]
    fn a_frame_that_is_cut_short_or_goes_on_is_refused(
        frame in frame(),
        more in vec(any::<u8>(), 1..50),
    ) {
        let payload = frame.encode();
        for end in 0..payload.len() {
            prop_assert!(Frame::decode(frame.kind(), &payload[..end]).is_err(), "cut at {}", end);
        }
        let longer = [payload, more].concat();
        prop_assert!(Frame::decode(frame.kind(), &longer).is_err());
    }
}

#[test]
fn lists_beyond_their_limits_are_refused() {
    let bucket = Bucket { class: Class::SPAM, day: Day(1) };
    let bodies = vec![(bucket, BodyId([1; 32])); 1001];
    assert!(decode_bodies(&encode_bodies(&bodies[..1000])).is_ok());
    assert!(decode_bodies(&encode_bodies(&bodies)).is_err());
    let want = WantedKeys { bucket, prefix: Prefix::ROOT, shorts: vec![7], has_others: false };
    let wants = vec![want; 1001];
    assert!(decode_want_keys(&encode_want_keys(&wants[..1000])).is_ok());
    assert!(decode_want_keys(&encode_want_keys(&wants)).is_err());
    let leaf = |count| vec![Told::Leaf(bucket, Prefix::ROOT, vec![7; count])];
    for (count, is_right) in [(64, true), (65, false)] {
        let payload = FlightFrame::encode_all(1, &leaf(count)).remove(0);
        assert_eq!(FlightFrame::decode(&payload).is_ok(), is_right, "{count} shorts");
    }
    let days = |count| vec![Told::Days((Class::SPAM, 1), vec![(bucket, 1); count])];
    for (count, is_right) in [(31, true), (32, false)] {
        let payload = FlightFrame::encode_all(1, &days(count)).remove(0);
        assert_eq!(FlightFrame::decode(&payload).is_ok(), is_right, "{count} days");
    }
    for (count, is_right) in [(0, false), (4096, true), (4097, false)] {
        let payload = encode_offers(&[Lot::Span(bucket, 5, 70_000, count)]).remove(0);
        assert_eq!(decode_offer(&payload).is_ok(), is_right, "a span of {count}");
    }
    let name = |second| name_of(&RecordKey { second, id: RecordId([1; 32]) });
    for (count, is_right) in [(0, false), (512, true), (513, false)] {
        let lot = Lot::Names(bucket, (0..count).map(name).collect());
        let payload = TakeFrame { number: 1, lot }.encode();
        assert_eq!(TakeFrame::decode(&payload).is_ok(), is_right, "{count} keys");
    }
    let lot = Lot::Names(bucket, vec![name(1), name(1)]);
    assert!(TakeFrame::decode(&TakeFrame { number: 1, lot }.encode()).is_err(), "twice");
    let items = vec![Item::Record(record(Class::SPAM, 1, 1, b""), None); 513];
    assert!(
        decode_batch(
            &encode_batch(1, &items[..512]),
            &mut Assembly::default(),
            &Dictionaries::default()
        )
        .is_ok()
    );
    assert!(
        decode_batch(&encode_batch(1, &items), &mut Assembly::default(), &Dictionaries::default())
            .is_err()
    );
}

#[test]
fn a_long_flight_takes_several_frames_of_which_only_the_last_says_so() {
    let bucket = Bucket { class: Class::SPAM, day: Day(1) };
    let told = vec![Told::Leaf(bucket, Prefix::ROOT, vec![7; 64]); 3000];
    let frames = FlightFrame::encode_all(1, &told);
    let decoded: Vec<_> = frames.iter().map(|bytes| FlightFrame::decode(bytes).unwrap()).collect();
    assert!(frames.len() > 1 && frames.iter().all(|frame| frame.len() < 300 << 10));
    let lasts: Vec<bool> = decoded.iter().map(|frame| frame.is_last).collect();
    assert_eq!(lasts.iter().position(|last| *last), Some(frames.len() - 1));
    assert_eq!(decoded.into_iter().flat_map(|frame| frame.told).collect::<Vec<_>>(), told);
}

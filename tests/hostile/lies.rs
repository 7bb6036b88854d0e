//! The lies: each is told over and over until the daemon ends the connection, or enough was said.

use crate::member::{
    ACK, BATCH, BUCKETS, FLOORS, HURRY, LOT_SENT, Liar, OFFER, ROSTER, TAKE, WANT_BODIES, batch,
    frame, named_bodies, put_keys, put_span, record_item, varint, want_all_keys, with_body,
};
use quar_base::ids::{BodyId, RecordId};
use quar_base::key::RecordKey;
use quar_base::signing::SigningKey;
use quar_base::time::Day;
use quar_store::CodedBody;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// One way to lie, and the kind under which the daemon counts it; empty: it is no offence.
pub struct Lie {
    pub name: &'static str,
    pub counted_as: &'static str,
    /// How many frames are sent at most, over all connections.
    pub frames_max: u64,
    /// The frame of this number on its connection, from 1 on.
    pub make: Make,
}

/// The frame of a number.
type Make = Box<dyn Fn(&Liar, u64) -> Vec<u8> + Send + Sync>;

impl Lie {
    fn new(
        name: &'static str,
        counted_as: &'static str,
        make: impl Fn(&Liar, u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { name, counted_as, frames_max: 3000, make: Box::new(make) }
    }

    /// Tells it on one connection, until the daemon has enough of it; returns the frames sent.
    pub async fn tell(&self, liar: &Liar, frames_max: u64) -> std::io::Result<u64> {
        let mut write = liar.greet().await?;
        for number in 1..=frames_max.min(self.frames_max) {
            if write.write_all(&(self.make)(liar, number)).await.is_err() {
                return Ok(number);
            }
        }
        // An error says that the daemon has closed it by now.
        let _ = write.flush().await;
        let _ = write.shutdown().await;
        Ok(frames_max)
    }
}

/// A key that no message has.
fn nobody(number: u64) -> RecordKey {
    let mut id = [0xee; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    RecordKey { second: 7, id: RecordId(id) }
}

fn zeros(liar: &Liar) -> CodedBody {
    liar.body(&vec![0; quar_base::limits::MESSAGE_BYTES_MAX])
}

/// Every lie there is. `known` is a message that all nodes have.
pub fn all(liar: &Liar, known: RecordKey) -> Vec<Lie> {
    let day = liar.now.day();
    let second = liar.now.second_of(day);
    let bomb = Arc::new(zeros(liar));
    let (short_bomb, wrong_bomb, many_bombs) = (bomb.clone(), bomb.clone(), bomb);
    let other = unknown_key();
    let replayed = record_item(&liar.own_delete(liar.bucket(), nobody(0)));
    vec![
        Lie::new("bodies that are not what their records name", "wrong-body", move |liar, n| {
            let (one, other) = (liar.body(&n.to_le_bytes()), liar.body(b"another8"));
            let wrong = CodedBody { raw_bytes: one.raw_bytes, ..other };
            batch(n, &[with_body(&liar.arrival(day, second, &one), &wrong)])
        }),
        Lie::new("a body that decodes to more than it says", "wrong-body", move |liar, n| {
            let said = CodedBody { raw_bytes: 1000, ..(*short_bomb).clone() };
            batch(n, &[with_body(&liar.arrival(day, second, &said), &said)])
        }),
        Lie::new("a body of 64 MiB under another's id", "wrong-body", move |liar, n| {
            let id = BodyId([n as u8; 32]);
            let named = CodedBody { id, ..(*wrong_bomb).clone() };
            batch(n, &[with_body(&liar.arrival(day, second, &named), &named)])
        }),
        Lie::new("many bodies of 64 MiB in one batch", "beyond-limits", move |liar, n| {
            let one = with_body(&liar.arrival(day, second, &many_bombs), &many_bombs);
            batch(n, &vec![one; 50])
        }),
        Lie::new("frames without end", "beyond-limits", |_, _| frame(200, &[0; 1 << 20])),
        Lie::new("a frame longer than any", "frame-too-large", |_, _| {
            [&(16u32 << 20).to_le_bytes()[..], &[BATCH]].concat()
        }),
        Lie::new("a count that nothing follows", "malformed-frame", |_, _| {
            frame(BATCH, &[varint(1), varint(u32::MAX.into()), vec![0; 40]].concat())
        }),
        Lie::new("batches without items", "malformed-frame", |_, n| batch(n, &[])),
        Lie::new("records of the day after tomorrow and later", "future-record", move |liar, n| {
            let body = liar.body(&n.to_le_bytes());
            let record = liar.arrival(Day(day.0 + 4), second, &body);
            batch(n, &[with_body(&record, &body)])
        }),
        Lie::new("records of long ago", "below-floor", move |liar, n| {
            let body = liar.body(&n.to_le_bytes());
            batch(n, &[with_body(&liar.arrival(day.minus(900), second, &body), &body)])
        }),
        Lie::new("an action in its own name with another key", "forged-record", move |liar, n| {
            let keys = (&liar.identity.signing, &other);
            let record = liar.delete(liar.bucket(), nobody(n), liar.identity.member, keys);
            batch(n, &[record_item(&record)])
        }),
        Lie::new("one action again and again", "replayed-items", move |_, n| {
            batch(n, &vec![replayed.clone(); 400])
        }),
        Lie::new("actions on a message in a place where it is not", "", move |liar, n| {
            let elsewhere = quar_base::key::Bucket { day: day.minus(1), ..liar.bucket() };
            let mut key = known;
            key.second = n as u32 % 80_000;
            let records = [liar.own_delete(elsewhere, key), liar.own_delete(liar.bucket(), key)];
            batch(n, &records.map(|record| record_item(&record)))
        }),
        Lie::new("deletes of messages that there are not", "", |liar, n| {
            let deletes = (0..50).map(|at| liar.own_delete(liar.bucket(), nobody(n * 50 + at)));
            batch(n, &deletes.map(|record| record_item(&record)).collect::<Vec<_>>())
        }),
        Lie::new("bodies asked for faster than answers come", "beyond-limits", |liar, n| {
            let id = |at: u64| BodyId([(n + at) as u8; 32]);
            named_bodies(WANT_BODIES, liar.bucket(), (0..1000).map(id))
        }),
        Lie::new("all keys asked for, many times", "beyond-limits", |liar, _| {
            want_all_keys(liar.bucket())
        }),
        Lie::new("lots that nobody took", "answer-not-asked-for", |_, n| {
            frame(LOT_SENT, &varint(1_000_000 + n))
        }),
        Lie::new("an offer of more than there can be", "malformed-frame", |liar, _| {
            frame(OFFER, &[varint(1), put_span(liar.bucket(), 1 << 40)].concat())
        }),
        Lie::new("offers of what nobody has", "", |liar, n| {
            let keys = (0..500).map(|at| nobody(n * 500 + at)).collect();
            frame(OFFER, &[varint(1), put_keys(liar.bucket(), keys)].concat())
        }),
        Lie::new("lots taken of what is not here", "beyond-limits", |liar, n| {
            takes(n, &put_keys(liar.bucket(), vec![nobody(n)]))
        }),
        Lie::new("everything taken again and again", "beyond-limits", |liar, n| {
            takes(n, &put_span(liar.bucket(), 1))
        }),
        Lie::new("bodies hurried that were not asked for", "beyond-limits", |liar, n| {
            let id = |at: u64| BodyId([(n + at) as u8; 32]);
            named_bodies(HURRY, liar.bucket(), (0..1000).map(id))
        }),
        Lie::new("floors that nobody asked for", "answer-not-asked-for", |_, _| {
            frame(FLOORS, &[0, 0])
        }),
        Lie::new("rosters that nobody asked for", "answer-not-asked-for", |_, _| {
            frame(ROSTER, &[varint(3), b"no!".to_vec()].concat())
        }),
        Lie::new("greetings without end", "beyond-limits", |liar, _| liar.hello()),
        Lie::new("rounds without end", "frame-out-of-turn", |_, n| {
            let round = u32::try_from(n * 1000).unwrap().to_le_bytes();
            frame(BUCKETS, &[&[0; 4][..], &round, &[0, 0, 0]].concat())
        }),
        Lie::new("an acknowledgement of nothing", "bogus-acknowledgement", |_, _| {
            frame(ACK, &[77, 0])
        }),
    ]
}

/// A lot that is taken many times, each time under another number.
fn takes(number: u64, lot: &[u8]) -> Vec<u8> {
    const TIMES: u64 = 100;
    let take = |at| frame(TAKE, &[&varint(number * TIMES + at), lot].concat());
    (0..TIMES).flat_map(take).collect()
}

/// A key that is in no roster.
fn unknown_key() -> SigningKey {
    let pair = rcgen::KeyPair::generate().unwrap();
    SigningKey::from_pkcs8(&pair.serialize_der()).unwrap()
}

//! Wanted bodies: every one is asked for in its turn, and what nobody has is known as lost.

use super::harness::{Member, Pair};
use super::{DAY, NOW};
use crate::batch::encode_batch;
use crate::frame::{decode_bodies, encode_bodies, kind};
use crate::{CodedBody, Effect, Event, Item, Offence, RefusalReason, limits};
use quar_base::class::Class;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::Bucket;
use quar_base::time::{Day, UnixMillis};
use std::collections::BTreeMap;

const BUCKET: Bucket = Bucket { class: Class::SPAM, day: Day(DAY) };

fn body(number: u32) -> (Bucket, BodyId) {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    (BUCKET, BodyId(id))
}

fn peer(number: u8) -> MemberId {
    MemberId([number; 16])
}

/// One member, and what it asks of peers that the test plays.
struct Asker {
    member: Member,
    asked: Vec<(MemberId, Vec<(Bucket, BodyId)>)>,
}

impl Asker {
    fn new(wanted: impl Iterator<Item = u32>, peers: &[u8]) -> Self {
        let mut member = Member::new(200);
        member.wanted = wanted.map(body).collect();
        let mut asker = Self { member, asked: Vec::new() };
        peers.iter().for_each(|number| asker.connect(*number));
        asker
    }

    fn give(&mut self, event: Event<'_>) {
        for (to, frame_kind, payload) in self.member.take(event) {
            if frame_kind == kind::WANT_BODIES {
                self.asked.push((to, decode_bodies(&payload).unwrap()));
            }
        }
    }

    fn frame(&mut self, number: u8, kind: u8, payload: &[u8]) {
        self.give(Event::Frame { peer: peer(number), kind, payload });
    }

    fn connect(&mut self, number: u8) {
        let session_key = [9; 32];
        let hello = Member::new(number).take(Event::Connected { peer: peer(200), session_key });
        self.give(Event::Connected { peer: peer(number), session_key });
        self.frame(number, kind::HELLO, &hello[0].2);
    }

    fn tick_after(&mut self, ms: u64) {
        self.member.now = UnixMillis(self.member.now.0 + ms);
        self.give(Event::Tick);
    }

    /// Lets all peers but `silent` say that they have nothing, until nobody is asked any more.
    fn deny_all(&mut self, silent: Option<u8>) -> BTreeMap<(Bucket, BodyId), Vec<MemberId>> {
        let mut asked_of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut frames = 0;
        while let Some(at) = self.asked.iter().position(|(to, _)| Some(*to) != silent.map(peer)) {
            let (to, bodies) = self.asked.remove(at);
            bodies.iter().for_each(|body| asked_of.entry(*body).or_default().push(to));
            self.frame(to.0[0], kind::NOT_HERE, &encode_bodies(&bodies));
            frames += 1;
            assert!(frames < 10_000, "asked for without end");
        }
        asked_of
    }

    fn lost(&self) -> Vec<(Bucket, BodyId)> {
        self.member.engine.lost(&self.member.view())
    }
}

#[test]
fn a_body_is_lost_when_every_connected_peer_has_said_not_to_have_it() {
    let mut asker = Asker::new(0..3, &[1, 2, 3]);
    asker.tick_after(0);
    assert_eq!(asker.lost(), [], "nobody has answered yet");
    let asked_of = asker.deny_all(Some(2));
    assert_eq!(asker.lost(), [], "one peer has not answered");
    assert!(asked_of.values().all(|peers| peers.len() <= 2), "{asked_of:?}");
    asker.deny_all(None);
    assert_eq!(asker.lost(), [body(0), body(1), body(2)]);
    asker.member.wanted.remove(&body(1));
    assert_eq!(asker.lost(), [body(0), body(2)], "one has come by another way");
    asker.connect(4);
    assert_eq!(asker.lost(), [], "the newcomer may have them");
    for number in 1..=4 {
        asker.give(Event::Disconnected { peer: peer(number) });
    }
    assert_eq!(asker.lost(), [], "there is nobody to ask");
}

#[test]
fn a_lost_body_is_asked_for_ever_more_rarely_until_a_peer_connects() {
    let mut asker = Asker::new(0..1, &[1, 2]);
    asker.tick_after(0);
    assert_eq!(asker.deny_all(None).len(), 1);
    let mut asks = Vec::new();
    for second in 1..=3600 {
        asker.tick_after(1000);
        if let Some(peers) = asker.deny_all(None).remove(&body(0)) {
            assert_eq!(peers.len(), 1, "one peer at a time");
            asks.push((second, peers[0]));
        }
    }
    let times: Vec<u64> = asks.iter().map(|(second, _)| *second).collect();
    assert_eq!(times[..4], [5, 15, 35, 75], "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 600), "{times:?}");
    assert!(times.len() <= 12, "{times:?}");
    assert!(asks.windows(2).all(|pair| pair[0].1 != pair[1].1), "in turn: {asks:?}");
    asker.connect(3);
    asker.tick_after(0);
    assert_eq!(asker.deny_all(None).remove(&body(0)), Some(vec![peer(3)]));
}

#[test]
fn a_body_comes_although_thousands_before_it_are_hopeless() {
    let mut asker = Asker::new(0..5000, &[1, 2]);
    let good = body(4999);
    let mut asked = 0;
    for _ in 0..60 {
        asker.tick_after(100);
        asked += asker.deny_all(None).len();
        if asker.lost().contains(&good) {
            break;
        }
    }
    assert!(asker.lost().contains(&good), "never asked of both");
    assert!(asked <= 2 * 5000, "{asked} asked for within some seconds");
}

#[test]
fn a_peer_that_does_not_answer_is_not_asked_for_more_and_others_are() {
    let mut asker = Asker::new(0..3000, &[1, 2]);
    let mut of_silent = 0;
    for _ in 0..400 {
        asker.tick_after(100);
        asker.deny_all(Some(1));
        of_silent += asker.asked.drain(..).map(|(_, bodies)| bodies.len()).sum::<usize>();
    }
    assert_eq!(of_silent, limits::WANT_OUTSTANDING - limits::WANT_RESERVED);
    asker.give(Event::Disconnected { peer: peer(1) });
    for _ in 0..100 {
        asker.tick_after(100);
        asker.deny_all(None);
    }
    assert_eq!(asker.lost().len(), 3000);
}

#[test]
fn what_is_remembered_is_bounded_and_every_body_still_gets_its_turn() {
    let count = u32::try_from(limits::WANTS_KNOWN).unwrap() + 500;
    let mut asker = Asker::new(0..count, &[1]);
    let mut asked = BTreeMap::new();
    for _ in 0..200 {
        asker.tick_after(100);
        asked.extend(asker.deny_all(None));
        assert!(asker.lost().len() <= limits::WANTS_KNOWN);
    }
    assert_eq!(asked.len(), count as usize);
}

#[test]
fn what_a_peer_took_with_it_unanswered_is_asked_of_another_at_once() {
    let mut asker = Asker::new(0..1, &[1, 2]);
    asker.tick_after(0);
    let (asked, _) = asker.asked.remove(0);
    asker.give(Event::Disconnected { peer: asked });
    asker.tick_after(100);
    assert_eq!(asker.asked.len(), 1);
    assert_ne!(asker.asked[0].0, asked);
}

#[test]
fn more_bodies_asked_for_than_may_be_unanswered_end_the_connection() {
    let mut member = Member::new(1);
    let session_key = [9; 32];
    let hello = Member::new(2).take(Event::Connected { peer: peer(1), session_key });
    member.take(Event::Connected { peer: peer(2), session_key });
    member.take(Event::Frame { peer: peer(2), kind: kind::HELLO, payload: &hello[0].2 });
    let mut engine = std::mem::replace(&mut member.engine, crate::Engine::new(peer(1), 0));
    let mut effects = Vec::new();
    for (from, offences) in [(0, 0), (500, 0), (1000, 1)] {
        let payload = encode_bodies(&(from..from + 500).map(body).collect::<Vec<_>>());
        let frame = Event::Frame { peer: peer(2), kind: kind::WANT_BODIES, payload: &payload };
        engine.handle(frame, &member.view(), &mut effects);
        let is_end = |effect: &&Effect| matches!(effect, Effect::Disconnect { .. });
        assert_eq!(effects.iter().filter(is_end).count(), offences, "from {from}");
    }
}

#[test]
fn a_reader_is_not_kept_waiting_by_the_pauses() {
    let mut asker = Asker::new(0..1, &[1, 2]);
    asker.tick_after(0);
    asker.deny_all(None);
    let (bucket, id) = body(0);
    assert!(asker.member.engine.is_denied(bucket, id));
    asker.give(Event::Fetch { bucket, body: id });
    assert!(!asker.member.engine.is_denied(bucket, id), "somebody is asked again");
    assert_eq!(asker.deny_all(None).len(), 1);
    assert!(asker.member.engine.is_denied(bucket, id));
    asker.give(Event::Fetch { bucket, body: body(7).1 });
    assert!(asker.asked.is_empty(), "it is not wanted");
}

#[test]
fn what_there_was_no_room_for_is_asked_for_soon_however_often_that_was() {
    let mut asker = Asker::new(0..1, &[1]);
    asker.member.refuse = Some(|_| Some(RefusalReason::Full));
    let (bucket, id) = body(0);
    let bytes = b"some mail"[..].into();
    let coded = CodedBody { id, raw_bytes: 9, codec: 0, dictionary: None, bytes };
    for sequence in 1..=10 {
        asker.tick_after(3_600_000);
        assert_eq!(asker.asked.drain(..).count(), 1);
        let batch = encode_batch(sequence, &[Item::Body(bucket, coded.clone())]);
        asker.frame(1, kind::BATCH, &batch);
    }
    asker.tick_after(limits::WANT_AGAIN_MS - 1);
    assert_eq!(asker.asked, []);
    asker.tick_after(1);
    assert_eq!(asker.asked, [(peer(1), vec![body(0)])]);
}

#[test]
fn who_answers_nothing_keeps_no_body_from_being_asked_of_the_others() {
    let count = limits::WANTS_KNOWN as u32;
    let mut asker = Asker::new(0..count, &[1, 2]);
    let mut asked_of_last = 0;
    let mut ticks = |asker: &mut Asker, wanted: (Bucket, BodyId)| {
        for _ in 0..600 {
            asker.tick_after(100);
            asked_of_last += usize::from(asker.deny_all(Some(2)).contains_key(&wanted));
        }
        std::mem::take(&mut asked_of_last)
    };
    ticks(&mut asker, body(0));
    asker.member.wanted.insert(body(count));
    assert!(ticks(&mut asker, body(count)) > 0, "a body that rotted since");
    // One that was denied is asked for again: it may have come meanwhile.
    assert!(ticks(&mut asker, body(count - 1)) > 0);
}

#[test]
fn a_reader_is_served_however_many_bodies_wait() {
    let count = limits::WANTS_KNOWN as u32;
    let mut asker = Asker::new(0..count + 1, &[1, 2]);
    (0..60).for_each(|_| asker.tick_after(100));
    asker.asked.clear();
    let last = body(count);
    asker.give(Event::Fetch { bucket: last.0, body: last.1 });
    assert!(asker.asked.iter().any(|(_, bodies)| bodies.contains(&last)));
}

#[test]
fn an_answer_to_what_was_not_asked_ends_the_connection() {
    let mut asker = Asker::new(0..1, &[1, 2]);
    asker.tick_after(0);
    let (asked, bodies) = asker.asked[0].clone();
    let other = if asked == peer(1) { 2 } else { 1 };
    asker.frame(other, kind::NOT_HERE, &encode_bodies(&bodies));
    assert_eq!(asker.member.offences, [Offence::NotAsked]);
    asker.frame(asked.0[0], kind::NOT_HERE, &encode_bodies(&bodies));
    assert_eq!(asker.lost(), [body(0)]);
    asker.frame(asked.0[0], kind::NOT_HERE, &encode_bodies(&bodies));
    assert_eq!(asker.member.offences, [Offence::NotAsked; 2], "an answer counts once");
}

#[test]
fn a_peer_sends_the_bodies_that_it_has_and_names_those_that_it_has_not() {
    let mut pair = Pair::new(Member::new(1), Member::new(2));
    assert_eq!(pair.members[0].now, NOW);
    pair.members[0].wanted = (0..3700).map(body).collect();
    for number in (0..3700).filter(|number| number % 3 > 0) {
        let (bucket, id) = body(number);
        let coded = CodedBody {
            id,
            raw_bytes: 9,
            codec: 0,
            dictionary: None,
            bytes: b"some mail"[..].into(),
        };
        pair.members[1].bodies.insert((bucket, id), coded);
    }
    pair.connect();
    pair.run();
    for _ in 0..4 {
        pair.tick();
    }
    let hopeless: Vec<_> = (0..3700).filter(|number| number % 3 == 0).map(body).collect();
    let member = &pair.members[0];
    assert_eq!(member.wanted.iter().copied().collect::<Vec<_>>(), hopeless);
    assert_eq!(member.engine.lost(&member.view()), hopeless);
    assert_eq!(member.bodies, pair.members[1].bodies);
    assert!(pair.members.iter().all(|member| member.offences.is_empty()));
}

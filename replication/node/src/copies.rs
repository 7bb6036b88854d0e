//! How many disks hold a message before it is acknowledged: waiting for peers, within bounds.
//! Never refuses mail because peers are away; what is short of copies is counted.
//!
//! ```text
//! stored here ─► enough peers confirmed ──────────────► answer
//!             └► no peer that answers ────► answer, counted as under-replicated
//!             └► copies_timeout passes ───► answer, counted; who was late the third time in a row
//!                                           is not waited for until it confirms again
//! ```

use crate::request::{Answer, Token};
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Timeouts in a row after which a peer is not waited for any more.
const TIMEOUTS_IN_A_ROW: u32 = 3;

/// How many copies an acknowledgement stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRule {
    /// Copies asked for, this node's included; at least 1.
    pub copies: usize,
    /// How long peers may take.
    pub timeout: Millis,
}

/// A connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Who.
    pub(crate) id: MemberId,
    /// Whether it has room for mail; a full disk still takes actions.
    pub(crate) takes_mail: bool,
}

/// One answer that waits for peers.
struct Waiting {
    token: Token,
    /// Who asked for the same meanwhile.
    others: Vec<Token>,
    answer: Answer,
    confirmed: BTreeSet<MemberId>,
}

impl Waiting {
    /// Whether a copy may still come from this peer.
    fn is_waited_for(&self, peer: &Peer) -> bool {
        let can_have_it = peer.takes_mail || !matches!(self.answer, Answer::Put(_));
        can_have_it && !self.confirmed.contains(&peer.id)
    }
}

/// What waits for copies, and what was answered without them.
pub(crate) struct Copies {
    rule: CopyRule,
    waiting: HashMap<(Bucket, RecordKey), Waiting>,
    deadlines: VecDeque<(UnixMillis, (Bucket, RecordKey))>,
    /// Peers that let a deadline pass since they confirmed anything, and how many in a row.
    late: BTreeMap<MemberId, u32>,
    under_replicated: u64,
}

impl Copies {
    pub(crate) fn new(rule: CopyRule) -> Self {
        Self {
            rule,
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            late: BTreeMap::new(),
            under_replicated: 0,
        }
    }

    /// Messages answered with fewer copies than asked for.
    pub(crate) fn under_replicated(&self) -> u64 {
        self.under_replicated
    }

    /// A record is durable here: returns the answer at once, or keeps it until `peers` confirm.
    pub(crate) fn stored(
        &mut self,
        record: (Bucket, RecordKey),
        token: Token,
        answer: Answer,
        peers: &[Peer],
        now: UnixMillis,
    ) -> Option<(Token, Answer)> {
        let waiting = Waiting { token, others: Vec::new(), answer, confirmed: BTreeSet::new() };
        if self.is_done(&waiting, peers) {
            self.count(&waiting);
            return Some((token, waiting.answer));
        }
        self.waiting.insert(record, waiting);
        self.deadlines.push_back((now.plus(self.rule.timeout), record));
        None
    }

    /// A record was here before: whether `token` is answered together with the one that waits for its copies.
    pub(crate) fn joins(&mut self, record: (Bucket, RecordKey), token: Token) -> bool {
        let waiting = self.waiting.get_mut(&record);
        waiting.map(|waiting| waiting.others.push(token)).is_some()
    }

    /// A peer has a record on its disk.
    pub(crate) fn confirmed(
        &mut self,
        peer: MemberId,
        record: (Bucket, RecordKey),
        peers: &[Peer],
    ) -> Vec<(Token, Answer)> {
        self.late.remove(&peer);
        let Some(waiting) = self.waiting.get_mut(&record) else { return Vec::new() };
        waiting.confirmed.insert(peer);
        if !self.is_done(&self.waiting[&record], peers) {
            return Vec::new();
        }
        self.give_up(vec![record])
    }

    /// A peer went away or is full: what only waited for it is answered.
    pub(crate) fn peers_changed(&mut self, peers: &[Peer]) -> Vec<(Token, Answer)> {
        self.late.retain(|late, _| peers.iter().any(|peer| peer.id == *late));
        let done = self.waiting.iter().filter(|(_, waiting)| self.is_done(waiting, peers));
        let mut done: Vec<_> = done.map(|(record, waiting)| (waiting.token, *record)).collect();
        // Answers come in the order of their requests.
        done.sort_unstable_by_key(|(token, _)| *token);
        self.give_up(done.into_iter().map(|(_, record)| record).collect())
    }

    /// Answers whose time is up, and those that now wait for nobody.
    pub(crate) fn tick(&mut self, peers: &[Peer], now: UnixMillis) -> Vec<(Token, Answer)> {
        let mut due = Vec::new();
        // A clock that was set back makes nobody wait longer.
        let most = self.rule.timeout.0;
        let is_due = |deadline: UnixMillis| deadline <= now || (deadline - now).0 > most;
        while self.deadlines.front().is_some_and(|(deadline, _)| is_due(*deadline)) {
            due.extend(self.deadlines.pop_front().map(|(_, record)| record));
        }
        due.retain(|record| self.waiting.contains_key(record));
        if due.is_empty() {
            return Vec::new();
        }
        for peer in peers {
            let owes = |record| self.waiting[record].is_waited_for(peer);
            if due.iter().any(owes) {
                *self.late.entry(peer.id).or_default() += 1;
            }
        }
        let mut answers = self.give_up(due);
        answers.extend(self.peers_changed(peers));
        answers
    }

    /// Whether there are enough copies, or nobody is left from whom another one can be expected.
    fn is_done(&self, waiting: &Waiting, peers: &[Peer]) -> bool {
        let is_late =
            |peer: &Peer| self.late.get(&peer.id).is_some_and(|times| *times >= TIMEOUTS_IN_A_ROW);
        waiting.confirmed.len() + 1 >= self.rule.copies
            || !peers.iter().any(|peer| waiting.is_waited_for(peer) && !is_late(peer))
    }

    fn give_up(&mut self, records: Vec<(Bucket, RecordKey)>) -> Vec<(Token, Answer)> {
        let removed: Vec<Waiting> =
            records.into_iter().filter_map(|record| self.waiting.remove(&record)).collect();
        removed.iter().for_each(|waiting| self.count(waiting));
        let answers = removed.into_iter().flat_map(|waiting| {
            let tokens = std::iter::once(waiting.token).chain(waiting.others);
            tokens.map(move |token| (token, waiting.answer.clone()))
        });
        answers.collect()
    }

    fn count(&mut self, answered: &Waiting) {
        self.under_replicated += u64::from(answered.confirmed.len() + 1 < self.rule.copies);
    }
}

#[cfg(test)]
mod tests {
    use super::{Copies, CopyRule, Peer};
    use crate::request::{Answer, Token};
    use quar_base::class::Class;
    use quar_base::ids::{MemberId, RecordId};
    use quar_base::key::{Bucket, MessageId, RecordKey};
    use quar_base::time::{Day, Millis, UnixMillis};

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn record(number: u8) -> (Bucket, RecordKey) {
        let bucket = Bucket { class: Class::SPAM, day: Day(1) };
        (bucket, RecordKey { second: 1, id: RecordId([number; 32]) })
    }

    fn copies(count: usize) -> Copies {
        Copies::new(CopyRule { copies: count, timeout: Millis(500) })
    }

    /// Members 2, 3 and so on.
    fn peers(count: u8) -> Vec<Peer> {
        (2..2 + count).map(|number| Peer { id: member(number), takes_mail: true }).collect()
    }

    fn member(number: u8) -> MemberId {
        MemberId([number; 16])
    }

    fn stored(copies: &mut Copies, number: u8, count: u8) -> bool {
        let answer = Answer::Done(record(number).1.id);
        copies.stored(record(number), Token(number.into()), answer, &peers(count), NOW).is_some()
    }

    #[test]
    fn waits_for_as_many_peers_as_asked_for() {
        let mut three = copies(3);
        assert!(!stored(&mut three, 1, 2));
        assert!(three.confirmed(member(2), record(1), &peers(2)).is_empty());
        assert!(
            three.confirmed(member(2), record(1), &peers(2)).is_empty(),
            "one peer counts once"
        );
        assert!(!three.confirmed(member(3), record(1), &peers(2)).is_empty());
        assert_eq!(three.under_replicated(), 0);
    }

    #[test]
    fn who_hands_in_again_waits_for_the_same_copies() {
        let mut two = copies(2);
        assert!(!two.joins(record(1), Token(9)), "nobody waits");
        assert!(!stored(&mut two, 1, 1));
        assert!(two.joins(record(1), Token(2)));
        let answers = two.confirmed(member(2), record(1), &peers(1));
        let tokens: Vec<u64> = answers.into_iter().map(|(token, _)| token.0).collect();
        assert_eq!((tokens, two.under_replicated()), (vec![1, 2], 0));
        assert!(!two.joins(record(1), Token(3)));
    }

    #[test]
    fn answers_at_once_without_peers_and_counts_it() {
        let mut two = copies(2);
        assert!(stored(&mut two, 1, 0));
        assert_eq!(two.under_replicated(), 1);
        let mut one = copies(1);
        assert!(stored(&mut one, 1, 2));
        assert_eq!(one.under_replicated(), 0);
    }

    #[test]
    fn stops_waiting_after_three_timeouts_until_a_peer_confirms() {
        let mut two = copies(2);
        for number in 1..=3 {
            assert!(!stored(&mut two, number, 1));
            assert_eq!(two.tick(&peers(1), UnixMillis(NOW.0 + 500)).len(), 1);
        }
        assert!(stored(&mut two, 4, 1));
        assert_eq!(two.under_replicated(), 4);
        two.confirmed(member(2), record(1), &peers(1));
        assert!(!stored(&mut two, 5, 1));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_longer() {
        let mut two = copies(2);
        assert!(!stored(&mut two, 1, 1));
        let back = UnixMillis(NOW.0 - 600_000);
        let answer = Answer::Done(record(2).1.id);
        assert!(two.stored(record(2), Token(2), answer, &peers(1), back).is_none());
        let tokens = |answers: Vec<(Token, Answer)>| answers.into_iter().map(|(token, _)| token.0);
        assert_eq!(tokens(two.tick(&peers(1), back)).collect::<Vec<_>>(), [1]);
        let later = UnixMillis(back.0 + 500);
        assert_eq!(tokens(two.tick(&peers(1), later)).collect::<Vec<_>>(), [2]);
        assert!(two.deadlines.is_empty());
    }

    #[test]
    fn a_peer_that_leaves_is_not_waited_for() {
        let mut three = copies(3);
        assert!(!stored(&mut three, 1, 2));
        three.confirmed(member(2), record(1), &peers(2));
        assert_eq!(three.peers_changed(&peers(1)).len(), 1);
    }

    #[test]
    fn what_is_answered_at_once_is_answered_in_the_order_of_the_requests() {
        let mut two = copies(2);
        for number in (1..=30).rev() {
            assert!(!stored(&mut two, number, 1));
        }
        let tokens: Vec<u64> =
            two.peers_changed(&[]).into_iter().map(|(token, _)| token.0).collect();
        assert_eq!(tokens, (1..=30).collect::<Vec<_>>());
    }

    #[test]
    fn a_peer_that_fell_silent_delays_nobody_while_the_other_confirms() {
        let mut three = copies(3);
        for number in 1..=3 {
            assert!(!stored(&mut three, number, 2));
            assert!(three.confirmed(member(2), record(number), &peers(2)).is_empty());
            assert_eq!(three.tick(&peers(2), UnixMillis(NOW.0 + 500)).len(), 1);
        }
        assert!(!stored(&mut three, 4, 2));
        assert!(!three.confirmed(member(2), record(4), &peers(2)).is_empty());
        assert_eq!(three.under_replicated(), 4);
        three.confirmed(member(3), record(1), &peers(2));
        assert!(!stored(&mut three, 5, 2));
        assert!(three.confirmed(member(2), record(5), &peers(2)).is_empty());
    }

    #[test]
    fn what_waits_only_for_a_peer_that_fell_silent_is_answered_with_the_others() {
        let mut two = copies(2);
        for number in 1..=2 {
            assert!(!stored(&mut two, number, 1));
            assert_eq!(two.tick(&peers(1), UnixMillis(NOW.0 + 500)).len(), 1);
        }
        assert!(!stored(&mut two, 3, 1));
        let answer = Answer::Done(record(4).1.id);
        let later = UnixMillis(NOW.0 + 300);
        assert!(two.stored(record(4), Token(4), answer, &peers(1), later).is_none());
        assert_eq!(two.tick(&peers(1), UnixMillis(NOW.0 + 500)).len(), 2);
    }

    #[test]
    fn a_peer_without_room_is_waited_for_with_deletes_and_not_with_mail() {
        let one_is_full = [peers(1)[0], Peer { id: member(3), takes_mail: false }];
        let all_full = peers(2).into_iter().map(|peer| Peer { takes_mail: false, ..peer });
        let all_full: Vec<Peer> = all_full.collect();
        let mut three = copies(3);
        let (bucket, key) = record(1);
        let put = Answer::Put(MessageId { bucket, key });
        assert!(three.stored(record(1), Token(1), put.clone(), &one_is_full, NOW).is_none());
        assert!(!stored(&mut three, 2, 2));
        assert!(!three.confirmed(member(2), record(1), &one_is_full).is_empty());
        assert!(three.confirmed(member(2), record(2), &one_is_full).is_empty());
        assert!(three.stored(record(3), Token(3), put.clone(), &one_is_full, NOW).is_none());
        assert_eq!(three.peers_changed(&all_full), [(Token(3), put.clone())]);
        assert!(three.stored(record(4), Token(4), put, &all_full, NOW).is_some());
    }
}

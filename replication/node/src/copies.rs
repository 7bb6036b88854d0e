//! How many disks hold a message before it is acknowledged: waiting for peers, within bounds.
//! Never refuses mail because peers are away; what is short of copies is counted.
//!
//! ```text
//! stored here ─► enough peers confirmed ──────────────► answer
//!             └► no peer that answers ────► answer, counted as under-replicated
//!             └► copies_timeout passes ───► answer, counted; the third time in a row: stop waiting
//!                                           until a peer confirms again
//! ```

use crate::request::{Answer, Token};
use quar_base::ids::MemberId;
use quar_base::key::{Bucket, RecordKey};
use quar_base::time::{Millis, UnixMillis};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Timeouts in a row after which nobody is waited for any more.
const TIMEOUTS_IN_A_ROW: u32 = 3;

/// How many copies an acknowledgement stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRule {
    /// Copies asked for, this node's included; at least 1.
    pub copies: usize,
    /// How long peers may take.
    pub timeout: Millis,
}

/// Peers that can be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Connected ones.
    pub(crate) all: usize,
    /// Those of them that have room for mail.
    pub(crate) taking_mail: usize,
}

impl Peers {
    /// How many can have a copy of what this answer is about: a full disk still takes actions.
    fn able(self, answer: &Answer) -> usize {
        if matches!(answer, Answer::Put(_)) { self.taking_mail } else { self.all }
    }
}

/// One answer that waits for peers.
struct Waiting {
    token: Token,
    answer: Answer,
    confirmed: BTreeSet<MemberId>,
}

/// What waits for copies, and what was answered without them.
pub(crate) struct Copies {
    rule: CopyRule,
    waiting: HashMap<(Bucket, RecordKey), Waiting>,
    deadlines: VecDeque<(UnixMillis, (Bucket, RecordKey))>,
    timeouts_in_a_row: u32,
    under_replicated: u64,
}

impl Copies {
    pub(crate) fn new(rule: CopyRule) -> Self {
        Self {
            rule,
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            timeouts_in_a_row: 0,
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
        peers: Peers,
        now: UnixMillis,
    ) -> Option<(Token, Answer)> {
        let peers = peers.able(&answer);
        let others = self.rule.copies.saturating_sub(1);
        if others == 0 {
            return Some((token, answer));
        }
        if peers < others {
            self.under_replicated += 1;
        }
        if peers == 0 || self.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW {
            if peers >= others {
                self.under_replicated += 1;
            }
            return Some((token, answer));
        }
        let waiting = Waiting { token, answer, confirmed: BTreeSet::new() };
        self.waiting.insert(record, waiting);
        self.deadlines.push_back((now.plus(self.rule.timeout), record));
        None
    }

    /// A peer has a record on its disk.
    pub(crate) fn confirmed(
        &mut self,
        peer: MemberId,
        record: (Bucket, RecordKey),
        peers: Peers,
    ) -> Option<(Token, Answer)> {
        self.timeouts_in_a_row = 0;
        let others = self.rule.copies.saturating_sub(1);
        let waiting = self.waiting.get_mut(&record)?;
        waiting.confirmed.insert(peer);
        if waiting.confirmed.len() < others.min(peers.able(&waiting.answer)) {
            return None;
        }
        let done = self.waiting.remove(&record)?;
        Some((done.token, done.answer))
    }

    /// A peer went away or is full: what only waited for it is answered.
    pub(crate) fn peers_changed(&mut self, peers: Peers) -> Vec<(Token, Answer)> {
        let others = self.rule.copies.saturating_sub(1);
        let is_done = |waiting: &Waiting| {
            let able = peers.able(&waiting.answer);
            able == 0 || waiting.confirmed.len() >= others.min(able)
        };
        let done = self.waiting.iter().filter(|(_, waiting)| is_done(waiting));
        let done = done.map(|(record, _)| *record).collect();
        self.give_up(done)
    }

    /// Answers whose time is up.
    pub(crate) fn tick(&mut self, now: UnixMillis) -> Vec<(Token, Answer)> {
        let mut due = Vec::new();
        while self.deadlines.front().is_some_and(|(deadline, _)| *deadline <= now) {
            due.extend(self.deadlines.pop_front().map(|(_, record)| record));
        }
        due.retain(|record| self.waiting.contains_key(record));
        if !due.is_empty() {
            self.timeouts_in_a_row += 1;
        }
        self.give_up(due)
    }

    fn give_up(&mut self, records: Vec<(Bucket, RecordKey)>) -> Vec<(Token, Answer)> {
        self.under_replicated += records.len() as u64;
        let removed = records.into_iter().filter_map(|record| self.waiting.remove(&record));
        removed.map(|waiting| (waiting.token, waiting.answer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Copies, CopyRule, Peers};
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

    fn peers(count: usize) -> Peers {
        Peers { all: count, taking_mail: count }
    }

    fn stored(copies: &mut Copies, number: u8, count: usize) -> bool {
        let answer = Answer::Done(record(number).1.id);
        copies.stored(record(number), Token(number.into()), answer, peers(count), NOW).is_some()
    }

    #[test]
    fn waits_for_as_many_peers_as_asked_for() {
        let mut three = copies(3);
        assert!(!stored(&mut three, 1, 2));
        assert!(three.confirmed(MemberId([2; 16]), record(1), peers(2)).is_none());
        assert!(
            three.confirmed(MemberId([2; 16]), record(1), peers(2)).is_none(),
            "one peer counts once"
        );
        assert!(three.confirmed(MemberId([3; 16]), record(1), peers(2)).is_some());
        assert_eq!(three.under_replicated(), 0);
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
            assert_eq!(two.tick(UnixMillis(NOW.0 + 500)).len(), 1);
        }
        assert!(stored(&mut two, 4, 1));
        assert_eq!(two.under_replicated(), 4);
        two.confirmed(MemberId([2; 16]), record(1), peers(1));
        assert!(!stored(&mut two, 5, 1));
    }

    #[test]
    fn a_peer_that_leaves_is_not_waited_for() {
        let mut three = copies(3);
        assert!(!stored(&mut three, 1, 2));
        three.confirmed(MemberId([2; 16]), record(1), peers(2));
        assert_eq!(three.peers_changed(peers(1)).len(), 1);
    }

    #[test]
    fn a_peer_without_room_is_waited_for_with_deletes_and_not_with_mail() {
        let one_is_full = Peers { all: 2, taking_mail: 1 };
        let mut three = copies(3);
        let (bucket, key) = record(1);
        let put = Answer::Put(MessageId { bucket, key });
        assert!(three.stored(record(1), Token(1), put.clone(), one_is_full, NOW).is_none());
        assert!(!stored(&mut three, 2, 2));
        assert!(three.confirmed(MemberId([2; 16]), record(1), one_is_full).is_some());
        assert!(three.confirmed(MemberId([2; 16]), record(2), one_is_full).is_none());
        let all_full = Peers { all: 2, taking_mail: 0 };
        assert!(three.stored(record(3), Token(3), put.clone(), one_is_full, NOW).is_none());
        assert_eq!(three.peers_changed(all_full), [(Token(3), put.clone())]);
        assert!(three.stored(record(4), Token(4), put, all_full, NOW).is_some());
    }
}

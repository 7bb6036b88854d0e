//! Names of the records that a peer took, lot after lot, until they are read.
//! Never holds more lots than a peer may take at once.
//!
//! ```text
//! lot 7: name name name END   lot 8: name name END
//!        └─ read, at most so many at a time, across lots ─► sent ─► LOT_SENT 7 behind the last of it
//! ```

use crate::event::ItemName;
use crate::limits;
use crate::offence::Offence;
use std::collections::VecDeque;

enum Next {
    Name(ItemName),
    End(u64),
}

/// Names taken out of the queue, and the ends of lots among them.
#[derive(Default)]
pub(crate) struct Portion {
    pub(crate) names: Vec<ItemName>,
    /// How many names go before the end, and whose it is.
    ends: Vec<(usize, u64)>,
}

impl Portion {
    /// Lots that end within the first so many names.
    pub(crate) fn ended(&self, names: usize) -> impl Iterator<Item = u64> {
        self.ends.iter().filter(move |(before, _)| *before <= names).map(|(_, lot)| *lot)
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    next: VecDeque<Next>,
    lots: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// A lot that the peer took.
    pub(crate) fn push(
        &mut self,
        lot: u64,
        names: impl IntoIterator<Item = ItemName>,
    ) -> Result<(), Offence> {
        self.next.extend(names.into_iter().map(Next::Name));
        if self.lots >= limits::LOTS_OPEN || self.next.len() - self.lots > limits::NAMES_OPEN {
            return Err(Offence::TooMuch);
        }
        self.lots += 1;
        self.next.push_back(Next::End(lot));
        Ok(())
    }

    /// The next names to be read.
    pub(crate) fn take(&mut self, most: usize) -> Portion {
        let mut portion = Portion::default();
        while let Some(next) = self.next.front() {
            match next {
                Next::Name(_) if portion.names.len() >= most => break,
                Next::Name(name) => portion.names.push(*name),
                Next::End(lot) => {
                    portion.ends.push((portion.names.len(), *lot));
                    self.lots -= 1;
                }
            }
            self.next.pop_front();
        }
        portion
    }

    /// Names behind the first `read` of a portion were not read.
    pub(crate) fn put_back(&mut self, portion: &Portion, read: usize) {
        let mut ends = portion.ends.iter().rev().filter(|(before, _)| *before > read).peekable();
        for at in (read..portion.names.len()).rev() {
            while let Some((_, lot)) = ends.next_if(|(before, _)| *before == at + 1) {
                self.next.push_front(Next::End(*lot));
                self.lots += 1;
            }
            self.next.push_front(Next::Name(portion.names[at]));
        }
    }

    /// What is left of a lot is not wanted any more. `false`: nothing is left.
    pub(crate) fn leave(&mut self, lot: u64) -> bool {
        let end =
            self.next.iter().position(|next| matches!(next, Next::End(known) if *known == lot));
        let Some(end) = end else { return false };
        let is_end = |next: &Next| matches!(next, Next::End(_));
        let before = self.next.iter().take(end).rposition(is_end).map_or(0, |at| at + 1);
        self.next.drain(before..end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::event::ItemName;
    use crate::limits;
    use crate::offence::Offence;
    use quar_base::class::Class;
    use quar_base::ids::RecordId;
    use quar_base::key::{Bucket, RecordKey};
    use quar_base::time::Day;

    fn names(range: std::ops::Range<u32>) -> Vec<ItemName> {
        let bucket = Bucket { class: Class::SPAM, day: Day(1) };
        let key = |second| RecordKey { second, id: RecordId([1; 32]) };
        range.map(|second| ItemName::Record(bucket, key(second))).collect()
    }

    #[test]
    fn lots_end_behind_their_last_name_also_when_it_was_put_back() {
        let mut queue = Queue::default();
        queue.push(7, names(0..3)).unwrap();
        queue.push(8, names(3..3)).unwrap();
        queue.push(9, names(3..5)).unwrap();
        let portion = queue.take(4);
        assert_eq!(portion.names, names(0..4));
        assert_eq!(portion.ended(4).collect::<Vec<_>>(), [7, 8]);
        // Only two were read.
        assert_eq!(portion.ended(2).count(), 0);
        queue.put_back(&portion, 2);
        let portion = queue.take(10);
        assert_eq!(portion.names, names(2..5));
        assert_eq!(portion.ended(3).collect::<Vec<_>>(), [7, 8, 9]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_left_of_a_lot_goes_and_its_end_stays() {
        let mut queue = Queue::default();
        queue.push(7, names(0..3)).unwrap();
        queue.push(8, names(3..5)).unwrap();
        assert!(queue.leave(8));
        assert!(!queue.leave(99));
        let portion = queue.take(10);
        assert_eq!(portion.names, names(0..3));
        assert_eq!(portion.ended(3).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn no_more_lots_are_queued_than_a_peer_may_take() {
        let mut queue = Queue::default();
        for lot in 0..limits::LOTS_OPEN as u64 {
            queue.push(lot, names(0..1)).unwrap();
        }
        assert_eq!(queue.push(1000, names(0..1)), Err(Offence::TooMuch));
        queue.take(2);
        assert_eq!(queue.push(1000, names(0..1)), Ok(()));
    }

    #[test]
    fn nor_more_records() {
        let mut queue = Queue::default();
        let half = limits::NAMES_OPEN as u32 / 2;
        queue.push(7, names(0..half)).unwrap();
        queue.push(8, names(0..half)).unwrap();
        assert_eq!(queue.push(9, names(0..1)), Err(Offence::TooMuch));
    }
}

//! What a peer sends or asks for again although it was taken: some of that is honest, a flood is not.
//! Never counts what was refused or not here: that is rightly tried again.

use crate::event::ItemName;
use crate::limits;
use crate::offence::Offence;
use std::collections::{BTreeSet, VecDeque};

/// The first bytes of an item's id.
type Short = u64;

/// Items that were taken lately on one connection, and how many of them came again.
#[derive(Default)]
pub(crate) struct Repeats {
    known: BTreeSet<Short>,
    order: VecDeque<Short>,
    taken: u64,
    again: u64,
}

impl Repeats {
    /// An item was taken.
    pub(crate) fn took(&mut self, name: &ItemName) {
        let short = short_of(name);
        if self.known.insert(short) {
            self.taken += 1;
            self.order.push_back(short);
        }
        if self.order.len() > limits::REPEATS_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// An item comes, or is asked for. An honest peer may do that twice, when a comparison crosses
    /// what is on its way.
    ///
    /// # Errors
    /// [`Offence::Replayed`].
    pub(crate) fn comes(&mut self, name: &ItemName) -> Result<(), Offence> {
        self.again += u64::from(self.known.contains(&short_of(name)));
        if self.again > self.taken + limits::REPEATS_FORGIVEN {
            return Err(Offence::Replayed);
        }
        Ok(())
    }
}

fn short_of(name: &ItemName) -> Short {
    let id = match name {
        ItemName::Record(_, key) => &key.id.0,
        ItemName::Body(_, id) => &id.0,
    };
    Short::from_le_bytes(*id.first_chunk().expect("an id has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::Repeats;
    use crate::event::ItemName;
    use crate::limits::{REPEATS_FORGIVEN, REPEATS_KNOWN};
    use crate::offence::Offence;
    use quar_base::class::Class;
    use quar_base::ids::BodyId;
    use quar_base::key::Bucket;
    use quar_base::time::Day;

    fn body(number: u64) -> ItemName {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        ItemName::Body(Bucket { class: Class::SPAM, day: Day(1) }, BodyId(id))
    }

    #[test]
    fn everything_may_come_twice_and_nothing_for_ever() {
        let mut repeats = Repeats::default();
        for number in 0..5000 {
            repeats.took(&body(number));
            assert_eq!(repeats.comes(&body(number)), Ok(()));
        }
        // What came again was taken again, and is not new for that.
        let mut more = (0..).map_while(|_| {
            repeats.took(&body(4999));
            repeats.comes(&body(4999)).ok()
        });
        assert_eq!(more.by_ref().count() as u64, REPEATS_FORGIVEN);
        assert_eq!(repeats.comes(&body(4999)), Err(Offence::Replayed));
    }

    #[test]
    fn what_was_not_taken_may_come_for_ever_and_little_is_remembered() {
        let mut repeats = Repeats::default();
        for number in 0..3 * REPEATS_KNOWN as u64 {
            assert_eq!(repeats.comes(&body(7_000_000)), Ok(()));
            repeats.took(&body(number));
        }
        assert_eq!(repeats.known.len(), REPEATS_KNOWN);
        assert_eq!(repeats.order.len(), REPEATS_KNOWN);
    }
}

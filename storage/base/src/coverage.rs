//! Which recipients a message's deletes cover: decided from the deletes alone.
//! Never needs the arrival, so that a node that has only the deletes refuses it when offered.

use crate::limits::RECIPIENTS_MAX;
use std::collections::BTreeMap;

/// A set of recipient indices together with how many recipients the message has.
///
/// A message without an envelope counts as having one recipient, with index 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecipientSet {
    count: u16,
    bits: Vec<u8>,
}

/// Indices or a count that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientSetError {
    /// No message has this many recipients.
    #[error("a message has 1 to {RECIPIENTS_MAX} recipients, not {0}")]
    Count(usize),
    /// An index at or beyond the count.
    #[error("recipient index {index} is beyond the message's {count} recipients")]
    Index {
        /// The index given.
        index: usize,
        /// How many recipients there are.
        count: u16,
    },
    /// A bitmap of another length than the count needs, or with bits beyond it.
    #[error("bitmap of {bytes} bytes does not fit {count} recipients")]
    Bitmap {
        /// Length given.
        bytes: usize,
        /// How many recipients there are.
        count: u16,
    },
}

impl RecipientSet {
    /// The set with no recipient in it.
    ///
    /// # Errors
    /// [`RecipientSetError::Count`] unless `count` is from 1 to [`RECIPIENTS_MAX`].
    pub fn none(count: usize) -> Result<Self, RecipientSetError> {
        if count == 0 || count > RECIPIENTS_MAX {
            return Err(RecipientSetError::Count(count));
        }
        let checked = u16::try_from(count).expect("RECIPIENTS_MAX fits 16 bits");
        Ok(Self { count: checked, bits: vec![0; count.div_ceil(8)] })
    }

    /// The set of all recipients.
    ///
    /// # Errors
    /// As [`Self::none`].
    pub fn all(count: usize) -> Result<Self, RecipientSetError> {
        let mut set = Self::none(count)?;
        for index in 0..count {
            set.bits[index / 8] |= 1 << (index % 8);
        }
        Ok(set)
    }

    /// The set of the given indices.
    ///
    /// # Errors
    /// As [`Self::none`], and [`RecipientSetError::Index`] for an index at or beyond `count`.
    pub fn of(count: usize, indices: &[usize]) -> Result<Self, RecipientSetError> {
        let mut set = Self::none(count)?;
        for &index in indices {
            if index >= count {
                return Err(RecipientSetError::Index { index, count: set.count });
            }
            set.bits[index / 8] |= 1 << (index % 8);
        }
        Ok(set)
    }

    /// Reads the stored form: one bit a recipient, lowest bit first.
    ///
    /// # Errors
    /// As [`Self::none`], and [`RecipientSetError::Bitmap`] when the bytes do not fit the count.
    pub fn from_bitmap(count: usize, bits: &[u8]) -> Result<Self, RecipientSetError> {
        let mut set = Self::none(count)?;
        let all = Self::all(count)?;
        let fits = bits.len() == set.bits.len()
            && bits.iter().zip(&all.bits).all(|(bit, allowed)| bit & !allowed == 0);
        if !fits {
            return Err(RecipientSetError::Bitmap { bytes: bits.len(), count: set.count });
        }
        set.bits.copy_from_slice(bits);
        Ok(set)
    }

    /// How many recipients the message has.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        usize::from(self.count)
    }

    /// The stored form: one bit a recipient, lowest bit first.
    #[must_use]
    pub fn bitmap(&self) -> &[u8] {
        &self.bits
    }

    /// Whether the recipient with this index is in the set.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.bits.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// The indices in the set, ascending.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.recipient_count()).filter(|index| self.contains(*index))
    }

    /// Whether every recipient is in the set.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.indices().count() == self.recipient_count()
    }

    /// Whether no recipient is in the set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Adds the recipients of a set over the same count; a set over another count adds nothing.
    pub fn add(&mut self, other: &Self) {
        if self.count == other.count {
            for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
                *mine |= theirs;
            }
        }
    }
}

/// The deletes of one message, united.
///
/// Deletes with different recipient counts are united apart: a delete that states a wrong count can
/// only cover by itself. Every node decides by the same rule, whether or not it has the arrival.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Coverage(BTreeMap<u16, RecipientSet>);

impl Coverage {
    /// Unites one more delete. One for nobody covers nothing, and so leaves no trace: were its record lost, nobody
    /// would make it again.
    pub fn add(&mut self, deleted: &RecipientSet) {
        if deleted.is_none() {
            return;
        }
        self.0
            .entry(deleted.count)
            .and_modify(|set| set.add(deleted))
            .or_insert_with(|| deleted.clone());
    }

    /// Whether the message is gone: every recipient of some stated count is covered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.values().any(RecipientSet::is_all)
    }

    /// Whether the recipient with this index, of a message with `count` recipients, is covered.
    #[must_use]
    pub fn covers(&self, count: usize, index: usize) -> bool {
        let same_count = u16::try_from(count).ok().and_then(|count| self.0.get(&count));
        same_count.is_some_and(|set| set.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, RecipientSet, RecipientSetError};
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn two_deletes_cover_together() {
        let mut coverage = Coverage::default();
        coverage.add(&RecipientSet::of(3, &[0, 2]).unwrap());
        assert!(!coverage.is_complete());
        assert!(coverage.covers(3, 2) && !coverage.covers(3, 1));
        coverage.add(&RecipientSet::of(3, &[1]).unwrap());
        assert!(coverage.is_complete());
    }

    #[test]
    fn deletes_that_state_another_count_do_not_mix() {
        let mut coverage = Coverage::default();
        coverage.add(&RecipientSet::of(2, &[0]).unwrap());
        coverage.add(&RecipientSet::of(3, &[1, 2]).unwrap());
        assert!(!coverage.is_complete());
    }

    #[test]
    fn a_delete_for_nobody_is_as_none() {
        let mut coverage = Coverage::default();
        coverage.add(&RecipientSet::none(3).unwrap());
        assert_eq!(coverage, Coverage::default());
    }

    #[test]
    fn refuses_bits_beyond_the_count() {
        assert_eq!(
            RecipientSet::from_bitmap(3, &[0b1000]),
            Err(RecipientSetError::Bitmap { bytes: 1, count: 3 })
        );
        assert!(RecipientSet::from_bitmap(3, &[0, 0]).is_err());
        assert!(RecipientSet::of(3, &[3]).is_err());
        assert!(RecipientSet::all(0).is_err());
        assert!(RecipientSet::all(1001).is_err());
    }

    proptest! {
        #[test]
        fn the_order_of_deletes_does_not_matter(
            deletes in proptest::collection::vec((1usize..5, 0u8..16), 0..12),
            rotation in 0usize..12,
        ) {
            let sets: Vec<_> = deletes
                .iter()
                .map(|(count, bits)| {
                    let indices: Vec<_> = (0..*count).filter(|i| bits >> i & 1 == 1).collect();
                    RecipientSet::of(*count, &indices).unwrap()
                })
                .collect();
            let mut rotated = sets.clone();
            rotated.rotate_left(if sets.is_empty() { 0 } else { rotation % sets.len() });
            let unite = |sets: &[RecipientSet]| {
                let mut coverage = Coverage::default();
                sets.iter().chain(sets).for_each(|set| coverage.add(set));
                coverage
            };
            prop_assert_eq!(unite(&sets), unite(&rotated));
        }
    }
}

//! Keys of one trie that too few of others have.
//! Never looks below what enough of the others hash the same.

use crate::prefix::Prefix;
use crate::trie::{Description, Trie};
use quar_base::key::RecordKey;
use std::ops::ControlFlow;

impl Trie {
    /// Visits, in ascending order, the keys that fewer than `need` of `others` have, until `visit` breaks.
    ///
    /// Takes time for what differs only, however large the tries are.
    pub fn in_fewer_than(
        &self,
        need: usize,
        others: &[&Self],
        visit: &mut dyn FnMut(RecordKey) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        below(self, &Prefix::ROOT, need, others, visit)
    }

    /// Whether another trie has all keys of this one.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.in_fewer_than(1, &[other], &mut |_| ControlFlow::Break(())).is_continue()
    }
}

fn below(
    mine: &Trie,
    prefix: &Prefix,
    need: usize,
    others: &[&Trie],
    visit: &mut dyn FnMut(RecordKey) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let here = mine.summary(prefix);
    if here.0 == 0 {
        return ControlFlow::Continue(());
    }
    // Who has all of it counts for every key; who has nothing, for none.
    let mut need = need;
    let mut some = Vec::new();
    for other in others {
        match other.summary(prefix) {
            there if there == here => need = need.saturating_sub(1),
            (0, _) => {}
            _ => some.push(*other),
        }
    }
    if need == 0 {
        return ControlFlow::Continue(());
    }
    if some.len() < need {
        return mine.iter_prefix(prefix).try_for_each(visit);
    }
    match mine.describe(prefix) {
        Description::Empty => ControlFlow::Continue(()),
        Description::Leaf(keys) => {
            let has = |key: &RecordKey| some.iter().filter(|other| other.contains(key)).count();
            keys.into_iter().filter(|key| has(key) < need).try_for_each(visit)
        }
        Description::Page { at, children } => {
            for child in children.iter().filter_map(|(nibble, ..)| at.child(*nibble)) {
                below(mine, &child, need, &some, visit)?;
            }
            ControlFlow::Continue(())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Trie;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use quar_base::ids::RecordId;
    use quar_base::key::RecordKey;
    use std::ops::ControlFlow;

    fn key(number: u16) -> RecordKey {
        RecordKey { second: u32::from(number) * 3, id: RecordId([number as u8; 32]) }
    }

    proptest! {
        #[test]
        fn finds_the_keys_that_too_few_have(
            mine in proptest::collection::vec(any::<u16>(), 0..400),
            drops in proptest::collection::vec((1u16..40, any::<u16>()), 0..4),
            need in 0usize..4,
        ) {
            let trie = |numbers: &[u16]| {
                let mut trie = Trie::new();
                for number in numbers {
                    trie.insert(key(*number));
                }
                trie
            };
            // Each of the others lacks some of mine and has some that are not mine.
            let others: Vec<Trie> = drops
                .iter()
                .map(|(of, own)| {
                    let mut kept: Vec<u16> = mine.iter().copied().filter(|n| n % of != 0).collect();
                    kept.extend((0..*of).map(|n| own.wrapping_add(n)));
                    trie(&kept)
                })
                .collect();
            let mine = trie(&mine);
            let others: Vec<&Trie> = others.iter().collect();
            let mut found = Vec::new();
            let flow = mine.in_fewer_than(need, &others, &mut |key| {
                found.push(key);
                ControlFlow::Continue(())
            });
            prop_assert!(flow.is_continue());
            let has = |key: &RecordKey| others.iter().filter(|other| other.contains(key)).count();
            let expected: Vec<_> = mine.iter().filter(|key| has(key) < need).collect();
            prop_assert_eq!(found, expected);
            for other in others {
                prop_assert_eq!(mine.is_within(other), mine.iter().all(|key| other.contains(&key)));
            }
        }
    }
}

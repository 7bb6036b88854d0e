//! What peers did against the rules since the start, by kind and by whom.
//! Never judges: whoever counts knows what an offence is.

use quar_base::ids::MemberId;
use std::collections::BTreeMap;

/// Offences, counted.
#[derive(Default)]
pub(super) struct Offences(BTreeMap<(String, Option<MemberId>), u64>);

impl Offences {
    /// One more; of nobody that is known where a connection did not come so far.
    pub(super) fn count(&mut self, kind: &str, peer: Option<MemberId>) {
        *self.0.entry((kind.to_owned(), peer)).or_default() += 1;
    }

    /// Of everybody, by kind.
    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for ((kind, _), times) in &self.0 {
            *all.entry(kind.clone()).or_default() += times;
        }
        all
    }

    /// One member's, by kind.
    pub(super) fn of(&self, member: MemberId) -> BTreeMap<String, u64> {
        let its = self.0.iter().filter(|((_, peer), _)| *peer == Some(member));
        its.map(|((kind, _), times)| (kind.clone(), *times)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Offences;
    use quar_base::ids::MemberId;

    #[test]
    fn offences_are_counted_for_everybody_and_for_each() {
        let (one, other) = (MemberId([1; 16]), MemberId([2; 16]));
        let mut offences = Offences::default();
        for peer in [Some(one), Some(one), Some(other), None] {
            offences.count("wrong-body", peer);
        }
        offences.count("out-of-turn", Some(other));
        assert_eq!(offences.all()["wrong-body"], 4);
        assert_eq!(offences.of(one), [("wrong-body".to_owned(), 2)].into());
        assert_eq!(offences.of(other).len(), 2);
    }
}

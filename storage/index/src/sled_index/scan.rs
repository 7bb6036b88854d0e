//! Scans: what sled has, woven with what it has not yet.
//! Never runs a visitor where its panic would be taken for sled's.

use super::{Layers, SledIndex};
use crate::engine::Leaf;
use crate::filter::{Census, Filter, hash_of};
use crate::guard::caught;
use crate::{IndexError, Tree, Visit};

/// Leaves that a scan takes from sled at first, since many scans want one or two entries, and later.
const LEAVES: [usize; 2] = [1, 64];
/// Changes that it takes from the layers before sled: about as many as there are entries in those.
const CHANGES: [usize; 2] = [16, 4096];

impl SledIndex {
    pub(super) fn scan_from(
        &self,
        tree: Tree,
        start: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), IndexError> {
        // Of a whole tree the keys are counted: one by one they would be looked up for nothing.
        let read = |layers: &Layers| layers.filters.get(&tree).and_then(Filter::made_of);
        let known = if start.is_empty() { self.read_layers(read) } else { None };
        let mut seen = known.map(|_| Census::default());
        let mut next = Some(start.to_vec());
        let mut is_first = true;
        while let Some(start) = next {
            self.check_readable()?;
            let (is_over, behind) =
                self.visit_next(tree, &start, is_first, seen.as_mut(), visit)?;
            if is_over {
                let count = LEAVES[usize::from(!is_first)];
                return seen.map_or(Ok(()), |_| self.admit_up_to(tree, Some(&start), count));
            }
            next = behind;
            is_first = false;
        }
        if seen == known { Ok(()) } else { self.admit_up_to(tree, None, LEAVES[1]) }
    }

    /// Admits the keys of a tree up to so many leaves from this start on.
    fn admit_up_to(&self, tree: Tree, last: Option<&[u8]>, count: usize) -> Result<(), IndexError> {
        let mut next = Some(Vec::new());
        while let Some(start) =
            next.filter(|start| last.is_none_or(|last| start.as_slice() <= last))
        {
            next = self.leaves(tree, &start, count, None)?.1;
        }
        Ok(())
    }

    /// Visits the next entries of a tree: whether the visitor has had enough, and where those behind
    /// them start.
    fn visit_next(
        &self,
        tree: Tree,
        start: &[u8],
        is_first: bool,
        seen: Option<&mut Census>,
        visit: &mut Visit<'_>,
    ) -> Result<(bool, Option<Vec<u8>>), IndexError> {
        let turn = usize::from(!is_first);
        // The layers before sled: what moves, moves from them to sled, and is met at least once.
        let (front, hides) = self.read_layers(|layers| layers.from(tree, start, CHANGES[turn]));
        let (leaves, behind_sled) =
            if hides { (Vec::new(), None) } else { self.leaves(tree, start, LEAVES[turn], seen)? };
        let behind_front = (front.len() >= CHANGES[turn])
            .then(|| front.last_key_value().map(|(last, _)| [last, &[0][..]].concat()))
            .flatten();
        let behind = behind_sled.into_iter().chain(behind_front).min();
        let is_here = |key: &[u8]| behind.as_ref().is_none_or(|behind| key < behind.as_slice());
        let changes = front.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        let mut changes = changes.take_while(|(key, _)| is_here(key)).peekable();
        for entry in leaves.iter().flat_map(|leaf| leaf.entries(start)) {
            let (key, value) = self.checked("scan", Ok(entry))?;
            if !is_here(key) {
                break;
            }
            while let Some((changed, new)) = changes.next_if(|(changed, _)| *changed < key) {
                if new.is_some_and(|new| visit(changed, new).is_break()) {
                    return Ok((true, None));
                }
            }
            let value = match changes.next_if(|(changed, _)| *changed == key) {
                Some((_, new)) => new,
                None => Some(value),
            };
            if value.is_some_and(|value| visit(key, value).is_break()) {
                return Ok((true, None));
            }
        }
        for (key, new) in changes {
            if new.is_some_and(|new| visit(key, new).is_break()) {
                return Ok((true, None));
            }
        }
        Ok((false, behind))
    }

    /// The next leaves of a tree, and where those behind them start. Their keys are counted; or they
    /// are admitted.
    fn leaves(
        &self,
        tree: Tree,
        start: &[u8],
        count: usize,
        mut seen: Option<&mut Census>,
    ) -> Result<(Vec<Leaf>, Option<Vec<u8>>), IndexError> {
        let leaves = caught(|| self.engine().leaves(tree, start, count));
        let (leaves, behind) = self.checked("scan", leaves)?;
        for leaf in &leaves {
            let keys = || leaf.entries(start).filter_map(Result::ok).map(|(key, _)| key);
            match &mut seen {
                Some(seen) => keys().for_each(|key| seen.count(hash_of(key))),
                None => self.admit(tree, &keys),
            }
        }
        Ok((leaves, behind))
    }

    /// What a scan shows, a get finds: damaged files may have kept it from the reading at opening.
    fn admit<'k, K: Iterator<Item = &'k [u8]>>(&self, tree: Tree, keys: &dyn Fn() -> K) {
        let are_known = |layers: &Layers| match layers.filters.get(&tree) {
            Some(filter) => keys().all(|key| filter.may_hold(key)),
            None => keys().next().is_none(),
        };
        if !self.read_layers(are_known) {
            self.change_layers(|layers| {
                let filter = layers.filters.entry(tree).or_default();
                keys().for_each(|key| filter.add(key));
            });
        }
    }
}

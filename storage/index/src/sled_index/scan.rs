//! Scans: what sled has, woven with what it has not yet.
//! Never runs a visitor where its panic would be taken for sled's.

use super::{Layers, SledIndex};
use crate::guard::caught;
use crate::{IndexError, Tree, Visit};
use std::collections::BTreeMap;

/// Entries that a scan takes from each layer at first: many scans want one or two.
const ENTRIES_AT_FIRST: usize = 16;
/// Entries that a scan takes from each layer later on.
const ENTRIES_PER_LOOK: usize = 256;
/// Leaves that a scan takes at first, and later on, of a tree of which sled has everything.
const LEAVES: [usize; 2] = [1, 64];

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

impl SledIndex {
    pub(super) fn scan_from(
        &self,
        tree: Tree,
        start: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), IndexError> {
        let is_settled = |tree| {
            self.read_layers(|layers| !layers.newer.knows(tree) && !layers.settling.knows(tree))
        };
        let mut next = Some(start.to_vec());
        let mut is_first = true;
        while let Some(start) = next {
            self.check_readable()?;
            let is_first = std::mem::take(&mut is_first);
            if is_settled(tree) {
                let (is_over, behind) = self.visit_leaves(tree, &start, is_first, visit)?;
                next = behind;
                if is_over {
                    return Ok(());
                }
                continue;
            }
            let count = if is_first { ENTRIES_AT_FIRST } else { ENTRIES_PER_LOOK };
            let (entries, behind) = self.look(tree, &start, count)?;
            for (key, value) in &entries {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            next = behind;
        }
        Ok(())
    }

    /// Visits the next leaves as they lie in sled: whether the visitor has had enough, and where the
    /// leaves behind them start.
    fn visit_leaves(
        &self,
        tree: Tree,
        start: &[u8],
        is_first: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(bool, Option<Vec<u8>>), IndexError> {
        let count = LEAVES[usize::from(!is_first)];
        let leaves = caught(|| self.engine().leaves(tree, start, count));
        let (leaves, behind) = self.checked("scan", leaves)?;
        for leaf in &leaves {
            let keys = || leaf.entries(start).filter_map(Result::ok).map(|(key, _)| key);
            self.admit(tree, &keys);
            for entry in leaf.entries(start) {
                let (key, value) = self.checked("scan", Ok(entry))?;
                if visit(key, value).is_break() {
                    return Ok((true, None));
                }
            }
        }
        Ok((false, behind))
    }

    /// The next entries of a tree from `start` on, and where those behind them start.
    fn look(
        &self,
        tree: Tree,
        start: &[u8],
        count: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), IndexError> {
        // The layers before sled: what moves, moves from them to sled, and is met at least once.
        let (front, hides) = self.read_layers(|layers| layers.from(tree, start, count));
        let (mut entries, behind_sled) = if hides {
            (Entries::new(), None)
        } else {
            let page = || self.engine().page(tree, start, count);
            let (page, behind) = self.checked("scan", caught(page))?;
            self.admit(tree, &|| page.iter().map(|(key, _)| key.as_slice()));
            (Entries::from_iter(page), behind)
        };
        let behind_front = (front.len() >= count)
            .then(|| front.last_key_value().map(|(last, _)| [last, &[0][..]].concat()))
            .flatten();
        let behind = behind_sled.into_iter().chain(behind_front).min();
        for (key, value) in front {
            match value {
                Some(value) => drop(entries.insert(key, value)),
                None => drop(entries.remove(&key)),
            }
        }
        if let Some(behind) = &behind {
            drop(entries.split_off(behind));
        }
        Ok((entries, behind))
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

//! Many entries at once, handed to sled as they are, past journal and layers.
//! Never where something of the tree is known already: what is newer must hide what is older.

use super::{STALL_LIMIT, SledIndex};
use crate::filter::{Filter, hash_of};
use crate::guard::{Pulse, watched};
use crate::{Index, IndexError, Tree, Write};
use std::sync::atomic::Ordering;

impl SledIndex {
    pub(super) fn fill_tree(
        &self,
        tree: Tree,
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), IndexError> {
        self.check_running()?;
        // Nothing settles meanwhile, and no flush says that what is not there yet is durable.
        let journal = self.journal();
        let is_known = self
            .read_layers(|layers| layers.newer.knows(tree) || layers.settling.knows(tree))
            || self.engine().has(tree);
        if is_known || entries.is_empty() || !(self.gather.has_room)(&self.dir, entries.len()) {
            drop(journal);
            let put = |(key, value)| Write::Put { tree, key, value };
            return self.write(entries.into_iter().map(put).collect());
        }
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let pulse = Pulse::default();
        let (engine, beats) = (self.engine().clone(), pulse.clone());
        let filled = watched(STALL_LIMIT, &pulse, move || {
            engine.fill(tree, &entries, &beats)?;
            let hashes: Vec<u64> = entries.iter().map(|(key, _)| hash_of(key)).collect();
            Ok(Filter::of(&hashes))
        });
        let filter = self.checked("fill", filled)?;
        self.change_layers(|layers| {
            layers.is_filled = true;
            layers.filters.insert(tree, filter);
        });
        Ok(())
    }
}

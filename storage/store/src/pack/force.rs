//! Puts a durable pack in force: index, memory and files go over to it in one step.
//! Never drops an index entry of what came after the packing began.

use super::Packed;
use super::job::Written;
use super::loaded::Pack;
use crate::erase::Begun;
use crate::error::ReadError;
use crate::layout;
use crate::segment::{SegmentName, bucket_directory};
use crate::store::Store;
use quar_base::key::{Bucket, RecordKey};
use quar_index::{Tree, Write};
use std::io;
use std::ops::ControlFlow;

impl Store {
    pub(super) fn put_pack_in_force(
        &self,
        bucket: Bucket,
        written: &Written,
        begun: &Begun,
    ) -> Result<Packed, ReadError> {
        let Written { pack, trie, bytes, damaged } = written;
        let _whole = self.between_checkpoints();
        let committer = self.committer();
        if !self.state().buckets.contains_key(&bucket) {
            // The day expired meanwhile.
            self.disk.remove_dir(&bucket_directory(bucket))?;
            return Ok(Packed::default());
        }
        self.state_mut().begin_replacing(bucket);
        self.index.put_in_force(pack.clone());
        self.forget_packed(bucket, pack)?;
        self.leave_out(bucket, &damaged.records, &begun.segments, &committer)?;
        let known = begun.segments.iter().copied().chain(pack.members().map(|name| name.number));
        let late = self.arrivals_since(bucket, &known.collect::<Vec<_>>(), &damaged.bodies);
        {
            let mut state = self.state_mut();
            let lazy = pack.trie().unwrap_or_else(|| trie.clone());
            state.set.replace(bucket, &lazy);
            state.erased(bucket, &begun.records);
            let held = state.buckets.entry(bucket).or_default();
            held.bereft
                .extend(damaged.arrivals.iter().copied().chain(late.iter().flatten().copied()));
            held.broken.bodies.retain(|key| !damaged.bodies.contains(key));
        }
        self.want_for_the_bereft(bucket)?;
        for &number in &pack.footer().replaced {
            let name = SegmentName { bucket, number };
            match self.disk.remove(&name.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            self.segments.forget(&name);
            // Only now: one that could not be unlinked must still be there for the next packing.
            if let Some(held) = self.state_mut().buckets.get_mut(&bucket) {
                held.segments.remove(&number);
            }
        }
        self.disk.sync_dir(&bucket_directory(bucket))?;
        // The pack is in force all the same.
        late?;
        let counts = pack.footer().counts;
        Ok(Packed {
            records: pack.records(),
            bodies: counts.bodies,
            bytes: *bytes,
            erased: begun.records.len() as u64,
        })
    }

    /// Drops the index entries that the pack's tables hold now, and those of what it left out.
    fn forget_packed(&self, bucket: Bucket, pack: &Pack) -> Result<(), ReadError> {
        let tree = Tree::Bucket(bucket);
        let changes = self.index.changes();
        let mut later = Vec::new();
        let mut trouble = Ok(());
        changes.scan(tree, &[], &mut |key, value| {
            match is_later(pack, key, value) {
                Ok(true) => {
                    later.push(Write::Put { tree, key: key.to_vec(), value: value.to_vec() })
                }
                Ok(false) => {}
                Err(error) => trouble = Err(error),
            }
            if trouble.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        trouble?;
        changes.drop_tree(bucket)?;
        let marks = pack.footer().replaced.iter().map(|&number| Write::Delete {
            tree: Tree::Meta,
            key: layout::watermark_key(&SegmentName { bucket, number }),
        });
        later.extend(marks);
        Ok(changes.write(later)?)
    }
}

/// Whether an index entry is of something that came after the pack was begun.
fn is_later(pack: &Pack, key: &[u8], value: &[u8]) -> io::Result<bool> {
    let is_packed = |key: &RecordKey| Ok(pack.get(&layout::record_key(key))?.is_some());
    match key.first() {
        Some(&(layout::RECORD | layout::BODY)) => Ok(!pack.is_stale(key, value)),
        Some(&layout::ACTION) => match layout::parse_action_key(key) {
            Some((_, action)) => is_packed(&action).map(|packed| !packed),
            None => Ok(false),
        },
        Some(&layout::WANTED) => match layout::parse_wanted_key(key) {
            Some((_, arrival)) => is_packed(&arrival).map(|packed| !packed),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

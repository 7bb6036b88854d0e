//! What a power cut may leave beside what was synced: any sectors of any write, any name or none.
//! Never leaves what a disk could not: a sector holds what it held after some of its writes, in order.

use super::{Change, MemoryFile};
use quar_base::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How much of what was not synced is there.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    Some,
}

impl Luck {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Some,
        }
    }

    /// How many of so many changes are there.
    fn of(self, count: usize, rng: &mut Rng) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => count,
            Self::Some => rng.below(count as u64 + 1) as usize,
        }
    }
}

type Files = BTreeMap<PathBuf, Arc<MemoryFile>>;

/// The files found after the cut, with their bytes.
pub(super) fn surviving(live: &Files, durable: &Files, rng: &mut Rng) -> Vec<(PathBuf, Vec<u8>)> {
    let (names, bytes) = (Luck::draw(rng), Luck::draw(rng));
    let paths: BTreeSet<&PathBuf> = live.keys().chain(durable.keys()).collect();
    let mut files = Vec::new();
    for path in paths {
        let (new, old) = (live.get(path), durable.get(path));
        let is_same = matches!((new, old), (Some(new), Some(old)) if Arc::ptr_eq(new, old));
        let file = if is_same || names.of(1, rng) == 1 { new } else { old };
        if let Some(file) = file {
            files.push((path.clone(), file.after(bytes, rng)));
        }
    }
    files
}

impl MemoryFile {
    fn after(&self, luck: Luck, rng: &mut Rng) -> Vec<u8> {
        let images = self.images();
        if images.unsynced.is_empty() || matches!(luck, Luck::Nothing) {
            return images.durable.clone();
        }
        if matches!(luck, Luck::Everything) {
            return images.live.clone();
        }
        let mut left = images.durable.clone();
        // Of each sector, how many of all changes it has seen.
        let mut seen = BTreeMap::new();
        for (number, change) in images.unsynced.iter().enumerate() {
            match change {
                Change::Write { offset, bytes } => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let sector = (offset + at) / SECTOR;
                        let end = bytes.len().min((sector + 1) * SECTOR - offset);
                        let count = images.unsynced.len();
                        if number < *seen.entry(sector).or_insert_with(|| luck.of(count, rng)) {
                            let bytes = bytes[at..end].to_vec();
                            Change::Write { offset: offset + at, bytes }.apply(&mut left);
                        }
                        at = end;
                    }
                }
                Change::Cut { length } if rng.below(2) == 0 => left.truncate(*length),
                Change::Cut { .. } => {}
            }
        }
        // The new length need not be there either.
        let growth = left.len().saturating_sub(images.durable.len());
        if growth > 0 && rng.below(4) == 0 {
            left.truncate(images.durable.len() + rng.below(growth as u64) as usize);
        }
        left
    }
}

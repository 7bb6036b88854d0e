//! Some of the cuts on a real disk with sled, its directory missing, cut short or an older one.
//! Never looks at more than a few cuts of a life: each takes real syncs.

use super::life::{Cut, settings_of};
use crate::support::{assert_same, files_of, open_with, see};
use quar_base::rng::Rng;
use quar_index::{Index, MemoryIndex, SledIndex, Tree, Write};
use quar_store::{Disk, RealDisk, SledHome, Store};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of so many cuts, one is looked at.
const ONE_IN: u64 = 120;

/// Which cuts are looked at, and where.
pub struct Shelf {
    rng: Rng,
    directory: tempfile::TempDir,
}

impl Shelf {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self { rng: Rng::from_seed(bytes), directory: tempfile::tempdir().unwrap() }
    }

    /// Opens the cut with every index it may have; whether it was this one's turn.
    pub fn look(&mut self, cut: &Cut<'_>) -> bool {
        if self.rng.below(ONE_IN) != 0 {
            return false;
        }
        let directory = self.directory.path();
        let look = |index: &dyn Fn(&Path)| {
            lay_out(cut, directory);
            index(&directory.join("index"));
            let store = open(cut, directory);
            cut.world.check_after_crash(cut.known, &store);
            see(&store)
        };
        let seen = look(&|path| write_index(&cut.image.index, path));
        let missing = look(&|_| {});
        assert_same(&missing, &seen, "on disk, with the index missing");
        let older = look(&|path| write_index(cut.older, path));
        assert_same(&older, &seen, "on disk, with the index older");
        let luck = [self.rng.below(u64::MAX), self.rng.below(u64::MAX)];
        let cut_short = look(&|path| {
            write_index(&cut.image.index, path);
            let files = files_of(path);
            let file = &files[(luck[0] % files.len() as u64) as usize];
            let kept = luck[1] % fs::metadata(file).unwrap().len().max(1);
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(kept).unwrap();
        });
        assert_same(&cut_short, &seen, "on disk, with the index cut short");
        true
    }
}

/// The same index, as sled keeps it.
fn write_index(index: &MemoryIndex, path: &Path) {
    let sled = SledIndex::open(path).unwrap();
    let trees = index.buckets().unwrap().into_iter().map(Tree::Bucket);
    for tree in trees.chain([Tree::Meta]) {
        let mut writes = Vec::new();
        let mut take = |key: &[u8], value: &[u8]| {
            writes.push(Write::Put { tree, key: key.to_vec(), value: value.to_vec() });
            ControlFlow::Continue(())
        };
        index.scan(tree, &[], &mut take).unwrap();
        sled.write(writes).unwrap();
    }
    sled.flush().unwrap();
}

/// The segments that the cut left, as files.
fn lay_out(cut: &Cut<'_>, directory: &Path) {
    let _absent = fs::remove_dir_all(directory);
    let disk = cut.image.disk.crash();
    for path in disk.paths() {
        let target: PathBuf = directory.join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, disk.read(&path).unwrap().unwrap()).unwrap();
    }
    fs::create_dir_all(directory).unwrap();
}

fn open(cut: &Cut<'_>, directory: &Path) -> Store {
    let disk = Arc::new(RealDisk::new(directory));
    let home = &mut SledHome(directory.join("index"));
    open_with(settings_of(cut.epochs), disk, home, cut.world.now).unwrap().0
}

//! What must hold of a store after a power cut, whatever has become of its index.
//! Never changes the cut: each opening has its own copy of what was left.
//!
//! A write of several blocks of which a later one survived and an earlier did not cannot be told
//! from damage, and is reported as such: that is no fault as long as nothing acknowledged is gone.

use super::life::{Cut, settings_of};
use crate::support::{assert_same, open_with, see};
use quar_index::{Index, IndexError, MemoryIndex};
use quar_store::{IndexHome, MemoryDisk, MemoryHome, OpenReport, Store};
use std::io;
use std::sync::Arc;

/// An index of which a part is gone, as sled's checks show it; empty once it was set aside.
struct CutShort(bool);

impl IndexHome for CutShort {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        match self.0 {
            true => Ok(Arc::new(MemoryIndex::new())),
            false => Err(IndexError::Damaged { dir: "index".into(), detail: "cut short".into() }),
        }
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0 = true;
        Ok(())
    }
}

fn open(cut: &Cut<'_>, disk: &MemoryDisk, home: &mut dyn IndexHome) -> (Store, OpenReport) {
    let settings = settings_of(cut.epochs);
    let disk = Arc::new(disk.clone());
    open_with(settings, disk, home, cut.world.now).unwrap()
}

/// Opens what the cut left, with every index it may have.
pub fn check(cut: &Cut<'_>) {
    let left = || cut.image.disk.crash();
    let disk = left();
    let index = Arc::new(cut.image.index.crash());
    let (store, report) = open(cut, &disk, &mut MemoryHome(index.clone()));
    let context = format!("{report:?}");
    cut.world.check_after_crash(cut.known, &store);
    let seen = see(&store);
    drop(store);
    // Whatever the index said: it is as if there had been none.
    let mut others: [(&str, Box<dyn IndexHome>); 3] = [
        ("missing", Box::new(MemoryHome(Arc::new(MemoryIndex::new())))),
        ("cut short", Box::new(CutShort(false))),
        ("older", Box::new(MemoryHome(Arc::new(cut.older.crash())))),
    ];
    for (name, home) in &mut others {
        let (store, _) = open(cut, &left(), &mut **home);
        assert_same(&see(&store), &seen, &format!("with the index {name}; {context}"));
    }
    // What was shown once stays, though nothing was written since but by opening.
    let (again, _) = open(cut, &disk.crash(), &mut MemoryHome(Arc::new(index.crash())));
    assert_same(&see(&again), &seen, &format!("again; {context}"));
    for bucket in again.erasable() {
        again.erase(bucket).unwrap();
    }
    cut.world.check_after_crash(cut.known, &again);
}

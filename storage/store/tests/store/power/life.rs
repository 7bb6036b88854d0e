//! One random life of a store, and every moment in it at which the power may go.
//! Never judges; and the same seed is the same life.

use crate::spy::{Image, SpyDisk};
use crate::support::{encryption_key, open_with, settings};
use crate::world::{Known, MESSAGES, Step, World};
use quar_base::rng::Rng;
use quar_base::time::UnixMillis;
use quar_index::MemoryIndex;
use quar_store::{MemoryDisk, Settings, Store};
use std::sync::Arc;

/// What was under way when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Put,
    Delete,
    Hold,
    Erase,
    Pack,
    Expire,
    Rotate,
    Checkpoint,
    Open,
    Rebuild,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Put,
        Self::Delete,
        Self::Hold,
        Self::Erase,
        Self::Pack,
        Self::Expire,
        Self::Rotate,
        Self::Checkpoint,
        Self::Open,
        Self::Rebuild,
    ];

    /// What a life is made of, more often what is more common.
    const USUAL: [Self; 13] = [
        Self::Put,
        Self::Put,
        Self::Delete,
        Self::Put,
        Self::Put,
        Self::Put,
        Self::Delete,
        Self::Hold,
        Self::Checkpoint,
        Self::Erase,
        Self::Pack,
        Self::Expire,
        Self::Rotate,
    ];
}

/// One moment at which the power goes.
pub struct Cut<'a> {
    /// Its number in the life.
    pub point: u64,
    pub kind: Kind,
    pub world: &'a World,
    /// What was acknowledged until then.
    pub known: &'a Known,
    pub image: &'a Image,
    /// Index as it was some time ago.
    pub older: &'a Arc<MemoryIndex>,
    /// Epochs of the keys that the node has, the one for new segments first.
    pub epochs: &'a [u32],
}

pub struct Life {
    rng: Rng,
    /// What half of this life is; then only cuts in that are shown.
    favourite: Option<Kind>,
    world: World,
    store: Option<Store>,
    witness: Witness,
}

/// The disk, and what is seen of it at each cut.
struct Witness {
    rng: Rng,
    disk: SpyDisk,
    epochs: Vec<u32>,
    older: Vec<Arc<MemoryIndex>>,
    points: u64,
    /// A cut of the last operation from which the life could go on.
    way_on: Option<WayOn>,
    kind: Kind,
    /// The only kind of operation of which cuts are shown, if there is one.
    only: Option<Kind>,
}

struct WayOn {
    known: Known,
    image: Image,
    epochs: Vec<u32>,
    /// What came after the cut has never been.
    older: usize,
}

type Judge<'a> = &'a mut dyn FnMut(&Cut<'_>);

/// Settings of a node that has keys of these epochs.
pub fn settings_of(epochs: &[u32]) -> Settings {
    let keys = epochs.iter().map(|epoch| encryption_key(*epoch)).collect();
    Settings { keys, ..settings(1) }
}

impl Life {
    /// What is left of a seed divided by 16 is the number of the life's favourite kind of operation, if any.
    pub fn new(seed: u64) -> Self {
        let favourite = Kind::ALL.get((seed % 16) as usize).copied();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::from_seed(bytes);
        let disk = SpyDisk::new(MemoryDisk::new(), Arc::new(MemoryIndex::new()), rng.bytes());
        let witness = Witness {
            rng: Rng::from_seed(rng.bytes()),
            disk,
            epochs: vec![1],
            older: vec![Arc::new(MemoryIndex::new())],
            points: 0,
            way_on: None,
            kind: Kind::Open,
            only: favourite,
        };
        Self { rng, favourite, world: World::new(), store: None, witness }
    }

    pub fn live(mut self, judge: Judge<'_>) {
        self.restart(judge);
        let operations = if self.favourite.is_some() { 60 } else { 30 };
        for _ in 0..operations {
            match self.favourite.filter(|_| self.rng.below(2) == 0) {
                Some(kind) => self.operate(kind, judge),
                None => {
                    // Of a favoured life the other half prepares the ground.
                    let kinds =
                        if self.favourite.is_some() { &Kind::USUAL[..3] } else { &Kind::USUAL };
                    let kind = kinds[self.rng.below(kinds.len() as u64) as usize];
                    self.operate(kind, judge);
                }
            }
            if self.favourite.is_none() && self.rng.below(4) == 0 {
                let is_index_gone = self.rng.below(2) == 0;
                self.power_returns(is_index_gone, judge);
            }
        }
    }

    fn operate(&mut self, kind: Kind, judge: Judge<'_>) {
        match kind {
            Kind::Put => self.put(judge),
            Kind::Delete => self.delete(judge),
            Kind::Hold => self.hold(judge),
            Kind::Checkpoint => {
                let seconds = self.rng.below(30) as u8;
                self.steps(Kind::Put, &Step::Tick(seconds), judge);
                self.steps(kind, &Step::Checkpoint, judge);
            }
            Kind::Erase => self.steps(kind, &Step::Erase, judge),
            Kind::Pack => {
                let steps = self.rng.below(4) as u8;
                self.steps(kind, &Step::Pack((steps < 3).then_some(steps)), judge);
            }
            Kind::Expire => self.steps(kind, &Step::Expire, judge),
            Kind::Rotate => self.rotate(judge),
            Kind::Open => self.power_returns(false, judge),
            Kind::Rebuild => self.power_returns(true, judge),
        }
    }

    fn put(&mut self, judge: Judge<'_>) {
        for _ in 0..=self.rng.below(4) {
            let at = self.rng.below(MESSAGES as u64) as usize;
            let step = match self.rng.below(9) {
                0..=4 => Step::Arrive(at),
                5 | 6 => Step::ArriveBare(at),
                _ => Step::Body(at),
            };
            self.steps(Kind::Put, &step, judge);
        }
        self.steps(Kind::Put, &Step::Commit, judge);
    }

    fn delete(&mut self, judge: Judge<'_>) {
        for _ in 0..=self.rng.below(3) {
            let at = self.rng.below(MESSAGES as u64) as usize;
            let whom = self.rng.below(8) as u8;
            let step = match self.rng.below(4) {
                0 => Step::Delete(at, whom),
                1 => Step::PeerDeletes(at, whom),
                _ => Step::Delete(at, 7),
            };
            self.steps(Kind::Delete, &step, judge);
        }
        self.steps(Kind::Delete, &Step::Commit, judge);
    }

    fn hold(&mut self, judge: Judge<'_>) {
        for _ in 0..=self.rng.below(3) {
            let at = self.rng.below(MESSAGES as u64) as usize;
            let step = if self.rng.below(4) == 0 { Step::Unhold(at) } else { Step::Hold(at) };
            self.steps(Kind::Hold, &step, judge);
        }
        self.steps(Kind::Hold, &Step::Commit, judge);
    }

    fn steps(&mut self, kind: Kind, step: &Step, judge: Judge<'_>) {
        let Self { world, store, witness, .. } = self;
        witness.kind = kind;
        let store = store.as_ref().expect("it is open between operations");
        world.take_with(store, step, &mut |world, known| witness.show(world, known, judge));
    }

    /// A key of a new epoch: new segments are sealed with it, and then the old ones.
    fn rotate(&mut self, judge: Judge<'_>) {
        self.steps(Kind::Put, &Step::Commit, judge);
        let epoch = self.witness.epochs[0] + 1;
        self.witness.epochs.insert(0, epoch);
        self.restart(judge);
        self.witness.kind = Kind::Rotate;
        let store = self.store.as_ref().expect("it was opened");
        let rotated = store.rotate_keys(self.rng.bytes()).unwrap();
        assert_eq!(rotated.damaged, Vec::<String>::new());
        self.witness.show(&self.world, &self.world.known, judge);
        // The old one is not needed from here on.
        self.witness.epochs.truncate(1);
        self.restart(judge);
    }

    fn restart(&mut self, judge: Judge<'_>) {
        self.store = None;
        self.witness.kind = Kind::Open;
        self.store = Some(self.witness.open(self.world.now));
        self.witness.show(&self.world, &self.world.known, judge);
    }

    /// The power went in the operation before, and comes back.
    fn power_returns(&mut self, is_index_gone: bool, judge: Judge<'_>) {
        let Some(WayOn { known, image, epochs, older }) = self.witness.way_on.take() else {
            return;
        };
        self.store = None;
        self.witness.epochs = epochs;
        self.witness.older.truncate(older);
        let index = if is_index_gone { Arc::new(MemoryIndex::new()) } else { image.index };
        self.witness.disk = SpyDisk::new(image.disk, index, self.rng.bytes());
        self.witness.kind = if is_index_gone { Kind::Rebuild } else { Kind::Open };
        let store = self.witness.open(self.world.now);
        self.witness.show(&self.world, &known, judge);
        self.world.resume(&known, &store);
        self.store = Some(store);
        self.steps(Kind::Put, &Step::Commit, judge);
    }
}

impl Witness {
    fn open(&self, now: UnixMillis) -> Store {
        let (disk, home) = (Arc::new(self.disk.clone()), &mut self.disk.clone());
        open_with(settings_of(&self.epochs), disk, home, now).unwrap().0
    }

    /// Shows what each cut of an operation left.
    fn show(&mut self, world: &World, known: &Known, judge: Judge<'_>) {
        let images = self.disk.take_images();
        self.way_on = None;
        let chosen = self.rng.below(images.len() as u64 * 2) as usize;
        for (number, image) in images.into_iter().enumerate() {
            let older = &self.older[self.rng.below(self.older.len() as u64) as usize];
            let (point, kind) = (self.points, self.kind);
            self.points += 1;
            if self.only.is_none_or(|only| only == kind) {
                let epochs = &self.epochs;
                judge(&Cut { point, kind, world, known, image: &image, older, epochs });
            }
            if number == chosen {
                let (known, epochs) = (known.clone(), self.epochs.clone());
                let older = self.older.len();
                self.way_on = Some(WayOn { known, image, epochs, older });
            }
        }
        if self.rng.below(8) == 0 {
            self.older.push(Arc::new(self.disk.index().crash()));
        }
    }
}

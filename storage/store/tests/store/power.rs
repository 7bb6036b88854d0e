//! Power cuts by the thousand: random lives, cut at every write and sync, in every kind of operation.
//! Never judges by what the store says of itself; what was acknowledged is known from outside.
//!
//! ```text
//! seed ──► a life: puts, deletes, erasures, packs, expiries, key rotations, restarts, rebuilds
//!            └─ before every operation on disk or index, and within every write: a cut (seed, point)
//!                 └─ opened with the index as it was left, missing, cut short, and an older one;
//!                    then cut again, opened again, and erased
//! ```
//! Of some cuts the life goes on: the power goes again in what is done next.

mod life;
mod on_disk;
mod verdict;

use self::life::{Cut, Kind, Life};
use crate::support::rounds;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a long run says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How many cuts there were in each kind of operation, and openings of real directories.
#[derive(Default)]
struct Tally {
    cuts: BTreeMap<Kind, u64>,
    on_disk: u64,
    lives: u64,
    told: Option<Instant>,
}

impl Tally {
    fn pairs(&self) -> u64 {
        self.cuts.values().sum()
    }

    /// Seed of the next life: of the kind that lacks most, then of no kind.
    fn next_seed(&mut self, of_each: u64) -> u64 {
        let count = |kind: &Kind| self.cuts.get(kind).copied().unwrap_or(0);
        let rarest = Kind::ALL.iter().enumerate().min_by_key(|(_, kind)| count(kind));
        // Every fourth life is of no kind: of those more cuts are shown.
        let favourite =
            rarest.filter(|(_, kind)| count(kind) < of_each && !self.lives.is_multiple_of(4));
        let kind = favourite.map_or(15, |(number, _)| number as u64);
        self.lives += 1;
        self.lives * 16 + kind
    }

    fn has_enough(&self, pairs: u64, of_each: u64, on_disk: u64) -> bool {
        let has = |kind| self.cuts.get(kind).is_some_and(|count| *count >= of_each);
        self.pairs() >= pairs && self.on_disk >= on_disk && Kind::ALL.iter().all(has)
    }

    fn line(&self) -> String {
        let kinds: Vec<String> =
            self.cuts.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
        let (lives, pairs, on_disk) = (self.lives, self.pairs(), self.on_disk);
        format!(
            "{lives} lives, {pairs} power cuts: {}; {on_disk} of them on a real disk",
            kinds.join(", ")
        )
    }
}

fn one(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Judges a cut; a failure says how to see it again.
fn judge(seed: u64, cut: &Cut<'_>) {
    let guarded = std::panic::AssertUnwindSafe(|| verdict::check(cut));
    if std::panic::catch_unwind(guarded).is_err() {
        let Cut { point, kind, image, .. } = cut;
        panic!(
            "seed {seed}, point {point}, in {kind:?}, before {}; once more: \
             QUAR_POWER_SEED={seed} QUAR_POWER_POINT={point} cargo test -p quar-store --test store power",
            image.before
        );
    }
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_acknowledged_and_brings_nothing_back() {
    if let Some(seed) = one("QUAR_POWER_SEED") {
        let point = one("QUAR_POWER_POINT");
        Life::new(seed).live(&mut |cut| {
            if point.is_none_or(|point| point == cut.point) {
                judge(seed, cut);
            }
        });
        return;
    }
    let pairs = u64::from(rounds("QUAR_POWER_PAIRS", 2500));
    let is_long = pairs > 10_000;
    // Each kind has its share: at least one in twenty.
    let of_each = if is_long { pairs / 20 } else { pairs / 100 };
    let on_disk = pairs / 200 + 10;
    let threads =
        if is_long { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let tally = Mutex::new(Tally::default());
    let locked = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while !locked().has_enough(pairs, of_each, on_disk) {
            let seed = locked().next_seed(of_each);
            let mut shelf = on_disk::Shelf::new(seed);
            Life::new(seed).live(&mut |cut| {
                judge(seed, cut);
                let is_on_disk = shelf.look(cut);
                let mut tally = locked();
                *tally.cuts.entry(cut.kind).or_insert(0) += 1;
                tally.on_disk += u64::from(is_on_disk);
                if is_long && tally.told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
                    tally.told = Some(Instant::now());
                    eprintln!("{}", tally.line());
                }
            });
        }
    };
    std::thread::scope(|scope| {
        for thread in (0..threads).map(|_| scope.spawn(work)).collect::<Vec<_>>() {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    eprintln!("{}", locked().line());
}

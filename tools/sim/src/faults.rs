//! What goes wrong in a cluster, for how long, and how it ends.
//! Never more than the design bears: most clocks are right, and what was damaged is checked in the end.

mod clock;
mod disk;
mod line;
mod machine;
mod member;

use crate::chance::Chance;
use crate::cluster::Cluster;
use quar_base::time::{Millis, UnixMillis};

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// Nothing gets in the way between two machines any more.
    Line(usize, usize),
    /// A connection on which something was wrong ends.
    Cut(usize, usize),
    /// The machine is started.
    Start(usize),
    /// Its clock is set right.
    Clock(usize),
    /// Its disk has room, works and is quick.
    Disk(usize),
    /// It is a member again.
    Again(usize),
}

/// Faults under way.
#[derive(Default)]
pub struct Faults {
    /// When each ends, and how.
    endings: Vec<(UnixMillis, Ending)>,
    /// What each machine's disk was at some time.
    images: Vec<disk::Image>,
}

type Begin = fn(&mut Cluster, &mut Chance, &mut Faults);

/// Faults and how often each is drawn.
const OFTEN: [(u64, Begin); 19] = [
    (8, line::loss),
    (4, line::duplicates),
    (4, line::reorders),
    (6, line::delay),
    (5, line::partition),
    (4, line::one_way),
    (5, disk::slow),
    (6, machine::stall),
    (6, clock::skew),
    (4, clock::jump),
    (5, machine::power_cut),
    (5, machine::kill),
    (6, disk::rot),
    (5, disk::full),
    (3, disk::sync_fails),
    (2, disk::wipe),
    (6, disk::old_image),
    (1, machine::off_for_long),
    (3, member::remove),
];

/// Something goes wrong.
pub fn begin(cluster: &mut Cluster, chance: &mut Chance, faults: &mut Faults) {
    let all = OFTEN.iter().map(|(weight, _)| weight).sum();
    let mut drawn = chance.below(all);
    for (weight, fault) in OFTEN {
        if drawn < weight {
            return fault(cluster, chance, faults);
        }
        drawn -= weight;
    }
}

impl Faults {
    /// A fault lasts so long.
    fn lasts(&mut self, cluster: &Cluster, length_ms: u64, ending: Ending) {
        self.endings.push((cluster.now.plus(Millis(length_ms)), ending));
    }

    /// Ends what is over.
    pub fn end_due(&mut self, cluster: &mut Cluster) {
        let now = cluster.now;
        let (due, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.endings).into_iter().partition(|(until, _)| *until <= now);
        self.endings = left;
        due.into_iter().for_each(|(_, ending)| end(cluster, ending));
    }

    /// Ends everything that is wrong with two machines and between them.
    pub fn stop_for(&mut self, cluster: &mut Cluster, one: usize, other: usize) {
        for at in [one, other] {
            mend(cluster, at);
        }
        end(cluster, Ending::Line(one, other));
    }

    /// Ends everything: from here on nothing goes wrong.
    pub fn stop(&mut self, cluster: &mut Cluster) {
        self.endings.clear();
        let machines = cluster.machines.len();
        for at in 0..machines {
            mend(cluster, at);
            for other in at + 1..machines {
                end(cluster, Ending::Line(at, other));
                // What was wrong with a stream ends with its connection.
                let pair = cluster.lines.pair(at, other);
                if pair.duplicates > 0 || pair.reorders > 0 || pair.is_wrong {
                    end(cluster, Ending::Cut(at, other));
                }
            }
        }
        cluster.resume_arrivals();
        cluster.note(format_args!("faults have stopped"));
    }
}

/// Whatever is wrong with a machine is put right, and what is damaged on its disk is found.
fn mend(cluster: &mut Cluster, at: usize) {
    end(cluster, Ending::Clock(at));
    end(cluster, Ending::Disk(at));
    cluster.machines[at].stalled_until = None;
    if cluster.machines[at].is_outdated() {
        cluster.stop(at);
    }
    cluster.restart_if_failed(at);
    end(cluster, Ending::Start(at));
    if !cluster.machines[at].holdings.damaged.is_empty() {
        if let Some(running) = &mut cluster.machines[at].running {
            running.checked.clear();
        }
        cluster.check(at);
    }
}

fn end(cluster: &mut Cluster, ending: Ending) {
    match ending {
        Ending::Line(one, other) => {
            let pair = cluster.lines.pair(one, other);
            pair.blocked = [false, false];
            pair.delay_ms = [0, 0];
            cluster.resume_arrivals();
        }
        Ending::Cut(one, other) => {
            let pair = cluster.lines.pair(one, other);
            (pair.duplicates, pair.reorders, pair.is_wrong) = (0, 0, false);
            cluster.cut(one, other);
        }
        Ending::Start(at) => cluster.start(at),
        Ending::Clock(at) => clock::set(cluster, at, 0),
        Ending::Disk(at) => disk::mend(cluster, at),
        Ending::Again(at) => member::again(cluster, at),
    }
}

//! One life of a cluster: a seed gives all of it.
//! Never the same seed and another life.
//!
//! ```text
//! machines start ─► operations and faults ─► faults stop ─► at most 20 rounds ─► invariants
//! ```

use crate::chance::Chance;
use crate::cluster::{Cluster, Violation};
use crate::faults::{self, Faults};
use crate::histogram::Counts;
use crate::invariants;
use crate::operations::{self, retention};
use crate::trace::Trace;
use quar_base::time::UnixMillis;

/// 2026-11-23 06:00:00 UTC.
const FIRST_MS: u64 = 1_795_413_600_000;
/// Longest time that a life lets go by with nothing asked, in milliseconds.
const IDLE_MS_MAX: u64 = 5 * 86_400_000;
/// Lives of which all records are merged once more, of a hundred: it takes as long as the life itself.
const MERGED_PERCENT: u64 = 10;

/// What became of a life.
pub struct Lived {
    /// The first statement that did not hold.
    pub violation: Option<Violation>,
    /// Digest of the trace.
    pub digest: [u8; 32],
    /// Lines of the trace, the last ones or all.
    pub trace: Vec<String>,
    /// What it contained.
    pub counts: Counts,
}

/// Lives the life of a seed. A panic in it is a violation too.
#[must_use]
pub fn live(seed: u64, keeps_trace: bool) -> Lived {
    let mut chance = Chance::new(seed, "life");
    let start = UnixMillis(FIRST_MS + chance.below(86_400_000));
    let machines = [3, 3, 3, 4, 5][chance.index(5)];
    let trace = Trace::new(start, keeps_trace);
    let course = Chance::new(seed, "course");
    let mut cluster = Cluster::new(machines, start, &retention::at_first(), course, trace);
    cluster.counts.machines = machines as u64;
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        begin(&mut cluster, &mut chance);
        end(&mut cluster, &mut chance);
    }));
    if let Err(panic) = lived {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        cluster.fail("nothing panics", text.to_owned());
    }
    let digest = cluster.trace.digest();
    let Cluster { trace, violation, counts, .. } = cluster;
    Lived { violation, digest, trace: trace.lines(), counts }
}

/// Operations and faults.
fn begin(cluster: &mut Cluster, chance: &mut Chance) {
    (0..cluster.machines.len()).for_each(|at| cluster.start(at));
    cluster.run(1_500);
    let mut faults = Faults::default();
    let steps = chance.between(170, 300);
    let mut idle_left = IDLE_MS_MAX;
    for _ in 0..steps {
        if cluster.violation.is_some() {
            return;
        }
        if chance.percent(7) {
            faults::begin(cluster, chance, &mut faults);
        } else {
            operations::one(cluster, chance);
        }
        match chance.below(200) {
            0 => {
                let longest = if cluster.is_a_clock_wrong() { 8 } else { 40 };
                let length = chance.between(3_600_000, longest * 3_600_000).min(idle_left);
                idle_left -= length;
                cluster.note(format_args!("{length} ms go by"));
                cluster.sleep(length);
            }
            1..=6 => cluster.run(chance.between(1_000, 15_000)),
            7..=100 => cluster.run(chance.below(300)),
            _ => cluster.run(chance.below(20)),
        }
        faults.end_due(cluster);
        if chance.percent(4)
            && let Some(at) = chance.pick(&cluster.awake())
        {
            invariants::deleted_stays_deleted::on(cluster, at);
            invariants::held_is_kept::on(cluster, at);
            invariants::within_caps::on(cluster, at);
        }
    }
    if cluster.violation.is_none() && chance.percent(60) {
        invariants::no_quorum::of_two(cluster, &mut faults);
    }
    faults.stop(cluster);
}

/// Faults have stopped: everything has to become equal, and right.
fn end(cluster: &mut Cluster, chance: &mut Chance) {
    let checks: [fn(&mut Cluster); 10] = [
        invariants::converges::within_rounds,
        invariants::equal_when_quiet::at_end,
        invariants::deleted_stays_deleted::at_end,
        invariants::acknowledged_is_readable::at_end,
        invariants::bodies_follow::at_end,
        invariants::removed_changes_nothing::at_end,
        invariants::index_equals_rebuild::at_end,
        invariants::within_caps::at_end,
        invariants::unlinked_late_enough::at_end,
        |cluster| {
            for at in cluster.members() {
                invariants::held_is_kept::on(cluster, at);
                invariants::deleted_stays_deleted::on(cluster, at);
            }
        },
    ];
    for check in checks {
        if cluster.violation.is_none() {
            check(cluster);
        }
    }
    if cluster.violation.is_none() && chance.percent(MERGED_PERCENT) {
        invariants::merging::at_end(cluster);
    }
}

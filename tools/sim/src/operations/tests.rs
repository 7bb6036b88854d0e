//! What the oracle learns of operations whose outcome nobody is told.

use super::{delete, note, put, release, retention};
use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::trace::Trace;
use quar_base::time::UnixMillis;

const START: UnixMillis = UnixMillis(1_795_413_600_000);
const YEAR_MS: i64 = 365 * 86_400_000;

#[test]
fn an_action_may_be_there_with_its_stamp_when_its_sync_failed_and_nobody_was_told() {
    for act in [delete::whole, release::begin, note::note] {
        let mut chance = Chance::new(1, "life");
        let trace = Trace::new(START, false);
        let course = Chance::new(1, "course");
        let mut cluster = Cluster::new(1, START, &retention::at_first(), course, trace);
        cluster.start(0);
        put::put(&mut cluster, &mut chance);
        cluster.run(60_000);
        let id = cluster.ledger.order[0];
        assert!(!cluster.is_ahead(id));
        cluster.machines[0].clock_ms = YEAR_MS;
        cluster.machines[0].disk.memory().set_fail_syncs(true);
        act(&mut cluster, &mut chance);
        assert!(cluster.machines[0].store().is_some_and(|store| store.has_failed()));
        cluster.kill(0);
        assert!(cluster.is_ahead(id));
    }
}

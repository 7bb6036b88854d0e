//! Random histories: what was lived, what a restart reads and what a rebuild computes are the same.
//! Never cuts the power within a step; `crash` does.

use crate::support::{assert_same, open_memory, rounds, see};
use crate::world::{MESSAGES, Step, World};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest,
};
use quar_index::MemoryIndex;
use quar_store::MemoryDisk;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Event {
    Step(Step),
    /// The power is cut; this share of the index's unflushed changes had reached the disk.
    Crash(f64),
    /// The index directory is gone.
    Rebuild,
    /// The process ended and began again, everything in the page cache still there.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let message = 0..MESSAGES;
    prop_oneof![
        4 => message.clone().prop_map(Step::Arrive),
        2 => message.clone().prop_map(Step::ArriveBare),
        2 => message.clone().prop_map(Step::Body),
        2 => (message.clone(), any::<u8>()).prop_map(|(at, whom)| Step::Delete(at, whom)),
        1 => message.clone().prop_map(|at| Step::Delete(at, 7)),
        1 => message.clone().prop_map(Step::Hold),
        1 => message.clone().prop_map(Step::Unhold),
        1 => (message, any::<u8>()).prop_map(|(at, whom)| Step::PeerDeletes(at, whom)),
        6 => Just(Step::Commit),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Erase),
        2 => Just(Step::Pack(None)),
        1 => (0u8..3).prop_map(|steps| Step::Pack(Some(steps))),
        1 => (0u8..40).prop_map(Step::Tick),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => step().prop_map(Event::Step),
        2 => (0.0..=1.0).prop_map(Event::Crash),
        1 => Just(Event::Rebuild),
        1 => Just(Event::Restart),
    ]
}

/// Lives through the events, and after each of them compares with a rebuild.
fn live(events: &[Event]) {
    let mut world = World::new();
    let mut disk = MemoryDisk::new();
    let mut index = Arc::new(MemoryIndex::new());
    let (mut store, _) = open_memory(disk.clone(), index.clone(), world.now);
    for event in events {
        if let Event::Step(step) = event {
            world.take(&store, step);
            continue;
        }
        world.take(&store, &Step::Commit);
        world.check(&store);
        let before = see(&store);
        drop(store);
        match event {
            Event::Crash(share) => {
                let kept = (index.unflushed() as f64 * share) as usize;
                index = Arc::new(index.crash_with(kept));
                disk = disk.crash();
            }
            Event::Rebuild => {
                index = Arc::new(MemoryIndex::new());
                disk = disk.crash();
            }
            Event::Restart | Event::Step(_) => {}
        }
        let (opened, report) = open_memory(disk.clone(), index.clone(), world.now);
        assert_eq!((report.damaged, report.torn_tails), (Vec::new(), 0));
        // A rebuild takes another index than the one handed in.
        if report.rebuilt.is_some() {
            drop(opened);
            index = Arc::new(MemoryIndex::new());
            store = open_memory(disk.clone(), index.clone(), world.now).0;
        } else {
            store = opened;
        }
        assert_same(&see(&store), &before, &format!("after {event:?}"));
        world.check(&store);
    }
    world.take(&store, &Step::Commit);
    world.check(&store);
    let lived = see(&store);
    let (rebuilt, _) = open_memory(disk.crash(), Arc::new(MemoryIndex::new()), world.now);
    assert_same(&see(&rebuilt), &lived, "rebuilt at the end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds("QUAR_HISTORIES", 40)))]
    #[test]
    fn what_was_lived_is_what_is_read_again(events in proptest::collection::vec(event(), 1..60)) {
        live(&events);
    }

    #[test]
    fn the_order_in_which_records_come_does_not_matter(
        steps in proptest::collection::vec(step(), 1..40),
        swaps in proptest::collection::vec((any::<usize>(), any::<usize>()), 0..40),
    ) {
        // Each record is made once, on one node; others learn them in other orders.
        let run = |steps: &[Step]| {
            let mut world = World::new();
            let (store, _) = open_memory(MemoryDisk::new(), Arc::new(MemoryIndex::new()), world.now);
            steps.iter().for_each(|step| world.take(&store, step));
            world.take(&store, &Step::Commit);
            store
        };
        let origin = run(&steps);
        let view = |store: &quar_store::Store| {
            store.advance(quar_base::time::Cutoff(u64::MAX / 2000));
            store.view(quar_store::Which::Current)
        };
        let mut items = Vec::new();
        for (bucket, ..) in view(&origin).buckets() {
            let keys = view(&origin).trie(bucket).unwrap();
            items.extend(keys.iter().map(|key| origin.item(bucket, &key).unwrap().unwrap()));
        }
        for (one, other) in swaps {
            if !items.is_empty() {
                let count = items.len();
                items.swap(one % count, other % count);
            }
        }
        let (store, _) = open_memory(MemoryDisk::new(), Arc::new(MemoryIndex::new()), crate::support::NOW);
        for (record, body) in items {
            let now = quar_base::time::UnixMillis(crate::support::NOW.0 + 86_400_000);
            store.admit_record(record, body, now).unwrap();
            store.commit();
        }
        prop_assert_eq!(store.live_root(), origin.live_root());
        prop_assert_eq!(view(&store).state_root(), view(&origin).state_root());
    }
}

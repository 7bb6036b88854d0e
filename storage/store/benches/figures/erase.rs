//! An erasure over one open day: how long it takes, what memory it needs, how long commits wait for it.
//! Never packs: a day that is over is packed, and its erasure is packing.

use crate::grow::put;
use crate::machine::{memory_mb, percentile, timed};
use crate::support::{NOW, open};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::Bucket;
use quar_base::time::{DAY_SECONDS, UnixMillis};
use quar_store::Query;
use std::sync::atomic::{AtomicBool, Ordering};

/// One message in so many is deleted.
const DELETED: usize = 1000;

/// Fills a day, deletes some of it, erases while more mail comes, and prints the figures.
pub fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let midnight = NOW.0 / (DAY_SECONDS * 1000) * DAY_SECONDS * 1000;
    let received =
        |number| UnixMillis(midnight + number as u64 * (NOW.0 - midnight) / count as u64);
    let store = open(directory.path());
    put(&store, 0..count, received);
    let mut query = Query { limit: 1000, ..Query::default() };
    loop {
        let page = store.list(&query).expect("the index can be read");
        for message in page.messages.iter().step_by(DELETED) {
            let action = Action::Deleted(RecipientSet::all(1).expect("one recipient"));
            store.admit_action(message.id, &action, NOW).expect("it can be deleted");
        }
        store.commit();
        let Some(next) = page.next else { break };
        query.before = Some(next);
    }
    store.checkpoint().expect("the index can be flushed");
    store.close();
    drop(store);
    // What filling took is given back.
    let store = open(directory.path());
    // The peak begins anew.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux forgets the peak");
    let (before, _) = memory_mb();
    let bucket = Bucket { class: Class::SPAM, day: NOW.day() };
    let is_over = AtomicBool::new(false);
    let (erasure_ms, erased, mut waits) = std::thread::scope(|scope| {
        let coming = scope.spawn(|| {
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let number = count + waits.len();
                waits.push(timed(|| put(&store, number..number + 1, |_| NOW)).0);
            }
            waits
        });
        let (ms, erased) = timed(|| store.erase(bucket).expect("it can be erased"));
        is_over.store(true, Ordering::Relaxed);
        (ms, erased, coming.join().expect("mail is taken"))
    });
    let (_, peak) = memory_mb();
    assert!(erased.messages > 0, "nothing was erased");
    println!(
        "{{\"part\":\"erase\",\"messages\":{count},\"erased\":{},\"erasure_s\":{:.2},\
         \"rss_mb\":{before:.1},\"peak_mb\":{peak:.1},\"puts\":{},\"put_p50_ms\":{:.2},\
         \"put_most_ms\":{:.0}}}",
        erased.messages,
        erasure_ms / 1000.0,
        waits.len(),
        percentile(&mut waits, 50),
        percentile(&mut waits, 100),
    );
}

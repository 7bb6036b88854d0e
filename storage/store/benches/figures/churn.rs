//! What days of putting, deleting, erasing, packing and expiring leave of the index, beside a fresh one.
//! Never measures a store that is shut down in between: room is won back while it runs, or not at all.

use crate::grow;
use crate::support::{NOW, bytes_below, open_with};
use quar_base::action::Action;
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::rng::Rng;
use quar_base::time::{DAY_SECONDS, Day, UnixMillis};
use quar_store::{Query, Retention, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const DAYS: u32 = 30;
const KEPT_DAYS: u32 = 10;
/// One message in so many is deleted on its day.
const DELETED: u64 = 4;
/// Flushes of the index in a day: one each half minute would be 2,880.
const FLUSHES: usize = 48;

/// Lives through the days and prints the figures; so many messages come in each.
pub fn run(per_day: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let retention = Retention(BTreeMap::from([(Class::SPAM, Some(KEPT_DAYS))]));
    let store = open_with(directory.path(), retention.clone()).0;
    let mut rng = Rng::from_seed([5; 32]);
    let first = NOW.day().minus(DAYS - 1);
    for number in 0..DAYS {
        let today = Day(first.0 + number);
        expire(&store, today);
        let start = number as usize * per_day;
        let received = |number: usize| {
            let seconds = (number % per_day) as u64 * DAY_SECONDS / per_day as u64;
            UnixMillis((u64::from(today.0) * DAY_SECONDS + seconds) * 1000)
        };
        for part in 0..FLUSHES {
            let from = start + part * per_day / FLUSHES;
            grow::put(&store, from..start + (part + 1) * per_day / FLUSHES, received);
            delete_some(&store, today, &mut rng);
            store.checkpoint().expect("the index can be flushed");
        }
        for bucket in store.erasable() {
            store.erase(bucket).expect("deleted messages can be erased");
        }
        for bucket in store.buckets().into_iter().filter(|bucket| bucket.day < today) {
            store.pack(bucket, &mut |_| ControlFlow::Continue(())).expect("days can be packed");
        }
    }
    store.checkpoint().expect("the index can be flushed");
    let (records, root) = (store.counts().records, store.live_root());
    store.close();
    drop(store);
    let index = directory.path().join("index");
    let churned = bytes_below(&index);
    std::fs::remove_dir_all(&index).expect("the index can be removed");
    let (store, _) = open_with(directory.path(), retention);
    assert_eq!(store.live_root(), root, "nothing was lost");
    store.checkpoint().expect("the index can be flushed");
    store.checkpoint().expect("the index can be flushed");
    store.close();
    drop(store);
    let fresh = bytes_below(&index);
    println!(
        "{{\"part\":\"churn\",\"messages_per_day\":{per_day},\"days\":{DAYS},\
         \"kept_days\":{KEPT_DAYS},\"records\":{records},\"index_bytes\":{churned},\
         \"index_bytes_fresh\":{fresh},\"ratio\":{:.3}}}",
        churned as f64 / fresh as f64,
    );
}

fn expire(store: &Store, today: Day) {
    store.set_today(today);
    let expired = store.unlink_expired().expect("files can be unlinked");
    store.forget_expired(&expired).expect("keys can be removed");
}

/// Deletes some of the latest messages of a day.
fn delete_some(store: &Store, today: Day, rng: &mut Rng) {
    let limit = 100;
    let query = Query { from: Some(today), to: Some(today), limit, ..Query::default() };
    let page = store.list(&query).expect("the index can be read");
    let now = UnixMillis((u64::from(today.0) + 1) * DAY_SECONDS * 1000 - 1000);
    for message in page.messages {
        if rng.below(DELETED) == 0 {
            let action = Action::Deleted(RecipientSet::all(1).expect("one recipient"));
            store.admit_action(message.id, &action, now).expect("it can be deleted");
        }
    }
    store.commit();
}

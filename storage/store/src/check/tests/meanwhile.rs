//! Erasures, packings and expiries while a check reads: nobody waits, and what was replaced is no finding.

use super::{filled, findings};
use crate::tests::delete;
use crate::{Checked, Finding, Store};
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A check that does `meanwhile` when it asks for the `at`-th time whether to go on; whether it came to that.
fn check(
    store: &Store,
    bucket: Bucket,
    at: usize,
    meanwhile: &(dyn Fn() + Sync),
) -> (Checked, Vec<Finding>, bool) {
    let asked = AtomicUsize::new(0);
    let step = |_| {
        if asked.fetch_add(1, Ordering::Relaxed) == at {
            meanwhile();
        }
        ControlFlow::Continue(())
    };
    let (checked, findings) = store.check(bucket, &step).unwrap().unwrap();
    (checked, findings, asked.into_inner() > at)
}

/// Does something at every moment of a check of a day, packed before and not.
fn at_every_moment(meanwhile: impl Fn(&Store, Bucket) + Sync) {
    for is_packed in [false, true] {
        let mut at = 0;
        loop {
            let (_node, store, ids) = filled(is_packed);
            let bucket = ids[0].bucket;
            let (checked, found, has_been) =
                check(&store, bucket, at, &|| meanwhile(&store, bucket));
            assert_eq!(found, [], "at {at}");
            if !has_been {
                assert!(at >= 3, "a check asks after each segment and between its parts");
                break;
            }
            let again = store.check(bucket, &|_| ControlFlow::Continue(())).unwrap().unwrap();
            assert_eq!(again, (checked, Vec::new()), "what it counted is what there is, at {at}");
            at += 1;
        }
    }
}

#[test]
fn an_erasure_during_a_check_does_not_wait_for_it_and_is_no_finding() {
    at_every_moment(|store, bucket| assert!(store.erase(bucket).unwrap().messages > 0));
}

#[test]
fn a_packing_during_a_check_does_not_wait_for_it_and_is_no_finding() {
    at_every_moment(|store, bucket| {
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    });
}

#[test]
fn a_day_that_expires_during_a_check_is_no_finding() {
    at_every_moment(|store, bucket| {
        store.set_today(Day(bucket.day.0 + 4000));
        assert_eq!(store.unlink_expired().unwrap().buckets, [bucket]);
    });
}

#[test]
fn what_is_left_of_a_message_is_told_while_it_is_erased() {
    for is_packed in [false, true] {
        let (_node, store, ids) = filled(is_packed);
        delete(&store, ids[7], 2, &[0, 1]);
        let asked = AtomicUsize::new(0);
        let step = |_| {
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                store.erase(ids[7].bucket).unwrap();
            }
            ControlFlow::Continue(())
        };
        let remains = store.remains_of(ids[7], &step).unwrap().unwrap();
        assert!(remains.is_deleted && remains.is_gone(), "{remains:?}");
    }
}

#[test]
fn a_check_that_is_to_end_ends_at_once_and_says_nothing() {
    let (_node, store, ids) = filled(false);
    let bucket = ids[0].bucket;
    for at in 0..3 {
        let asked = AtomicUsize::new(0);
        let step = |_| match asked.fetch_add(1, Ordering::Relaxed) {
            before if before == at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        assert_eq!(store.check(bucket, &step).unwrap(), None);
        assert_eq!(asked.into_inner(), at + 1);
    }
    assert_eq!(store.remains_of(ids[0], &|_| ControlFlow::Break(())).unwrap(), None);
    assert_eq!(findings(&store, bucket), []);
}

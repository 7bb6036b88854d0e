//! Upkeep of a real store in memory, by a clock that a test sets ahead.

use super::{Settings, Upkeep};
use crate::config::Config;
use crate::daemon::clock::Clock;
use crate::surface::tests::served;
use quar_base::action::Action;
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::key::MessageId;
use quar_base::time::Millis;
use quar_store::{Finding, Mail, MemoryDisk, Origin, Store};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

struct Kept {
    _directory: tempfile::TempDir,
    disk: Arc<MemoryDisk>,
    store: Arc<Store>,
    upkeep: Upkeep,
    stop: watch::Sender<bool>,
}

fn kept(erase_after: Millis) -> Kept {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(MemoryDisk::new());
    let store = Arc::new(served::store(directory.path().join("cluster"), disk.clone()));
    let settings = Settings { erase_after, ..Config::default().upkeep };
    let upkeep = Upkeep::new(store.clone(), Clock::start(), settings);
    Kept { _directory: directory, disk, store, upkeep, stop: watch::channel(false).0 }
}

impl Kept {
    fn put(&self, body: &[u8]) -> MessageId {
        self.put_as(Class::SPAM, body)
    }

    fn put_as(&self, class: Class, body: &[u8]) -> MessageId {
        let recipients = vec!["user@example.net".into()];
        let mail = Mail {
            class,
            received: self.upkeep.clock.now(),
            envelope: Envelope { recipients, ..Envelope::default() },
            headers: Headers::default(),
            body: self.store.encode_body(body).unwrap(),
            score_milli: 0,
            reason: String::new(),
            origin: Origin::Caught,
        };
        let id = self.store.admit_mail(mail).unwrap().message.unwrap();
        self.store.commit();
        id
    }

    fn delete(&self, id: MessageId) {
        let everyone = Action::Deleted(RecipientSet::all(1).unwrap());
        self.store.admit_action(id, &everyone, self.upkeep.clock.now()).unwrap();
        self.store.commit();
    }

    fn later(&mut self, by: Duration) {
        self.upkeep.clock = self.upkeep.clock.later(by);
        self.store.advance(self.upkeep.clock.now().cutoff());
    }

    fn check(&self) -> ControlFlow<()> {
        self.upkeep.check(&self.stop.subscribe())
    }

    fn erase(&self) -> u64 {
        self.upkeep.erase(&self.stop.subscribe());
        self.upkeep.status().erased_messages
    }
}

#[test]
fn an_erasure_that_is_overdue_breaks_off_a_check() {
    let mut kept = kept(Millis(0));
    let id = kept.put(b"to be deleted");
    assert!(kept.check().is_continue());
    kept.delete(id);
    // It was checked a moment ago.
    kept.later(Duration::from_secs(25 * 3600));
    assert!(kept.check().is_break());
    assert_eq!(kept.upkeep.status().erased_messages, 0);
    assert_eq!(kept.upkeep.status().erasing, [id.bucket.to_string()]);
    assert_eq!(kept.erase(), 1);
    assert!(kept.check().is_continue());
    assert_eq!(kept.upkeep.status().erasing, Vec::<String>::new());
}

#[test]
fn what_is_deleted_of_a_packed_day_is_out_of_the_files_within_the_time_for_it() {
    let hour = Duration::from_secs(3600);
    let mut kept = kept(Millis(3_600_000));
    let (id, _) = (kept.put(b"to be deleted"), kept.put(b"to stay"));
    kept.store.pack(id.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    // What the daemon finds when it starts is taken for old.
    kept.later(hour);
    kept.delete(id);
    for _ in 0..29 {
        assert_eq!(kept.erase(), 0, "deletes of a packed day are gathered");
        kept.later(hour / 60);
    }
    kept.later(2 * (hour / 60));
    assert_eq!(kept.erase(), 1, "half of the time is left to write the day anew");
    let remains = kept.store.remains_of(id, &|_| ControlFlow::Continue(())).unwrap().unwrap();
    assert!(remains.is_deleted && remains.is_gone(), "{remains:?}");
}

#[test]
fn what_is_deleted_of_a_large_open_day_is_erased_together_in_time() {
    let mut kept = kept(Millis(3_600_000));
    kept.later(Duration::from_secs(600));
    let mut noise = vec![0; 30 << 20];
    for (number, is_large) in [(0, false), (1, false), (2, true)] {
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
        kept.put(&noise);
        let id = kept.put(&[&b"to be deleted "[..], &[number]].concat());
        kept.delete(id);
        let before = kept.upkeep.status().erased_messages;
        assert_eq!(kept.erase(), before + u64::from(!is_large), "{number}");
    }
    kept.later(Duration::from_secs(1801));
    assert_eq!(kept.erase(), 3);
}

#[test]
fn an_erasure_of_a_packed_day_keeps_to_the_rate_and_ends_when_the_daemon_stops() {
    let mut kept = kept(Millis(3_600_000));
    let id = kept.put(b"to be deleted");
    kept.put(&[7; 100_000]);
    kept.store.pack(id.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    kept.delete(id);
    // At this rate it would take hours.
    kept.upkeep.settings.pack_bytes_per_s = 1;
    std::thread::scope(|scope| {
        let erasing = scope.spawn(|| kept.erase());
        kept.stop.send_replace(true);
        assert_eq!(erasing.join().unwrap(), 0);
    });
    assert_eq!(kept.store.erasable(), [id.bucket]);
    // Late, it does not wait any more.
    kept.stop.send_replace(false);
    kept.later(Duration::from_secs(3600));
    assert_eq!(kept.erase(), 1);
}

#[test]
fn findings_are_told_until_anybody_finds_the_day_whole() {
    let mut kept = kept(Millis(3_600_000));
    let id = kept.put(b"a mail");
    assert_eq!(kept.upkeep.status().unchecked_days, 1);
    kept.store.note_check(
        id.bucket,
        kept.upkeep.clock.now(),
        &[Finding::Trie { bucket: id.bucket }],
    );
    assert_eq!(kept.upkeep.status().findings, 1);
    assert!(kept.check().is_continue());
    assert_eq!(kept.upkeep.status().findings, 1, "it is not due yet");
    kept.later(Duration::from_secs(11 * 60));
    assert!(kept.check().is_continue());
    kept.later(Duration::from_secs(100));
    let status = kept.upkeep.status();
    assert_eq!((status.findings, status.checked_days, status.unchecked_days), (0, 1, 0));
    assert!(status.oldest_check_s.is_some_and(|seconds| (100..200).contains(&seconds)));
}

/// A mail of which not much is saved by coding it.
fn noise() -> Vec<u8> {
    let mut number = 1_u64;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 56) as u8
    };
    (0..100_000).map(|_| next()).collect()
}

#[test]
fn a_day_that_cannot_be_erased_keeps_nothing_from_being_checked_or_packed() {
    let mut kept = kept(Millis(3_600_000));
    let id = kept.put(b"to be deleted");
    kept.put(&noise());
    let other = kept.put_as(Class::VIRUS, b"of another day");
    kept.store.pack(id.bucket, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    kept.delete(id);
    kept.disk.set_free_bytes(50_000);
    assert_eq!(kept.erase(), 0);
    let trouble = kept.upkeep.status().trouble.unwrap_or_default();
    assert!(trouble.starts_with(&format!("erasing {} failed", id.bucket)), "{trouble}");
    kept.later(Duration::from_secs(50 * 3600));
    assert!(kept.check().is_continue());
    let checked: Vec<_> = kept.store.last_checks().into_keys().collect();
    assert_eq!(checked, [id.bucket, other.bucket]);
    assert!(kept.upkeep.pack(&kept.stop.subscribe()).is_continue());
    let packed: Vec<_> = kept.store.packed().into_iter().map(|(bucket, ..)| bucket).collect();
    assert_eq!(packed, [id.bucket, other.bucket]);
    kept.disk.set_free_bytes(u64::MAX);
    assert_eq!(kept.erase(), 1);
    assert_eq!(kept.upkeep.status().trouble, None);
}

#[test]
fn a_check_that_was_broken_off_comes_behind_the_others() {
    let kept = kept(Millis(0));
    let (id, other) = (kept.put(b"to be deleted"), kept.put_as(Class::VIRUS, b"of another day"));
    assert_eq!(kept.upkeep.due_checks(), [id.bucket, other.bucket]);
    kept.delete(id);
    assert!(kept.check().is_break());
    assert_eq!(kept.upkeep.due_checks(), [other.bucket, id.bucket]);
    assert_eq!(kept.erase(), 1);
    assert!(kept.check().is_continue());
    assert_eq!(kept.upkeep.due_checks(), []);
}

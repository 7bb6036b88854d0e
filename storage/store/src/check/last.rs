//! When each bucket was last checked, and what was found: by whoever checked it, and kept across restarts.
//! Never keeps the time of a check that found something beyond this run: the next run begins with that bucket.

use super::Finding;
use crate::disk::Disk;
use crate::store::Store;
use quar_base::key::Bucket;
use quar_base::time::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

const FILE: &str = "checked";
/// A bucket is checked again after this.
const AGAIN_AFTER: Millis = Millis(24 * 3_600_000);
/// One with findings is checked again after this, then after twice as long each time, up to a day: by then peers have
/// given what was damaged.
const AGAIN_AFTER_DAMAGE: Millis = Millis(10 * 60_000);

/// The last check of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended.
    pub at: UnixMillis,
    /// What it found, in words.
    pub findings: Vec<String>,
    again_after: Millis,
}

/// By bucket; one that is not there was never checked as far as is known.
pub(crate) type Checks = BTreeMap<Bucket, LastCheck>;

impl LastCheck {
    /// A time ahead is that of a clock that was wrong.
    fn is_over(&self, now: UnixMillis) -> bool {
        now < self.at || now.0 - self.at.0 >= self.again_after.0
    }
}

impl Store {
    /// Takes it that a bucket was checked at this time, with these findings: they stand in place of the last ones.
    pub fn note_check(&self, bucket: Bucket, at: UnixMillis, findings: &[Finding]) {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let known = self.buckets();
        let mut checks = self.checks_mut();
        checks.retain(|bucket, _| known.contains(bucket));
        let before = checks.get(&bucket).filter(|last| !last.findings.is_empty());
        let again_after = match (findings.is_empty(), before) {
            (true, _) => AGAIN_AFTER,
            (false, None) => AGAIN_AFTER_DAMAGE,
            (false, Some(last)) => Millis((last.again_after.0 * 2).min(AGAIN_AFTER.0)),
        };
        checks.insert(bucket, LastCheck { at, findings, again_after });
        // Without it the next run checks more than it must.
        if let Err(error) = self.disk.replace(Path::new(FILE), encode(&checks).as_bytes()) {
            tracing::warn!(%error, "when days were checked could not be saved");
        }
    }

    /// The last checks of the buckets that are here.
    #[must_use]
    pub fn last_checks(&self) -> BTreeMap<Bucket, LastCheck> {
        let known = self.buckets();
        let mut checks = self.checks_mut().clone();
        checks.retain(|bucket, _| known.contains(bucket));
        checks
    }

    /// Buckets that are to be checked: those that never were first, then the one that was longest ago.
    #[must_use]
    pub fn due_checks(&self, now: UnixMillis) -> Vec<Bucket> {
        let checks = self.last_checks();
        let is_due = |bucket: &Bucket| checks.get(bucket).is_none_or(|last| last.is_over(now));
        let mut due: Vec<Bucket> = self.buckets().into_iter().filter(is_due).collect();
        due.sort_by_key(|bucket| checks.get(bucket).map(|last| last.at));
        due
    }

    fn checks_mut(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the run before knew; nothing when that cannot be read.
pub(crate) fn load(disk: &dyn Disk) -> Checks {
    let bytes = disk.read(Path::new(FILE)).ok().flatten().unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.lines().filter_map(decode).collect()
}

fn encode(checks: &Checks) -> String {
    let clean = checks.iter().filter(|(_, last)| last.findings.is_empty());
    clean.map(|(bucket, last)| format!("{bucket} {}\n", last.at.0)).collect()
}

fn decode(line: &str) -> Option<(Bucket, LastCheck)> {
    let (bucket, at) = line.split_once(' ')?;
    let at = UnixMillis(at.parse().ok()?);
    let last = LastCheck { at, findings: Vec::new(), again_after: AGAIN_AFTER };
    Some((bucket.parse().ok()?, last))
}

#[cfg(test)]
mod tests {
    use super::FILE;
    use crate::tests::{NOW, Node, mail, put};
    use crate::{Finding, Mail};
    use quar_base::class::Class;
    use quar_base::key::Bucket;
    use quar_base::time::UnixMillis;
    use std::path::Path;

    fn after(minutes: u64) -> UnixMillis {
        UnixMillis(NOW.0 + minutes * 60_000)
    }

    fn two_buckets(store: &crate::Store) -> [Bucket; 2] {
        let one = put(store, b"spam", 1).bucket;
        let virus = Mail { class: Class::VIRUS, ..mail(b"virus", 1) };
        let other = store.admit_mail(virus).unwrap().message.unwrap().bucket;
        store.commit();
        [one, other]
    }

    #[test]
    fn the_order_goes_on_after_a_restart_with_what_was_checked_longest_ago() {
        let mut node = Node::new(1);
        let store = node.open();
        let [one, other] = two_buckets(&store);
        store.note_check(other, after(0), &[]);
        store.note_check(one, after(30), &[]);
        assert_eq!(store.due_checks(after(24 * 60)), [other]);
        let store = node.crash().open();
        assert_eq!(store.due_checks(after(60)), []);
        assert_eq!(store.due_checks(after(25 * 60)), [other, one]);
        assert_eq!(store.last_checks()[&one].at, after(30));
    }

    #[test]
    fn a_bucket_with_findings_is_checked_again_soon_then_seldom_and_first_after_a_restart() {
        let mut node = Node::new(1);
        let store = node.open();
        let [one, other] = two_buckets(&store);
        let found = [Finding::Trie { bucket: one }];
        store.note_check(other, after(0), &[]);
        store.note_check(one, after(0), &found);
        assert_eq!((store.due_checks(after(9)), store.due_checks(after(10))), (vec![], vec![one]));
        store.note_check(one, after(10), &found);
        assert_eq!((store.due_checks(after(29)), store.due_checks(after(30))), (vec![], vec![one]));
        assert_eq!(node.crash().open().due_checks(after(30)), [one]);
        // Whoever found it whole: it is not told of any more.
        store.note_check(one, after(31), &[]);
        assert_eq!(store.last_checks()[&one].findings, Vec::<String>::new());
        assert_eq!(store.due_checks(after(60)), []);
    }

    #[test]
    fn a_clock_that_was_ahead_and_a_damaged_file_keep_nothing_from_being_checked() {
        let mut node = Node::new(1);
        let store = node.open();
        let [one, other] = two_buckets(&store);
        store.note_check(one, after(9000), &[]);
        store.note_check(other, after(0), &[]);
        assert_eq!(store.due_checks(after(1)), [one]);
        drop(store);
        let mut after_crash = node.crash();
        after_crash.disk.damage(Path::new(FILE), |bytes| bytes.fill(0xff));
        assert_eq!(after_crash.open().due_checks(after(1)).len(), 2);
    }
}

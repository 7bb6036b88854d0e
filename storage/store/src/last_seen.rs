//! The time at which this node was last known to run, kept across restarts.
//! Never trusted beyond one question: did the clock jump while the node was down?

use crate::store::Store;
use quar_base::time::UnixMillis;
use std::io;
use std::path::Path;

const FILE: &str = "last-seen";

impl Store {
    /// Remembers that the node runs now. Two callers take turns.
    ///
    /// *Durable when* this returns.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn save_last_seen(&self, now: UnixMillis) -> io::Result<()> {
        // A stop may come while the last tick still saves: both would write the same draft.
        let _turn = self.committer();
        let text = format!("{}\n", now.0);
        self.reserve.with_room(|| self.disk.replace(Path::new(FILE), text.as_bytes()))
    }

    /// When the node was last known to run; `None` when that is not known.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn last_seen(&self) -> io::Result<Option<UnixMillis>> {
        let bytes = self.disk.read(Path::new(FILE))?.unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        Ok(text.strip_suffix('\n').and_then(|digits| digits.parse().ok()).map(UnixMillis))
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{NOW, Node};
    use std::path::Path;

    #[test]
    fn two_that_save_at_once_do_not_take_each_others_draft_away() {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::new(1);
        let mut store = node.open();
        store.disk = std::sync::Arc::new(crate::RealDisk::new(directory.path()));
        let store = &store;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| store.save_last_seen(NOW).unwrap()));
            }
        });
        assert_eq!(store.last_seen().unwrap(), Some(NOW));
    }

    #[test]
    fn the_time_survives_a_crash_and_damage_is_not_a_time() {
        let mut node = Node::new(1);
        let store = node.open();
        assert_eq!(store.last_seen().unwrap(), None);
        store.save_last_seen(NOW).unwrap();
        drop(store);
        let mut after = node.crash();
        assert_eq!(after.open().last_seen().unwrap(), Some(NOW));
        after.disk.damage(Path::new("last-seen"), |bytes| bytes[3] = b'x');
        assert_eq!(after.open().last_seen().unwrap(), None);
    }
}

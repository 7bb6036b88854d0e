//! The time at which this node was last known to run, kept across restarts.
//! Never trusted beyond one question: did the clock jump while the node was down?

use crate::store::Store;
use quar_base::time::UnixMillis;
use std::io;
use std::path::Path;

const FILE: &str = "last-seen";

/// When this node was last known to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// The time.
    pub at: UnixMillis,
    /// Since when, by the same clock, that time is in doubt: the clock went far at once, and nobody else was
    /// there to ask.
    pub doubted_since: Option<UnixMillis>,
}

impl LastSeen {
    /// A time that nothing speaks against.
    #[must_use]
    pub fn at(at: UnixMillis) -> Self {
        Self { at, doubted_since: None }
    }

    fn encode(self) -> String {
        let doubt = self.doubted_since.map_or_else(String::new, |since| format!(" {}", since.0));
        format!("{}{doubt}\n", self.at.0)
    }

    fn decode(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?;
        let (at, doubt) =
            line.split_once(' ').map_or((line, None), |(at, since)| (at, Some(since)));
        let doubted_since = doubt.map(|since| since.parse().map(UnixMillis)).transpose().ok()?;
        Some(Self { at: UnixMillis(at.parse().ok()?), doubted_since })
    }
}

impl Store {
    /// Remembers that the node runs now. Two callers take turns.
    ///
    /// *Durable when* this returns.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn save_last_seen(&self, now: LastSeen) -> io::Result<()> {
        // A stop may come while the last tick still saves: both would write the same draft.
        let _turn = self.committer();
        let text = now.encode();
        self.reserve.with_room(|| self.disk.replace(Path::new(FILE), text.as_bytes()))
    }

    /// When the node was last known to run; `None` when that is not known.
    ///
    /// # Errors
    /// As the operating system reports.
    pub fn last_seen(&self) -> io::Result<Option<LastSeen>> {
        let bytes = self.disk.read(Path::new(FILE))?.unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        Ok(LastSeen::decode(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::LastSeen;
    use crate::tests::{NOW, Node};
    use quar_base::time::UnixMillis;
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
                scope.spawn(|| {
                    (0..200).for_each(|_| store.save_last_seen(LastSeen::at(NOW)).unwrap())
                });
            }
        });
        assert_eq!(store.last_seen().unwrap(), Some(LastSeen::at(NOW)));
    }

    #[test]
    fn the_time_survives_a_crash_and_damage_is_not_a_time() {
        let mut node = Node::new(1);
        let store = node.open();
        assert_eq!(store.last_seen().unwrap(), None);
        let doubted = LastSeen { at: NOW, doubted_since: Some(UnixMillis(NOW.0 - 5)) };
        for seen in [LastSeen::at(NOW), doubted] {
            store.save_last_seen(seen).unwrap();
            assert_eq!(node.crash().open().last_seen().unwrap(), Some(seen));
        }
        drop(store);
        let mut after = node.crash();
        after.disk.damage(Path::new("last-seen"), |bytes| bytes[3] = b'x');
        assert_eq!(after.open().last_seen().unwrap(), None);
    }
}

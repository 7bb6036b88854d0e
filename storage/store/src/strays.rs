//! Files among the segments that the store makes no use of, by name.
//! Never opens nor removes them: whoever put them there knows what they are.

use crate::error::ReadError;
use crate::segment::{SEGMENTS, SegmentName, bucket_directory};
use crate::store::Store;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

impl Store {
    /// Files and directories below `segments` that hold nothing of this store: names that are none of
    /// its own, segments that came while it was open, expired days that could not be unlinked. Paths
    /// are relative to the data directory, in order; of a directory that is strange as a whole only
    /// its own.
    ///
    /// Packing and erasing go on meanwhile; a commit waits for one day's names at the most.
    ///
    /// # Errors
    /// [`ReadError`] when a directory cannot be listed.
    pub fn strays(&self) -> Result<Vec<PathBuf>, ReadError> {
        let mut strays = Vec::new();
        let root = Path::new(SEGMENTS);
        for class in self.disk.list(root)? {
            let path = root.join(&class.name);
            match own_name::<Class>(&class.name).filter(|_| class.is_dir) {
                Some(class) => self.strays_of_class(class, &path, &mut strays)?,
                None => strays.push(path),
            }
        }
        Ok(strays)
    }

    fn strays_of_class(
        &self,
        class: Class,
        directory: &Path,
        strays: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        for day in self.disk.list(directory)? {
            let path = directory.join(&day.name);
            match own_name::<Day>(&day.name).filter(|_| day.is_dir) {
                Some(day) => self.strays_of_day(Bucket { class, day }, strays)?,
                None => strays.push(path),
            }
        }
        Ok(())
    }

    fn strays_of_day(&self, bucket: Bucket, strays: &mut Vec<PathBuf>) -> io::Result<()> {
        let directory = bucket_directory(bucket);
        // No file of its own is made meanwhile, and the state knows each of them longer than it is there.
        let _committer = self.committer();
        let known: Option<BTreeSet<u32>> = {
            let state = self.state();
            state.buckets.get(&bucket).map(|held| held.segments.keys().copied().collect())
        };
        let entries = match self.disk.list(&directory) {
            // It expired since its class was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let Some(mut known) = known else {
            // A commit that failed leaves an empty directory: nothing that takes room.
            strays.extend((!entries.is_empty()).then_some(directory));
            return Ok(());
        };
        if let Some(pack) = self.index.pack(bucket) {
            known.extend(pack.members().map(|name| name.number));
        }
        let is_known =
            |name: &str| SegmentName::number_of(name).is_some_and(|number| known.contains(&number));
        let strange = entries.into_iter().filter(|entry| entry.is_dir || !is_known(&entry.name));
        strays.extend(strange.map(|entry| directory.join(entry.name)));
        Ok(())
    }
}

/// What a name means; `None` for one that the store would have written otherwise.
fn own_name<T: std::str::FromStr + ToString>(name: &str) -> Option<T> {
    name.parse::<T>().ok().filter(|own| own.to_string() == name)
}

#[cfg(test)]
mod tests {
    use crate::segment::bucket_directory;
    use crate::tests::{Node, delete, put};
    use crate::{Disk, Store};
    use std::ops::ControlFlow;
    use std::path::Path;

    fn strays(store: &Store) -> Vec<String> {
        store.strays().unwrap().iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_stores_own_files_are_no_strays_whatever_becomes_of_them() {
        let mut node = Node::new(1);
        let store = node.open();
        let id = put(&store, b"first", 1);
        put(&store, b"second", 1);
        assert_eq!(strays(&store), Vec::<String>::new(), "a log");
        delete(&store, id, 1, &[0]);
        store.erase(id.bucket).unwrap();
        assert_eq!(strays(&store), Vec::<String>::new(), "a rewrite");
        store.pack(id.bucket, &mut |_| ControlFlow::Continue(())).unwrap();
        put(&store, b"third", 1);
        assert_eq!(strays(&store), Vec::<String>::new(), "a pack, and a log beside it");
        drop(store);
        assert_eq!(strays(&node.open()), Vec::<String>::new(), "opened again");
        let mut without_index = node.crash();
        without_index.home = crate::MemoryHome(std::sync::Arc::default());
        assert_eq!(strays(&without_index.open()), Vec::<String>::new(), "built anew");
    }

    #[test]
    fn a_packing_that_goes_on_keeps_nobody_waiting_and_its_files_are_no_strays() {
        let mut node = Node::new(1);
        let store = node.open();
        let id = put(&store, b"first", 1);
        let mut steps = 0;
        store
            .pack(id.bucket, &mut |_| {
                steps += 1;
                assert_eq!(strays(&store), Vec::<String>::new());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(steps > 0);
    }

    #[test]
    fn names_what_it_has_no_use_for() {
        let mut node = Node::new(1);
        let store = node.open();
        let bucket = put(&store, b"kept", 1).bucket;
        let directory = bucket_directory(bucket);
        let lie = |path: &Path| {
            node.disk.create_dir(path.parent().unwrap()).unwrap();
            node.disk.create(path).unwrap();
        };
        let class = directory.parent().unwrap();
        let wanted = [
            directory.join("00000001.seg.old"),
            directory.join("00000009.seg"),
            directory.join("1.seg"),
            class.join("2001-01-01/00000001.seg"),
            class.join("notes"),
            "segments/ham/2026-11-23/00000001.seg".into(),
            "segments/class-1/2026-11-23/00000001.seg".into(),
        ];
        wanted.iter().for_each(|path| lie(path));
        node.disk.create_dir(&class.join("2001-01-02")).unwrap();
        let mut named = vec![
            directory.join("00000001.seg.old"),
            directory.join("00000009.seg"),
            directory.join("1.seg"),
            class.join("2001-01-01"),
            class.join("notes"),
            "segments/ham".into(),
            "segments/class-1".into(),
        ];
        named.sort();
        let mut found = store.strays().unwrap();
        found.sort();
        assert_eq!(found, named);
    }
}

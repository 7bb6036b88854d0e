//! Bodies in append-only segment files, only their places in sled.
//! Never keeps a body in memory longer than its commit.

use crate::{Answer, Form, Key, VALUES_PER_COMMIT};
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use quar_index::{Index, SledIndex, Tree, Write};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Values between two flushes of the index: it can be computed again from the segments.
const VALUES_PER_FLUSH: usize = 1_000;

/// Bodies in append-only files, their places in the index.
pub(crate) struct InSegments {
    dir: PathBuf,
    index: SledIndex,
    /// The last one is appended to.
    files: Vec<(PathBuf, File)>,
    used_bytes: u64,
    unflushed: usize,
}

const TREE: Tree = Tree::Bucket(Bucket { class: Class::SPAM, day: Day(20_000) });

impl InSegments {
    pub(crate) fn open(dir: &Path) -> Answer<Self> {
        let dir = dir.to_owned();
        let index = SledIndex::open(&dir.join("index"))?;
        let mut new = Self { dir, index, files: Vec::new(), used_bytes: 0, unflushed: 0 };
        new.begin_file()?;
        Ok(new)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let path = self.dir.join(format!("{:06}.seg", self.files.len()));
        let file = File::options().read(true).append(true).create_new(true).open(&path)?;
        File::open(&self.dir)?.sync_all()?;
        self.files.push((path, file));
        self.used_bytes = 0;
        Ok(())
    }

    /// File, offset and length of a value: four, eight and four bytes.
    fn place(&self, key: &Key) -> Answer<Option<(usize, u64, usize)>> {
        let Some(place) = self.index.get(TREE, key)? else {
            return Ok(None);
        };
        let (file, rest) = place.split_first_chunk::<4>().ok_or("a short place")?;
        let (offset, rest) = rest.split_first_chunk::<8>().ok_or("a short place")?;
        let length = rest.first_chunk::<4>().ok_or("a short place")?;
        Ok(Some((
            u32::from_be_bytes(*file) as usize,
            u64::from_be_bytes(*offset),
            u32::from_be_bytes(*length) as usize,
        )))
    }

    fn flush(&mut self) -> Answer<()> {
        self.unflushed = 0;
        Ok(self.index.flush()?)
    }
}

impl Form for InSegments {
    fn commit(&mut self, values: &[(Key, Vec<u8>)]) -> Answer<()> {
        if self.used_bytes >= SEGMENT_BYTES_MAX {
            self.begin_file()?;
        }
        let number = (self.files.len() - 1) as u32;
        let (mut block, mut places) = (Vec::new(), Vec::new());
        for (key, value) in values {
            let offset = self.used_bytes + block.len() as u64;
            let place = [
                &number.to_be_bytes()[..],
                &offset.to_be_bytes(),
                &(value.len() as u32).to_be_bytes(),
            ];
            places.push(Write::Put { tree: TREE, key: key.to_vec(), value: place.concat() });
            block.extend(value);
        }
        let (_, file) = self.files.last_mut().ok_or("no file")?;
        file.write_all(&block)?;
        file.sync_data()?;
        self.used_bytes += block.len() as u64;
        self.index.write(places)?;
        self.unflushed += values.len();
        if self.unflushed >= VALUES_PER_FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Answer<Option<Vec<u8>>> {
        let Some((file, offset, length)) = self.place(key)? else {
            return Ok(None);
        };
        let mut value = vec![0; length];
        self.files[file].1.read_exact_at(&mut value, offset)?;
        Ok(Some(value))
    }

    fn delete(mut self, keys: &[Key]) -> Answer<Self> {
        let delete = |key: &Key| Write::Delete { tree: TREE, key: key.to_vec() };
        self.index.write(keys.iter().map(delete).collect())?;
        let mut alive = Vec::new();
        self.index.scan(TREE, b"", &mut |key, place| {
            alive.extend(Key::try_from(key).map(|key| (place.to_vec(), key)));
            ControlFlow::Continue(())
        })?;
        // Places sort by file and offset.
        alive.sort_unstable();
        let old: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        self.begin_file()?;
        for alive in alive.chunks(VALUES_PER_COMMIT) {
            let read = |(_, key): &(Vec<u8>, Key)| -> Answer<(Key, Vec<u8>)> {
                Ok((*key, self.get(key)?.ok_or("a value is lost")?))
            };
            let values = alive.iter().map(read).collect::<Answer<Vec<_>>>()?;
            self.commit(&values)?;
        }
        self.flush()?;
        for path in old {
            fs::remove_file(path)?;
        }
        Ok(self)
    }
}

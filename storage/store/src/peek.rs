//! What the index says of a record, for those who need no more than that.
//! Never answers for a record's bytes: whoever serves those reads and verifies them.

use crate::layout::{self, RecordPlace};
use crate::set::Which;
use crate::store::Store;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, IndexError, Tree};
use quar_merkle::Prefix;

impl Store {
    /// A record's kind; `None` when it is not here.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn kind_of(&self, bucket: Bucket, key: &RecordKey) -> Result<Option<Kind>, IndexError> {
        let value = self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?;
        Ok(value.and_then(|value| RecordPlace::decode(&value)).map(|place| place.kind))
    }

    /// Whether a record is here, in one piece as far as is known.
    #[must_use]
    pub fn has_record(&self, bucket: Bucket, key: &RecordKey) -> bool {
        let is_broken =
            self.state().buckets.get(&bucket).is_some_and(|held| held.broken.records.contains(key));
        !is_broken && matches!(self.kind_of(bucket, key), Ok(Some(_)))
    }

    /// How many records of the set, as of the cutoff in force, are under a prefix.
    #[must_use]
    pub fn count_under(&self, bucket: Bucket, prefix: &Prefix) -> u64 {
        let trie = self.state().set.view(Which::Current).trie(bucket);
        trie.map_or(0, |trie| trie.summary(prefix).0)
    }

    /// Those records, ascending, at most `limit`.
    #[must_use]
    pub fn keys_under(&self, bucket: Bucket, prefix: &Prefix, limit: usize) -> Vec<RecordKey> {
        let trie = self.state().set.view(Which::Current).trie(bucket);
        trie.iter().flat_map(|trie| trie.iter_prefix(prefix)).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Node, delete, put};
    use quar_base::record::Kind;

    #[test]
    fn knows_the_kinds_of_records_that_are_here() {
        let store = Node::new(1).open();
        let id = put(&store, b"mail", 1);
        let deleted = delete(&store, id, 1, &[0]);
        assert_eq!(store.kind_of(id.bucket, &id.key).unwrap(), Some(Kind::ARRIVAL));
        assert_eq!(store.kind_of(id.bucket, &deleted.key()).unwrap(), Some(Kind::DELETED));
        let elsewhere =
            quar_base::key::Bucket { class: quar_base::class::Class::VIRUS, ..id.bucket };
        assert_eq!(store.kind_of(elsewhere, &id.key).unwrap(), None);
    }
}

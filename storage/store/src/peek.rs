//! What the index says of a record, for those who need no more than that.
//! Never answers for a record's bytes: whoever serves those reads and verifies them.

use crate::layout::{self, RecordPlace};
use crate::set::Which;
use crate::store::Store;
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::Kind;
use quar_index::{Index, IndexError, Tree};
use quar_merkle::Prefix;
use std::ops::ControlFlow;

impl Store {
    /// A record's kind; `None` when it is not here.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn kind_of(&self, bucket: Bucket, key: &RecordKey) -> Result<Option<Kind>, IndexError> {
        let value = self.index.get(Tree::Bucket(bucket), &layout::record_key(key))?;
        Ok(value.and_then(|value| RecordPlace::decode(&value)).map(|place| place.kind))
    }

    /// Records that are here, in one piece as far as is known, of which the keys begin with a prefix; in
    /// order, at most `limit`. None when the index cannot be read.
    ///
    /// *Limits*: a prefix of whole bytes; of an odd one the last nibble does not count.
    #[must_use]
    pub fn keys_named(&self, bucket: Bucket, prefix: &Prefix, limit: usize) -> Vec<RecordKey> {
        let whole = usize::from(prefix.nibbles() / 2);
        let start = [&[layout::RECORD][..], &prefix.bytes()[..whole]].concat();
        let mut keys = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            if keys.len() >= limit || !key.starts_with(&start) {
                return ControlFlow::Break(());
            }
            keys.extend(layout::parse_record_key(key));
            ControlFlow::Continue(())
        };
        if self.index.scan(Tree::Bucket(bucket), &start, &mut visit).is_err() {
            return Vec::new();
        }
        let state = self.state();
        let broken = state.buckets.get(&bucket).map(|held| &held.broken.records);
        keys.retain(|key| !broken.is_some_and(|broken| broken.contains(key)));
        keys
    }

    /// Records of the set, as of the cutoff in force, of these seconds, the first and the last one included; in
    /// order, at most `limit`.
    #[must_use]
    pub fn keys_between(&self, bucket: Bucket, from: u32, to: u32, limit: usize) -> Vec<RecordKey> {
        let trie = self.state().set.view(Which::Current).trie(bucket);
        let keys = trie.iter().flat_map(|trie| trie.iter_from(from));
        keys.take_while(|key| key.second <= to).take(limit).collect()
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
        let named = |nibbles: usize| {
            let bytes = id.key.to_bytes();
            let mut kept = [0; quar_base::key::RecordKey::BYTES];
            kept[..nibbles / 2].copy_from_slice(&bytes[..nibbles / 2]);
            quar_merkle::Prefix::new(kept, nibbles as u8).unwrap()
        };
        assert_eq!(store.keys_named(id.bucket, &named(16), 2), [id.key]);
        assert_eq!(store.keys_named(id.bucket, &named(72), 2), [id.key]);
        assert_eq!(store.keys_named(id.bucket, &named(0), 2).len(), 2, "the delete too");
        assert_eq!(store.keys_named(id.bucket, &named(0), 1).len(), 1);
        let elsewhere =
            quar_base::key::Bucket { class: quar_base::class::Class::VIRUS, ..id.bucket };
        assert_eq!(store.kind_of(elsewhere, &id.key).unwrap(), None);
        assert_eq!(store.keys_named(elsewhere, &named(16), 2), []);
    }
}

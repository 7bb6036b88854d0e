//! Blocks of a pack's tables: index entries, ascending, as the index would hold them.
//! Never knows what keys and values mean.
//!
//! ```text
//! length of the key (1)  length of the value (1)  key  value   again and again
//! ```
//! *Source*: docs/formats.md, "Pack".

use std::ops::Range;

/// Entries after which a table block is closed.
pub(crate) const TABLE_ENTRIES_MAX: usize = 1024;

/// Adds an entry to a block's payload.
pub(crate) fn push_entry(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        payload.push(u8::try_from(part.len()).expect("keys and values of a bucket are short"));
    }
    payload.extend_from_slice(key);
    payload.extend_from_slice(value);
}

/// A table block, read.
pub(crate) struct TableBlock {
    payload: Vec<u8>,
    entries: Vec<(Range<usize>, Range<usize>)>,
}

impl TableBlock {
    /// `None` for bytes that are no ascending entries.
    pub(crate) fn decode(payload: Vec<u8>) -> Option<Self> {
        let mut entries: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        let mut at = 0;
        while at < payload.len() {
            let lengths = payload.get(at..at + 2)?;
            let key = at + 2..at + 2 + usize::from(lengths[0]);
            let value = key.end..key.end + usize::from(lengths[1]);
            at = value.end;
            let bytes = payload.get(key.clone())?;
            payload.get(value.clone())?;
            if entries.last().is_some_and(|(last, _)| payload[last.clone()] >= *bytes) {
                return None;
            }
            entries.push((key, value));
        }
        Some(Self { payload, entries })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Key and value of an entry by its number.
    pub(crate) fn entry(&self, number: usize) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.entries.get(number)?;
        Some((&self.payload[key.clone()], &self.payload[value.clone()]))
    }

    /// The number of the first entry whose key is not below `key`.
    pub(crate) fn position(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|(known, _)| self.payload[known.clone()] < *key)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let (known, value) = self.entry(self.position(key))?;
        (known == key).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{TableBlock, push_entry};

    fn block(entries: &[(&[u8], &[u8])]) -> Option<TableBlock> {
        let mut payload = Vec::new();
        entries.iter().for_each(|(key, value)| push_entry(&mut payload, key, value));
        TableBlock::decode(payload)
    }

    #[test]
    fn finds_what_is_in_it_and_the_place_of_what_is_not() {
        let block = block(&[(b"a", b"1"), (b"b", b""), (b"d", b"4")]).unwrap();
        assert_eq!(block.get(b"a"), Some(&b"1"[..]));
        assert_eq!(block.get(b"b"), Some(&b""[..]));
        assert_eq!(block.get(b"c"), None);
        assert_eq!(block.position(b"c"), 2);
        assert_eq!(block.entry(2), Some((&b"d"[..], &b"4"[..])));
        assert_eq!(block.entry(3), None);
    }

    #[test]
    fn refuses_entries_cut_short_out_of_order_or_twice() {
        assert!(block(&[(b"b", b"1"), (b"a", b"1")]).is_none());
        assert!(block(&[(b"b", b"1"), (b"b", b"2")]).is_none());
        for length in 1..4 {
            assert!(TableBlock::decode([&[1, 1][..], b"kv"].concat()[..length].to_vec()).is_none());
        }
        assert!(TableBlock::decode(vec![255, 255, 1]).is_none());
        assert_eq!(TableBlock::decode(Vec::new()).map(|block| block.len()), Some(0));
    }
}

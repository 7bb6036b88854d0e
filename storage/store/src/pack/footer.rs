//! The footer of a pack: what it holds, where its tables are, which segments make it up and which it replaces.
//! Never read before the segment's cipher has opened it, and no length in it is believed beyond its bytes.
//!
//! *Source*: docs/formats.md, "Pack".

use crate::versions::FOOTERS;
use quar_base::key::RecordKey;
use quar_merkle::{Hash, Part};

/// Why a footer's payload says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FooterError {
    #[error("the footer of the pack is damaged")]
    Damaged,
    #[error(
        "the footer of the pack has format version {0}; this program reads versions 1 to {newest}, and nothing \
         was changed: upgrade to the program that wrote it, or a later one",
        newest = FOOTERS.newest()
    )]
    Version(u16),
}

/// What a pack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackCounts {
    pub(crate) arrivals: u64,
    pub(crate) actions: u64,
    pub(crate) bodies: u64,
    /// Plain bytes of the bodies.
    pub(crate) body_bytes: u64,
}

/// A segment that a pack is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) number: u32,
    /// First bytes of its salt.
    pub(crate) salt: [u8; 8],
    /// Its length; of the footer's own segment, where the footer begins.
    pub(crate) end: u64,
}

/// A table block: its first key and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableEntry {
    pub(crate) first: Vec<u8>,
    pub(crate) offset: u32,
    /// Of a block of record keys, which is one part of the trie: the part but for its first key.
    pub(crate) part: Option<TablePart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TablePart {
    pub(crate) last: RecordKey,
    pub(crate) count: u32,
    pub(crate) hash: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) counts: PackCounts,
    /// Root of the trie over its record keys.
    pub(crate) root: Hash,
    /// BLAKE3 over all entries of its tables, as they are written.
    pub(crate) digest: [u8; 32],
    pub(crate) members: Vec<Member>,
    pub(crate) replaced: Vec<u32>,
    /// Ascending.
    pub(crate) tables: Vec<TableEntry>,
}

impl Footer {
    /// The parts of the trie, as the table blocks of record keys give them.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let part = |entry: &TableEntry| {
            let TablePart { last, count, hash } = entry.part?;
            let first = crate::layout::parse_record_key(&entry.first)?;
            Some(Part { first, last, count: count.into(), hash })
        };
        self.tables.iter().filter_map(part).collect()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = FOOTERS.newest().to_le_bytes().to_vec();
        let PackCounts { arrivals, actions, bodies, body_bytes } = self.counts;
        for count in [arrivals, actions, bodies, body_bytes] {
            bytes.extend(count.to_le_bytes());
        }
        bytes.extend(self.root.0);
        bytes.extend(self.digest);
        push_length(&mut bytes, self.members.len());
        for member in &self.members {
            bytes.extend(member.number.to_le_bytes());
            bytes.extend(member.salt);
            bytes.extend(member.end.to_le_bytes());
        }
        push_length(&mut bytes, self.replaced.len());
        self.replaced.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        push_length(&mut bytes, self.tables.len());
        for table in &self.tables {
            bytes.extend(table.offset.to_le_bytes());
            bytes.push(u8::try_from(table.first.len()).expect("keys of a bucket are short"));
            bytes.extend(&table.first);
            bytes.push(table.part.is_some().into());
            if let Some(TablePart { last, count, hash }) = &table.part {
                bytes.extend(last.to_bytes());
                bytes.extend(count.to_le_bytes());
                bytes.extend(hash.0);
            }
        }
        bytes
    }

    /// Reads a footer of any version up to the newest.
    ///
    /// # Errors
    /// [`FooterError`]; tables that do not ascend, in which keys would not be found, are damage too.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FooterError> {
        let mut fields = Fields(bytes);
        let version = fields.take().map(u16::from_le_bytes).ok_or(FooterError::Damaged)?;
        if !FOOTERS.reads(version) {
            return Err(FooterError::Version(version));
        }
        let footer = Self::read(fields).ok_or(FooterError::Damaged)?;
        Ok(FOOTERS.forward(footer, version))
    }

    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let counts = PackCounts {
            arrivals: fields.u64()?,
            actions: fields.u64()?,
            bodies: fields.u64()?,
            body_bytes: fields.u64()?,
        };
        let (root, digest) = (Hash(fields.take()?), fields.take()?);
        let member = |fields: &mut Fields<'_>| {
            let (number, salt) = (fields.u32()?, fields.take()?);
            Some(Member { number, salt, end: fields.u64()? })
        };
        let members = fields.list(20, member)?;
        let replaced = fields.list(4, |fields| fields.u32())?;
        let tables = fields.list(6, Fields::table)?;
        let is_ascending = tables.is_sorted_by(|a, b| a.first < b.first);
        let footer = Self { counts, root, digest, members, replaced, tables };
        (is_ascending && fields.0.is_empty()).then_some(footer)
    }
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u32::try_from(length).expect("a footer is bounded").to_le_bytes());
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A count and as many entries of at least `bytes_min` each.
    fn list<T>(
        &mut self,
        bytes_min: usize,
        mut entry: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count > self.0.len() / bytes_min {
            return None;
        }
        (0..count).map(|_| entry(self)).collect()
    }

    fn table(&mut self) -> Option<TableEntry> {
        let offset = self.u32()?;
        let [length] = self.take()?;
        let (first, rest) = self.0.split_at_checked(length.into())?;
        let first = first.to_vec();
        self.0 = rest;
        let part = match self.take()? {
            [0] => None,
            [1] => Some(TablePart {
                last: RecordKey::from_bytes(&self.take()?),
                count: self.u32()?,
                hash: Hash(self.take()?),
            }),
            _ => return None,
        };
        Some(TableEntry { first, offset, part })
    }
}

#[cfg(test)]
mod tests {
    use super::{Footer, FooterError, Member, PackCounts, TableEntry, TablePart};
    use quar_base::ids::RecordId;
    use quar_base::key::RecordKey;
    use quar_merkle::Hash;

    fn footer() -> Footer {
        let key = |second| RecordKey { second, id: RecordId([7; 32]) };
        let part = TablePart { last: key(9), count: 3, hash: Hash([5; 32]) };
        Footer {
            counts: PackCounts { arrivals: 1, actions: 2, bodies: 3, body_bytes: 1 << 40 },
            root: Hash([1; 32]),
            digest: [2; 32],
            members: vec![Member { number: 4, salt: [6; 8], end: 256 }],
            replaced: vec![1, 2, 3],
            tables: vec![
                TableEntry { first: b"b12".to_vec(), offset: 8, part: None },
                TableEntry {
                    first: crate::layout::record_key(&key(3)),
                    offset: 16,
                    part: Some(part),
                },
            ],
        }
    }

    #[test]
    fn decodes_to_what_was_encoded_and_gives_the_parts_of_its_trie() {
        let footer = footer();
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer.clone()));
        let parts = footer.parts();
        assert_eq!((parts.len(), parts[0].count, parts[0].first.second), (1, 3, 3));
    }

    #[test]
    fn tells_what_is_shorter_or_longer_from_what_is_of_a_later_version() {
        let bytes = footer().encode();
        for length in 0..bytes.len() {
            assert_eq!(Footer::decode(&bytes[..length]), Err(FooterError::Damaged), "{length}");
        }
        assert_eq!(Footer::decode(&[&bytes[..], &[0]].concat()), Err(FooterError::Damaged));
        let mut later = bytes.clone();
        later[0] = 2;
        assert_eq!(Footer::decode(&later), Err(FooterError::Version(2)));
        // A count that its bytes cannot hold is no reason to allocate for it.
        let mut huge = bytes;
        huge[98..102].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Footer::decode(&huge), Err(FooterError::Damaged));
    }
}

//! Whether a deleted message has left the files: every block of its day is read for it.
//! Never takes the index's word, nor speaks of what other messages left.

use super::Contents;
use crate::error::ReadError;
use crate::layout;
use crate::segment::{BlockPlace, SegmentName};
use crate::store::Store;
use quar_base::ids::BodyId;
use quar_base::key::{Bucket, MessageId};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

const CUT_SHORT: &str = "what a write left that was cut short";

/// What the files of its day still hold of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Whether deletes that are here cover all of its recipients: if not, nothing of it is to go.
    pub is_deleted: bool,
    /// Where its record lies, and its body if no message that stays needs it.
    pub places: Vec<String>,
    /// What may be of it and may be of others: damaged stretches, bodies that no record in these files names, and what
    /// a write left that was cut short.
    pub unsure: Vec<String>,
}

impl Remains {
    /// Whether nothing of the message is left, for sure.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.places.is_empty() && self.unsure.is_empty()
    }
}

impl Store {
    /// What is left of this message in the files of its day. Commits, erasures and packings go on meanwhile. `step` as
    /// in [`Self::check`]; `None` when it said no.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read.
    pub fn remains_of(
        &self,
        id: MessageId,
        step: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Option<Remains>, ReadError> {
        let _unchanged = self.reading_headers();
        let listing = || Ok(self.all_segments(id.bucket)?);
        let Some((contents, _)) = self.read_through(id.bucket, &listing, step)? else {
            return Ok(None);
        };
        let state = self.state();
        let held = state.buckets.get(&id.bucket);
        let is_deleted = |key| held.is_some_and(|held| held.is_covered(key));
        let mut remains = Remains { is_deleted: is_deleted(&id.key), ..Remains::default() };
        for place in contents.whole.records.get(&id.key).into_iter().flatten() {
            remains.places.push(at(id.bucket, "its record", place.block));
        }
        let arrivals = &contents.whole.arrivals;
        let needed: BTreeSet<&BodyId> = arrivals
            .iter()
            .filter(|(key, _)| **key != id.key && !is_deleted(key))
            .map(|(_, body)| body)
            .collect();
        match arrivals.get(&id.key) {
            Some(body) if needed.contains(body) => {}
            Some(body) => {
                let key = layout::body_key(body);
                let places = contents
                    .whole
                    .places_of(&key)
                    .map(|place| at(id.bucket, "its body", place.block));
                remains.places.extend(places);
            }
            None => remains.unsure.extend(unnamed_bodies(id.bucket, &contents)),
        }
        let cut_short = contents.whole.cut_short.iter();
        remains.unsure.extend(cut_short.map(|place| at(id.bucket, CUT_SHORT, *place)));
        remains.unsure.extend(contents.findings.iter().map(ToString::to_string));
        Ok(Some(remains))
    }
}

/// Which body a message had is told by its record alone: without it, one that no record names may be its own.
fn unnamed_bodies(bucket: Bucket, contents: &Contents) -> Vec<String> {
    let named: BTreeSet<Vec<u8>> = contents.whole.arrivals.values().map(layout::body_key).collect();
    let unnamed = contents.whole.bodies.iter().filter(|(key, _)| !named.contains(*key));
    unnamed.map(|(_, place)| at(bucket, "a body that no record names", place.block)).collect()
}

fn at(bucket: Bucket, what: &str, block: BlockPlace) -> String {
    let name = SegmentName { bucket, number: block.segment };
    format!("{}: {what}, in the block at {}", name.path().display(), block.offset)
}

#[cfg(test)]
mod tests {
    use super::Remains;
    use crate::Store;
    use crate::segment::SegmentName;
    use crate::tests::{Node, delete, put};
    use quar_base::key::MessageId;
    use std::ops::ControlFlow;

    fn remains(store: &Store, id: MessageId) -> Remains {
        store.remains_of(id, &|_| ControlFlow::Continue(())).unwrap().unwrap()
    }

    #[test]
    fn a_message_is_found_until_it_is_erased_and_not_after() {
        for is_packed in [false, true] {
            let mut node = Node::new(1);
            let store = node.open();
            let (kept, gone) = (put(&store, b"kept", 1), put(&store, &[7; 400], 1));
            if is_packed {
                store.pack(gone.bucket, &mut |_| ControlFlow::Continue(())).unwrap();
            }
            let before = remains(&store, gone);
            assert!(!before.is_deleted && before.places.len() == 2, "{before:?}");
            delete(&store, gone, 1, &[0]);
            let left = remains(&store, gone);
            assert!(left.is_deleted && left.places[1].contains("its body"), "{left:?}");
            store.erase(gone.bucket).unwrap();
            let after = remains(&store, gone);
            assert!(after.is_deleted && after.is_gone(), "{after:?}");
            assert_eq!(store.body(kept).unwrap(), b"kept");
        }
    }

    #[test]
    fn what_another_message_left_is_none_of_its_remains() {
        let mut node = Node::new(1);
        let store = node.open();
        let (one, other) = (put(&store, &[7; 400], 1), put(&store, &[8; 400], 1));
        delete(&store, one, 1, &[0]);
        store.erase(one.bucket).unwrap();
        delete(&store, other, 1, &[0]);
        assert_eq!(remains(&store, one), Remains { is_deleted: true, ..Remains::default() });
        assert_eq!(remains(&store, other).places.len(), 2);
    }

    #[test]
    fn a_body_that_another_message_needs_is_no_remains_and_one_that_went_with_it_is() {
        let mut node = Node::new(1);
        let store = node.open();
        let (one, other) = (put(&store, &[7; 400], 1), put(&store, &[7; 400], 2));
        delete(&store, one, 1, &[0]);
        assert_eq!(remains(&store, one).places.len(), 1);
        delete(&store, other, 2, &[0, 1]);
        assert_eq!(remains(&store, one).places.len(), 2);
    }

    #[test]
    fn a_damaged_block_makes_it_unsure_and_no_more() {
        let mut node = Node::new(1);
        let store = node.open();
        let (gone, kept) = (put(&store, &[7; 400], 1), put(&store, &[8; 400], 1));
        delete(&store, gone, 1, &[0]);
        store.erase(gone.bucket).unwrap();
        let name = |number| SegmentName { bucket: kept.bucket, number };
        let number = (1..9).find(|number| store.segments.open(name(*number)).is_ok()).unwrap();
        node.disk.damage(&name(number).path(), |bytes| bytes[300] ^= 1);
        let left = remains(&store, gone);
        assert!(left.places.is_empty() && !left.is_gone(), "{left:?}");
        assert!(left.unsure.iter().any(|text| text.contains("damaged")), "{left:?}");
    }
}

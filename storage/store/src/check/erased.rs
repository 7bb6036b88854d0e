//! Whether a deleted message has left the files: every block of its day is read for it.
//! Never takes the index's word.

use crate::error::ReadError;
use crate::layout;
use crate::segment::SegmentName;
use crate::store::Store;
use quar_base::key::MessageId;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl Store {
    /// Where in the files of its day this message's record still lies, and bodies that no message
    /// needs, its own perhaps among them. Nothing of an erased message is found.
    ///
    /// # Errors
    /// [`ReadError`] when the disk cannot be read.
    pub fn remains_of(&self, id: MessageId) -> Result<Vec<String>, ReadError> {
        let _alone = self.rewriting();
        let goes_on = |_| ControlFlow::Continue(());
        let Some(contents) = self.read_through(id.bucket, &goes_on)? else {
            return Ok(Vec::new());
        };
        let path = |number| SegmentName { bucket: id.bucket, number }.path().display().to_string();
        let mut remains = Vec::new();
        for place in contents.whole.records.get(&id.key).into_iter().flatten() {
            let block = place.block;
            remains.push(format!(
                "{}: its record, in the block at {}",
                path(block.segment),
                block.offset
            ));
        }
        let needed: BTreeSet<Vec<u8>> = {
            let state = self.state();
            let held = state.buckets.get(&id.bucket);
            let is_needed = |key| held.is_none_or(|held| !held.is_covered(key));
            let arrivals = contents.whole.arrivals.iter().filter(|(key, _)| is_needed(key));
            arrivals.map(|(_, body)| layout::body_key(body)).collect()
        };
        for (key, place) in contents.whole.bodies.iter().filter(|(key, _)| !needed.contains(*key)) {
            let block = place.block;
            let of = if contents.whole.arrivals.get(&id.key).map(layout::body_key).as_ref()
                == Some(key)
            {
                "its body"
            } else {
                "a body that no message needs"
            };
            remains.push(format!(
                "{}: {of}, in the block at {}",
                path(block.segment),
                block.offset
            ));
        }
        // What cannot be read may hold it.
        remains.extend(contents.findings.iter().map(ToString::to_string));
        Ok(remains)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Node, delete, put};
    use std::ops::ControlFlow;

    #[test]
    fn a_message_is_found_until_it_is_erased_and_not_after() {
        for is_packed in [false, true] {
            let mut node = Node::new(1);
            let store = node.open();
            let (kept, gone) = (put(&store, b"kept", 1), put(&store, &[7; 400], 1));
            if is_packed {
                store.pack(gone.bucket, &mut |_| ControlFlow::Continue(())).unwrap();
            }
            assert_eq!(store.remains_of(gone).unwrap().len(), 1, "its body is needed yet");
            delete(&store, gone, 1, &[0]);
            let remains = store.remains_of(gone).unwrap();
            assert!(remains.len() == 2 && remains[1].contains("its body"), "{remains:?}");
            assert_eq!(store.remains_of(kept).unwrap().len(), 2);
            store.erase(gone.bucket).unwrap();
            assert_eq!(store.remains_of(gone).unwrap(), Vec::<String>::new());
            assert_eq!(store.body(kept).unwrap(), b"kept");
        }
    }
}

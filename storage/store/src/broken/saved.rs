//! The names of damaged records, kept across restarts: when their segment is gone nothing else says them.
//! Never believed of a record that can be read after all, and never replaced where a later version wrote them.
//!
//! Where the list is damaged itself, the index and the packs name at least the actions: what they said stands there.

use crate::disk::Disk;
use crate::error::ReadError;
use crate::store::{Committer, Store};
use quar_base::key::MessageId;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

pub(crate) const FILE: &str = "broken";
const HEADER: &str = "quard broken 1\n";

impl Store {
    /// Makes the names durable, if they are others than those in the file. Callers take turns.
    pub(crate) fn save_broken(&self, _turn: &Committer) -> io::Result<()> {
        let names: BTreeSet<MessageId> = self.broken_records().into_iter().collect();
        if self.state().saved_broken == names {
            return Ok(());
        }
        let text = encode(&names);
        self.reserve.with_room(|| self.disk.replace(Path::new(FILE), text.as_bytes()))?;
        self.state_mut().saved_broken = names;
        Ok(())
    }

    /// Marks what was damaged before this start, and still is.
    ///
    /// # Errors
    /// [`ReadError`] when the disk or the index cannot be read.
    pub(crate) fn recall_broken(&self, names: BTreeSet<MessageId>) -> Result<(), ReadError> {
        for id in &names {
            match self.record(id.bucket, &id.key) {
                Ok(Some(_)) => continue,
                Ok(None) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            let mut state = self.state_mut();
            // Below a floor that a wrong clock set it is missed again when the clock is right.
            if state.is_missed(*id) {
                state.set.forget(id.bucket, id.key);
                let held = state.buckets.entry(id.bucket).or_default();
                held.broken.records.insert(id.key);
            }
        }
        self.state_mut().saved_broken = names;
        Ok(())
    }
}

/// The names that are on disk.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) names: BTreeSet<MessageId>,
    /// What is to be reported when the list is damaged.
    pub(crate) damage: Option<String>,
}

/// Reads them.
///
/// # Errors
/// When the file cannot be read, or a later version wrote it.
pub(crate) fn load(disk: &dyn Disk) -> io::Result<Named> {
    let Some(bytes) = disk.read(Path::new(FILE))? else { return Ok(Named::default()) };
    if let Some(names) = decode(&bytes) {
        return Ok(Named { names, damage: None });
    }
    if is_of_a_later_version(&bytes) {
        let why = "the file was written by a later version of this program; run that one";
        return Err(io::Error::other(why));
    }
    let why = "the list of damaged records is damaged; a check names those that are left";
    Ok(Named { names: BTreeSet::new(), damage: Some(format!("{FILE}: {why}")) })
}

fn encode(names: &BTreeSet<MessageId>) -> String {
    let mut text = HEADER.to_owned();
    names.iter().for_each(|id| text.push_str(&format!("{id}\n")));
    let check = check_of(&text);
    text.push_str(&check);
    text
}

fn decode(bytes: &[u8]) -> Option<BTreeSet<MessageId>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, check) = text.split_at(text.rfind("check ")?);
    if check != check_of(body) {
        return None;
    }
    body.strip_prefix(HEADER)?.lines().map(MessageId::parse_record).collect()
}

/// Whether the check holds for another first line than ours.
fn is_of_a_later_version(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parts = text.rfind("check ").map(|at| text.split_at(at));
    parts.is_some_and(|(body, check)| {
        body.starts_with("quard broken ") && !body.starts_with(HEADER) && check == check_of(body)
    })
}

fn check_of(text: &str) -> String {
    format!("check {}\n", &blake3::hash(text.as_bytes()).to_hex().as_str()[..16])
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use super::{check_of, decode, encode, is_of_a_later_version};
    use crate::tests::{Node, put};
    use quar_base::key::{MessageId, RecordKey};
    use std::collections::BTreeSet;

    #[test]
    fn a_list_is_read_as_it_was_written_and_a_changed_one_is_not() {
        let mut node = Node::new(1);
        let store = node.open();
        let one = put(&store, b"one", 1);
        // An action of a month later, and the last one that there can be.
        let actions = [2_700_000, u32::MAX]
            .map(|second| MessageId { key: RecordKey { second, ..one.key }, ..one });
        let names = BTreeSet::from([one, put(&store, b"two", 1), actions[0], actions[1]]);
        let text = encode(&names);
        assert_eq!(decode(text.as_bytes()), Some(names));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 2;
            assert_eq!(decode(&bytes), None, "byte {at}");
            assert!(!is_of_a_later_version(&bytes), "byte {at}");
        }
    }

    #[test]
    fn a_later_versions_list_is_told_from_a_damaged_one() {
        let body = "quard broken 2\nsomething else\n";
        assert!(is_of_a_later_version((body.to_owned() + &check_of(body)).as_bytes()));
        assert!(!is_of_a_later_version(b"quard broken 2\nsomething else\n"));
    }
}

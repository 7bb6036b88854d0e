//! Which segments an erasure writes anew.
//! Never passes over bytes that may be of what goes because no record names them.

use super::Doomed;
use crate::error::ReadError;
use crate::layout;
use crate::segment::{Entry, Found, Segment, SegmentRole};
use std::io;

/// Whether a segment holds something that goes, or may hold it; and whether it is a rewrite that was never finished,
/// whose room is needed. What has nothing of these is left as it is.
pub(super) fn is_touched(segment: &Segment, doomed: &Doomed) -> Result<bool, ReadError> {
    if segment.role() == SegmentRole::Rewrite && segment.replaced()?.is_none() {
        return Ok(true);
    }
    let mut is_doomed = false;
    // The write that a power cut broke off: a part of it at the end of the file, and whole bodies before that.
    let (mut has_bodies, mut is_torn) = (false, false);
    let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
        match found {
            Found::Bodies { .. } => has_bodies = true,
            Found::Entries { entries, .. } => {
                has_bodies = false;
                is_doomed |= entries.iter().any(|entry| match entry {
                    Entry::Record(record) => doomed.records.contains(&record.key()),
                    Entry::Body(body) => doomed.bodies.contains(&layout::body_key(&body.id)[..]),
                });
            }
            Found::TornTail => is_torn = true,
            _ => {}
        }
        Ok(())
    });
    scanned.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(is_doomed || has_bodies || is_torn)
}

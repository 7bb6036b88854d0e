//! Which segments an erasure writes anew.
//! Never leaves what goes where it is.

use super::{Doomed, visit_entries};
use crate::error::ReadError;
use crate::segment::{Entry, Segment, SegmentRole};

/// Whether a segment holds something that goes, or is a rewrite that was never finished, whose room is needed.
pub(super) fn is_touched(segment: &Segment, doomed: &Doomed) -> Result<bool, ReadError> {
    if segment.role() == SegmentRole::Rewrite && segment.replaced()?.is_none() {
        return Ok(true);
    }
    let mut found = false;
    visit_entries(segment, &mut |entry| {
        found |= match entry {
            Entry::Record(record) => doomed.records.contains(&record.key()),
            Entry::Body(body) => doomed.bodies.contains(&body.id),
        };
        Ok(())
    })?;
    Ok(found)
}

//! Segments that a packing need not write again: of the pack before, and of a packing that was interrupted.
//! Never keeps one with bytes of what is to be erased, nor one that an interruption left and that is not whole.
//!
//! ```text
//! interrupted   segments of bodies, closed and synced; the index goes on naming where the bodies were before
//! next packing  reads them: those that are whole and in use become parts of the pack, the others go with the old
//! next opening  finds closed segments of a pack without footer, as after a crash: the index names them from now on
//! ```

use super::footer::Member;
use super::job::{Contents, Progress};
use super::recover::group_entries;
use crate::error::ReadError;
use crate::layout::{self, BodyPlace};
use crate::segment::{BlockError, Found, STRIDE_BYTES, Segment, SegmentName, SegmentRole};
use crate::store::Store;
use quar_base::key::Bucket;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

/// A segment of an earlier pack is taken up as it is while so much of it is still in use, in percent.
const USED_PERCENT: u64 = 90;

/// Bodies by index key.
type Places = HashMap<Vec<u8>, BodyPlace>;

impl Store {
    /// Segments that the index names and whose bodies are nearly all still in use, and none doomed.
    pub(super) fn kept_members(
        &self,
        bucket: Bucket,
        contents: &Contents,
        taken: &BTreeSet<u32>,
    ) -> Result<Vec<Member>, ReadError> {
        let mut used: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, place) in &contents.bodies {
            *used.entry(place.block.segment).or_default() += u64::from(place.raw_bytes);
        }
        let mut kept = Vec::new();
        for (number, used) in used.into_iter().filter(|(number, _)| !taken.contains(number)) {
            let Some(segment) = self.segment(SegmentName { bucket, number })? else { continue };
            let is_erasing = !contents.begun.records.is_empty();
            if holds_bodies_alone(&segment)? && may_stay(used, segment.group_bytes()?, is_erasing) {
                kept.push(member(number, &segment)?);
            }
        }
        Ok(kept)
    }

    /// What interrupted packings left: bodies that lie there too are taken from there. `None` when it is not to go on.
    pub(super) fn take_up_leftovers(
        &self,
        bucket: Bucket,
        contents: &mut Contents,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Vec<Member>>, ReadError> {
        let is_erasing = !contents.begun.records.is_empty();
        let mut taken = Vec::new();
        for name in self.leftovers(bucket)? {
            // Closed after this packing began: there is none.
            if !contents.begun.segments.contains(&name.number) {
                continue;
            }
            let Some(segment) = self.segment(name)? else { continue };
            let places = match read_groups(self, name, &segment, progress)? {
                Reading::Whole(places) => places,
                Reading::Damaged => continue,
                Reading::Interrupted => return Ok(None),
            };
            let is_taken =
                |number: u32| taken.iter().any(|member: &Member| member.number == number);
            let here = contents
                .bodies
                .iter_mut()
                .filter(|(key, place)| places.contains_key(key) && !is_taken(place.block.segment));
            let here: Vec<_> = here.collect();
            let used = here.iter().map(|(_, place)| u64::from(place.raw_bytes)).sum();
            let bytes = places.values().map(|place| u64::from(place.raw_bytes)).sum();
            if !may_stay(used, bytes, is_erasing) {
                continue;
            }
            for (key, place) in here {
                *place = places[key];
            }
            taken.push(member(name.number, &segment)?);
        }
        Ok(Some(taken))
    }

    /// What interrupted packings left goes: it cannot be used, or its room is needed.
    pub(crate) fn take_back_leftovers(&self, bucket: Bucket) {
        // What cannot be told apart now goes with the next packing.
        self.leftovers(bucket)
            .unwrap_or_default()
            .into_iter()
            .for_each(|name| self.take_back(name));
    }

    /// Unlinks a segment of a packing that is not in force.
    pub(super) fn take_back(&self, name: SegmentName) {
        self.segments.forget(&name);
        // What is left only takes up room.
        let _ = self.undo_rewrite(name);
    }

    /// Segments that an interrupted packing left and of which the index knows nothing.
    fn leftovers(&self, bucket: Bucket) -> Result<Vec<SegmentName>, ReadError> {
        let pack = self.index.pack(bucket);
        let members: BTreeSet<u32> =
            pack.iter().flat_map(|pack| pack.members().map(|name| name.number)).collect();
        let numbers: Vec<u32> = {
            let state = self.state();
            let segments = state.buckets.get(&bucket).map(|held| held.segments.iter());
            let unknown = segments.into_iter().flatten().filter(|(_, known)| known.mark.end == 0);
            unknown.map(|(number, _)| *number).filter(|number| !members.contains(number)).collect()
        };
        let mut leftovers = Vec::new();
        for number in numbers {
            let name = SegmentName { bucket, number };
            if let Some(segment) = self.segment(name)?
                && holds_bodies_alone(&segment)?
            {
                leftovers.push(name);
            }
        }
        Ok(leftovers)
    }
}

/// What there is in a segment of bodies.
enum Reading {
    Whole(Places),
    Damaged,
    Interrupted,
}

fn read_groups(
    store: &Store,
    name: SegmentName,
    segment: &Segment,
    progress: &mut Progress<'_>,
) -> Result<Reading, ReadError> {
    let (mut places, mut is_whole) = (Places::new(), true);
    let (mut at, end) = (Segment::FIRST_BLOCK, segment.length()?);
    while at < end && is_whole {
        let reached = segment.scan_until(at, end.min(at + STRIDE_BYTES), &mut |found| {
            match found {
                Found::Group { offset, payload, bodies, .. } => {
                    for body in group_entries(&store.settings.id_key, offset, &payload, &bodies) {
                        let place = BodyPlace::new(name.number, &body);
                        places.insert(layout::body_key(&body.id), place);
                    }
                }
                Found::Closing => {}
                _ => is_whole = false,
            }
            Ok(())
        });
        let reached = match reached {
            Ok(reached) => reached,
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(BlockError::Damaged) => return Ok(Reading::Damaged),
        };
        progress.so_far.bytes += reached.saturating_sub(at);
        if progress.report().is_break() {
            return Ok(Reading::Interrupted);
        }
        is_whole &= reached > at;
        at = reached;
    }
    Ok(if is_whole { Reading::Whole(places) } else { Reading::Damaged })
}

/// Whether it is a closed segment of a pack, without the footer.
fn holds_bodies_alone(segment: &Segment) -> io::Result<bool> {
    let is_packed = segment.role() == SegmentRole::Pack;
    Ok(is_packed && segment.is_closed()? && !segment.has_footer()?)
}

fn member(number: u32, segment: &Segment) -> io::Result<Member> {
    Ok(Member { number, salt: segment.salt(), end: segment.length()? })
}

/// What was deleted may not stay, however little it is.
fn may_stay(used: u64, bytes: u64, is_erasing: bool) -> bool {
    (!is_erasing || used == bytes) && used * 100 >= bytes * USED_PERCENT
}

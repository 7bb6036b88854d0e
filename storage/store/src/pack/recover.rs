//! The tables of a pack, computed from the records and bodies that its segments hold.
//! Never takes an item for present whose block is damaged.

use crate::codec::Codec;
use crate::layout::{self, BodyPlace, RecordPlace};
use crate::seal::IdKey;
use crate::segment::{BlockError, BlockPlace, BodyEntry, Entry, Found, Segment, SegmentName};
use crate::segments::Segments;
use quar_base::action::Action;
use quar_base::arrival::Arrival;
use quar_base::ids::BodyId;
use quar_base::key::RecordKey;
use quar_base::record::{Kind, Record};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Index entries by key.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the segments through.
pub(super) fn recover(
    segments: &Segments,
    id_key: &IdKey,
    names: impl Iterator<Item = SegmentName>,
) -> io::Result<Entries> {
    let mut entries = Entries::new();
    let mut wants = Vec::new();
    for name in names {
        let Some(segment) = segments.get(name)? else { continue };
        let scanned = segment.scan(Segment::FIRST_BLOCK, &mut |found| {
            match found {
                Found::Entries { offset, entries: items, .. } => {
                    let block = BlockPlace { segment: name.number, offset };
                    let records = items.into_iter().filter_map(Entry::into_record);
                    for (number, record) in (0..).zip(records) {
                        take_record(&record, block, number, &mut entries, &mut wants);
                    }
                }
                Found::Group { offset, payload, bodies, .. } => {
                    for body in group_entries(id_key, offset, &payload, &bodies) {
                        let place = BodyPlace::new(name.number, &body);
                        entries.insert(layout::body_key(&body.id), place.encode());
                    }
                }
                _ => {}
            }
            Ok(())
        });
        match scanned {
            Ok(_) | Err(BlockError::Damaged) => {}
            Err(BlockError::Io(error)) => return Err(error),
        }
    }
    for (body, arrival) in wants {
        if !entries.contains_key(&layout::body_key(&body)) {
            entries.insert(layout::wanted_key(&body, &arrival), Vec::new());
        }
    }
    Ok(entries)
}

fn take_record(
    record: &Record,
    block: BlockPlace,
    number: u16,
    entries: &mut Entries,
    wants: &mut Vec<(BodyId, RecordKey)>,
) {
    let kind = record.head().kind;
    let place = RecordPlace { block, number, kind };
    entries.insert(layout::record_key(&record.key()), place.encode());
    if kind != Kind::ARRIVAL {
        let (key, value) = action_entry(record);
        entries.insert(key, value);
    } else if let Ok(arrival) = Arrival::decode(record.payload()) {
        wants.push((arrival.body(), record.key()));
    }
}

/// The index entry of an action.
pub(super) fn action_entry(record: &Record) -> (Vec<u8>, Vec<u8>) {
    let deleted = match Action::decode(record) {
        Ok(Some(Action::Deleted(recipients))) => Some(recipients),
        _ => None,
    };
    let key = layout::action_key(&record.message().key, &record.key());
    (key, layout::action_value(record.head().kind, deleted.as_ref()))
}

/// The bodies of a group, named by hashing them.
pub(crate) fn group_entries(
    id_key: &IdKey,
    offset: u32,
    payload: &[u8],
    bodies: &[Range<usize>],
) -> Vec<BodyEntry> {
    let entry = |span: &Range<usize>| {
        let length = u32::try_from(span.len()).ok()?;
        Some(BodyEntry {
            id: id_key.body_id(payload.get(span.clone())?),
            raw_bytes: length,
            coded_bytes: length,
            block: offset,
            start: u32::try_from(span.start).ok()?,
            dictionary: 0,
            codec: Codec::Plain,
        })
    };
    bodies.iter().filter_map(entry).collect()
}

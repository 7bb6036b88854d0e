//! `inspect`: what lies on disk, as it is.
//! Never judges it: that is `fsck`.

use crate::arguments::{Inspect, InspectWhat};
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, count, size};
use quar_base::key::Bucket;
use quard::api::{BlocksReply, DayReply, PlacesReply};
use serde::Serialize;

/// Days, as JSON shows them.
#[derive(Serialize)]
struct Days {
    days: Vec<DayReply>,
}

/// Tells what the arguments name.
pub fn inspect(
    backend: &mut Backend,
    inspect: &Inspect,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    match &inspect.what {
        None => {
            let buckets = backend.buckets()?;
            let days = buckets.iter().map(|bucket| backend.day(bucket));
            show_days(Days { days: days.collect::<Result<_, _>>()? }, output)?;
        }
        Some(InspectWhat::Day(bucket)) => {
            let days = vec![backend.day(&bucket.to_string())?];
            show_days(Days { days }, output)?;
        }
        Some(InspectWhat::Segment(bucket, number)) => {
            show_blocks(*bucket, *number, &backend.blocks(*bucket, *number)?, output)?;
        }
        Some(InspectWhat::Message(id)) => show_places(&backend.places(id)?, output)?,
    }
    Ok(Ending::Done)
}

fn show_days(days: Days, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&days);
    }
    let mut rows = Vec::new();
    let (mut segments, mut bytes) = (0, 0);
    for segment in days.days.iter().flat_map(|day| &day.segments) {
        segments += 1;
        bytes += segment.bytes;
        let epochs: Vec<String> = segment.key_epochs.iter().map(ToString::to_string).collect();
        rows.push(vec![
            segment.path.clone(),
            match (&*segment.error, segment.is_in_pack) {
                ("", true) => "pack".to_owned(),
                ("", false) if segment.role == "pack" => "pack, unfinished".to_owned(),
                ("", false) => segment.role.clone(),
                (error, _) => error.to_owned(),
            },
            segment.version.to_string(),
            epochs.join(","),
            count(segment.blocks),
            size(segment.used_bytes),
            size(segment.bytes),
        ]);
    }
    let headings = ["segment", "role", "format", "key", "blocks", "used", "length"];
    output.table(&headings, rows, &[2, 3, 4, 5, 6])?;
    for day in &days.days {
        if let Some(pack) = &day.pack {
            output.line(format!(
                "{}: packed; {} arrivals, {} actions, {} bodies of {}, {} tables, root {}",
                day.bucket,
                count(pack.arrivals),
                count(pack.actions),
                count(pack.bodies),
                size(pack.body_bytes),
                count(pack.tables),
                pack.root.get(..16).unwrap_or(&pack.root),
            ))?;
        }
    }
    let total = days.days.len() as u64;
    output.line(format!("{} days, {} segments, {}", count(total), count(segments), size(bytes)))?;
    Ok(())
}

fn show_blocks(
    bucket: Bucket,
    number: u32,
    reply: &BlocksReply,
    output: &mut Output,
) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(reply);
    }
    let rows = reply.blocks.iter().map(|block| {
        vec![
            block.offset.to_string(),
            block.kind.clone(),
            block.bytes.to_string(),
            block.items.to_string(),
            block.plain_bytes.to_string(),
            block.commit.to_string(),
        ]
    });
    let headings = ["offset", "kind", "bytes", "items", "opened", "commit"];
    output.table(&headings, rows.collect(), &[0, 2, 3, 4, 5])?;
    output
        .line(format!("{bucket}, segment {number}: {} blocks", count(reply.blocks.len() as u64)))?;
    Ok(())
}

fn show_places(reply: &PlacesReply, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(reply);
    }
    output.line(&reply.id)?;
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let rows = reply.places.iter().map(|place| {
        vec![
            place.what.clone(),
            place.path.clone(),
            place.block.to_string(),
            place.at.to_string(),
            number(place.coded_bytes),
            number(place.raw_bytes),
            number(place.dictionary),
        ]
    });
    let headings = ["item", "segment", "block", "at", "coded", "raw", "dictionary"];
    output.table(&headings, rows.collect(), &[2, 3, 4, 5, 6])?;
    if !reply.places.iter().any(|place| place.what == "body") {
        output.line("its body is not on this node")?;
    }
    Ok(())
}

//! Which segments there are at opening, after what a crash left undone has been finished.
//! Never unlinks a file that is not below a kept floor or replaced by a closed rewrite or a pack.

use super::io_at;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::floors::Floors;
use crate::pack::{Footer, FooterError, Pack};
use crate::seal::IdKey;
use crate::segment::{
    HeaderError, OpenSegmentError, SEGMENTS, SegmentName, SegmentRole, bucket_directory,
};
use crate::segments::Segments;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What is in force.
#[derive(Default)]
pub(super) struct Files {
    /// Segments whose records and bodies the index is to hold.
    pub(super) logs: Vec<SegmentName>,
    /// The packs, at most one a bucket.
    pub(super) packs: Vec<Arc<Pack>>,
    /// What of packs is missing.
    pub(super) damaged: Vec<String>,
}

/// Rewrites and packs that a crash interrupted: a closed one unlinks what it replaces. One that was
/// never closed holds copies of what its old segments still have: it is kept, since a damaged closing
/// block looks the same, and gives what the index has from nowhere else.
pub(super) fn finish_rewrites(
    names: Vec<SegmentName>,
    segments: &Arc<Segments>,
    disk: &dyn Disk,
    id_key: &IdKey,
) -> Result<Files, OpenError> {
    let mut gone = BTreeSet::new();
    let mut salts = BTreeMap::new();
    let mut footers: BTreeMap<Bucket, (SegmentName, Footer)> = BTreeMap::new();
    for name in &names {
        let segment = match segments.open(*name) {
            Ok(segment) => segment,
            // Found out before anything is written.
            Err(
                error @ (OpenSegmentError::Key(_)
                | OpenSegmentError::Cluster(_)
                | OpenSegmentError::Header(HeaderError::Version(_))),
            ) => {
                return Err(OpenError::Segment { path: name.path(), reason: error.to_string() });
            }
            Err(_) => continue,
        };
        salts.insert(*name, segment.salt());
        let path = name.path();
        let in_bucket = |number| SegmentName { bucket: name.bucket, number };
        match segment.role() {
            SegmentRole::Log => {}
            SegmentRole::Rewrite => {
                let replaced = segment.replaced().map_err(io_at(&path))?.unwrap_or_default();
                gone.extend(replaced.into_iter().map(in_bucket));
            }
            SegmentRole::Pack => {
                let footer = segment.footer().map_err(io_at(&path))?;
                match footer.map(|bytes| Footer::decode(&bytes)) {
                    Some(Ok(footer)) => {
                        segment.sync().map_err(io_at(&path))?;
                        gone.extend(footer.replaced.iter().copied().map(in_bucket));
                        footers.insert(name.bucket, (*name, footer));
                    }
                    Some(Err(error @ FooterError::Version(_))) => {
                        return Err(OpenError::Segment { path, reason: error.to_string() });
                    }
                    Some(Err(FooterError::Damaged)) | None => {}
                }
            }
        }
    }
    for name in names.iter().filter(|name| gone.contains(name)) {
        let path = name.path();
        disk.remove(&path).map_err(io_at(&path))?;
        let directory = bucket_directory(name.bucket);
        disk.sync_dir(&directory).map_err(io_at(&directory))?;
    }
    let mut files = Files::default();
    for (_, (name, footer)) in footers.into_iter().filter(|(_, (name, _))| !gone.contains(name)) {
        let damaged = missing_members(&name, &footer, &salts);
        if let Some(pack) = Pack::new(name, footer, segments.clone(), id_key.clone()) {
            files.damaged.extend(damaged);
            files.packs.push(pack);
        }
    }
    let packed: BTreeSet<SegmentName> =
        files.packs.iter().flat_map(|pack| pack.members().collect::<Vec<_>>()).collect();
    let is_log = |name: &SegmentName| !gone.contains(name) && !packed.contains(name);
    files.logs = names.into_iter().filter(is_log).collect();
    Ok(files)
}

/// Segments that a pack is made of and that are not there, or are others under their names.
fn missing_members(
    name: &SegmentName,
    footer: &Footer,
    salts: &BTreeMap<SegmentName, [u8; 8]>,
) -> Vec<String> {
    let in_bucket = |number| SegmentName { bucket: name.bucket, number };
    let is_missing = |number: u32, salt: [u8; 8]| salts.get(&in_bucket(number)) != Some(&salt);
    let missing = footer.members.iter().filter(|member| is_missing(member.number, member.salt));
    let path = |number| in_bucket(number).path().display().to_string();
    missing.map(|member| format!("{}: a part of a pack is missing", path(member.number))).collect()
}

/// What lies below `segments`.
pub(super) struct Listed {
    /// All segments above the kept floors.
    pub(super) names: Vec<SegmentName>,
    /// Days below them.
    pub(super) expired: Vec<Bucket>,
}

/// Lists all segments; changes nothing.
pub(super) fn list_segments(disk: &dyn Disk, floors: &Floors) -> Result<Listed, OpenError> {
    let mut listed = Listed { names: Vec::new(), expired: Vec::new() };
    let list = |path: &Path| disk.list(path).map_err(io_at(path));
    let root = Path::new(SEGMENTS);
    disk.create_dir(root).map_err(io_at(root))?;
    for class in list(root)?.into_iter().filter(|entry| entry.is_dir) {
        let Ok(class_number) = class.name.parse::<Class>() else {
            continue;
        };
        for day in list(&root.join(&class.name))?.into_iter().filter(|entry| entry.is_dir) {
            let Ok(day) = day.name.parse::<Day>() else {
                continue;
            };
            let bucket = Bucket { class: class_number, day };
            if floors.is_below_kept(bucket) {
                listed.expired.push(bucket);
                continue;
            }
            let numbers = list(&bucket_directory(bucket))?.into_iter();
            let numbers = numbers
                .filter(|entry| !entry.is_dir)
                .filter_map(|entry| SegmentName::number_of(&entry.name));
            listed.names.extend(numbers.map(|number| SegmentName { bucket, number }));
        }
    }
    Ok(listed)
}

/// Unlinks days below the kept floors. Those that cannot be are passed over and complained of: nothing of
/// them is ever shown.
pub(super) fn unlink_expired(disk: &dyn Disk, expired: &[Bucket]) -> Vec<String> {
    let unlink = |bucket: &Bucket| {
        let directory = bucket_directory(*bucket);
        let error = disk.remove_dir(&directory).err()?;
        let path = directory.display();
        Some(format!("{path}: expired, and cannot be unlinked: {error}"))
    };
    expired.iter().filter_map(unlink).collect()
}

//! Which segments there are at opening, after what a crash left undone has been finished.
//! Never unlinks a file that is not below a kept floor or replaced by a closed rewrite.

use super::io_at;
use crate::dictionary::Dictionaries;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::floors::Floors;
use crate::segment::{
    OpenSegmentError, SEGMENTS, Segment, SegmentName, SegmentRole, bucket_directory,
};
use crate::store::Settings;
use quar_base::class::Class;
use quar_base::key::Bucket;
use quar_base::time::Day;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Rewrites that a crash interrupted: a closed one unlinks what it replaces. One that was never
/// closed holds copies of what its old segment still has: it is kept as if it were a log, since a
/// damaged closing block looks the same.
pub(super) fn finish_rewrites(
    names: Vec<SegmentName>,
    settings: &Settings,
    disk: &dyn Disk,
    dictionaries: &Arc<Dictionaries>,
) -> Result<Vec<SegmentName>, OpenError> {
    let mut gone = BTreeSet::new();
    for name in &names {
        let opened = Segment::open(disk, *name, settings.cluster, &settings.keys, dictionaries);
        let segment = match opened {
            Ok(segment) => segment,
            // Found out before anything is written.
            Err(error @ (OpenSegmentError::Key(_) | OpenSegmentError::Cluster(_))) => {
                return Err(OpenError::Segment { path: name.path(), reason: error.to_string() });
            }
            Err(_) => continue,
        };
        if segment.role() == SegmentRole::Log {
            continue;
        }
        let path = name.path();
        let replaced = segment.replaced().map_err(io_at(&path))?.unwrap_or_default();
        let bucket = name.bucket;
        gone.extend(replaced.into_iter().map(|number| SegmentName { bucket, number }));
    }
    for name in names.iter().filter(|name| gone.contains(name)) {
        let path = name.path();
        disk.remove(&path).map_err(io_at(&path))?;
        let directory = bucket_directory(name.bucket);
        disk.sync_dir(&directory).map_err(io_at(&directory))?;
    }
    Ok(names.into_iter().filter(|name| !gone.contains(name)).collect())
}

/// All segments above the kept floors; days below them are unlinked on the way.
pub(super) fn list_segments(
    disk: &dyn Disk,
    floors: &Floors,
) -> Result<Vec<SegmentName>, OpenError> {
    let mut names = Vec::new();
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
            let directory = bucket_directory(bucket);
            if floors.is_below_kept(bucket) {
                disk.remove_dir(&directory).map_err(io_at(&directory))?;
                continue;
            }
            let numbers = list(&directory)?.into_iter().filter(|entry| !entry.is_dir);
            names.extend(
                numbers
                    .filter_map(|entry| SegmentName::number_of(&entry.name))
                    .map(|number| SegmentName { bucket, number }),
            );
        }
    }
    Ok(names)
}

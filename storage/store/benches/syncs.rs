//! What a sync costs when it has a longer file to make durable, and when it replaces zeros.
//! Prints one JSON line for each case. Arguments: syncs of each thread [1000].

#![allow(missing_docs)]

use quar_store::{Disk, File, RealDisk};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What a commit of a few messages writes.
const WRITE_BYTES: usize = 7000;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let count = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(1000);
    for threads in [1, 3] {
        for has_zeros in [false, true] {
            run(threads, count, has_zeros);
        }
    }
}

fn run(threads: usize, count: usize, has_zeros: bool) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let disk = RealDisk::new(directory.path());
    let files: Vec<Arc<dyn File>> = (0..threads)
        .map(|number| {
            let file =
                disk.create(&PathBuf::from(format!("{number}"))).expect("a file can be made");
            if has_zeros {
                file.write_at(&vec![0; count * WRITE_BYTES], 0).expect("there is room");
            }
            file.sync_data().expect("the disk works");
            file
        })
        .collect();
    let start = Instant::now();
    let running = files.into_iter().map(|file| {
        std::thread::spawn(move || {
            let each = |number| {
                let start = Instant::now();
                file.write_at(&[7; WRITE_BYTES], (number * WRITE_BYTES) as u64)
                    .expect("there is room");
                file.sync_data().expect("the disk works");
                start.elapsed().as_secs_f64() * 1e6
            };
            (0..count).map(each).collect::<Vec<f64>>()
        })
    });
    let running: Vec<_> = running.collect();
    let mut each: Vec<f64> =
        running.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect();
    let per_second = each.len() as f64 / start.elapsed().as_secs_f64();
    each.sort_by(f64::total_cmp);
    let (median, bad) = (each[each.len() / 2], each[each.len() * 99 / 100]);
    println!(
        "{{\"bench\":\"syncs\",\"threads\":{threads},\"replaces_zeros\":{has_zeros},\
         \"write_bytes\":{WRITE_BYTES},\"syncs_per_second\":{per_second:.0},\
         \"median_us\":{median:.0},\"p99_us\":{bad:.0}}}"
    );
}

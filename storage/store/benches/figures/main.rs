//! The figures of one store: puts, disk, opening, listing, reading, packing, as it grows.
//! Prints one JSON line for each part. `--help` says how to call it.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod disk;

use std::path::PathBuf;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let part = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let count = rest.first().and_then(|text| text.parse().ok());
    let corpus = rest.get(1).map(PathBuf::from);
    match part.as_str() {
        "disk" => disk::run(count.unwrap_or(9322), corpus.as_deref()),
        _ => eprintln!("usage: figures disk [MESSAGES [CORPUS]]"),
    }
}

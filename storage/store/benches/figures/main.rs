//! The figures of one store: puts, disk, opening, listing, reading, packing, as it grows.
//! Prints one JSON line for each part. `--help` says how to call it.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod disk;
mod erase;
mod fsck;
mod grow;
mod machine;
mod put;
mod upkeep;

use std::path::PathBuf;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let part = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let count = rest.first().and_then(|text| text.parse().ok());
    let corpus = rest.get(1).map(PathBuf::from);
    match (part.as_str(), corpus) {
        ("put", corpus) => put::run(count.unwrap_or(20_000), corpus.as_deref()),
        ("fsck", corpus) => fsck::run(count.unwrap_or(20_000), corpus.as_deref()),
        ("upkeep", _) => upkeep::run(count.unwrap_or(10_000)),
        ("churn", _) => churn::run(count.unwrap_or(10_000)),
        ("erase", _) => erase::run(count.unwrap_or(100_000)),
        ("disk", corpus) => disk::run(count.unwrap_or(9322), corpus.as_deref()),
        ("grow", _) => grow::run(count.unwrap_or(10_000)),
        // Steps of the ones above, each in a process of its own.
        ("fill", Some(directory)) => grow::fill(count.unwrap_or(10_000), &directory),
        ("opened" | "kept", Some(directory)) => {
            grow::opened(&part, count.unwrap_or(10_000), &directory);
        }
        ("pack", Some(directory)) => grow::pack(count.unwrap_or(10_000), &directory),
        ("expired", Some(directory)) => grow::expired(count.unwrap_or(10_000), &directory),
        ("rebuild", Some(directory)) => grow::rebuild(count.unwrap_or(10_000), &directory),
        _ => eprintln!(
            "usage: figures put|disk|fsck [MESSAGES [CORPUS]] | grow|churn|upkeep|erase [MESSAGES]"
        ),
    }
}

//! What bodies come to when they are coded, with and without a dictionary, and what that costs.
//! Prints one JSON line. Arguments: number of messages [5000], directory of .eml files [generated].

#![allow(missing_docs)]

mod support;

use quar_store::{CodedBody, IdKey};
use std::path::Path;
use std::time::Instant;
use support::{bodies, mail, open};

const MESSAGES_PER_COMMIT: usize = 8;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let count = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5000);
    let bodies = bodies(count, arguments.get(1).map(Path::new));
    let raw: usize = bodies.iter().map(Vec::len).sum();
    let key = IdKey::new([8; 32]);

    let start = Instant::now();
    let mut plain = 0;
    for body in &bodies {
        let coded = CodedBody::encode(body, None, &key).expect("bodies of the bench are small");
        plain += coded.bytes.len();
    }
    let plain_us = start.elapsed().as_secs_f64() * 1e6 / count as f64;

    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = open(directory.path());
    let start = Instant::now();
    let coded: Vec<CodedBody> = bodies
        .iter()
        .map(|body| store.encode_body(body).expect("bodies of the bench are small"))
        .collect();
    let shared_us = start.elapsed().as_secs_f64() * 1e6 / count as f64;
    let shared: usize = coded.iter().map(|body| body.bytes.len()).sum();
    let with_dictionary = coded.iter().filter(|body| body.dictionary.is_some()).count();

    let start = Instant::now();
    for body in &coded {
        body.decode(&key).expect("what was coded decodes");
    }
    let decode_us = start.elapsed().as_secs_f64() * 1e6 / count as f64;

    for commit in coded.chunks(MESSAGES_PER_COMMIT) {
        for body in commit {
            store.admit_mail(mail(body.clone())).expect("the store takes mail");
        }
        store.commit();
    }
    store.checkpoint().expect("the index can be flushed");
    let ratio = |bytes: usize| bytes as f64 / raw as f64;
    println!(
        "{{\"bench\":\"compression\",\"messages\":{count},\"raw_bytes\":{raw},\
         \"plain_ratio\":{:.4},\"plain_us\":{plain_us:.1},\
         \"dictionary_ratio\":{:.4},\"dictionary_us\":{shared_us:.1},\
         \"with_dictionary\":{with_dictionary},\"decode_us\":{decode_us:.1},\
         \"store_ratio\":{:.4}}}",
        ratio(plain),
        ratio(shared),
        ratio(size_of(directory.path())),
    );
}

/// Bytes of all files below a directory.
fn size_of(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).expect("the store can be read").flatten();
    let sizes = entries.map(|entry| match entry.path() {
        path if path.is_dir() => size_of(&path),
        path => path.metadata().map_or(0, |metadata| metadata.len() as usize),
    });
    sizes.sum()
}

//! What a copy takes on disk: as 8 writers write it, and packed.

use crate::support::{NOW, bodies, bytes_below, open, real_mail};
use quar_base::time::UnixMillis;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

const WRITERS: usize = 8;

pub fn run(count: usize, corpus: Option<&Path>) {
    let bodies = bodies(count, corpus);
    let raw: usize = bodies.iter().map(Vec::len).sum();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = open(directory.path());
    let mut bucket = None;
    let start = Instant::now();
    for (number, body) in bodies.iter().enumerate() {
        let coded = store.encode_body(body).expect("bodies of the bench are small");
        let received = UnixMillis(NOW.0 + number as u64 * 3_000_000 / count as u64);
        let mail = real_mail(body, coded, received, number);
        let admitted = store.admit_mail(mail).expect("the store takes mail");
        bucket = admitted.message.map(|message| message.bucket);
        if number % WRITERS == WRITERS - 1 {
            store.commit();
        }
    }
    store.commit();
    let put_s = start.elapsed().as_secs_f64();
    store.checkpoint().expect("the index can be flushed");
    store.checkpoint().expect("the index can be flushed");
    store.close();
    let written = bytes_below(directory.path());
    let start = Instant::now();
    let bucket = bucket.expect("there is a message");
    let packed = store.pack(bucket, &mut |_| ControlFlow::Continue(()));
    let packed = packed.expect("the day can be packed").expect("nobody stops it");
    let pack_s = start.elapsed().as_secs_f64();
    store.checkpoint().expect("the index can be flushed");
    let in_packs = bytes_below(directory.path());
    let index = bytes_below(&directory.path().join("index"));
    let ratio = |bytes: u64| bytes as f64 / raw as f64;
    println!(
        "{{\"part\":\"disk\",\"messages\":{count},\"raw_bytes\":{raw},\"put_s\":{put_s:.2},\
         \"written_ratio\":{:.4},\"packed_ratio\":{:.4},\"pack_bytes\":{},\"index_bytes\":{index},\
         \"pack_s\":{pack_s:.2},\"pack_mb_s\":{:.1}}}",
        ratio(written),
        ratio(in_packs),
        packed.bytes,
        raw as f64 / 1e6 / pack_s,
    );
}

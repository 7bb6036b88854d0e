//! How long a day's expiry takes: hidden, unlinked, and its index keys gone.
//! Prints one JSON line. Arguments: number of messages [5000], directory of .eml files [generated].

#![allow(missing_docs)]

mod support;

use quar_base::time::UnixMillis;
use quar_store::Query;
use std::path::Path;
use std::time::Instant;
use support::{NOW, bodies, mail, open};

const MESSAGES_PER_COMMIT: usize = 8;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let count = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5000);
    let bodies = bodies(count, arguments.get(1).map(Path::new));
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = open(directory.path());
    for (number, body) in bodies.iter().enumerate() {
        let body = store.encode_body(body).expect("bodies of the bench are small");
        store.admit_mail(mail(body)).expect("the store takes mail");
        if number % MESSAGES_PER_COMMIT == MESSAGES_PER_COMMIT - 1 {
            store.commit();
        }
    }
    store.commit();
    store.checkpoint().expect("the index can be flushed");
    let later = UnixMillis(NOW.0 + 31 * 86_400_000);
    let start = Instant::now();
    store.set_today(later.day());
    let shown = store.list(&Query { limit: 1, ..Query::default() }).expect("the index can be read");
    let hidden_ms = start.elapsed().as_secs_f64() * 1000.0;
    assert!(shown.messages.is_empty(), "an expired message is shown");
    let expired = store.unlink_expired().expect("files can be unlinked");
    let unlinked_ms = start.elapsed().as_secs_f64() * 1000.0;
    store.forget_expired(&expired).expect("index keys can be removed");
    let forgotten_ms = start.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{{\"bench\":\"expiry\",\"messages\":{},\"hidden_ms\":{hidden_ms:.2},\"unlinked_ms\":{unlinked_ms:.2},\"index_keys_gone_ms\":{forgotten_ms:.2}}}",
        expired.records
    );
}

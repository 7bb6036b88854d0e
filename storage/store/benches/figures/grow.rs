//! One store as it grows: opened, listed, read, put to, expired and rebuilt, at one number of messages.
//! Each step runs in a process of its own, so that memory is that step's.
//!
//! ```text
//! fill ─► 30 days, the oldest with a tenth of all messages; the older half of all is packed
//! opened ─► seconds, memory ─► ls, cold reads, puts
//! rebuild ─► the index removed, opened again
//! pack ─► every day that is over for two days, as a node does
//! kept ─► what `opened` does, of that
//! expired ─► the oldest day
//! ```

use crate::machine::{drop_caches, memory_mb, percentile, timed};
use crate::support::{NOW, bytes_below, mail, open, open_with};
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId};
use quar_base::rng::Rng;
use quar_base::time::{DAY_SECONDS, Day, UnixMillis};
use quar_store::{Mail, Query, Retention, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

const DAYS: u32 = 30;
/// Messages that share a commit.
const COMMIT: usize = 64;
/// Messages of the put rate.
const PUTS: usize = 40_000;
/// Reads of each kind.
const READS: usize = 200;
/// One message in so many is for the recipient who is looked for.
const RARE: usize = 200_000;
const WORDS: [&str; 24] = [
    "invoice", "offer", "meeting", "please", "account", "update", "your", "the", "password",
    "delivery", "parcel", "winner", "limited", "click", "here", "regards", "today", "payment",
    "attached", "report", "and", "from", "customer", "secure",
];

fn first_day() -> Day {
    NOW.day().minus(DAYS - 1)
}

/// The day of a message: the oldest day holds a tenth, the others the rest in equal parts.
fn day_of(number: usize, count: usize) -> Day {
    let tenth = count / 10;
    match number.checked_sub(tenth) {
        None => first_day(),
        Some(rest) => {
            let day = 1 + rest * (DAYS as usize - 1) / (count - tenth);
            Day(first_day().0 + u32::try_from(day).expect("there are 30 days"))
        }
    }
}

/// The last day that is packed: half of the messages lie up to it.
fn last_packed(count: usize) -> Day {
    Day(day_of(count / 2, count).0 - 1)
}

fn is_packed(day: Day, count: usize) -> bool {
    day <= last_packed(count)
}

/// A made message: some words, some of them no other message has.
fn made(number: usize, rng: &mut Rng) -> (Vec<u8>, Envelope, Headers) {
    let recipient = match number % RARE {
        RARE_AT => "rare.person@example.org".to_owned(),
        _ => format!("user{}@example{}.net", number % 5000, number % 50),
    };
    let sender = format!("sender{}@example{}.com", rng.below(20_000), rng.below(300));
    let subject = format!("{} {number}", WORDS[number % WORDS.len()]);
    let mut body = format!("From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\n");
    for word in 0..30 + rng.below(60) {
        body.push_str(WORDS[rng.below(WORDS.len() as u64) as usize]);
        body.push(if word % 9 == 8 { '\n' } else { ' ' });
    }
    body.push_str(&format!("{:016x}{:016x}\r\n", rng.below(u64::MAX), rng.below(u64::MAX)));
    let envelope = Envelope {
        sender,
        recipients: vec![recipient],
        client_address: format!("192.0.2.{}", number % 250),
        queue_id: format!("4dF{number:08X}z"),
        ..Envelope::default()
    };
    let headers = Headers { subject, ..Headers::default() };
    (body.into_bytes(), envelope, headers)
}

const RARE_AT: usize = 77;

/// Puts made messages from a number on, whose times `received` tells; the last one's id.
pub fn put(store: &Store, numbers: std::ops::Range<usize>, received: impl Fn(usize) -> UnixMillis) {
    let mut rng = Rng::from_seed([numbers.start as u8; 32]);
    for number in numbers.clone() {
        let (body, envelope, headers) = made(number, &mut rng);
        let coded = store.encode_body(&body).expect("made bodies are small");
        let mail = Mail { received: received(number), envelope, headers, ..mail(coded) };
        store.admit_mail(mail).expect("the store takes mail");
        if number % COMMIT == COMMIT - 1 || number + 1 == numbers.end {
            store.commit();
        }
    }
}

/// Fills a directory.
pub fn fill(count: usize, directory: &Path) {
    let store = open_with(directory, retention()).0;
    let per_day = (count / DAYS as usize).max(1);
    let received = |number| {
        let start = u64::from(day_of(number, count).0) * DAY_SECONDS * 1000;
        let step = DAY_SECONDS * 1000 / (per_day as u64 * 4);
        UnixMillis(start + (number % (per_day * 3)) as u64 * step.max(1))
    };
    let mut at = 0;
    while at < count {
        let day = day_of(at, count);
        let end = (at..count).find(|next| day_of(*next, count) != day).unwrap_or(count);
        put(&store, at..end, received);
        store.checkpoint().expect("the index can be flushed");
        if is_packed(day, count) {
            let bucket = Bucket { class: Class::SPAM, day };
            packed(&store, bucket);
        }
        eprintln!("filled {end} of {count}");
        at = end;
    }
    store.checkpoint().expect("the index can be flushed");
    store.close();
}

fn retention() -> Retention {
    Retention(BTreeMap::from([(Class::SPAM, Some(DAYS))]))
}

/// Fills a directory and measures it, each step in a process of its own.
pub fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path();
    let (fill_ms, ()) = timed(|| step("fill", count, path));
    let segments = bytes_below(&path.join("segments"));
    let index = bytes_below(&path.join("index"));
    println!(
        "{{\"part\":\"grow\",\"step\":\"fill\",\"messages\":{count},\"fill_s\":{:.1},\
         \"segment_bytes\":{segments},\"index_bytes\":{index}}}",
        fill_ms / 1000.0
    );
    for name in ["opened", "rebuild", "pack", "kept", "expired"] {
        step(name, count, path);
    }
}

fn step(name: &str, count: usize, directory: &Path) {
    drop_caches();
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new(program).args([name, &count.to_string()]).arg(directory).status();
    assert!(status.expect("this program can be started").success(), "{name} failed");
}

/// Opens a filled directory and measures what a node does with it; `step` is its name.
pub fn opened(step: &str, count: usize, directory: &Path) {
    let (open_ms, (store, report)) = timed(|| open_with(directory, retention()));
    assert_eq!(report.rebuilt, None, "the index was good");
    let (open_rss, open_peak) = memory_mb();
    let (recent, packed) = (NOW.day(), last_packed(count));
    let ls_recent_ms = page_of(&store, recent);
    let ls_packed_ms = page_of(&store, packed);
    let ls_again_ms = page_of(&store, recent);
    let rare = Query { recipient: Some("rare.person".into()), limit: 50, ..Query::default() };
    let (rare_ms, found) = timed(|| store.list(&rare).expect("the index can be read"));
    let mut rng = Rng::from_seed([3; 32]);
    let mut reads = |day| cold_reads(&store, day, &mut rng);
    let how = drop_caches();
    let (mut read_recent, mut read_packed) = (reads(recent), reads(packed));
    let (put_rate, empty_rate) = put_rates(&store, count);
    let records = store.counts().records;
    let (rss, peak) = memory_mb();
    println!(
        "{{\"part\":\"grow\",\"step\":\"{step}\",\"messages\":{count},\"records\":{records},\
         \"open_s\":{:.3},\"open_rss_mb\":{open_rss:.1},\"open_peak_mb\":{open_peak:.1},\
         \"ls_recent_ms\":{ls_recent_ms:.2},\"ls_packed_ms\":{ls_packed_ms:.2},\
         \"ls_again_ms\":{ls_again_ms:.2},\"ls_recipient_ms\":{rare_ms:.1},\
         \"ls_recipient_found\":{},\"cold\":\"{how}\",\
         \"read_recent_p50_ms\":{:.3},\"read_recent_p99_ms\":{:.3},\
         \"read_packed_p50_ms\":{:.3},\"read_packed_p99_ms\":{:.3},\
         \"put_rate\":{put_rate:.0},\"put_rate_empty\":{empty_rate:.0},\
         \"rss_mb\":{rss:.1},\"peak_mb\":{peak:.1}}}",
        open_ms / 1000.0,
        found.messages.len(),
        percentile(&mut read_recent, 50),
        percentile(&mut read_recent, 99),
        percentile(&mut read_packed, 50),
        percentile(&mut read_packed, 99),
    );
}

/// Packs every day that a node would have packed by now.
pub fn pack(count: usize, directory: &Path) {
    let store = open_with(directory, retention()).0;
    let days = (last_packed(count).0 + 1..=NOW.day().0 - 2).map(Day);
    let buckets = days.map(|day| Bucket { class: Class::SPAM, day });
    let (ms, records) = timed(|| buckets.map(|bucket| packed(&store, bucket)).sum::<u64>());
    store.checkpoint().expect("the index can be flushed");
    store.close();
    println!(
        "{{\"part\":\"grow\",\"step\":\"pack\",\"messages\":{count},\"pack_s\":{:.1},\
         \"packed\":{records}}}",
        ms / 1000.0
    );
}

/// Packs a day; how many records it has.
fn packed(store: &Store, bucket: Bucket) -> u64 {
    let packed = store.pack(bucket, &mut |_| ControlFlow::Continue(()));
    packed.expect("the day can be packed").expect("nobody stops it").records
}

/// Opens a filled directory when its oldest day is over.
pub fn expired(count: usize, directory: &Path) {
    let (open_ms, (store, _)) = timed(|| open_with(directory, retention()));
    let later = UnixMillis(NOW.0 + 2 * DAY_SECONDS * 1000);
    let (ms, expired) = timed(|| {
        store.set_today(later.day());
        store.unlink_expired().expect("files can be unlinked")
    });
    let (keys_ms, ()) = timed(|| store.forget_expired(&expired).expect("keys can be removed"));
    println!(
        "{{\"part\":\"grow\",\"step\":\"expired\",\"messages\":{count},\
         \"open_s\":{:.3},\"expired\":{},\"expire_ms\":{ms:.2},\"expire_keys_ms\":{keys_ms:.1}}}",
        open_ms / 1000.0,
        expired.records
    );
}

/// Milliseconds of the first page of a day.
fn page_of(store: &Store, day: Day) -> f64 {
    let query = Query { from: Some(day), to: Some(day), limit: 50, ..Query::default() };
    let (ms, page) = timed(|| store.list(&query).expect("the index can be read"));
    assert!(!page.messages.is_empty(), "the day has messages");
    ms
}

/// Milliseconds of reads of random messages of a day, each with a cold page cache.
fn cold_reads(store: &Store, day: Day, rng: &mut Rng) -> Vec<f64> {
    let query = Query { from: Some(day), to: Some(day), limit: usize::MAX, ..Query::default() };
    let page = store.list(&query).expect("the index can be read");
    let ids: Vec<MessageId> = page.messages.iter().map(|message| message.id).collect();
    let read = |_| {
        let id = ids[rng.below(ids.len() as u64) as usize];
        drop_caches();
        timed(|| store.body(id).expect("the message is here")).0
    };
    (0..READS).map(read).collect()
}

/// Messages a second, in this store and in one that was empty, in turns. Before that each takes half as
/// many, so that the caches of both are warm.
fn put_rates(store: &Store, count: usize) -> (f64, f64) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let empty = open(directory.path());
    let received = |number: usize| UnixMillis(NOW.0 + number as u64 % 1000);
    let warm_up = count + PUTS..count + PUTS * 3 / 2;
    put(store, warm_up.clone(), received);
    put(&empty, warm_up, received);
    let (mut here, mut there) = (0.0, 0.0);
    for part in 0..4 {
        let start = count + part * PUTS / 4;
        let numbers = start..start + PUTS / 4;
        here += timed(|| put(store, numbers.clone(), received)).0;
        there += timed(|| put(&empty, numbers, received)).0;
    }
    (PUTS as f64 * 1000.0 / here, PUTS as f64 * 1000.0 / there)
}

/// Opens a filled directory whose index is gone.
pub fn rebuild(count: usize, directory: &Path) {
    let written = bytes_below(&directory.join("index"));
    std::fs::remove_dir_all(directory.join("index")).expect("the index can be removed");
    drop_caches();
    let (open_ms, (store, report)) = timed(|| open_with(directory, retention()));
    assert!(report.rebuilt.is_some() || report.replayed_records > 0, "it was built again");
    let (rss, peak) = memory_mb();
    store.checkpoint().expect("the index can be flushed");
    store.checkpoint().expect("the index can be flushed");
    let fresh = bytes_below(&directory.join("index"));
    println!(
        "{{\"part\":\"grow\",\"step\":\"rebuild\",\"messages\":{count},\"rebuild_s\":{:.2},\
         \"replayed\":{},\"records_per_s\":{:.0},\"rss_mb\":{rss:.1},\"peak_mb\":{peak:.1},\
         \"index_bytes_before\":{written},\"index_bytes_fresh\":{fresh}}}",
        open_ms / 1000.0,
        report.replayed_records,
        report.replayed_records as f64 * 1000.0 / open_ms,
    );
}

//! Figures that add up: to the messages that are listed, and to the blocks that are on disk.

use super::{Amounts, Usage, UsageBy};
use crate::list::Query;
use crate::segment::bucket_directory;
use crate::tests::{NOW, Node, delete, mail, put};
use crate::{Disk, Mail, Store};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use quar_base::arrival::Envelope;
use quar_base::class::Class;
use quar_base::key::{Bucket, MessageId};
use quar_base::time::{DAY_SECONDS, UnixMillis};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const SENDERS: [&str; 5] = ["a@X.example", "b@x.example", "", "nobody", "c@y.example"];

fn body(number: usize) -> Vec<u8> {
    let text = format!("Subject: offer {number}\r\n\r\n{}", "a line that they share\r\n".repeat(9));
    format!("{text}{}", "x".repeat(number * 37 % 700)).into_bytes()
}

fn put_one(store: &Store, number: usize, days: u64, content: usize) -> MessageId {
    let plain = mail(&body(content), 2);
    let envelope = Envelope { sender: SENDERS[number % 5].into(), ..plain.envelope.clone() };
    let admitted = store.admit_mail(Mail {
        class: if number.is_multiple_of(3) { Class::VIRUS } else { Class::SPAM },
        received: UnixMillis(NOW.0 - days * DAY_SECONDS * 1000 - number as u64 * 1000),
        envelope,
        ..plain
    });
    admitted.unwrap().message.unwrap()
}

fn pack_all(store: &Store) {
    store.advance(UnixMillis(NOW.0 + 600_000).cutoff());
    for bucket in store.packable(NOW.day()) {
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap();
    }
}

fn usage(store: &Store, by: UsageBy) -> Usage {
    store.usage(&Query::default(), by).unwrap()
}

/// What a listing says of the same.
fn listed(store: &Store, query: &Query, by: UsageBy) -> BTreeMap<String, (u64, u64)> {
    let mut rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let query = Query { limit: usize::MAX, ..query.clone() };
    for message in store.list(&query).unwrap().messages {
        let name = match by {
            UsageBy::Class => message.id.bucket.class.to_string(),
            UsageBy::Day => message.id.bucket.day.to_string(),
            UsageBy::SenderDomain => match message.arrival.envelope.sender.as_str() {
                "" => "<>".to_owned(),
                "nobody" => "-".to_owned(),
                sender => sender.split('@').next_back().unwrap().to_lowercase(),
            },
        };
        let row = rows.entry(name).or_default();
        row.0 += 1;
        row.1 += message.arrival.body_bytes;
    }
    rows
}

fn counted(usage: &Usage) -> BTreeMap<String, (u64, u64)> {
    let row = |(name, row): (&String, &Amounts)| (name.clone(), (row.messages, row.mail_bytes));
    usage.rows.iter().map(row).collect()
}

/// Bytes on disk of a bucket's blocks of these kinds.
fn block_bytes(store: &Store, bucket: Bucket, kinds: &[&str]) -> u64 {
    let segments = store.segment_reports(bucket).unwrap();
    let blocks =
        segments.iter().flat_map(|s| store.block_reports(bucket, s.number).unwrap().unwrap());
    blocks.filter(|block| kinds.contains(&block.kind)).map(|block| block.bytes).sum()
}

proptest! {
    #[test]
    fn every_grouping_counts_what_a_listing_shows(
        made in proptest::collection::vec((0u64..4, 0usize..12, proptest::bool::weighted(0.2)), 1..40),
        is_packed: bool,
        sender in proptest::option::of(proptest::sample::select(&["x.EXAMPLE", "b@", "nobody"][..])),
    ) {
        let mut node = Node::new(1);
        let store = node.open();
        let ids: Vec<_> = made
            .iter()
            .enumerate()
            .map(|(number, (days, content, _))| put_one(&store, number, *days, *content))
            .collect();
        store.commit();
        for (id, (.., is_deleted)) in ids.iter().zip(&made) {
            delete(&store, *id, 2, if *is_deleted { &[0, 1] } else { &[0] });
        }
        if is_packed {
            pack_all(&store);
        }
        let query = Query { sender: sender.map(str::to_owned), ..Query::default() };
        let mut totals = Vec::new();
        for by in [UsageBy::Class, UsageBy::Day, UsageBy::SenderDomain] {
            let usage = store.usage(&query, by).unwrap();
            prop_assert_eq!(counted(&usage), listed(&store, &query, by));
            prop_assert_eq!((usage.missing_bodies, usage.damaged), (0, 0));
            prop_assert_eq!(usage.file_bytes.is_some(), sender.is_none());
            let total = usage.total();
            prop_assert!(usage.file_bytes.is_none_or(|bytes| bytes >= total.disk_bytes));
            totals.push(total);
        }
        prop_assert!(totals.iter().all(|total| *total == totals[0]), "{:?}", totals);
    }
}

#[test]
fn shares_add_up_to_the_blocks_on_disk_before_and_after_packing() {
    let mut node = Node::new(1);
    let store = node.open();
    let ids: Vec<_> = (0..60).map(|number| put_one(&store, 3 * number, 2, number)).collect();
    store.commit();
    delete(&store, ids[0], 2, &[1]);
    let bucket = ids[0].bucket;
    for kinds in [["records", "bodies"], ["records", "group"]] {
        let blocks = block_bytes(&store, bucket, &kinds);
        let counted = usage(&store, UsageBy::Day).total().disk_bytes;
        // Each of 121 shares loses less than a byte; body entries of a commit are nobody's.
        let entries = if kinds[1] == "bodies" { 60 * 80 } else { 0 };
        assert!(counted <= blocks, "{counted} of {blocks}");
        assert!(counted + 121 + entries >= blocks, "{counted} of {blocks}");
        pack_all(&store);
    }
    let packed = usage(&store, UsageBy::Day).total();
    assert!(packed.disk_bytes < packed.mail_bytes / 2, "{packed:?}: mail like this packs well");
}

#[test]
fn a_body_that_messages_share_is_on_disk_once_and_mail_twice() {
    let store = Node::new(1).open();
    let noise: Vec<u8> = (0..40_000u32).map(|n| ((n * n) >> 7) as u8).collect();
    put(&store, &noise, 1);
    let one = usage(&store, UsageBy::Class).total();
    put(&store, &noise, 2);
    let both = usage(&store, UsageBy::Class).total();
    assert_eq!((both.messages, both.mail_bytes), (2, 2 * one.mail_bytes));
    assert!(both.disk_bytes < one.disk_bytes + 1000, "{one:?} {both:?}");
}

#[test]
fn what_is_damaged_or_missing_is_counted_apart() {
    let mut node = Node::new(1);
    let store = node.open();
    put(&store, b"first", 1);
    let id = put(&store, b"second", 1);
    let (record, _) = store.item(id.bucket, &id.key).unwrap().unwrap();
    let peer = Node::new(2).open();
    peer.admit_record(record, None, NOW).unwrap();
    peer.commit();
    let found = usage(&peer, UsageBy::Class);
    assert_eq!((found.total().messages, found.missing_bodies), (1, 1));
    store.close();
    let directory = bucket_directory(id.bucket);
    let path = directory.join(&node.disk.list(&directory).unwrap()[0].name);
    let records = store.block_reports(id.bucket, 1).unwrap().unwrap()[1].offset as usize;
    node.disk.damage(&path, |bytes| bytes[records + 50] ^= 1);
    let found = usage(&store, UsageBy::Class);
    assert_eq!((found.total().messages, found.damaged), (1, 1), "{found:?}");
}

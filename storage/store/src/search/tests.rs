//! A filtered listing shows what an unfiltered one would show and the filters accept, and nothing else.

use crate::list::{Page, Query};
use crate::segment::bucket_directory;
use crate::tests::{NOW, Node, delete, mail};
use crate::{Disk, Mail, Message, Store};
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use proptest::{collection, option, sample};
use quar_base::arrival::{Envelope, Headers};
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::time::{DAY_SECONDS, UnixMillis};
use std::ops::ControlFlow;

/// One message: days before today, second, sender, recipient, subject; whether it is deleted.
type Made = (u64, u64, usize, usize, usize, bool);

const ADDRESSES: [&str; 5] = [
    "anna@Example.org",
    "ANNA@example.net",
    "bob@kilo.example",
    "jürgen@example.org",
    "İ@x.example",
];
const SUBJECTS: [&str; 5] =
    ["Cheap Offer", "offer: CHEAP", "Größe", "Kelvin \u{212a}ilo", "nothing at all"];
const PARTS: [&str; 9] =
    ["anna", "EXAMPLE.org", "kilo", "Jürgen", "JÜRGEN", "i", "@x", "@", "nobody"];
const WORDS: [&str; 6] = ["offer", "CHEAP", "größe", "GRÖSSE", "kilo", "all"];

fn put(store: &Store, number: usize, made: &Made) -> MessageId {
    let (days, second, sender, recipient, subject, _) = *made;
    let plain = mail(format!("body {number}").as_bytes(), 1);
    let admitted = store.admit_mail(Mail {
        class: if number.is_multiple_of(3) { Class::VIRUS } else { Class::SPAM },
        received: UnixMillis(NOW.0 - days * DAY_SECONDS * 1000 - second * 1000),
        envelope: Envelope {
            sender: ADDRESSES[sender].into(),
            recipients: vec!["first@elsewhere.example".into(), ADDRESSES[recipient].into()],
            queue_id: number.to_string(),
            ..Envelope::default()
        },
        headers: Headers { subject: SUBJECTS[subject].into(), ..Headers::default() },
        ..plain
    });
    admitted.unwrap().message.unwrap()
}

/// A store with these messages, four a commit; days before yesterday are packed when asked.
fn filled(made: &[Made], is_packed: bool) -> (Node, Store) {
    let mut node = Node::new(1);
    let store = node.open();
    let mut ids = Vec::new();
    for (number, one) in made.iter().enumerate() {
        ids.push(put(&store, number, one));
        if number % 4 == 3 {
            store.commit();
        }
    }
    store.commit();
    for (id, (.., is_deleted)) in ids.iter().zip(made) {
        if *is_deleted {
            delete(&store, *id, 2, &[0, 1]);
        }
    }
    for bucket in store.packable(NOW.day()).into_iter().filter(|_| is_packed) {
        store.pack(bucket, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    (node, store)
}

/// Pages of a query, to the end.
fn pages(store: &Store, mut query: Query) -> Vec<Page> {
    let mut pages = Vec::new();
    loop {
        let page = store.list(&query).unwrap();
        query.before = page.next;
        pages.push(page);
        if query.before.is_none() {
            return pages;
        }
    }
}

fn messages(pages: Vec<Page>) -> Vec<Message> {
    pages.into_iter().flat_map(|page| page.messages).collect()
}

fn queries() -> impl Strategy<Value = Query> {
    let part = || option::of(sample::select(&PARTS[..]).prop_map(str::to_owned));
    let words = collection::vec(sample::select(&WORDS[..]).prop_map(str::to_owned), 0..3);
    (part(), part(), words, 1usize..9).prop_map(|(sender, recipient, subject_words, limit)| Query {
        sender,
        recipient,
        subject_words,
        limit,
        ..Query::default()
    })
}

proptest! {
    #[test]
    fn a_filtered_listing_is_the_whole_one_filtered(
        made in collection::vec((0u64..5, 0u64..20_000, 0usize..5, 0usize..5, 0usize..5,
            proptest::bool::weighted(0.2)), 1..40),
        queries in collection::vec(queries(), 4),
        is_packed in proptest::bool::ANY,
    ) {
        let (_node, store) = filled(&made, is_packed);
        let all = messages(pages(&store, Query { limit: 1000, ..Query::default() }));
        for query in queries {
            let wanted: Vec<&Message> = all.iter().filter(|m| query.accepts(&m.arrival)).collect();
            let found = messages(pages(&store, query));
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
        }
    }
}

#[test]
fn a_letter_matches_in_any_case_and_no_letter_of_another_alphabet() {
    let (_node, store) = filled(&[(0, 1, 4, 3, 3, false)], false);
    let count = |sender: &str, word: &str| {
        let query = Query {
            sender: Some(sender.into()),
            subject_words: vec![word.into()],
            limit: 9,
            ..Query::default()
        };
        store.list(&query).unwrap().messages.len()
    };
    assert_eq!((count("@X", "KELVIN"), count("@x", "ilo")), (1, 1));
    assert_eq!((count("@x", "\u{212a}ilo"), count("@x", "kilo")), (1, 0));
}

#[test]
fn what_is_damaged_is_counted_and_hides_nothing_else() {
    let made: Vec<Made> = (0..12).map(|n| (0, 600 + n * 2, 0, 0, 0, false)).collect();
    let (node, store) = filled(&made, false);
    let query = || Query { recipient: Some("anna".into()), limit: 50, ..Query::default() };
    let id = messages(pages(&store, query()))[5].id;
    // A byte in the payload of the bucket's second block: the first records of it.
    let directory = bucket_directory(id.bucket);
    let name = node.disk.list(&directory).unwrap().remove(0).name;
    node.disk.damage(&directory.join(name), |bytes| {
        let second = 256 + stride(&bytes[256..]);
        bytes[second + 60] ^= 1;
    });
    let found = pages(&store, query());
    assert!(found[0].damaged > 0, "{} shown", found[0].messages.len());
    assert_eq!(found[0].messages.len() as u64 + found[0].damaged, 12);
    let (whole, damaged) = (messages(found.clone()), found[0].damaged);
    for limit in 1..=12 {
        let found = pages(&store, Query { limit, ..query() });
        assert_eq!(found.iter().map(|page| page.damaged).sum::<u64>(), damaged, "limit {limit}");
        assert_eq!(messages(found), whole, "limit {limit}");
    }
}

/// Bytes up to the block behind this one.
fn stride(block: &[u8]) -> usize {
    let sealed = u32::from_le_bytes(*block[8..].first_chunk().unwrap()) as usize;
    (48 + sealed).next_multiple_of(8)
}

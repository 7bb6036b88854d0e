//! Mailboxes cut into messages, byte for byte.

//! Mboxes of every kind that people have, taken apart.
//! Never a file.

use super::{Item, Mbox, instant, sender};
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use quar_base::time::UnixMillis;

fn items(text: &[u8]) -> Vec<Item> {
    Mbox::new(text).collect::<Result<_, _>>().unwrap()
}

fn bodies(text: &str) -> Vec<String> {
    let items = items(text.as_bytes()).into_iter();
    items.map(|item| String::from_utf8(item.body.unwrap()).unwrap()).collect()
}

#[test]
fn messages_are_taken_apart_at_from_lines_after_empty_ones() {
    let text = "From a@x Thu Nov 23 08:15:12 2026\nSubject: 1\n\nFrom here on\n\nbye\n\n\n\
                From b@x Thu Nov 23 08:15:12 2026\nSubject: 2\n\nno From line: From b\nFrom b\n\n";
    // The first "From here on" follows an empty line, so writers of mboxrd would have quoted it.
    let quoted = text.replace("\nFrom here", "\n>From here");
    assert_eq!(
        bodies(&quoted),
        ["Subject: 1\n\nFrom here on\n\nbye\n\n", "Subject: 2\n\nno From line: From b\nFrom b\n"]
    );
    assert_eq!(bodies(text).len(), 3);
}

#[test]
fn one_quote_is_taken_away_and_line_endings_stay() {
    let text = "From a@x\r\nA: b\r\n\r\n>From x\r\n>>From y\r\n> From z\r\n>Fromage\r\n\r\n\r\n";
    assert_eq!(bodies(text), ["A: b\r\n\r\nFrom x\r\n>From y\r\n> From z\r\n>Fromage\r\n\r\n"]);
}

#[test]
fn ends_are_forgiven() {
    assert_eq!(bodies(""), [""; 0]);
    assert_eq!(bodies("From a"), [""]);
    assert_eq!(bodies("From a\n"), [""]);
    assert_eq!(bodies("From a\nx"), ["x"]);
    assert_eq!(bodies("From a\n\nFrom b\n\nx\n"), ["", "\nx\n"]);
    assert_eq!(items(b"From a b c\r\nx")[0].from_line, b"From a b c");
}

#[test]
fn what_does_not_begin_with_from_is_no_mbox() {
    let mut mbox = Mbox::new(&b"Subject: x\n\nFrom a\n"[..]);
    assert!(mbox.next().unwrap().is_err());
    assert!(mbox.next().is_none());
}

#[test]
fn a_message_that_is_too_large_is_passed_over_and_the_next_one_read() {
    let text = format!("From a\n{}\n\nFrom b\nshort\n", "x".repeat(200_000));
    let mut mbox = Mbox::new(text.as_bytes());
    mbox.bytes_max = 100_000;
    let bodies: Vec<_> = mbox.map(|item| item.unwrap().body).collect();
    assert_eq!(bodies, [None, Some(b"short\n".to_vec())]);
}

#[test]
fn a_line_longer_than_a_piece_is_one_line() {
    // The second piece begins with "From ", and is no line of its own.
    let long = format!("{}From inside\n", "x".repeat(64 << 10));
    let text = format!("From a\n\n{long}");
    assert_eq!(bodies(&text), [format!("\n{long}")]);
}

proptest! {
    #[test]
    fn what_was_written_as_mboxrd_is_read_back(
        messages in proptest::collection::vec(message(), 0..5),
    ) {
        let mut text = Vec::new();
        for message in &messages {
            text.extend_from_slice(b"From a@x Thu Nov 23 08:15:12 2026\n");
            for line in message.split_inclusive(|byte| *byte == b'\n') {
                let rest = line.iter().position(|byte| *byte != b'>').unwrap_or(line.len());
                if line[rest..].starts_with(b"From ") {
                    text.push(b'>');
                }
                text.extend_from_slice(line);
            }
            text.push(b'\n');
        }
        let read: Vec<_> = items(&text).into_iter().map(|item| item.body.unwrap()).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(0u8..=255, 0..300)) {
        let text = [&b"From "[..], &text].concat();
        let _ = Mbox::new(&text[..]).count();
        let _ = (instant(&text), sender(&text));
    }
}

/// Whole lines, some of which look like From lines.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let line = "(|From |>From |>>From |From)[a\r ]{0,3}\n";
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat().into_bytes())
}

#[test]
fn from_lines_tell_sender_and_time() {
    let at = UnixMillis(1_795_420_812_000);
    for line in [
        "From a@x Mon Nov 23 08:00:12 2026",
        "From a@x  Mon Nov 23 08:00:12 2026 ",
        "From a@x Mon Nov 23 08:00:12 UTC 2026",
        "From a@x Mon Nov 23 10:00:12 2026 +0200",
        "From a@x Mon Nov 23 03:00:12 -0500 2026",
        "From <a@x> Nov 23 08:00:12 2026",
    ] {
        assert_eq!(instant(line.as_bytes()), Some(at), "{line}");
        assert_eq!(sender(line.as_bytes()).as_deref(), Some("a@x"));
    }
    let minutes = instant(b"From Nov Mon Nov 3 08:00 2026").unwrap();
    assert_eq!(minutes.second_of(minutes.day()), 8 * 3600);
    assert_eq!(sender(b"From MAILER-DAEMON Mon Nov 23 08:00:12 2026"), None);
    for line in [
        "From a@x",
        "From a@x Mon Nov 23",
        "From a Mon Foo 23 08:00:12 2026",
        "From a Mon Nov 32 08:00:12 2026",
        "From a Mon Nov 23 25:00:12 2026",
        "From a Mon Nov 23 08:00:12 26",
    ] {
        assert_eq!(instant(line.as_bytes()), None, "{line}");
    }
}

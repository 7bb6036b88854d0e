//! What is too large, too long, too many or too often.
//! Never waits for anything.

use super::{ENVELOPE, HELLO, Session, local, say, say_with, settings, speak, stored};
use crate::intake::Mail;
use std::sync::Arc;
use tokio::sync::Semaphore;

#[test]
fn takes_a_message_at_the_limit_and_refuses_one_beyond_it_for_each_recipient() {
    let exact = "x".repeat(98);
    let beyond = "x".repeat(99);
    let more = "RCPT TO:<c@example.net>\r\n";
    let taken = say(&format!(
        "{HELLO}{ENVELOPE}DATA\r\n{exact}\r\n.\r\n{ENVELOPE}BDAT 100 LAST\r\n{exact}\r\n"
    ));
    assert_eq!(taken.mails.len(), 2);
    let refused = say(&format!(
        "{HELLO}{ENVELOPE}{more}DATA\r\n{beyond}\r\n.\r\n\
         {ENVELOPE}{more}BDAT 101 LAST\r\n{beyond}\r\nNOOP\r\n"
    ));
    assert_eq!(refused.mails, []);
    let data = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354 end", "552 5.3.4", "552 5.3.4"];
    let chunk = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "552 5.3.4", "552 5.3.4", "250 2.0.0"];
    assert_eq!(refused.codes(), [data, chunk].concat());
}

#[test]
fn says_at_once_when_the_declared_size_or_a_chunk_is_too_large() {
    let said = say(&format!(
        "{HELLO}MAIL FROM:<> SIZE=101\r\n{ENVELOPE}BDAT 60\r\n{0}BDAT 41\r\n{1}BDAT 1 LAST\r\nx",
        "x".repeat(60),
        "x".repeat(41)
    ));
    assert_eq!(
        said.codes(),
        ["552 5.3.4", "250 2.1.0", "250 2.1.5", "250 2.0.0", "552 5.3.4", "552 5.3.4"]
    );
}

#[test]
fn a_chunk_of_any_size_is_skipped_by_its_count() {
    let settings = settings();
    let room = Arc::clone(&settings.body_room);
    let all_of_it = room.available_permits();
    let mut session = Session::new(Arc::new(settings), local());
    session.feed(format!("{HELLO}{ENVELOPE}BDAT 1000000 LAST\r\n").as_bytes());
    session.output().clear();
    let block = b"QUIT\r\n".repeat(10);
    let mut left = 1_000_000;
    while left > 0 {
        let piece = &block[..block.len().min(left)];
        assert_eq!(session.feed(piece).event, None);
        assert_eq!(room.available_permits(), all_of_it, "nothing is kept");
        left -= piece.len();
    }
    assert_eq!(session.feed(b"NOOP\r\n").event, None);
    let replies = String::from_utf8_lossy(session.output()).into_owned();
    assert!(
        replies.starts_with("552 5.3.4 ") && replies.ends_with("250 2.0.0 OK\r\n"),
        "{replies}"
    );
}

#[test]
fn a_header_line_without_end_is_content() {
    let mut large = settings();
    large.message_bytes_max = 64 << 20;
    let line = vec![b'x'; 40 << 20];
    let start = format!("{HELLO}{ENVELOPE}DATA\r\n");
    let pieces = std::iter::once(start.as_bytes())
        .chain(line.chunks(65_536))
        .chain(std::iter::once(&b"\r\n.\r\n"[..]));
    let said = speak(large, local(), pieces, stored);
    assert_eq!(said.mails[0].body.len(), line.len() + 2);
}

#[test]
fn an_overlong_command_is_refused_and_skipped() {
    let long = "x".repeat(5000);
    let said = say(&format!("{HELLO}NOOP {long}\n{long}\r\nNOOP\r\n"));
    assert_eq!(said.codes(), ["500 5.5.2", "250 2.0.0"]);
    let at_limit = "x".repeat(2048 - 7);
    let said = say(&format!("{HELLO}NOOP {at_limit}\r\nNOOP {at_limit}x\r\nNOOP\r\n"));
    assert_eq!(said.codes(), ["250 2.0.0", "500 5.5.2", "250 2.0.0"]);
}

#[test]
fn closes_when_what_follows_cannot_be_told_from_commands() {
    let long = format!("BDAT {}1\r\n", "0".repeat(3000));
    for (text, code) in [
        ("BDAT x\r\n", "501 5.5.4"),
        ("BDAT 99999999999999999999\r\n", "501 5.5.4"),
        (&*long, "500 5.5.2"),
        ("NOOP\nNOOP\r\n", "500 5.5.2"),
        ("POST / HTTP/1.1\r\n", "500 5.5.1"),
    ] {
        let said = say(&format!("{HELLO}{text}MAIL FROM:<>\r\n"));
        assert!(said.is_closed, "{text:.20}");
        assert_eq!(said.codes(), [code], "{text:.20}");
    }
}

#[test]
fn too_many_errors_end_a_session_but_refused_mail_does_not() {
    let said = say(&"what\r\n".repeat(30));
    assert!(said.is_closed && said.replies.ends_with("421 4.7.0 too many errors, closing\r\n"));
    assert_eq!(said.replies.matches("500 5.5.2").count(), 20);
    let too_large = format!(
        "MAIL FROM:<> SIZE=101\r\n{}BDAT 1 LAST\r\nx",
        "RCPT TO:<b@example.net>\r\n".repeat(3)
    );
    let bad_recipients =
        format!("MAIL FROM:<>\r\n{}RSET\r\n", "RCPT TO:<é@x>\r\nRCPT TO:b\r\n".repeat(30));
    let said = say(&format!("{HELLO}{}{bad_recipients}", too_large.repeat(40)));
    assert!(!said.is_closed, "{}", said.replies);
}

#[test]
fn a_delivered_message_forgives_errors() {
    let round = format!("{}{ENVELOPE}BDAT 1 LAST\r\nx", "what\r\n".repeat(15));
    let said = say(&format!("{HELLO}{}", round.repeat(3)));
    assert_eq!((said.mails.len(), said.is_closed), (3, false));
}

#[test]
fn recipients_are_limited_in_number_and_in_bytes() {
    let many: String = (0..1001).map(|number| format!("RCPT TO:<r{number}@x>\r\n")).collect();
    let said = say(&format!("{HELLO}MAIL FROM:<>\r\n{many}BDAT 1 LAST\r\nx"));
    assert_eq!(said.codes()[1001], "452 4.5.3");
    assert_eq!(said.mails[0].envelope.recipients.len(), 1000);
    assert_eq!(said.codes().len(), 1 + 1001 + 1000);
    let long = format!("RCPT TO:<{}@x>\r\n", "l".repeat(1000)).repeat(200);
    let said = say(&format!("{HELLO}MAIL FROM:<>\r\n{long}BDAT 1 LAST\r\nx"));
    assert_eq!(said.mails[0].envelope.recipients.len(), (192 << 10) / 1002);
}

#[test]
fn a_message_for_which_there_is_no_room_is_to_come_again() {
    let mut small = settings();
    small.body_room = Arc::new(Semaphore::new(1));
    let room = Arc::clone(&small.body_room);
    let taken = room.try_acquire().unwrap();
    let text = format!("{HELLO}{ENVELOPE}BDAT 1 LAST\r\nx");
    assert_eq!(say_with(small.clone(), &text).codes()[2], "452 4.3.1");
    drop(taken);
    let holds_it = |mail: &Mail| {
        assert_eq!(room.available_permits(), 0);
        stored(mail)
    };
    speak(small, local(), [text.as_bytes()], holds_it);
    assert_eq!(room.available_permits(), 1);
}

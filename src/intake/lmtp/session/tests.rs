//! Sessions without sockets: what is said, what is delivered, for bytes cut in any way.
//! Never waits for anything.

use super::super::{Protocol, Settings};
use super::{Event, Peer, Session};
use crate::delivery::Reply;
use crate::intake::{Mail, Refusal};
use quar_base::class::Class;
use quar_base::ids::RecordId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::Day;
use std::sync::Arc;

mod cuts;
mod limits;

const HELLO: &str = "LHLO mx.example.org\r\n";
const ENVELOPE: &str = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n";

#[derive(Debug, PartialEq, Eq)]
struct Spoken {
    replies: String,
    mails: Vec<Mail>,
    is_closed: bool,
}

impl Spoken {
    /// The codes of the replies after the answer to LHLO, each with its enhanced code.
    fn codes(&self) -> Vec<String> {
        let mut input = self.replies.as_bytes();
        let mut codes = Vec::new();
        while let Some((reply, used)) = Reply::parse(input).unwrap() {
            let enhanced = reply.text.split(' ').next().unwrap_or_default();
            codes.push(format!("{} {enhanced}", reply.code));
            input = &input[used..];
        }
        assert_eq!(input, b"", "every reply is whole");
        codes.split_off(codes.len().min(2))
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new("quar.example", Class::SPAM);
    settings.message_bytes_max = 100;
    settings
}

fn local() -> Peer {
    Peer { is_local: true, address: String::new() }
}

fn id(class: Class) -> MessageId {
    MessageId {
        bucket: Bucket { class, day: Day(20_780) },
        key: RecordKey { second: 1, id: RecordId([0x4f; 32]) },
    }
}

fn stored(mail: &Mail) -> Result<MessageId, Refusal> {
    Ok(id(mail.class))
}

fn speak<'a>(
    settings: Settings,
    peer: Peer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    store: impl Fn(&Mail) -> Result<MessageId, Refusal>,
) -> Spoken {
    let mut session = Session::new(Arc::new(settings), peer);
    let mut mails = Vec::new();
    let mut is_closed = false;
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() && !is_closed {
            let fed = session.feed(rest);
            rest = &rest[fed.used..];
            match fed.event {
                None => assert!(rest.is_empty(), "bytes are left only at an event"),
                Some(Event::Close) => is_closed = true,
                Some(Event::Deliver(parts)) => {
                    let outcomes: Vec<_> = parts.iter().map(&store).collect();
                    session.answer(&outcomes);
                    mails.extend(parts);
                }
            }
        }
    }
    let replies = String::from_utf8(std::mem::take(session.output())).unwrap();
    Spoken { replies, mails, is_closed }
}

fn say(text: &str) -> Spoken {
    say_with(settings(), text)
}

fn say_with(settings: Settings, text: &str) -> Spoken {
    speak(settings, local(), [text.as_bytes()], stored)
}

#[test]
fn a_mail_server_hands_over_a_message() {
    let said = say(&format!(
        "{HELLO}XFORWARD ADDR=192.0.2.1 HELO=mail.example IDENT=4XYZ\r\n{ENVELOPE}\
         RCPT TO:<c@example.net>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n"
    ));
    let id = id(Class::SPAM);
    let expected = format!(
        "220 quar.example LMTP quard\r\n\
         250-quar.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n\
         250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-XFORWARD ADDR HELO IDENT\r\n\
         250 SIZE 100\r\n250 2.0.0 OK\r\n250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.1.5 OK\r\n\
         354 end with CR LF . CR LF\r\n250 2.0.0 {id}\r\n250 2.0.0 {id}\r\n221 2.0.0 goodbye\r\n"
    );
    assert_eq!(said.replies, expected);
    assert!(said.is_closed);
    let [mail] = &said.mails[..] else {
        panic!("one mail, not {:?}", said.mails);
    };
    assert_eq!(&mail.body[..], b"Subject: x\r\n\r\n.\r\n");
    assert_eq!(mail.class, Class::SPAM);
    let envelope = &mail.envelope;
    assert_eq!(envelope.sender, "a@example.org");
    assert_eq!(envelope.recipients, ["b@example.net", "c@example.net"]);
    assert_eq!(envelope.client_address, "192.0.2.1");
    assert_eq!(envelope.helo, "mail.example");
    assert_eq!(envelope.queue_id, "4XYZ");
}

#[test]
fn chunks_are_kept_byte_for_byte() {
    let said = say(&format!(
        "{HELLO}{ENVELOPE}BDAT 7\r\n.\r\n\n.\r\0BDAT 0\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
    ));
    assert_eq!(&said.mails[0].body[..], b".\r\n\n.\r\0QUIT\r\n");
    assert_eq!(said.codes()[2..], ["250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.0.0"]);
}

#[test]
fn an_empty_last_chunk_ends_a_message() {
    let said =
        say(&format!("{HELLO}{ENVELOPE}BDAT 0 LAST\r\n{ENVELOPE}BDAT 1\r\nxBDAT 0 LAST\r\n"));
    let bodies: Vec<_> = said.mails.iter().map(|mail| &mail.body[..]).collect();
    assert_eq!(bodies, [&b""[..], b"x"]);
}

#[test]
fn bare_line_ends_in_data_smuggle_nothing() {
    for end in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r"] {
        let inner = format!("x{end}MAIL FROM:<evil@example.org>\r\n");
        let said = say(&format!("{HELLO}{ENVELOPE}DATA\r\n{inner}.\r\n"));
        assert_eq!(said.mails.len(), 1, "{end:?}");
        assert_eq!(said.codes().len(), 4, "{end:?}");
    }
}

#[test]
fn a_client_that_breaks_off_delivers_nothing() {
    for text in ["DATA\r\nx\r\n", "DATA\r\nx\r\n.\r", "BDAT 2 LAST\r\nx", "BDAT 1\r\nx"] {
        let said = say(&format!("{HELLO}{ENVELOPE}{text}"));
        assert_eq!(said.mails, [], "{text:?}");
    }
}

#[test]
fn addresses_beyond_ascii_need_smtputf8() {
    let said = say(&format!(
        "{HELLO}MAIL FROM:<grüße@x>\r\nMAIL FROM:<>\r\nRCPT TO:<grüße@x>\r\nRSET\r\n\
         MAIL FROM:<grüße@x> SMTPUTF8\r\nRCPT TO:<é@x>\r\nBDAT 1 LAST\r\nx"
    ));
    let codes = said.codes();
    assert_eq!((&*codes[0], &*codes[2]), ("553 5.6.7", "553 5.6.7"));
    assert_eq!(said.mails[0].envelope.sender, "grüße@x");
    let bytes = [HELLO.as_bytes(), b"MAIL FROM:<\xff@x>\r\n"].concat();
    let said = speak(settings(), local(), [&bytes[..]], stored);
    assert_eq!(said.codes(), ["500 5.5.2"]);
}

#[test]
fn recipients_of_different_classes_share_a_body_and_not_a_fate() {
    let mut by_extension = settings();
    by_extension.class_from_extension = true;
    let text = format!(
        "{HELLO}{ENVELOPE}RCPT TO:<c+virus@x>\r\nRCPT TO:<d+list@x>\r\n\
         RCPT TO:<e+SPAM@x>\r\nBDAT 1 LAST\r\nx"
    );
    let store = |mail: &Mail| match mail.class {
        Class::VIRUS => Err(Refusal::Full),
        class => Ok(id(class)),
    };
    let said = speak(by_extension, local(), [text.as_bytes()], store);
    let parts: Vec<_> =
        said.mails.iter().map(|mail| (mail.class, mail.envelope.recipients.join(" "))).collect();
    assert_eq!(
        parts,
        [(Class::SPAM, "b@example.net d+list@x e@x".to_owned()), (Class::VIRUS, "c@x".to_owned())]
    );
    assert_eq!(said.codes()[5..], ["250 2.0.0", "452 4.3.1", "250 2.0.0", "250 2.0.0"]);
    let said = say(&text);
    assert_eq!(said.mails[0].envelope.recipients[1], "c+virus@x");
}

#[test]
fn every_refusal_has_its_code() {
    let day = Day(1);
    for (refusal, code) in [
        (Refusal::Full, "452 4.3.1"),
        (Refusal::StoreFailed, "451 4.3.0"),
        (Refusal::ShuttingDown, "451 4.3.0"),
        (Refusal::TooLarge { bytes: 2, limit: 1 }, "552 5.3.4"),
        (Refusal::Class("held".into()), "554 5.3.0"),
        (Refusal::TooOld { class: Class::SPAM, day }, "554 5.3.0"),
        (Refusal::Deleted, "554 5.3.0"),
        (Refusal::Invalid("\r\n250 é".repeat(999)), "554 5.3.0"),
    ] {
        let text = format!("{HELLO}{ENVELOPE}BDAT 1 LAST\r\nx");
        let refuse = |_: &Mail| Err(refusal.clone());
        let said = speak(settings(), local(), [text.as_bytes()], refuse);
        assert_eq!(said.codes().last().map(String::as_str), Some(code));
        assert_eq!(refusal.is_transient(), code.starts_with('4'));
    }
}

#[test]
fn what_a_mail_server_tells_holds_for_one_message() {
    let message = format!("{ENVELOPE}BDAT 1 LAST\r\nx");
    let forward = "XFORWARD IDENT=1\r\n";
    let said = say(&format!(
        "{HELLO}{forward}{message}{message}{forward}RSET\r\n{message}MAIL FROM:<>\r\n{forward}"
    ));
    let ids: Vec<_> = said.mails.iter().map(|mail| &*mail.envelope.queue_id).collect();
    assert_eq!(ids, ["1", "", ""]);
    assert_eq!(said.codes().last().map(String::as_str), Some("503 5.5.1"));
}

#[test]
fn a_remote_client_speaks_for_itself_only() {
    let remote = Peer { is_local: false, address: "192.0.2.9".into() };
    let text = format!("{HELLO}XFORWARD IDENT=1\r\n{ENVELOPE}BDAT 1 LAST\r\nx");
    let said = speak(settings(), remote, [text.as_bytes()], stored);
    assert!(!said.replies.contains("250-XFORWARD"));
    assert_eq!(said.codes()[0], "550 5.7.1");
    let envelope = &said.mails[0].envelope;
    assert_eq!(
        (&*envelope.client_address, &*envelope.helo, &*envelope.queue_id),
        ("192.0.2.9", "mx.example.org", "")
    );
}

#[test]
fn commands_out_of_order_are_refused() {
    for (text, codes) in [
        ("DATA\r\n", &["503 5.5.1"][..]),
        ("BDAT 6 LAST\r\nQUIT\r\n", &["503 5.5.1"]),
        ("MAIL FROM:<>\r\nDATA\r\n", &["250 2.1.0", "503 5.5.1"]),
        ("MAIL FROM:<>\r\nBDAT 3\r\n\r\nx", &["250 2.1.0", "503 5.5.1"]),
        ("MAIL FROM:<>\r\nMAIL FROM:<>\r\n", &["250 2.1.0", "503 5.5.1"]),
        ("RCPT TO:<b>\r\n", &["503 5.5.1"]),
        ("EHLO x\r\n", &["500 5.5.1"]),
        ("HELO x\r\n", &["500 5.5.1"]),
        ("LHLO\r\n", &["501 5.5.4"]),
        ("EXPN x\r\n", &["502 5.5.1"]),
        ("VRFY x\r\n", &["252 2.0.0"]),
        ("HELP\r\n", &["214 2.0.0"]),
        ("noop x  \r\n", &["250 2.0.0"]),
        ("RSET x\r\n", &["501 5.5.4"]),
        ("NO\rOP\r\n", &["500 5.5.2"]),
        ("\r\n", &["500 5.5.2"]),
    ] {
        assert_eq!(say(&format!("{HELLO}{text}")).codes(), codes, "{text}");
    }
    let began = say(&format!("{HELLO}{ENVELOPE}BDAT 1\r\nxDATA\r\nRCPT TO:<b>\r\n"));
    assert_eq!(began.codes()[3..], ["503 5.5.1", "503 5.5.1"]);
    let binary = "MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<b>\r\nDATA\r\nBDAT 1 LAST\r\n\0";
    let said = say(&format!("{HELLO}{binary}"));
    assert_eq!(said.codes()[2..], ["503 5.5.1", "250 2.0.0"]);
    let early = say("MAIL FROM:<>\r\n");
    assert!(early.replies.ends_with("503 5.5.1 say LHLO or EHLO first\r\n"));
}

#[test]
fn hello_ends_an_open_transaction() {
    let said = say(&format!("{HELLO}{ENVELOPE}{HELLO}DATA\r\n"));
    assert_eq!(said.codes().last().map(String::as_str), Some("503 5.5.1"));
}

#[test]
fn smtp_gives_one_reply_for_all_recipients() {
    let mut smtp = settings();
    smtp.protocol = Protocol::Smtp;
    let said = say_with(
        smtp,
        &format!("EHLO x\r\n{ENVELOPE}RCPT TO:<c>\r\nDATA\r\nx\r\n.\r\nLHLO x\r\nHELO x\r\n"),
    );
    let codes = said.codes();
    assert_eq!(codes[3..], ["354 end", "250 2.0.0", "500 5.5.1", "250 quar.example"]);
}

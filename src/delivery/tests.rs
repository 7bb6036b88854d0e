//! Deliveries to the sink, to a sink behind an older front, and to servers that misbehave.
//! Never to a fixed port.

use super::{Delivery, Timeouts, deliver};
use crate::demo::sink::Sink;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

mod misbehaving;

/// What a scripted server does next.
#[derive(Clone, Debug)]
enum Step {
    /// Writes this.
    Say(&'static str),
    /// Reads a line.
    Line,
    /// Reads up to the final dot.
    Dot,
    /// Reads this many bytes.
    Bytes(usize),
    /// Reads what comes until the client goes.
    Hold,
    /// The same, a byte at a time.
    Trickle,
}

use Step::{Bytes, Dot, Hold, Line, Say, Trickle};

const GREETING: Step = Say("220 mx ESMTP\r\n");
const PLAIN: Step = Say("250 mx\r\n");
const OK: Step = Say("250 ok\r\n");
const GO: Step = Say("354 go\r\n");

/// A server that plays a script once, then closes; what it read comes back.
async fn scripted(script: Vec<Step>) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let played = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut heard = Vec::new();
        for step in script {
            match step {
                Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Line => {
                    stream.read_until(b'\n', &mut heard).await.unwrap();
                }
                Dot => {
                    while !heard.ends_with(b"\r\n.\r\n") {
                        heard.push(stream.read_u8().await.unwrap());
                    }
                }
                Bytes(count) => {
                    let mut bytes = vec![0; count];
                    stream.read_exact(&mut bytes).await.unwrap();
                    heard.extend(bytes);
                }
                Hold => {
                    // A reset is as good an end as any.
                    let _ = stream.read_to_end(&mut heard).await;
                }
                Trickle => {
                    let mut byte = [0];
                    while matches!(stream.get_mut().read(&mut byte).await, Ok(1)) {
                        heard.extend(byte);
                    }
                }
            }
        }
        heard
    });
    (address, played)
}

fn timeouts() -> Timeouts {
    Timeouts::default()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Plays a script against a delivery to one recipient.
async fn play(script: Vec<Step>) -> Delivery {
    let (address, _) = scripted(script).await;
    send(address, &["a@x"], b"x\r\n").await.remove(0)
}

async fn send(address: SocketAddr, recipients: &[&str], body: &[u8]) -> Vec<Delivery> {
    let host = address.to_string();
    let recipients = strings(recipients);
    deliver(&host, "quar.example", "s@x", &recipients, body, &timeouts()).await
}

/// A front that hides what a sink offers, and passes everything else on.
async fn older_front(sink: SocketAddr, hidden: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let (server_read, mut server_write) = TcpStream::connect(sink).await.unwrap().into_split();
        let (mut client_read, mut client_write) = client.into_split();
        tokio::spawn(async move { copy(&mut client_read, &mut server_write).await });
        let mut lines = BufReader::new(server_read).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let is_hidden = hidden.iter().any(|word| line == format!("250-{word}"));
            if !is_hidden {
                client_write.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
            }
        }
    });
    address
}

async fn sink() -> Sink {
    Sink::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

fn expect_delivered(outcome: &Delivery) -> &str {
    match outcome {
        Delivery::Delivered(text) => text,
        other => panic!("not delivered: {other:?}"),
    }
}

fn expect_failed(outcome: &Delivery) -> &str {
    match outcome {
        Delivery::Failed(text) => text,
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn any_body_arrives_byte_for_byte_by_chunks() {
    let sink = sink().await;
    let large: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    let bodies = [&b"Subject: x\r\n\r\n.\r\n"[..], b"", b"a\n.\nb\r.\r\0\xff", &large];
    for body in bodies {
        let outcomes = send(sink.address, &["a@x", "grüße@x"], body).await;
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            assert!(expect_delivered(&outcome).starts_with("250 2.0.0 "));
            assert!(!expect_delivered(&outcome).contains(';'));
        }
        let received = sink.received();
        let last = received.last().unwrap();
        assert!(last.body == body);
        assert_eq!(last.sender, "s@x");
        assert_eq!(last.recipients, ["a@x", "grüße@x"]);
    }
}

#[tokio::test]
async fn the_null_sender_is_kept() {
    let sink = sink().await;
    let host = sink.address.to_string();
    let outcomes = deliver(&host, "q.example", "", &strings(&["a@x"]), b"x\r\n", &timeouts()).await;
    expect_delivered(&outcomes[0]);
    assert_eq!(sink.received()[0].sender, "");
}

#[tokio::test]
async fn without_chunking_lines_stay_lines_and_changes_are_said() {
    let sink = sink().await;
    for (body, arrived, note) in [
        (&b".\r\n..\r\nx\r\n"[..], &b".\r\n..\r\nx\r\n"[..], ""),
        (b"a\n.\nb\xe9\n", b"a\r\n.\r\nb\xe9\r\n", "; line endings became CRLF"),
        (b"a\r\nb", b"a\r\nb\r\n", "; a last line ending was added"),
        (b"", b"", ""),
    ] {
        let front = older_front(sink.address, &["CHUNKING", "BINARYMIME", "PIPELINING"]).await;
        let outcomes = send(front, &["a@x", "b@x"], body).await;
        for outcome in &outcomes {
            let text = expect_delivered(outcome);
            assert_eq!(text.find(';').map_or("", |at| &text[at..]), note);
        }
        assert_eq!(sink.received().last().unwrap().body, arrived);
    }
    for body in [&b"a\rb\r\n"[..], b"a\0b\r\n"] {
        let front = older_front(sink.address, &["CHUNKING", "BINARYMIME"]).await;
        let outcomes = send(front, &["a@x"], body).await;
        assert!(expect_failed(&outcomes[0]).contains("does not offer CHUNKING"));
    }
    assert_eq!(sink.received().len(), 4);
}

#[tokio::test]
async fn an_address_that_needs_smtputf8_fails_alone() {
    let sink = sink().await;
    let front = older_front(sink.address, &["SMTPUTF8"]).await;
    let outcomes = send(front, &["a@x", "é@x", "no good", "b@x"], b"x\r\n").await;
    expect_delivered(&outcomes[0]);
    assert!(expect_failed(&outcomes[1]).contains("SMTPUTF8"));
    assert!(expect_failed(&outcomes[2]).contains("cannot be said"));
    expect_delivered(&outcomes[3]);
    assert_eq!(sink.received()[0].recipients, ["a@x", "b@x"]);
}

#[tokio::test]
async fn an_address_with_commands_in_it_reaches_no_server() {
    let (address, _server) = scripted(vec![Hold]).await;
    let bad = "a@x>\r\nRCPT TO:<evil@x";
    expect_failed(&send(address, &[bad], b"x\r\n").await[0]);
    let host = address.to_string();
    let to = strings(&["a@x"]);
    let outcomes = deliver(&host, "q.example", bad, &to, b"x\r\n", &timeouts()).await;
    expect_failed(&outcomes[0]);
    let outcomes = deliver(&host, "q\r\nQUIT", "", &to, b"x\r\n", &timeouts()).await;
    expect_failed(&outcomes[0]);
}

#[tokio::test]
async fn more_recipients_than_one_batch_all_get_it() {
    let sink = sink().await;
    let recipients: Vec<String> = (0..173).map(|number| format!("r{number}@x")).collect();
    let host = sink.address.to_string();
    let outcomes = deliver(&host, "q.example", "s@x", &recipients, b"x\r\n", &timeouts()).await;
    assert_eq!(outcomes.len(), 173);
    assert!(outcomes.iter().all(|outcome| expect_delivered(outcome).starts_with("250 ")));
    assert_eq!(sink.received()[0].recipients, recipients);
}

#[tokio::test]
async fn a_refused_recipient_fails_and_the_others_go_on() {
    let (address, server) = scripted(vec![
        GREETING,
        Line,
        PLAIN,
        Line,
        OK,
        Line,
        Say("550-5.1.1 no such\r\n550 5.1.1 user\r\n"),
        Line,
        OK,
        Line,
        GO,
        Dot,
        Say("250 2.0.0 queued as Q1\r\n"),
        Line,
    ])
    .await;
    let outcomes = send(address, &["a@x", "b@x"], b"x\r\n").await;
    assert_eq!(expect_failed(&outcomes[0]), "550 5.1.1 no such / 5.1.1 user");
    assert_eq!(expect_delivered(&outcomes[1]), "250 2.0.0 queued as Q1");
    let heard = String::from_utf8(server.await.unwrap()).unwrap();
    assert_eq!(
        heard,
        "EHLO quar.example\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n\
         DATA\r\nx\r\n.\r\nQUIT\r\n"
    );
}

#[tokio::test]
async fn helo_serves_a_server_without_extensions() {
    let script = vec![
        GREETING,
        Line,
        Say("502 what\r\n"),
        Line,
        PLAIN,
        Line,
        OK,
        Line,
        OK,
        Line,
        GO,
        Dot,
        OK,
        Line,
    ];
    assert_eq!(expect_delivered(&play(script).await), "250 ok");
}

#[tokio::test]
async fn a_message_beyond_the_servers_limit_is_not_sent() {
    let limited = Say("250-mx\r\n250 SIZE 2\r\n");
    let outcome = play(vec![GREETING, Line, limited, Line]).await;
    assert_eq!(expect_failed(&outcome), "message has 3 bytes; the server takes 2");
    let unlimited = Say("250-mx\r\n250 SIZE 0\r\n");
    let script = vec![GREETING, Line, unlimited, Line, OK, Line, OK, Line, GO, Dot, OK, Line];
    let (address, server) = scripted(script).await;
    expect_delivered(&send(address, &["a@x"], b"x\r\n").await[0]);
    let heard = String::from_utf8(server.await.unwrap()).unwrap();
    assert!(heard.contains("MAIL FROM:<s@x> SIZE=3\r\n"), "{heard}");
}

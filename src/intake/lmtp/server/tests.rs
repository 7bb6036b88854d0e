//! Sessions over real sockets on loopback.
//! Never on a fixed port, and never on a clock.

use super::super::Settings;
use super::{Listener, serve};
use crate::demo::feed::Feeder;
use crate::intake::{Door, Mail, Refusal};
use quar_base::class::Class;
use quar_base::ids::RecordId;
use quar_base::key::{Bucket, MessageId, RecordKey};
use quar_base::time::Day;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A door that keeps what comes, and may be held shut.
#[derive(Clone, Default)]
struct Shelf {
    mails: Arc<Mutex<Vec<Mail>>>,
    gate: Option<Arc<(Notify, Notify)>>,
}

impl Door for Shelf {
    async fn admit(&self, mail: Mail) -> Result<MessageId, Refusal> {
        if let Some(gate) = &self.gate {
            gate.0.notify_one();
            gate.1.notified().await;
        }
        if mail.envelope.sender.starts_with("full") {
            return Err(Refusal::Full);
        }
        let bucket = Bucket { class: mail.class, day: Day(1) };
        let id = RecordId(*blake_like(&mail.body));
        self.mails.lock().unwrap().push(mail);
        let key = RecordKey { second: 0, id };
        Ok(MessageId { bucket, key })
    }
}

/// Any 32 bytes that depend on the body.
fn blake_like(body: &[u8]) -> Box<[u8; 32]> {
    let mut digest = Box::new([0; 32]);
    for (at, byte) in body.iter().enumerate() {
        digest[at % 32] ^= byte;
    }
    digest
}

struct Running {
    address: SocketAddr,
    shelf: Shelf,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

async fn start(change: impl FnOnce(&mut Settings)) -> Running {
    start_with(Shelf::default(), change).await
}

async fn start_with(shelf: Shelf, change: impl FnOnce(&mut Settings)) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = Settings::new("quar.example", Class::SPAM);
    change(&mut settings);
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(serve(listener, settings, shelf.clone(), stopped));
    Running { address, shelf, stop, served }
}

fn mixed_body(number: usize) -> Vec<u8> {
    let mut body = format!("Subject: {number}\r\n\r\n.\r\n\n.\n\r.\r\0").into_bytes();
    body.extend((0..number * 37).map(|at| (at * 31 % 256) as u8));
    body
}

#[tokio::test]
async fn a_feeder_and_a_session_agree_byte_for_byte() {
    let running = start(|_| {}).await;
    let mut feeder = Feeder::connect(running.address).await.unwrap();
    for number in 0..200 {
        let recipients: Vec<String> =
            (0..=number % 5).map(|at| format!("r{at}@é.example")).collect();
        let replies = feeder.send("s@x", &recipients, &mixed_body(number)).await.unwrap();
        assert_eq!(replies.len(), recipients.len());
        for reply in replies {
            let id = reply.text.strip_prefix("2.0.0 ").unwrap();
            id.parse::<MessageId>().unwrap();
            assert_eq!(reply.code, 250);
        }
    }
    let mails = running.shelf.mails.lock().unwrap();
    assert_eq!(mails.len(), 200);
    for (number, mail) in mails.iter().enumerate() {
        assert_eq!(mail.body, mixed_body(number));
        assert_eq!(mail.envelope.recipients.len(), number % 5 + 1);
    }
}

#[tokio::test]
async fn a_feeder_goes_on_after_any_refusal() {
    let running = start(|settings| settings.message_bytes_max = 10).await;
    let mut feeder = Feeder::connect(running.address).await.unwrap();
    let two = ["a@x".to_owned(), "b c".to_owned()];
    for (sender, recipients, body, codes) in [
        ("full@x", &two[..], &b"x"[..], &[452, 501][..]),
        ("s@x", &two, b"12345678901", &[552, 552]),
        ("s s", &two, b"x", &[501, 501]),
        ("s@x", &two[1..], b"x", &[501]),
        ("s@x", &[], b"x", &[]),
        ("s@x", &two, b"1234567890", &[250, 501]),
    ] {
        let replies = feeder.send(sender, recipients, body).await.unwrap();
        let given: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
        assert_eq!(given, codes, "{sender} {recipients:?}");
    }
    assert_eq!(running.shelf.mails.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_of_many_reads_arrives_whole() {
    let running = start(|_| {}).await;
    let mut feeder = Feeder::connect(running.address).await.unwrap();
    let body: Vec<u8> = (0..9_000_000u32).map(|at| (at % 251) as u8).collect();
    feeder.send("", &["a@x".to_owned()], &body).await.unwrap();
    assert!(running.shelf.mails.lock().unwrap()[0].body == body);
}

#[tokio::test]
async fn a_slow_client_is_heard_byte_by_byte() {
    let running = start(|_| {}).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let text = "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    for byte in text.bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert!(replies.ends_with("221 2.0.0 goodbye\r\n"), "{replies}");
    assert_eq!(running.shelf.mails.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_sent_away() {
    let running = start(|settings| settings.connections_max = 1).await;
    let first = Feeder::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    let mut line = String::new();
    second.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "421 4.3.2 too many connections, come again\r\n");
    drop(first);
    while Feeder::connect(running.address).await.is_err() {}
}

#[tokio::test]
async fn a_silent_client_is_sent_away() {
    let running = start(|settings| settings.idle_timeout = Duration::from_millis(20)).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert!(replies.ends_with("421 4.4.2 nothing heard for too long, closing\r\n"));
}

#[tokio::test]
async fn the_last_words_are_heard_though_input_is_left_unread() {
    let running = start(|_| {}).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&b"GET / HTTP/1.1\r\n".repeat(1_000_000)).await.unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).await.unwrap();
    assert!(replies.ends_with(b"this is a mail service, closing\r\n"));
}

#[tokio::test]
async fn shutdown_answers_the_message_at_the_door_and_tells_the_idle() {
    let gate = Arc::new((Notify::new(), Notify::new()));
    let shelf = Shelf { gate: Some(Arc::clone(&gate)), ..Shelf::default() };
    let running = start_with(shelf, |_| {}).await;
    let mut idle = BufReader::new(TcpStream::connect(running.address).await.unwrap());
    let mut line = String::new();
    idle.read_line(&mut line).await.unwrap();
    let mut feeder = Feeder::connect(running.address).await.unwrap();
    let sending = tokio::spawn(async move { feeder.send("", &["a@x".to_owned()], b"x").await });
    gate.0.notified().await;
    running.stop.send(true).unwrap();
    line.clear();
    idle.read_line(&mut line).await.unwrap();
    assert_eq!(line, "421 4.3.2 shutting down, come again\r\n");
    gate.1.notify_one();
    assert_eq!(sending.await.unwrap().unwrap()[0].code, 250);
    drop(idle);
    running.served.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn shutdown_waits_for_no_client_that_leaves_its_replies_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lmtp.sock");
    let listener = Listener::from(UnixListener::bind(&path).unwrap());
    let (stop, stopped) = watch::channel(false);
    let settings = Settings::new("quar.example", Class::SPAM);
    assert!(settings.idle_timeout > Duration::from_secs(60));
    let served = tokio::spawn(serve(listener, settings, Shelf::default(), stopped));
    let stream = UnixStream::connect(&path).await.unwrap();
    let commands = [b"LHLO x\r\n".to_vec(), b"NOOP\r\n".repeat(200_000)].concat();
    // All run on this thread: when nothing was taken in so many turns, the server waits in a write.
    let (mut written, mut turns_without) = (0, 0);
    while turns_without < 1000 {
        match stream.try_write(&commands[written..]) {
            Ok(bytes) => (written, turns_without) = (written + bytes, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => turns_without += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(written < commands.len(), "the server never had to wait");
    stop.send(true).unwrap();
    timeout(Duration::from_secs(30), served).await.expect("it still waits").unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lmtp.sock");
    let listener = Listener::from(UnixListener::bind(&path).unwrap());
    let shelf = Shelf::default();
    let (_stop, stopped) = watch::channel(false);
    let settings = Settings::new("quar.example", Class::VIRUS);
    tokio::spawn(serve(listener, settings, shelf.clone(), stopped));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let text =
        "LHLO x\r\nXFORWARD IDENT=Q1\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nBDAT 1 LAST\r\nxQUIT\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    let mails = shelf.mails.lock().unwrap();
    assert_eq!(mails[0].envelope.queue_id, "Q1");
    assert_eq!(mails[0].class, Class::VIRUS);
}

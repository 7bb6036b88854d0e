//! Mail as nobody should send it: stored byte-exact on every node, or refused with the code that
//! docs/operating.md lists.

use crate::support::{Running, body_of, start};
use quard::demo::feed::Feeder;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const LARGEST: usize = 64 << 20;

fn recipients() -> Vec<String> {
    vec!["user@example.net".to_owned()]
}

/// Memory of the daemon that is in use, in bytes.
fn resident_bytes(running: &Running) -> usize {
    let pid = running.cluster.nodes[0].pid().unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_mail_is_stored_byte_exact_on_every_node() {
    let mut running = start(3, "").await;
    let mails: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("one byte", b"x".to_vec()),
        ("NULs", b"Subject: \0\0\r\n\r\n\0\0\0".repeat(100)),
        ("8-bit header", b"Subject: \xff\xfe\x80 caf\xe9\r\n\r\nbody\r\n".to_vec()),
        ("bare CR", b"Subject: a\rb\r\n\r\none\rtwo\r\r\n".to_vec()),
        ("bare LF", b"Subject: a\nFrom: b\n\nbody\n.\nmore\n..\n".to_vec()),
        ("dots", b".\r\n.\r\n..\r\nQUIT\r\n".to_vec()),
        ("no header", b"\r\n\r\nbody".to_vec()),
        ("a header line without end", [b"Subject: ", &vec![b'a'; 5 << 20][..]].concat()),
        ("headers without end", b"X-Header: again and again\r\n".repeat(200_000)),
        ("not a mail", (0..=255).cycle().take(100_000).collect()),
        ("30 MB", b"0123456789abcdef Lorem ipsum\r\n".repeat(1 << 20)),
    ];
    let mut feeder = Feeder::connect(running.cluster.nodes[0].lmtp).await.unwrap();
    let mut ids = Vec::new();
    for (what, body) in &mails {
        let replies = feeder.send("", &recipients(), body).await.unwrap();
        assert_eq!(replies[0].code, 250, "{what}: {:?}", replies[0]);
        ids.push(replies[0].text.split_whitespace().last().unwrap().to_owned());
    }
    running.cluster.wait_for_equal_roots().await.unwrap();
    for node in &running.cluster.nodes {
        let mut client = node.client().await.unwrap();
        for (id, (what, body)) in ids.iter().zip(&mails) {
            let read = body_of(&mut client, id).await.unwrap();
            assert!(read == *body, "{what} on node {}: {} bytes", node.number, read.len());
        }
    }
}

/// An LMTP conversation by hand.
struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn start(running: &Running) -> Self {
        let stream = TcpStream::connect(running.cluster.nodes[0].lmtp).await.unwrap();
        let mut talk = Self(BufReader::new(stream));
        assert!(talk.reply().await.starts_with("220"));
        assert!(talk.say("LHLO test.example\r\n").await.starts_with("250"));
        talk
    }

    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.reply().await
    }

    async fn begin(&mut self) {
        assert!(self.say("MAIL FROM:<>\r\n").await.starts_with("250"));
        assert!(self.say("RCPT TO:<user@example.net>\r\n").await.starts_with("250"));
    }

    /// Pushes so many bytes of lines; stops when the daemon no longer takes them.
    async fn push(&mut self, bytes: usize) {
        let chunk =
            b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1024);
        for _ in 0..bytes / chunk.len() {
            if self.0.write_all(&chunk).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_beyond_the_limit_is_refused_without_being_buffered() {
    let running = start(1, "").await;
    let root = running.cluster.nodes[0].status().await.unwrap().live_root;
    let before = resident_bytes(&running);
    let mut talk = Talk::start(&running).await;
    let declared = format!("MAIL FROM:<> SIZE={}\r\n", LARGEST + 1);
    assert!(talk.say(&declared).await.starts_with("552 5.3.4"));
    // Declared by BDAT: skipped, and refused when it has gone by.
    talk.begin().await;
    let size = 200 << 20;
    talk.0.write_all(format!("BDAT {size} LAST\r\n").as_bytes()).await.unwrap();
    talk.push(size).await;
    assert!(talk.reply().await.starts_with("552 5.3.4"));
    let by_bdat = resident_bytes(&running) - before;
    assert!(by_bdat < 32 << 20, "BDAT took {by_bdat} bytes");
    // Not declared at all: no more than the limit is kept.
    talk.begin().await;
    assert!(talk.say("DATA\r\n").await.starts_with("354"));
    talk.push(size).await;
    assert!(talk.say("\r\n.\r\n").await.starts_with("552 5.3.4"));
    let by_data = resident_bytes(&running) - before;
    assert!(by_data < LARGEST + (64 << 20), "DATA took {by_data} bytes");
    // The connection is good for the next mail.
    talk.begin().await;
    let mut stored = talk.say("BDAT 3 LAST\r\na\r\n").await;
    assert!(stored.starts_with("250"), "{stored}");
    let id = stored.split_off(stored.trim_end().rfind(' ').unwrap()).trim().to_owned();
    let mut client = running.cluster.nodes[0].client().await.unwrap();
    assert_eq!(body_of(&mut client, &id).await.unwrap(), b"a\r\n"[..]);
    assert_ne!(running.cluster.nodes[0].status().await.unwrap().live_root, root);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_the_limit_is_refused_at_its_length() {
    let running = start(1, "").await;
    let before = resident_bytes(&running);
    let socket = quard::config::Paths::under(Some(&running.cluster.nodes[0].root)).control_socket();
    for head in [
        format!("Content-Length: {}\r\n\r\n", LARGEST + 1),
        "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = format!(
            "POST /v1/messages?recipient=user@example.net HTTP/1.1\r\nHost: quard\r\n{head}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n", &vec![b'a'; 0x10000][..], b"\r\n"].concat();
        for _ in 0..(200 << 20) / chunk.len() {
            if stream.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    }
    let taken = resident_bytes(&running) - before;
    assert!(taken < LARGEST + (64 << 20), "uploads took {taken} bytes");
}

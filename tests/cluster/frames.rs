//! A member that breaks the protocol towards a real daemon: its connection ends, it is counted by
//! kind, and nothing changes.

use crate::support::{Running, assert_kept, feed, some_mails, start, until, until_counted};
use quard::config::{Identity, Paths};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What both sides send before any frame (docs/formats.md, "Preamble").
const PREAMBLE: [u8; 8] = *b"QUARD\0\x01\0";

/// A connection to node 1 with the certificate of node 3, which must not run.
async fn connect(running: &Running) -> TlsStream<TcpStream> {
    let [first, _, third] = &running.cluster.nodes[..] else { panic!("three nodes") };
    let identity = Identity::load(&Paths::under(Some(&third.root))).unwrap();
    let to = Identity::load(&Paths::under(Some(&first.root))).unwrap().member;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(identity.authority.clone())).unwrap();
    let certificate = CertificateDer::from(identity.certificate.clone());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.private_key.to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"quar-sync/1".to_vec()];
    let name = ServerName::try_from(quar_net::certificate_name(to)).unwrap();
    let stream = TcpStream::connect(first.sync).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(&PREAMBLE).await.unwrap();
    let mut theirs = [0; 8];
    stream.read_exact(&mut theirs).await.unwrap();
    assert_eq!(theirs, PREAMBLE);
    stream
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes()[..], &[kind], payload].concat()
}

/// A greeting with the right length and nothing true in it.
fn hello() -> Vec<u8> {
    let mut payload = vec![0; 63];
    payload[0] = 4;
    frame(1, &payload)
}

/// The daemon ends the connection: whatever it still had to say, the stream comes to its end.
async fn until_closed(mut stream: TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let read =
        tokio::time::timeout(std::time::Duration::from_secs(60), stream.read_to_end(&mut rest));
    let _ = read.await.expect("the daemon ends the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_end_the_connection_are_counted_by_kind_and_change_nothing() {
    let mut running = start(2, "quic = false").await;
    let mails = some_mails(20);
    let mut ids = feed(&running.cluster.nodes[0], &mails[..10]).await;
    running.cluster.wait_for_equal_roots().await.unwrap();
    running.cluster.nodes[2].stop().unwrap();
    let before = running.cluster.nodes[0].status().await.unwrap().live_root;
    let batch_bomb = [&[1, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 40]].concat();
    let cases: [(&str, Vec<u8>); 6] = [
        // A header that announces 16 MiB: refused at the header, nothing is waited for.
        ("frame-too-large", [&(16u32 << 20).to_le_bytes()[..], &[8]].concat()),
        ("unknown-frame-kind", [hello(), frame(63, b"?")].concat()),
        ("malformed-frame", frame(1, b"\x04 far too short")),
        ("malformed-frame", [hello(), frame(8, &batch_bomb)].concat()),
        ("frame-out-of-turn", frame(9, &[1, 0])),
        ("bogus-acknowledgement", [hello(), frame(9, &[77, 0])].concat()),
    ];
    for (kind, bytes) in cases {
        let mut stream = connect(&running).await;
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        until_counted(&running.cluster.nodes[0], kind).await;
        until_closed(stream).await;
    }
    // Cut off in the middle of a frame: no offence, as a crash looks the same; the line is gone.
    let mut stream = connect(&running).await;
    let whole = [hello(), frame(8, &[0; 1000])].concat();
    stream.write_all(&whole[..500]).await.unwrap();
    stream.flush().await.unwrap();
    until("the member is up", async || up(&running, "node3").await.then_some(())).await;
    drop(stream);
    until("the member is down", async || (!up(&running, "node3").await).then_some(())).await;
    let after = running.cluster.nodes[0].status().await.unwrap();
    assert_eq!(after.live_root, before);
    // The others go on, and so does the member itself once it behaves.
    ids.extend(feed(&running.cluster.nodes[0], &mails[10..]).await);
    running.cluster.nodes[2].start().unwrap();
    running.cluster.wait_for_equal_roots().await.unwrap();
    assert_kept(&running.cluster, &ids, &mails).await;
}

async fn up(running: &Running, name: &str) -> bool {
    let status = running.cluster.nodes[0].status().await.unwrap();
    status.members.iter().any(|member| member.name == name && member.state == "up")
}

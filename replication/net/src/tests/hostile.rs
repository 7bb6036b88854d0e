//! What strangers and broken members send, and what it does not stop.
//! Never through this crate's own sender: it would refuse.

use super::support::{Authority, addresses, endpoint, endpoint_with, everyone, id, meet, pair};
use crate::authority::provider;
use crate::preamble::PREAMBLE;
use crate::tls::Tls;
use crate::{Connection, Endpoint, Identity, NetError, Preference, ProtocolFault, Rejected};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_secs(1);

/// A TLS connection over TCP that speaks as it likes.
async fn raw(
    to: &Endpoint,
    identity: &Identity,
    change: impl FnOnce(&mut ClientConfig),
) -> std::io::Result<TlsStream<TcpStream>> {
    let tls = Tls::new(identity, everyone()).unwrap();
    let (mut config, _) = tls.client(id(2));
    change(&mut config);
    raw_with(to, Arc::new(config)).await
}

async fn raw_with(
    to: &Endpoint,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to.local_address()).await?;
    TlsConnector::from(config).connect(crate::authority::server_name(id(2)), stream).await
}

async fn rejection(of: &Endpoint) -> Rejected {
    of.accept().await.unwrap().expect_err("the handshake fails")
}

/// A raw member's connection after the preambles, and the acceptor's end of it.
async fn raw_pair() -> (Endpoint, TlsStream<TcpStream>, Connection) {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let mut near = raw(&acceptor, &authority.member(1), |_| ()).await.unwrap();
    near.write_all(&PREAMBLE).await.unwrap();
    let far = acceptor.accept().await.unwrap().unwrap();
    let mut theirs = [0; 8];
    near.read_exact(&mut theirs).await.unwrap();
    assert_eq!(theirs, PREAMBLE);
    (acceptor, near, far)
}

#[tokio::test]
async fn plain_http_and_garbage_are_no_tls_and_the_next_member_gets_in() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    for junk in [
        &b"GET / HTTP/1.1\r\nHost: quard\r\n\r\n"[..],
        &[0xff; 300],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
    ] {
        let mut stream = TcpStream::connect(acceptor.local_address()).await.unwrap();
        stream.write_all(junk).await.unwrap();
        assert_eq!(rejection(&acceptor).await.why.kind(), "not-tls");
    }
    let datagrams = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for junk in [&b"GET /"[..], &[0; 1200], &[0xc0; 1200], &[0x40; 64]] {
        let to = acceptor.local_address();
        datagrams.send_to(junk, to).await.unwrap();
    }
    let dialer = endpoint(authority.member(1));
    for prefer in super::support::EACH {
        let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
        assert!(near.is_ok() && far.is_ok());
    }
}

#[tokio::test]
async fn a_connection_closed_at_once_is_lost_and_not_an_offence() {
    let acceptor = endpoint(Authority::new().member(2));
    drop(TcpStream::connect(acceptor.local_address()).await.unwrap());
    let rejected = rejection(&acceptor).await;
    assert_eq!(rejected.why.kind(), "lost");
    assert!(rejected.why.is_transient());
}

#[tokio::test]
async fn a_dialer_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let client = raw(&acceptor, &authority.member(1), |config| {
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
    })
    .await;
    assert_eq!(rejection(&acceptor).await.why.kind(), "no-certificate");
    drop(client);
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn an_older_tls_is_refused() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().into()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(raw_with(&acceptor, Arc::new(config)).await.is_err());
    assert_eq!(rejection(&acceptor).await.why.kind(), "not-tls");
}

#[tokio::test]
async fn another_application_protocol_is_refused_and_so_is_none() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    for offered in [vec![b"h2".to_vec()], vec![]] {
        let client = raw(&acceptor, &authority.member(1), |config| {
            config.alpn_protocols = offered;
        })
        .await;
        let why = rejection(&acceptor).await.why;
        assert!(matches!(why, NetError::Protocol { fault: ProtocolFault::Application }), "{why}");
        drop(client);
    }
}

#[tokio::test]
async fn a_wrong_preamble_is_refused_and_another_version_is_told_ours() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let cases = [
        (*b"QUARD\0\x02\0", ProtocolFault::Version(2)),
        (*b"GET / HT", ProtocolFault::Magic(*b"GET / HT")),
    ];
    for (preamble, expected) in cases {
        let mut near = raw(&acceptor, &authority.member(1), |_| ()).await.unwrap();
        near.write_all(&preamble).await.unwrap();
        match rejection(&acceptor).await.why {
            NetError::Protocol { fault } => assert_eq!(fault, expected),
            other => panic!("not refused for the preamble: {other}"),
        }
        let mut ours = [0; 8];
        near.read_exact(&mut ours).await.unwrap();
        assert_eq!(ours, PREAMBLE);
    }
}

#[tokio::test]
async fn a_dialer_refuses_a_wrong_preamble_too() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = [listener.local_addr().unwrap().to_string()];
    let tls = Tls::new(&authority.member(2), everyone()).unwrap();
    let answer = async {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls.server().0));
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.write_all(b"QUARD\0\x02\0").await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let dialer = endpoint(authority.member(1));
    let (near, _far) = tokio::join!(dialer.dial(&to, id(2), Preference::OnlyTcp), answer);
    let text = near.unwrap_err().to_string();
    assert_eq!(text, "the peer speaks version 2 of the protocol");
}

#[tokio::test]
async fn no_session_is_resumed_even_if_the_dialer_asks() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    let tls = Tls::new(&authority.member(1), everyone()).unwrap();
    let (mut config, _) = tls.client(id(2));
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..2 {
        let mut near = raw_with(&acceptor, config.clone()).await.unwrap();
        near.write_all(&PREAMBLE).await.unwrap();
        let _far = acceptor.accept().await.unwrap().unwrap();
        // Whatever tickets there are come before this.
        near.read_exact(&mut [0; 8]).await.unwrap();
        let (_, session) = near.get_ref();
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn an_oversized_frame_is_refused_at_its_header() {
    let (_acceptor, mut near, mut far) = raw_pair().await;
    near.write_all(b"\x01\0\0\0\x05x\x01\0\x10\0\x05").await.unwrap();
    assert_eq!(far.receiver.next().await.unwrap().unwrap().kind, 5);
    for _ in 0..2 {
        assert_eq!(far.receiver.try_next_buffered(), None);
        let error = far.receiver.next().await.unwrap_err();
        assert_eq!(error.kind(), "frame-too-large");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_is_truncated() {
    for (sent, missing) in [(&b"\x09\0\0\0\x05half"[..], 5), (b"\x09\0", 3)] {
        let (_acceptor, mut near, mut far) = raw_pair().await;
        near.write_all(sent).await.unwrap();
        near.shutdown().await.unwrap();
        let error = far.receiver.next().await.unwrap_err();
        assert!(matches!(error, NetError::Truncated { missing: m } if m == missing), "{error}");
    }
}

#[tokio::test]
async fn a_member_that_dies_within_a_frame_is_lost_and_not_an_offence() {
    let (_acceptor, mut near, mut far) = raw_pair().await;
    near.write_all(b"\x09\0\0\0\x05half").await.unwrap();
    near.flush().await.unwrap();
    drop(near);
    assert_eq!(far.receiver.next().await.unwrap_err().kind(), "lost");
}

#[tokio::test]
async fn a_quic_sender_dropped_with_frames_unsent_is_no_clean_end() {
    let mut pair = pair(Preference::OnlyQuic).await;
    pair.near.sender.send(1, &[b"never flushed"]).await.unwrap();
    drop(pair.near.sender);
    let error = pair.far.receiver.next().await.unwrap_err();
    assert_eq!(error.kind(), "closed-by-peer");
}

#[tokio::test]
async fn silent_strangers_do_not_keep_members_out() {
    let authority = Authority::new();
    let acceptor = endpoint_with(authority.member(2), |settings| {
        settings.limits.handshake = SHORT;
    });
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(TcpStream::connect(acceptor.local_address()).await.unwrap());
    }
    // A handshake that stops halfway: the certificate is shown, the preamble never comes.
    let member = authority.member(3);
    let halfway = raw(&acceptor, &member, |_| ()).await.unwrap();
    let dialer = endpoint(authority.member(1));
    let (near, far) = meet(&dialer, &acceptor, 2, Preference::OnlyTcp).await;
    assert!(near.is_ok() && far.is_ok());
    for _ in 0..11 {
        let why = rejection(&acceptor).await.why;
        assert!(matches!(why, NetError::HandshakeTimeout { limit } if limit == SHORT));
    }
    drop((strangers, halfway));
}

#[tokio::test]
async fn one_address_cannot_take_every_seat() {
    let authority = Authority::new();
    let acceptor = endpoint_with(authority.member(2), |settings| {
        settings.limits.handshakes_per_address_max = 2;
        settings.limits.handshakes_max = 4;
    });
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(TcpStream::connect(acceptor.local_address()).await.unwrap());
    }
    assert_eq!(rejection(&acceptor).await.why.kind(), "too-many-handshakes");
    let elsewhere = endpoint_with(authority.member(1), |settings| {
        settings.listen = "127.0.0.2:0".parse().unwrap();
    });
    let to = addresses(&acceptor);
    let dial = elsewhere.dial(&to, id(2), Preference::OnlyTcp);
    let (near, far) = tokio::join!(dial, acceptor.accept());
    assert!(near.is_ok() && far.unwrap().is_ok());
    drop(strangers);
    for _ in 0..2 {
        assert_eq!(rejection(&acceptor).await.why.kind(), "lost");
    }
    let dialer = endpoint(authority.member(3));
    let (near, far) = meet(&dialer, &acceptor, 2, Preference::OnlyTcp).await;
    assert!(near.is_ok() && far.is_ok(), "their seats are free again");
}
